//! Fixtures for tests of admission: one claim, one device, and one table row of inputs.

use super::{Admission, Decision, Evidence, TokenEvidence, TpmEvidence, decide};
use crate::domain::{
    claims::claim::{Claim, ClaimSets, Metadata, Vacation},
    devices::{
        device::{ApprovalRequest, Device, DeviceState, Enrollment, Tie},
        token::TokenStanding,
    },
    tenancy::company::Terms,
};
use unbox_common::{
    attestation::QUOTED_PCRS,
    digest::Sha256,
    identity::{HardwareIdentity, Identifier, IdentifierKind, Observed, Rank, Source},
    ids::{ClaimId, CompanyId, DeviceId, Generation},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
    timestamp::Timestamp,
    trust::DevicePublicKey,
};

pub(super) const NOW: Timestamp = Timestamp(1000);
pub(super) const BOARD: &str = "BOARD1";
/// A valid token of the customer.
pub(super) const VALID: TokenEvidence = TokenEvidence::Known(TokenStanding::Valid);

pub(super) fn key(byte: u8) -> DevicePublicKey {
    DevicePublicKey::from_point(&[&[4][..], &[byte; 64]].concat()).unwrap()
}

fn parse(kind: IdentifierKind, value: &str) -> Identifier {
    Identifier::parse(kind, value).unwrap()
}

pub(super) fn identity(board: &str) -> HardwareIdentity {
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

pub(super) fn tpm_key(byte: u8) -> Identifier {
    parse(IdentifierKind::TpmKey, &Sha256::of(&[byte]).to_string())
}

/// Returns a claim that registers key 1 and whose activation window is open until 2000.
pub(super) fn claim(proof: ProofKind) -> Claim {
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
        collision: None,
        released_at: None,
    }
}

pub(super) fn unseen_device() -> Device {
    Device::new(DeviceId::new(1).unwrap(), ClaimId::new(1).unwrap(), CompanyId::new(1).unwrap(), NOW)
}

/// Returns a device that is managed as generation 3 with key 1, and enrolling as generation 4 with key 2.
pub(super) fn known_device() -> Device {
    Device {
        state: DeviceState::Enrolling { generation: Generation(4), since: NOW },
        active: Some(Enrollment { generation: Generation(3), key: key(1) }),
        latest: Some(Enrollment { generation: Generation(4), key: key(2) }),
        latest_ticket: Some(Sha256::of(b"ticket 4")),
        identity: Some(identity(BOARD)),
        ..unseen_device()
    }
}

pub(super) fn request(key: &DevicePublicKey, board: &str, approved_at: Option<Timestamp>) -> ApprovalRequest {
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
        source: None,
        tie: Tie::None,
    }
}

/// The inputs of one row of a table.
#[expect(clippy::struct_excessive_bools, reason = "a row of a table of cases")]
pub(super) struct Asked {
    pub(super) proof: ProofKind,
    pub(super) device: Option<Device>,
    pub(super) key: u8,
    pub(super) certified: Option<Generation>,
    pub(super) board: &'static str,
    pub(super) ticket: &'static [u8],
    pub(super) now: Timestamp,
    pub(super) configured: bool,
    pub(super) terms: Terms,
    pub(super) vacation: Option<Vacation>,
    pub(super) protected: bool,
    pub(super) token: TokenEvidence,
    pub(super) reset_ticket: bool,
    pub(super) request: Option<ApprovalRequest>,
    /// The TPM that proved itself, and those that the claim registers, one byte each.
    pub(super) tpm: Option<u8>,
    pub(super) registered: &'static [u8],
    pub(super) rank: Rank,
    /// The identity that is shown instead of the usual one with `board`.
    pub(super) shown: Option<HardwareIdentity>,
    /// True if the key belongs to another device.
    pub(super) copied_key: bool,
}

impl Asked {
    pub(super) fn new(proof: ProofKind, device: Option<Device>, key: u8) -> Self {
        Self {
            proof,
            device,
            key,
            certified: None,
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
            rank: Rank::Serial,
            shown: None,
            copied_key: false,
        }
    }

    pub(super) fn decide(&self) -> Decision {
        let tpm = self.tpm.map(|tpm| TpmEvidence {
            key: Sha256::of(&[tpm]),
            rooted: true,
            pcrs: [Sha256([0; 32]); QUOTED_PCRS],
        });
        let mut claim = Claim { vacation: self.vacation, protected: self.protected, ..claim(self.proof) };
        let sets = self.registered.iter().map(|tpm| IdentifierSet::new([tpm_key(*tpm)]).unwrap());
        claim.sets = ClaimSets::new(claim.sets.usable().iter().cloned().chain(sets).collect());
        let identity = self.shown.clone().unwrap_or_else(|| identity(self.board));
        let shown = self.tpm.map(|tpm| identity.clone().with_identifier(tpm_key(tpm), Source::Tpm).unwrap());
        decide(&Admission {
            now: self.now,
            claim: &claim,
            rank: self.rank,
            device: self.device.as_ref(),
            key: key(self.key).digest(),
            certified: self.certified,
            copied_key: self.copied_key,
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

    pub(super) fn outcome(&self) -> String {
        match self.decide() {
            Decision::Admit { generation, why } => format!("admit {generation} {why}"),
            Decision::Pend(pending) => format!("pend {}", pending.kind()),
            Decision::Refuse(refusal) => format!("refuse {}", refusal.kind),
        }
    }
}
