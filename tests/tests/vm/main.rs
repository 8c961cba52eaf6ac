//! Scenarios on whole virtual machines: act, cut the power, observe. One file each.

mod smoke;
