//! One scan, read: its fields, and what they say about a device.

use super::MAX_SCAN_BYTES;
use crate::identity::{Identifier, IdentifierKind, InvalidIdentifier};

/// One scan, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    symbology: Option<Symbology>,
    fields: Vec<Field>,
    readings: Vec<Reading>,
}

/// The kind of code, where the scanner says it (ISO/IEC 15424 symbology identifier).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbology {
    /// `]A`
    Code39,
    /// `]C0`
    Code128,
    /// `]C1`
    Gs1_128,
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
    /// What the code says that this is.
    pub name: FieldName,
    /// The value, without its name; printable ASCII.
    pub value: String,
}

/// What a code says that a field is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldName {
    /// Nothing: the value stands alone.
    Bare,
    /// An ANSI MH10.8.2 data identifier, such as `S` or `23S`.
    DataIdentifier(String),
    /// A GS1 application identifier, such as `21`.
    ApplicationIdentifier(String),
    /// A word, such as `SN` in `SN: PF0ABCDE`.
    Word(String),
}

/// What one field says about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The field, by its place in [`Scan::fields`].
    pub field: usize,
    /// Every way in which it can be meant, the likeliest first; all identifiers of one way hold
    /// together. One way: the field says it. Several: the machine decides.
    pub ways: Vec<Vec<Identifier>>,
    /// The rule that the field broke, if it can be meant in no way.
    pub refused: Option<InvalidIdentifier>,
}

/// Why a scan as a whole cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScan {
    /// There is nothing in it.
    #[error("the scan is empty")]
    Empty,
    /// Larger than any code.
    #[error("the scan is longer than {MAX_SCAN_BYTES} bytes")]
    TooLong,
    /// Bytes that no label carries.
    #[error("the scan holds characters that no label carries")]
    NotPrintable,
}

impl Scan {
    /// The kind of code, if the scanner said it.
    #[must_use]
    pub const fn symbology(&self) -> Option<Symbology> {
        self.symbology
    }

    /// Every field, in the order of the code.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// What of it identifies a device, already held against the rules.
    #[must_use]
    pub fn identifiers(&self) -> &[Reading] {
        &self.readings
    }
}

pub(super) fn bare(scan: &[u8]) -> Result<Scan, InvalidScan> {
    if scan.len() > MAX_SCAN_BYTES {
        return Err(InvalidScan::TooLong);
    }
    let text = std::str::from_utf8(scan).map_err(|_| InvalidScan::NotPrintable)?.trim();
    if text.is_empty() {
        return Err(InvalidScan::Empty);
    }
    let read = Identifier::parse(IdentifierKind::SerialNumber, text);
    let (ways, refused) = match read {
        Ok(serial) => (vec![vec![serial]], None),
        Err(refused) => (Vec::new(), Some(refused)),
    };
    let fields = vec![Field { name: FieldName::Bare, value: text.to_owned() }];
    Ok(Scan { symbology: None, fields, readings: vec![Reading { field: 0, ways, refused }] })
}
