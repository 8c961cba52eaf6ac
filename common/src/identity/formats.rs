//! The form of each kind of identifier, and how makers' and models' names are folded.

use super::{IdentifierKind, Rule};

/// Brings a trimmed, printable value into the canonical form of its kind.
pub(super) fn normalise(kind: IdentifierKind, value: &str) -> Result<String, Rule> {
    match kind {
        // Labels and bar codes carry capitals whatever the firmware says.
        IdentifierKind::SerialNumber | IdentifierKind::BoardSerial | IdentifierKind::ChassisSerial => {
            Ok(value.to_ascii_uppercase())
        }
        IdentifierKind::ServiceTag => service_tag(value),
        IdentifierKind::MacAddress => mac_address(value),
        IdentifierKind::SystemUuid => uuid(value),
        IdentifierKind::DeviceKey => device_key(value),
        IdentifierKind::Manufacturer | IdentifierKind::Model | IdentifierKind::Sku => {
            Ok(single_spaced(value))
        }
    }
}

/// Seven characters of 0-9 and A-Z, five on machines made before 1998.
fn service_tag(value: &str) -> Result<String, Rule> {
    let alphanumeric = value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if alphanumeric && matches!(value.len(), 5 | 7) {
        Ok(value.to_ascii_uppercase())
    } else {
        Err(Rule::Format { expected: "a service tag of 7 (or 5) letters and digits" })
    }
}

/// Twelve hexadecimal digits, pairs apart by `:` or `-` or not at all (IEEE 802-2014, 8.2).
fn mac_address(value: &str) -> Result<String, Rule> {
    const EXPECTED: Rule = Rule::Format { expected: "a MAC address of 12 hexadecimal digits" };
    let separated =
        value.len() == 17 && value.bytes().skip(2).step_by(3).all(|byte| byte == b':' || byte == b'-');
    let digits: String = if separated {
        value.chars().enumerate().filter(|(at, _)| at % 3 != 2).map(|(_, char)| char).collect()
    } else {
        value.to_owned()
    };
    let mut octets = [0u8; 6];
    hex::decode_to_slice(&digits, &mut octets).map_err(|_| EXPECTED)?;
    if octets == [0; 6] || octets == [0xff; 6] {
        return Err(Rule::Placeholder);
    }
    if octets[0] & 0b01 != 0 {
        return Err(Rule::Multicast);
    }
    if octets[0] & 0b10 != 0 {
        return Err(Rule::LocallyAdministered);
    }
    Ok(octets.map(|octet| format!("{octet:02x}")).join(":"))
}

/// 32 hexadecimal digits, with or without the dashes of RFC 9562, section 4.
fn uuid(value: &str) -> Result<String, Rule> {
    const EXPECTED: Rule = Rule::Format { expected: "a UUID such as 4c4c4544-0058-4b10-8039-b7c04f513133" };
    let dashed =
        value.len() == 36 && [8, 13, 18, 23].iter().all(|at| value.as_bytes().get(*at) == Some(&b'-'));
    let digits = if dashed { value.replace('-', "") } else { value.to_owned() };
    let mut octets = [0u8; 16];
    hex::decode_to_slice(&digits, &mut octets).map_err(|_| EXPECTED)?;
    let digits = hex::encode(octets);
    let groups =
        [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| digits.get(range).unwrap_or_default().to_owned());
    Ok(groups.join("-"))
}

fn device_key(value: &str) -> Result<String, Rule> {
    let digest: crate::digest::Sha256 = value
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| Rule::Format { expected: "the SHA-256 of a public key, 64 hexadecimal digits" })?;
    Ok(digest.to_string())
}

fn single_spaced(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Words that say what kind of company a maker is, not which.
const LEGAL_FORMS: &[&str] = &[
    "ag",
    "co",
    "company",
    "computer",
    "computers",
    "corp",
    "corporation",
    "gmbh",
    "group",
    "inc",
    "incorporated",
    "international",
    "llc",
    "limited",
    "ltd",
    "plc",
    "sa",
    "technologies",
    "technology",
];

/// Makers that go by more than one name, folded.
const SAME_MAKER: &[(&str, &str)] = &[
    ("asustek", "asus"),
    ("hewlett packard", "hp"),
    ("hewlett packard enterprise", "hpe"),
    ("micro star", "msi"),
    ("super micro", "supermicro"),
];

/// A maker's name as it is compared: lower case, without punctuation and legal form.
#[must_use]
pub fn fold_manufacturer(name: &str) -> String {
    let words = name.to_ascii_lowercase().replace(['.', '(', ')'], "").replace([',', '-', '_'], " ");
    let mut kept: Vec<&str> =
        words.split_ascii_whitespace().filter(|word| !LEGAL_FORMS.contains(word)).collect();
    if kept.is_empty() {
        // A maker whose whole name is such words, like "Technology Group", keeps them.
        kept = words.split_ascii_whitespace().collect();
    }
    let folded = kept.join(" ");
    SAME_MAKER.iter().find(|(alias, _)| *alias == folded).map_or(folded, |(_, name)| (*name).to_owned())
}

/// A model or SKU as it is compared: lower case, single spaces.
#[must_use]
pub fn fold_name(name: &str) -> String {
    single_spaced(&name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identifier;

    #[test]
    fn each_kind_has_one_form() {
        use IdentifierKind::{DeviceKey, MacAddress, Manufacturer, SerialNumber, ServiceTag, SystemUuid};
        let digest = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        for (kind, raw, expected) in [
            (SerialNumber, " pf0abcde\0", Ok("PF0ABCDE")),
            (ServiceTag, "7xk9q13", Ok("7XK9Q13")),
            (
                ServiceTag,
                "7XK9Q1",
                Err("is not in its form: expected a service tag of 7 (or 5) letters and digits"),
            ),
            (
                ServiceTag,
                "7XK9Q-3",
                Err("is not in its form: expected a service tag of 7 (or 5) letters and digits"),
            ),
            (MacAddress, "00-16-3E-AB-CD-01", Ok("00:16:3e:ab:cd:01")),
            (MacAddress, "00163EABCD01", Ok("00:16:3e:ab:cd:01")),
            (
                MacAddress,
                "52:54:00:ab:cd:01",
                Err("is a locally administered address, which software can choose"),
            ),
            (MacAddress, "01:00:5e:00:00:01", Err("is a multicast address, which no interface owns")),
            (MacAddress, "00:00:00:00:00:00", Err("is a placeholder that the maker never replaced")),
            (
                MacAddress,
                "00:16:3e:ab:cd",
                Err("is not in its form: expected a MAC address of 12 hexadecimal digits"),
            ),
            (SystemUuid, "4C4C4544-0058-4B10-8039-B7C04F513133", Ok("4c4c4544-0058-4b10-8039-b7c04f513133")),
            (SystemUuid, "4C4C454400584B108039B7C04F513133", Ok("4c4c4544-0058-4b10-8039-b7c04f513133")),
            (
                SystemUuid,
                "03000200040005000006000700080009",
                Err("is a placeholder that the maker never replaced"),
            ),
            (Manufacturer, "Dell  Inc. ", Ok("Dell Inc.")),
            (DeviceKey, digest, Ok("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")),
        ] {
            let found = Identifier::parse(kind, raw).map_err(|invalid| invalid.rule.to_string());
            let found = found.as_ref().map(Identifier::value).map_err(String::as_str);
            assert_eq!(found, expected, "{kind} {raw:?}");
        }
    }

    #[test]
    fn makers_fold_to_one_name() {
        for (name, folded) in [
            ("Dell Inc.", "dell"),
            ("LENOVO", "lenovo"),
            ("ASUSTeK COMPUTER INC.", "asus"),
            ("Hewlett-Packard", "hp"),
            ("Micro-Star International Co., Ltd.", "msi"),
            ("Technology Group", "technology group"),
        ] {
            assert_eq!(fold_manufacturer(name), folded, "{name}");
        }
    }
}
