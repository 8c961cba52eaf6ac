//! The one place that reads the clock, and what the device makes of it.
//!
//! A device that was in a box for a year, or whose battery is empty, does not know the time.
//! Everything is therefore judged against [`TrustedTime`]: the latest of system clock, build
//! date and the last time that something verified told.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};
use unbox_common::timestamp::Timestamp;

/// When this version was released; builds that set `SOURCE_DATE_EPOCH` use that instead.
const RELEASED: Timestamp = Timestamp::from_secs(1_793_491_200); // 2026-11-01T00:00:00Z

/// How far after the build date a clock is still believed.
const MAX_AHEAD: Duration = Duration::from_hours(10 * 365 * 24);

/// What the system clock says now.
#[must_use]
pub fn system() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    let now = SystemTime::now();
    // A clock before 1970 reads as 1970: both are before the build date, and said so.
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(0).after(since)
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
        let now = Instant::now();
        Self(now)
    }

    /// How long it has been.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How a process that talks to the server tells time and waits. Tests hand in one that jumps.
pub trait Waits: Send + Sync {
    /// Time since some moment that never changes within a process.
    fn monotonic(&self) -> Duration;

    /// What the system clock says. It may be wrong, and yet it goes on.
    fn system(&self) -> Timestamp;

    /// Waits, doing nothing.
    fn wait(&self, pause: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl Waits for Stopwatch {
    fn monotonic(&self) -> Duration {
        self.elapsed()
    }

    fn system(&self) -> Timestamp {
        system()
    }

    fn wait(&self, pause: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(pause))
    }
}

/// When this agent was built: no device that runs it can be earlier.
#[must_use]
pub fn built() -> Timestamp {
    option_env!("SOURCE_DATE_EPOCH")
        .and_then(|epoch| epoch.parse().ok())
        .map_or(RELEASED, Timestamp::from_secs)
}

/// The latest time that is believed of anybody: of this device's clock, and of a signature.
#[must_use]
pub fn horizon() -> Timestamp {
    built().after(MAX_AHEAD)
}

/// The time that certificates and payloads are judged against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedTime {
    /// The latest believable time.
    pub now: Timestamp,
    /// Set if the system clock is plainly wrong.
    pub skew: Option<ClockSkew>,
}

/// A system clock that cannot be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSkew {
    /// It is earlier than a time that has certainly passed.
    Behind {
        /// What the clock says.
        system: Timestamp,
        /// What has passed.
        floor: Timestamp,
    },
    /// It is many years after the build date.
    Ahead {
        /// What the clock says.
        system: Timestamp,
    },
}

impl TrustedTime {
    /// Weighs the system clock against what has certainly passed: the build date, and the last
    /// time that a verified server or payload told, if there was one.
    #[must_use]
    pub fn weigh(system: Timestamp, built: Timestamp, verified: Option<Timestamp>) -> Self {
        let floor = verified.map_or(built, |verified| verified.max(built));
        if system.since(built) > MAX_AHEAD {
            return Self { now: floor, skew: Some(ClockSkew::Ahead { system }) };
        }
        // A verified time may run a little ahead of this clock; that alone is no wrong clock.
        let skew = (system < built).then_some(ClockSkew::Behind { system, floor });
        Self { now: system.max(floor), skew }
    }
}

impl fmt::Display for ClockSkew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Behind { system, floor } => write!(
                f,
                "The clock of this device says {system}, but {floor} has passed already. Set the clock, or connect \
                 the device to a network with a time server."
            ),
            Self::Ahead { system } => write!(
                f,
                "The clock of this device says {system}, which is many years ahead. Set the clock, or connect the \
                 device to a network with a time server."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUILT: Timestamp = Timestamp::from_secs(1_793_491_200);

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn the_latest_believable_time_counts() {
        let (before, after) = (at("2001-01-01T00:00:00Z"), at("2040-01-01T00:00:00Z"));
        let (now, told) = (at("2027-03-01T00:00:00Z"), at("2027-02-01T00:00:00Z"));
        for (system, verified, expected, skewed) in [
            (now, None, now, false),
            (now, Some(told), now, false),
            (told, Some(now), now, false),
            (before, None, BUILT, true),
            (before, Some(told), told, true),
            (after, None, BUILT, true),
            (after, Some(told), told, true),
            (BUILT, None, BUILT, false),
        ] {
            let time = TrustedTime::weigh(system, BUILT, verified);
            assert_eq!((time.now, time.skew.is_some()), (expected, skewed), "{system} {verified:?}");
        }
    }

    #[test]
    fn a_wrong_clock_says_what_to_do() {
        let skew = TrustedTime::weigh(at("2001-01-01T00:00:00Z"), BUILT, None).skew.unwrap();
        assert_eq!(
            skew.to_string(),
            "The clock of this device says 2001-01-01T00:00:00Z, but 2026-11-01T00:00:00Z has passed already. Set \
             the clock, or connect the device to a network with a time server."
        );
    }
}
