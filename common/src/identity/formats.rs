//! The form of each kind of identifier, and the folding of makers' and models' names.

use super::{IdentifierKind, Rule};
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// Brings a trimmed, printable value into the canonical form of its kind.
pub(super) fn normalise(kind: IdentifierKind, value: &str) -> Result<String, Rule> {
    match kind {
        // Labels and bar codes use capitals, whatever the firmware says.
        IdentifierKind::SerialNumber | IdentifierKind::BoardSerial | IdentifierKind::ChassisSerial => {
            Ok(value.to_ascii_uppercase())
        }
        IdentifierKind::ServiceTag => service_tag(value),
        IdentifierKind::MacAddress => mac_address(value),
        IdentifierKind::SystemUuid => uuid(value),
        IdentifierKind::Imei => imei(value),
        IdentifierKind::Meid => meid(value),
        IdentifierKind::CertifiedDeviceId => certified_device_id(value),
        IdentifierKind::DeviceKey | IdentifierKind::TpmKey => key_digest(value),
        IdentifierKind::Manufacturer | IdentifierKind::Model | IdentifierKind::Sku => Ok(value.to_owned()),
    }
}

/// Checks a service tag: seven characters of 0-9 and A-Z, five on machines made before 1998.
fn service_tag(value: &str) -> Result<String, Rule> {
    let alphanumeric = value.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if alphanumeric && matches!(value.len(), 5 | 7) {
        Ok(value.to_ascii_uppercase())
    } else {
        Err(Rule::Format { expected: "a service tag of 7 (or 5) letters and digits" })
    }
}

/// Normalises a MAC address: twelve hexadecimal digits, pairs separated by `:` or `-`, or not at all
/// (IEEE 802-2014, 8.2).
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
    let mut canonical = hex::encode(octets);
    (2..17).step_by(3).for_each(|at| canonical.insert(at, ':'));
    Ok(canonical)
}

/// Normalises a UUID: 32 hexadecimal digits, with or without the dashes of RFC 9562, section 4.
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

/// Normalises an IMEI: 15 digits, the last of them the check digit (3GPP TS 23.003, section 6.2), which
/// is added if it is missing.
fn imei(value: &str) -> Result<String, Rule> {
    let digits = remove_separators(value);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Rule::Format { expected: "an IMEI of 15 digits" });
    }
    match digits.len() {
        14 => Ok(format!("{digits}{}", luhn(&digits, 10))),
        15 => match digits.split_at(14) {
            (body, check) if check == luhn(body, 10).to_string() => Ok(digits),
            _ => Err(Rule::Format { expected: "an IMEI whose last digit is its check digit" }),
        },
        16 => Err(Rule::Format {
            expected: "an IMEI of 15 digits; 16 are an IMEISV, which changes with the modem's software",
        }),
        _ => Err(Rule::Format { expected: "an IMEI of 15 digits" }),
    }
}

/// Computes the digit that makes the Luhn sum end in zero (ISO/IEC 7812-1, annex B; for base 16, 3GPP2
/// S.R0048-A).
fn luhn(digits: &str, radix: u32) -> u32 {
    let doubled = |digit: u32| 2 * digit / radix + 2 * digit % radix;
    let backwards = digits.chars().rev().filter_map(|char| char.to_digit(radix));
    let sum: u32 =
        backwards.enumerate().map(|(at, digit)| if at % 2 == 0 { doubled(digit) } else { digit }).sum();
    (radix - sum % radix) % radix
}

/// Normalises a MEID: 14 hexadecimal digits (3GPP2 S.R0048-A), or 18 decimal digits, of which 10 are the
/// first 32 bits and 8 the other 24. Either may be followed by a check digit, which is dropped.
fn meid(value: &str) -> Result<String, Rule> {
    const EXPECTED: Rule =
        Rule::Format { expected: "a MEID of 14 hexadecimal digits, or of 18 decimal ones" };
    const CHECK: Rule = Rule::Format { expected: "a MEID whose last digit is its check digit" };
    let digits = remove_separators(value).to_ascii_uppercase();
    let radix = if digits.len() >= 18 || digits.bytes().all(|byte| byte.is_ascii_digit()) { 10 } else { 16 };
    if !digits.chars().all(|char| char.is_digit(radix)) {
        return Err(EXPECTED);
    }
    let body = match digits.len() {
        14 | 18 => digits.as_str(),
        15 | 19 => {
            let (body, check) = digits.split_at(digits.len() - 1);
            // The check digit of a MEID without letters is that of an IMEI (3GPP2 X.S0008-0); such MEIDs
            // begin with 99, and other numbers of that form are IMEIs.
            let decimal = body.bytes().all(|byte| byte.is_ascii_digit());
            if decimal && body.len() == 14 && !body.starts_with("99") {
                return Err(Rule::Format {
                    expected: "a MEID; 15 digits that do not begin with 99 are an IMEI",
                });
            }
            let radix = if decimal { 10 } else { 16 };
            let right = check.chars().next().and_then(|check| check.to_digit(radix));
            if right == Some(luhn(body, radix)) { body } else { return Err(CHECK) }
        }
        _ => return Err(EXPECTED),
    };
    if body.len() == 14 {
        return Ok(body.to_owned());
    }
    let (first, rest) = body.split_at(10);
    let first: u32 = first.parse().map_err(|_| EXPECTED)?;
    let rest: u32 = rest.parse().map_err(|_| EXPECTED)?;
    if rest >> 24 == 0 { Ok(format!("{first:08X}{rest:06X}")) } else { Err(EXPECTED) }
}

/// Removes the separators that people put between groups of digits.
fn remove_separators(value: &str) -> String {
    value.chars().filter(|char| !matches!(char, ' ' | '-' | '/' | '.')).collect()
}

/// Checks a certified device ID: makers publish nothing of its form but the letters.
fn certified_device_id(value: &str) -> Result<String, Rule> {
    if value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        Ok(value.to_ascii_uppercase())
    } else {
        Err(Rule::Format { expected: "a certified device ID of letters, digits and `-`" })
    }
}

fn key_digest(value: &str) -> Result<String, Rule> {
    let digest: crate::digest::Sha256 = value
        .to_ascii_lowercase()
        .parse()
        .map_err(|_| Rule::Format { expected: "the SHA-256 of a public key, 64 hexadecimal digits" })?;
    Ok(digest.to_string())
}

/// Returns the canonical spelling of a name: composed characters (Unicode NFC), single spaces.
pub(super) fn compose(name: &str) -> String {
    collapse_spaces(&ComposingNormalizerBorrowed::new_nfc().normalize(name))
}

fn collapse_spaces(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Words that say what kind of company a maker is, not which one.
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

/// Makers with more than one name, folded.
const SAME_MAKER: &[(&str, &str)] = &[
    ("asustek", "asus"),
    ("hewlett packard", "hp"),
    ("hewlett packard enterprise", "hpe"),
    ("lg electronics", "lg"),
    ("micro star", "msi"),
    ("samsung electronics", "samsung"),
    ("super micro", "supermicro"),
];

/// Folds a maker's name for comparison: lower case, without punctuation and legal form.
#[must_use]
pub fn fold_manufacturer(name: &str) -> String {
    let words = name.to_ascii_lowercase().replace(['.', '(', ')'], "").replace([',', '-', '_'], " ");
    let mut kept: Vec<&str> =
        words.split_ascii_whitespace().filter(|word| !LEGAL_FORMS.contains(word)).collect();
    if kept.is_empty() {
        // A maker whose whole name consists of such words, like "Technology Group", keeps them.
        kept = words.split_ascii_whitespace().collect();
    }
    let folded = kept.join(" ");
    SAME_MAKER.iter().find(|(alias, _)| *alias == folded).map_or(folded, |(_, name)| (*name).to_owned())
}

/// Folds a model or SKU for comparison: lower case, single spaces, and without accents, which not every
/// keyboard has.
#[must_use]
pub fn fold_name(name: &str) -> String {
    let small = name.to_lowercase();
    let letters = DecomposingNormalizerBorrowed::new_nfd().normalize(&small);
    let plain: String = letters.chars().filter(|char| !matches!(char, '\u{300}'..='\u{36f}')).collect();
    collapse_spaces(&plain)
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
            assert_form(kind, raw, expected);
        }
    }

    #[test]
    fn keys_and_modems_have_one_form() {
        use IdentifierKind::{CertifiedDeviceId, Imei, TpmKey};
        let digest = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";
        for (kind, raw, expected) in [
            (TpmKey, digest, Ok("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")),
            (TpmKey, &"0".repeat(64), Err("is a placeholder that the maker never replaced")),
            (
                TpmKey,
                "e3b0",
                Err("is not in its form: expected the SHA-256 of a public key, 64 hexadecimal digits"),
            ),
            (Imei, "123456789012347", Ok("123456789012347")),
            (Imei, "49-015420-323751-8", Ok("490154203237518")),
            (Imei, "49015420323751", Ok("490154203237518")),
            (Imei, "49015420323751/8", Ok("490154203237518")),
            (
                Imei,
                "490154203237517",
                Err("is not in its form: expected an IMEI whose last digit is its check digit"),
            ),
            (
                Imei,
                "4901542032375185",
                Err(
                    "is not in its form: expected an IMEI of 15 digits; 16 are an IMEISV, which changes with the modem's software",
                ),
            ),
            (Imei, "4901542032375", Err("is not in its form: expected an IMEI of 15 digits")),
            (Imei, "49015420323751A", Err("is not in its form: expected an IMEI of 15 digits")),
            (Imei, "000000000000000", Err("is a placeholder that the maker never replaced")),
            (Imei, "00000000000000", Err("is a placeholder that the maker never replaced")),
            (CertifiedDeviceId, "c1ks-a1b2c3", Ok("C1KS-A1B2C3")),
            (CertifiedDeviceId, "none", Err("is a placeholder that the maker never replaced")),
            (
                CertifiedDeviceId,
                "A1;DROP",
                Err("is not in its form: expected a certified device ID of letters, digits and `-`"),
            ),
        ] {
            assert_form(kind, raw, expected);
        }
    }

    #[test]
    fn a_meid_has_one_form_with_and_without_its_check_digit() {
        use IdentifierKind::Meid;
        for (kind, raw, expected) in [
            (Meid, "a1000000123456", Ok("A1000000123456")),
            (Meid, "A10000 001234 56", Ok("A1000000123456")),
            (Meid, "99000012345678", Ok("99000012345678")),
            (Meid, "293608736500703710", Ok("AF0123450ABCDE")),
            (Meid, "270113177600000000", Ok("A1000000000000")),
            (
                Meid,
                "999999999900000000",
                Err("is not in its form: expected a MEID of 14 hexadecimal digits, or of 18 decimal ones"),
            ),
            (
                Meid,
                "293608736599999999",
                Err("is not in its form: expected a MEID of 14 hexadecimal digits, or of 18 decimal ones"),
            ),
            (
                Meid,
                "A100000012345",
                Err("is not in its form: expected a MEID of 14 hexadecimal digits, or of 18 decimal ones"),
            ),
            (Meid, "AF0123450ABCDEC", Ok("AF0123450ABCDE")),
            (Meid, "af 012345 0abcde c", Ok("AF0123450ABCDE")),
            (Meid, "29360 87365 0070 3710 0", Ok("AF0123450ABCDE")),
            (Meid, "990000123456784", Ok("99000012345678")),
            (
                Meid,
                "AF0123450ABCDED",
                Err("is not in its form: expected a MEID whose last digit is its check digit"),
            ),
            (
                Meid,
                "2936087365007037101",
                Err("is not in its form: expected a MEID whose last digit is its check digit"),
            ),
            (
                Meid,
                "990000123456780",
                Err("is not in its form: expected a MEID whose last digit is its check digit"),
            ),
            (
                Meid,
                "490154203237518",
                Err("is not in its form: expected a MEID; 15 digits that do not begin with 99 are an IMEI"),
            ),
            (Meid, "000000000000000000", Err("is a placeholder that the maker never replaced")),
            (Meid, "FFFFFFFFFFFFFF", Err("is a placeholder that the maker never replaced")),
        ] {
            assert_form(kind, raw, expected);
        }
    }

    #[track_caller]
    fn assert_form(kind: IdentifierKind, raw: &str, expected: Result<&str, &str>) {
        let found = Identifier::parse(kind, raw).map_err(|invalid| invalid.rule.to_string());
        let found = found.as_ref().map(Identifier::value).map_err(String::as_str);
        assert_eq!(found, expected, "{kind} {raw:?}");
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
