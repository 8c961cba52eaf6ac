//! `prove`: checks the device's signature, then decides and writes in one transaction.
//!
//! Certificate and payload are only made once that is on disk: if the server dies in between, the device
//! proves again with the same ticket and gets the same generation.

use super::{
    prior_facts::{certified_device, find_copied_holders, with_certified_device},
    read_message,
    ticket::Notes,
    tpm::check_answer,
};
use crate::{
    domain::{
        catalogue::configuration::{Assigned, Recipient},
        claims::claim::Claim,
        devices::{
            admission::{
                Admission, Decision, Evidence, Pending, Refusal, TokenEvidence, TpmEvidence, Why, decide,
                is_own_tpm,
            },
            device::{ApprovalRequest, Device, Enrollment, Tie},
            network::Network,
            token::{TokenStanding, secret_digest, standing},
        },
        name::Name,
        tenancy::audit::{Action, Subject},
    },
    service::{
        CertifiedEnrollment, DeviceIdentityCert, Devices, ServiceError,
        core::{device_event, refusal_event},
    },
    store::{EnrollmentFacts, OtherHolder, ShownSecrets, TokenFacts, Tx},
};
use serde_json::json;
use std::sync::Arc;
use unbox_common::{
    digest::Sha256,
    identity::HardwareIdentity,
    ids::{CompanyId, DeviceId, Generation},
    matching::ReplacedPart,
    protocol::{
        latest::{Grant, ProofKind, Prove},
        limits::MAX_PROVE_BYTES,
        transcript::transcript,
    },
    refusal::RefusalKind,
    timestamp::Timestamp,
};

const COPIED_KEY: &str = "This device's key is that of another device: a disk or an image was copied. Reset the \
    device, so that it makes a key of its own.";

impl Devices {
    /// Checks the proof and enrolls the device: [`Devices::read_prove`], then [`Devices::grant`].
    ///
    /// # Errors
    /// Those of the two methods.
    pub async fn prove(&self, body: &[u8]) -> Result<Grant, ServiceError> {
        self.grant(self.read_prove(body, Origin::default())?).await
    }

    /// Reads the exact bytes of a proof, and checks everything about it that needs no database.
    ///
    /// # Errors
    /// A refusal, which is counted.
    pub fn read_prove(&self, body: &[u8], origin: Origin) -> Result<Proof, ServiceError> {
        let message: Prove = read_message(body, MAX_PROVE_BYTES)?;
        Ok(Proof { origin, ..self.check(&message, self.core.now())? })
    }

    /// Enrolls the device.
    ///
    /// Repeating the same proof while its ticket is valid gives the same generation, because the answer may
    /// have been lost.
    ///
    /// # Errors
    /// A refusal; nothing but records for the administrator has changed in that case.
    pub async fn grant(&self, proof: Proof) -> Result<Grant, ServiceError> {
        let proof = Arc::new(proof);
        let (this, job) = (self.clone(), Arc::clone(&proof));
        let outcome = self.core.store.write(move |tx| this.enroll(tx, &job)).await?;
        match outcome {
            Outcome::Granted(granted) => self.issue(&proof, &granted).await,
            Outcome::Refused(refusal) => Err(self.core.refuse(refusal)),
        }
    }

    fn check(&self, message: &Prove, now: Timestamp) -> Result<Proof, ServiceError> {
        const STRANGE: &str =
            "The ticket is not one of this server's, or older than its keys. Start again with hello.";
        const LATE: &str = "The ticket has expired. Start again with hello.";
        const WRONG: &str = "The signature is not that of the device's key over this handshake.";
        let sealed = message.ticket.as_ref();
        let refuse = |subject, refusal: Refusal| {
            self.core.note_refusal(now, subject, None, &refusal, json!({}));
            self.core.refuse(refusal)
        };
        let strange = || refuse(Subject::Unknown, Refusal::with_detail(RefusalKind::ClockSkew, STRANGE));
        let plain = self.core.signer.open_ticket(sealed).ok_or_else(strange)?;
        let notes = Notes::from_bytes(&plain).ok_or_else(strange)?;
        let identity = notes.identity().ok_or_else(strange)?;
        if !notes.is_in_time(now, self.core.settings.ticket_lifetime) {
            let late = Refusal::with_detail(RefusalKind::ClockSkew, LATE);
            return Err(refuse(Subject::Claim(notes.claim), late));
        }
        let signed = transcript(notes.hello, sealed, &notes.server_nonce, notes.proof);
        if !notes.key.verifies(&signed, &message.signature) {
            let wrong = Refusal::with_detail(RefusalKind::ProofRequired, WRONG);
            return Err(refuse(Subject::Claim(notes.claim), wrong));
        }
        let tpm = check_answer(&notes, message, &signed).map_err(|why| {
            refuse(Subject::Claim(notes.claim), Refusal::with_detail(RefusalKind::ProofRequired, why))
        })?;
        let shown = ShownSecrets {
            key: notes.key.digest(),
            token: message.token.as_ref().and_then(secret_digest),
            reset_ticket: message.reset_ticket.as_ref().and_then(secret_digest),
        };
        let sent_token = message.token.is_some();
        let (ticket, origin) = (Sha256::of(sealed), Origin::default());
        Ok(Proof { notes, identity, tpm, ticket, shown, sent_token, origin, now })
    }

    /// Decides and writes the consequences. Runs inside the write transaction, perhaps more than once.
    fn enroll(&self, tx: &mut Tx, proof: &Proof) -> Result<Outcome, ServiceError> {
        let shown = (&proof.notes.key, proof.shown);
        let Some(facts) = tx.enrollment_facts(proof.notes.claim, shown, proof.now)? else {
            return Ok(Outcome::Refused(Refusal::of(RefusalKind::NotClaimed)));
        };
        let token = facts.token.filter(|one| proof.token_standing(one) == TokenStanding::Valid);
        let given = granted_configuration(&facts, token.as_ref());
        let certified = certified_device(tx, proof, &facts)?;
        let copies = find_copied_holders(tx, proof, &facts)?;
        let decision = decide(&Admission {
            now: proof.now,
            claim: &facts.claim,
            rank: proof.notes.rank,
            device: certified.as_ref().map(|(device, _)| device).or(facts.device.as_ref()),
            key: proof.shown.key,
            certified: certified.as_ref().map(|(_, generation)| *generation),
            copied_key: !copies.is_empty(),
            identity: &proof.identity,
            ticket: proof.ticket,
            configured: given.is_some(),
            terms: facts.terms,
            evidence: Evidence {
                token: proof.token_evidence(&facts),
                reset_ticket: facts.reset_ticket,
                request: facts.request.as_ref(),
                tpm: proof.tpm.as_ref(),
            },
        });
        match (decision, given) {
            (Decision::Admit { generation, why }, Some(given)) => {
                let facts = with_certified_device(tx, facts, certified)?;
                let granted = Granted::new(&facts, generation, given);
                self.admit(tx, proof, facts, granted, why)
            }
            (Decision::Admit { .. }, None) => Ok(Outcome::Refused(Refusal::of(RefusalKind::NotClaimed))),
            (Decision::Pend(pending), _) => {
                if pending.copied_key {
                    self.note_copies(tx, proof.now, &copies);
                }
                self.hold(tx, proof, facts, &pending)
            }
            (Decision::Refuse(refusal), _) => {
                let subject = subject_of(&facts);
                let event =
                    refusal_event(proof.now, subject, Some(facts.claim.customer), &refusal, json!({}));
                tx.append(self.core.ids.next(proof.now), event);
                Ok(Outcome::Refused(refusal))
            }
        }
    }

    fn admit(
        &self,
        tx: &mut Tx,
        proof: &Proof,
        facts: EnrollmentFacts,
        mut granted: Granted,
        why: Why,
    ) -> Result<Outcome, ServiceError> {
        let now = proof.now;
        if why == Why::Repeated {
            return Ok(Outcome::Granted(Box::new(granted)));
        }
        let EnrollmentFacts { claim, device, token, .. } = facts;
        let mut device =
            device.unwrap_or_else(|| Device::new(self.core.ids.device(now), claim.id, claim.customer, now));
        device.state = device.state.grant(granted.generation, now)?;
        device.latest = Some(Enrollment { generation: granted.generation, key: proof.notes.key.clone() });
        device.latest_ticket = Some(proof.ticket);
        device.bound_at = device.bound_at.or(Some(now));
        device.source = proof.origin.network.or(device.source);
        device.identity = Some(proof.identity.clone());
        device.last_said.at = Some(now);
        device.last_said.agent_version = Some(proof.notes.agent_version.clone());
        if granted.by_token {
            let at = tx.next_version(claim.customer, now)?;
            tx.set_claim_configuration(claim.id, Some(granted.assigned.configuration), at)?;
            granted.assigned.assigned_at = at;
        }
        if let Some(reached) = proof.reached_version(why) {
            device.lead_versions_above(reached, &granted.assigned, now);
        }
        tx.save_device(&device)?;
        (granted.device, granted.version_lead) = (Some(device.id), device.version_lead);
        if let (Why::ResetTicket, Some(digest)) = (why, proof.shown.reset_ticket) {
            tx.use_reset_ticket(digest, now)?;
        }
        // A collision from before this hello is over.
        if claim.collision.as_ref().is_some_and(|one| one.at < proof.notes.issued_at) {
            tx.set_collision(claim.id, None)?;
        }
        let detail = json!({
            "generation": granted.generation,
            "why": why,
            "proof": claim.proof,
            "claim": claim.id,
            "key": proof.shown.key,
            "token": token.filter(|_| claim.proof == ProofKind::Token).map(|one| one.id),
            "agent_version": proof.notes.agent_version,
            "tpm": proof.tpm,
        });
        let event = device_event(now, Action::Granted, device.id, &device, detail);
        tx.append(self.core.ids.next(now), event);
        Ok(Outcome::Granted(Box::new(granted)))
    }

    fn hold(
        &self,
        tx: &mut Tx,
        proof: &Proof,
        facts: EnrollmentFacts,
        pending: &Pending,
    ) -> Result<Outcome, ServiceError> {
        let now = proof.now;
        let EnrollmentFacts { claim, device: known, .. } = facts;
        let mut device = known
            .clone()
            .unwrap_or_else(|| Device::new(self.core.ids.device(now), claim.id, claim.customer, now));
        device.state = pending.state_after(&device, now);
        if known.as_ref() != Some(&device) {
            tx.save_device(&device)?;
        }
        tx.save_request(&ApprovalRequest {
            device: device.id,
            customer: device.customer,
            key: proof.shown.key,
            identity: proof.identity.clone(),
            replaced: pending.replaced.clone(),
            first_at: now,
            last_at: now,
            count: 1,
            approved_at: None,
            source: proof.origin.network,
            tie: proof.strongest_tie(&claim, &device),
        })?;
        let detail = json!({
            "kind": pending.kind(),
            "key": proof.shown.key,
            "unknown_key": pending.unknown_key,
            "copied_key": pending.copied_key,
            "replaced": pending.replaced,
        });
        let event = device_event(now, Action::ApprovalRequested, device.id, &device, detail);
        tx.append(self.core.ids.next(now), event);
        Ok(Outcome::Refused(if pending.copied_key {
            Refusal::with_detail(pending.kind(), COPIED_KEY)
        } else {
            Refusal::of(pending.kind())
        }))
    }

    /// Tells the owners of a key's devices that other hardware showed the key.
    fn note_copies(&self, tx: &mut Tx, now: Timestamp, copies: &[(OtherHolder, Vec<ReplacedPart>)]) {
        for (OtherHolder { claim, device }, differs) in copies {
            let subject =
                device.as_ref().map_or(Subject::Claim(claim.id), |device| Subject::Device(device.id));
            let refusal = Refusal::with_detail(RefusalKind::PendingApproval, COPIED_KEY);
            let mut event =
                refusal_event(now, subject, Some(claim.customer), &refusal, json!({"differs": differs}));
            event.action = Action::KeyCopied;
            tx.append(self.core.ids.next(now), event);
        }
    }

    /// Issues the certificate and signs the payload of a grant that is already on disk.
    async fn issue(&self, proof: &Proof, granted: &Granted) -> Result<Grant, ServiceError> {
        let Some(device) = granted.device else {
            return Err(ServiceError::Busy);
        };
        let Granted { generation, assigned, version_lead, .. } = *granted;
        // The configuration was deleted since the commit: the device asks again and gets the new state.
        let assignment = self.catalogue.assignment(assigned).await?.ok_or(ServiceError::Busy)?;
        let (key_digest, nonce) = (proof.shown.key, proof.notes.device_nonce);
        let to = Recipient { device, generation, key_digest, nonce, version_lead };
        let now = proof.now;
        let payload = assignment.payload(to, now, self.core.settings.payload_lifetime);
        let signer = &self.core.signer;
        let key = proof.notes.key.clone();
        let enrollment = CertifiedEnrollment { device, generation, owner: granted.customer, key };
        Ok(Grant {
            device_id: device,
            generation,
            certificate_chain: signer.issue_certificate(&enrollment, now)?,
            owner: assignment.configuration.document.contact.owner(&granted.customer_name),
            payload: signer.sign_payload(&payload)?,
            roots: signer.roots_after(proof.notes.root_version),
            server_time: now,
            check_in_after_s: self.core.settings.check_in_interval_s,
        })
    }
}

/// The origin of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    /// The client's network.
    pub network: Option<Network>,
    /// The client certificate.
    pub certificate: Option<DeviceIdentityCert>,
}

/// A proof with a valid signature.
#[derive(Debug)]
pub struct Proof {
    pub(super) notes: Notes,
    pub(super) identity: HardwareIdentity,
    tpm: Option<TpmEvidence>,
    ticket: Sha256,
    pub(super) shown: ShownSecrets,
    sent_token: bool,
    origin: Origin,
    pub(super) now: Timestamp,
}

impl Proof {
    /// Returns the digest of the device's key.
    #[must_use]
    pub const fn key(&self) -> Sha256 {
        self.shown.key
    }

    /// Returns the strongest link to this device beside the identifiers that matched.
    fn strongest_tie(&self, claim: &Claim, device: &Device) -> Tie {
        let by_certificate = self.origin.certificate.is_some_and(|one| one.device == device.id);
        let by_tpm = self.tpm.as_ref().is_some_and(|tpm| is_own_tpm(claim, Some(device), tpm.key));
        if by_certificate || by_tpm || device.knows_key(self.shown.key) {
            Tie::Proof
        } else if self.origin.network.is_some() && self.origin.network == device.source {
            Tie::Network
        } else {
            Tie::None
        }
    }

    fn token_standing(&self, token: &TokenFacts) -> TokenStanding {
        standing(token.expires_at, token.revoked_at, self.now)
    }

    /// Returns the version that the device has reached. Only one that this server enrolled before can have
    /// reached any.
    fn reached_version(&self, why: Why) -> Option<u64> {
        self.notes.payload_version.filter(|_| matches!(why, Why::KnownKey | Why::Certified))
    }

    fn token_evidence(&self, facts: &EnrollmentFacts) -> TokenEvidence {
        match (&facts.token, self.sent_token) {
            (Some(token), _) => TokenEvidence::Known(self.token_standing(token)),
            (None, true) => TokenEvidence::Unknown,
            (None, false) => TokenEvidence::None,
        }
    }
}

/// The outcome of a proof.
enum Outcome {
    Granted(Box<Granted>),
    Refused(Refusal),
}

/// An enrollment that is on disk.
struct Granted {
    device: Option<DeviceId>,
    generation: Generation,
    customer: CompanyId,
    customer_name: Name,
    assigned: Assigned,
    version_lead: u64,
    /// True if the token brought the configuration, which the claim then keeps.
    by_token: bool,
}

impl Granted {
    fn new(facts: &EnrollmentFacts, generation: Generation, given: Given) -> Self {
        Self {
            device: facts.device.as_ref().map(|device| device.id),
            generation,
            customer: facts.claim.customer,
            customer_name: facts.customer_name.clone(),
            assigned: given.assigned,
            version_lead: facts.device.as_ref().map_or(0, |device| device.version_lead),
            by_token: given.by_token,
        }
    }
}

/// The configuration that a device gets, and whether its token brought it.
#[derive(Clone, Copy)]
struct Given {
    assigned: Assigned,
    by_token: bool,
}

/// Returns the claim's own configuration, or the token's, or the customer's default.
fn granted_configuration(facts: &EnrollmentFacts, token: Option<&TokenFacts>) -> Option<Given> {
    let claim = &facts.claim;
    let asked_for_token = claim.configuration.is_none() && claim.proof == ProofKind::Token;
    let brought = token.filter(|_| asked_for_token).and_then(|token| token.configuration);
    match brought {
        Some((configuration, updated_at)) => {
            let assigned = Assigned { configuration, updated_at, assigned_at: claim.configured_at };
            Some(Given { assigned, by_token: true })
        }
        None => facts.assigned.map(|assigned| Given { assigned, by_token: false }),
    }
}

fn subject_of(facts: &EnrollmentFacts) -> Subject {
    facts.device.as_ref().map_or(Subject::Claim(facts.claim.id), |device| Subject::Device(device.id))
}
