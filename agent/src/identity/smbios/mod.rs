//! Identifiers from SMBIOS: the tables that the firmware wrote, and the kernel's copy of some of their
//! fields in `/sys/class/dmi/id`.
//!
//! The tables take precedence, because the firmware wrote them. The copy is a substitute where they
//! cannot be read, and a cross-check where both exist.
//! read, and is a cross-check where both are there.

mod scrub;
mod table;

pub use scrub::without_secrets;
pub use table::{Field, MAX_TABLE_BYTES, Tables};

use super::{Candidate, Disagreement, SourcedValue};
use unbox_common::identity::{IdentifierKind, Source, fold_manufacturer};

/// Paths of the table, and of the entry point that describes it.
pub(super) const TABLE: &str = "/sys/firmware/dmi/tables/DMI";
pub(super) const ENTRY_POINT: &str = "/sys/firmware/dmi/tables/smbios_entry_point";

/// The folder with the kernel's copy.
pub(super) const FOLDER: &str = "/sys/class/dmi/id";

/// Files in that folder, with the kind of identifier in each.
pub(super) const FIELDS: &[(&str, IdentifierKind)] = &[
    ("sys_vendor", IdentifierKind::Manufacturer),
    ("product_name", IdentifierKind::Model),
    ("product_serial", IdentifierKind::SerialNumber),
    ("product_sku", IdentifierKind::Sku),
    ("product_uuid", IdentifierKind::SystemUuid),
    ("board_serial", IdentifierKind::BoardSerial),
    ("chassis_serial", IdentifierKind::ChassisSerial),
    // If the system has no names of its own, the board's are those on the label.
    ("board_vendor", IdentifierKind::Manufacturer),
    ("board_name", IdentifierKind::Model),
    // Lenovo prints the marketing name here, and resellers write either.
    ("product_version", IdentifierKind::Model),
];

/// Merges both sources, field by field, and returns their differences.
pub(super) fn merge(tables: &Tables, copy: &[(&'static str, String)]) -> (Vec<Candidate>, Vec<Disagreement>) {
    let (mut read, mut disagreements) = (Vec::new(), Vec::new());
    for (name, kind) in FIELDS {
        let written = tables.fields.iter().find(|field| field.name == *name).map(|field| SourcedValue {
            value: field.value.clone(),
            from: format!("{TABLE} type {}", field.structure),
        });
        let copied = copy
            .iter()
            .find(|(field, _)| field == name)
            .map(|(_, value)| SourcedValue { value: value.clone(), from: format!("{FOLDER}/{name}") });
        let (first, second) = match (written, copied) {
            (Some(written), Some(copied)) if written.agrees_with(&copied) => (Some(written), None),
            (Some(written), Some(copied)) => {
                disagreements.push(Disagreement {
                    what: (*name).to_owned(),
                    counts: written.clone(),
                    other: copied.clone(),
                });
                (Some(written), Some(copied))
            }
            one => one,
        };
        read.extend([first, second].into_iter().flatten().map(|said| {
            let SourcedValue { value, from } = said;
            (*name, Candidate { kind: *kind, value, source: Source::Smbios, from })
        }));
    }
    (select(read), disagreements)
}

/// Drops values that do not describe *this* system: the board's names if the system has its own, and
/// `product_version` unless the manufacturer puts a name there.
fn select(read: Vec<(&'static str, Candidate)>) -> Vec<Candidate> {
    let usable = |field: &str| {
        read.iter().filter(|(name, _)| *name == field).find(|(_, candidate)| candidate.parse().is_ok())
    };
    let named = usable("sys_vendor").is_some() && usable("product_name").is_some();
    let lenovo = usable("sys_vendor").is_some_and(|(_, maker)| fold_manufacturer(&maker.value) == "lenovo");
    read.into_iter()
        .filter(|(field, _)| match *field {
            "board_vendor" | "board_name" => !named,
            "product_version" => lenovo,
            _ => true,
        })
        .map(|(_, candidate)| candidate)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(fields: &[(&'static str, &str)]) -> Tables {
        let fields = fields
            .iter()
            .map(|(name, value)| Field { name, structure: 1, value: (*value).to_owned() })
            .collect();
        Tables { fields, ..Tables::default() }
    }

    fn copy(fields: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
        fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    #[test]
    fn where_both_say_the_same_it_is_said_once() {
        let (candidates, disagreements) =
            merge(&tables(&[("product_serial", "7XK9Q13 ")]), &copy(&[("product_serial", "7xk9q13")]));
        assert_eq!(candidates.len(), 1);
        assert_eq!(candidates[0].from, "/sys/firmware/dmi/tables/DMI type 1");
        assert_eq!(disagreements, []);
    }

    #[test]
    fn where_they_differ_the_tables_come_first_and_it_is_said() {
        let (candidates, disagreements) =
            merge(&tables(&[("product_serial", "AAA111")]), &copy(&[("product_serial", "BBB222")]));
        let values: Vec<_> = candidates.iter().map(|one| one.value.as_str()).collect();
        assert_eq!(values, ["AAA111", "BBB222"]);
        assert_eq!(
            disagreements[0].to_string(),
            "product_serial is \"AAA111\" in /sys/firmware/dmi/tables/DMI type 1, and \"BBB222\" in \
             /sys/class/dmi/id/product_serial"
        );
    }

    #[test]
    fn without_tables_the_copy_stands_in() {
        let (candidates, disagreements) =
            merge(&Tables::default(), &copy(&[("product_serial", "BBB222"), ("board_name", "X1")]));
        assert_eq!(candidates.len(), 2);
        assert_eq!(candidates[0].from, "/sys/class/dmi/id/product_serial");
        assert_eq!(disagreements, []);
    }

    #[test]
    fn the_boards_names_count_only_where_the_system_has_none() {
        let named = [("sys_vendor", "Dell Inc."), ("product_name", "R650"), ("board_name", "0PYXKY")];
        let (candidates, _) = merge(&tables(&named), &[]);
        assert_eq!(candidates.len(), 2);
        let unnamed = [("sys_vendor", "System manufacturer"), ("product_name", "R650"), ("board_name", "X1")];
        let (candidates, _) = merge(&tables(&unnamed), &[]);
        assert_eq!(candidates.len(), 3);
    }
}
