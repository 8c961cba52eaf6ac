//! What a device is: a set of identifiers, each with its source and its strength.
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

/// The most identifiers that one device may show; a large server with eight NICs has about 20.
pub const MAX_IDENTIFIERS: usize = 64;

/// One identifier as it travels: not yet held against any rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawIdentifier {
    /// Wire name of the kind, such as `serial_number`.
    pub kind: IdentifierKind,
    /// The value as it was read.
    pub value: String,
    /// Where it was read.
    pub source: Source,
}

/// One identifier that passed its rules, and where it was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observed {
    /// The identifier itself.
    pub identifier: Identifier,
    /// Where it was read.
    pub source: Source,
}

/// Everything that a device knows about itself: normalised, ordered, without duplicates.
///
/// It always holds at least one identifier that can tell this device from all others; see
/// [`IdentityError::NothingIdentifying`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardwareIdentity {
    observed: Vec<Observed>,
}

/// Why a list of identifiers is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// More identifiers than any device has.
    #[error("expected at most {MAX_IDENTIFIERS} identifiers, found {0}")]
    TooMany(usize),
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
    /// Builds an identity from what was observed, and adds what follows from it: the serial
    /// number of a Dell is its service tag.
    ///
    /// # Errors
    /// [`IdentityError::TooMany`] and [`IdentityError::NothingIdentifying`].
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
        if observed.iter().all(|one| one.identifier.kind().rank().is_none()) {
            return Err(IdentityError::NothingIdentifying);
        }
        Ok(Self { observed })
    }

    /// Holds identifiers from the wire against the rules.
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

    /// The form that travels.
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

    /// Everything that was observed, ordered by kind and value.
    #[must_use]
    pub fn observed(&self) -> &[Observed] {
        &self.observed
    }

    /// All identifiers of one kind.
    pub fn of_kind(&self, kind: IdentifierKind) -> impl Iterator<Item = &Identifier> {
        self.observed.iter().map(|one| &one.identifier).filter(move |one| one.kind() == kind)
    }

    /// Whether this identity shows exactly this identifier.
    #[must_use]
    pub fn shows(&self, identifier: &Identifier) -> bool {
        self.of_kind(identifier.kind()).any(|one| one.same_as(identifier))
    }

    /// The identity plus one more identifier, such as the key that a handshake proves.
    ///
    /// # Errors
    /// [`IdentityError::TooMany`].
    pub fn with(&self, identifier: Identifier, source: Source) -> Result<Self, IdentityError> {
        Self::new(self.observed.iter().cloned().chain([Observed { identifier, source }]))
    }
}

/// Dell prints the system serial number on its label and calls it the service tag.
fn derived_service_tag(set: &BTreeSet<Observed>) -> Option<Observed> {
    let of = |kind| set.iter().map(|one| &one.identifier).find(|one| one.kind() == kind);
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
    fn a_flood_of_identifiers_is_refused() {
        let flood: Vec<_> =
            (0..=MAX_IDENTIFIERS).map(|n| raw(IdentifierKind::BoardSerial, &format!("BOARD{n}"))).collect();
        assert_eq!(HardwareIdentity::from_raw(&flood), Err(IdentityError::TooMany(65)));
    }
}
