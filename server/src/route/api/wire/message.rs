//! Messages: JSON objects with a fixed set of fields, declared like a table.
//!
//! Each row of [`message!`] is a field: its Rust name (which is also its `snake_case` name on the
//! wire), its type, its JSON name, and its roles as in the API's description. The decoder, the encoder,
//! the check of a client's message, and the schema all follow from the table.

use super::{
    detail::FieldViolation,
    form::{Field, Form, Schemas, WrittenField},
};
use serde::{
    de::{DeserializeSeed, Deserializer, Error, Visitor},
    ser::SerializeMap,
};
use std::fmt;
use utoipa::openapi::{
    RefOr, Schema,
    extensions::Extensions,
    schema::{AdditionalProperties, Object},
};

/// The roles of a field, besides its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role(u8);

impl Role {
    /// No role.
    pub const PLAIN: Self = Self(0);
    /// A field that a request must have.
    pub const REQUIRED: Self = Self(1);
    /// A field that only the server sets: a client's value is ignored.
    pub const OUTPUT: Self = Self(2);
    /// A field that a client sets and never reads.
    pub const INPUT: Self = Self(4);
    /// A list whose items are judged one by one, so that a bad one does not refuse the others.
    pub const ITEMWISE: Self = Self(8);

    /// Combines both roles.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns true if it includes the role `other`.
    #[must_use]
    pub const fn includes(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// One row of a message's table.
#[derive(Debug, Clone, Copy)]
pub struct FieldName {
    /// The name of the protocol buffer, in `snake_case`.
    pub proto: &'static str,
    /// The JSON name, in `lowerCamelCase`.
    pub json: &'static str,
    /// Its roles.
    pub role: Role,
    /// The fields of the message that it holds: see [`Form::nested_fields`].
    pub nested: fn() -> Option<&'static [Self]>,
}

/// A JSON object with a fixed set of fields.
pub trait Message: Form + Default {
    /// Its name in the schema.
    const NAME: &'static str;
    /// Its fields.
    const FIELDS: &'static [FieldName];

    /// Checks a received message against its table, and clears the fields that a client cannot set.
    ///
    /// # Errors
    /// The missing fields, one by one.
    fn check(&mut self) -> Result<(), Vec<FieldViolation>> {
        let mut violations = Vec::new();
        self.check_received(&mut violations);
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

/// Declares a message: see the head of this file.
macro_rules! message {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $name:ident {
            $($(#[doc = $doc:literal])* $field:ident: $ty:ty = $json:literal $(, $role:ident)*;)*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, Default)]
        $vis struct $name {
            $($(#[doc = $doc])* $vis $field: $ty,)*
        }

        impl $crate::route::api::wire::message::Message for $name {
            const NAME: &'static str = stringify!($name);
            const FIELDS: &'static [$crate::route::api::wire::message::FieldName] = &[
                $($crate::route::api::wire::message::FieldName {
                    proto: stringify!($field),
                    json: $json,
                    role: $crate::route::api::wire::message::Role::PLAIN
                        $(.and($crate::route::api::wire::message::Role::$role))*,
                    nested: <$ty as $crate::route::api::wire::form::Field>::nested_fields,
                },)*
            ];
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                #[expect(clippy::allow_attributes, reason = "a message without fields leaves `map` as it is")]
                #[allow(unused_mut)]
                let mut map = serializer.serialize_map(None)?;
                $(
                    let role = $crate::route::api::wire::message::Role::PLAIN
                        $(.and($crate::route::api::wire::message::Role::$role))*;
                    $crate::route::api::wire::message::write_field(&mut map, $json, role, &self.$field)?;
                )*
                serde::ser::SerializeMap::end(map)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fields;

                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        use $crate::route::api::wire::message::{KnownField, Message as _};
                        $(let mut $field: Option<$ty> = None;)*
                        while let Some(name) = map.next_key_seed(KnownField($name::FIELDS))? {
                            match name {
                                $($json => {
                                    if $field.is_some() {
                                        return Err(serde::de::Error::duplicate_field($json));
                                    }
                                    let $crate::route::api::wire::form::ReadField(value) = map.next_value()?;
                                    $field = Some(value);
                                })*
                                other => return Err(serde::de::Error::unknown_field(other, &[])),
                            }
                        }
                        Ok($name { $($field: $field.unwrap_or_default(),)* })
                    }
                }

                deserializer.deserialize_map(Fields)
            }
        }

        impl $crate::route::api::wire::form::Form for $name {
            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(deserializer)
            }

            fn write<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(self, serializer)
            }

            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                utoipa::openapi::Ref::from_schema_name(stringify!($name)).into()
            }

            fn add_schemas(schemas: &mut $crate::route::api::wire::form::Schemas) {
                if schemas.iter().any(|(name, _)| name == stringify!($name)) {
                    return;
                }
                #[expect(clippy::allow_attributes, reason = "a message without fields leaves `object` as it is")]
                #[allow(unused_mut)]
                let mut object = $crate::route::api::wire::message::object(concat!($($about),*));
                $($crate::route::api::wire::message::describe(
                    &mut object,
                    $json,
                    $crate::route::api::wire::message::Role::PLAIN
                        $(.and($crate::route::api::wire::message::Role::$role))*,
                    <$ty as $crate::route::api::wire::form::Field>::schema(),
                    concat!($($doc),*),
                );)*
                schemas.push((stringify!($name).to_owned(), object.into()));
                $(<$ty as $crate::route::api::wire::form::Field>::add_schemas(schemas);)*
            }

            fn nested_fields() -> Option<&'static [$crate::route::api::wire::message::FieldName]> {
                Some(<Self as $crate::route::api::wire::message::Message>::FIELDS)
            }

            fn check_received(&mut self, violations: &mut Vec<$crate::route::api::wire::detail::FieldViolation>) {
                $($crate::route::api::wire::message::check_received(
                    &mut self.$field,
                    $json,
                    $crate::route::api::wire::message::Role::PLAIN
                        $(.and($crate::route::api::wire::message::Role::$role))*,
                    violations,
                );)*
                let _ = violations;
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                $crate::route::api::wire::message::own_schema::<Self>()
            }
        }

        impl utoipa::ToSchema for $name {
            fn name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn schemas(schemas: &mut $crate::route::api::wire::form::Schemas) {
                $(<$ty as $crate::route::api::wire::form::Field>::add_schemas(schemas);)*
                let _ = schemas;
            }
        }
    };
}

pub(in crate::route::api) use message;

/// The key of an object as it is read: the JSON name of a field.
pub struct KnownField(pub &'static [FieldName]);

impl<'de> DeserializeSeed<'de> for KnownField {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for KnownField {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<&'static str, E> {
        let known = self.0.iter().find(|field| field.json == name || field.proto == name);
        known.map(|field| field.json).ok_or_else(|| E::unknown_field(name, &[]))
    }
}

/// Writes one field, if it has anything that a client may read.
///
/// # Errors
/// The serializer's own.
pub fn write_field<T: Field, M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    role: Role,
    field: &T,
) -> Result<(), M::Error> {
    if role.includes(Role::INPUT) || field.is_absent() {
        return Ok(());
    }
    map.serialize_entry(name, &WrittenField(field))
}

/// Checks one received field against its role.
pub fn check_received<T: Field>(field: &mut T, name: &str, role: Role, violations: &mut Vec<FieldViolation>) {
    if role.includes(Role::OUTPUT) {
        *field = T::default();
    } else if field.is_absent() {
        if role.includes(Role::REQUIRED) {
            violations.push(FieldViolation::new(name, "A value is required."));
        }
    } else if !role.includes(Role::ITEMWISE) {
        let known = violations.len();
        field.check_received(violations);
        for violation in violations.iter_mut().skip(known) {
            violation.nest(name);
        }
    }
}

/// Makes the schema of a message without its fields.
#[must_use]
pub fn object(about: &str) -> Object {
    let mut object = Object::new();
    object.description = Some(about.trim().to_owned());
    object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    object
}

/// Adds a field to the schema of its message.
pub fn describe(object: &mut Object, name: &str, role: Role, mut schema: RefOr<Schema>, about: &str) {
    let about = about.trim().to_owned();
    match &mut schema {
        RefOr::T(Schema::Object(value)) => {
            value.description = Some(about);
            value.read_only = role.includes(Role::OUTPUT).then_some(true);
            value.write_only = role.includes(Role::INPUT).then_some(true);
        }
        RefOr::T(Schema::Array(list)) => {
            list.description = Some(about);
            let roles = [(Role::OUTPUT, "readOnly"), (Role::INPUT, "writeOnly")];
            let said: Extensions = roles
                .into_iter()
                .filter(|(one, _)| role.includes(*one))
                .map(|(_, word)| (word, true))
                .collect();
            list.extensions = (!said.is_empty()).then_some(said);
        }
        RefOr::Ref(to) => to.description = about,
        RefOr::T(_) => {}
    }
    if role.includes(Role::REQUIRED) {
        object.required.push(name.to_owned());
    }
    object.properties.insert(name.to_owned(), schema);
}

/// Makes the schema of a message itself.
#[must_use]
pub fn own_schema<T: Message>() -> RefOr<Schema> {
    let mut schemas = Schemas::new();
    T::add_schemas(&mut schemas);
    let own = schemas.into_iter().find(|(name, _)| name == T::NAME).map(|(_, schema)| schema);
    own.unwrap_or_else(|| Object::new().into())
}
