//! The identifiers seen before in this run, because no two units may show the same one.
//!
//! Each takes a few bytes, whatever its length, so that a shift of thousands of units fits.

use super::verdict::{Finding, Reason, Verdict};
use super::wording::kind_name;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
};
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, Identifier, IdentifierKind, fold_manufacturer, fold_name},
};

/// The number of the first unit that showed an identifier, by the identifier's digest.
#[derive(Debug, Clone, Default)]
pub struct IdentifierIndex(HashMap<u64, u32>);

impl IdentifierIndex {
    /// Returns the identifiers of unit `number` that another unit showed before, each with that unit's
    /// number.
    #[must_use]
    pub fn find_duplicates(&self, identity: &HardwareIdentity, number: u32) -> Vec<(u32, Identifier)> {
        let others = distinguishing_identifiers(identity).filter_map(|identifier| {
            let other = self.0.get(&digest(identity, identifier)).filter(|other| **other != number)?;
            Some((*other, identifier.clone()))
        });
        others.collect()
    }

    /// Records the identifiers of unit `number`; the first unit to show an identifier keeps it.
    pub fn record(&mut self, identity: &HardwareIdentity, number: u32) {
        for identifier in distinguishing_identifiers(identity) {
            self.0.entry(digest(identity, identifier)).or_insert(number);
        }
    }
}

/// Makes the finding about one identifier that two units show; `other` is the name of the first one.
#[must_use]
pub fn duplicate_finding(other: &str, identifier: &Identifier) -> Finding {
    let kind = identifier.kind();
    let mut finding = Finding::new(
        Reason::Duplicate,
        Verdict::Fail,
        format!("The {} {} was shown by {other} already.", kind_name(kind), identifier.value()),
        "Put both units aside: one of them has the wrong identifier, or was tested twice.",
    );
    finding.kind = Some(kind);
    finding.shows = vec![identifier.value().to_owned()];
    finding
}

/// Returns a text by which a unit is recognised when it comes again, made of its distinguishing
/// identifiers.
#[must_use]
pub fn fingerprint(identity: &HardwareIdentity) -> String {
    let all: Vec<String> =
        distinguishing_identifiers(identity).map(|one| unique_form(identity, one)).collect();
    Sha256::of(all.join("\n").as_bytes()).to_string()
}

fn distinguishing_identifiers(identity: &HardwareIdentity) -> impl Iterator<Item = &Identifier> {
    let all = identity.observations().iter().map(|one| &one.identifier);
    // A service tag only repeats the serial number.
    all.filter(|one| one.kind().rank().is_some() && one.kind() != IdentifierKind::ServiceTag)
}

/// Formats an identifier uniquely: serial numbers are unique only within one maker's model.
fn unique_form(identity: &HardwareIdentity, identifier: &Identifier) -> String {
    let mut text = identifier.to_string();
    if identifier.kind().needs_maker_and_model() {
        let first = |kind| identity.of_kind(kind).next().map(Identifier::value).unwrap_or_default();
        let maker = fold_manufacturer(first(IdentifierKind::Manufacturer));
        text = format!("{text}\n{maker}\n{}", fold_name(first(IdentifierKind::Model)));
    }
    text
}

fn digest(identity: &HardwareIdentity, identifier: &Identifier) -> u64 {
    let mut hasher = DefaultHasher::new();
    unique_form(identity, identifier).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use IdentifierKind::{MacAddress, Manufacturer, Model, SerialNumber};
    use unbox_common::identity::{Observed, Source};

    fn unit(serial: &str, maker: &str, mac: &str) -> HardwareIdentity {
        let of = [(SerialNumber, serial), (Manufacturer, maker), (Model, "G3"), (MacAddress, mac)];
        let observed = |(kind, value): (IdentifierKind, &str)| Observed {
            identifier: Identifier::parse(kind, value).unwrap(),
            source: Source::Smbios,
        };
        HardwareIdentity::new(of.map(observed)).unwrap()
    }

    #[test]
    fn two_units_never_show_the_same() {
        let mut index = IdentifierIndex::default();
        let first = unit("S1", "Acme", "00:16:3e:00:00:01");
        index.record(&first, 1);
        assert_eq!(index.find_duplicates(&first, 1), [], "the same unit once more is no other unit");
        let other = unit("S1", "Other", "00:16:3e:00:00:02");
        assert_eq!(index.find_duplicates(&other, 2), [], "another maker's number");
        index.record(&other, 2);
        let again = index.find_duplicates(&unit("S3", "Acme", "00:16:3e:00:00:01"), 3);
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].0, again[0].1.kind()), (1, MacAddress));
        assert_eq!(
            duplicate_finding("unit a", &again[0].1).problem,
            "The MAC address 00:16:3e:00:00:01 was shown by unit a already."
        );
    }

    #[test]
    fn a_fingerprint_is_that_of_what_tells_units_apart() {
        let one = fingerprint(&unit("S1", "Acme Inc.", "00:16:3e:00:00:01"));
        assert_eq!(one, fingerprint(&unit("S1", "ACME", "00:16:3e:00:00:01")));
        assert_ne!(one, fingerprint(&unit("S2", "Acme", "00:16:3e:00:00:01")));
    }
}
