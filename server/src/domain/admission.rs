//! Who gets in: a pure function of the claim, the device as it is known, and what was proven.
//!
//! The rules, in this order (DESIGN.md, sections 2, 3 and 6):
//!
//! 1. A device that is disabled or deprovisioned is refused, whatever it proves.
//! 2. A claim that is released for a time, or gives no configuration, is as good as none; a customer
//!    that never accepted the terms of service gets nothing either.
//! 3. What the claim asks for must be proven: a token, the registered key, a TPM.
//! 4. The key must be one that the device is bound to, or there must be a reason for a new one:
//!    it is the first inside the activation window, the proof of rule 3 stands for it, a reset
//!    ticket was given, or an administrator approved exactly this key. Else the key waits. Of a
//!    device with protection that enrolled before, a token lets no new key in: whoever took the
//!    device has the token of its image, too.
//! 5. Hardware that changed since the device last enrolled waits until it is approved.
//!
//! A TPM stands for a new key only if it is *this device's*: registered, or bound when the device first
//! enrolled. A genuine TPM that nobody registered is some device's, so that the first binding is one of
//! rule 4, inside the activation window; and another than the bound one is changed hardware.
//!
//! Nothing here evicts a working key: a grant only adds a generation, and the generation before
//! it stays good until the new one is complete.

use super::{
    claim::Claim,
    company::Terms,
    device::{ApprovalRequest, Device, DeviceState},
    token::TokenStanding,
    words::words,
};
use serde::Serialize;
use std::borrow::Cow;
use unbox_common::{
    attestation::QUOTED_PCRS,
    digest::Sha256,
    identity::{HardwareIdentity, IdentifierKind, Rank},
    ids::Generation,
    matching::{ReplacedPart, hardware_change},
    protocol::latest::ProofKind,
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
    /// What the match is worth.
    pub rank: Rank,
    /// The device of this claim, if it was seen before.
    pub device: Option<&'a Device>,
    /// Digest of the key that signed the handshake.
    pub key: Sha256,
    /// What the device showed.
    pub identity: &'a HardwareIdentity,
    /// Digest of the handshake's ticket.
    pub ticket: Sha256,
    /// Whether the claim, the token or the customer gives it a configuration.
    pub configured: bool,
    /// Whether the customer accepted the terms of service.
    pub terms: Terms,
    /// What else it proved.
    pub evidence: Evidence<'a>,
}

/// What a device proved beside its key.
#[derive(Debug, Clone, Copy, Default)]
pub struct Evidence<'a> {
    /// The token that it sent.
    pub token: TokenEvidence,
    /// Whether it sent a reset ticket that is good for this device, unused and in its time.
    pub reset_ticket: bool,
    /// What was asked with this key before, and perhaps approved.
    pub request: Option<&'a ApprovalRequest>,
    /// The TPM that proved itself, and holds the key.
    pub tpm: Option<&'a TpmEvidence>,
}

/// A TPM that opened its secret, and vouched for the device's key and for the firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TpmEvidence {
    /// Digest of its endorsement key.
    pub key: Sha256,
    /// Whether a manufacturer's root vouches for it; else the claim's registration does.
    pub rooted: bool,
    /// What was measured: PCR 0 to 7 of the SHA-256 bank.
    pub pcrs: [Sha256; QUOTED_PCRS],
}

/// What became of the token that a device sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TokenEvidence {
    /// It sent none.
    #[default]
    None,
    /// It is none of this customer's.
    Unknown,
    /// It is one of this customer's.
    Known(TokenStanding),
}

/// What becomes of a device that asks to be enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is enrolled.
    Admit {
        /// As which generation.
        generation: Generation,
        /// For which reason.
        why: Why,
    },
    /// An administrator has to approve it.
    Pend(Pending),
    /// It is refused.
    Refuse(Refusal),
}

words! {
    /// Why a device was enrolled.
    pub enum Why {
        /// The first key inside the activation window.
        FirstKey = "first_key",
        /// It is bound to this key already.
        KnownKey = "known_key",
        /// A valid token stands for a new key.
        Token = "token",
        /// The factory registered this key.
        RegisteredKey = "registered_key",
        /// The device's own TPM stands for a new key.
        Tpm = "tpm",
        /// A reset ticket stands for a new key.
        ResetTicket = "reset_ticket",
        /// An administrator approved this key.
        Approved = "approved",
        /// The answer to this very handshake was lost: it is given again.
        Repeated = "repeated",
    }
}

/// What an administrator has to approve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The device is not bound to this key.
    pub unknown_key: bool,
    /// Parts that are not as they were. Empty if only the key is new.
    pub replaced: Vec<ReplacedPart>,
}

impl Pending {
    /// What the device is told.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        if self.replaced.is_empty() { RefusalKind::PendingApproval } else { RefusalKind::HardwareChanged }
    }

    /// The state that the device is in from now on. A stranger with its identifiers changes
    /// nothing of a device that works; only what the device's own key shows does.
    #[must_use]
    pub fn state_after(&self, device: &Device, now: Timestamp) -> DeviceState {
        let state = device.state.clone();
        let next = if !self.unknown_key {
            state.hardware_changed(now)
        } else if device.latest.is_none() {
            state.held(now)
        } else {
            Ok(state)
        };
        next.unwrap_or_else(|_| device.state.clone())
    }
}

/// A refusal, and what is said with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind.
    pub kind: RefusalKind,
    /// What the administrator wants to be read.
    pub message: Option<String>,
    /// What happened, if the kind alone does not say it.
    pub detail: Option<Cow<'static, str>>,
}

impl Refusal {
    /// A refusal that its kind explains.
    #[must_use]
    pub const fn of(kind: RefusalKind) -> Self {
        Self { kind, message: None, detail: None }
    }

    /// A refusal that says what happened.
    #[must_use]
    pub const fn said(kind: RefusalKind, detail: &'static str) -> Self {
        Self { kind, message: None, detail: Some(Cow::Borrowed(detail)) }
    }

    /// A refusal that says what happened, in words that were made for it.
    #[must_use]
    pub const fn told(kind: RefusalKind, detail: String) -> Self {
        Self { kind, message: None, detail: Some(Cow::Owned(detail)) }
    }
}

const NO_TPM: &str = "The owner of this device asks for a proof by its TPM. Switch the TPM on in the firmware's settings; a device whose key is not in its TPM has to be reset.";
const OTHER_TPM: &str = "The TPM of this device is not the one that was registered for it. If its board was replaced, register the new TPM's key.";
const NO_TOKEN: &str = "The owner of this device asks for a pre-provisioning token, and none was sent.";
const TOKEN_EXPIRED: &str = "The pre-provisioning token expired.";
const TOKEN_REVOKED: &str = "The pre-provisioning token was revoked.";
const NOT_THE_REGISTERED_KEY: &str = "The device's key is not the one that was registered for it.";
const NOT_OFFERED: &str = "The owner of this device asks for a proof that it does not offer.";

/// Decides about a device that proved possession of its key.
#[must_use]
pub fn decide(asked: &Admission<'_>) -> Decision {
    if let Some(refusal) = asked.device.and_then(|device| state_refusal(&device.state)) {
        return Decision::Refuse(refusal);
    }
    if let Some(refusal) = claim_refusal(asked.now, asked.claim, asked.terms) {
        return Decision::Refuse(refusal);
    }
    if let Some(generation) = asked.device.and_then(|device| repeated(device, asked)) {
        return Decision::Admit { generation, why: Why::Repeated };
    }
    let new_key = match prove(asked) {
        Ok(why) => why,
        Err(refusal) => return Decision::Refuse(refusal),
    };
    // Only after the proof: an expired token is told as such, not as a missing configuration.
    if !asked.configured {
        return Decision::Refuse(Refusal::of(RefusalKind::NotClaimed));
    }
    let new_key = new_key.filter(|why| *why != Why::Token || !is_kept(asked));
    let why = if asked.device.is_some_and(|device| device.knows_key(asked.key)) {
        Some(Why::KnownKey)
    } else {
        new_key.or_else(|| allowed_as_new_key(asked))
    };
    let replaced = unapproved_parts(asked);
    match why {
        Some(why) if replaced.is_empty() => {
            let generation = asked.device.map_or(Generation(0), Device::generation).next();
            Decision::Admit { generation, why }
        }
        _ => Decision::Pend(Pending { unknown_key: why.is_none(), replaced }),
    }
}

/// What is known of a device that says hello.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// The claim that matched.
    pub claim: &'a Claim,
    /// The state of its device, if it was seen before.
    pub state: Option<&'a DeviceState>,
    /// Whether the claim or the customer gives it a configuration.
    pub configured: bool,
    /// Whether the customer accepted the terms of service.
    pub terms: Terms,
}

/// Refuses at once what no proof could change, when a device says hello.
///
/// The configuration is not asked for where a token may still bring one.
#[must_use]
pub fn refuse_early(now: Timestamp, found: &Found<'_>, offered: &[ProofKind]) -> Option<Refusal> {
    let Found { claim, state, configured, terms } = *found;
    if let Some(refusal) = state.and_then(state_refusal).or_else(|| claim_refusal(now, claim, terms)) {
        return Some(refusal);
    }
    if !configured && claim.proof != ProofKind::Token {
        return Some(Refusal::of(RefusalKind::NotClaimed));
    }
    match claim.proof {
        ProofKind::Tpm if !offered.contains(&ProofKind::Tpm) => {
            Some(Refusal::said(RefusalKind::ProofRequired, NO_TPM))
        }
        proof if !offered.contains(&proof) => Some(Refusal::said(RefusalKind::ProofRequired, NOT_OFFERED)),
        _ => None,
    }
}

/// What a claim and its customer refuse, whatever the device proves. Stale terms do not: a fleet must
/// not stop because its owner has yet to read a page.
fn claim_refusal(now: Timestamp, claim: &Claim, terms: Terms) -> Option<Refusal> {
    if claim.vacation_at(now).is_some() {
        Some(Refusal::of(RefusalKind::NotClaimed))
    } else if terms == Terms::NotAccepted {
        Some(Refusal::of(RefusalKind::TermsNotAccepted))
    } else {
        None
    }
}

fn state_refusal(state: &DeviceState) -> Option<Refusal> {
    let (kind, message) = state.refusal()?;
    Some(Refusal { kind, message: message.map(str::to_owned), detail: None })
}

/// The generation that this very handshake was granted, by the same key.
fn repeated(device: &Device, asked: &Admission<'_>) -> Option<Generation> {
    let latest = device.latest.as_ref()?;
    let same = device.latest_ticket == Some(asked.ticket) && latest.key.digest() == asked.key;
    same.then_some(latest.generation)
}

/// Holds the evidence against the claim's policy. What proves the device by more than its
/// identifiers also stands for a new key.
fn prove(asked: &Admission<'_>) -> Result<Option<Why>, Refusal> {
    match asked.claim.proof {
        ProofKind::Identifiers => Ok(None),
        ProofKind::Token => match asked.evidence.token {
            TokenEvidence::Known(TokenStanding::Valid) => Ok(Some(Why::Token)),
            TokenEvidence::Known(TokenStanding::Expired) => {
                Err(Refusal::said(RefusalKind::RevokedToken, TOKEN_EXPIRED))
            }
            TokenEvidence::Known(TokenStanding::Revoked) => {
                Err(Refusal::said(RefusalKind::RevokedToken, TOKEN_REVOKED))
            }
            TokenEvidence::Unknown => Err(Refusal::of(RefusalKind::InvalidToken)),
            TokenEvidence::None => Err(Refusal::said(RefusalKind::ProofRequired, NO_TOKEN)),
        },
        ProofKind::RegisteredKey => {
            if asked.claim.sets.registered_keys().any(|key| key == asked.key) {
                Ok(Some(Why::RegisteredKey))
            } else {
                Err(Refusal::said(RefusalKind::ProofRequired, NOT_THE_REGISTERED_KEY))
            }
        }
        ProofKind::Tpm => match asked.evidence.tpm {
            None => Err(Refusal::said(RefusalKind::ProofRequired, NO_TPM)),
            Some(tpm) => match other_tpm(asked.claim, tpm.key) {
                Some(refusal) => Err(refusal),
                None => Ok(is_own_tpm(asked, tpm).then_some(Why::Tpm)),
            },
        },
    }
}

/// Refuses a TPM that is none of those that the claim registers, if it registers any.
#[must_use]
pub fn other_tpm(claim: &Claim, shown: Sha256) -> Option<Refusal> {
    let mut registered = claim.sets.registered_tpm_keys().peekable();
    registered.peek()?;
    let is_registered = registered.any(|key| key == shown);
    (!is_registered).then(|| Refusal::said(RefusalKind::HardwareChanged, OTHER_TPM))
}

/// Whether a TPM that proved itself is known to be this device's: registered, or bound before.
fn is_own_tpm(asked: &Admission<'_>, tpm: &TpmEvidence) -> bool {
    asked.claim.sets.registered_tpm_keys().chain(asked.device.and_then(bound_tpm)).any(|key| key == tpm.key)
}

/// The TPM that a device last proved itself by.
fn bound_tpm(device: &Device) -> Option<Sha256> {
    tpm_of(device.identity.as_ref()?)
}

fn tpm_of(identity: &HardwareIdentity) -> Option<Sha256> {
    identity.of_kind(IdentifierKind::TpmKey).find_map(|one| one.value().parse().ok())
}

/// Whether it is a device with protection that enrolled before.
fn is_kept(asked: &Admission<'_>) -> bool {
    asked.claim.protected && is_bound(asked)
}

fn is_bound(asked: &Admission<'_>) -> bool {
    asked.device.is_some_and(|device| device.latest.is_some())
}

fn allowed_as_new_key(asked: &Admission<'_>) -> Option<Why> {
    if asked.evidence.reset_ticket {
        Some(Why::ResetTicket)
    } else if approved(asked).is_some() {
        Some(Why::Approved)
    } else if !is_bound(asked) && asked.now < asked.claim.activation_ends_at {
        Some(Why::FirstKey)
    } else {
        None
    }
}

fn approved<'a>(asked: &Admission<'a>) -> Option<&'a ApprovalRequest> {
    asked.evidence.request.filter(|request| request.approved_at.is_some() && request.key == asked.key)
}

/// Parts that are neither those of the last enrollment nor those that were approved.
fn unapproved_parts(asked: &Admission<'_>) -> Vec<ReplacedPart> {
    let replaced_since = |last: &HardwareIdentity| {
        let parts = hardware_change(asked.identity, last, asked.rank).map(|change| change.replaced);
        parts.unwrap_or_default().into_iter().chain(replaced_tpm(asked, last)).collect::<Vec<_>>()
    };
    let Some(last) = asked.device.and_then(|device| device.identity.as_ref()) else {
        return Vec::new();
    };
    match approved(asked) {
        Some(request) if replaced_since(&request.identity).is_empty() => Vec::new(),
        _ => replaced_since(last),
    }
}

/// The TPM that proved itself, if it is neither registered nor the one from before.
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
    use super::*;
    use crate::domain::{
        claim::{ClaimSets, Metadata, Vacation},
        device::{Enrollment, StateName},
    };
    use unbox_common::{
        identity::{Identifier, IdentifierKind, Observed, Source},
        ids::{ClaimId, CompanyId, DeviceId},
        matching::IdentifierSet,
        trust::DevicePublicKey,
    };

    const NOW: Timestamp = Timestamp(1000);
    const BOARD: &str = "BOARD1";

    fn key(byte: u8) -> DevicePublicKey {
        DevicePublicKey::from_point(&[&[4][..], &[byte; 64]].concat()).unwrap()
    }

    fn parse(kind: IdentifierKind, value: &str) -> Identifier {
        Identifier::parse(kind, value).unwrap()
    }

    fn identity(board: &str) -> HardwareIdentity {
        let shown = [
            (IdentifierKind::SerialNumber, "S1"),
            (IdentifierKind::Manufacturer, "Acme"),
            (IdentifierKind::Model, "G3"),
            (IdentifierKind::BoardSerial, board),
        ];
        HardwareIdentity::new(
            shown.map(|(kind, value)| Observed { identifier: parse(kind, value), source: Source::Smbios }),
        )
        .unwrap()
    }

    fn tpm_key(byte: u8) -> Identifier {
        parse(IdentifierKind::TpmKey, &Sha256::of(&[byte]).to_string())
    }

    /// A claim whose window is open until 2000, and which registers key 1.
    fn claim(proof: ProofKind) -> Claim {
        let members = [
            parse(IdentifierKind::SerialNumber, "S1"),
            parse(IdentifierKind::Manufacturer, "Acme"),
            parse(IdentifierKind::Model, "G3"),
            parse(IdentifierKind::DeviceKey, &key(1).digest().to_string()),
        ];
        Claim {
            id: ClaimId::new(1).unwrap(),
            customer: CompanyId::new(1).unwrap(),
            reseller: None,
            configuration: None,
            configured_at: NOW,
            proof,
            activation_ends_at: Timestamp(2000),
            sets: ClaimSets::new(vec![IdentifierSet::new(members).unwrap()]),
            order: None,
            metadata: Metadata::default(),
            vacation: None,
            protected: false,
            created_at: NOW,
            created_by: "test".to_owned(),
            released_at: None,
        }
    }

    fn unseen() -> Device {
        Device::new(DeviceId::new(1).unwrap(), ClaimId::new(1).unwrap(), CompanyId::new(1).unwrap(), NOW)
    }

    /// A device that is managed as generation 3 with key 1, and enrolling as generation 4 with key 2.
    fn known() -> Device {
        Device {
            state: DeviceState::Enrolling { generation: Generation(4), since: NOW },
            active: Some(Enrollment { generation: Generation(3), key: key(1) }),
            latest: Some(Enrollment { generation: Generation(4), key: key(2) }),
            latest_ticket: Some(Sha256::of(b"ticket 4")),
            identity: Some(identity(BOARD)),
            ..unseen()
        }
    }

    fn request(key: &DevicePublicKey, board: &str, approved_at: Option<Timestamp>) -> ApprovalRequest {
        ApprovalRequest {
            device: DeviceId::new(1).unwrap(),
            customer: CompanyId::new(1).unwrap(),
            key: key.digest(),
            identity: identity(board),
            replaced: Vec::new(),
            first_at: NOW,
            last_at: NOW,
            count: 1,
            approved_at,
        }
    }

    /// What is asked in one row of a table.
    struct Asked {
        proof: ProofKind,
        device: Option<Device>,
        key: u8,
        board: &'static str,
        ticket: &'static [u8],
        now: Timestamp,
        configured: bool,
        terms: Terms,
        vacation: Option<Vacation>,
        protected: bool,
        token: TokenEvidence,
        reset_ticket: bool,
        request: Option<ApprovalRequest>,
        /// The TPM that proved itself, and those that the claim registers, by a byte each.
        tpm: Option<u8>,
        registered: &'static [u8],
    }

    impl Asked {
        fn new(proof: ProofKind, device: Option<Device>, key: u8) -> Self {
            Self {
                proof,
                device,
                key,
                board: BOARD,
                ticket: b"ticket",
                now: NOW,
                configured: true,
                terms: Terms::Accepted,
                vacation: None,
                protected: false,
                token: TokenEvidence::None,
                reset_ticket: false,
                request: None,
                tpm: None,
                registered: &[],
            }
        }

        fn decide(&self) -> Decision {
            let tpm = self.tpm.map(|tpm| TpmEvidence {
                key: Sha256::of(&[tpm]),
                rooted: true,
                pcrs: [Sha256([0; 32]); QUOTED_PCRS],
            });
            let mut claim = Claim { vacation: self.vacation, protected: self.protected, ..claim(self.proof) };
            let sets = self.registered.iter().map(|tpm| IdentifierSet::new([tpm_key(*tpm)]).unwrap());
            claim.sets = ClaimSets::new(claim.sets.usable().iter().cloned().chain(sets).collect());
            let identity = identity(self.board);
            let shown = self.tpm.map(|tpm| identity.clone().with(tpm_key(tpm), Source::Tpm).unwrap());
            decide(&Admission {
                now: self.now,
                claim: &claim,
                rank: Rank::Serial,
                device: self.device.as_ref(),
                key: key(self.key).digest(),
                identity: shown.as_ref().unwrap_or(&identity),
                ticket: Sha256::of(self.ticket),
                configured: self.configured,
                terms: self.terms,
                evidence: Evidence {
                    token: self.token,
                    reset_ticket: self.reset_ticket,
                    request: self.request.as_ref(),
                    tpm: tpm.as_ref(),
                },
            })
        }

        fn outcome(&self) -> String {
            match self.decide() {
                Decision::Admit { generation, why } => format!("admit {generation} {why}"),
                Decision::Pend(pending) => format!("pend {}", pending.kind()),
                Decision::Refuse(refusal) => format!("refuse {}", refusal.kind),
            }
        }
    }

    use ProofKind::{Identifiers, RegisteredKey, Token, Tpm};
    const VALID: TokenEvidence = TokenEvidence::Known(TokenStanding::Valid);

    #[test]
    fn the_first_key_is_bound_inside_the_window_only() {
        for (now, device, expected) in [
            (0, None, "admit 1 first_key"),
            (1999, None, "admit 1 first_key"),
            (1999, Some(unseen()), "admit 1 first_key"),
            (2000, None, "pend pending_approval"),
            (9999, Some(unseen()), "pend pending_approval"),
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
            let mut asked = Asked::new(proof, Some(known()), key);
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
            (Some(known()), 1, false, None, "admit 5 known_key"),
            (Some(known()), 9, false, None, "pend pending_approval"),
            (Some(known()), 9, true, None, "admit 5 reset_ticket"),
            (Some(known()), 9, false, approved(), "admit 5 approved"),
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
    fn changed_hardware_waits_whatever_was_proven() {
        let changed =
            |proof, key| Asked { board: "BOARD2", token: VALID, ..Asked::new(proof, Some(known()), key) };
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
    fn a_tpm_stands_for_a_new_key_where_it_is_known_to_be_this_devices() {
        // Enrolled before, by the TPM 0xaa.
        let bound = || {
            let identity = identity(BOARD).with(tpm_key(0xaa), Source::Tpm).unwrap();
            Some(Device { identity: Some(identity), ..known() })
        };
        let unbound = || Some(known());
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

    #[test]
    fn another_tpm_waits_for_exactly_its_approval() {
        let with = |board, tpm| identity(board).with(tpm_key(tpm), Source::Tpm).unwrap();
        let device = Device { identity: Some(with(BOARD, 0xaa)), ..known() };
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
    fn only_the_devices_own_key_changes_its_state() {
        let states = |device: Device, key, board| {
            let asked =
                Asked { board, now: Timestamp(5000), ..Asked::new(Identifiers, Some(device.clone()), key) };
            match asked.decide() {
                Decision::Pend(pending) => pending.state_after(&device, NOW).name(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(states(known(), 9, BOARD), StateName::Enrolling);
        assert_eq!(states(known(), 9, "BOARD2"), StateName::Enrolling);
        assert_eq!(states(known(), 1, "BOARD2"), StateName::HardwareChanged);
        assert_eq!(states(unseen(), 9, BOARD), StateName::PendingApproval);
    }

    #[test]
    fn the_same_handshake_is_granted_once() {
        let same = |key| Asked { ticket: b"ticket 4", ..Asked::new(Identifiers, Some(known()), key) };
        assert_eq!(same(2).outcome(), "admit 4 repeated");
        assert_eq!(same(1).outcome(), "admit 5 known_key", "another key that borrows the ticket");
        // What was granted is given again even if a token ran out in between.
        let asked = Asked { proof: Token, token: TokenEvidence::Known(TokenStanding::Expired), ..same(2) };
        assert_eq!(asked.outcome(), "admit 4 repeated");
    }

    #[test]
    fn a_state_that_refuses_comes_before_every_proof() {
        let disabled = known().state.disabled(Some("Lost".to_owned()), NOW).unwrap();
        let deprovisioned = DeviceState::Deprovisioned { since: NOW };
        for (state, expected) in [(disabled, "refuse disabled"), (deprovisioned, "refuse deprovisioned")] {
            let device = Device { state, ..known() };
            let asked = Asked {
                ticket: b"ticket 4",
                reset_ticket: true,
                token: VALID,
                request: Some(request(&key(2), BOARD, Some(NOW))),
                ..Asked::new(Token, Some(device), 2)
            };
            assert_eq!(asked.outcome(), expected);
        }
    }

    #[test]
    fn a_claim_that_gives_nothing_is_as_good_as_none() {
        for (proof, token) in [(Identifiers, TokenEvidence::None), (Token, VALID)] {
            let asked = Asked { configured: false, token, ..Asked::new(proof, None, 9) };
            assert_eq!(asked.outcome(), "refuse not_claimed");
        }
        let no_token = Asked { configured: false, ..Asked::new(Token, None, 9) };
        assert_eq!(no_token.outcome(), "refuse proof_required");
    }

    #[test]
    fn a_claim_on_vacation_is_as_good_as_none_until_it_comes_back() {
        let vacation = Some(Vacation { started_at: Timestamp(500), ends_at: Timestamp(1001) });
        for (now, expected) in [(NOW, "refuse not_claimed"), (Timestamp(1001), "admit 1 first_key")] {
            let asked = Asked { now, vacation, ..Asked::new(Identifiers, None, 9) };
            assert_eq!(asked.outcome(), expected);
            let claim = Claim { vacation, ..claim(Identifiers) };
            let found = Found { claim: &claim, state: None, configured: true, terms: Terms::Accepted };
            let early = refuse_early(now, &found, &ProofKind::ALL).map(|refusal| refusal.kind);
            assert_eq!(early, (now == NOW).then_some(RefusalKind::NotClaimed));
        }
    }

    #[test]
    fn who_never_accepted_the_terms_enrolls_nothing_and_who_has_yet_to_read_new_ones_does() {
        for (terms, expected) in [
            (Terms::NotAccepted, "refuse terms_not_accepted"),
            (Terms::Stale, "admit 1 first_key"),
            (Terms::Accepted, "admit 1 first_key"),
        ] {
            let asked = Asked { terms, ..Asked::new(Identifiers, None, 9) };
            assert_eq!(asked.outcome(), expected);
        }
    }

    #[test]
    fn hello_is_refused_only_for_what_no_proof_changes() {
        let all = ProofKind::ALL;
        let disabled = DeviceState::Claimed.disabled(None, NOW).unwrap();
        for (proof, state, configured, offered, expected) in [
            (Identifiers, None, true, &all[..], None),
            (Identifiers, Some(&disabled), true, &all[..], Some(RefusalKind::Disabled)),
            (Identifiers, None, false, &all[..], Some(RefusalKind::NotClaimed)),
            (Token, None, false, &all[..], None),
            (Token, None, true, &[Identifiers][..], Some(RefusalKind::ProofRequired)),
            (RegisteredKey, None, true, &[][..], Some(RefusalKind::ProofRequired)),
            (Tpm, None, true, &all[..], None),
            (Tpm, None, true, &[Identifiers][..], Some(RefusalKind::ProofRequired)),
        ] {
            let claim = claim(proof);
            let found = Found { claim: &claim, state, configured, terms: Terms::Accepted };
            let refusal = refuse_early(NOW, &found, offered);
            assert_eq!(refusal.map(|one| one.kind), expected, "{proof} {offered:?}");
        }
    }
}
