//! Enums of the API: written by name, read by name or number.

use serde::{
    Deserializer,
    de::{Error, Visitor},
};
use std::{fmt, marker::PhantomData};

/// An enum whose variants have a wire name and a number. Number 0 means absence.
pub trait WireEnum: Copy + 'static {
    /// Every variant, in the order of their numbers.
    const ALL: &'static [Self];

    /// Returns the wire name.
    fn name(self) -> &'static str;

    /// Returns the number in the protocol buffer.
    fn number(self) -> i32;
}

/// Declares such an enum: each variant with its number and its wire name, the one for 0 first.
macro_rules! wire_enum {
    (
        $(#[doc = $about:literal])*
        $vis:vis enum $name:ident {
            $(#[doc = $unset_doc:literal])* $unset:ident = 0 $unset_word:literal,
            $($(#[doc = $doc:literal])* $variant:ident = $number:literal $word:literal,)+
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
        $vis enum $name {
            $(#[doc = $unset_doc])* #[default] $unset,
            $($(#[doc = $doc])* $variant,)+
        }

        impl $crate::route::api::wire::enums::WireEnum for $name {
            const ALL: &'static [Self] = &[Self::$unset, $(Self::$variant),+];

            fn name(self) -> &'static str {
                match self {
                    Self::$unset => $unset_word,
                    $(Self::$variant => $word,)+
                }
            }

            fn number(self) -> i32 {
                match self {
                    Self::$unset => 0,
                    $(Self::$variant => $number,)+
                }
            }
        }

        impl $crate::route::api::wire::form::Form for $name {
            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::route::api::wire::enums::read(deserializer)
            }

            fn write<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str($crate::route::api::wire::enums::WireEnum::name(*self))
            }

            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::Ref::from_schema_name(stringify!($name)).into()
            }

            fn add_schemas(schemas: &mut $crate::route::api::wire::form::Schemas) {
                let words = <Self as $crate::route::api::wire::enums::WireEnum>::ALL.iter()
                    .map(|word| $crate::route::api::wire::enums::WireEnum::name(*word));
                let schema = utoipa::openapi::schema::ObjectBuilder::new()
                    .schema_type(utoipa::openapi::schema::SchemaType::Type(utoipa::openapi::schema::Type::String))
                    .description(Some(concat!($($about),*).trim()))
                    .enum_values(Some(words))
                    .into();
                schemas.push((stringify!($name).to_owned(), schema));
            }
        }
    };
}

pub(in crate::route::api) use wire_enum;

/// Reads a variant by its name or its number.
///
/// # Errors
/// For any other value; it lists the names that are allowed, and never the one that was sent.
pub fn read<'de, T: WireEnum, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Words(PhantomData))
}

struct Words<T>(PhantomData<T>);

impl<T: WireEnum> Visitor<'_> for Words<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of ")?;
        for (at, word) in T::ALL.iter().enumerate() {
            write!(f, "{}{}", if at > 0 { ", " } else { "" }, word.name())?;
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        let found = T::ALL.iter().copied().find(|word| word.name() == text);
        found.ok_or_else(|| E::custom(format_args!("Expected {}.", &self as &dyn serde::de::Expected)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        let found = T::ALL.iter().copied().find(|word| i64::from(word.number()) == number);
        found.ok_or_else(|| E::custom(format_args!("Expected {}.", &self as &dyn serde::de::Expected)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::form::{Form, Read, Written};

    wire_enum! {
        /// For these tests.
        enum Colour {
            /// None.
            Unspecified = 0 "COLOUR_UNSPECIFIED",
            /// Red.
            Red = 1 "RED",
            /// Blue.
            Blue = 5 "BLUE",
        }
    }

    fn read(json: &str) -> Result<Colour, String> {
        serde_json::from_str::<Read<Colour>>(json)
            .map(|Read(colour)| colour)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_numbers_are_read_and_names_written() {
        for (json, colour) in [
            ("\"RED\"", Colour::Red),
            ("5", Colour::Blue),
            ("0", Colour::Unspecified),
            ("\"COLOUR_UNSPECIFIED\"", Colour::Unspecified),
        ] {
            assert_eq!(read(json), Ok(colour), "{json}");
        }
        assert_eq!(serde_json::to_string(&Written(&Colour::Blue)).unwrap(), "\"BLUE\"");
        let mut schemas = Vec::new();
        Colour::add_schemas(&mut schemas);
        assert_eq!(
            serde_json::to_string(&schemas[0].1).unwrap(),
            r#"{"type":"string","description":"For these tests.","enum":["COLOUR_UNSPECIFIED","RED","BLUE"]}"#
        );
    }

    #[test]
    fn what_is_refused_names_what_could_be_and_not_what_was_sent() {
        for json in [
            "\"red\"",
            "\"GREEN-SECRET\"",
            "\"\"",
            "2",
            "-1",
            "18446744073709551615",
            "1.0",
            "true",
            "null",
            "[]",
            "{}",
            "\"5\"",
        ] {
            let error = read(json).unwrap_err();
            assert!(error.contains("one of COLOUR_UNSPECIFIED, RED, BLUE"), "{json}: {error}");
            assert!(!error.contains("SECRET"), "{error}");
        }
    }
}
