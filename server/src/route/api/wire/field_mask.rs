//! Field masks: the fields that a PATCH changes (`google.protobuf.FieldMask`).

use super::{
    detail::FieldViolation,
    message::{Message, Role},
};
use std::collections::BTreeSet;

/// The longest mask that is looked at, in bytes.
const MAX_MASK_BYTES: usize = 4096;

/// Fields of one message, by their JSON names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldMask(BTreeSet<&'static str>);

impl FieldMask {
    /// Reads the parameter `updateMask`: names separated by commas, in either spelling; `*` is all.
    ///
    /// # Errors
    /// If a name is not a field of the message, or a field that only the server sets; or if the mask is
    /// empty.
    pub fn parse<T: Message>(mask: &str) -> Result<Self, FieldViolation> {
        let refused = |rule: String| Err(FieldViolation::new("updateMask", rule));
        if mask.trim().is_empty() || mask.len() > MAX_MASK_BYTES {
            return refused("Expected the names of the fields to change, apart by commas.".to_owned());
        }
        let mut fields = BTreeSet::new();
        for path in mask.split(',').map(str::trim) {
            if path == "*" {
                fields.extend(writable::<T>());
                continue;
            }
            match T::FIELDS.iter().find(|field| field.json == path || field.proto == path) {
                Some(field) if field.role.includes(Role::OUTPUT) => {
                    return refused(format!("{} cannot be changed.", field.json));
                }
                Some(field) => {
                    fields.insert(field.json);
                }
                None => {
                    let path: String = path.chars().take(64).collect();
                    return refused(format!("{path:?} is not a field of {}.", T::NAME));
                }
            }
        }
        Ok(Self(fields))
    }

    /// Returns true if the field of this JSON name is to change.
    #[must_use]
    pub fn contains(&self, field: &str) -> bool {
        self.0.contains(field)
    }

    /// Returns the JSON names, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().copied()
    }
}

fn writable<T: Message>() -> impl Iterator<Item = &'static str> {
    T::FIELDS.iter().filter(|field| !field.role.includes(Role::OUTPUT)).map(|field| field.json)
}

#[cfg(test)]
mod tests {
    use super::super::message::message;
    use super::*;

    message! {
        /// For these tests.
        struct Thing {
            /// The server's.
            name: String = "name", OUTPUT;
            /// Ours.
            display_name: String = "displayName", REQUIRED;
            /// Ours, too.
            size: i64 = "size";
        }
    }

    #[test]
    fn both_spellings_name_a_field() {
        for (mask, fields) in [
            ("displayName", vec!["displayName"]),
            ("display_name,size", vec!["displayName", "size"]),
            ("size, displayName,size", vec!["displayName", "size"]),
            ("*", vec!["displayName", "size"]),
        ] {
            let mask = FieldMask::parse::<Thing>(mask).unwrap();
            assert_eq!(mask.iter().collect::<Vec<_>>(), fields);
            assert!(mask.contains(fields[0]) && !mask.contains("name"));
        }
    }

    #[test]
    fn other_masks_are_refused() {
        let long = "size,".repeat(1000);
        for (mask, rule) in [
            ("", "Expected the names of the fields to change, apart by commas."),
            (" ", "Expected the names of the fields to change, apart by commas."),
            (long.as_str(), "Expected the names of the fields to change, apart by commas."),
            ("name", "name cannot be changed."),
            ("size,", "\"\" is not a field of Thing."),
            ("Size", "\"Size\" is not a field of Thing."),
            ("size.x", "\"size.x\" is not a field of Thing."),
            ("size\u{0}", "\"size\\0\" is not a field of Thing."),
        ] {
            let refused = FieldMask::parse::<Thing>(mask).unwrap_err();
            assert_eq!((refused.field.as_str(), refused.description.as_str()), ("updateMask", rule));
        }
    }
}
