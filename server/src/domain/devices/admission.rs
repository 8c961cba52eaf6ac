//! The decision on enrollment: a pure function of the claim, the known device, and the proof.
//!
//! The rules, in this order (DESIGN.md, sections 2, 3 and 6):
//!
//! 1. A device that is disabled or deprovisioned is refused, whatever it proves.
//! 2. A claim that is temporarily released, or gives no configuration, counts as no claim; a device of a
//!    customer that never accepted the terms of service is refused, too.
//! 3. The proof that the claim demands must be given: a token, the registered key, a TPM.
//! 4. The key must be one that the device is bound to. After the database was restored from a backup, a
//!    certificate of this server for a later enrollment than the database knows counts as that binding, and
//!    the generation continues from there. Otherwise there must be a reason to accept a new key: it is the
//!    first inside the activation window, the proof of rule 3 vouches for it, a reset ticket was given, or an
//!    administrator approved exactly this key. Without a reason the key waits for approval. For a protected
//!    device that enrolled before, a token does not admit a new key: a thief who has the device also has the
//!    token of its image.
//! 5. Hardware that changed since the device last enrolled, or that contradicts the identifiers that the
//!    claim registers beside its key, waits for approval.
//! 6. A key that is known to belong to another device, because a disk or an image was copied, waits as well,
//!    whatever vouches for it.
//!
//! A TPM vouches for a new key only if it is *this device's*: registered, or bound when the device first
//! enrolled. A genuine TPM that nobody registered belongs to some device, but not provably to this one, so
//! its first binding falls under rule 4, inside the activation window; a TPM other than the bound one is
//! changed hardware.
//!
//! Nothing here evicts a working key: a grant only adds a generation, and the generation before
//! it stays valid until the new one is complete.

mod hardware;
mod proof;
mod refusal;

#[cfg(test)]
mod fixture;

pub use hardware::{Pending, registered_identifiers};
pub use proof::{TokenEvidence, TpmEvidence, is_own_tpm, refuse_other_tpm};
pub use refusal::{Found, Refusal, refuse_early};

use super::device::{ApprovalRequest, Device};
use crate::domain::{claims::claim::Claim, closed_set::closed_set, tenancy::company::Terms};
use hardware::unapproved_parts;
use proof::check_proof;
use refusal::{claim_refusal, state_refusal};
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, Rank},
    ids::Generation,
    refusal::RefusalKind,
    timestamp::Timestamp,
};

/// Everything that the decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Admission<'a> {
    /// The present time.
    pub now: Timestamp,
    /// The claim that matched.
    pub claim: &'a Claim,
    /// The strength of the match.
    pub rank: Rank,
    /// The device of this claim, if it was seen before.
    pub device: Option<&'a Device>,
    /// Digest of the key that signed the handshake.
    pub key: Sha256,
    /// The enrollment of this very device that a certificate of this server attests for the key.
    pub certified: Option<Generation>,
    /// True if the key is known to be that of another device.
    pub copied_key: bool,
    /// The identifiers that the device showed.
    pub identity: &'a HardwareIdentity,
    /// Digest of the handshake's ticket.
    pub ticket: Sha256,
    /// True if the claim, the token or the customer gives it a configuration.
    pub configured: bool,
    /// True if the customer accepted the terms of service.
    pub terms: Terms,
    /// The rest of its proof.
    pub evidence: Evidence<'a>,
}

/// The proof that a device gave beside its key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// The token that it sent.
    pub token: TokenEvidence,
    /// True if it sent a reset ticket that is valid for this device, unused and unexpired.
    pub reset_ticket: bool,
    /// The earlier request with this key, which may have been approved.
    pub request: Option<&'a ApprovalRequest>,
    /// The TPM that proved itself and holds the key.
    pub tpm: Option<&'a TpmEvidence>,
}

/// The decision about a device that asks to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is enrolled.
    Admit {
        /// The generation that is granted.
        generation: Generation,
        /// The reason for the grant.
        why: Why,
    },
    /// An administrator has to approve the request.
    Pend(Pending),
    /// It is refused.
    Refuse(Refusal),
}

closed_set! {
    /// The reason for an enrollment.
    pub enum Why {
        /// The first key inside the activation window.
        FirstKey = "first_key",
        /// It is bound to this key already.
        KnownKey = "known_key",
        /// Its certificate is for a later enrollment than this database knows.
        Certified = "certified",
        /// A valid token vouches for a new key.
        Token = "token",
        /// The factory registered this key.
        RegisteredKey = "registered_key",
        /// The device's own TPM vouches for a new key.
        Tpm = "tpm",
        /// A reset ticket vouches for a new key.
        ResetTicket = "reset_ticket",
        /// An administrator approved this key.
        Approved = "approved",
        /// The answer to this very handshake was lost, and the grant is repeated.
        Repeated = "repeated",
    }
}

/// Decides about a device that proved possession of its key.
#[must_use]
pub fn decide(asked: &Admission<'_>) -> Decision {
    if let Some(refusal) = asked.device.and_then(|device| state_refusal(&device.state)) {
        return Decision::Refuse(refusal);
    }
    if let Some(refusal) = claim_refusal(asked.now, asked.claim, asked.terms) {
        return Decision::Refuse(refusal);
    }
    if let Some(generation) = asked.device.and_then(|device| repeated_generation(device, asked)) {
        return Decision::Admit { generation, why: Why::Repeated };
    }
    let new_key = match check_proof(asked) {
        Ok(why) => why,
        Err(refusal) => return Decision::Refuse(refusal),
    };
    // Only after the proof, so that an expired token is reported as such, not as a missing configuration.
    if !asked.configured {
        return Decision::Refuse(Refusal::of(RefusalKind::NotClaimed));
    }
    let new_key = new_key.filter(|why| *why != Why::Token || !is_protected_and_bound(asked));
    let known = asked.device.map_or(Generation(0), Device::generation);
    let certified = asked.certified.filter(|certified| *certified > known);
    let why = if asked.device.is_some_and(|device| device.knows_key(asked.key)) {
        Some(Why::KnownKey)
    } else if certified.is_some() {
        Some(Why::Certified)
    } else {
        new_key.or_else(|| new_key_reason(asked))
    };
    let replaced = unapproved_parts(asked);
    // Once approved, the key belongs to this device.
    let copied_key = asked.copied_key && why != Some(Why::KnownKey) && approved_request(asked).is_none();
    match why {
        Some(why) if replaced.is_empty() && !copied_key => {
            Decision::Admit { generation: certified.unwrap_or(known).next(), why }
        }
        _ => Decision::Pend(Pending { unknown_key: why.is_none() || copied_key, copied_key, replaced }),
    }
}

/// Returns the generation that was granted to this very handshake with the same key.
fn repeated_generation(device: &Device, asked: &Admission<'_>) -> Option<Generation> {
    let latest = device.latest.as_ref()?;
    let same = device.latest_ticket == Some(asked.ticket) && latest.key.digest() == asked.key;
    same.then_some(latest.generation)
}

/// Returns true if this is a protected device that enrolled before.
fn is_protected_and_bound(asked: &Admission<'_>) -> bool {
    asked.claim.protected && is_bound(asked)
}

fn is_bound(asked: &Admission<'_>) -> bool {
    asked.device.is_some_and(|device| device.latest.is_some())
}

fn new_key_reason(asked: &Admission<'_>) -> Option<Why> {
    if asked.evidence.reset_ticket {
        Some(Why::ResetTicket)
    } else if approved_request(asked).is_some() {
        Some(Why::Approved)
    } else if !is_bound(asked) && asked.now < asked.claim.activation_ends_at {
        Some(Why::FirstKey)
    } else {
        None
    }
}

fn approved_request<'a>(asked: &Admission<'a>) -> Option<&'a ApprovalRequest> {
    asked.evidence.request.filter(|request| request.approved_at.is_some() && request.key == asked.key)
}

#[cfg(test)]
mod tests {
    use super::super::token::TokenStanding;
    use super::{fixture::*, *};
    use unbox_common::protocol::latest::ProofKind::{Identifiers, RegisteredKey, Token, Tpm};

    #[test]
    fn the_first_key_is_bound_inside_the_window_only() {
        for (now, device, expected) in [
            (0, None, "admit 1 first_key"),
            (1999, None, "admit 1 first_key"),
            (1999, Some(unseen_device()), "admit 1 first_key"),
            (2000, None, "pend pending_approval"),
            (9999, Some(unseen_device()), "pend pending_approval"),
        ] {
            let asked = Asked { now: Timestamp(now), ..Asked::new(Identifiers, device, 9) };
            assert_eq!(asked.outcome(), expected, "{now}");
        }
    }

    #[test]
    fn what_lets_a_key_in_depends_on_the_policy() {
        for (proof, key, evidence, expected) in [
            (Identifiers, 1, "", "admit 5 known_key"),
            (Identifiers, 2, "", "admit 5 known_key"),
            (Identifiers, 9, "", "pend pending_approval"),
            (Identifiers, 9, "token", "pend pending_approval"),
            (Identifiers, 9, "reset", "admit 5 reset_ticket"),
            (Identifiers, 9, "approved", "admit 5 approved"),
            (Identifiers, 9, "asked", "pend pending_approval"),
            (Identifiers, 9, "approved other", "pend pending_approval"),
            (Token, 1, "", "refuse proof_required"),
            (Token, 1, "token", "admit 5 known_key"),
            (Token, 9, "token", "admit 5 token"),
            (Token, 9, "unknown token", "refuse invalid_token"),
            (Token, 9, "expired token", "refuse revoked_token"),
            (Token, 1, "revoked token", "refuse revoked_token"),
            (Token, 9, "reset", "refuse proof_required"),
            (Token, 9, "approved", "refuse proof_required"),
            (RegisteredKey, 1, "", "admit 5 known_key"),
            (RegisteredKey, 2, "", "refuse proof_required"),
            (RegisteredKey, 9, "approved", "refuse proof_required"),
            (RegisteredKey, 9, "token", "refuse proof_required"),
            (Tpm, 1, "token", "refuse proof_required"),
        ] {
            let mut asked = Asked::new(proof, Some(known_device()), key);
            match evidence {
                "token" => asked.token = VALID,
                "unknown token" => asked.token = TokenEvidence::Unknown,
                "expired token" => asked.token = TokenEvidence::Known(TokenStanding::Expired),
                "revoked token" => asked.token = TokenEvidence::Known(TokenStanding::Revoked),
                "reset" => asked.reset_ticket = true,
                "approved" => asked.request = Some(request(&self::key(9), BOARD, Some(NOW))),
                "asked" => asked.request = Some(request(&self::key(9), BOARD, None)),
                "approved other" => asked.request = Some(request(&self::key(8), BOARD, Some(NOW))),
                _ => {}
            }
            assert_eq!(asked.outcome(), expected, "{proof} key {key} {evidence}");
        }
    }

    #[test]
    fn a_protected_device_that_enrolled_before_is_not_let_in_again_by_a_token_alone() {
        let approved = || Some(request(&key(9), BOARD, Some(NOW)));
        for (device, key, reset_ticket, request, expected) in [
            (None, 9, false, None, "admit 1 token"),
            (Some(known_device()), 1, false, None, "admit 5 known_key"),
            (Some(known_device()), 9, false, None, "pend pending_approval"),
            (Some(known_device()), 9, true, None, "admit 5 reset_ticket"),
            (Some(known_device()), 9, false, approved(), "admit 5 approved"),
        ] {
            let asked = Asked {
                protected: true,
                token: VALID,
                reset_ticket,
                request,
                ..Asked::new(Token, device, key)
            };
            assert_eq!(asked.outcome(), expected, "key {key}");
        }
    }

    #[test]
    fn a_certificate_of_a_later_enrollment_is_gone_on_from_and_an_earlier_one_is_worth_nothing() {
        for (device, key, certified, now, expected) in [
            (Some(known_device()), 9, 7, 0, "admit 8 certified"),
            (Some(known_device()), 9, 5, 9999, "admit 6 certified"),
            (Some(known_device()), 9, 4, 0, "pend pending_approval"),
            (Some(known_device()), 9, 1, 0, "pend pending_approval"),
            (Some(known_device()), 1, 7, 0, "admit 8 known_key"),
            (Some(known_device()), 1, 3, 0, "admit 5 known_key"),
            (Some(unseen_device()), 9, 3, 9999, "admit 4 certified"),
        ] {
            let certified = Some(Generation(certified));
            let asked = Asked { certified, now: Timestamp(now), ..Asked::new(Identifiers, device, key) };
            assert_eq!(asked.outcome(), expected, "key {key}, certified {certified:?}");
        }
        let certified = Some(Generation(7));
        for (proof, expected) in [(Token, "refuse proof_required"), (RegisteredKey, "refuse proof_required")]
        {
            let asked = Asked { certified, ..Asked::new(proof, Some(known_device()), 9) };
            assert_eq!(asked.outcome(), expected, "it takes the place of no proof: {proof}");
        }
        let changed =
            Asked { certified, board: "BOARD2", ..Asked::new(Identifiers, Some(known_device()), 9) };
        assert_eq!(changed.outcome(), "pend hardware_changed");
    }

    #[test]
    fn the_key_of_another_device_waits_whatever_stands_for_it() {
        for (device, proof, key, reset_ticket, approved, expected) in [
            (None, Identifiers, 9, false, false, "pend pending_approval"),
            (None, RegisteredKey, 1, false, false, "pend pending_approval"),
            (Some(known_device()), Token, 9, false, false, "pend pending_approval"),
            (Some(known_device()), Identifiers, 9, true, false, "pend pending_approval"),
            (Some(known_device()), Identifiers, 9, false, true, "admit 5 approved"),
            (Some(known_device()), Identifiers, 1, false, false, "admit 5 known_key"),
        ] {
            let request = approved.then(|| request(&self::key(key), BOARD, Some(NOW)));
            let asked = Asked {
                copied_key: true,
                token: VALID,
                reset_ticket,
                request,
                ..Asked::new(proof, device, key)
            };
            assert_eq!(asked.outcome(), expected, "{proof} key {key}");
        }
    }

    #[test]
    fn the_same_handshake_is_granted_once() {
        let same = |key| Asked { ticket: b"ticket 4", ..Asked::new(Identifiers, Some(known_device()), key) };
        assert_eq!(same(2).outcome(), "admit 4 repeated");
        assert_eq!(same(1).outcome(), "admit 5 known_key", "another key that borrows the ticket");
        // A grant is repeated even if the token expired in between.
        let asked = Asked { proof: Token, token: TokenEvidence::Known(TokenStanding::Expired), ..same(2) };
        assert_eq!(asked.outcome(), "admit 4 repeated");
    }
}
