//! Rows of a file, one at a time and in constant memory, each with its line and its identifiers.

use super::columns::{Column, Header, InvalidHeader, known_names, plain_value};
use crate::identity::{Identifier, IdentifierKind};
use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder, StringRecord, Terminator};
use std::io::{self, Read};

/// The most bytes of one row. A quote that is never closed turns the rest of a file into one row.
const MAX_ROW_BYTES: usize = 64 * 1024;
/// The size of the CSV reader's buffer.
const BUFFER_BYTES: usize = 64 * 1024;
/// The byte order mark that some programs write first into a file of UTF-8; the CSV reader drops it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The reason why a file cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub enum UnusableFile {
    /// The file is empty.
    #[error("expected a first line with column names out of: {}", known_names())]
    NoHeader,
    /// The first line is not a usable header.
    #[error(transparent)]
    Header(#[from] InvalidHeader),
    /// A row without an end.
    #[error("line {line}: a row of more than {MAX_ROW_BYTES} bytes; is a quotation mark missing?")]
    EndlessRow {
        /// The line on which the row starts.
        line: u64,
    },
    /// The last row has no end.
    #[error("line {line}: the file ends inside quotation marks; was it cut off?")]
    OpenQuote {
        /// The line on which the row starts.
        line: u64,
    },
    /// Reading failed.
    #[error("line {line}: the file could not be read to its end ({cause})")]
    CutOff {
        /// The line up to which the file was read.
        line: u64,
        /// The cause.
        cause: io::Error,
    },
    /// The file is not CSV.
    #[error("line {line}: {problem}")]
    Unreadable {
        /// The line up to which the file was read.
        line: u64,
        /// The problem, in words.
        problem: String,
    },
}

/// A cell, or a whole row, that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct BadCell {
    /// The number of the column, from 1; `None` if the row as a whole is wrong.
    pub column: Option<usize>,
    /// The name of the column, or `row`.
    pub field: &'static str,
    /// The rule that it broke, to be read after the field. It never repeats a value: files hold
    /// secrets in wrong columns.
    pub rule: String,
}

/// A file that is being read.
pub struct Records<R> {
    csv: Reader<Capped<R>>,
    header: Header,
    record: ByteRecord,
}

/// One row, as the file has it.
#[derive(Debug, Clone, Copy)]
pub struct Cells<'r> {
    header: &'r Header,
    record: &'r ByteRecord,
    line: u64,
}

impl<R: Read> Records<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`UnusableFile`].
    pub fn open(file: R) -> Result<Self, UnusableFile> {
        let mut records = Self::resume(file, Header::default());
        if !records.advance()? {
            return Err(UnusableFile::NoHeader);
        }
        let names = StringRecord::from_byte_record_lossy(records.record.clone());
        records.header = Header::parse(names.iter())?;
        Ok(records)
    }

    /// Resumes a file behind its header. Lines are counted from here on.
    pub fn resume(file: R, header: Header) -> Self {
        let csv = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(Capped::new(file));
        Self { csv, header, record: ByteRecord::new() }
    }

    /// Returns the header.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Reads the next row that is not empty; `None` at the end.
    ///
    /// # Errors
    /// [`UnusableFile`]: nothing after it can be read.
    pub fn next_row(&mut self) -> Result<Option<Cells<'_>>, UnusableFile> {
        while self.advance()? {
            let blank = self.record.iter().all(|cell| cell.trim_ascii().is_empty());
            if !(blank && self.record.len() == 1) {
                let line = self.line();
                return Ok(Some(Cells { header: &self.header, record: &self.record, line }));
            }
        }
        Ok(None)
    }

    /// Returns the offset of the next row, in bytes: the file can be resumed there.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.csv.position().byte()
    }

    /// Returns the line on which the row starts: the reader stands behind the row's last newline.
    fn line(&self) -> u64 {
        let newlines = self.record.iter().flatten().filter(|byte| **byte == b'\n').count();
        let behind = self.csv.position().line();
        behind.saturating_sub(u64::try_from(newlines).unwrap_or(u64::MAX)).saturating_sub(1)
    }

    fn advance(&mut self) -> Result<bool, UnusableFile> {
        let line = self.csv.position().line();
        let read = self.csv.read_byte_record(&mut self.record);
        let file = self.csv.get_ref();
        let more = read.map_err(|error| match error.into_kind() {
            ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::FileTooLarge => {
                UnusableFile::EndlessRow { line: file.row.line }
            }
            ErrorKind::Io(cause) => UnusableFile::CutOff { line, cause },
            other => UnusableFile::Unreadable { line, problem: format!("{other:?}") },
        })?;
        // A complete row consumes one of the newlines that were added; an incomplete one consumes both.
        if more && file.length.is_some_and(|length| self.csv.position().byte() > length + 1) {
            return Err(UnusableFile::OpenQuote { line: file.row.line });
        }
        Ok(more)
    }
}

impl<'r> Cells<'r> {
    /// Returns the header.
    #[must_use]
    pub const fn header(&self) -> &'r Header {
        self.header
    }

    /// Returns the line on which the row starts, from 1.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// Returns the content of the cell at this index, without white space and apostrophe around it.
    ///
    /// # Errors
    /// [`BadCell`] if it is not text, or has U+0000, which not every database stores.
    pub fn cell(&self, index: usize) -> Result<&str, BadCell> {
        let bytes = self.record.get(index).unwrap_or_default();
        let text = std::str::from_utf8(bytes).map_err(|_| self.bad_cell(index, "is not UTF-8".to_owned()))?;
        if text.contains('\0') {
            return Err(self.bad_cell(index, "has the character U+0000, which no text has".to_owned()));
        }
        Ok(plain_value(text.trim()))
    }

    /// Parses every identifier of the row.
    ///
    /// # Errors
    /// [`BadCell`] for the first cell that broke a rule, or for a row of another length than the header.
    pub fn identifiers(&self) -> Result<Vec<Identifier>, BadCell> {
        let (expected, found) = (self.header.iter().len(), self.record.len());
        if found != expected {
            let rule = format!("has {found} cells, the header has {expected}");
            return Err(BadCell { column: None, field: "row", rule });
        }
        let mut identifiers = Vec::new();
        for (index, (_, column)) in self.header.iter().enumerate() {
            match column {
                Column::Identifier(kind) => {
                    let cell = self.cell(index)?;
                    // A device has many MAC addresses, and one of everything else.
                    let many = kind == IdentifierKind::MacAddress;
                    let split = cell.split(move |char: char| many && char.is_ascii_whitespace());
                    for one in split.filter(|one| !one.is_empty()) {
                        identifiers.push(self.identifier(index, kind, one)?);
                    }
                }
                Column::ModemType(modem) => {
                    let id = self.header.position(Column::ModemId(modem)).unwrap_or(index);
                    if !self.cell(index)?.is_empty() && self.cell(id)?.is_empty() {
                        return Err(self.bad_cell(index, "is given, and its number is not".to_owned()));
                    }
                }
                Column::ModemId(modem) => {
                    let cell = self.cell(index)?;
                    if !cell.is_empty() {
                        identifiers.push(self.identifier(index, self.modem_kind(modem)?, cell)?);
                    }
                }
                _ => {}
            }
        }
        Ok(identifiers)
    }

    fn identifier(&self, index: usize, kind: IdentifierKind, text: &str) -> Result<Identifier, BadCell> {
        Identifier::parse(kind, text).map_err(|error| self.bad_cell(index, error.rule.to_string()))
    }

    /// Returns the kind of the modem's number.
    fn modem_kind(&self, modem: u8) -> Result<IdentifierKind, BadCell> {
        let at = self.header.position(Column::ModemType(modem)).unwrap_or_default();
        match self.cell(at)? {
            text if text.eq_ignore_ascii_case("IMEI") => Ok(IdentifierKind::Imei),
            text if text.eq_ignore_ascii_case("MEID") => Ok(IdentifierKind::Meid),
            _ => Err(self.bad_cell(at, "is not one of: IMEI, MEID".to_owned())),
        }
    }

    fn bad_cell(&self, index: usize, rule: String) -> BadCell {
        let field = self.header.iter().nth(index).map_or("row", |(field, _)| field);
        BadCell { column: Some(index + 1), field, rule }
    }
}

/// The row at the end of the part of a file that was read: its start, and its length so far. Blank lines
/// lie between rows.
struct LastRow {
    place: Place,
    bytes: usize,
    /// The line that it starts on.
    line: u64,
    /// The line of the next byte.
    behind: u64,
}

/// The position of the next byte within a row (RFC 4180). A quotation mark in the middle of a cell is an
/// ordinary character, and text after the closing mark of a quoted cell belongs to that cell.
#[derive(Clone, Copy)]
enum Place {
    StartOfCell,
    Bare,
    Quoted,
    BehindQuote,
}

impl LastRow {
    const fn new() -> Self {
        Self { place: Place::StartOfCell, bytes: 0, line: 1, behind: 1 }
    }

    /// Advances past the bytes that were just read.
    fn pass(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.bytes += 1;
            self.place = match (self.place, byte) {
                (Place::Quoted, b'"') => Place::BehindQuote,
                (Place::Quoted, _) | (Place::StartOfCell | Place::BehindQuote, b'"') => Place::Quoted,
                (_, b',' | b'\n') => Place::StartOfCell,
                _ => Place::Bare,
            };
            if *byte == b'\n' {
                self.behind += 1;
                if !matches!(self.place, Place::Quoted) {
                    (self.bytes, self.line) = (0, self.behind);
                }
            }
        }
    }
}

/// A file whose reading fails once a row grows too long.
struct Capped<R> {
    inner: R,
    row: LastRow,
    /// The length of the file, once its end was reached.
    length: Option<u64>,
    read: u64,
    /// Newlines that are added at the end of the file: one so that the last row ends as every row does, and
    /// lines can be counted; and one more to detect an open quote. A carriage return before a newline is
    /// white space at the end of a cell.
    end: &'static [u8],
}

impl<R: Read> Capped<R> {
    const fn new(inner: R) -> Self {
        Self { inner, row: LastRow::new(), length: None, read: 0, end: b"\n\n" }
    }
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.row.bytes > MAX_ROW_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a row without end"));
        }
        if self.length.is_none() {
            let read = self.inner.read(to)?;
            let bytes = to.get(..read).unwrap_or_default();
            let marked = if self.read == 0 { bytes.strip_prefix(BYTE_ORDER_MARK) } else { None };
            self.row.pass(marked.unwrap_or(bytes));
            self.read += u64::try_from(read).unwrap_or_default();
            if read > 0 || to.is_empty() {
                return Ok(read);
            }
            self.length = Some(self.read);
        }
        self.end.read(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\u{feff}Serial_Number,manufacturer,model,mac_address\r\n\
        pf0abcde,Lenovo,20QES0XX00,00:16:3e:00:00:01 00:16:3e:00:00:02\r\n\
        \r\n\n\
        S2,\"System\nmanufacturer\",G3,\n\
        S3,Acme,G3,";

    #[test]
    fn rows_have_their_lines_and_every_identifier() {
        let mut records = Records::open(FILE.as_bytes()).unwrap();
        let mut rows = Vec::new();
        while let Some(row) = records.next_row().unwrap() {
            rows.push((row.line(), row.identifiers().map(|found| found.len())));
        }
        assert_eq!(rows[0], (2, Ok(5)));
        let bad = rows[1].1.as_ref().unwrap_err();
        assert_eq!((rows[1].0, bad.column, bad.field), (5, Some(2), "manufacturer"));
        assert_eq!(rows[2], (7, Ok(3)));
    }

    #[test]
    fn rows_end_where_the_csv_reader_lets_them_end() {
        // Every text of six of these covers every way into and out of quotation marks.
        let pieces = ["\"", ",", "\n", "a", "\u{feff}"];
        for number in 0..5_u32.pow(6) {
            let piece =
                |place| pieces.get((number / 5_u32.pow(place) % 5) as usize).copied().unwrap_or_default();
            let text: String = (0..6).map(piece).collect();
            let (mut row, mut ended) = (LastRow::new(), 0);
            let bytes = text.as_bytes().strip_prefix(BYTE_ORDER_MARK).unwrap_or(text.as_bytes());
            for byte in bytes {
                let was_blank = row.bytes == 0;
                row.pass(&[*byte]);
                ended += usize::from(row.bytes == 0 && !was_blank);
            }
            let rows = ended + usize::from(row.bytes > 0);
            let mut csv = ReaderBuilder::new();
            csv.has_headers(false).flexible(true).terminator(Terminator::Any(b'\n'));
            let read = csv.from_reader(text.as_bytes()).byte_records().count();
            assert_eq!(rows, read, "{text:?}");
        }
    }

    #[test]
    fn blank_lines_are_no_row_without_an_end() {
        for blank in ["\n", "\r\n", " \n"] {
            let file = format!("serial,model,manufacturer\n{}S3,G3,Acme\n", blank.repeat(100_000));
            let mut records = Records::open(file.as_bytes()).unwrap();
            let row = records.next_row().unwrap().unwrap();
            assert_eq!((row.line(), row.identifiers().unwrap().len()), (100_002, 3), "{blank:?}");
            assert!(records.next_row().unwrap().is_none());
        }
    }

    #[test]
    fn a_quotation_mark_that_is_left_open_is_named_by_its_line() {
        let header = "serial,model,manufacturer\n";
        let blank = "\n".repeat(100_000);
        for (before, open) in
            [("", "S3,\"G3,Acme\n"), (blank.as_str(), "S3,\"G3,Acme\n"), ("S,5\" disk,A\n", "\"")]
        {
            let line = u64::try_from(before.lines().count()).unwrap() + 2;
            for (rest, endless) in [(blank.as_str(), true), ("", false)] {
                let file = format!("{header}{before}{open}{rest}");
                let mut records = Records::open(file.as_bytes()).unwrap();
                let problem = loop {
                    match records.next_row() {
                        Ok(row) => assert!(row.is_some(), "the file came to its end"),
                        Err(problem) => break problem,
                    }
                };
                match problem {
                    UnusableFile::EndlessRow { line: found } if endless => assert_eq!(found, line),
                    UnusableFile::OpenQuote { line: found } if !endless => assert_eq!(found, line),
                    other => panic!("{other}"),
                }
            }
        }
    }

    #[test]
    fn a_file_can_be_resumed_at_any_row() {
        let mut records = Records::open(FILE.as_bytes()).unwrap();
        let mut from = records.offset();
        while let Some(row) = records.next_row().unwrap() {
            let whole = row.identifiers();
            let rest = FILE.as_bytes().get(usize::try_from(from).unwrap()..).unwrap();
            let mut again = Records::resume(rest, records.header().clone());
            assert_eq!(again.next_row().unwrap().unwrap().identifiers(), whole);
            from = records.offset();
        }
    }
}
