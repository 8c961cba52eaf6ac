//! The keys by which a store finds the claims that a device might match.

use super::{ClaimSets, lookup_text};
use std::collections::BTreeSet;
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, fold_manufacturer, fold_name},
    matching::{IdentifierSet, lookup_keys},
};

/// The key by which one set of a claim is found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimKey {
    /// Its strongest identifier, as `serial_number PF0ABCDE`.
    pub lookup: String,
    /// The folded maker and model within which that identifier is unique; empty for any other identifier.
    /// Otherwise, anybody who knows a serial number could slow down look-ups of its device by a thousand
    /// claims on models that do not exist.
    pub named: String,
}

impl ClaimKey {
    /// Returns the key of a set.
    #[must_use]
    pub fn of(set: &IdentifierSet) -> Option<Self> {
        let strongest = set.lookup_key()?;
        let member = |kind| set.members().iter().find(|one| one.kind() == kind);
        let named = match (member(IdentifierKind::Manufacturer), member(IdentifierKind::Model)) {
            (Some(maker), Some(model)) if strongest.kind().needs_maker_and_model() => {
                fold_maker_and_model(maker, model)
            }
            _ => String::new(),
        };
        Some(Self { lookup: lookup_text(strongest), named })
    }
}

impl ClaimSets {
    /// Returns the keys of the sets that a device can match.
    #[must_use]
    pub fn keys(&self) -> BTreeSet<ClaimKey> {
        self.usable().iter().filter_map(ClaimKey::of).collect()
    }
}

/// A search for the claims that a device might match: any of these identifiers, with any of these names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sought {
    /// The identifiers, as in [`ClaimKey::lookup`].
    pub lookups: Vec<String>,
    /// The names, as in [`ClaimKey::named`].
    pub named: Vec<String>,
}

impl Sought {
    /// Returns the search for a device.
    #[must_use]
    pub fn of(identity: &HardwareIdentity) -> Self {
        let makers = || identity.of_kind(IdentifierKind::Manufacturer);
        let models = || identity.of_kind(IdentifierKind::Model);
        let pairs = makers().flat_map(|maker| models().map(move |model| fold_maker_and_model(maker, model)));
        Self {
            lookups: lookup_keys(identity).map(lookup_text).collect(),
            named: std::iter::once(String::new()).chain(pairs).collect(),
        }
    }
}

/// Folds both names like [`Identifier::same_as`].
fn fold_maker_and_model(maker: &Identifier, model: &Identifier) -> String {
    format!("{}/{}", fold_manufacturer(maker.value()), fold_name(model.value()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use IdentifierKind::{MacAddress, Manufacturer, Model, SerialNumber, ServiceTag};
    use unbox_common::identity::{Observed, Source};

    fn id(kind: IdentifierKind, value: &str) -> Identifier {
        Identifier::parse(kind, value).unwrap()
    }

    #[test]
    fn a_serial_number_is_found_with_its_maker_and_model_and_nothing_else_is() {
        let key = |members: &[(IdentifierKind, &str)]| {
            let set = IdentifierSet::new(members.iter().map(|(kind, value)| id(*kind, value))).unwrap();
            let ClaimKey { lookup, named } = ClaimKey::of(&set).unwrap();
            format!("{lookup}|{named}")
        };
        let serial = [(SerialNumber, "pf0abcde"), (Manufacturer, "Lenovo Ltd."), (Model, "20qes0xx00")];
        assert_eq!(key(&serial), "serial_number PF0ABCDE|lenovo/20qes0xx00");
        assert_eq!(
            key(&[serial[1], serial[2], (MacAddress, "00163e000001")]),
            "mac_address 00:16:3e:00:00:01|"
        );
        assert_eq!(key(&[serial[0], (ServiceTag, "7XK9Q13")]), "serial_number PF0ABCDE|");
    }

    #[test]
    fn a_device_is_sought_by_every_name_that_it_goes_by() {
        let shown = [
            (SerialNumber, "PF0ABCDE"),
            (Manufacturer, "LENOVO"),
            (Model, "20QES0XX00"),
            (Model, "ThinkPad T14  Gen 2"),
            (MacAddress, "00163e000001"),
        ];
        let observed =
            shown.map(|(kind, value)| Observed { identifier: id(kind, value), source: Source::Smbios });
        let sought = Sought::of(&HardwareIdentity::new(observed).unwrap());
        assert_eq!(sought.lookups, ["serial_number PF0ABCDE", "mac_address 00:16:3e:00:00:01"]);
        assert_eq!(sought.named, ["", "lenovo/20qes0xx00", "lenovo/thinkpad t14 gen 2"]);
    }
}
