//! ANSI MH10.8.2 data identifiers: up to three digits and a letter before the value.

use super::{Field, FieldName};

/// The meaning of a value behind a data identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A serial number.
    Serial,
    /// The maker's location (a CAGE code of 5 characters), and a serial number.
    CageAndSerial,
    /// Lenovo's string.
    LenovoString,
    /// An IMEI or a MEID.
    Modem,
    /// A MAC address.
    MacAddress,
    /// The day of manufacture, `YYYYMMDD`.
    MadeOn,
    /// Nothing that identifies a device.
    Nothing,
}

/// The data identifiers that devices carry. Of those that are one letter, only `S` is here, because
/// serial numbers begin with letters.
const KNOWN: [(&str, Meaning); 17] = [
    ("S", Meaning::Serial),
    ("1S", Meaning::LenovoString),
    ("15S", Meaning::Serial),
    ("18S", Meaning::CageAndSerial),
    // A traceability code.
    ("20S", Meaning::Nothing),
    ("22S", Meaning::Modem),
    ("23S", Meaning::MacAddress),
    // Agency, company and serial number: there is no telling where the last begins.
    ("25S", Meaning::Nothing),
    // A further traceability code.
    ("30S", Meaning::Nothing),
    // The SIM card.
    ("43S", Meaning::Nothing),
    // Part numbers.
    ("1P", Meaning::Nothing),
    ("2P", Meaning::Nothing),
    ("30P", Meaning::Nothing),
    // A lot.
    ("1T", Meaning::Nothing),
    // The place of manufacture.
    ("4L", Meaning::Nothing),
    // The week, and the day, of manufacture.
    ("10D", Meaning::Nothing),
    ("16D", Meaning::MadeOn),
];

/// Returns the meaning of a data identifier.
pub(super) fn meaning(identifier: &str) -> Meaning {
    KNOWN.iter().find(|(name, _)| *name == identifier).map_or(Meaning::Nothing, |(_, meaning)| *meaning)
}

/// Reads an element whose form says that it begins with a data identifier.
pub(super) fn read(element: &str) -> Option<Field> {
    let digits = element.bytes().take_while(u8::is_ascii_digit).count();
    let letter = element.as_bytes().get(digits)?;
    let (identifier, value) = element.split_at_checked(digits + 1)?;
    let right = digits <= 3 && letter.is_ascii_uppercase() && !value.is_empty();
    let name = FieldName::DataIdentifier(identifier.to_owned());
    right.then(|| Field { name, value: value.to_owned() })
}

/// Reads a text that does not say that it begins with a data identifier: only the known ones, before a
/// value without spaces.
pub(super) fn read_unmarked(text: &str) -> Option<Vec<Field>> {
    let field = read(text)?;
    let FieldName::DataIdentifier(identifier) = &field.name else { return None };
    let known = KNOWN.iter().any(|(name, _)| name == identifier);
    let plain = field.value.bytes().all(|byte| byte.is_ascii_graphic());
    (known && plain).then(|| vec![field])
}
