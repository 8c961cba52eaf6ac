//! Texts from bar code scanners and labels: pure text in, fields and identifiers out; and the texts of
//! the codes that a station prints.
//!
//! A scanner sends one text for each code. The form of the code shows what it holds: ANSI data
//! identifiers (`S`, `23S`), GS1 application identifiers, an ISO/IEC 15434 envelope, words
//! (`SN: PF0ABCDE`), or nothing at all. An ambiguous text yields every possible meaning, without a
//! guess: the comparison picks the one that agrees with the machine.
//!
//! To add a form of code: a reader of its own that makes [`Field`]s, its place in [`parse`], and its
//! rows in the tests. To add an identifier to a form: a row in that reader's table.

mod ansi;
mod envelope;
mod gs1;
mod meaning;
mod scan;
mod words;
mod write;

pub use scan::{Field, FieldName, InvalidScan, Reading, Scan, Symbology};
pub use write::{code_128, qr_code};

use scan::Syntax;

/// The longest scan, in bytes: more than the largest QR code holds (ISO/IEC 18004, 7,089 digits).
pub const MAX_SCAN_BYTES: usize = 8 * 1024;

/// The separator of elements in a GS1 code and in an envelope: ASCII GS, in place of FNC1.
const GS: char = '\u{1d}';

/// Reads one scan.
///
/// # Errors
/// [`InvalidScan`] if the scan as a whole is wrong. A single field that breaks the rules of its claimed
/// kind does not refuse the scan: see [`Reading::refused`].
pub fn parse(scan: &[u8]) -> Result<Scan, InvalidScan> {
    if scan.len() > MAX_SCAN_BYTES {
        return Err(InvalidScan::TooLong);
    }
    let text = std::str::from_utf8(scan).map_err(|_| InvalidScan::NotPrintable)?;
    let text = text.trim_matches(|char: char| char.is_whitespace() || char == '\0');
    if !text.chars().all(is_on_labels) {
        return Err(InvalidScan::NotPrintable);
    }
    let (symbology, text) = Symbology::split_off(text);
    let text = text.trim_matches(|char: char| char.is_whitespace() || char == '\0');
    if text.is_empty() {
        return Err(InvalidScan::Empty);
    }
    let (syntax, fields) = fields(symbology, text)?;
    Ok(Scan::new(symbology, syntax, text, fields))
}

/// Returns true if labels carry this character: printable, a line end within a QR code, a separator of
/// ASCII or EOT.
fn is_on_labels(char: char) -> bool {
    char == ' '
        || char.is_ascii_graphic()
        || char.is_alphanumeric()
        || matches!(char, '\t' | '\n' | '\r' | '\u{4}' | '\u{1c}'..='\u{1f}')
}

/// Returns the fields of a code, and how it names them.
fn fields(symbology: Option<Symbology>, text: &str) -> Result<(Syntax, Vec<Field>), InvalidScan> {
    if let Some(inside) = text.strip_prefix(envelope::BEGINS) {
        return Ok((Syntax::Said, envelope::read(inside)?));
    }
    if symbology == Some(Symbology::EanUpc) {
        return Ok((Syntax::Said, vec![gs1::product(text).ok_or(InvalidScan::Gs1)?]));
    }
    if symbology.is_some_and(Symbology::is_gs1) {
        return Ok((Syntax::Said, gs1::read(text).ok_or(InvalidScan::Gs1)?));
    }
    if let Some(fields) = words::read(text).or_else(|| gs1::read_printed(text)) {
        return Ok((Syntax::Said, fields));
    }
    // Without a marker, a code of these forms may also be an ordinary text that resembles one.
    let looks = gs1::read_unmarked(text).or_else(|| ansi::read_unmarked(text));
    Ok(looks.map_or_else(|| (Syntax::Bare, vec![Field::bare(text)]), |fields| (Syntax::LooksLike, fields)))
}

#[cfg(test)]
mod tests;
