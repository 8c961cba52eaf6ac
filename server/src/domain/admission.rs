//! Who gets in: a pure function of the claim, the device as it is known, and what was proven.
//!
//! The rules, in this order (DESIGN.md, sections 2, 3 and 6):
//!
//! 1. A device that is disabled or deprovisioned is refused, whatever it proves.
//! 2. A claim that gives no configuration is as good as none.
//! 3. What the claim asks for must be proven: a token, the registered key, a TPM.
//! 4. The key must be one that the device is bound to, or there must be a reason for a new one:
//!    it is the first inside the activation window, the proof of rule 3 stands for it, a reset
//!    ticket was given, or an administrator approved exactly this key. Else the key waits.
//! 5. Hardware that changed since the device last enrolled waits until it is approved.
//!
//! Nothing here evicts a working key: a grant only adds a generation, and the generation before
//! it stays good until the new one is complete.

use super::{
    claim::Claim,
    device::{ApprovalRequest, Device, DeviceState},
    token::TokenStanding,
    words::words,
};
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, Rank},
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
    pub detail: Option<&'static str>,
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
        Self { kind, message: None, detail: Some(detail) }
    }
}

const NO_TPM_YET: &str = "The owner of this device asks for a TPM proof, which this version of the server cannot check yet. An administrator can set another proof for its claim.";
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

/// Refuses at once what no proof could change, when a device says hello.
///
/// The configuration is not asked for where a token may still bring one.
#[must_use]
pub fn refuse_early(
    claim: &Claim,
    state: Option<&DeviceState>,
    configured: bool,
    offered: &[ProofKind],
) -> Option<Refusal> {
    if let Some(refusal) = state.and_then(state_refusal) {
        return Some(refusal);
    }
    if !configured && claim.proof != ProofKind::Token {
        return Some(Refusal::of(RefusalKind::NotClaimed));
    }
    match claim.proof {
        ProofKind::Tpm => Some(Refusal::said(RefusalKind::ProofRequired, NO_TPM_YET)),
        proof if !offered.contains(&proof) => Some(Refusal::said(RefusalKind::ProofRequired, NOT_OFFERED)),
        _ => None,
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
        ProofKind::Tpm => Err(Refusal::said(RefusalKind::ProofRequired, NO_TPM_YET)),
    }
}

fn allowed_as_new_key(asked: &Admission<'_>) -> Option<Why> {
    let bound = asked.device.is_some_and(|device| device.latest.is_some());
    if asked.evidence.reset_ticket {
        Some(Why::ResetTicket)
    } else if approved(asked).is_some() {
        Some(Why::Approved)
    } else if !bound && asked.now < asked.claim.activation_ends_at {
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
    let changed_from = |last: &HardwareIdentity| hardware_change(asked.identity, last, asked.rank);
    let Some(change) = asked.device.and_then(|device| device.identity.as_ref()).and_then(changed_from) else {
        return Vec::new();
    };
    match approved(asked) {
        Some(request) if changed_from(&request.identity).is_none() => Vec::new(),
        _ => change.replaced,
    }
}
