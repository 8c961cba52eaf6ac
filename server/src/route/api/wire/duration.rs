//! Spans of time: decimal seconds with a closing `s`, such as `"3600s"` or `"1.5s"`
//! (`google.protobuf.Duration`). No field of this API takes a negative one.

use super::form::{Form, string};
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
use std::time::Duration;
use utoipa::openapi::{RefOr, Schema};

/// The longest span of `google.protobuf.Duration`: 10,000 years, in seconds.
pub const MAX_DURATION_S: u64 = 315_576_000_000;

/// The reason why a text is not a span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Not decimal seconds.
    #[error("Expected a duration in seconds, such as \"3600s\" or \"1.5s\".")]
    Format,
    /// A negative span.
    #[error("Expected a duration that is not negative.")]
    Negative,
    /// Longer than [`MAX_DURATION_S`].
    #[error("Expected a duration of at most {MAX_DURATION_S} seconds.")]
    TooLong,
}

/// Reads a span of time.
///
/// # Errors
/// [`InvalidDuration`] with the problem.
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    let number = text.strip_suffix('s').ok_or(InvalidDuration::Format)?;
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |rest| (true, rest));
    let (seconds, fraction) = match number.split_once('.') {
        Some((seconds, fraction)) if (1..=9).contains(&fraction.len()) => (seconds, fraction),
        Some(_) => return Err(InvalidDuration::Format),
        None => (number, ""),
    };
    if seconds.is_empty() || !seconds.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidDuration::Format);
    }
    if negative {
        return Err(InvalidDuration::Negative);
    }
    let seconds: u64 = seconds.parse().map_err(|_| InvalidDuration::TooLong)?;
    let nanos: u32 = format!("{fraction:0<9}").parse().map_err(|_| InvalidDuration::Format)?;
    if seconds > MAX_DURATION_S || (seconds == MAX_DURATION_S && nanos > 0) {
        return Err(InvalidDuration::TooLong);
    }
    Ok(Duration::new(seconds, nanos))
}

/// Writes a span of time with 0, 3, 6 or 9 decimal places, whichever is enough.
#[must_use]
pub fn format(span: Duration) -> String {
    let (seconds, nanos) = (span.as_secs(), span.subsec_nanos());
    match nanos {
        0 => format!("{seconds}s"),
        nanos if nanos % 1_000_000 == 0 => format!("{seconds}.{:03}s", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!("{seconds}.{:06}s", nanos / 1_000),
        nanos => format!("{seconds}.{nanos:09}s"),
    }
}

impl Form for Duration {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*self))
    }

    fn schema() -> RefOr<Schema> {
        string("google-duration").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_seconds_are_read_and_written() {
        for (text, seconds, nanos, written) in [
            ("3600s", 3600, 0, "3600s"),
            ("0s", 0, 0, "0s"),
            ("1.5s", 1, 500_000_000, "1.500s"),
            ("0.000001s", 0, 1_000, "0.000001s"),
            ("0.000000001s", 0, 1, "0.000000001s"),
            ("007s", 7, 0, "7s"),
            ("315576000000s", MAX_DURATION_S, 0, "315576000000s"),
        ] {
            assert_eq!(parse(text), Ok(Duration::new(seconds, nanos)), "{text}");
            assert_eq!(format(Duration::new(seconds, nanos)), written);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        use InvalidDuration::{Format, Negative, TooLong};
        for (text, error) in [
            ("", Format),
            ("s", Format),
            ("-s", Format),
            ("3600", Format),
            ("3600 s", Format),
            ("1.s", Format),
            (".5s", Format),
            ("1.0000000001s", Format),
            ("1e3s", Format),
            ("1h", Format),
            ("+1s", Format),
            ("1.-5s", Format),
            ("--1s", Format),
            ("-1s", Negative),
            ("-0.5s", Negative),
            ("315576000001s", TooLong),
            ("315576000000.1s", TooLong),
            ("99999999999999999999s", TooLong),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
