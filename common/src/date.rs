//! Days of the calendar: days of manufacture, and the first eligible day of a model.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};
use time::Month;

/// A day of the Gregorian calendar, `YYYY-MM-DD` (RFC 3339, `full-date`) in every text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(time::Date);

/// The error for a text that does not name a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a day such as 2026-11-21")]
pub struct InvalidDate;

impl Date {
    /// Makes a day from its numbers; `None` if the calendar has no such day.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let month = Month::try_from(month).ok()?;
        time::Date::from_calendar_date(year.into(), month, day).ok().map(Self)
    }
}

impl FromStr for Date {
    type Err = InvalidDate;

    fn from_str(text: &str) -> Result<Self, InvalidDate> {
        let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else { return Err(InvalidDate) };
        let number = |digits: &[u8]| {
            digits.iter().try_fold(0_u16, |sum, digit| {
                digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0')).ok_or(InvalidDate)
            })
        };
        let small = |digits| number(digits).and_then(|of| u8::try_from(of).map_err(|_| InvalidDate));
        Self::new(number(&[y1, y2, y3, y4])?, small(&[m1, m2])?, small(&[d1, d2])?).ok_or(InvalidDate)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.0.year(), u8::from(self.0.month()), self.0.day())
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_days_of_the_calendar_are_dates() {
        for text in [
            "2021-02-29",
            "2021-13-01",
            "2021-00-10",
            "2021-1-1",
            "21-01-01",
            "2021-01-01 ",
            "2021/01/01",
            "",
            "+021-01-01",
        ] {
            assert_eq!(text.parse::<Date>(), Err(InvalidDate), "{text:?}");
        }
        let leap: Date = "2024-02-29".parse().unwrap();
        assert_eq!(serde_json::to_string(&leap).unwrap(), "\"2024-02-29\"");
        assert!(leap < Date::new(2024, 3, 1).unwrap());
    }

    proptest! {
        #[test]
        fn a_date_reads_back(year in 0..=9999_u16, month in 1..=12_u8, day in 1..=28_u8) {
            let date = Date::new(year, month, day).unwrap();
            prop_assert_eq!(date.to_string().parse(), Ok(date));
        }

        #[test]
        fn no_text_breaks_it(text in "\\PC{0,12}") {
            if let Ok(date) = text.parse::<Date>() {
                prop_assert_eq!(date.to_string(), text);
            }
        }
    }
}
