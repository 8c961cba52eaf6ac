//! Rule 5: parts that changed since the device last enrolled, and requests that wait for an administrator.

use super::{Admission, approved_request, proof::tpm_of};
use crate::domain::{
    claims::claim::Claim,
    devices::device::{Device, DeviceState},
};
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, Rank},
    machine::contradictions,
    matching::{IdentifierSet, ReplacedPart, hardware_change},
    refusal::RefusalKind,
    timestamp::Timestamp,
};

/// A request that an administrator has to approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The device is not bound to this key.
    pub unknown_key: bool,
    /// The key belongs to another device: a disk or an image was copied.
    pub copied_key: bool,
    /// The changed parts; empty if only the key is new.
    pub replaced: Vec<ReplacedPart>,
}

impl Pending {
    /// Returns the refusal that the device receives.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        if self.replaced.is_empty() { RefusalKind::PendingApproval } else { RefusalKind::HardwareChanged }
    }

    /// Returns the device's new state. A stranger who shows its identifiers changes nothing about a working
    /// device; only hardware shown with the device's own key does.
    #[must_use]
    pub fn state_after(&self, device: &Device, now: Timestamp) -> DeviceState {
        let state = device.state.clone();
        let next = if !self.unknown_key {
            state.hold_for_changed_hardware(now)
        } else if device.latest.is_none() {
            state.hold(now)
        } else {
            Ok(state)
        };
        next.unwrap_or_else(|_| device.state.clone())
    }
}

/// Returns the parts that belong neither to the last enrollment nor to an approved request.
pub(super) fn unapproved_parts(asked: &Admission<'_>) -> Vec<ReplacedPart> {
    let replaced_since = |last: &HardwareIdentity| {
        let parts = hardware_change(asked.identity, last, asked.rank).map(|change| change.replaced);
        parts.unwrap_or_default().into_iter().chain(replaced_tpm(asked, last)).collect::<Vec<_>>()
    };
    let replaced = match asked.device.and_then(|device| device.identity.as_ref()) {
        Some(last) => replaced_since(last),
        // A key that was registered for one machine may have been copied to another.
        None if asked.rank == Rank::Key => {
            contradictions(asked.identity, &registered_identifiers(asked.claim))
        }
        None => Vec::new(),
    };
    match approved_request(asked) {
        Some(request) if replaced_since(&request.identity).is_empty() => Vec::new(),
        _ => replaced,
    }
}

/// Returns the identifiers of all sets of a claim, without maker and model, whose spelling varies.
#[must_use]
pub fn registered_identifiers(claim: &Claim) -> Vec<&Identifier> {
    let all = claim.sets.usable().iter().flat_map(IdentifierSet::members);
    all.filter(|one| one.kind().rank().is_some()).collect()
}

/// Returns the TPM that proved itself, if it is neither registered nor the previous one.
fn replaced_tpm(asked: &Admission<'_>, last: &HardwareIdentity) -> Option<ReplacedPart> {
    let now = asked.evidence.tpm?.key;
    let was = tpm_of(last)?;
    let is_registered = asked.claim.sets.registered_tpm_keys().any(|key| key == now);
    (was != now && !is_registered).then(|| ReplacedPart {
        kind: IdentifierKind::TpmKey,
        was: vec![was.to_string()],
        now: vec![now.to_string()],
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Decision, fixture::*};
    use super::*;
    use crate::domain::devices::device::{ApprovalRequest, StateName};
    use ProofKind::{Identifiers, Token, Tpm};
    use unbox_common::{
        identity::{Observed, Source},
        protocol::latest::ProofKind,
    };

    #[test]
    fn changed_hardware_waits_whatever_was_proven() {
        let changed = |proof, key| Asked {
            board: "BOARD2",
            token: VALID,
            ..Asked::new(proof, Some(known_device()), key)
        };
        for proof in [Identifiers, Token] {
            for key in [1, 9] {
                assert_eq!(changed(proof, key).outcome(), "pend hardware_changed", "{proof} {key}");
            }
        }
        let approve = |board, key: u8| Some(request(&self::key(key), board, Some(NOW)));
        for (key, request, expected) in [
            (1, approve("BOARD2", 1), "admit 5 known_key"),
            (9, approve("BOARD2", 9), "admit 5 approved"),
            (1, approve("BOARD3", 1), "pend hardware_changed"),
            (9, approve(BOARD, 9), "pend hardware_changed"),
            (1, approve("BOARD2", 9), "pend hardware_changed"),
        ] {
            let asked = Asked { request, ..changed(Identifiers, key) };
            assert_eq!(asked.outcome(), expected, "key {key}");
        }
    }

    #[test]
    fn another_tpm_waits_for_exactly_its_approval() {
        let with = |board, tpm| identity(board).with_identifier(tpm_key(tpm), Source::Tpm).unwrap();
        let device = Device { identity: Some(with(BOARD, 0xaa)), ..known_device() };
        for (approved, reset_ticket, expected) in [
            (None, false, "pend hardware_changed"),
            (Some(0xbb), false, "admit 5 approved"),
            (Some(0xcc), false, "pend hardware_changed"),
            (Some(0xaa), false, "pend hardware_changed"),
            (None, true, "pend hardware_changed"),
        ] {
            let request = approved.map(|tpm| ApprovalRequest {
                identity: with(BOARD, tpm),
                ..request(&key(9), BOARD, Some(NOW))
            });
            let asked =
                Asked { tpm: Some(0xbb), reset_ticket, request, ..Asked::new(Tpm, Some(device.clone()), 9) };
            assert_eq!(asked.outcome(), expected, "{approved:x?}");
            if let Decision::Pend(pending) = asked.decide() {
                assert_eq!(pending.replaced[0].kind, IdentifierKind::TpmKey);
                assert_eq!(pending.unknown_key, approved.is_none() && !reset_ticket);
                let unchanged = pending.state_after(&device, NOW) == device.state;
                assert_eq!(unchanged, pending.unknown_key, "what nobody let in changes nothing");
            }
        }
    }

    #[test]
    fn a_key_that_comes_with_other_hardware_than_was_registered_waits() {
        let shown = |serial| {
            let kinds = [(IdentifierKind::SerialNumber, serial), (IdentifierKind::Manufacturer, "Acme")];
            let observed = kinds.map(|(kind, value)| Observed {
                identifier: Identifier::parse(kind, value).unwrap(),
                source: Source::Smbios,
            });
            HardwareIdentity::new(observed).unwrap()
        };
        let claim = claim(ProofKind::RegisteredKey);
        assert_eq!(contradictions(&shown("S1"), &registered_identifiers(&claim)), []);
        let [part] =
            <[_; 1]>::try_from(contradictions(&shown("S2"), &registered_identifiers(&claim))).unwrap();
        assert_eq!(
            (part.kind, part.was, part.now),
            (IdentifierKind::SerialNumber, vec!["S1".to_owned()], vec!["S2".to_owned()])
        );
        for (serial, request, expected) in [
            ("S1", None, "admit 1 registered_key"),
            ("S2", None, "pend hardware_changed"),
            ("S2", Some("S2"), "admit 1 registered_key"),
            ("S2", Some("S3"), "pend hardware_changed"),
        ] {
            let request = request.map(|approved| ApprovalRequest {
                identity: shown(approved),
                ..super::super::fixture::request(&key(1), BOARD, Some(NOW))
            });
            let asked = Asked {
                request,
                rank: Rank::Key,
                shown: Some(shown(serial)),
                ..Asked::new(ProofKind::RegisteredKey, None, 1)
            };
            assert_eq!(asked.outcome(), expected, "{serial}");
        }
    }

    #[test]
    fn only_the_devices_own_key_changes_its_state() {
        let states = |device: Device, key, board| {
            let asked =
                Asked { board, now: Timestamp(5000), ..Asked::new(Identifiers, Some(device.clone()), key) };
            match asked.decide() {
                Decision::Pend(pending) => pending.state_after(&device, NOW).name(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(states(known_device(), 9, BOARD), StateName::Enrolling);
        assert_eq!(states(known_device(), 9, "BOARD2"), StateName::Enrolling);
        assert_eq!(states(known_device(), 1, "BOARD2"), StateName::HardwareChanged);
        assert_eq!(states(unseen_device(), 9, BOARD), StateName::PendingApproval);
    }
}
