//! The harness's stopwatch: what is timed here is shown, and never decides whether a test passes.

use std::time::{Duration, Instant};

/// Runs from when it was started.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the harness's one reading of the clock")]
        Self(Instant::now())
    }

    /// How long it has run.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "the harness's one reading of the clock")]
        Instant::now().duration_since(self.0)
    }
}
