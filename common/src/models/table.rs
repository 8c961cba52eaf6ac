//! Tables of models as text: CSV in, rows or the first mistake out.

use super::{CertifiedId, Footnote, Model, Models};
use crate::{
    date::Date,
    identity::{Identifier, IdentifierKind, fold_name},
};

/// The most bytes of a table; the built-in one has 11 KiB.
const MAX_TABLE_BYTES: usize = 4 * 1024 * 1024;

const COLUMNS: [&str; 5] = ["model", "brand", "manufactured_from", "certified_id", "footnote"];

/// The reason why a table of models cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTable {
    /// The table is too large.
    #[error("expected a table of at most {MAX_TABLE_BYTES} bytes, found {0}")]
    TooLarge(usize),
    /// The first line is not a usable header.
    #[error("line 1: expected the columns {}, each once", COLUMNS.join(", "))]
    Header,
    /// A row that is not CSV.
    #[error("line {line}: expected {} cells, in UTF-8", COLUMNS.len())]
    Row {
        /// The line on which the row starts, from 1.
        line: u64,
    },
    /// A wrong cell.
    #[error("line {line}, column {column}: {value:?} is not {expected}")]
    Cell {
        /// The line on which the row starts, from 1.
        line: u64,
        /// The name of the column.
        column: &'static str,
        /// The cell, cut to 64 characters.
        value: String,
        /// The values that would be right.
        expected: &'static str,
    },
    /// A model that occurs twice.
    #[error("line {line}: the model {name:?} is there already")]
    Twice {
        /// The line on which the row starts, from 1.
        line: u64,
        /// Its name, cut to 64 characters.
        name: String,
    },
}

pub(super) fn read(csv: &[u8]) -> Result<Models, InvalidTable> {
    if csv.len() > MAX_TABLE_BYTES {
        return Err(InvalidTable::TooLarge(csv.len()));
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(csv);
    let header = reader.headers().map_err(|_| InvalidTable::Header)?.clone();
    let places = COLUMNS.map(|column| {
        header.iter().position(|name| name.trim_start_matches('\u{feff}').eq_ignore_ascii_case(column))
    });
    let [Some(model), Some(brand), Some(from), Some(certified), Some(footnote)] = places else {
        return Err(InvalidTable::Header);
    };
    if header.len() != COLUMNS.len() {
        return Err(InvalidTable::Header);
    }
    let mut models = Models::default();
    let mut row = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut row) {
            Ok(true) => {}
            Ok(false) => return Ok(models),
            Err(_) => return Err(InvalidTable::Row { line }),
        }
        let line = row.position().map_or(line, csv::Position::line);
        let cell = |at: usize| row.get(at).unwrap_or_default();
        let wrong =
            |column, at, expected| InvalidTable::Cell { line, column, value: truncate(cell(at)), expected };
        let row = Model {
            name: name_of(cell(model)).map_err(|expected| wrong("model", model, expected))?,
            brand: name_of(cell(brand)).map_err(|expected| wrong("brand", brand, expected))?,
            manufactured_from: day_of(cell(from))
                .map_err(|expected| wrong("manufactured_from", from, expected))?,
            certified_id: certified_id_of(cell(certified))
                .map_err(|expected| wrong("certified_id", certified, expected))?,
            footnote: footnote_of(cell(footnote))
                .map_err(|expected| wrong("footnote", footnote, expected))?,
        };
        if row.names().any(|name| models.by_name.contains_key(&fold_name(&name))) {
            return Err(InvalidTable::Twice { line, name: truncate(&row.name) });
        }
        models.insert(row);
    }
}

impl CertifiedId {
    /// Every form.
    pub const ALL: [Self; 5] =
        [Self::Serial, Self::DellServiceTag, Self::LenovoMtmSerial, Self::LenovoOriginMac, Self::AsusToken];

    /// Returns its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serial => "serial",
            Self::DellServiceTag => "dell_service_tag",
            Self::LenovoMtmSerial => "lenovo_1s_mtm_serial",
            Self::LenovoOriginMac => "lenovo_1s_origin_mac",
            Self::AsusToken => "asus_certified_id",
        }
    }

    /// Returns a description of the form, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Serial => "its serial number",
            Self::DellServiceTag => "its service tag, 7 letters and digits, which is its serial number, too",
            Self::LenovoMtmSerial => {
                "1S, its machine type and model (7 or 10 characters), and its serial number (7 or 8)"
            }
            Self::LenovoOriginMac => "1SC1KS or 1SC1VM, and its MAC address of 12 digits",
            Self::AsusToken => "a token of letters, digits and hyphens on its label",
        }
    }
}

impl Footnote {
    /// Returns its number in the table.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::SerialIsWholeString => 1,
            Self::ShortLabels => 2,
            Self::OriginAndMac => 3,
            Self::TwoNames => 4,
        }
    }

    /// Returns the meaning of the footnote, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::SerialIsWholeString => "the serial number itself is the whole 1S string",
            Self::ShortLabels => {
                "labels made before the day leave out the last of the serial number's 15 characters; such units \
                 cannot be registered"
            }
            Self::OriginAndMac => "1SC1KS and the MAC address if made in China, 1SC1VM if made in Vietnam",
            Self::TwoNames => {
                "the plain name is that of Intel N100 and N200; the same with (15w) that of Core i3-N305"
            }
        }
    }
}

/// Reads a name by which something can be registered.
fn name_of(cell: &str) -> Result<String, &'static str> {
    let name = Identifier::parse(IdentifierKind::Model, cell);
    name.map(|name| name.value().to_owned()).map_err(|_| "a name of at most 255 bytes")
}

fn day_of(cell: &str) -> Result<Option<Date>, &'static str> {
    let day = (!cell.is_empty()).then(|| cell.parse()).transpose();
    day.map_err(|_| "empty or a day such as 2021-03-01")
}

fn certified_id_of(cell: &str) -> Result<CertifiedId, &'static str> {
    CertifiedId::ALL.into_iter().find(|form| form.name() == cell).ok_or(
        "one of serial, dell_service_tag, lenovo_1s_mtm_serial, lenovo_1s_origin_mac, asus_certified_id",
    )
}

fn footnote_of(cell: &str) -> Result<Option<Footnote>, &'static str> {
    match cell {
        "" => Ok(None),
        "1" => Ok(Some(Footnote::SerialIsWholeString)),
        "2" => Ok(Some(Footnote::ShortLabels)),
        "3" => Ok(Some(Footnote::OriginAndMac)),
        "4" => Ok(Some(Footnote::TwoNames)),
        _ => Err("empty or one of 1, 2, 3, 4"),
    }
}

fn truncate(value: &str) -> String {
    value.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str = "model,brand,manufactured_from,certified_id,footnote";

    #[test]
    fn every_row_of_the_built_in_table_is_read() {
        let models = Models::parse(include_bytes!("../../data/chromeos-models.csv")).unwrap();
        let of = |form| models.iter().filter(|model| model.certified_id == form).count();
        assert_eq!(models.iter().len(), 187);
        assert_eq!(CertifiedId::ALL.map(of), [107, 10, 25, 1, 44]);
        assert_eq!(models.iter().filter(|model| model.manufactured_from.is_some()).count(), 69);
        let of = |footnote| models.iter().filter(|model| model.footnote == footnote).count();
        let footnotes = [
            Footnote::SerialIsWholeString,
            Footnote::ShortLabels,
            Footnote::OriginAndMac,
            Footnote::TwoNames,
        ];
        assert_eq!(footnotes.map(|footnote| of(Some(footnote))), [2, 5, 1, 1]);
        assert_eq!(&models, Models::built_in());
        for model in models.iter() {
            assert_eq!(models.find(&model.name), Some(model), "no name is there twice");
        }
    }

    #[test]
    fn a_mistake_is_named_by_line_and_column() {
        for (csv, says) in [
            ("model,brand".to_owned(), "line 1: expected the columns model, brand, manufactured_from,"),
            (format!("{HEADER},more"), "line 1: expected the columns"),
            ("model,brand,manufactured_from,certified_id,model".to_owned(), "line 1: expected the columns"),
            (format!("{HEADER}\nA,B,,serial"), "line 2: expected 5 cells, in UTF-8"),
            (format!("{HEADER}\nA,B,,serial,\n,B,,serial,"), "line 3, column model: \"\" is not a name"),
            (format!("{HEADER}\n\"A\",\"\",,serial,"), "line 2, column brand: \"\" is not a name"),
            (
                format!("{HEADER}\nA,B,1/3/2021,serial,"),
                "line 2, column manufactured_from: \"1/3/2021\" is not empty or a day such as 2021-03-01",
            ),
            (
                format!("{HEADER}\nA,B,,imei,"),
                "line 2, column certified_id: \"imei\" is not one of serial, dell_service_tag,",
            ),
            (format!("{HEADER}\nA,B,,serial,5"), "line 2, column footnote: \"5\" is not empty or one of 1"),
            (format!("{HEADER}\nA,B,,serial,\n a ,B,,serial,"), "line 3: the model \"a\" is there already"),
            (format!("{HEADER}\nA (15w),B,,serial,\nA,B,,serial,4"), "line 3: the model \"A\" is there"),
        ] {
            let refused = Models::parse(csv.as_bytes()).unwrap_err().to_string();
            assert!(refused.starts_with(says), "{csv}: {refused}");
        }
        let broken = [HEADER.as_bytes(), b"\nA,\xff,,serial,\n"].concat();
        assert_eq!(Models::parse(&broken), Err(InvalidTable::Row { line: 2 }));
        let large = vec![b'x'; MAX_TABLE_BYTES + 1];
        assert_eq!(Models::parse(&large), Err(InvalidTable::TooLarge(MAX_TABLE_BYTES + 1)));
    }

    #[test]
    fn a_table_as_spreadsheets_write_it_is_read() {
        let csv = "\u{feff}Brand,MODEL,footnote,certified_id,manufactured_from\r\nNew,\"A, B\",,serial,2026-01-31\r\n";
        let models = Models::parse(csv.as_bytes()).unwrap();
        let model = models.find("a, b").unwrap();
        assert_eq!((model.brand.as_str(), model.manufactured_from), ("New", Date::new(2026, 1, 31)));
    }

    proptest! {
        #[test]
        fn no_table_breaks_the_reader(rows in "[ -~\n\"]{0,200}") {
            let _ = Models::parse(format!("{HEADER}\n{rows}").as_bytes());
        }
    }
}
