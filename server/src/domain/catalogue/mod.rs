//! The things that devices get: DPCs, artifacts and configurations.

pub mod artifact;
pub mod configuration;
pub mod dpc;
