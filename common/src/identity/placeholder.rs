//! Values that makers leave in firmware instead of an identifier.
//!
//! Compared trimmed and case-folded. Add a value that you met in the field to the list of its
//! kind; the list is the rule.

use super::IdentifierKind;

/// Never an identifier of any kind.
const ANYWHERE: &[&str] = &[
    "-",
    "0",
    "default string",
    "default_string",
    "empty",
    "invalid",
    "n/a",
    "na",
    "none",
    "not applicable",
    "not available",
    "not specified",
    "null",
    "o.e.m.",
    "oem",
    "standard",
    "to be filled by o.e.m.",
    "to be filled by oem",
    "undefined",
    "unknown",
    "unspecified",
];

/// Never a serial number or a service tag.
const SERIALS: &[&str] = &[
    "#a123456789",
    "0123456789",
    "1234567",
    "12345678",
    "123456789",
    "123456789*",
    "1234567890",
    "12345678901234567890123456789012",
    "asset-1234567890",
    "base board serial number",
    "chassis serial number",
    "no asset tag",
    "serial number",
    "system manufacturer",
    "system product name",
    "system serial number",
];

/// Never the name of a maker, a model or a stock keeping unit.
const NAMES: &[&str] = &[
    "all series",
    "manufacturer",
    "product name",
    "sku",
    "system manufacturer",
    "system product name",
    "system sku",
    "system version",
    "to be filled",
];

/// UUIDs that whole product lines share, dashes left out.
const UUIDS: &[&str] = &[
    "00020003000400050006000700080009",
    "000102030405060708090a0b0c0d0e0f",
    "03000200040005000006000700080009",
    "deadbeefdeadbeefdeadbeefdeadbeef",
];

/// The tail that one firmware vendor's default UUID keeps, whatever the board.
const UUID_TAIL: &str = "0700080009";

/// Whether `folded` (trimmed, lower case) is a placeholder for this kind.
pub(super) fn is_placeholder(kind: IdentifierKind, folded: &str) -> bool {
    if ANYWHERE.contains(&folded) {
        return true;
    }
    match kind {
        IdentifierKind::SerialNumber
        | IdentifierKind::ServiceTag
        | IdentifierKind::BoardSerial
        | IdentifierKind::ChassisSerial
        | IdentifierKind::CertifiedDeviceId => SERIALS.contains(&folded) || one_character_repeated(folded),
        IdentifierKind::Manufacturer | IdentifierKind::Model | IdentifierKind::Sku => {
            NAMES.contains(&folded) || folded.starts_with("to be filled")
        }
        IdentifierKind::SystemUuid => uuid_is_placeholder(folded),
        IdentifierKind::Imei | IdentifierKind::Meid | IdentifierKind::TpmKey => {
            one_character_repeated(folded)
        }
        IdentifierKind::MacAddress | IdentifierKind::DeviceKey => false,
    }
}

fn one_character_repeated(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    chars.all(|other| Some(other) == first)
}

fn uuid_is_placeholder(canonical: &str) -> bool {
    let digits: String = canonical.chars().filter(|char| *char != '-').collect();
    one_character_repeated(&digits)
        || UUIDS.contains(&digits.as_str())
        || digits.starts_with("fefefefe")
        || digits.ends_with(UUID_TAIL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_firmware_ships_is_recognised() {
        use IdentifierKind::{BoardSerial, Manufacturer, Model, SerialNumber, SystemUuid};
        for (kind, value, expected) in [
            (SerialNumber, "to be filled by o.e.m.", true),
            (SerialNumber, "xxxxxxxxxx", true),
            (SerialNumber, ".........", true),
            (SerialNumber, "00000000", true),
            (SerialNumber, "default string", true),
            (SerialNumber, "pf0abcde", false),
            (BoardSerial, "123456789*", true),
            (Manufacturer, "system manufacturer", true),
            (Manufacturer, "acme", false),
            (Model, "all series", true),
            (Model, "0", true),
            (SystemUuid, "03000200-0400-0500-0006-000700080009", true),
            (SystemUuid, "00020003-0004-0005-0006-000700080009", true),
            (SystemUuid, "03d40274-0435-05dc-8506-010700080009", true),
            (SystemUuid, "00000000-0000-0000-0000-000000000000", true),
            (SystemUuid, "ffffffff-ffff-ffff-ffff-ffffffffffff", true),
            (SystemUuid, "fefefefe-fefe-fefe-fefe-fefefefefefe", true),
            (SystemUuid, "deadbeef-dead-beef-dead-beefdeadbeef", true),
            (SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513133", false),
        ] {
            assert_eq!(is_placeholder(kind, value), expected, "{kind} {value}");
        }
    }
}
