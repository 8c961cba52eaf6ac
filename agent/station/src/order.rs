//! The order file: the units to be made, in the columns of a claims file.
//!
//! It is read once completely, and only the offset of each row is kept, so that a file of any size takes
//! some bytes a row. A unit's own row is read again when the unit is tested.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hasher as _},
    io::Read,
};
use unbox_common::{
    claims_file::{Cells, Header, Records, UnusableFile},
    identity::{HardwareIdentity, Identifier, IdentifierKind, fold_manufacturer, fold_name},
    matching::IdentifierSet,
};

/// The most row problems that are kept; beyond that, they are only counted.
const MAX_PROBLEMS: usize = 100;
/// The most rows that are read for one unit.
const MAX_CANDIDATES: usize = 16;

/// A row that is unusable, or that contradicts another row.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RowProblem {
    /// The line that the row starts on; the header is line 1.
    pub line: u64,
    /// The column, from 1; absent if the row as a whole is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The name of the column, or `row`.
    pub field: String,
    /// The fault, to be read after the field.
    pub rule: String,
}

impl std::fmt::Display for RowProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {} {}", self.field, self.rule)
    }
}

/// The position of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Its line.
    pub line: u64,
    /// The offset of its first byte, or of an empty line before it.
    pub offset: u64,
}

/// One identifier of one row, in compact form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    identifier: u64,
    /// A hash of maker and model if the number is unique only within them; else 0.
    names: u64,
    place: Place,
}

/// An index of the rows of an order file, by their identifiers.
#[derive(Debug, Clone, Default)]
pub struct OrderIndex {
    header: Header,
    keys: Vec<Key>,
    rows: u64,
    problems: Vec<RowProblem>,
    problem_count: u64,
}

/// The answer of an order about a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ordered {
    /// One row matches completely, or is the only one that matches in part.
    Row(Row),
    /// Several rows match completely.
    Several(Vec<u64>),
    /// No row matches, not even in part.
    None,
}

/// A row that was read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its line.
    pub line: u64,
    /// The identifiers in it that the machine must show.
    pub identifiers: Vec<Identifier>,
    /// Identifiers that only describe the unit, in the terms of a price list.
    pub listed: Vec<Identifier>,
}

impl OrderIndex {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`UnusableFile`] if its header is unusable, or if it is not CSV throughout.
    pub fn read(file: impl Read) -> Result<Self, UnusableFile> {
        let mut records = Records::open(file)?;
        let mut index = Self { header: records.header().clone(), ..Self::default() };
        let mut offset = records.offset();
        let mut names = Names::default();
        while let Some(cells) = records.next_row()? {
            index.rows += 1;
            let place = Place { line: cells.line(), offset };
            index.add_row(&cells, place, &mut names);
            offset = records.offset();
        }
        index.keys.sort_unstable();
        index.find_duplicates();
        Ok(index)
    }

    fn add_row(&mut self, cells: &Cells<'_>, place: Place, names: &mut Names) {
        let identifiers = match cells.identifiers() {
            Ok(identifiers) => identifiers,
            Err(bad) => {
                let (column, field) = (bad.column, bad.field.to_owned());
                return self.add_problem(RowProblem { line: place.line, column, field, rule: bad.rule });
            }
        };
        let names = names.hash_names(&identifiers);
        let before = self.keys.len();
        for one in identifiers.iter().filter(|one| one.kind().rank().is_some()) {
            let names = if one.kind().needs_maker_and_model() { names } else { 0 };
            self.keys.push(Key { identifier: digest(one), names, place });
        }
        if self.keys.len() == before {
            let (field, rule) = ("row".to_owned(), "names no device".to_owned());
            self.add_problem(RowProblem { line: place.line, column: None, field, rule });
        }
    }

    /// Finds rows that name the same device: keys are sorted, so they are adjacent.
    fn find_duplicates(&mut self) {
        let mut doubles = BTreeSet::new();
        for pair in self.keys.windows(2) {
            if let [first, second] = pair
                && (first.identifier, first.names) == (second.identifier, second.names)
                && first.place != second.place
            {
                doubles.insert((second.place.line, first.place.line));
            }
        }
        for (line, first) in doubles {
            let rule = format!("names the same device as line {first}");
            self.add_problem(RowProblem { line, column: None, field: "row".to_owned(), rule });
        }
    }

    fn add_problem(&mut self, problem: RowProblem) {
        self.problem_count += 1;
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// Returns the number of rows.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the first of the unusable rows, and the number of all.
    #[must_use]
    pub fn problems(&self) -> (&[RowProblem], u64) {
        (&self.problems, self.problem_count)
    }

    /// Returns the row of a unit. `open` returns the file from a given byte on.
    ///
    /// # Errors
    /// [`UnusableFile`] if the file was changed since it was read.
    pub fn find<R: Read>(
        &self,
        identity: &HardwareIdentity,
        open: impl Fn(u64) -> R,
    ) -> Result<Ordered, UnusableFile> {
        let (mut whole, mut partial) = (Vec::new(), None);
        for place in self.candidates(identity) {
            let mut records = Records::resume(open(place.offset), self.header.clone());
            let Some(identifiers) = records.next_row()?.and_then(|cells| cells.identifiers().ok()) else {
                continue;
            };
            let row = Row::new(place.line, identifiers);
            if row.identifiers.iter().all(|one| identity.shows(one)) {
                whole.push(row);
            } else {
                partial.get_or_insert(row);
            }
        }
        let lines = whole.iter().map(|row| row.line).collect();
        Ok(match (whole.pop(), partial) {
            (Some(_), _) if !whole.is_empty() => Ordered::Several(lines),
            (Some(row), _) | (None, Some(row)) => Ordered::Row(row),
            (None, None) => Ordered::None,
        })
    }

    fn candidates(&self, identity: &HardwareIdentity) -> BTreeSet<Place> {
        let mut places = BTreeSet::new();
        for one in identity.observations().iter().map(|one| &one.identifier) {
            if one.kind().rank().is_none() {
                continue;
            }
            let wanted = digest(one);
            let from = self.keys.partition_point(|key| key.identifier < wanted);
            let rest = self.keys.get(from..).unwrap_or_default();
            let found = rest.iter().take_while(|key| key.identifier == wanted);
            places.extend(found.take(MAX_CANDIDATES).map(|key| key.place));
        }
        places
    }
}

impl Row {
    fn new(line: u64, identifiers: Vec<Identifier>) -> Self {
        let set = IdentifierSet::new(identifiers.iter().cloned()).ok();
        let merely_names = |one: &Identifier| set.as_ref().is_some_and(|set| set.is_product_name(one));
        let (listed, identifiers): (Vec<_>, Vec<_>) = identifiers.into_iter().partition(merely_names);
        Self { line, identifiers, listed }
    }
}

/// Maker and model of the previous row, with their hash: most rows of an order share them.
#[derive(Default)]
struct Names {
    written: Option<[String; 2]>,
    folded: u64,
}

impl Names {
    fn hash_names(&mut self, identifiers: &[Identifier]) -> u64 {
        let of = |kind| identifiers.iter().find(|one| one.kind() == kind).map_or("", Identifier::value);
        let written = [of(IdentifierKind::Manufacturer), of(IdentifierKind::Model)];
        if self.written.as_ref().is_none_or(|before| *before != written) {
            let [maker, model] = written;
            self.folded = hash_value(&(fold_manufacturer(maker), fold_name(model)));
            self.written = Some(written.map(str::to_owned));
        }
        self.folded
    }
}

fn digest(identifier: &Identifier) -> u64 {
    hash_value(&(identifier.kind(), identifier.value()))
}

fn hash_value(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use IdentifierKind::{MacAddress, Manufacturer, Model, SerialNumber};
    use unbox_common::identity::{Observed, Source};

    const FILE: &str = "serial_number,manufacturer,model,mac_address,order\n\
        S1,Acme,G3,00:16:3e:00:00:01,PO 1\n\
        \n\
        S2,Acme,G3,,\"PO\n1\"\n\
        S3,Acme,G3,52:54:00:00:00:01,PO 1\n\
        S4,Acme,G3,00:16:3e:00:00:01,PO 1\n\
        S1,Other,G3,,PO 1\n\
        ,,,,PO 1\n";

    fn index() -> OrderIndex {
        OrderIndex::read(FILE.as_bytes()).unwrap()
    }

    fn find(of: &[(IdentifierKind, &str)]) -> Ordered {
        let observed = of.iter().map(|(kind, value)| Observed {
            identifier: Identifier::parse(*kind, value).unwrap(),
            source: Source::Smbios,
        });
        let identity = HardwareIdentity::new(observed).unwrap();
        let open = |offset| FILE.as_bytes().get(usize::try_from(offset).unwrap()..).unwrap();
        index().find(&identity, open).unwrap()
    }

    #[test]
    fn bad_rows_and_doubles_are_named_by_line_and_column() {
        let index = index();
        let (problems, count) = index.problems();
        let shown: Vec<_> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "line 6, column 4: mac_address is a locally administered address, which software can choose",
                "line 9: row names no device",
                "line 7: row names the same device as line 2",
            ]
        );
        assert_eq!((index.rows(), count), (6, 3));
    }

    #[test]
    fn a_unit_finds_its_row_and_what_a_row_says_of_parts_of_it() {
        let acme = [(SerialNumber, "S2"), (Manufacturer, "Acme"), (Model, "G3")];
        let Ordered::Row(row) = find(&acme) else { panic!() };
        assert_eq!((row.line, row.identifiers.len()), (4, 3));
        let swapped = [(MacAddress, "00:16:3e:00:00:01"), (SerialNumber, "S9")];
        let Ordered::Row(row) = find(&swapped) else { panic!() };
        assert_eq!(row.line, 2, "the first row that names a part of it");
        let other = [(SerialNumber, "S1"), (Manufacturer, "Other"), (Model, "G3")];
        assert!(matches!(find(&other), Ordered::Row(row) if row.line == 8), "another maker's number");
        assert_eq!(find(&[(SerialNumber, "S9")]), Ordered::None);
    }

    #[test]
    fn a_unit_that_is_there_twice_is_not_decided_by_chance() {
        let file = "mac_address\n00:16:3e:00:00:01\n00:16:3e:00:00:01\n";
        let index = OrderIndex::read(file.as_bytes()).unwrap();
        let identifier = Identifier::parse(MacAddress, "00:16:3e:00:00:01").unwrap();
        let unit = HardwareIdentity::new([Observed { identifier, source: Source::Network }]).unwrap();
        let open = |offset| file.as_bytes().get(usize::try_from(offset).unwrap()..).unwrap();
        assert_eq!(index.find(&unit, open).unwrap(), Ordered::Several(vec![2, 3]));
    }

    #[test]
    fn a_row_of_a_price_list_asks_for_no_name_in_the_firmware() {
        let of = |kind, value| Identifier::parse(kind, value).unwrap();
        let listed = of(Model, "Chromebook of the price list");
        let certified = of(IdentifierKind::CertifiedDeviceId, "C1KS-A1B2C3");
        let row = Row::new(2, vec![certified.clone(), listed.clone()]);
        assert_eq!((row.identifiers, row.listed), (vec![certified], vec![listed]));
    }
}
