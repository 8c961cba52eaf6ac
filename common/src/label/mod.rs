//! What a bar code scanner types, or a label says: pure text in, fields and identifiers out.
//!
//! A scanner sends one line for each code. The code says by its form what it holds: ANSI data
//! identifiers (`S`, `1P`, `23S`), GS1 application identifiers, an ISO/IEC 15434 envelope, or nothing
//! at all. Where a text can be meant in more than one way every way is told, and nobody guesses: the
//! one who compares takes the reading that the machine agrees with.

mod scan;

pub use scan::{Field, FieldName, InvalidScan, Reading, Scan, Symbology};

/// The longest scan, in bytes: more than the largest QR code holds (ISO/IEC 18004, 7,089 digits).
pub const MAX_SCAN_BYTES: usize = 8 * 1024;

/// Reads one scan.
///
/// # Errors
/// [`InvalidScan`] with what is wrong with it as a whole. A single field that breaks the rules of what
/// it says it is does not refuse the scan: see [`Reading::refused`].
pub fn parse(scan: &[u8]) -> Result<Scan, InvalidScan> {
    scan::bare(scan)
}
