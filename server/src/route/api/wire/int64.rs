//! 64-bit integers, mostly ids: a string on the wire, because JavaScript would round a number;
//! a number is accepted, too.

use super::form::{Form, string};
use serde::{
    Deserializer, Serializer,
    de::{Error, Visitor},
};
use std::fmt;
use unbox_common::ids::{
    AccountId, ApiKeyId, ClaimId, CompanyId, ConfigurationId, DeviceId, FactoryRecordId, OperationId, TokenId,
};
use utoipa::openapi::{RefOr, Schema};

/// Reads the decimal form of an integer: digits without a leading zero, perhaps after `-`.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let canonical = match digits.as_bytes() {
        [b'0'] => text == "0",
        [first, rest @ ..] => first.is_ascii_digit() && *first != b'0' && rest.iter().all(u8::is_ascii_digit),
        [] => false,
    };
    if canonical { text.parse().ok() } else { None }
}

impl Form for i64 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Int64)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }

    fn schema() -> RefOr<Schema> {
        let mut schema = string("int64");
        schema.pattern = Some("^(0|-?[1-9][0-9]{0,18})$".to_owned());
        schema.into()
    }
}

struct Int64;

impl Visitor<'_> for Int64 {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer or its decimal text")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
        i64::try_from(number).map_err(|_| E::custom("Expected a 64-bit integer."))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
        parse(text).ok_or_else(|| E::custom("Expected a 64-bit integer in decimal digits."))
    }
}

macro_rules! ids {
    ($($id:ident),+) => {
        $(impl Form for $id {
            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let number = <i64 as Form>::read(deserializer)?;
                Self::new(number).map_err(|_| D::Error::custom("Expected an id: a positive 64-bit integer."))
            }

            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.get().write(serializer)
            }

            fn schema() -> RefOr<Schema> {
                <i64 as Form>::schema()
            }
        })+
    };
}

ids!(
    AccountId,
    ApiKeyId,
    ClaimId,
    CompanyId,
    ConfigurationId,
    DeviceId,
    FactoryRecordId,
    OperationId,
    TokenId
);

#[cfg(test)]
mod tests {
    use super::super::form::{Read, Written};
    use super::*;

    fn read<T: Form>(json: &str) -> Option<T> {
        serde_json::from_str::<Read<T>>(json).ok().map(|Read(value)| value)
    }

    #[test]
    fn strings_and_whole_numbers_are_read() {
        for (json, expected) in [
            ("7", Some(7)),
            ("\"7\"", Some(7)),
            ("\"-7\"", Some(-7)),
            ("0", Some(0)),
            ("\"0\"", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("\"9223372036854775807\"", Some(i64::MAX)),
            ("\"-9223372036854775808\"", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("\"9223372036854775808\"", None),
            ("1.0", None),
            ("1e3", None),
            ("\"1e3\"", None),
            ("\"1.5\"", None),
            ("\"\"", None),
            ("\"-\"", None),
            ("\"-0\"", None),
            ("\"007\"", None),
            ("\"+7\"", None),
            ("\" 7\"", None),
            ("\"0x7\"", None),
            ("\"\u{0667}\"", None),
            ("true", None),
            ("null", None),
            ("[7]", None),
        ] {
            assert_eq!(read::<i64>(json), expected, "{json}");
        }
    }

    #[test]
    fn an_int32_is_no_larger_than_it_is() {
        assert_eq!(read::<i32>("\"2147483647\""), Some(i32::MAX));
        assert_eq!(read::<i32>("2147483648"), None);
        assert_eq!(serde_json::to_string(&Written(&7_i32)).unwrap(), "7");
    }

    #[test]
    fn an_id_is_positive_and_written_as_a_string() {
        let id: CompanyId = read("12").unwrap();
        assert_eq!(serde_json::to_string(&Written(&id)).unwrap(), "\"12\"");
        assert_eq!(read::<CompanyId>("0"), None);
        assert_eq!(read::<CompanyId>("\"-1\""), None);
    }
}
