//! Numbers and times of a fragment, each checked against its range.

use super::ConfigError;
use std::{ops::RangeInclusive, time::Duration};

const DAY: Duration = Duration::from_hours(24);

/// Parses a whole number.
pub(super) fn parse_number(
    field: &'static str,
    given: Option<u64>,
    default: u32,
    allowed: RangeInclusive<u64>,
) -> Result<u32, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    let outside = || value_error(field, format!("a number from {} to {}", allowed.start(), allowed.end()));
    if allowed.contains(&given) { u32::try_from(given).map_err(|_| outside()) } else { Err(outside()) }
}

/// Parses a size in MiB and returns it in bytes; 0 stays 0.
pub(super) fn parse_mib(field: &'static str, given: Option<u64>, default: u32) -> Result<u64, ConfigError> {
    Ok(u64::from(parse_number(field, given, default, 0..=1_073_741_824)?) * 1024 * 1024)
}

/// Parses a time in seconds.
pub(super) fn parse_span(
    field: &'static str,
    given: Option<u64>,
    default: Duration,
    allowed: RangeInclusive<u64>,
) -> Result<Duration, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    parse_number(field, Some(given), 0, allowed).map(|secs| Duration::from_secs(secs.into()))
}

/// Parses a time in days, of at most ten years.
pub(super) fn parse_days(
    field: &'static str,
    given: Option<u64>,
    default: Duration,
) -> Result<Duration, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    parse_number(field, Some(given), 0, 1..=3650).map(|days| DAY * days)
}

/// Makes the error for a setting, with its allowed values.
pub(super) fn value_error(field: &'static str, expected: impl Into<String>) -> ConfigError {
    ConfigError::Value { field, expected: expected.into() }
}
