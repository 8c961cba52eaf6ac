//! Numbers and times of a fragment, each within the range that it may have.

use super::ConfigError;
use std::{ops::RangeInclusive, time::Duration};

const DAY: Duration = Duration::from_hours(24);

/// A whole number.
pub(super) fn number(
    field: &'static str,
    given: Option<u64>,
    default: u32,
    allowed: RangeInclusive<u64>,
) -> Result<u32, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    let outside = || value(field, format!("a number from {} to {}", allowed.start(), allowed.end()));
    if allowed.contains(&given) { u32::try_from(given).map_err(|_| outside()) } else { Err(outside()) }
}

/// Bytes, given in MiB; 0 is none.
pub(super) fn mib(field: &'static str, given: Option<u64>, default: u32) -> Result<u64, ConfigError> {
    Ok(u64::from(number(field, given, default, 0..=1_073_741_824)?) * 1024 * 1024)
}

/// A time in seconds.
pub(super) fn span(
    field: &'static str,
    given: Option<u64>,
    default: Duration,
    allowed: RangeInclusive<u64>,
) -> Result<Duration, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    number(field, Some(given), 0, allowed).map(|secs| Duration::from_secs(secs.into()))
}

/// A time in days, of at most ten years.
pub(super) fn days(
    field: &'static str,
    given: Option<u64>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    number(field, Some(given), 0, 1..=3650).map(|days| DAY * days)
}

/// The refusal of a setting, with what it may be.
pub(super) fn value(field: &'static str, expected: impl Into<String>) -> ConfigError {
    ConfigError::Value { field, expected: expected.into() }
}
