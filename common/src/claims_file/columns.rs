//! The columns of a claims file: their names, their meanings, and the escape that keeps a cell from
//! becoming a formula.
//!
//! Files use Unbox's own words or those of the zero-touch portals; a column means the same under each of
//! its names, and may stand in any position.

use crate::identity::IdentifierKind;
use std::borrow::Cow;

/// The columns that name a device by its label, in Unbox's own words.
const LABEL_COLUMNS: [&str; 3] = ["serial_number", "manufacturer", "model"];

/// The columns of further identifiers, under the same names in every form.
pub const IDENTIFIER_COLUMNS: [&str; 8] = [
    "service_tag",
    "board_serial",
    "chassis_serial",
    "mac_address",
    "system_uuid",
    "certified_device_id",
    "tpm_key",
    "device_key",
];

/// The other columns of Unbox's own form.
const CLAIM_COLUMNS: [&str; 5] = ["manufacture_date", "customer", "configuration", "proof", "order"];

/// Returns the columns of Unbox's own form.
pub fn own_columns() -> impl Iterator<Item = &'static str> {
    LABEL_COLUMNS.into_iter().chain(IDENTIFIER_COLUMNS).chain(CLAIM_COLUMNS)
}

/// The columns that the portals' forms have beside `manufacturer` and `model`.
pub const PORTAL_COLUMNS: [&str; 13] = [
    "modemtype",
    "modemid",
    "modemtype2",
    "modemid2",
    "modemtype3",
    "modemid3",
    "modemtype4",
    "modemid4",
    "serial",
    "profiletype",
    "owner",
    "profileid",
    "devicemetadata",
];

/// Columns that an export shows and an import leaves alone.
pub const NOTE_COLUMNS: [&str; 4] =
    ["deviceid", "claimtime", "vacationmodestarttime", "vacationmodeexpiretime"];

/// The meaning of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// An identifier of this kind.
    Identifier(IdentifierKind),
    /// The kind of the modem of this number.
    ModemType(u8),
    /// Its IMEI or MEID.
    ModemId(u8),
    /// The customer that owns the device.
    Customer,
    /// The configuration that the device gets.
    Configuration,
    /// The proof that the device must give.
    Proof,
    /// The day of manufacture.
    ManufactureDate,
    /// The order that the device belongs to.
    Order,
    /// The reseller's notes about the device.
    Metadata,
    /// The kind of claim: only one value is possible.
    ProfileType,
    /// A note for people only.
    Note,
}

impl Column {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "modemtype" => Self::ModemType(1),
            "modemtype2" => Self::ModemType(2),
            "modemtype3" => Self::ModemType(3),
            "modemtype4" => Self::ModemType(4),
            "modemid" => Self::ModemId(1),
            "modemid2" => Self::ModemId(2),
            "modemid3" => Self::ModemId(3),
            "modemid4" => Self::ModemId(4),
            "serial" => Self::Identifier(IdentifierKind::SerialNumber),
            "owner" | "customer" => Self::Customer,
            "profileid" | "configuration" => Self::Configuration,
            "profiletype" => Self::ProfileType,
            "devicemetadata" => Self::Metadata,
            "proof" => Self::Proof,
            "manufacture_date" => Self::ManufactureDate,
            "order" => Self::Order,
            note if NOTE_COLUMNS.contains(&note) => Self::Note,
            other => return other.parse().ok().map(Self::Identifier),
        })
    }
}

/// The purpose of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It claims devices.
    Claim,
    /// It applies configurations to devices that are claimed already.
    Apply,
}

/// The reason why a first line is not a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHeader {
    /// No column has this name.
    #[error("the column {name:?} is not known; known are: {}", known_names())]
    UnknownColumn {
        /// The name, cut to 64 characters.
        name: String,
    },
    /// Two columns mean the same thing.
    #[error("{}", describe_duplicate(.0, .1))]
    DoubleColumn(&'static str, &'static str),
    /// A column means nothing without another one.
    #[error("the column {0} needs another one beside it for {1}")]
    Unpaired(&'static str, &'static str),
}

fn describe_duplicate(one: &str, other: &str) -> String {
    if one == other {
        format!("the column {one} is there twice")
    } else {
        format!("the columns {other} and {one} mean the same: leave one of them out")
    }
}

/// The first line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header(Vec<(&'static str, Column)>);

impl Header {
    /// Reads the names of the columns.
    ///
    /// # Errors
    /// [`InvalidHeader`], by the name of the column.
    pub fn parse<'n>(names: impl Iterator<Item = &'n str>) -> Result<Self, InvalidHeader> {
        let mut header = Self::default();
        for name in names {
            let name = name.trim_start_matches('\u{feff}').trim();
            let mut all = known_columns();
            let known = all.find(|known| known.eq_ignore_ascii_case(name));
            let Some((known, column)) = known.and_then(|known| Some((known, Column::from_name(known)?)))
            else {
                return Err(InvalidHeader::UnknownColumn { name: name.chars().take(64).collect() });
            };
            let same = |(other, meaning): &(&str, Column)| {
                *other == known || (*meaning == column && column != Column::Note)
            };
            if let Some((other, _)) = header.0.iter().copied().find(same) {
                return Err(InvalidHeader::DoubleColumn(known, other));
            }
            header.0.push((known, column));
        }
        for (name, column) in &header.0 {
            let (other, what) = match column {
                Column::ModemType(modem) => (Column::ModemId(*modem), "its number"),
                Column::ModemId(modem) => (Column::ModemType(*modem), "its type, IMEI or MEID"),
                _ => continue,
            };
            if header.position(other).is_none() {
                return Err(InvalidHeader::Unpaired(name, what));
            }
        }
        Ok(header)
    }

    /// Returns the columns in their order, each with the name that it has.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, Column)> {
        self.0.iter().copied()
    }

    /// Returns the index of a column.
    #[must_use]
    pub fn position(&self, column: Column) -> Option<usize> {
        self.0.iter().position(|(_, other)| *other == column)
    }

    /// Returns true if there is such a column.
    #[must_use]
    pub fn has(&self, column: Column) -> bool {
        self.position(column).is_some()
    }

    /// Returns the purpose of the file. A customer's file names profiles and no owner, because the devices
    /// are already its own.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        let profiles = self.0.iter().any(|(name, _)| *name == "profileid");
        if profiles && !self.has(Column::Customer) { Purpose::Apply } else { Purpose::Claim }
    }
}

/// Returns every column that a file may have.
pub fn known_columns() -> impl Iterator<Item = &'static str> {
    own_columns().chain(PORTAL_COLUMNS).chain(NOTE_COLUMNS)
}

/// Returns the same columns as one text, for an error message.
#[must_use]
pub fn known_names() -> String {
    known_columns().collect::<Vec<_>>().join(", ")
}

/// Characters that make spreadsheets take a cell for a formula, also in full width.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// Returns the cell in a form that no spreadsheet takes for a formula: with an apostrophe in front where
/// it would be one.
#[must_use]
pub fn plain_cell(value: &str) -> Cow<'_, str> {
    if value.trim_start_matches('\'').starts_with(FORMULA) {
        Cow::Owned(format!("'{value}"))
    } else {
        Cow::Borrowed(value)
    }
}

/// Undoes [`plain_cell`].
#[must_use]
pub fn plain_value(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if rest.trim_start_matches('\'').starts_with(FORMULA) => rest,
        _ => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(line: &str) -> Result<Header, String> {
        Header::parse(line.split(',')).map_err(|error| error.to_string())
    }

    #[test]
    fn every_name_stands_for_something() {
        for name in known_columns() {
            assert!(Column::from_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_portals_forms_are_known_in_any_order_and_case() {
        for (line, purpose) in [
            ("modemtype,modemid,serial,model,manufacturer,profiletype,owner", Purpose::Claim),
            ("modemtype,modemid,profiletype,owner", Purpose::Claim),
            ("serial,model,manufacturer,profiletype,owner", Purpose::Claim),
            (
                "Owner,ModemID,MODEMTYPE,modemtype2,modemid2,serial,model,manufacturer,profiletype,devicemetadata",
                Purpose::Claim,
            ),
            ("modemtype,modemid,manufacturer,profiletype,profileid", Purpose::Apply),
            ("profileid,modemtype,modemid,serial,manufacturer,model,profiletype", Purpose::Apply),
            ("serial,model,manufacturer,owner,profileid", Purpose::Claim),
            ("serial_number,manufacturer,model,configuration", Purpose::Claim),
        ] {
            assert_eq!(header(line).map(|header| header.purpose()), Ok(purpose), "{line}");
        }
    }

    #[test]
    fn a_header_that_cannot_be_meant_is_refused_by_name() {
        for (line, says) in [
            ("serial,maker", "the column \"maker\" is not known; known are: serial_number,"),
            ("model,Model", "the column model is there twice"),
            ("serial,serial_number", "the columns serial and serial_number mean the same"),
            ("owner,customer", "the columns owner and customer mean the same"),
            ("modemid,owner", "the column modemid needs another one beside it for its type, IMEI or MEID"),
            ("modemtype2,owner", "the column modemtype2 needs another one beside it for its number"),
        ] {
            let refused = header(line).unwrap_err();
            assert!(refused.contains(says), "{line}: {refused}");
        }
    }

    #[test]
    fn a_cell_never_begins_a_formula_and_keeps_its_value() {
        for value in [
            "=1+1",
            "+41 44",
            "-5",
            "@SUM(A1)",
            "\u{ff1d}1",
            "'=1",
            "''=1",
            "'tis",
            "''",
            "'",
            "",
            "a=b",
            "'-",
        ] {
            let cell = plain_cell(value);
            assert!(!cell.starts_with(FORMULA), "{value}");
            assert_eq!(plain_value(&cell), value);
        }
        assert_eq!(plain_value("'tis"), "'tis", "an apostrophe of somebody else is left alone");
    }
}
