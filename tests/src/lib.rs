//! Harness of Unbox's tests, benchmark and demo: the only place that sees both sides.

pub mod clock;
pub mod fleet;
