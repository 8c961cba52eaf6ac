//! The only place that reads the clock, and the rule for trusting it.
//!
//! A device that spent a year in a box, or whose battery is empty, does not know the time. Everything is
//! therefore judged against [`TrustedTime`]: the latest of the system clock, the build date and the last
//! time from a verified source.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    pin::Pin,
    time::{Duration, Instant, SystemTime},
};
use unbox_common::timestamp::Timestamp;

/// Release date of this version; builds that set `SOURCE_DATE_EPOCH` use that instead.
const RELEASED: Timestamp = Timestamp::from_secs(1_793_491_200); // 2026-11-01T00:00:00Z

/// The longest time after the build date at which a clock is still believed.
const MAX_AHEAD: Duration = Duration::from_hours(10 * 365 * 24);

/// Returns the time of the system clock.
#[must_use]
pub fn system() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    let now = SystemTime::now();
    // A clock before 1970 reads as 1970: both are before the build date, so both count as skewed.
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(0).plus(since)
}

/// A stopwatch on the monotonic clock.
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

    /// Returns the time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The clock and the sleep of a process that talks to the server. Tests pass one that jumps.
pub trait Waits: Send + Sync {
    /// Returns the time since a moment that is fixed within a process.
    fn monotonic(&self) -> Duration;

    /// Returns the system clock. It may be wrong, but it advances.
    fn system(&self) -> Timestamp;

    /// Sleeps for `pause`.
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

/// Returns the build date of this agent, a lower bound of the current time.
#[must_use]
pub fn build_date() -> Timestamp {
    option_env!("SOURCE_DATE_EPOCH")
        .and_then(|epoch| epoch.parse().ok())
        .map_or(RELEASED, Timestamp::from_secs)
}

/// Returns the latest time that is believed from any source, be it this device's clock or a signature.
#[must_use]
pub fn horizon() -> Timestamp {
    build_date().plus(MAX_AHEAD)
}

/// The time that certificates and payloads are judged against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedTime {
    /// The latest believable time.
    pub now: Timestamp,
    /// Set if the system clock is plainly wrong.
    pub skew: Option<ClockSkew>,
}

/// A system clock that must be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSkew {
    /// The clock is earlier than a time known to have passed.
    Behind {
        /// The time of the system clock.
        system: Timestamp,
        /// The time known to have passed.
        floor: Timestamp,
    },
    /// The clock is many years past the build date.
    Ahead {
        /// The time of the system clock.
        system: Timestamp,
    },
}

impl TrustedTime {
    /// Weighs the system clock against times known to have passed: the build date, and the last time from
    /// a verified server or payload, if there was one.
    #[must_use]
    pub fn weigh(system: Timestamp, built: Timestamp, verified: Option<Timestamp>) -> Self {
        let floor = verified.map_or(built, |verified| verified.max(built));
        if system.duration_since(built) > MAX_AHEAD {
            return Self { now: floor, skew: Some(ClockSkew::Ahead { system }) };
        }
        // A verified time may run a little ahead of this clock; that alone does not make the clock wrong.
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

    fn timestamp(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn the_latest_believable_time_counts() {
        let (before, after) = (timestamp("2001-01-01T00:00:00Z"), timestamp("2040-01-01T00:00:00Z"));
        let (now, told) = (timestamp("2027-03-01T00:00:00Z"), timestamp("2027-02-01T00:00:00Z"));
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
        let skew = TrustedTime::weigh(timestamp("2001-01-01T00:00:00Z"), BUILT, None).skew.unwrap();
        assert_eq!(
            skew.to_string(),
            "The clock of this device says 2001-01-01T00:00:00Z, but 2026-11-01T00:00:00Z has passed already. Set \
             the clock, or connect the device to a network with a time server."
        );
    }
}
