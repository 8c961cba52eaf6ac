//! The health check: until it says yes, nothing is final.

use std::time::Duration;

/// Time, as far as waiting needs it.
pub trait Clock {
    /// The time since some point in the past; never runs backwards.
    fn monotonic(&self) -> Duration;

    /// Returns after `span`.
    fn sleep(&mut self, span: Duration);
}

/// How what is installed is doing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// As it should be, or nobody asked.
    Healthy,
    /// Not so; the reason, for people.
    Unhealthy(String),
}
