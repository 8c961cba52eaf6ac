//! The harness's stopwatch and calendar: its times are shown, and never decide whether a test passes.

use anyhow::{Context as _, Result};
use std::time::{Duration, Instant, SystemTime};
use time::{OffsetDateTime, format_description::well_known::Iso8601};

/// A stopwatch that runs from its start.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts a stopwatch.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the harness's one reading of the clock")]
        Self(Instant::now())
    }

    /// Returns the time since its start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "the harness's one reading of the clock")]
        Instant::now().duration_since(self.0)
    }
}

/// Returns today's date (UTC), as `2026-11-21`.
///
/// # Errors
/// If the date cannot be formatted.
pub fn today() -> Result<String> {
    #[expect(clippy::disallowed_methods, reason = "the harness's one reading of the calendar")]
    let now = OffsetDateTime::from(SystemTime::now());
    now.date().format(&Iso8601::DATE).context("write the date")
}
