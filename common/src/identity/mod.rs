//! The identity of a device: a set of identifiers, each with its source and its strength.
//!
//! An [`Identifier`] exists only if it passed the rules of its kind, and the rules are the
//! same on device, factory station and server. To add a kind: a variant in [`IdentifierKind`]
//! with its wire name and rank, its format in `formats.rs`, a row in that file's test table,
//! and the place that reads it in the agent's `identity` stage.

mod formats;
mod identifier;
mod kind;
mod placeholder;

pub use formats::{fold_manufacturer, fold_name};
pub use identifier::{Identifier, InvalidIdentifier, MAX_IDENTIFIER_BYTES, Rule};
pub use kind::{IdentifierKind, Rank, Source, UnknownKind};
pub use placeholder::{Placeholder, placeholders};

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The most identifiers that one list may hold, before the limits of each kind
/// ([`IdentifierKind::max_shown_values`]) are applied.
pub const MAX_IDENTIFIERS: usize = 64;

/// One identifier as it travels: not yet checked against any rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawIdentifier {
    /// Wire name of the kind, such as `serial_number`.
    pub kind: IdentifierKind,
    /// The value as it was read.
    pub value: String,
    /// The source of the value.
    pub source: Source,
}

/// One identifier that passed its rules, with its source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observed {
    /// The identifier itself.
    pub identifier: Identifier,
    /// The source of the identifier.
    pub source: Source,
}

/// All that a device knows about itself: normalised, ordered, without duplicates.
///
/// It always holds at least one identifier that tells this device from all others (see
/// [`IdentityError::NothingIdentifying`]), and never more of a kind than one device has: sixty serial
/// numbers would be sixty guesses at somebody else's device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardwareIdentity {
    observed: Vec<Observed>,
}

/// The reason why a list of identifiers is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// More identifiers than any device has.
    #[error("expected at most {MAX_IDENTIFIERS} identifiers, found {0}")]
    TooMany(usize),
    /// More different values of one kind than one device has.
    #[error("more values for {0} than one device has")]
    TooManyOf(IdentifierKind),
    /// One identifier broke a rule of its kind.
    #[error(transparent)]
    Invalid(#[from] InvalidIdentifier),
    /// Nothing in the list tells this device from others of its model.
    #[error(
        "no identifier that tells this device from others: expected a serial number, service tag, \
         permanent MAC address, UUID or key; ask the maker to program one"
    )]
    NothingIdentifying,
}

impl HardwareIdentity {
    /// Builds an identity from observed identifiers, and adds those that follow from them: the serial
    /// number of a Dell is its service tag.
    ///
    /// # Errors
    /// [`IdentityError::TooMany`], [`IdentityError::TooManyOf`] and
    /// [`IdentityError::NothingIdentifying`].
    pub fn new(observed: impl IntoIterator<Item = Observed>) -> Result<Self, IdentityError> {
        let mut set: BTreeSet<Observed> = observed.into_iter().collect();
        if set.len() > MAX_IDENTIFIERS {
            return Err(IdentityError::TooMany(set.len()));
        }
        if let Some(tag) = derived_service_tag(&set) {
            set.insert(tag);
        }
        // The same value from two sources is one identifier: the first source names it.
        let mut observed: Vec<Observed> = set.into_iter().collect();
        observed.dedup_by(|later, first| later.identifier == first.identifier);
        for of_kind in observed.chunk_by(|a, b| a.identifier.kind() == b.identifier.kind()) {
            if let [first, ..] = of_kind
                && of_kind.len() > first.identifier.kind().max_shown_values()
            {
                return Err(IdentityError::TooManyOf(first.identifier.kind()));
            }
        }
        if observed.iter().all(|one| one.identifier.kind().rank().is_none()) {
            return Err(IdentityError::NothingIdentifying);
        }
        Ok(Self { observed })
    }

    /// Checks identifiers from the wire against the rules.
    ///
    /// # Errors
    /// Any [`IdentityError`]; one bad identifier refuses the whole list, because a device that
    /// follows the rules never sends one.
    pub fn from_raw(raw: &[RawIdentifier]) -> Result<Self, IdentityError> {
        if raw.len() > MAX_IDENTIFIERS {
            return Err(IdentityError::TooMany(raw.len()));
        }
        let observed = raw
            .iter()
            .map(|one| {
                let identifier = Identifier::parse(one.kind, &one.value)?;
                Ok(Observed { identifier, source: one.source })
            })
            .collect::<Result<Vec<_>, InvalidIdentifier>>()?;
        Self::new(observed)
    }

    /// Returns the wire form.
    #[must_use]
    pub fn to_raw(&self) -> Vec<RawIdentifier> {
        self.observed
            .iter()
            .map(|one| RawIdentifier {
                kind: one.identifier.kind(),
                value: one.identifier.value().to_owned(),
                source: one.source,
            })
            .collect()
    }

    /// Returns all observed identifiers, ordered by kind and value.
    #[must_use]
    pub fn observations(&self) -> &[Observed] {
        &self.observed
    }

    /// Returns all identifiers of one kind.
    pub fn of_kind(&self, kind: IdentifierKind) -> impl Iterator<Item = &Identifier> {
        self.observed.iter().map(|one| &one.identifier).filter(move |one| one.kind() == kind)
    }

    /// Returns true if this identity shows exactly this identifier.
    #[must_use]
    pub fn shows(&self, identifier: &Identifier) -> bool {
        self.of_kind(identifier.kind()).any(|one| one.same_as(identifier))
    }

    /// Returns the identity with one more identifier, such as the key that a handshake proves.
    ///
    /// # Errors
    /// [`IdentityError::TooMany`] and [`IdentityError::TooManyOf`].
    pub fn with_identifier(&self, identifier: Identifier, source: Source) -> Result<Self, IdentityError> {
        Self::new(self.observed.iter().cloned().chain([Observed { identifier, source }]))
    }
}

/// Returns the service tag of a Dell: its label shows the system serial number under that name.
fn derived_service_tag(set: &BTreeSet<Observed>) -> Option<Observed> {
    let of = |kind| set.iter().map(|one| &one.identifier).find(|one| one.kind() == kind);
    if of(IdentifierKind::ServiceTag).is_some() {
        return None;
    }
    let maker = of(IdentifierKind::Manufacturer)?;
    if fold_manufacturer(maker.value()) != "dell" {
        return None;
    }
    let serial = of(IdentifierKind::SerialNumber)?;
    let identifier = Identifier::parse(IdentifierKind::ServiceTag, serial.value()).ok()?;
    Some(Observed { identifier, source: Source::Derived })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(kind: IdentifierKind, value: &str) -> RawIdentifier {
        RawIdentifier { kind, value: value.to_owned(), source: Source::Smbios }
    }

    #[test]
    fn a_dell_shows_its_service_tag() {
        let dell = HardwareIdentity::from_raw(&[
            raw(IdentifierKind::Manufacturer, "Dell Inc."),
            raw(IdentifierKind::Model, "Latitude 7450"),
            raw(IdentifierKind::SerialNumber, " 7xk9q13 "),
        ])
        .unwrap();
        let tags: Vec<_> = dell.of_kind(IdentifierKind::ServiceTag).map(Identifier::value).collect();
        assert_eq!(tags, ["7XK9Q13"]);
        assert_eq!(HardwareIdentity::from_raw(&dell.to_raw()).unwrap(), dell);
    }

    #[test]
    fn a_maker_and_a_model_are_no_identity() {
        let nothing = HardwareIdentity::from_raw(&[
            raw(IdentifierKind::Manufacturer, "Acme"),
            raw(IdentifierKind::Model, "Gateway 3"),
        ]);
        assert_eq!(nothing, Err(IdentityError::NothingIdentifying));
        assert_eq!(HardwareIdentity::from_raw(&[]), Err(IdentityError::NothingIdentifying));
    }

    #[test]
    fn one_placeholder_refuses_the_whole_list() {
        let refused = HardwareIdentity::from_raw(&[
            raw(IdentifierKind::MacAddress, "00:16:3e:00:00:01"),
            raw(IdentifierKind::SerialNumber, "To Be Filled By O.E.M."),
        ]);
        assert!(matches!(refused, Err(IdentityError::Invalid(_))), "{refused:?}");
    }

    #[test]
    fn a_device_has_no_more_of_a_kind_than_one_device_has() {
        let value = |kind: IdentifierKind, n: usize| match kind {
            IdentifierKind::DeviceKey | IdentifierKind::TpmKey => format!("{n:064x}"),
            IdentifierKind::ServiceTag => format!("7XK9Q{n:02}"),
            IdentifierKind::Imei => format!("490154203237{n:02}"),
            IdentifierKind::Meid => format!("A10000001234{n:02}"),
            IdentifierKind::MacAddress => format!("00:16:3e:00:00:{n:02x}"),
            IdentifierKind::SystemUuid => format!("4c4c4544-0058-4b10-8039-b7c04f5131{n:02}"),
            _ => format!("AB12CD{n:02}"),
        };
        for (kind, most) in IdentifierKind::ALL.into_iter().zip([1, 1, 1, 1, 1, 1, 1, 2, 2, 16, 1, 4, 4, 1]) {
            // An identifier that is always there, so that names are not refused for standing alone.
            let other = match kind {
                IdentifierKind::SystemUuid => raw(IdentifierKind::SerialNumber, "PF0ABCDE"),
                _ => raw(IdentifierKind::SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513199"),
            };
            let of_kind = |count| -> Vec<RawIdentifier> {
                (10..10 + count).map(|n| raw(kind, &value(kind, n))).chain([other.clone()]).collect()
            };
            let whole = HardwareIdentity::from_raw(&of_kind(most)).unwrap();
            assert_eq!(whole.of_kind(kind).count(), most, "{kind}");
            let refused = HardwareIdentity::from_raw(&of_kind(most + 1));
            assert_eq!(refused, Err(IdentityError::TooManyOf(kind)));
            // The same value from two sources is one.
            let mut twice = of_kind(most);
            twice.extend(of_kind(most).into_iter().map(|one| RawIdentifier { source: Source::Vpd, ..one }));
            assert_eq!(HardwareIdentity::from_raw(&twice).unwrap().of_kind(kind).count(), most, "{kind}");
        }
    }

    #[test]
    fn a_flood_of_identifiers_is_refused() {
        let flood: Vec<_> =
            (0..=MAX_IDENTIFIERS).map(|n| raw(IdentifierKind::BoardSerial, &format!("BOARD{n}"))).collect();
        assert_eq!(HardwareIdentity::from_raw(&flood), Err(IdentityError::TooMany(65)));
    }
}
