//! The benchmark: what Unbox costs, beside the floor of the same run.

pub mod agent;
pub mod claims;
pub mod enrollment;
pub mod floor;
pub mod payload;
pub mod usage;
