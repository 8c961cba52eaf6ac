//! `hello`: finds the claim, and refuses a device that no proof could help. It stores nothing.

use super::{
    Guess, check_agent_version, read_message,
    ticket::{Challenged, Notes, PriorNotes},
    tpm::Sealed,
};
use crate::{
    domain::{
        claims::claim::{Claim, Collision, Sought},
        devices::{
            admission::{Found, Refusal, is_own_tpm, refuse_early, registered_identifiers},
            device::Device,
            token::{Token, TokenStanding, standing},
        },
        tenancy::{
            actor::Scope,
            audit::{Action, Event, Subject},
        },
    },
    entropy,
    service::{CertifiedEnrollment, DeviceIdentityCert, Devices, ServiceError, core::A_DEVICE},
    store::{ClaimCandidate, MAX_NEAR, Reader, StoreError},
};
use serde_json::json;
use std::{collections::BTreeSet, sync::Arc};
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, Identifier, IdentifierKind, Rank, RawIdentifier, Source},
    ids::ClaimId,
    machine::contradictions,
    matching::{Match, Reason, match_claims},
    protocol::{
        latest::{Challenge, Hello, PROTOCOL_VERSION, ProofKind},
        limits::{MAX_HELLO_BYTES, MAX_PRIOR_CERTIFICATE_BYTES, MAX_TICKET_BYTES},
    },
    refusal::RefusalKind,
    timestamp::Timestamp,
};

/// The maximum number of owners that are notified of a collision. A device has fewer identifiers by which
/// claims are found, and each is held by one owner.
const MAX_SIDES: usize = 32;

/// A hello whose form and identifiers are valid.
#[derive(Debug, Clone)]
pub struct HelloRequest {
    pub(super) message: Hello,
    pub(super) digest: Sha256,
    pub(super) identity: HardwareIdentity,
}

impl HelloRequest {
    /// Reads the exact bytes of a hello.
    ///
    /// # Errors
    /// A refusal of kind `unsupported_protocol` or `invalid_identifier`.
    pub fn read(body: &[u8]) -> Result<Self, ServiceError> {
        let message: Hello = read_message(body, MAX_HELLO_BYTES)?;
        if message.protocol != PROTOCOL_VERSION {
            let detail = format!("This server speaks version {PROTOCOL_VERSION} of the protocol.");
            return Err(ServiceError::refusal_with_detail(RefusalKind::UnsupportedProtocol, detail));
        }
        check_agent_version(&message.agent_version)?;
        let identity = identity_of(&message)
            .map_err(|problem| ServiceError::refusal_with_detail(RefusalKind::InvalidIdentifier, problem))?;
        Ok(Self { digest: Sha256::of(body), identity, message })
    }
}

/// The result of a hello.
#[derive(Debug)]
pub struct Heard {
    /// The answer.
    pub answer: Result<Challenge, ServiceError>,
    /// True if a claim matched: guessing must not yield an answer that reveals this.
    pub is_claimed: bool,
    /// The guesses by which a claim matched; all of them where none did.
    pub deciding: Vec<Guess>,
    /// All guesses of this hello, whether they matched or not.
    pub guesses: Vec<Guess>,
    claim: Option<ClaimId>,
    introduction: Introduction,
}

/// A device's introduction beside its identifiers.
#[derive(Debug, Clone, Copy)]
struct Introduction {
    key: Sha256,
    tpm: Option<Sha256>,
    token_digest: Option<Sha256>,
}

impl Devices {
    /// Answers a hello: [`Devices::read_hello`], then [`Devices::challenge`].
    pub async fn hello(&self, body: &[u8]) -> Result<Challenge, ServiceError> {
        self.challenge(self.read_hello(body)?).await
    }

    /// Reads a hello, and counts it if it is refused.
    ///
    /// # Errors
    /// Those of [`HelloRequest::read`].
    pub fn read_hello(&self, body: &[u8]) -> Result<HelloRequest, ServiceError> {
        HelloRequest::read(body).inspect_err(|error| {
            if let ServiceError::Refused(problem) = error {
                let refusal = Refusal::of(problem.kind);
                self.core.note_refusal(
                    self.core.now(),
                    Subject::Unknown,
                    None,
                    &refusal,
                    json!({"detail": problem.detail}),
                );
            }
        })
    }

    /// Challenges the device that said hello, or refuses it if no proof could help. Only the count of
    /// refusals is stored.
    ///
    /// # Errors
    /// A refusal. An unknown device and one whose claim gives it no configuration get the same bytes.
    pub async fn challenge(&self, hello: HelloRequest) -> Result<Challenge, ServiceError> {
        self.examine_hello(hello).await?.answer
    }

    /// Examines a hello as [`Self::challenge`] does, for a caller who may withhold the answer.
    ///
    /// # Errors
    /// Returns failures of the server; a refusal is an answer.
    pub async fn examine_hello(&self, hello: HelloRequest) -> Result<Heard, ServiceError> {
        let now = self.core.now();
        let refuse = |kind| Err(self.core.refuse(Refusal::of(kind)));
        let (answer, by, claim) = match self.find_claim(now, &hello).await? {
            Sighted::One(found, reason) => {
                let claim = found.claim.id;
                (self.answer(now, &hello, &found, &reason), Some(reason), Some(claim))
            }
            Sighted::Several(reasons) => {
                (refuse(RefusalKind::AmbiguousIdentity), reasons.into_iter().next(), None)
            }
            Sighted::None => (refuse(RefusalKind::NotClaimed), None, None),
        };
        let guesses = Guess::all(&hello.identity);
        let deciding =
            by.as_ref().map_or_else(|| guesses.clone(), |reason| Guess::from_reason(&hello.identity, reason));
        Ok(Heard {
            answer,
            is_claimed: by.is_some(),
            deciding,
            guesses,
            claim,
            introduction: Introduction {
                key: hello.message.device_key.digest(),
                tpm: hello.message.tpm.as_ref().map(|tpm| Sha256::of(tpm.endorsement_key.as_ref())),
                token_digest: hello.message.token_digest,
            },
        })
    }

    /// Returns true if the device behind this hello has more than identifiers: a key, its own or its TPM's,
    /// that the claim or its device knows, the device's certificate, or a token of its owner. Other clients'
    /// guesses from the same address must not affect such a device. The mere introduction of a TPM is not
    /// enough: the certificates of all TPMs in the world are public.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn has_more_than_identifiers(
        &self,
        heard: &Heard,
        certificate: Option<DeviceIdentityCert>,
    ) -> Result<bool, ServiceError> {
        let Some(claim) = heard.claim else { return Ok(false) };
        let (shown, now) = (heard.introduction, self.core.now());
        self.core.read(move |reader| has_more(reader, shown, claim, certificate, now)).await
    }

    /// Returns the answer to a device whose claim was found.
    fn answer(
        &self,
        now: Timestamp,
        hello: &HelloRequest,
        found: &ClaimCandidate,
        reason: &Reason,
    ) -> Result<Challenge, ServiceError> {
        let configured = found.default_configuration || found.claim.configuration.is_some();
        let state = found.device_state.as_ref();
        let seen = Found { claim: &found.claim, state, configured, terms: found.terms };
        if let Some(refusal) = refuse_early(now, &seen, &hello.message.proofs) {
            let (subject, customer) = (Subject::Claim(found.claim.id), Some(found.claim.customer));
            self.core.note_refusal(now, subject, customer, &refusal, json!({"configured": configured}));
            return Err(self.core.refuse(refusal));
        }
        let Sealed { notes: tpm, credential } = match self.seal_for_tpm(&found.claim, hello, now)? {
            Ok(sealed) => sealed,
            Err(refusal) => {
                let (subject, customer) = (Subject::Claim(found.claim.id), Some(found.claim.customer));
                self.core.note_refusal(now, subject, customer, &refusal, json!({"detail": refusal.detail}));
                return Err(self.core.refuse(refusal));
            }
        };
        let server_nonce = entropy::nonce(&*self.core.entropy)?;
        let proof = found.claim.proof;
        let prior = self.attested_enrollment(&hello.message);
        let given =
            Challenged { server_nonce, proof, claim: reason.claim, rank: reason.rank, tpm, prior, now };
        let ticket = self.core.signer.seal_ticket(&Notes::new(hello, given).to_bytes())?;
        if ticket.len() > MAX_TICKET_BYTES {
            let detail = "The identifiers are too long to be taken together.";
            return Err(ServiceError::refusal_with_detail(RefusalKind::InvalidIdentifier, detail));
        }
        Ok(Challenge { ticket: ticket.into(), nonce: server_nonce, proof, tpm: credential })
    }

    /// Returns the enrollment that the hello's certificate attests, if this server issued it for the
    /// hello's key.
    fn attested_enrollment(&self, hello: &Hello) -> Option<PriorNotes> {
        let shown = hello.enrollment.as_ref()?.certificate.as_ref();
        let certified = Some(shown)
            .filter(|der| der.len() <= MAX_PRIOR_CERTIFICATE_BYTES)
            .and_then(|der| self.core.signer.read_certificate(der))
            .filter(|certified| certified.key == hello.device_key)?;
        let CertifiedEnrollment { device, generation, owner, .. } = certified;
        Some(PriorNotes { device, generation, owner })
    }

    /// Finds the claim that a device belongs to. If there is none, or there are several owners, the owners
    /// concerned are notified.
    async fn find_claim(&self, now: Timestamp, hello: &HelloRequest) -> Result<Sighted, ServiceError> {
        let sought = Sought::of(&hello.identity);
        let by = sought.clone();
        let mut candidates = self.core.read(move |reader| reader.claims_found_by(&by)).await?;
        let mut known: Vec<_> = candidates.iter().map(|one| one.claim.registered_claim()).collect();
        if known.len() > 1 {
            // Earlier enrollments matter only if there are several claims.
            let ids: Vec<ClaimId> = known.iter().map(|one| one.claim).collect();
            let devices = self.core.read(move |reader| reader.devices_of_claims(&ids)).await?;
            let key = hello.message.device_key.digest();
            for one in &mut known {
                let device = devices.iter().find(|device| device.claim == one.claim);
                one.bound = device.and_then(|device| device.bound_state(key));
            }
        }
        let reason = match match_claims(&hello.identity, &known) {
            Match::Claim(reason) => match_by_hardware(&hello.identity, &candidates, reason),
            Match::Contested { reason, others } => {
                let sides: Vec<Reason> = [reason.clone()].into_iter().chain(others).collect();
                self.note_collision(now, Action::ClaimContested, &sides);
                reason
            }
            Match::Ambiguous(reasons) => {
                self.note_collision(now, Action::Refused, &reasons);
                return Ok(Sighted::Several(reasons));
            }
            Match::None { .. } => {
                let lookups = sought.lookups;
                let near = self.core.read(move |reader| reader.claims_near(&lookups)).await?;
                let near: Vec<_> = near.iter().map(Claim::registered_claim).collect();
                self.note_unclaimed(now, match_claims(&hello.identity, &near));
                return Ok(Sighted::None);
            }
        };
        let found = candidates.iter().position(|one| one.claim.id == reason.claim);
        Ok(found.map_or(Sighted::None, |at| Sighted::One(Box::new(candidates.swap_remove(at)), reason)))
    }

    /// Counts a device that matched no claim completely, and tells the owners of partly matching claims
    /// which identifiers matched.
    fn note_unclaimed(&self, now: Timestamp, matched: Match) {
        let refusal = Refusal::of(RefusalKind::NotClaimed);
        let near = match matched {
            Match::None { near } => near,
            _ => Vec::new(),
        };
        if near.is_empty() {
            self.core.note_refusal(now, Subject::Unknown, None, &refusal, json!({}));
        }
        for reason in near.iter().take(MAX_NEAR) {
            let detail = json!({"rank": reason.rank, "identifiers": reason.identifiers});
            self.core.note_refusal(now, Subject::Claim(reason.claim), Some(reason.owner), &refusal, detail);
        }
    }

    /// Notifies the administrators of every side that claims of several owners match one device, in the
    /// audit trail and in the claims. Each side learns its own identifiers, and only the kinds of the
    /// others', whose values are confidential.
    fn note_collision(&self, at: Timestamp, action: Action, reasons: &[Reason]) {
        let mut owners = BTreeSet::new();
        for side in reasons.iter().filter(|one| owners.insert(one.owner)).take(MAX_SIDES) {
            let others = reasons.iter().filter(|one| one.owner != side.owner);
            let collision =
                Collision { at, identifiers: side.identifiers.clone(), others_kinds: kinds_of(others) };
            let detail = json!({
                "kind": RefusalKind::AmbiguousIdentity,
                "rank": side.rank,
                "identifiers": collision.identifiers,
                "others_kinds": collision.others_kinds,
            });
            let event = Event {
                at,
                actor: A_DEVICE.to_owned(),
                company: None,
                action,
                subject: Subject::Claim(side.claim),
                customer: Some(side.owner),
                detail,
            };
            let (ids, claim) = (Arc::clone(&self.core.ids), side.claim);
            self.core.store.write_soon(move |tx| {
                tx.append(ids.next(at), event.clone());
                tx.set_collision(claim, Some(&collision))
            });
        }
    }
}

/// Returns true if a device shows more than identifiers: what the claim or its device knows.
fn has_more(
    reader: &mut Reader,
    shown: Introduction,
    claim: ClaimId,
    certificate: Option<DeviceIdentityCert>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(claim) = reader.claim(Scope::Operator, claim)? else { return Ok(false) };
    if claim.sets.registered_keys().any(|key| key == shown.key) {
        return Ok(true);
    }
    let device = reader.device_of_claim(claim.id)?;
    let knows_tpm = |tpm| claim.proof == ProofKind::Tpm && is_own_tpm(&claim, device.as_ref(), tpm);
    if shown.tpm.is_some_and(knows_tpm) {
        return Ok(true);
    }
    let is_own = |device: &Device| {
        device.knows_key(shown.key) || certificate.is_some_and(|certificate| certificate.device == device.id)
    };
    if device.as_ref().is_some_and(is_own) {
        return Ok(true);
    }
    let token = match shown.token_digest {
        Some(digest) => reader.token_by_digest(claim.customer, digest)?,
        None => None,
    };
    let is_valid = |token: Token| standing(token.expires_at, token.revoked_at, now) == TokenStanding::Valid;
    Ok(claim.proof == ProofKind::Token && token.is_some_and(is_valid))
}

/// The claims that a device matched completely.
enum Sighted {
    One(Box<ClaimCandidate>, Reason),
    Several(Vec<Reason>),
    None,
}

/// Returns the kinds of identifier that claims matched by.
fn kinds_of<'r>(reasons: impl Iterator<Item = &'r Reason>) -> BTreeSet<IdentifierKind> {
    let texts = reasons.flat_map(|one| &one.identifiers);
    texts.filter_map(|text| text.split_once(' ')?.0.parse().ok()).collect()
}

/// Returns the claim that the hardware belongs to. A key that was copied with a disk or an image matches
/// the claim that it was registered for; a machine that shows other identifiers than that claim registers,
/// and that has a claim of its own, is matched to its own.
fn match_by_hardware(identity: &HardwareIdentity, candidates: &[ClaimCandidate], by_key: Reason) -> Reason {
    let contradicted = candidates.iter().any(|one| {
        one.claim.id == by_key.claim
            && !contradictions(identity, &registered_identifiers(&one.claim)).is_empty()
    });
    if by_key.rank != Rank::Key || !contradicted {
        return by_key;
    }
    let others = candidates.iter().filter(|one| one.claim.id != by_key.claim);
    match match_claims(identity, &others.map(|one| one.claim.registered_claim()).collect::<Vec<_>>()) {
        Match::Claim(own) | Match::Contested { reason: own, .. } => own,
        _ => by_key,
    }
}

/// Returns the identifiers of a hello, and the keys that the handshake may prove. A device key in the list
/// is an unproven statement and must equal the hello's key; a TPM key counts only as that of the TPM that
/// introduces itself.
fn identity_of(hello: &Hello) -> Result<HardwareIdentity, String> {
    let key = |kind, digest: Sha256| {
        Identifier::parse(kind, &digest.to_string()).map_err(|error| error.to_string())
    };
    let own = key(IdentifierKind::DeviceKey, hello.device_key.digest())?;
    let is_key = |one: &&RawIdentifier| one.kind == IdentifierKind::DeviceKey;
    if hello.identity.iter().filter(is_key).any(|one| one.value != own.value()) {
        return Err("device_key is not the key of this handshake".to_owned());
    }
    let proved_otherwise = |one: &&RawIdentifier| is_key(one) || one.kind == IdentifierKind::TpmKey;
    let mut raw: Vec<RawIdentifier> =
        hello.identity.iter().filter(|one| !proved_otherwise(one)).cloned().collect();
    if let Some(tpm) = &hello.tpm {
        let tpm = key(IdentifierKind::TpmKey, Sha256::of(tpm.endorsement_key.as_ref()))?;
        let value = tpm.value().to_owned();
        raw.push(RawIdentifier { kind: IdentifierKind::TpmKey, value, source: Source::Tpm });
    }
    HardwareIdentity::from_raw(&raw)
        .and_then(|identity| identity.with_identifier(own, Source::Key))
        .map_err(|error| error.to_string())
}
