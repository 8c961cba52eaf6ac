//! Scenarios on whole virtual machines: act, cut the power, observe. One file each.

#![expect(clippy::indexing_slicing, reason = "JSON of our own programs; a missing field fails the test")]
#![expect(clippy::print_stdout, reason = "the power-cut scenario prints its cuts")]
#![expect(clippy::panic_in_result_fn, reason = "a test asserts, and passes errors on with `?`")]

mod claimed_later;
mod common;
mod factory_reset;
mod first_boot;
mod no_network;
mod power_cut;
mod reboot;
mod smoke;
mod strangers_certificate;
mod unhealthy_dpc;
