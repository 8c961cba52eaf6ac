//! Claims: the link between a device and its customer, and the proof that the device must give.

mod key;

pub use key::{ClaimKey, Sought};

use crate::domain::name::{Name, is_plain_text};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use unbox_common::{
    date::{Date, InvalidDate},
    digest::Sha256,
    identity::{Identifier, IdentifierKind, InvalidIdentifier, UnknownKind},
    ids::{ClaimId, CompanyId, ConfigurationId},
    matching::{IdentifierSet, InvalidSet, RegisteredClaim},
    protocol::latest::ProofKind,
    timestamp::Timestamp,
};

/// The maximum number of identifier sets of one claim.
pub const MAX_SETS: usize = 8;

/// A claim: a registration of one device for one customer. It outlives the device's disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Its id.
    pub id: ClaimId,
    /// The customer that owns the device.
    pub customer: CompanyId,
    /// The reseller that registered it, if any.
    pub reseller: Option<CompanyId>,
    /// The claim's own configuration; `None` for the customer's default.
    pub configuration: Option<ConfigurationId>,
    /// The minimum version of its payloads: the time at which the configuration was last changed after the
    /// device was claimed, 0 before that.
    pub configured_at: Timestamp,
    /// The proof that the device must give.
    pub proof: ProofKind,
    /// The end of the activation window, in which the first key that shows the identifiers is bound without
    /// approval.
    pub activation_ends_at: Timestamp,
    /// The identifier sets; the device must show any one of them completely.
    pub sets: ClaimSets,
    /// The order that the device belongs to.
    pub order: Option<Name>,
    /// The reseller's notes about the device.
    pub metadata: Metadata,
    /// The temporary release, unless it was ended early.
    pub vacation: Option<Vacation>,
    /// True if it was claimed with device protection.
    pub protected: bool,
    /// The time of its registration.
    pub created_at: Timestamp,
    /// The name of the actor who registered it.
    pub created_by: String,
    /// The last collision of its device with claims of other owners, unless the device has since enrolled
    /// without one.
    pub collision: Option<Collision>,
    /// The time at which it ended; it matches nothing from then on.
    pub released_at: Option<Timestamp>,
}

/// The match of one device with claims of several owners, as one of them sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collision {
    /// The time of the last collision.
    pub at: Timestamp,
    /// The identifiers by which it matched this claim, as `kind value`.
    pub identifiers: Vec<String>,
    /// The kinds of identifier that matched the claims of others. Their values are confidential.
    pub others_kinds: BTreeSet<IdentifierKind>,
}

impl Claim {
    /// Returns the claim as matching sees it. A TPM's key, which anybody can name, counts only if the TPM
    /// will have to prove itself.
    #[must_use]
    pub fn registered_claim(&self) -> RegisteredClaim {
        let needs_tpm =
            |set: &IdentifierSet| set.members().iter().any(|one| one.kind() == IdentifierKind::TpmKey);
        let asks_tpm = self.proof == ProofKind::Tpm;
        let sets = self.sets.usable().iter().filter(|set| asks_tpm || !needs_tpm(set));
        RegisteredClaim {
            claim: self.id,
            owner: self.customer,
            sets: sets.cloned().collect(),
            registered_at: self.created_at,
            bound: None,
        }
    }

    /// Returns the temporary release, while it lasts.
    #[must_use]
    pub fn vacation_at(&self, now: Timestamp) -> Option<Vacation> {
        self.vacation.filter(|vacation| now < vacation.ends_at)
    }
}

/// A reference to a claim: by its id, or by identifiers of its device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimTarget {
    /// Its id.
    Id(ClaimId),
    /// Identifiers that the claim registers, all of them.
    #[serde(serialize_with = "write_identifiers", deserialize_with = "read_identifiers")]
    Identifiers(Vec<Identifier>),
}

fn write_identifiers<S: Serializer>(identifiers: &[Identifier], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(identifiers.iter().map(|one| (one.kind(), one.value())))
}

fn read_identifiers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Identifier>, D::Error> {
    let stored: Vec<(IdentifierKind, String)> = Vec::deserialize(deserializer)?;
    let parse = |(kind, value): &(IdentifierKind, String)| Identifier::parse(*kind, value);
    stored.iter().map(parse).collect::<Result<_, _>>().map_err(serde::de::Error::custom)
}

/// A temporary release of a claim: no device enrolls by the claim until it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vacation {
    /// The time at which the release began.
    pub started_at: Timestamp,
    /// The time at which the claim is in force again.
    pub ends_at: Timestamp,
}

/// The maximum number of entries of one claim's metadata.
pub const MAX_METADATA_ENTRIES: usize = 32;
/// The longest key of metadata, in bytes.
pub const MAX_METADATA_KEY_BYTES: usize = 64;
/// The longest value of metadata, in characters.
pub const MAX_METADATA_VALUE_CHARS: usize = 512;

/// The metadata key for the day of manufacture, such as `2026-11-21`.
pub const MANUFACTURE_DATE: &str = "manufacture_date";

/// Free text that a reseller stores with a claim, such as `ordernumber` or `phonenumber`. It plays no part
/// in admission; only [`MANUFACTURE_DATE`] is read, when a registration is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Metadata(BTreeMap<String, String>);

/// Metadata that cannot be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMetadata {
    /// A malformed key.
    #[error(
        "a key of metadata cannot be used: expected 1 to {MAX_METADATA_KEY_BYTES} letters, digits, `_`, `-` or `.`"
    )]
    Key,
    /// A value that no page can display.
    #[error("the value of {0:?} is not plain text of at most {MAX_METADATA_VALUE_CHARS} characters")]
    Value(String),
    /// Too many entries.
    #[error("there are more than {MAX_METADATA_ENTRIES} entries")]
    TooMany,
}

impl Metadata {
    /// Returns the entries, by key.
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// Returns the day on which the device was made, if known.
    ///
    /// # Errors
    /// [`InvalidDate`] if the entry is not a valid day.
    pub fn manufacture_date(&self) -> Result<Option<Date>, InvalidDate> {
        self.0.get(MANUFACTURE_DATE).map(|day| day.parse()).transpose()
    }

    /// Adds and replaces entries; an empty value deletes its entry.
    ///
    /// # Errors
    /// [`InvalidMetadata`]; no change is made in that case.
    pub fn with_changes<'e>(
        &self,
        changes: impl IntoIterator<Item = (&'e String, &'e String)>,
    ) -> Result<Self, InvalidMetadata> {
        let mut entries = self.0.clone();
        for (key, value) in changes {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
            if key.is_empty() || key.len() > MAX_METADATA_KEY_BYTES || !key.bytes().all(allowed) {
                return Err(InvalidMetadata::Key);
            }
            if !is_plain_text(value, MAX_METADATA_VALUE_CHARS, false) {
                return Err(InvalidMetadata::Value(key.clone()));
            }
            if value.is_empty() {
                entries.remove(key);
            } else {
                entries.insert(key.clone(), value.clone());
            }
        }
        if entries.len() > MAX_METADATA_ENTRIES { Err(InvalidMetadata::TooMany) } else { Ok(Self(entries)) }
    }
}

/// The identifier sets of a claim, as they are stored: a JSON array of sets, each an array of
/// `[kind, value]`.
///
/// Rules may become stricter after a claim was stored. A set that the present rules refuse is kept, marked
/// unusable, and matches no device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimSets {
    usable: Vec<IdentifierSet>,
    unusable: Vec<UnusableSet>,
}

/// A stored set that matches no device under the present rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableSet {
    members: Vec<(String, String)>,
    reason: Unusable,
}

/// The rule that a stored set breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A kind that this version does not know.
    #[error(transparent)]
    Kind(#[from] UnknownKind),
    /// An identifier breaks it.
    #[error(transparent)]
    Identifier(#[from] InvalidIdentifier),
    /// The combination of identifiers breaks it.
    #[error(transparent)]
    Set(#[from] InvalidSet),
}

impl UnusableSet {
    /// Returns the rule that it breaks.
    #[must_use]
    pub const fn reason(&self) -> &Unusable {
        &self.reason
    }
}

impl ClaimSets {
    /// Wraps sets that have been checked.
    #[must_use]
    pub const fn new(usable: Vec<IdentifierSet>) -> Self {
        Self { usable, unusable: Vec::new() }
    }

    /// Returns these sets plus one more.
    #[must_use]
    pub fn with_set(&self, set: IdentifierSet) -> Self {
        let mut sets = self.clone();
        sets.usable.push(set);
        sets
    }

    /// Returns these sets without those that consist of this device key alone.
    #[must_use]
    pub fn without_key(&self, key: Sha256) -> Self {
        let is_key =
            |one: &Identifier| one.kind() == IdentifierKind::DeviceKey && one.value().parse() == Ok(key);
        let mut sets = self.clone();
        sets.usable.retain(|set| !set.members().iter().all(is_key));
        sets
    }

    /// Returns the sets that a device can match.
    #[must_use]
    pub fn usable(&self) -> &[IdentifierSet] {
        &self.usable
    }

    /// Returns the sets that no device can match, with the reasons.
    #[must_use]
    pub fn unusable(&self) -> &[UnusableSet] {
        &self.unusable
    }

    /// Returns the digests of the device keys that the factory registered.
    pub fn registered_keys(&self) -> impl Iterator<Item = Sha256> {
        self.usable
            .iter()
            .flat_map(IdentifierSet::members)
            .filter(|one| one.kind() == IdentifierKind::DeviceKey)
            .filter_map(|one| one.value().parse().ok())
    }

    /// Returns the digests of the registered endorsement keys of TPMs.
    pub fn registered_tpm_keys(&self) -> impl Iterator<Item = Sha256> {
        self.usable
            .iter()
            .flat_map(IdentifierSet::members)
            .filter(|one| one.kind() == IdentifierKind::TpmKey)
            .filter_map(|one| one.value().parse().ok())
    }

    /// Returns the texts by which a store finds these sets: the strongest identifier of each.
    #[must_use]
    pub fn lookup_keys(&self) -> BTreeSet<String> {
        self.usable.iter().filter_map(IdentifierSet::lookup_key).map(lookup_text).collect()
    }

    /// Returns further texts by which people may search for these sets beside [`Self::lookup_keys`]: all
    /// other identifiers that distinguish devices.
    #[must_use]
    pub fn search_keys(&self) -> BTreeSet<String> {
        let found = self.lookup_keys();
        let members = self.usable.iter().flat_map(IdentifierSet::members);
        members
            .filter(|one| one.kind().rank().is_some())
            .map(lookup_text)
            .filter(|text| !found.contains(text))
            .collect()
    }

    /// Returns the stored form.
    #[must_use]
    pub fn to_text(&self) -> String {
        let usable = self
            .usable
            .iter()
            .map(|set| set.members().iter().map(|one| (one.kind().name(), one.value())).collect::<Vec<_>>());
        let unusable = self
            .unusable
            .iter()
            .map(|set| set.members.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect());
        let all: Vec<_> = usable.chain(unusable).collect();
        // Serializing lists of pairs of strings cannot fail.
        serde_json::to_string(&all).unwrap_or_default()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// Returns `serde_json`'s error if the text has another form.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        let stored: Vec<Vec<(String, String)>> = serde_json::from_str(text)?;
        let mut sets = Self::new(Vec::with_capacity(stored.len()));
        for members in stored {
            match read_set(&members) {
                Ok(set) => sets.usable.push(set),
                Err(reason) => sets.unusable.push(UnusableSet { members, reason }),
            }
        }
        Ok(sets)
    }
}

fn read_set(members: &[(String, String)]) -> Result<IdentifierSet, Unusable> {
    let identifiers = members
        .iter()
        .map(|(kind, value)| Ok(Identifier::parse(kind.parse()?, value)?))
        .collect::<Result<Vec<_>, Unusable>>()?;
    Ok(IdentifierSet::new(identifiers)?)
}

/// Returns the text by which a store finds claims and records with this identifier.
#[must_use]
pub fn lookup_text(identifier: &Identifier) -> String {
    identifier.to_string()
}

/// Returns the lookup texts of `value` for every kind of identifier, for searches that name no kind.
#[must_use]
pub fn lookup_texts(value: &str) -> Vec<String> {
    let identifying = IdentifierKind::ALL.into_iter().filter(|kind| kind.rank().is_some());
    identifying.filter_map(|kind| Identifier::parse(kind, value).ok()).map(|one| lookup_text(&one)).collect()
}

/// Returns true if one device could match both sets, given that they share a lookup identifier.
///
/// Makers reuse serial numbers between models, so the same serial number under another model is another
/// device; a set that adds or omits details of the same serial number is not.
#[must_use]
pub fn overlap(one: &IdentifierSet, other: &IdentifierSet) -> bool {
    let contradicts = |a: &Identifier| {
        a.kind().max_values() == 1 && other.members().iter().any(|b| a.kind() == b.kind() && !a.same_as(b))
    };
    let shown = |member: &&Identifier| !one.is_product_name(member);
    one.lookup_key() == other.lookup_key() && !one.members().iter().filter(shown).any(contradicts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use IdentifierKind::{BoardSerial, DeviceKey, MacAddress, Manufacturer, Model, SerialNumber, ServiceTag};

    fn set(of: &[(IdentifierKind, &str)]) -> IdentifierSet {
        IdentifierSet::new(of.iter().map(|(kind, value)| Identifier::parse(*kind, value).unwrap())).unwrap()
    }

    const SERIAL: &[(IdentifierKind, &str)] =
        &[(SerialNumber, "PF0ABCDE"), (Manufacturer, "LENOVO"), (Model, "20QES0XX00")];

    #[test]
    fn sets_survive_storage_and_name_what_rules_now_refuse() {
        let sets = ClaimSets::new(vec![set(SERIAL), set(&[(MacAddress, "00:16:3e:00:00:01")])]);
        assert_eq!(ClaimSets::from_text(&sets.to_text()).unwrap(), sets);
        assert_eq!(
            sets.lookup_keys().into_iter().collect::<Vec<_>>(),
            ["mac_address 00:16:3e:00:00:01", "serial_number PF0ABCDE"]
        );

        let stored = r#"[[["serial_number","N/A"],["manufacturer","Acme"],["model","G3"]],[["mac_address","00:16:3e:00:00:01"]]]"#;
        let now = ClaimSets::from_text(stored).unwrap();
        assert_eq!(now.usable().len(), 1);
        assert_eq!(
            now.unusable()[0].reason().to_string(),
            "serial_number \"N/A\" is a placeholder that the maker never replaced"
        );
        assert_eq!(ClaimSets::from_text(&now.to_text()).unwrap(), now, "nothing is lost");
        assert!(ClaimSets::from_text("{}").is_err());
    }

    #[test]
    fn people_find_a_claim_by_whatever_identifies_its_device() {
        let with_mac = [SERIAL, &[(MacAddress, "00:16:3e:00:00:01")]].concat();
        let sets = ClaimSets::new(vec![set(&with_mac)]);
        assert_eq!(sets.lookup_keys().into_iter().collect::<Vec<_>>(), ["serial_number PF0ABCDE"]);
        assert_eq!(sets.search_keys().into_iter().collect::<Vec<_>>(), ["mac_address 00:16:3e:00:00:01"]);
    }

    #[test]
    fn metadata_is_added_to_replaced_and_deleted_or_left_alone() {
        let change = |from: &Metadata, entries: &[(&str, &str)]| {
            let entries: BTreeMap<String, String> =
                entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            from.with_changes(&entries)
        };
        let first = change(&Metadata::default(), &[("ordernumber", "A1"), ("phonenumber", "+41")]).unwrap();
        let second = change(&first, &[("ordernumber", "A2"), ("phonenumber", "")]).unwrap();
        assert_eq!(serde_json::to_string(&second).unwrap(), r#"{"ordernumber":"A2"}"#);
        let many: Vec<String> = (0..=MAX_METADATA_ENTRIES).map(|number| format!("k{number}")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|key| (key.as_str(), "v")).collect();
        for (entries, expected) in [
            (&[("", "x")][..], InvalidMetadata::Key),
            (&[("a b", "x")], InvalidMetadata::Key),
            (&[("a", "x\u{1b}")], InvalidMetadata::Value("a".to_owned())),
            (&many, InvalidMetadata::TooMany),
        ] {
            assert_eq!(change(&second, entries), Err(expected));
        }
    }

    #[test]
    fn registered_keys_are_found_in_every_set() {
        let digest = Sha256::of(b"key");
        let sets = ClaimSets::new(vec![set(SERIAL), set(&[(DeviceKey, &digest.to_string())])]);
        assert_eq!(sets.registered_keys().collect::<Vec<_>>(), [digest]);
    }

    #[test]
    fn sets_overlap_if_one_device_could_match_both() {
        let more = [SERIAL, &[(BoardSerial, "L1HF123")]].concat();
        let other_model = [(SerialNumber, "PF0ABCDE"), (Manufacturer, "LENOVO"), (Model, "Other")];
        let folded = [(SerialNumber, "pf0abcde"), (Manufacturer, "Lenovo"), (Model, "20qes0xx00")];
        for (other, expected) in [
            (&SERIAL.to_vec(), true),
            (&folded.to_vec(), true),
            (&more, true),
            (&other_model.to_vec(), false),
            (&vec![(ServiceTag, "7XK9Q13")], false),
        ] {
            assert_eq!(overlap(&set(SERIAL), &set(other)), expected, "{other:?}");
            assert_eq!(overlap(&set(other), &set(SERIAL)), expected, "{other:?}");
        }
    }
}
