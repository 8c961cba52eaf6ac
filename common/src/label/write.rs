//! The other direction: the texts of the codes on a label that a station prints. [`super::parse`] reads
//! them back.

use super::words::BETWEEN;
use crate::identity::{Identifier, IdentifierKind};

/// Returns the text of a Code 128 symbol for one identifier, with its ANSI data identifier; `None` for a
/// kind that has none.
#[must_use]
pub fn code_128(identifier: &Identifier) -> Option<String> {
    let value = identifier.value();
    match identifier.kind() {
        IdentifierKind::SerialNumber => Some(format!("S{value}")),
        IdentifierKind::MacAddress => Some(format!("23S{}", value.replace(':', "").to_ascii_uppercase())),
        IdentifierKind::Imei | IdentifierKind::Meid => Some(format!("22S{value}")),
        // By their makers' own rules, the bar codes of these hold the bare value.
        IdentifierKind::CertifiedDeviceId | IdentifierKind::ServiceTag => Some(value.to_owned()),
        _ => None,
    }
}

/// Returns the text of a QR code for a whole machine: pairs of kind and value. They stand in one line, so
/// that a scanner that types sends no line end within it, unless a value contains a separator.
#[must_use]
pub fn qr_code<'i>(identifiers: impl IntoIterator<Item = &'i Identifier>) -> String {
    let pairs: Vec<String> =
        identifiers.into_iter().map(|one| format!("{}: {}", one.kind(), one.value())).collect();
    let plain = pairs.iter().all(|pair| !pair.contains(BETWEEN));
    pairs.join(if plain { "; " } else { "\n" })
}
