//! Rows of a claims file: CSV in, checked rows out, each with its line number.
//!
//! A row names one device. The identifier sets that it registers follow the same rule as in the management
//! API: `domain/claims/registration.rs`.

use super::outcome::RowOutcome;
use crate::domain::{
    claims::{
        chromeos,
        claim::{MANUFACTURE_DATE, Metadata},
        registration::registered_sets,
    },
    name::Name,
};
use std::{collections::BTreeMap, io::Read, sync::Arc};
use unbox_common::{
    claims_file::{BadCell, Cells, Column, Header, Purpose, Records, UnusableFile},
    date::Date,
    eligibility::{Part, Unit},
    identity::{Identifier, IdentifierKind},
    matching::{IdentifierSet, InvalidSet},
    models::Models,
    protocol::latest::ProofKind,
};

/// The contents of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) sets: Vec<IdentifierSet>,
    pub(super) customer: Option<Named>,
    pub(super) configuration: Option<Named>,
    pub(super) proof: Option<ProofKind>,
    pub(super) order: Option<Name>,
    pub(super) metadata: Metadata,
}

/// The name in a cell that has to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The number of the column, from 1.
    pub(super) column: usize,
    /// The name of the column.
    pub(super) field: &'static str,
    /// The cell.
    pub(super) name: String,
}

/// A row with the line that it starts on, or the problem with it.
pub(super) type ReadRow = (u64, Result<Row, RowOutcome>);

/// The rows of a file, in constant memory.
pub(super) struct Rows<R> {
    records: Records<R>,
    purpose: Purpose,
    models: Arc<Models>,
}

impl<R: Read> Rows<R> {
    /// Reads the header; `models` are for checking ChromeOS devices.
    pub(super) fn open(file: R, models: Arc<Models>) -> Result<Self, UnusableFile> {
        let records = Records::open(file)?;
        Ok(Self { purpose: records.header().purpose(), records, models })
    }

    pub(super) const fn header(&self) -> &Header {
        self.records.header()
    }

    /// Returns the next non-empty row; `None` at the end.
    pub(super) fn next_row(&mut self) -> Result<Option<ReadRow>, UnusableFile> {
        let row = self.records.next_row()?;
        Ok(row.map(|cells| (cells.line(), read(&cells, self.purpose, &self.models))))
    }
}

fn read(cells: &Cells<'_>, purpose: Purpose, models: &Models) -> Result<Row, RowOutcome> {
    let identifiers = cells.identifiers()?;
    let (mut customer, mut configuration, mut proof, mut order) = (None, None, None, None);
    let (mut metadata, mut manufactured) = (Metadata::default(), None);
    let applies = purpose == Purpose::Apply;
    for (index, (field, column)) in cells.header().iter().enumerate() {
        if column == Column::Note {
            continue;
        }
        let cell = cells.cell(index)?;
        let number = index + 1;
        let wrong = |rule: &dyn ToString| RowOutcome::invalid(Some(number), field, rule.to_string());
        let named = || Some(Named { column: number, field, name: cell.to_owned() });
        match column {
            Column::ProfileType if cell.eq_ignore_ascii_case("ZERO_TOUCH") => {}
            Column::ProfileType => return Err(wrong(&NO_PROFILE_TYPE)),
            Column::Configuration if applies && cell.is_empty() => return Err(wrong(&NO_PROFILE)),
            _ if cell.is_empty() => {}
            Column::Customer => customer = named(),
            Column::Configuration => configuration = named(),
            Column::Proof => proof = Some(parse_proof(cell).ok_or_else(|| wrong(&known_proofs()))?),
            Column::Order => {
                order = Some(cell.parse::<Name>().map_err(|error| wrong(&storage_rule(&error)))?);
            }
            Column::ManufactureDate => {
                cell.parse::<Date>().map_err(|error| wrong(&format!("names no day: {error}")))?;
                manufactured = Some(cell.to_owned());
            }
            Column::Metadata => metadata = read_metadata(cell).map_err(|rule| wrong(&rule))?,
            Column::Identifier(_) | Column::ModemType(_) | Column::ModemId(_) | Column::Note => {}
        }
    }
    if let Some(day) = manufactured {
        let entry = [(MANUFACTURE_DATE.to_owned(), day)];
        let added = metadata.with_changes(entry.iter().map(|(key, value)| (key, value)));
        metadata = added.map_err(|error| invalid_row(storage_rule(&error)))?;
    }
    if !applies {
        let manufactured = metadata.manufacture_date().unwrap_or_default();
        check_chrome_os(models, cells.header(), &identifiers, manufactured)?;
    }
    let sets = registered_sets(identifiers).map_err(|error| unidentified_row(&error))?;
    if sets.is_empty() {
        return Err(unidentified_row(&InvalidSet::NothingIdentifying));
    }
    Ok(Row { sets, customer, configuration, proof, order, metadata })
}

/// Checks a row's ChromeOS identifiers against the table of models.
fn check_chrome_os(
    models: &Models,
    header: &Header,
    identifiers: &[Identifier],
    manufactured: Option<Date>,
) -> Result<(), RowOutcome> {
    let Some(unit) = Unit::of(identifiers) else { return Ok(()) };
    chromeos::check(models, &Unit { manufactured, ..unit }).map_err(|invalid| {
        let (column, name) = match invalid.part {
            Part::Manufactured => (Column::ManufactureDate, MANUFACTURE_DATE),
            Part::SerialNumber => column_of_kind(IdentifierKind::SerialNumber),
            Part::Model => column_of_kind(IdentifierKind::Model),
            Part::CertifiedId => column_of_kind(IdentifierKind::CertifiedDeviceId),
        };
        let rule = format!("is not that of a ChromeOS device. {}", invalid.rule);
        RowOutcome::invalid(header.position(column).map(|at| at + 1), name, rule)
    })
}

const fn column_of_kind(kind: IdentifierKind) -> (Column, &'static str) {
    (Column::Identifier(kind), kind.name())
}

const NO_PROFILE_TYPE: &str = "is not ZERO_TOUCH: this server enrolls devices, and locks no SIM";
const NO_PROFILE: &str = "is empty: expected a configuration, or 0 for the customer's default";

impl From<BadCell> for RowOutcome {
    fn from(bad: BadCell) -> Self {
        Self::invalid(bad.column, bad.field, bad.rule)
    }
}

fn invalid_row(rule: String) -> RowOutcome {
    RowOutcome::invalid(None, "row", rule)
}

fn unidentified_row(error: &InvalidSet) -> RowOutcome {
    invalid_row(format!("names no device: {error}"))
}

fn storage_rule(rule: &impl std::fmt::Display) -> String {
    format!("cannot be kept: {rule}")
}

fn parse_proof(name: &str) -> Option<ProofKind> {
    ProofKind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
}

fn known_proofs() -> String {
    format!("is not one of: {}", ProofKind::ALL.map(ProofKind::name).join(", "))
}

/// Reads metadata from a cell: a JSON object of texts.
fn read_metadata(cell: &str) -> Result<Metadata, String> {
    let entries: BTreeMap<String, String> = serde_json::from_str(cell)
        .map_err(|_| r#"is not a JSON object of texts, such as {"ordernumber": "PO 1"}"#.to_owned())?;
    Metadata::default().with_changes(&entries).map_err(|error| storage_rule(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::models::CertifiedId;

    fn models() -> Arc<Models> {
        Arc::new(Models::built_in().clone())
    }

    fn read(file: &str) -> Result<Vec<ReadRow>, UnusableFile> {
        let mut rows = Rows::open(file.as_bytes(), models())?;
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
        assert_eq!(first.sets[0].members()[0].value(), "PF0ABCDE");
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
    fn a_chromebook_is_held_against_the_table_of_models() {
        let header = "serial,model,certified_device_id\n";
        for (row, wrong) in [
            ("NXABC,Chromebook Acer Spin 311 (R722T),NXABC", None),
            (",,NXABC", None),
            ("PF0ABCDE,Chromebook Lenovo 100e 4e génération,1S82W0CTO1WWPF0ABCDE", None),
            (
                "PF0ABCDE,Chromebook Lenovo 100e 4e génération,1S82W0CTO1WWPF0ABCDF",
                Some("certified_device_id"),
            ),
            ("0A2D91ZN500126,Chromebook Samsung Galaxy,0A2D91ZN500126", Some("serial_number")),
            ("NXABC,Gateway 3,NXABC", Some("model")),
            ("NXABC,Chromebook Acer Spin 311 (R722T),NXABD", Some("certified_device_id")),
            (",Chromebook Acer Spin 311 (R722T),NXABC", Some("serial_number")),
        ] {
            let rows = read(&format!("{header}{row}\n")).unwrap();
            let found = match &rows[0].1 {
                Ok(_) => None,
                Err(RowOutcome::Invalid { field, .. }) => Some(field.as_str()),
                Err(other) => panic!("{other:?}"),
            };
            assert_eq!(found, wrong, "{row}");
        }
    }

    #[test]
    fn a_day_of_manufacture_is_kept_beside_the_claim_and_held_against_the_model() {
        let model = Models::built_in()
            .iter()
            .find(|model| model.manufactured_from.is_some() && model.certified_id == CertifiedId::Serial);
        let model = &model.unwrap().name;
        for (day, wrong) in [
            ("2099-01-31", None),
            ("", None),
            ("2001-01-31", Some("is not that of a ChromeOS device. It was made on 2001-01-31")),
            ("31.01.2099", Some("names no day: expected a day such as 2026-11-21")),
            ("2099-02-30", Some("names no day: expected a day such as 2026-11-21")),
        ] {
            let header = "serial,model,certified_device_id,manufacture_date";
            let file = format!("{header}\nABCDEFGHIJKLMNO,\"{model}\",ABCDEFGHIJKLMNO,{day}\n");
            let rows = read(&file).unwrap();
            match (&rows[0].1, wrong) {
                (Ok(row), None) => {
                    let kept = row.metadata.entries().get(MANUFACTURE_DATE);
                    assert_eq!(kept.map(String::as_str), Some(day).filter(|day| !day.is_empty()));
                }
                (Err(RowOutcome::Invalid { column, field, rule }), Some(wrong)) => {
                    assert_eq!((*column, field.as_str()), (Some(4), "manufacture_date"));
                    assert!(rule.starts_with(wrong), "{rule}");
                }
                other => panic!("{day}: {other:?}"),
            }
        }
    }

    #[test]
    fn other_bytes_than_text_are_refused_by_cell() {
        let file = [b"serial_number,manufacturer,model\nS\xff1,Acme,G3\n".as_slice()].concat();
        let row = Rows::open(file.as_slice(), models()).unwrap().next_row().unwrap().unwrap();
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
            ("maker,manufacturer\n", "the column \"maker\" is not known; known are: serial_number,"),
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
        let mut rows = Rows::open(file.as_bytes(), models()).unwrap();
        assert!(rows.next_row().unwrap().unwrap().1.is_ok());
        let error = rows.next_row().unwrap_err();
        assert!(matches!(error, UnusableFile::EndlessRow { .. }), "{error}");
    }
}
