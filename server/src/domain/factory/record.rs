//! Registrations by factories' test stations: which devices exist, and the key of each.
//!
//! A record claims nothing. It belongs to one organisation and counts for that organisation's claims alone:
//! a claim on the same device gets the registered key, and loses it with the record.

use crate::domain::{
    claims::claim::{Claim, lookup_text},
    devices::device::{Device, StateName},
};
use std::collections::BTreeSet;
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, Identifier, IdentifierKind},
    ids::{ClaimId, CompanyId, FactoryRecordId},
    matching::{IdentifierSet, Match, match_claims},
    timestamp::Timestamp,
};

/// A device as an organisation's factory registered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactoryRecord {
    /// Its id.
    pub id: FactoryRecordId,
    /// The organisation that owns the record.
    pub company: CompanyId,
    /// All identifiers that the device showed.
    pub identity: HardwareIdentity,
    /// The claim in force that received the device's key from this record.
    pub claim: Option<ClaimId>,
    /// The time of its first registration.
    pub created_at: Timestamp,
    /// The name of the actor who registered it first.
    pub created_by: String,
}

/// The relation between a device that is shown and one on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// The two have nothing in common.
    Other,
    /// The two are the same device.
    Same,
    /// The two share an identifier and differ in one of this kind, of which a device has only one.
    Contradicts(IdentifierKind),
}

/// The effect on a claim's key when the record that it came from is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// The claim does not have the key.
    Nothing,
    /// The claim loses the key; this is the claim afterwards.
    Key(Box<Claim>),
    /// A device enrolled with the key and is not deprovisioned: the record stays.
    InUse,
}

/// The identifiers that a device keeps for life. Other parts may be replaced while it is built.
const FOR_LIFE: [IdentifierKind; 5] = [
    IdentifierKind::DeviceKey,
    IdentifierKind::TpmKey,
    IdentifierKind::CertifiedDeviceId,
    IdentifierKind::SerialNumber,
    IdentifierKind::ServiceTag,
];

impl FactoryRecord {
    /// Returns the relation between a device that is shown and this one.
    #[must_use]
    pub fn relation(&self, shown: &HardwareIdentity) -> Relation {
        let own = &self.identity;
        if !distinguishing_identifiers(own).any(|one| shown.shows(one) && is_same(own, shown, one)) {
            return Relation::Other;
        }
        let first = |identity: &HardwareIdentity, kind| identity.of_kind(kind).next().cloned();
        let differs = |kind: &IdentifierKind| {
            let pair = first(own, *kind).zip(first(shown, *kind));
            pair.is_some_and(|(own, shown)| !own.same_as(&shown))
        };
        FOR_LIFE.into_iter().find(differs).map_or(Relation::Same, Relation::Contradicts)
    }

    /// Returns the record after the device was shown again: the identifiers that it shows now, and its
    /// earlier keys where it shows none.
    #[must_use]
    pub fn with_latest_identity(&self, shown: &HardwareIdentity) -> Self {
        let mut identity = shown.clone();
        for kind in [IdentifierKind::DeviceKey, IdentifierKind::TpmKey] {
            let kept = self.identity.observations().iter().find(|one| one.identifier.kind() == kind);
            if let Some(kept) = kept.filter(|_| shown.of_kind(kind).next().is_none())
                && let Ok(with_key) = identity.with_identifier(kept.identifier.clone(), kept.source)
            {
                identity = with_key;
            }
        }
        Self { identity, ..self.clone() }
    }

    /// Returns the texts by which a store finds it.
    #[must_use]
    pub fn lookup_keys(&self) -> BTreeSet<String> {
        lookup_keys(&self.identity)
    }

    /// Returns the additional identifier set for a claim on this device: the registered key.
    ///
    /// `None` if the device has no key, the claim is on another device, or the claim already has a key.
    #[must_use]
    pub fn key_for(&self, claim: &Claim) -> Option<IdentifierSet> {
        let key = self.identity.of_kind(IdentifierKind::DeviceKey).next()?;
        let of_this = matches!(match_claims(&self.identity, &[claim.registered_claim()]), Match::Claim(_));
        let own = claim.reseller == Some(self.company) || claim.customer == self.company;
        if !of_this || !own || claim.sets.registered_keys().next().is_some() {
            return None;
        }
        IdentifierSet::new([key.clone()]).ok()
    }

    /// Returns the digest of the device's key, if it has one.
    #[must_use]
    pub fn key(&self) -> Option<Sha256> {
        self.identity.of_kind(IdentifierKind::DeviceKey).next()?.value().parse().ok()
    }

    /// Returns the effect of the record's deletion on the key that `claim` received from it. `device` is
    /// the claim's device, if it was ever seen.
    ///
    /// A unit that was returned or scrapped must not leave behind a valid key; a working device must not be
    /// locked out, at its next factory reset, by somebody who tidies up.
    #[must_use]
    pub fn withdraw_from(&self, claim: &Claim, device: Option<&Device>) -> Withdrawal {
        let Some(key) = self.key().filter(|_| self.claim == Some(claim.id)) else {
            return Withdrawal::Nothing;
        };
        let sets = claim.sets.without_key(key);
        if sets == claim.sets {
            return Withdrawal::Nothing;
        }
        let in_use =
            |device: &Device| device.knows_key(key) && device.state.name() != StateName::Deprovisioned;
        if device.is_some_and(in_use) {
            return Withdrawal::InUse;
        }
        Withdrawal::Key(Box::new(Claim { sets, ..claim.clone() }))
    }
}

/// Returns the texts by which a device's records, and claims on it, are found.
#[must_use]
pub fn lookup_keys(identity: &HardwareIdentity) -> BTreeSet<String> {
    distinguishing_identifiers(identity).map(lookup_text).collect()
}

fn distinguishing_identifiers(identity: &HardwareIdentity) -> impl Iterator<Item = &Identifier> {
    identity.observations().iter().map(|one| &one.identifier).filter(|one| one.kind().rank().is_some())
}

/// Returns true if this identifier, which both show, makes them the same device: a serial number is unique only
/// within one maker's model.
fn is_same(own: &HardwareIdentity, shown: &HardwareIdentity, one: &Identifier) -> bool {
    let names = [IdentifierKind::Manufacturer, IdentifierKind::Model];
    let agree = |kind| own.of_kind(kind).any(|name| shown.shows(name));
    !one.kind().needs_maker_and_model() || names.into_iter().all(agree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        claims::claim::{ClaimSets, Metadata},
        devices::device::{DeviceState, Enrollment},
    };
    use IdentifierKind::{BoardSerial, DeviceKey, MacAddress, Manufacturer, Model, SerialNumber};
    use unbox_common::{
        digest::Sha256,
        identity::{Observed, Source},
        ids::{DeviceId, Generation},
        protocol::latest::ProofKind,
        trust::DevicePublicKey,
    };

    fn identity(of: &[(IdentifierKind, &str)]) -> HardwareIdentity {
        HardwareIdentity::new(of.iter().map(|(kind, value)| Observed {
            identifier: Identifier::parse(*kind, value).unwrap(),
            source: Source::Smbios,
        }))
        .unwrap()
    }

    fn record(of: &[(IdentifierKind, &str)]) -> FactoryRecord {
        FactoryRecord {
            id: FactoryRecordId::new(1).unwrap(),
            company: CompanyId::new(7).unwrap(),
            identity: identity(of),
            claim: None,
            created_at: Timestamp(1),
            created_by: "test".to_owned(),
        }
    }

    const MAC: &str = "00:16:3e:00:00:01";

    #[test]
    fn a_device_is_the_same_until_something_for_life_differs() {
        let (key, other) = (Sha256::of(b"a").to_string(), Sha256::of(b"b").to_string());
        let acme = [(SerialNumber, "S1"), (Manufacturer, "Acme"), (Model, "G3")];
        let known =
            record(&[&acme[..], &[(MacAddress, MAC), (BoardSerial, "B1"), (DeviceKey, &key)]].concat());
        for (shown, relation) in [
            (acme.to_vec(), Relation::Same),
            ([&acme[..], &[(BoardSerial, "B2")]].concat(), Relation::Same),
            ([&acme[..], &[(DeviceKey, key.as_str())]].concat(), Relation::Same),
            ([&acme[..], &[(DeviceKey, other.as_str())]].concat(), Relation::Contradicts(DeviceKey)),
            (vec![(SerialNumber, "S2"), (MacAddress, MAC)], Relation::Contradicts(SerialNumber)),
            (vec![(SerialNumber, "S1"), (Manufacturer, "Other"), (Model, "G3")], Relation::Other),
            (vec![(MacAddress, MAC)], Relation::Same),
            (vec![(MacAddress, "00:16:3e:00:00:02")], Relation::Other),
        ] {
            assert_eq!(known.relation(&identity(&shown)), relation, "{shown:?}");
        }
    }

    #[test]
    fn a_key_goes_with_its_record_unless_a_device_uses_it() {
        let claim = |sets: &[&[(IdentifierKind, &str)]]| {
            let set = |of: &&[(IdentifierKind, &str)]| {
                let member =
                    |(kind, value): &(IdentifierKind, &str)| Identifier::parse(*kind, value).unwrap();
                IdentifierSet::new(of.iter().map(member)).unwrap()
            };
            Claim {
                id: ClaimId::new(1).unwrap(),
                customer: CompanyId::new(7).unwrap(),
                reseller: None,
                configuration: None,
                configured_at: Timestamp(1),
                proof: ProofKind::RegisteredKey,
                activation_ends_at: Timestamp(2),
                sets: ClaimSets::new(sets.iter().map(set).collect()),
                order: None,
                metadata: Metadata::default(),
                vacation: None,
                protected: false,
                created_at: Timestamp(1),
                created_by: "test".to_owned(),
                collision: None,
                released_at: None,
            }
        };
        let public = |byte| DevicePublicKey::from_point(&[&[4][..], &[byte; 64]].concat()).unwrap();
        let (key, other) = (public(1).digest().to_string(), public(2).digest().to_string());
        let (mac, own) = ([(MacAddress, MAC)], [(DeviceKey, key.as_str())]);
        let both = [(MacAddress, MAC), (DeviceKey, &key)];
        let of = |claim: i64| FactoryRecord { claim: ClaimId::new(claim).ok(), ..record(&both) };
        let new = Device::new(
            DeviceId::new(1).unwrap(),
            ClaimId::new(1).unwrap(),
            CompanyId::new(7).unwrap(),
            Timestamp(1),
        );
        let bound = |byte| Device {
            latest: Some(Enrollment { generation: Generation(1), key: public(byte) }),
            ..new.clone()
        };
        let given_up = Device { state: DeviceState::Deprovisioned { since: Timestamp(2) }, ..bound(1) };
        let with = claim(&[&mac, &own]);
        let without = Withdrawal::Key(Box::new(claim(&[&mac])));
        for (record, claim, device, expected) in [
            (of(1), &with, None, &without),
            (of(1), &with, Some(&new), &without),
            (of(1), &with, Some(&bound(2)), &without),
            (of(1), &with, Some(&given_up), &without),
            (of(1), &with, Some(&bound(1)), &Withdrawal::InUse),
            (of(2), &with, Some(&bound(1)), &Withdrawal::Nothing),
            (record(&both), &with, None, &Withdrawal::Nothing),
            (of(1), &claim(&[&both]), None, &Withdrawal::Nothing),
            (of(1), &claim(&[&mac, &[(DeviceKey, &other)]]), Some(&bound(1)), &Withdrawal::Nothing),
        ] {
            assert_eq!(&record.withdraw_from(claim, device), expected, "{:?} {device:?}", claim.sets);
        }
    }

    #[test]
    fn a_device_that_is_shown_again_keeps_its_key_and_gets_its_new_board() {
        let key = Sha256::of(b"a").to_string();
        let known = record(&[(MacAddress, MAC), (BoardSerial, "B1"), (DeviceKey, &key)]);
        let again = known.with_latest_identity(&identity(&[(MacAddress, MAC), (BoardSerial, "B2")]));
        assert_eq!(again.identity, identity(&[(MacAddress, MAC), (BoardSerial, "B2"), (DeviceKey, &key)]));
    }
}
