//! Identifiers out of SMBIOS: the kernel's copy in `/sys/class/dmi/id`, and the tables
//! themselves (DMTF DSP0134 3.7, sections 6 and 7.1 to 7.4).
//!
//! The kernel's copy counts. The tables stand in where it is absent, and are a cross-check
//! where both are there. They are read here and not by a library, because firmware is input:
//! the one that parses them reads past the end of a short structure.

use super::Candidate;
use unbox_common::identity::{IdentifierKind, Source, fold_manufacturer};

/// The largest table that is read, in bytes; SMBIOS 2 cannot say more than 64 KiB.
pub(super) const MAX_TABLE_BYTES: u64 = 1024 * 1024;

/// Files of `/sys/class/dmi/id`, and the kind that each holds.
pub(super) const SYSFS_FIELDS: &[(&str, IdentifierKind)] = &[
    ("sys_vendor", IdentifierKind::Manufacturer),
    ("product_name", IdentifierKind::Model),
    ("product_serial", IdentifierKind::SerialNumber),
    ("product_sku", IdentifierKind::Sku),
    ("product_uuid", IdentifierKind::SystemUuid),
    ("board_serial", IdentifierKind::BoardSerial),
    ("chassis_serial", IdentifierKind::ChassisSerial),
    // Where the system carries no name of its own, the board's is what the label says.
    ("board_vendor", IdentifierKind::Manufacturer),
    ("board_name", IdentifierKind::Model),
    // Lenovo prints the marketing name here, and resellers write either.
    ("product_version", IdentifierKind::Model),
];

/// Leaves out what says nothing about *this* system: the board's names where the system has its
/// own, and `product_version` where the maker is not one that puts a name there.
pub(super) fn chosen(read: Vec<(&'static str, Candidate)>) -> Vec<Candidate> {
    let usable = |field: &str| {
        read.iter().find(|(name, _)| *name == field).filter(|(_, candidate)| candidate.parse().is_ok())
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

/// What the tables say, in the order of the structures.
///
/// Returns `None` if they are not tables; a structure that is cut short ends the reading.
pub(super) fn from_tables(entry_point: &[u8], table: &[u8]) -> Option<Vec<Candidate>> {
    let version = Version::of(entry_point)?;
    let mut seen = [false; 4];
    let mut found = Vec::new();
    for structure in structures(table) {
        let kind = usize::from(structure.kind);
        // Blade servers describe more than one board; the first is the one that runs us.
        match seen.get_mut(kind) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        let mut add = |kind, value: Option<String>| {
            found.extend(value.map(|value| Candidate {
                kind,
                value,
                source: Source::Smbios,
                from: "/sys/firmware/dmi/tables/DMI".to_owned(),
            }));
        };
        match structure.kind {
            1 => {
                add(IdentifierKind::Manufacturer, structure.string_at(0x04));
                add(IdentifierKind::Model, structure.string_at(0x05));
                add(IdentifierKind::SerialNumber, structure.string_at(0x07));
                add(IdentifierKind::SystemUuid, structure.uuid_at(0x08, version));
                add(IdentifierKind::Sku, structure.string_at(0x19));
            }
            2 => add(IdentifierKind::BoardSerial, structure.string_at(0x07)),
            3 => add(IdentifierKind::ChassisSerial, structure.string_at(0x07)),
            _ => {}
        }
    }
    Some(found)
}

/// Version of the specification that the tables follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u8, u8);

impl Version {
    /// Reads it from the entry point: `_SM_` (32 bit) or `_SM3_` (64 bit).
    fn of(entry_point: &[u8]) -> Option<Self> {
        let at = |offset: usize| entry_point.get(offset).copied();
        if entry_point.starts_with(b"_SM3_") {
            Some(Self(at(7)?, at(8)?))
        } else if entry_point.starts_with(b"_SM_") {
            Some(Self(at(6)?, at(7)?))
        } else {
            None
        }
    }
}

/// One structure: its type, its formatted part, its strings.
struct Structure<'a> {
    kind: u8,
    formatted: &'a [u8],
    strings: &'a [u8],
}

/// Walks the structures until the table or its end marker (type 127) ends.
fn structures(table: &[u8]) -> impl Iterator<Item = Structure<'_>> {
    let mut rest = table;
    std::iter::from_fn(move || {
        let (kind, length) = (*rest.first()?, usize::from(*rest.get(1)?));
        if kind == 127 || length < 4 {
            return None;
        }
        let (formatted, after) = rest.split_at_checked(length)?;
        let end = after.windows(2).position(|pair| pair == [0, 0])?;
        let (strings, after) = after.split_at_checked(end + 2)?;
        rest = after;
        Some(Structure { kind, formatted, strings })
    })
}

impl Structure<'_> {
    /// The string whose number stands at `offset`; none if the number is 0 or there is no such.
    fn string_at(&self, offset: usize) -> Option<String> {
        let number = usize::from(*self.formatted.get(offset)?).checked_sub(1)?;
        let text = self.strings.split(|byte| *byte == 0).nth(number)?;
        (!text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
    }

    /// The UUID at `offset`: from version 2.6 on, its first three fields are little-endian.
    fn uuid_at(&self, offset: usize, version: Version) -> Option<String> {
        let mut uuid: [u8; 16] = self.formatted.get(offset..offset + 16)?.try_into().ok()?;
        if version >= Version(2, 6) {
            let (fields, _) = uuid.split_at_mut(8);
            let (first, others) = fields.split_at_mut(4);
            first.reverse();
            others.chunks_mut(2).for_each(<[u8]>::reverse);
        }
        let digits = uuid.map(|byte| format!("{byte:02x}")).concat();
        Some(digits)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A table like a maker's: the strings of types 1, 2 and 3, and the end marker.
    pub(crate) fn table(system: [&str; 4], uuid: [u8; 16], board: &str, chassis: &str) -> Vec<u8> {
        let [maker, model, serial, sku] = system;
        let strings = |texts: &[&str]| {
            let mut bytes: Vec<u8> = texts.iter().flat_map(|text| text.bytes().chain([0])).collect();
            bytes.push(0);
            bytes
        };
        let mut table = vec![1, 27, 0, 1, 1, 2, 0, 3];
        table.extend(uuid);
        table.extend([6, 4, 0]);
        table.extend(strings(&[maker, model, serial, sku]));
        table.extend([2, 8, 0, 2, 0, 0, 0, 1]);
        table.extend(strings(&[board]));
        table.extend([3, 9, 0, 3, 0, 1, 0, 1, 0]);
        table.extend(strings(&[chassis]));
        table.extend([127, 4, 0, 127, 0, 0]);
        table
    }

    pub(crate) const ENTRY: &[u8] = b"_SM3_\0\x18\x03\x04\0\x01\0";
    const UUID: [u8; 16] =
        [0x4c, 0x4c, 0x45, 0x44, 0x00, 0x58, 0x4b, 0x10, 0x80, 0x39, 0xb7, 0xc0, 0x4f, 0x51, 0x31, 0x33];

    fn dell() -> Vec<u8> {
        table(["Dell Inc.", "PowerEdge R650", "7XK9Q13", "SKU-1"], UUID, ".7XK9Q13.CN.", "7XK9Q13")
    }

    fn values(found: &[Candidate]) -> Vec<(IdentifierKind, &str)> {
        found.iter().map(|one| (one.kind, one.value.as_str())).collect()
    }

    #[test]
    fn tables_say_what_the_firmware_wrote() {
        let found = from_tables(ENTRY, &dell()).unwrap();
        assert_eq!(
            values(&found),
            [
                (IdentifierKind::Manufacturer, "Dell Inc."),
                (IdentifierKind::Model, "PowerEdge R650"),
                (IdentifierKind::SerialNumber, "7XK9Q13"),
                (IdentifierKind::SystemUuid, "44454c4c5800104b8039b7c04f513133"),
                (IdentifierKind::Sku, "SKU-1"),
                (IdentifierKind::BoardSerial, ".7XK9Q13.CN."),
                (IdentifierKind::ChassisSerial, "7XK9Q13"),
            ]
        );
    }

    #[test]
    fn before_version_2_6_a_uuid_is_big_endian() {
        let old = b"_SM_\0\x1f\x02\x05";
        let found = from_tables(old, &dell()).unwrap();
        assert!(values(&found).contains(&(IdentifierKind::SystemUuid, "4c4c454400584b108039b7c04f513133")));
    }

    #[test]
    fn what_is_no_table_is_none() {
        assert!(from_tables(b"", &dell()).is_none());
        assert!(from_tables(b"_SM3_", &dell()).is_none());
        assert_eq!(from_tables(ENTRY, b""), Some(Vec::new()));
        assert_eq!(from_tables(ENTRY, &[1, 3, 0, 0, 0, 0]), Some(Vec::new()));
    }

    proptest! {
        #[test]
        fn no_table_breaks_the_reader(
            changes in proptest::collection::vec((0usize..200, any::<u8>()), 0..24),
            cut in 0usize..200,
        ) {
            let mut table = dell();
            for (at, byte) in changes {
                if let Some(one) = table.get_mut(at) {
                    *one = byte;
                }
            }
            table.truncate(cut);
            prop_assert!(from_tables(ENTRY, &table).unwrap().len() <= 7);
        }
    }
}
