//! Identifiers out of ChromeOS vital product data: key-value pairs that the factory wrote.
//!
//! The read-only section counts. The read-write one, which the running system can change,
//! stands in only for what the factory left out.

use super::Candidate;
use unbox_common::identity::{IdentifierKind, Source};

/// Sections below `/sys/firmware/vpd`, the stronger one first.
pub(super) const SECTIONS: &[&str] = &["ro", "rw"];

/// Keys of a section, and the kind that each holds.
pub(super) const KEYS: &[(&str, IdentifierKind)] = &[
    ("serial_number", IdentifierKind::SerialNumber),
    ("mlb_serial_number", IdentifierKind::BoardSerial),
    ("model_name", IdentifierKind::Model),
    ("oem_name", IdentifierKind::Manufacturer),
];

/// Leaves out what a stronger section says already.
pub(super) fn chosen(read: Vec<Candidate>) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in read {
        let said = kept.iter().any(|other| other.kind == candidate.kind && other.parse().is_ok());
        if !said {
            kept.push(candidate);
        }
    }
    kept
}

/// A candidate of one key.
pub(super) fn candidate(kind: IdentifierKind, bytes: &[u8], from: String) -> Candidate {
    Candidate { kind, value: String::from_utf8_lossy(bytes).into_owned(), source: Source::Vpd, from }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_read_write_section_stands_in_only_for_what_is_missing() {
        let read = |kind, value: &[u8], section: &str| candidate(kind, value, section.to_owned());
        let kept = chosen(vec![
            read(IdentifierKind::SerialNumber, b"5CD1234ABC", "ro"),
            read(IdentifierKind::BoardSerial, b"none", "ro"),
            read(IdentifierKind::SerialNumber, b"SPOOFED", "rw"),
            read(IdentifierKind::BoardSerial, b"MLB-778", "rw"),
        ]);
        let kept: Vec<_> = kept.iter().map(|one| (one.value.as_str(), one.from.as_str())).collect();
        assert_eq!(kept, [("5CD1234ABC", "ro"), ("none", "ro"), ("MLB-778", "rw")]);
    }
}
