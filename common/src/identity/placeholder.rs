//! Filler that makers leave in firmware in place of an identifier.
//!
//! Compared trimmed and case-folded. Add a value that was seen in the field to the list of its
//! kind; the list is the rule. `RULES.md` shows all of them.

use super::IdentifierKind;

/// Never an identifier of any kind.
const ANYWHERE: &[&str] = &[
    "(null string)",
    "(none)",
    "*",
    "-",
    "0",
    "<empty>",
    "default",
    "default string",
    "default_string",
    "empty",
    "filled by oem",
    "invalid",
    "n/a",
    "na",
    "nil",
    "no asset information",
    "none",
    "not applicable",
    "not available",
    "not defined",
    "not present",
    "not set",
    "not specified",
    "null",
    "o.e.m.",
    "oem",
    "standard",
    "to be filled by o.e.m",
    "to be filled by o.e.m.",
    "to be filled by oem",
    "undefined",
    "unknow",
    "unknown",
    "unspecified",
];

/// Never a serial number, a service tag or a certified device ID.
const SERIALS: &[&str] = &[
    "#a123456789",
    "base board serial number",
    "chassis serial number",
    "eval",
    "iatpass",
    "no asset tag",
    "no enclosure",
    "oem_serial",
    "serial",
    "serial number",
    "serialnumber",
    "sn-12345",
    "sn-123456fvgv3i0b8o5n6n7k",
    "sys-9876543210",
    "system manufacturer",
    "system product name",
    "system serial number",
    "systemserialnumb",
    "tulip computers",
];

/// The beginning of placeholder serial numbers, whatever follows.
const SERIAL_BEGINS: &str = "123456789";

/// Prefixes of a serial number that counts up to fill its field: `asset-1234567890`.
const BEFORE_COUNTING: &[&str] =
    &["", "asset-", "bsn", "bss-", "chassis-", "csn", "mb-", "sn-", "ssn", "sys-"];

/// The fewest digits that count as counting up; a shorter run may be coincidence.
const LEAST_COUNTED: usize = 7;

/// Never the name of a maker, a model or a stock keeping unit.
const NAMES: &[&str] = &[
    "all series",
    "manufacturer",
    "product name",
    "sku",
    "system manufacturer",
    "system name",
    "system product name",
    "system sku",
    "system version",
];

/// The beginning of placeholder names.
const NAME_BEGINS: &str = "to be filled";

/// UUIDs that whole product lines share, dashes left out.
const UUIDS: &[&str] = &[
    "00020003000400050006000700080009",
    "000102030405060708090a0b0c0d0e0f",
    "03000200040005000006000700080009",
    "123456781234567890abcddeefaabbcc",
    "6ab5b300538d10149fb5b0684d007b53",
    "deadbeefdeadbeefdeadbeefdeadbeef",
];

/// The tail of one firmware vendor's default UUID, whatever the board.
const UUID_TAIL: &str = "0700080009";

/// MAC addresses of adapters without one of their own, and of drivers without an adapter.
const MACS: &[&str] = &[
    "00:01:02:03:04:05",
    "00:0b:ca:fe:00:00",
    "00:11:22:33:44:55",
    "00:a0:c6:00:00:00",
    "20:41:53:59:4e:ff",
    "24:b6:20:52:41:53",
    "44:45:53:54:00:00",
    "44:45:53:54:00:01",
    "44:45:53:54:61:6f",
    "50:50:54:50:30:30",
];

/// One line of the table of placeholders: the kinds, the value, and how it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// The kind that it never is: `any identifier`, `serial number`, ...
    pub of: &'static str,
    /// The value, or the pattern in words.
    pub value: String,
}

/// Returns the whole table, for people to read.
#[must_use]
pub fn placeholders() -> Vec<Placeholder> {
    const SERIAL: &str = "serial number, service tag, certified ID";
    const NAME: &str = "manufacturer, model, SKU";
    let listed = |of, values: &[&str]| -> Vec<Placeholder> {
        values.iter().map(|value| Placeholder { of, value: format!("`{value}`") }).collect()
    };
    let pattern = |of, value: String| vec![Placeholder { of, value }];
    let prefixes: Vec<_> = BEFORE_COUNTING.iter().skip(1).map(|prefix| format!("`{prefix}`")).collect();
    [
        listed("any identifier", ANYWHERE),
        pattern("any identifier", "nothing but white space".to_owned()),
        listed(SERIAL, SERIALS),
        pattern(SERIAL, format!("what begins with `{SERIAL_BEGINS}`")),
        pattern(SERIAL, "one character repeated, such as `XXXXXXXX` or `0000000000`".to_owned()),
        pattern(
            SERIAL,
            format!(
                "{LEAST_COUNTED} or more digits that count up, such as `0123456789`; also behind {}",
                prefixes.join(", ")
            ),
        ),
        listed(NAME, NAMES),
        pattern(NAME, format!("what begins with `{NAME_BEGINS}`")),
        listed("system UUID", UUIDS),
        pattern(
            "system UUID",
            "one pair of digits repeated, such as all `00`, `ff`, `01` or `fe`".to_owned(),
        ),
        pattern("system UUID", "what begins with `fefefefe`".to_owned()),
        pattern("system UUID", format!("what ends in `{UUID_TAIL}`")),
        pattern("IMEI, MEID, TPM key", "one character repeated".to_owned()),
        listed("MAC address", MACS),
        pattern("MAC address", "all zeros, all `ff`".to_owned()),
    ]
    .concat()
}

/// Returns true if `folded` (trimmed, lower case) is a placeholder for this kind.
pub(super) fn is_placeholder(kind: IdentifierKind, folded: &str) -> bool {
    if ANYWHERE.contains(&folded) {
        return true;
    }
    match kind {
        IdentifierKind::SerialNumber
        | IdentifierKind::ServiceTag
        | IdentifierKind::BoardSerial
        | IdentifierKind::ChassisSerial
        | IdentifierKind::CertifiedDeviceId => {
            SERIALS.contains(&folded)
                || folded.starts_with(SERIAL_BEGINS)
                || is_repeated_character(folded)
                || is_sequence(folded)
        }
        IdentifierKind::Manufacturer | IdentifierKind::Model | IdentifierKind::Sku => {
            NAMES.contains(&folded) || folded.starts_with(NAME_BEGINS)
        }
        IdentifierKind::SystemUuid => is_placeholder_uuid(folded),
        IdentifierKind::Imei | IdentifierKind::Meid | IdentifierKind::TpmKey => is_repeated_character(folded),
        IdentifierKind::MacAddress => MACS.contains(&folded),
        IdentifierKind::DeviceKey => false,
    }
}

fn is_repeated_character(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    chars.all(|other| Some(other) == first)
}

/// Returns true if each digit is one more than the one before it, with 0 after 9.
fn is_sequence(text: &str) -> bool {
    BEFORE_COUNTING.iter().filter_map(|prefix| text.strip_prefix(prefix)).any(|digits| {
        let next = |digit: u8| if digit == b'9' { b'0' } else { digit + 1 };
        let mut pairs = digits.as_bytes().windows(2);
        digits.len() >= LEAST_COUNTED
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && pairs.all(|pair| matches!(pair, [digit, other] if next(*digit) == *other))
    })
}

fn is_placeholder_uuid(canonical: &str) -> bool {
    let digits: String = canonical.chars().filter(|char| *char != '-').collect();
    let pair = digits.get(..2).unwrap_or_default();
    is_repeated_character(&digits)
        || digits == pair.repeat(16)
        || UUIDS.contains(&digits.as_str())
        || digits.starts_with("fefefefe")
        || digits.ends_with(UUID_TAIL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identifier, Rule};
    use IdentifierKind::{
        BoardSerial, CertifiedDeviceId, MacAddress, Manufacturer, Model, SerialNumber, ServiceTag, SystemUuid,
    };

    #[test]
    fn what_firmware_ships_is_recognised() {
        for (kind, values) in [
            (
                SerialNumber,
                "0|0000000000|XXXXXXXXXX|.........|none|null|n/a|na|unknown|invalid|standard|not specified|not applicable|not available|Default string|default_string|To be filled by O.E.M.|to be filled by oem|O.E.M.|OEM|System Serial Number|chassis serial number|base board serial number|serial number|system product name|system manufacturer|0123456789|123456789|1234567890|123456789*|123456789ABC|123456789000|#a123456789|empty|-|1234567|12345678901234567|12345678901234567890123456789012|SSN12345678901234567|SYS-1234567890|MB-1234567890|EVAL|(null string)",
            ),
            (BoardSerial, "BSN12345678901234567|BSS-0123456789|123456789*|None"),
            (CertifiedDeviceId, "none|Default string|00000000"),
            (ServiceTag, "1234567|XXXXXXX|none"),
            // Asset tags, where they stand for a serial number.
            (SerialNumber, "No Asset Tag|asset-1234567890|No Enclosure"),
            (Model, "System Product Name|All Series|To be filled by O.E.M.|To Be Filled|0|*"),
            (Manufacturer, "System manufacturer|To be filled by anybody"),
            (
                SystemUuid,
                "00000000-0000-0000-0000-000000000000|FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF|03000200-0400-0500-0006-000700080009|00020003-0004-0005-0006-000700080009|00010203-0405-0607-0809-0a0b0c0d0e0f|fefefefe-fefe-fefe-fefe-fefefefefefe|fefefefe-0000-1111-2222-333333333333|deadbeef-dead-beef-dead-beefdeadbeef|03d40274-0435-05dc-8506-010700080009|01010101-0101-0101-0101-010101010101",
            ),
            (MacAddress, "00:00:00:00:00:00|ff:ff:ff:ff:ff:ff|50-50-54-50-30-30|001122334455"),
        ] {
            for value in values.split('|') {
                let refused = Identifier::parse(kind, value).map_err(|invalid| invalid.rule);
                assert_eq!(refused, Err(Rule::Placeholder), "{kind} {value:?}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_it_is_not() {
        for (kind, values) in [
            (
                SerialNumber,
                "PF0ABCDE|123456|S123456789|12345679|12345678A|A12345678|S-0000001|5CD1234567|SSN123456",
            ),
            (ServiceTag, "1234568|7XK9Q13"),
            (Manufacturer, "Acme|Standard Works"),
            (Model, "Series 7|1234567890"),
            (SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513133|01010101-0101-0101-0101-010101010102"),
            (MacAddress, "00:11:22:33:44:56"),
        ] {
            for value in values.split('|') {
                assert!(Identifier::parse(kind, value).is_ok(), "{kind} {value:?}");
            }
        }
    }

    #[test]
    fn every_line_of_the_lists_is_refused_as_it_stands() {
        for (kind, list) in [
            (SerialNumber, ANYWHERE),
            (SerialNumber, SERIALS),
            (Model, NAMES),
            (SystemUuid, UUIDS),
            (MacAddress, MACS),
        ] {
            for value in list {
                let refused =
                    Identifier::parse(kind, &value.to_ascii_uppercase()).map_err(|invalid| invalid.rule);
                assert_eq!(refused, Err(Rule::Placeholder), "{kind} {value:?}");
            }
            assert!(list.iter().all(|value| *value == value.to_ascii_lowercase()), "compared folded");
        }
    }
}
