//! Scenarios on whole virtual machines: act, cut the power, observe. One file each.

mod claimed_later;
mod common;
mod device_tree;
mod factory_reset;
mod first_boot;
mod makers;
mod no_network;
mod package;
mod power_cut;
mod reboot;
mod removable_media;
mod replaced_board;
mod sandbox;
mod server;
mod smoke;
mod stand_in;
mod strangers_certificate;
mod tables;
mod tpm;
mod unhealthy_dpc;
mod units;
