//! ISO/IEC 15434 envelopes: several elements of one form, in one two-dimensional code.

use super::{Field, FieldName, GS, InvalidScan, ansi, gs1};

/// The beginning of an envelope.
pub(super) const BEGINS: &str = "[)>\u{1e}";

/// The end of each format within it.
const RS: char = '\u{1e}';
/// The end of the envelope; not every printer writes it.
const EOT: char = '\u{4}';

/// Reads an envelope behind [`BEGINS`]: formats, each of two digits, GS and elements that GS separates.
pub(super) fn read(inside: &str) -> Result<Vec<Field>, InvalidScan> {
    let mut fields = Vec::new();
    for format in inside.trim_end_matches(EOT).split(RS).filter(|format| !format.is_empty()) {
        let (number, elements) = format.split_once(GS).ok_or(InvalidScan::Envelope)?;
        match number {
            // GS1 application identifiers.
            "05" => fields.extend(gs1::read(elements).ok_or(InvalidScan::Gs1)?),
            // ANSI data identifiers.
            "06" => read_elements(elements, ansi::read, &mut fields)?,
            // Text element identifiers: three letters, a space and the value (ATA Spec 2000).
            "12" => read_elements(elements, text_element, &mut fields)?,
            _ => return Err(InvalidScan::Envelope),
        }
    }
    if fields.is_empty() { Err(InvalidScan::Envelope) } else { Ok(fields) }
}

fn read_elements(
    elements: &str,
    read: fn(&str) -> Option<Field>,
    to: &mut Vec<Field>,
) -> Result<(), InvalidScan> {
    for element in elements.split(GS).filter(|element| !element.is_empty()) {
        to.push(read(element).ok_or(InvalidScan::Envelope)?);
    }
    Ok(())
}

fn text_element(element: &str) -> Option<Field> {
    let (name, value) = element.split_once(' ')?;
    let right = name.len() == 3 && name.bytes().all(|byte| byte.is_ascii_uppercase()) && !value.is_empty();
    right.then(|| Field { name: FieldName::Word(name.to_owned()), value: value.trim().to_owned() })
}
