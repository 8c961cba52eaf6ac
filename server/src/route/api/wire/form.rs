//! Rust types in `ProtoJSON`: the forms of a single value, and those of a message's field.
//!
//! A [`Form`] is one value; a [`Field`] is a message's use of it: a value with a default, an optional one,
//! a list or a map. `null` and absence are the same, and neither is ever written.

use super::{detail::FieldViolation, message::FieldName};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use unbox_common::{payload::PolicyItem, secret::Secret};
use utoipa::openapi::{
    RefOr, Schema,
    schema::{Array, KnownFormat, Object, ObjectBuilder, SchemaFormat, SchemaType, Type},
};

/// The rule of every text of a request. PostgreSQL stores no U+0000, and SQLite would: refused here, it is
/// refused by both, and before any statement.
pub const NO_NUL: &str = "Expected a text without the character U+0000.";

/// Schemas of the document by their names, as utoipa collects them.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

/// One value in `ProtoJSON`.
pub trait Form: Sized {
    /// Reads the value; `null` is not one.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// Writes the value.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Returns its description for the `OpenAPI` document.
    fn schema() -> RefOr<Schema>;

    /// Adds the schemas that [`Form::schema`] only refers to.
    fn add_schemas(_schemas: &mut Schemas) {}

    /// Returns the fields of a message; `None` for everything else.
    #[must_use]
    fn nested_fields() -> Option<&'static [FieldName]> {
        None
    }

    /// Clears fields that a client cannot set, and notes missing ones; only messages have either.
    fn check_received(&mut self, _violations: &mut Vec<FieldViolation>) {}
}

/// The value of a message's field.
pub trait Field: Default {
    /// Reads the value; `null` means absence.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// Writes the value.
    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;

    /// Returns true if there is nothing to write.
    fn is_absent(&self) -> bool;

    /// Returns its description for the `OpenAPI` document.
    fn schema() -> RefOr<Schema>;

    /// Adds the schemas that [`Field::schema`] only refers to.
    fn add_schemas(schemas: &mut Schemas);

    /// Returns the fields of the message that it holds; `None` for everything else.
    #[must_use]
    fn nested_fields() -> Option<&'static [FieldName]> {
        None
    }

    /// Clears fields that a client cannot set, and notes missing ones.
    fn check_received(&mut self, violations: &mut Vec<FieldViolation>);
}

impl<T: Form + Default + PartialEq> Field for T {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Option<T> as Field>::read(deserializer).map(Option::unwrap_or_default)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Form::write(self, serializer)
    }

    fn is_absent(&self) -> bool {
        *self == Self::default()
    }

    fn schema() -> RefOr<Schema> {
        <T as Form>::schema()
    }

    fn add_schemas(schemas: &mut Schemas) {
        <T as Form>::add_schemas(schemas);
    }

    fn nested_fields() -> Option<&'static [FieldName]> {
        <T as Form>::nested_fields()
    }

    fn check_received(&mut self, violations: &mut Vec<FieldViolation>) {
        Form::check_received(self, violations);
    }
}

impl<T: Form> Field for Option<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Read<T>>::deserialize(deserializer).map(|read| read.map(|Read(value)| value))
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.write(serializer),
            None => serializer.serialize_none(),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn schema() -> RefOr<Schema> {
        T::schema()
    }

    fn add_schemas(schemas: &mut Schemas) {
        T::add_schemas(schemas);
    }

    fn nested_fields() -> Option<&'static [FieldName]> {
        T::nested_fields()
    }

    fn check_received(&mut self, violations: &mut Vec<FieldViolation>) {
        if let Some(value) = self {
            value.check_received(violations);
        }
    }
}

impl<T: Form> Field for Vec<T> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Option::<Vec<Read<T>>>::deserialize(deserializer)?;
        Ok(read.unwrap_or_default().into_iter().map(|Read(value)| value).collect())
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Written))
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn schema() -> RefOr<Schema> {
        Array::new(T::schema()).into()
    }

    fn add_schemas(schemas: &mut Schemas) {
        T::add_schemas(schemas);
    }

    fn nested_fields() -> Option<&'static [FieldName]> {
        T::nested_fields()
    }

    fn check_received(&mut self, violations: &mut Vec<FieldViolation>) {
        for (at, value) in self.iter_mut().enumerate() {
            let known = violations.len();
            value.check_received(violations);
            for violation in violations.iter_mut().skip(known) {
                violation.nest(&format!("[{at}]"));
            }
        }
    }
}

/// A map of texts. Its keys are the client's own and are left as they are.
impl Field for BTreeMap<String, String> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries: Self = Option::deserialize(deserializer)?.unwrap_or_default();
        let storable = |(key, value): (&String, &String)| !key.contains('\0') && !value.contains('\0');
        if entries.iter().all(storable) { Ok(entries) } else { Err(D::Error::custom(NO_NUL)) }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }

    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().additional_properties(Some(<String as Form>::schema())).into()
    }

    fn add_schemas(_schemas: &mut Schemas) {}

    fn check_received(&mut self, _violations: &mut Vec<FieldViolation>) {}
}

/// A [`Form`] for serde to read.
pub struct Read<T>(pub T);

impl<'de, T: Form> Deserialize<'de> for Read<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Self)
    }
}

/// A [`Form`] for serde to write.
pub struct Written<'a, T>(pub &'a T);

impl<T: Form> Serialize for Written<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

/// A [`Field`] for serde to read.
pub struct ReadField<T>(pub T);

impl<'de, T: Field> Deserialize<'de> for ReadField<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::read(deserializer).map(Self)
    }
}

/// A [`Field`] for serde to write.
pub struct WrittenField<'a, T>(pub &'a T);

impl<T: Field> Serialize for WrittenField<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

/// Any text without U+0000.
impl Form for String {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Self::deserialize(deserializer)?;
        if text.contains('\0') { Err(D::Error::custom(NO_NUL)) } else { Ok(text) }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn schema() -> RefOr<Schema> {
        Object::with_type(SchemaType::Type(Type::String)).into()
    }
}

/// A secret is written as itself; an empty one counts as absent.
impl Form for Secret {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Form>::read(deserializer).map(Self::new)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn schema() -> RefOr<Schema> {
        string("password").into()
    }
}

impl Form for bool {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn schema() -> RefOr<Schema> {
        Object::with_type(SchemaType::Type(Type::Boolean)).into()
    }
}

/// A number or its decimal text; written as a number.
impl Form for i32 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wide = <i64 as Form>::read(deserializer)?;
        Self::try_from(wide).map_err(|_| D::Error::custom("Expected a 32-bit integer."))
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Int32);
        ObjectBuilder::new().schema_type(SchemaType::Type(Type::Integer)).format(Some(format)).into()
    }
}

/// Any JSON object, such as a detail of an error.
impl Form for Map<String, Value> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn schema() -> RefOr<Schema> {
        Object::new().into()
    }
}

/// An item of a payload's policy, in the form that `unbox_common::payload` documents.
impl Form for PolicyItem {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .property("type", <String as Form>::schema())
            .required("type")
            .description(Some("One policy item, by its type: see the payload document."))
            .into()
    }
}

/// Returns the schema of a text in some format.
#[must_use]
pub fn string(format: &str) -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .format(Some(SchemaFormat::Custom(format.to_owned())))
        .build()
}
