//! Points in time: RFC 3339 with any offset on the way in, UTC on the way out
//! (`google.protobuf.Timestamp`).

use super::form::{Form, string};
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
use time::OffsetDateTime;
use unbox_common::timestamp::Timestamp;
use utoipa::openapi::{RefOr, Schema};

/// The last point in time that RFC 3339 can write: the end of the year 9999, in ms.
pub const MAX_TIMESTAMP: Timestamp = Timestamp(253_402_300_799_999);
/// The longest text that is looked at: nine decimal places and an offset, and some room.
const MAX_TEXT_BYTES: usize = 48;

/// Reads a point in time, rounded down to the millisecond. `None` if it is not RFC 3339, or before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    Timestamp::parse_rfc3339(text).filter(|moment| *moment <= MAX_TIMESTAMP)
}

/// Writes a point in time in UTC, with milliseconds only if it has any. Times after the year 9999 are
/// written as its end.
#[must_use]
pub fn format(moment: Timestamp) -> String {
    let millis = moment.min(MAX_TIMESTAMP).0;
    let seconds = i64::try_from(millis / 1000).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    let fraction = match millis % 1000 {
        0 => String::new(),
        millis => format!(".{millis:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

impl Form for Timestamp {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(&String::deserialize(deserializer)?).ok_or_else(|| {
            D::Error::custom("Expected a date and time since 1970, such as \"2026-11-21T00:00:00Z\".")
        })
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*self))
    }

    fn schema() -> RefOr<Schema> {
        string("date-time").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_becomes_utc() {
        for (text, written) in [
            ("2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z"),
            ("2026-11-21T01:30:00+01:30", "2026-11-21T00:00:00Z"),
            ("2026-11-20T19:00:00.5-05:00", "2026-11-21T00:00:00.500Z"),
            ("2026-11-21T00:00:00.123456789Z", "2026-11-21T00:00:00.123Z"),
            ("2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(format(parse(text).unwrap()), written, "{text}");
        }
        assert_eq!(format(Timestamp(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn anything_else_is_refused() {
        let long = format!("2026-11-21T00:00:00.{}Z", "0".repeat(60));
        for text in [
            "",
            "now",
            "1795219200",
            "2026-11-21",
            "2026-11-21T00:00:00",
            "2026-11-21T24:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "10000-01-01T00:00:00Z",
            "9999-12-31T23:59:59-01:00",
            "2026-11-21T00:00:00+99:00",
            "2026-11-21T00:00:00Z ",
            long.as_str(),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
