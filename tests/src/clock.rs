//! The harness's stopwatch and calendar: what is timed here is shown, and never decides whether a test
//! passes.

use anyhow::{Context as _, Result};
use std::time::{Duration, Instant, SystemTime};
use time::{OffsetDateTime, format_description::well_known::Iso8601};

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

/// Today's date (UTC), as `2026-11-21`.
///
/// # Errors
/// If the year cannot be written.
pub fn today() -> Result<String> {
    #[expect(clippy::disallowed_methods, reason = "the harness's one reading of the calendar")]
    let now = OffsetDateTime::from(SystemTime::now());
    now.date().format(&Iso8601::DATE).context("write the date")
}
