//! Rule 3: the device's proof is checked against the claim's demands.

use super::{Admission, Refusal, Why};
use crate::domain::{
    claims::claim::Claim,
    devices::{device::Device, token::TokenStanding},
};
use serde::Serialize;
use unbox_common::{
    attestation::QUOTED_PCRS,
    digest::Sha256,
    identity::{HardwareIdentity, IdentifierKind},
    protocol::latest::ProofKind,
    refusal::RefusalKind,
};

/// A TPM that opened its secret and vouched for the device's key and for the firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TpmEvidence {
    /// Digest of its endorsement key.
    pub key: Sha256,
    /// True if a manufacturer's root vouches for it; otherwise the claim's registration does.
    pub rooted: bool,
    /// The measurements: PCRs 0 to 7 of the SHA-256 bank.
    pub pcrs: [Sha256; QUOTED_PCRS],
}

/// The result of checking the token that a device sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenEvidence {
    /// No token was sent.
    #[default]
    None,
    /// The token is not one of this customer's.
    Unknown,
    /// The token is one of this customer's.
    Known(TokenStanding),
}

/// Also sent in answer to a hello that does not offer a TPM.
pub(super) const NO_TPM: &str = "The owner of this device asks for a proof by its TPM. Switch the TPM on in the firmware's settings; a device whose key is not in its TPM has to be reset.";
const OTHER_TPM: &str = "The TPM of this device is not the one that was registered for it. If its board was replaced, register the new TPM's key.";
const NO_TOKEN: &str = "The owner of this device asks for a pre-provisioning token, and none was sent.";
const TOKEN_EXPIRED: &str = "The pre-provisioning token expired.";
const TOKEN_REVOKED: &str = "The pre-provisioning token was revoked.";
const NOT_THE_REGISTERED_KEY: &str = "The device's key is not the one that was registered for it.";

/// Checks the evidence against the claim's policy. Proof beyond the identifiers also vouches for a new key.
pub(super) fn check_proof(asked: &Admission<'_>) -> Result<Option<Why>, Refusal> {
    match asked.claim.proof {
        ProofKind::Identifiers => Ok(None),
        ProofKind::Token => match asked.evidence.token {
            TokenEvidence::Known(TokenStanding::Valid) => Ok(Some(Why::Token)),
            TokenEvidence::Known(TokenStanding::Expired) => {
                Err(Refusal::with_detail(RefusalKind::RevokedToken, TOKEN_EXPIRED))
            }
            TokenEvidence::Known(TokenStanding::Revoked) => {
                Err(Refusal::with_detail(RefusalKind::RevokedToken, TOKEN_REVOKED))
            }
            TokenEvidence::Unknown => Err(Refusal::of(RefusalKind::InvalidToken)),
            TokenEvidence::None => Err(Refusal::with_detail(RefusalKind::ProofRequired, NO_TOKEN)),
        },
        ProofKind::RegisteredKey => {
            if asked.claim.sets.registered_keys().any(|key| key == asked.key) {
                Ok(Some(Why::RegisteredKey))
            } else {
                Err(Refusal::with_detail(RefusalKind::ProofRequired, NOT_THE_REGISTERED_KEY))
            }
        }
        ProofKind::Tpm => match asked.evidence.tpm {
            None => Err(Refusal::with_detail(RefusalKind::ProofRequired, NO_TPM)),
            Some(tpm) => match refuse_other_tpm(asked.claim, tpm.key) {
                Some(refusal) => Err(refusal),
                None => Ok(is_own_tpm(asked.claim, asked.device, tpm.key).then_some(Why::Tpm)),
            },
        },
    }
}

/// Refuses a TPM that the claim does not register, if it registers any.
#[must_use]
pub fn refuse_other_tpm(claim: &Claim, shown: Sha256) -> Option<Refusal> {
    let mut registered = claim.sets.registered_tpm_keys().peekable();
    registered.peek()?;
    let is_registered = registered.any(|key| key == shown);
    (!is_registered).then(|| Refusal::with_detail(RefusalKind::HardwareChanged, OTHER_TPM))
}

/// Returns true if the TPM with this endorsement key is known to be this device's: registered, or bound before.
#[must_use]
pub fn is_own_tpm(claim: &Claim, device: Option<&Device>, tpm: Sha256) -> bool {
    claim.sets.registered_tpm_keys().chain(device.and_then(bound_tpm)).any(|key| key == tpm)
}

/// Returns the TPM that a device last proved itself by.
fn bound_tpm(device: &Device) -> Option<Sha256> {
    tpm_of(device.identity.as_ref()?)
}

/// Returns the TPM among these identifiers.
pub(super) fn tpm_of(identity: &HardwareIdentity) -> Option<Sha256> {
    identity.of_kind(IdentifierKind::TpmKey).find_map(|one| one.value().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::*;
    use super::*;
    use ProofKind::{RegisteredKey, Token, Tpm};
    use unbox_common::{identity::Source, timestamp::Timestamp};

    #[test]
    fn a_device_that_was_never_seen_proves_as_much() {
        for (proof, key, token, expected) in [
            (Token, 9, VALID, "admit 1 token"),
            (Token, 9, TokenEvidence::None, "refuse proof_required"),
            (RegisteredKey, 1, TokenEvidence::None, "admit 1 registered_key"),
            (RegisteredKey, 9, TokenEvidence::None, "refuse proof_required"),
        ] {
            let late = Timestamp(1_000_000);
            let asked = Asked { token, now: late, ..Asked::new(proof, None, key) };
            assert_eq!(asked.outcome(), expected, "{proof}");
        }
    }

    #[test]
    fn a_tpm_stands_for_a_new_key_where_it_is_known_to_be_this_devices() {
        // A device that enrolled before with the TPM 0xaa.
        let bound = || {
            let identity = identity(BOARD).with_identifier(tpm_key(0xaa), Source::Tpm).unwrap();
            Some(Device { identity: Some(identity), ..known_device() })
        };
        let unbound = || Some(known_device());
        for (device, key, tpm, registered, now, expected) in [
            (None, 9, None, &[][..], 0, "refuse proof_required"),
            (None, 9, Some(0xaa), &[], 1999, "admit 1 first_key"),
            (None, 9, Some(0xaa), &[], 2000, "pend pending_approval"),
            (None, 9, Some(0xaa), &[0xaa], 2000, "admit 1 tpm"),
            (None, 9, Some(0xaa), &[0xab, 0xaa], 2000, "admit 1 tpm"),
            (None, 9, Some(0xbb), &[0xaa], 0, "refuse hardware_changed"),
            (bound(), 1, None, &[], 0, "refuse proof_required"),
            (bound(), 1, Some(0xaa), &[], 0, "admit 5 known_key"),
            (bound(), 9, Some(0xaa), &[], 9999, "admit 5 tpm"),
            (bound(), 9, Some(0xbb), &[], 0, "pend hardware_changed"),
            (bound(), 1, Some(0xbb), &[], 0, "pend hardware_changed"),
            (bound(), 9, Some(0xbb), &[0xaa], 0, "refuse hardware_changed"),
            (bound(), 9, Some(0xbb), &[0xbb], 0, "admit 5 tpm"),
            (unbound(), 1, Some(0xaa), &[], 0, "admit 5 known_key"),
            (unbound(), 9, Some(0xaa), &[], 0, "pend pending_approval"),
            (unbound(), 9, Some(0xaa), &[0xaa], 0, "admit 5 tpm"),
        ] {
            let now = Timestamp(now);
            let asked = Asked { now, tpm, registered, ..Asked::new(Tpm, device, key) };
            assert_eq!(asked.outcome(), expected, "key {key}, TPM {tpm:x?} of {registered:x?} at {now:?}");
        }
    }
}
