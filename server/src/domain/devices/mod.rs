//! Devices, their states, and who is admitted.

pub mod admission;
pub mod device;
pub mod network;
pub mod token;
