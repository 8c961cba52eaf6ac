//! One parsed scan: its fields, and their meaning for a device.

use super::{MAX_SCAN_BYTES, meaning};
use crate::{
    date::Date,
    identity::{Identifier, InvalidIdentifier},
};
use std::fmt;

/// One parsed scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    symbology: Option<Symbology>,
    fields: Vec<Field>,
    readings: Vec<Reading>,
    manufactured: Option<Date>,
}

/// The kind of code, if the scanner names it (symbology identifier, ISO/IEC 15424).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbology {
    /// `]A`
    Code39,
    /// `]C0`
    Code128,
    /// `]C1`
    Gs1_128,
    /// `]e`
    Gs1DataBar,
    /// `]E`: the number of a product, never of a device.
    EanUpc,
    /// `]d`
    DataMatrix,
    /// `]d2`
    Gs1DataMatrix,
    /// `]Q`
    QrCode,
    /// `]Q3`
    Gs1QrCode,
    /// Any other.
    Other,
}

/// One field of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The code's name for this field.
    pub name: FieldName,
    /// The value, without its name.
    pub value: String,
}

/// The name that a code gives a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldName {
    /// No name: the value stands alone.
    Bare,
    /// An ANSI MH10.8.2 data identifier, such as `S` or `23S`.
    DataIdentifier(String),
    /// A GS1 application identifier, such as `21`.
    ApplicationIdentifier(String),
    /// A word, such as `SN` in `SN: PF0ABCDE`.
    Word(String),
}

/// The meaning of one field for a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The field, by its index in [`Scan::fields`].
    pub field: usize,
    /// Every possible meaning, the likeliest first; all identifiers of one meaning belong together. A single
    /// meaning is certain; between several, the machine decides. A meaning without identifiers says that
    /// the field may be about something else, such as a part number.
    pub ways: Vec<Vec<Identifier>>,
    /// The rule that the field broke, if it has no possible meaning.
    pub refused: Option<InvalidIdentifier>,
}

/// The reason why a scan as a whole cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScan {
    /// The scan is empty.
    #[error("the scan is empty")]
    Empty,
    /// Larger than any code.
    #[error("the scan is longer than {MAX_SCAN_BYTES} bytes")]
    TooLong,
    /// Bytes that no label carries.
    #[error("the scan holds characters that no label carries")]
    NotPrintable,
    /// The code claims to be one of GS1, and is not.
    #[error("the code is not one of GS1, or a check digit in it is wrong")]
    Gs1,
    /// The envelope is malformed.
    #[error("the code is cut off, or of a form that is not known")]
    Envelope,
}

/// The way in which a code names its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Explicitly.
    Said,
    /// By resemblance only: the text may also be a bare value.
    LooksLike,
    /// Not at all.
    Bare,
}

impl Symbology {
    /// Takes the symbology identifier off a text, if there is one: `]`, a letter and a digit.
    pub(super) fn split_off(text: &str) -> (Option<Self>, &str) {
        let mut chars = text.chars();
        let (Some(']'), Some(code), Some(modifier)) = (chars.next(), chars.next(), chars.next()) else {
            return (None, text);
        };
        if !(code.is_ascii_alphabetic() && modifier.is_ascii_alphanumeric()) {
            return (None, text);
        }
        let symbology = match (code, modifier) {
            ('A', _) => Self::Code39,
            ('C', '1') => Self::Gs1_128,
            ('C', _) => Self::Code128,
            ('e', _) => Self::Gs1DataBar,
            ('E', _) => Self::EanUpc,
            ('d', '2') => Self::Gs1DataMatrix,
            ('d', _) => Self::DataMatrix,
            ('Q', '3') => Self::Gs1QrCode,
            ('Q', _) => Self::QrCode,
            _ => Self::Other,
        };
        (Some(symbology), chars.as_str())
    }

    /// Returns true if codes of this kind hold GS1 element strings and nothing else.
    #[must_use]
    pub const fn is_gs1(self) -> bool {
        matches!(self, Self::Gs1_128 | Self::Gs1DataBar | Self::Gs1DataMatrix | Self::Gs1QrCode)
    }
}

impl Field {
    pub(super) fn bare(value: &str) -> Self {
        Self { name: FieldName::Bare, value: value.to_owned() }
    }
}

impl Scan {
    pub(super) fn new(symbology: Option<Symbology>, syntax: Syntax, text: &str, fields: Vec<Field>) -> Self {
        let whole = (syntax == Syntax::LooksLike).then_some(text);
        let read = |field| match whole {
            Some(whole) => meaning::interpret_lookalike(field, whole, fields.len() == 1),
            None => meaning::interpret(field),
        };
        let readings = fields
            .iter()
            .enumerate()
            .filter_map(|(at, field)| read(field).map(|read| Reading::new(at, read)))
            .collect();
        let manufactured = fields.iter().find_map(meaning::day_of_manufacture);
        Self { symbology, fields, readings, manufactured }
    }

    /// Returns the kind of code, if the scanner named it.
    #[must_use]
    pub const fn symbology(&self) -> Option<Symbology> {
        self.symbology
    }

    /// Returns every field, in the order of the code.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Returns the identifiers of a device in the scan, already checked against the rules.
    #[must_use]
    pub fn identifiers(&self) -> &[Reading] {
        &self.readings
    }

    /// Returns the day of manufacture, if the code holds it.
    #[must_use]
    pub const fn manufacture_date(&self) -> Option<Date> {
        self.manufactured
    }
}

impl Reading {
    fn new(field: usize, read: Result<Vec<Vec<Identifier>>, InvalidIdentifier>) -> Self {
        match read {
            Ok(ways) => Self { field, ways, refused: None },
            Err(refused) => Self { field, ways: Vec::new(), refused: Some(refused) },
        }
    }
}

impl fmt::Display for FieldName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bare => f.write_str("value"),
            Self::DataIdentifier(name) | Self::ApplicationIdentifier(name) => write!(f, "({name})"),
            Self::Word(word) => f.write_str(word),
        }
    }
}
