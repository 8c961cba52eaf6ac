//! Identifiers from ChromeOS vital product data: key-value pairs that the factory wrote.
//!
//! The read-only section takes precedence. The read-write section, which the running system can change,
//! only fills in what the factory left out, and never a value that the manufacturer certifies. The kernel
//! presents every key as a file; the partition that it read them from is a cross-check.

mod partition;

pub use partition::{InvalidPartition, MAX_PARTITION_BYTES, Partition};

use super::{Candidate, Disagreement, SourcedValue};
use unbox_common::identity::{IdentifierKind, Source};

/// The kernel's folder of the sections.
pub(super) const FOLDER: &str = "/sys/firmware/vpd";

/// Sections below [`FOLDER`], the stronger one first.
pub(super) const SECTIONS: &[&str] = &["ro", "rw"];

/// A key that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// The meaning of its value.
    pub(super) holds: Holds,
}

/// The meaning of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// An identifier.
    Identifier(IdentifierKind),
    /// The day of manufacture.
    Manufactured,
    /// The brand code assigned to the manufacturer.
    BrandCode,
}

/// The keys that are read; all others are left alone, because some are secrets.
pub(super) const KEYS: &[Key] = &[
    Key { name: "attested_device_id", holds: Holds::Identifier(IdentifierKind::CertifiedDeviceId) },
    Key { name: "serial_number", holds: Holds::Identifier(IdentifierKind::SerialNumber) },
    Key { name: "mlb_serial_number", holds: Holds::Identifier(IdentifierKind::BoardSerial) },
    Key { name: "model_name", holds: Holds::Identifier(IdentifierKind::Model) },
    Key { name: "oem_name", holds: Holds::Identifier(IdentifierKind::Manufacturer) },
    Key { name: "mfg_date", holds: Holds::Manufactured },
    Key { name: "rlz_brand_code", holds: Holds::BrandCode },
];

/// One key from a section's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) key: Key,
    pub(super) section: &'static str,
    pub(super) value: String,
}

impl Pair {
    pub(super) fn new(key: Key, section: &'static str, bytes: &[u8]) -> Self {
        Self { key, section, value: text(bytes) }
    }

    /// Returns the file of this key.
    fn file(&self) -> String {
        format!("{FOLDER}/{}/{}", self.section, self.key.name)
    }

    fn candidate(&self) -> Option<Candidate> {
        let Holds::Identifier(kind) = self.key.holds else { return None };
        // A certified ID that anybody can rewrite certifies nothing.
        let believed = kind != IdentifierKind::CertifiedDeviceId || self.section == "ro";
        let (value, from) = (self.value.clone(), self.file());
        believed.then_some(Candidate { kind, value, source: Source::Vpd, from })
    }
}

/// Returns the identifiers, without those that a stronger section already has.
pub(super) fn select(read: &[Pair]) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in read.iter().filter_map(Pair::candidate) {
        let said = kept.iter().any(|other| other.kind == candidate.kind && other.parse().is_ok());
        if !said {
            kept.push(candidate);
        }
    }
    kept
}

/// Returns the value of a key that is not an identifier, from the first section that has it.
pub(super) fn fact(read: &[Pair], holds: Holds) -> Option<String> {
    let usable = |value: &&str| {
        (1..=64).contains(&value.len()) && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
    };
    let mut of_kind = read.iter().filter(|pair| pair.key.holds == holds);
    of_kind.find_map(|pair| Some(pair.value.trim()).filter(usable)).map(str::to_owned)
}

/// Returns the differences between a section's files and its partition.
pub(super) fn compare(section: &'static str, read: &[Pair], partition: &Partition<'_>) -> Vec<Disagreement> {
    let differing = KEYS.iter().filter_map(|key| {
        let file = SourcedValue {
            value: read
                .iter()
                .find(|pair| pair.section == section && pair.key == *key)
                .map(|pair| pair.value.clone())
                .unwrap_or_default(),
            from: format!("{FOLDER}/{section}/{}", key.name),
        };
        let flash = SourcedValue {
            value: partition.value(key.name).map(text).unwrap_or_default(),
            from: partition_file(section),
        };
        (!file.agrees_with(&flash)).then(|| Disagreement {
            what: key.name.to_owned(),
            counts: file,
            other: flash,
        })
    });
    differing.collect()
}

/// Returns the kernel's file for the partition of a section.
pub(super) fn partition_file(section: &str) -> String {
    format!("{FOLDER}/{section}_raw")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_matches(|char: char| char.is_whitespace() || char == '\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, section: &'static str, value: &str) -> Pair {
        let key = KEYS.iter().find(|key| key.name == name).unwrap();
        Pair::new(*key, section, value.as_bytes())
    }

    #[test]
    fn the_read_write_section_stands_in_only_for_what_is_missing() {
        let kept = select(&[
            pair("serial_number", "ro", "5CD1234ABC"),
            pair("mlb_serial_number", "ro", "none"),
            pair("serial_number", "rw", "SPOOFED"),
            pair("mlb_serial_number", "rw", "MLB-778"),
        ]);
        let kept: Vec<_> = kept.iter().map(|one| one.value.as_str()).collect();
        assert_eq!(kept, ["5CD1234ABC", "none", "MLB-778"]);
    }

    #[test]
    fn what_the_maker_certifies_is_believed_from_the_read_only_section_alone() {
        assert_eq!(select(&[pair("attested_device_id", "rw", "5CD1234ABC")]), []);
        let kept = select(&[pair("attested_device_id", "ro", "5CD1234ABC")]);
        assert_eq!(kept[0].kind, IdentifierKind::CertifiedDeviceId);
    }

    #[test]
    fn facts_are_short_and_printable() {
        let read = [
            pair("mfg_date", "ro", "2023-04-17\n"),
            pair("rlz_brand_code", "ro", "A\u{7}BC"),
            pair("rlz_brand_code", "rw", "ZZAB"),
        ];
        assert_eq!(fact(&read, Holds::Manufactured).as_deref(), Some("2023-04-17"));
        assert_eq!(fact(&read, Holds::BrandCode).as_deref(), Some("ZZAB"));
        assert_eq!(fact(&[], Holds::BrandCode), None);
    }

    #[test]
    fn files_that_differ_from_their_partition_are_named() {
        let flash =
            partition::tests::partition(&[("serial_number", "5CD1234ABC"), ("mfg_date", "2023-04-17")]);
        let partition = Partition::parse(&flash).unwrap();
        let same = [pair("serial_number", "ro", "5CD1234ABC"), pair("mfg_date", "ro", "2023-04-17")];
        assert_eq!(compare("ro", &same, &partition), []);
        let other = [pair("serial_number", "ro", "SPOOFED")];
        let found: Vec<_> = compare("ro", &other, &partition).iter().map(|one| one.what.clone()).collect();
        assert_eq!(found, ["serial_number", "mfg_date"]);
    }
}
