//! What a bar code scanner types, or a label says: pure text in, fields and identifiers out; and the
//! texts of the codes that a station prints.
//!
//! A scanner sends one text for each code. The code says by its form what it holds: ANSI data
//! identifiers (`S`, `23S`), GS1 application identifiers, an ISO/IEC 15434 envelope, words
//! (`SN: PF0ABCDE`), or nothing at all. Where a text can be meant in more than one way every way is
//! told, and nobody guesses: the one who compares takes the way that the machine agrees with.
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

/// What separates the elements of a GS1 code and of an envelope: GS of ASCII, in the place of FNC1.
const GS: char = '\u{1d}';

/// Reads one scan.
///
/// # Errors
/// [`InvalidScan`] with what is wrong with it as a whole. A single field that breaks the rules of what
/// it says it is does not refuse the scan: see [`Reading::refused`].
pub fn parse(scan: &[u8]) -> Result<Scan, InvalidScan> {
    if scan.len() > MAX_SCAN_BYTES {
        return Err(InvalidScan::TooLong);
    }
    let text = std::str::from_utf8(scan).map_err(|_| InvalidScan::NotPrintable)?;
    let text = text.trim_matches(|char: char| char.is_whitespace() || char == '\0');
    if !text.chars().all(is_on_labels) {
        return Err(InvalidScan::NotPrintable);
    }
    let (symbology, text) = Symbology::take(text);
    let text = text.trim_matches(|char: char| char.is_whitespace() || char == '\0');
    if text.is_empty() {
        return Err(InvalidScan::Empty);
    }
    let (syntax, fields) = fields(symbology, text)?;
    Ok(Scan::new(symbology, syntax, text, fields))
}

/// Printable characters, line ends within a QR code, and the four separators of ASCII and EOT.
fn is_on_labels(char: char) -> bool {
    char == ' '
        || char.is_ascii_graphic()
        || char.is_alphanumeric()
        || matches!(char, '\t' | '\n' | '\r' | '\u{4}' | '\u{1c}'..='\u{1f}')
}

/// The fields of a code, and how it says what they are.
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
    // Without a sign of its own, a code of these forms is also a text that looks like one.
    let looks = gs1::read_unsaid(text).or_else(|| ansi::read_unsaid(text));
    Ok(looks.map_or_else(|| (Syntax::Bare, vec![Field::bare(text)]), |fields| (Syntax::LooksLike, fields)))
}

#[cfg(test)]
mod tests;
