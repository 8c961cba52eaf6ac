//! The machine that a key and a ledger belong to, recorded because a disk may be copied to another one.
//!
//! Pure: it compares identifiers read by the [identity](crate::identity) stage, by the same
//! [rule](unbox_common::machine) as the server. A device with a copied disk drops the copied key and
//! enrolls as the machine that it is; a machine with replaced parts keeps its identity, and its server
//! decides.

use serde::{Deserialize, Serialize};
use unbox_common::{
    identity::{HardwareIdentity, RawIdentifier},
    machine::contradictions,
};

/// The largest machine document, in bytes.
pub const MAX_MACHINE_BYTES: u64 = 256 * 1024;

/// The identifiers that a machine showed when a key was made on it, or when it last enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    identity: Vec<RawIdentifier>,
}

impl Machine {
    /// Records the machine with this identity.
    #[must_use]
    pub fn from_identity(identity: &HardwareIdentity) -> Self {
        Self { identity: identity.to_raw() }
    }

    /// Returns true if `now` belongs to another machine than this one.
    #[must_use]
    pub fn is_other_than(&self, now: &Self) -> bool {
        let read = |machine: &Self| HardwareIdentity::from_raw(&machine.identity);
        let (Ok(before), Ok(now)) = (read(self), read(now)) else { return false };
        let known: Vec<_> = before.observations().iter().map(|one| &one.identifier).collect();
        !contradictions(&now, &known).is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::identity::{IdentifierKind, Source};

    #[test]
    fn a_machine_is_told_from_another_and_what_cannot_be_read_is_none() {
        let machine = |address: &str| {
            let (kind, value) = (IdentifierKind::MacAddress, address.to_owned());
            Machine { identity: vec![RawIdentifier { kind, value, source: Source::Smbios }] }
        };
        let (one, two) = (machine("00:16:3e:00:00:01"), machine("00:16:3e:00:00:02"));
        assert!(!one.is_other_than(&one) && one.is_other_than(&two));
        let unreadable = machine("no address");
        assert!(!one.is_other_than(&unreadable) && !unreadable.is_other_than(&one));
    }
}
