//! GS1 element strings: application identifiers and their values, as scanners send them and as
//! people read them (GS1 General Specifications, sections 3 and 7.8).

use super::{Field, FieldName, GS};

/// The most characters of the values that devices carry (section 3); of any other, 90.
const MOST: [(&str, usize); 6] =
    [("10", 20), ("21", 20), ("240", 30), ("241", 30), ("8002", 20), ("8004", 30)];
const MOST_OF_ANY: usize = 90;

/// The host of GS1's resolver: a digital link has its elements in the path behind it.
const LINK: &str = "https://id.gs1.org/";

/// Reads an element string. `None` if it is not one: an identifier that does not exist, a value that is
/// too long, a letter in place of a digit, or a wrong check digit.
pub(super) fn read(text: &str) -> Option<Vec<Field>> {
    let mut rest = text.trim_start_matches(GS);
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (identifier, behind) = rest.split_at_checked(identifier_digits(rest)?)?;
        let (value, next) = match value_digits(identifier) {
            Some(digits) => behind.split_at_checked(digits)?,
            None => behind.split_once(GS).unwrap_or((behind, "")),
        };
        fields.push(element(identifier, value)?);
        rest = next.trim_start_matches(GS);
    }
    (!fields.is_empty()).then_some(fields)
}

/// Reads a text that may be an element string, from a scanner that does not name the kind of code: only
/// one that begins with a GTIN is believed.
pub(super) fn read_unmarked(text: &str) -> Option<Vec<Field>> {
    if text.trim_start_matches(GS).starts_with("01") { read(text) } else { None }
}

/// Reads the printed form of an element string: `(01)09506000134352(21)PF0ABCDE`, or a digital link.
pub(super) fn read_printed(text: &str) -> Option<Vec<Field>> {
    if let Some(path) = text.strip_prefix(LINK) {
        return read_link(path);
    }
    let mut fields = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (identifier, behind) = printed_identifier(rest)?;
        // A value ends where the next identifier begins.
        let begins = |at: &usize| behind.get(*at..).is_some_and(|from| printed_identifier(from).is_some());
        let end = behind.char_indices().map(|(at, _)| at).skip(1).find(begins).unwrap_or(behind.len());
        let (value, next) = behind.split_at_checked(end)?;
        fields.push(element(identifier, value.trim())?);
        rest = next;
    }
    Some(fields)
}

/// Reads the number of a product from an EAN or UPC code, 8 to 14 digits: a GTIN.
pub(super) fn product(digits: &str) -> Option<Field> {
    if (8..=14).contains(&digits.len()) { element("01", &format!("{digits:0>14}")) } else { None }
}

/// Splits off the identifier in parentheses at the beginning of a text.
fn printed_identifier(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('(')?;
    let (identifier, behind) = text.split_at_checked(identifier_digits(text)?)?;
    Some((identifier, behind.strip_prefix(')')?))
}

/// Reads the path of a GS1 digital link: `01/09506000134352/21/PF0ABCDE`.
fn read_link(path: &str) -> Option<Vec<Field>> {
    let path = path.split(['?', '#']).next()?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let pairs = parts.chunks(2).map(|pair| match pair {
        [identifier, value] if identifier_digits(identifier) == Some(identifier.len()) => {
            element(identifier, value)
        }
        _ => None,
    });
    pairs.collect()
}

/// Returns the number of digits of the identifier at the beginning of this text.
fn identifier_digits(text: &str) -> Option<usize> {
    let digits = match text.get(..2)?.parse::<u8>().ok()? {
        0..=4 | 10..=22 | 30 | 37 | 90..=99 => 2,
        23..=25 | 40..=42 | 71 => 3,
        31..=36 | 39 | 43 | 70 | 72 | 80..=82 => 4,
        _ => return None,
    };
    text.get(..digits)?.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)
}

/// Returns the number of digits of its value, if that is fixed; every other value ends at FNC1.
fn value_digits(identifier: &str) -> Option<usize> {
    match identifier.get(..2)?.parse::<u8>().ok()? {
        0 => Some(18),
        1..=3 => Some(14),
        4 => Some(16),
        11..=19 | 31..=36 => Some(6),
        20 => Some(2),
        41 => Some(13),
        _ => None,
    }
}

fn element(identifier: &str, value: &str) -> Option<Field> {
    let most = MOST.iter().find(|(name, _)| *name == identifier).map_or(MOST_OF_ANY, |(_, most)| *most);
    let printable = value.bytes().all(|byte| byte.is_ascii_graphic());
    let right = match value_digits(identifier) {
        Some(digits) => value.len() == digits && value.bytes().all(|byte| byte.is_ascii_digit()),
        None => (1..=most).contains(&value.len()) && printable,
    };
    let checked = matches!(identifier, "00" | "01" | "02" | "03") || identifier.starts_with("41");
    let name = FieldName::ApplicationIdentifier(identifier.to_owned());
    (right && (!checked || has_valid_check_digit(value))).then(|| Field { name, value: value.to_owned() })
}

/// Returns true if the check digit is right: weights 3 and 1 from the right (section 7.9.1).
fn has_valid_check_digit(digits: &str) -> bool {
    let weighted = digits.bytes().rev().zip([1, 3].into_iter().cycle());
    let sum: u32 = weighted.map(|(digit, weight)| u32::from(digit.wrapping_sub(b'0')) * weight).sum();
    sum.is_multiple_of(10)
}
