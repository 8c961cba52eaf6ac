//! Rows of a claims file: CSV in, checked rows out, each with its line.
//!
//! A row names what its device must show, all of it: the cells of one row are one identifier set.

use super::{KNOWN_COLUMNS, RowOutcome};
use crate::domain::{
    claim::ClaimSets,
    name::{Name, UnknownWord},
};
use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder, StringRecord, Terminator};
use std::{
    io::{self, Chain, Read},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
};

/// The most bytes of one row. A quote that is never closed makes one row of the rest of a file.
const MAX_ROW_BYTES: usize = 64 * 1024;
/// What the CSV reader reads ahead.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) set: IdentifierSet,
    pub(super) customer: Option<(usize, String)>,
    pub(super) configuration: Option<(usize, String)>,
    pub(super) proof: Option<ProofKind>,
    pub(super) order: Option<Name>,
}

/// A row and the line that it starts on, or what is wrong with it.
pub(super) type ReadRow = (u64, Result<Row, RowOutcome>);

/// Why a file cannot be read, or not any further.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnusableFile {
    #[error("expected a first line with column names out of: {}", KNOWN_COLUMNS.join(", "))]
    NoHeader,
    #[error("the column {name:?} is not known; known are: {}", KNOWN_COLUMNS.join(", "))]
    UnknownColumn { name: String },
    #[error("the column {0} is there twice")]
    DoubleColumn(&'static str),
    #[error("line {line}: a row of more than {MAX_ROW_BYTES} bytes; is a quotation mark missing?")]
    EndlessRow { line: u64 },
    #[error("line {line}: {problem}")]
    Unreadable { line: u64, problem: String },
}

/// What a column is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Identifier(IdentifierKind),
    Customer,
    Configuration,
    Proof,
    Order,
}

impl Column {
    fn named(name: &'static str) -> Option<Self> {
        match name {
            "customer" => Some(Self::Customer),
            "configuration" => Some(Self::Configuration),
            "proof" => Some(Self::Proof),
            "order" => Some(Self::Order),
            other => other.parse().ok().map(Self::Identifier),
        }
    }
}

/// The rows of a file, in constant memory.
pub(super) struct Rows<R> {
    csv: Reader<Capped<Chain<R, &'static [u8]>>>,
    since_row: Arc<AtomicUsize>,
    columns: Vec<Column>,
    record: ByteRecord,
}

impl<R: Read> Rows<R> {
    /// Reads the header.
    pub(super) fn open(file: R) -> Result<Self, UnusableFile> {
        let since_row = Arc::new(AtomicUsize::new(0));
        // Every line ends in a newline, the last one too; a carriage return before it is white
        // space at the end of a cell. So lines can be counted.
        let capped = Capped { inner: file.chain(b"\n".as_slice()), since_row: Arc::clone(&since_row) };
        let csv = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(Terminator::Any(b'\n'))
            .buffer_capacity(BUFFER_BYTES)
            .from_reader(capped);
        let mut rows = Self { csv, since_row, columns: Vec::new(), record: ByteRecord::new() };
        if !rows.advance()? {
            return Err(UnusableFile::NoHeader);
        }
        let header = StringRecord::from_byte_record_lossy(rows.record.clone());
        let mut seen = Vec::new();
        for cell in &header {
            let name = cell.trim_start_matches('\u{feff}').trim();
            let known = KNOWN_COLUMNS.into_iter().find(|known| known.eq_ignore_ascii_case(name));
            let Some((known, column)) = known.and_then(|known| Some((known, Column::named(known)?))) else {
                return Err(UnusableFile::UnknownColumn { name: name.chars().take(64).collect() });
            };
            if seen.contains(&known) {
                return Err(UnusableFile::DoubleColumn(known));
            }
            seen.push(known);
            rows.columns.push(column);
        }
        Ok(rows)
    }

    /// The next row that is not empty; `None` at the end.
    pub(super) fn next_row(&mut self) -> Result<Option<ReadRow>, UnusableFile> {
        while self.advance()? {
            let blank = self.record.iter().all(|cell| cell.trim_ascii().is_empty());
            if !(blank && self.record.len() == 1) {
                return Ok(Some((self.line(), self.read())));
            }
        }
        Ok(None)
    }

    /// The line that the row starts on: the reader stands behind the row's last newline.
    fn line(&self) -> u64 {
        let newlines = self.record.iter().flatten().filter(|byte| **byte == b'\n').count();
        let behind = self.csv.position().line();
        behind.saturating_sub(u64::try_from(newlines).unwrap_or(u64::MAX)).saturating_sub(1)
    }

    fn advance(&mut self) -> Result<bool, UnusableFile> {
        // What the reader has buffered belongs to the rows to come.
        self.since_row.store(0, Ordering::Relaxed);
        self.csv.read_byte_record(&mut self.record).map_err(|error| {
            let line = self.csv.position().line();
            match error.kind() {
                ErrorKind::Io(cause) if cause.kind() == io::ErrorKind::FileTooLarge => {
                    UnusableFile::EndlessRow { line }
                }
                _ => UnusableFile::Unreadable { line, problem: error.to_string() },
            }
        })
    }

    fn read(&self) -> Result<Row, RowOutcome> {
        let whole = |rule: String| RowOutcome::Invalid { column: None, field: "row".to_owned(), rule };
        if self.record.len() != self.columns.len() {
            let (expected, found) = (self.columns.len(), self.record.len());
            return Err(whole(format!("has {found} cells, the header has {expected}")));
        }
        let (mut members, mut customer, mut configuration, mut proof, mut order) =
            (Vec::new(), None, None, None, None);
        for (index, (column, cell)) in self.columns.iter().zip(&self.record).enumerate() {
            let number = index + 1;
            let wrong = |rule: String| RowOutcome::Invalid {
                column: Some(number),
                field: KNOWN_COLUMNS
                    .into_iter()
                    .find(|name| Column::named(name) == Some(*column))
                    .unwrap_or_default()
                    .to_owned(),
                rule,
            };
            let cell = std::str::from_utf8(cell).map_err(|_| wrong("is not UTF-8".to_owned()))?.trim();
            if cell.is_empty() {
                continue;
            }
            match column {
                Column::Identifier(kind) => {
                    members.push(Identifier::parse(*kind, cell).map_err(|error| wrong(error.to_string()))?);
                }
                Column::Customer => customer = Some((number, cell.to_owned())),
                Column::Configuration => configuration = Some((number, cell.to_owned())),
                Column::Proof => proof = Some(proof_named(cell).map_err(wrong)?),
                Column::Order => {
                    order = Some(cell.parse::<Name>().map_err(|error| wrong(error.to_string()))?);
                }
            }
        }
        let set = IdentifierSet::new(members).map_err(|error| whole(error.to_string()))?;
        Ok(Row { set, customer, configuration, proof, order })
    }
}

fn proof_named(name: &str) -> Result<ProofKind, String> {
    ProofKind::ALL
        .into_iter()
        .find(|kind| kind.name().eq_ignore_ascii_case(name))
        .ok_or_else(|| UnknownWord::new(name, ProofKind::ALL.into_iter().map(ProofKind::name)).to_string())
}

/// Whether a set holds the key that `registered_key` asks for.
pub(super) fn has_registered_key(set: &IdentifierSet) -> bool {
    ClaimSets::new(vec![set.clone()]).registered_keys().next().is_some()
}

/// A file that ends in an error when too much of it is read without a row coming to its end.
struct Capped<R> {
    inner: R,
    since_row: Arc<AtomicUsize>,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.since_row.load(Ordering::Relaxed) > MAX_ROW_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a row without end"));
        }
        let read = self.inner.read(to)?;
        self.since_row.fetch_add(read, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str) -> Result<Vec<ReadRow>, UnusableFile> {
        let mut rows = Rows::open(file.as_bytes())?;
        std::iter::from_fn(|| rows.next_row().transpose()).collect()
    }

    #[test]
    fn a_file_as_spreadsheets_write_it_is_read() {
        let file = "\u{feff}Serial_Number,MANUFACTURER,model,proof,order\r\n\
                    pf0abcde,Lenovo,20QES0XX00,TOKEN,\"PO 1, part 2\"\r\n\
                    \r\n\n\
                    PF0ABCDF,Lenovo,20QES0XX00,,\"two\nlines\"\n\
                    PF0ABCDG,Lenovo,20QES0XX00,,\"three\"";
        let rows = read(file).unwrap();
        assert_eq!(rows.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5, 7]);
        let first = rows[0].1.as_ref().unwrap();
        assert_eq!(first.set.members()[0].value(), "PF0ABCDE");
        assert_eq!(first.proof, Some(ProofKind::Token));
        assert_eq!(first.order.as_ref().unwrap().as_str(), "PO 1, part 2");
        assert!(rows[1].1.is_err(), "an order is one line");
        let last = rows[2].1.as_ref().unwrap();
        assert_eq!((last.proof, last.order.as_ref().unwrap().as_str()), (None, "three"));
    }

    #[test]
    fn a_row_that_cannot_be_used_says_where_and_why() {
        let header = "serial_number,manufacturer,model,mac_address,proof,order\n";
        for (row, column, field, rule) in [
            ("To Be Filled By O.E.M.,Acme,G3,,,", Some(1), "serial_number", "placeholder"),
            ("S1,Acme,G3,52:54:00:00:00:01,,", Some(4), "mac_address", "locally administered"),
            ("S1,,,,,", None, "row", "a serial_number needs manufacturer and model"),
            (",Acme,G3,,,", None, "row", "expected at least one of"),
            ("S1,Acme", None, "row", "has 2 cells, the header has 6"),
            ("S1,Acme,G3,,secret,", Some(5), "proof", "is not one of: identifiers, token"),
            ("S1,Acme,G3,,,a\u{7}b", Some(6), "order", "expected one line"),
        ] {
            let rows = read(&format!("{header}{row}\nS2,Acme,G3,,,\n")).unwrap();
            let Err(RowOutcome::Invalid { column: found, field: name, rule: text }) = &rows[0].1 else {
                panic!("{row}: {:?}", rows[0])
            };
            assert_eq!((*found, name.as_str()), (column, field), "{row}");
            assert!(text.contains(rule), "{row}: {text}");
            assert!(rows[1].1.is_ok(), "the row after it is read all the same");
        }
    }

    #[test]
    fn other_bytes_than_text_are_refused_by_cell() {
        let file = [b"serial_number,manufacturer,model\nS\xff1,Acme,G3\n".as_slice()].concat();
        let row = Rows::open(file.as_slice()).unwrap().next_row().unwrap().unwrap();
        let expected = RowOutcome::Invalid {
            column: Some(1),
            field: "serial_number".to_owned(),
            rule: "is not UTF-8".to_owned(),
        };
        assert_eq!(row, (2, Err(expected)));
    }

    #[test]
    fn a_header_that_is_not_known_is_refused_by_name() {
        for (file, message) in [
            ("", "expected a first line with column names"),
            ("serial,manufacturer\n", "the column \"serial\" is not known; known are: serial_number,"),
            ("model,Model\n", "the column model is there twice"),
        ] {
            let error = read(file).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_ends_the_import_and_not_the_memory() {
        let mut file = "serial_number,manufacturer,model\nS1,Acme,G3\n\"S2,Acme,G3\n".to_owned();
        file.push_str(&"S3,Acme,G3\n".repeat(100_000));
        let mut rows = Rows::open(file.as_bytes()).unwrap();
        assert!(rows.next_row().unwrap().unwrap().1.is_ok());
        let error = rows.next_row().unwrap_err();
        assert!(matches!(error, UnusableFile::EndlessRow { .. }), "{error}");
    }
}
