//! Scenarios on whole virtual machines: act, cut the power, observe. One file each.

mod package;
mod sandbox;
mod server;
mod smoke;
mod stand_in;
mod units;
