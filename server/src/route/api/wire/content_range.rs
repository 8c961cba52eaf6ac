//! `Content-Range` of an upload in parts (RFC 9110, section 14.4): the bytes that a request carries, or the
//! question how many have arrived.

use super::status::Status;

/// The bytes that a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentRange {
    /// The bytes from the first to the last; the size of the whole, if it is known.
    Bytes {
        /// The offset of the first byte.
        first: u64,
        /// The number of bytes.
        length: u64,
        /// The size of the whole.
        total: Option<u64>,
    },
    /// No bytes: the question how many have arrived.
    Question {
        /// The size of the whole, if it is known.
        total: Option<u64>,
    },
}

impl ContentRange {
    /// Reads the header: `bytes 0-99/1000`, `bytes 0-99/*`, `bytes */1000` or `bytes */*`.
    ///
    /// # Errors
    /// The rule that the header breaks.
    pub fn parse(text: &str) -> Result<Self, Status> {
        Self::read(text).ok_or_else(|| {
            Status::invalid_field(
                "Content-Range",
                "Expected a range such as bytes 0-99/1000, or bytes */1000 to ask how many have arrived.",
            )
        })
    }

    fn read(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes ")?.trim().split_once('/')?;
        let total = if total == "*" { None } else { Some(number(total)?) };
        if range == "*" {
            return Some(Self::Question { total });
        }
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let length = last.checked_sub(first)?.checked_add(1)?;
        total.is_none_or(|total| last < total).then_some(Self::Bytes { first, length, total })
    }
}

fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_questions_are_told_apart() {
        let bytes = |first, length, total| Some(ContentRange::Bytes { first, length, total });
        for (text, expected) in [
            ("bytes 0-99/1000", bytes(0, 100, Some(1000))),
            ("bytes 999-999/1000", bytes(999, 1, Some(1000))),
            ("bytes 5-9/*", bytes(5, 5, None)),
            ("bytes */1000", Some(ContentRange::Question { total: Some(1000) })),
            ("bytes */0", Some(ContentRange::Question { total: Some(0) })),
            (" bytes */* ", Some(ContentRange::Question { total: None })),
        ] {
            assert_eq!(ContentRange::parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "bytes",
            "bytes 0-99",
            "bytes 9-5/10",
            "bytes 0-10/10",
            "bytes +0-5/10",
            "bytes -5/10",
            "bytes 0-/10",
            "items 0-5/10",
            "bytes 0-18446744073709551615/*",
            "bytes 0-99999999999999999999/*",
            "bytes 0-5/ten",
        ] {
            assert!(ContentRange::parse(text).is_err(), "{text}");
        }
    }
}
