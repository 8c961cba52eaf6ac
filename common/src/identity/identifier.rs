//! One identifier: a kind and a value that passed every rule of that kind.

use super::{IdentifierKind, formats, placeholder::is_placeholder};
use std::fmt;

/// The longest value of any kind, in bytes; SMBIOS strings end before 256.
pub const MAX_IDENTIFIER_BYTES: usize = 255;

/// An identifier that passed the rules of its kind, in the one form that all sides compare.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identifier {
    kind: IdentifierKind,
    value: String,
}

/// The rule that a value broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// Nothing but white space.
    #[error("is empty")]
    Empty,
    /// Longer than any firmware field.
    #[error("is longer than {MAX_IDENTIFIER_BYTES} bytes")]
    TooLong,
    /// Characters that no label carries.
    #[error("holds characters other than printable ASCII")]
    NotPrintable,
    /// A maker's filler in place of a value.
    #[error("is a placeholder that the maker never replaced")]
    Placeholder,
    /// Not in the form that this kind has.
    #[error("is not in its form: expected {expected}")]
    Format {
        /// The form, in words.
        expected: &'static str,
    },
    /// A MAC address assigned by software, not by a maker.
    #[error("is a locally administered address, which software can choose")]
    LocallyAdministered,
    /// A MAC address of a group.
    #[error("is a multicast address, which no interface owns")]
    Multicast,
}

/// A value that is not an identifier, with the rule that it broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {value:?} {rule}")]
pub struct InvalidIdentifier {
    /// The kind that it was given for.
    pub kind: IdentifierKind,
    /// The value, cut to 64 characters.
    pub value: String,
    /// The rule that it broke.
    pub rule: Rule,
}

impl Identifier {
    /// Trims, folds and checks a value as it came from firmware, a label or a CSV cell.
    ///
    /// # Errors
    /// [`InvalidIdentifier`] with the rule that the value broke.
    pub fn parse(kind: IdentifierKind, raw: &str) -> Result<Self, InvalidIdentifier> {
        Self::check(kind, raw).map(|value| Self { kind, value }).map_err(|rule| InvalidIdentifier {
            kind,
            value: raw.chars().take(64).collect(),
            rule,
        })
    }

    fn check(kind: IdentifierKind, raw: &str) -> Result<String, Rule> {
        let value = raw.trim_matches(|char: char| char.is_whitespace() || char == '\0');
        if value.is_empty() {
            return Err(Rule::Empty);
        }
        if value.len() > MAX_IDENTIFIER_BYTES {
            return Err(Rule::TooLong);
        }
        // People name makers and models in their own letters; nothing else has any but ASCII.
        let value = if kind.is_name() { formats::compose(value) } else { value.to_owned() };
        if value.len() > MAX_IDENTIFIER_BYTES {
            return Err(Rule::TooLong);
        }
        let letter = |char: char| kind.is_name() && char.is_alphanumeric();
        if !value.chars().all(|char| char == ' ' || char.is_ascii_graphic() || letter(char)) {
            return Err(Rule::NotPrintable);
        }
        let folded = value.to_ascii_lowercase();
        if is_placeholder(kind, &folded) {
            return Err(Rule::Placeholder);
        }
        let value = formats::normalise(kind, &value)?;
        // Once more in its canonical form: a UUID without dashes is still a placeholder.
        let canonical = value.to_ascii_lowercase();
        let placeholder = canonical != folded && is_placeholder(kind, &canonical);
        if placeholder { Err(Rule::Placeholder) } else { Ok(value) }
    }

    /// Returns the kind.
    #[must_use]
    pub const fn kind(&self) -> IdentifierKind {
        self.kind
    }

    /// Returns the value in its canonical form.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns true if both name the same thing: makers and models are compared folded, because a reseller
    /// writes `Dell` where the firmware says `Dell Inc.`.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.kind == other.kind
            && match self.kind {
                IdentifierKind::Manufacturer => {
                    formats::fold_manufacturer(&self.value) == formats::fold_manufacturer(&other.value)
                }
                IdentifierKind::Model | IdentifierKind::Sku => {
                    formats::fold_name(&self.value) == formats::fold_name(&other.value)
                }
                _ => self.value == other.value,
            }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.value)
    }
}

impl fmt::Debug for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_refusal_names_kind_value_and_rule() {
        let refused = Identifier::parse(IdentifierKind::SerialNumber, " System Serial Number ").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "serial_number \" System Serial Number \" is a placeholder that the maker never replaced"
        );
        for (raw, rule) in [
            ("\0 \t", Rule::Empty),
            (&"A".repeat(256), Rule::TooLong),
            ("ABC\u{7}DEF", Rule::NotPrintable),
            ("ABCDÉF", Rule::NotPrintable),
            ("ABC\u{fffd}", Rule::NotPrintable),
        ] {
            assert_eq!(
                Identifier::parse(IdentifierKind::SerialNumber, raw).unwrap_err().rule,
                rule,
                "{raw:?}"
            );
        }
    }

    #[test]
    fn makers_and_models_are_compared_as_people_write_them() {
        let maker = |text| Identifier::parse(IdentifierKind::Manufacturer, text).unwrap();
        let model = |text| Identifier::parse(IdentifierKind::Model, text).unwrap();
        assert!(maker("Dell Inc.").same_as(&maker("DELL")));
        assert!(maker("LENOVO").same_as(&maker("Lenovo")));
        assert!(maker("ASUSTeK COMPUTER INC.").same_as(&maker("Asus")));
        assert!(!maker("Dell").same_as(&maker("HP")));
        assert!(model("Latitude  7450").same_as(&model("latitude 7450")));
        assert!(!model("Latitude 7450").same_as(&model("Latitude 7440")));
        // Names use the letters of their language, which not every keyboard has.
        let (composed, decomposed) = (model("14e 2e g\u{e9}n"), model("14e\u{a0}2e ge\u{301}n"));
        assert_eq!(composed, decomposed);
        assert!(composed.same_as(&model("14E 2E GEN")) && composed.same_as(&model("14E 2E G\u{c9}N")));
        let refused = |text| Identifier::parse(IdentifierKind::Model, text).map_err(|invalid| invalid.rule);
        assert_eq!(refused("Gate\u{202e}way"), Err(Rule::NotPrintable));
        assert_eq!(refused("Gate\nway 3").as_ref().map(Identifier::value), Ok("Gate way 3"));
        assert_eq!(refused(&"\u{1d160}".repeat(63)), Err(Rule::TooLong), "composed it is longer");
    }

    proptest! {
        #[test]
        fn an_imei_without_its_check_digit_is_the_same_imei(body in "[0-9]{14}") {
            prop_assume!(body.bytes().any(|byte| byte != body.as_bytes()[0]));
            let whole = Identifier::parse(IdentifierKind::Imei, &body).unwrap();
            prop_assert!(whole.value().starts_with(&body));
            let again = Identifier::parse(IdentifierKind::Imei, whole.value());
            prop_assert_eq!(again.as_ref(), Ok(&whole));
            // Of ten last digits, one is right.
            let right = ('0'..='9').filter(|last| {
                Identifier::parse(IdentifierKind::Imei, &format!("{body}{last}")).is_ok()
            });
            prop_assert_eq!(right.count(), 1);
        }

        #[test]
        fn both_forms_of_a_meid_are_one(first in 1..=u32::MAX, rest in 0..1_u32 << 24) {
            let (decimal, hex) = (format!("{first:010}{rest:08}"), format!("{first:08x}{rest:06x}"));
            let of = |text: &str| Identifier::parse(IdentifierKind::Meid, text).ok();
            prop_assert_eq!(of(&decimal), of(&hex));
        }

        #[test]
        fn a_canonical_value_is_its_own_canonical_value(
            kind in proptest::sample::select(IdentifierKind::ALL.to_vec()),
            raw in "[ -~]{0,40}|\\PC{0,100}",
        ) {
            if let Ok(once) = Identifier::parse(kind, &raw) {
                let again = Identifier::parse(kind, once.value());
                prop_assert_eq!(again.as_ref(), Ok(&once));
            }
        }
    }
}
