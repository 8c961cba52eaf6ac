//! The benchmark: what Unbox costs, beside the floor of the same run.

pub mod floor;
