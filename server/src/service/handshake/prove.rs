//! `prove`: checks the device's signature, then decides and writes in one transaction.
//!
//! Certificate and payload are only made when that is on disk: if the server dies in between, the
//! device proves again with the same ticket and gets the same generation.

use super::{
    super::{
        CertifiedEnrollment, DeviceIdentityCert, ServiceError, Services,
        audit::{device_event, refusal_event},
    },
    read_message,
    ticket::Notes,
    tpm::check_answer,
};
use crate::{
    domain::{
        actor::Scope,
        admission::{
            Admission, Decision, Evidence, Pending, Refusal, TokenEvidence, TpmEvidence, Why, contradictions,
            decide, is_own_tpm, registered,
        },
        audit::{Action, Subject},
        claim::Claim,
        configuration::{Assigned, Recipient},
        device::{ApprovalRequest, Device, Enrollment, Tie},
        name::Name,
        network::Network,
        token::{TokenStanding, secret_digest, standing},
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

impl Services {
    /// Takes the proof, and enrolls the device.
    ///
    /// The same proof again, while its ticket is good, gives the same generation: the answer may
    /// have been lost.
    ///
    /// # Errors
    /// A refusal; then nothing has changed but what an administrator sees of it.
    pub async fn prove(&self, body: &[u8]) -> Result<Grant, ServiceError> {
        self.prove_from(body, Origin::default()).await
    }

    /// The same, by somebody at the other end of a connection.
    ///
    /// # Errors
    /// As [`Services::prove`].
    pub async fn prove_from(&self, body: &[u8], origin: Origin) -> Result<Grant, ServiceError> {
        let message: Prove = read_message(body, MAX_PROVE_BYTES)?;
        let now = self.now();
        let attempt = Arc::new(Attempt { origin, ..self.attempt(&message, now)? });
        let services = self.clone();
        let job = Arc::clone(&attempt);
        let outcome = self
            .0
            .store
            .write_together(move |tx| {
                let (services, attempt) = (services.clone(), Arc::clone(&job));
                Box::pin(async move { services.enroll(tx, &attempt).await })
            })
            .await?;
        match outcome {
            Outcome::Granted(granted) => self.grant(&attempt, &granted).await,
            Outcome::Refused(refusal) => Err(self.refuse(refusal)),
        }
    }

    /// Checks everything about a proof that needs no database.
    fn attempt(&self, message: &Prove, now: Timestamp) -> Result<Attempt, ServiceError> {
        const STRANGE: &str =
            "The ticket is not one of this server's, or older than its keys. Start again with hello.";
        const LATE: &str = "The ticket has expired. Start again with hello.";
        const WRONG: &str = "The signature is not that of the device's key over this handshake.";
        let sealed = message.ticket.as_ref();
        let refuse = |subject, refusal: Refusal| {
            self.note_refusal(now, subject, None, &refusal, json!({}));
            self.refuse(refusal)
        };
        let strange = || refuse(Subject::Unknown, Refusal::said(RefusalKind::ClockSkew, STRANGE));
        let plain = self.0.signer.open_ticket(sealed).ok_or_else(strange)?;
        let notes = Notes::from_bytes(&plain).ok_or_else(strange)?;
        let identity = notes.identity().ok_or_else(strange)?;
        if !notes.is_in_time(now, self.settings().ticket_lifetime) {
            let late = Refusal::said(RefusalKind::ClockSkew, LATE);
            return Err(refuse(Subject::Claim(notes.claim), late));
        }
        let signed = transcript(notes.hello, sealed, &notes.server_nonce, notes.proof);
        if !notes.key.verifies(&signed, &message.signature) {
            let wrong = Refusal::said(RefusalKind::ProofRequired, WRONG);
            return Err(refuse(Subject::Claim(notes.claim), wrong));
        }
        let tpm = check_answer(&notes, message, &signed).map_err(|why| {
            refuse(Subject::Claim(notes.claim), Refusal::said(RefusalKind::ProofRequired, why))
        })?;
        let shown = ShownSecrets {
            key: notes.key.digest(),
            token: message.token.as_ref().and_then(secret_digest),
            reset_ticket: message.reset_ticket.as_ref().and_then(secret_digest),
        };
        let sent_token = message.token.is_some();
        let (ticket, origin) = (Sha256::of(sealed), Origin::default());
        Ok(Attempt { notes, identity, tpm, ticket, shown, sent_token, origin, now })
    }

    /// Decides, and writes what follows. Runs inside the write transaction, perhaps more than once.
    async fn enroll(&self, tx: &mut Tx, attempt: &Attempt) -> Result<Outcome, ServiceError> {
        let shown = (&attempt.notes.key, attempt.shown);
        let Some(facts) = tx.enrollment_facts(attempt.notes.claim, shown, attempt.now).await? else {
            return Ok(Outcome::Refused(Refusal::of(RefusalKind::NotClaimed)));
        };
        let token = facts.token.filter(|one| attempt.standing(one) == TokenStanding::Valid);
        let given = given(&facts, token.as_ref());
        let certified = certified_device(tx, attempt, &facts).await?;
        let copies = copied_from(tx, attempt, &facts).await?;
        let decision = decide(&Admission {
            now: attempt.now,
            claim: &facts.claim,
            rank: attempt.notes.rank,
            device: certified.as_ref().map(|(device, _)| device).or(facts.device.as_ref()),
            key: attempt.shown.key,
            certified: certified.as_ref().map(|(_, generation)| *generation),
            copied_key: !copies.is_empty(),
            identity: &attempt.identity,
            ticket: attempt.ticket,
            configured: given.is_some(),
            terms: facts.terms,
            evidence: Evidence {
                token: attempt.token_evidence(&facts),
                reset_ticket: facts.reset_ticket,
                request: facts.request.as_ref(),
                tpm: attempt.tpm.as_ref(),
            },
        });
        match (decision, given) {
            (Decision::Admit { generation, why }, Some(given)) => {
                let facts = known_again(tx, facts, certified).await?;
                let granted = Granted::new(&facts, generation, given);
                self.admit(tx, attempt, facts, granted, why).await
            }
            (Decision::Admit { .. }, None) => Ok(Outcome::Refused(Refusal::of(RefusalKind::NotClaimed))),
            (Decision::Pend(pending), _) => {
                if pending.copied_key {
                    self.tell_of_copies(tx, attempt.now, &copies);
                }
                self.hold(tx, attempt, facts, &pending).await
            }
            (Decision::Refuse(refusal), _) => {
                let subject = subject_of(&facts);
                let event =
                    refusal_event(attempt.now, subject, Some(facts.claim.customer), &refusal, json!({}));
                tx.append(self.0.ids.next(attempt.now), event);
                Ok(Outcome::Refused(refusal))
            }
        }
    }

    async fn admit(
        &self,
        tx: &mut Tx,
        attempt: &Attempt,
        facts: EnrollmentFacts,
        mut granted: Granted,
        why: Why,
    ) -> Result<Outcome, ServiceError> {
        let now = attempt.now;
        if why == Why::Repeated {
            return Ok(Outcome::Granted(Box::new(granted)));
        }
        let EnrollmentFacts { claim, device, token, .. } = facts;
        let mut device =
            device.unwrap_or_else(|| Device::new(self.0.ids.device(now), claim.id, claim.customer, now));
        device.state = device.state.granted(granted.generation, now)?;
        device.latest = Some(Enrollment { generation: granted.generation, key: attempt.notes.key.clone() });
        device.latest_ticket = Some(attempt.ticket);
        device.bound_at = device.bound_at.or(Some(now));
        device.source = attempt.origin.network.or(device.source);
        device.identity = Some(attempt.identity.clone());
        device.last_said.at = Some(now);
        device.last_said.agent_version = Some(attempt.notes.agent_version.clone());
        tx.save_device_together(device.clone());
        granted.device = Some(device.id);
        if let (Why::ResetTicket, Some(digest)) = (why, attempt.shown.reset_ticket) {
            tx.use_reset_ticket(digest, now).await?;
        }
        // What another hello than this one's collided with is over.
        if claim.collision.as_ref().is_some_and(|one| one.at < attempt.notes.issued_at) {
            tx.set_collision(claim.id, None).await?;
        }
        let overtaken = attempt.overtaken(&granted.assigned, why);
        if granted.by_token || overtaken.is_some() {
            let own =
                if granted.by_token { Some(granted.assigned.configuration) } else { claim.configuration };
            let at = tx.next_version(claim.customer, overtaken.unwrap_or(now)).await?;
            tx.set_claim_configuration(claim.id, own, at).await?;
            granted.assigned.assigned_at = at;
        }
        let detail = json!({
            "generation": granted.generation,
            "why": why,
            "proof": claim.proof,
            "claim": claim.id,
            "key": attempt.shown.key,
            "token": token.filter(|_| claim.proof == ProofKind::Token).map(|one| one.id),
            "agent_version": attempt.notes.agent_version,
            "tpm": attempt.tpm,
        });
        let event = device_event(now, Action::Granted, device.id, &device, detail);
        tx.append(self.0.ids.next(now), event);
        Ok(Outcome::Granted(Box::new(granted)))
    }

    async fn hold(
        &self,
        tx: &mut Tx,
        attempt: &Attempt,
        facts: EnrollmentFacts,
        pending: &Pending,
    ) -> Result<Outcome, ServiceError> {
        let now = attempt.now;
        let EnrollmentFacts { claim, device: known, .. } = facts;
        let mut device = known
            .clone()
            .unwrap_or_else(|| Device::new(self.0.ids.device(now), claim.id, claim.customer, now));
        device.state = pending.state_after(&device, now);
        if known.as_ref() != Some(&device) {
            tx.save_device(&device).await?;
        }
        tx.note_request(&ApprovalRequest {
            device: device.id,
            customer: device.customer,
            key: attempt.shown.key,
            identity: attempt.identity.clone(),
            replaced: pending.replaced.clone(),
            first_at: now,
            last_at: now,
            count: 1,
            approved_at: None,
            source: attempt.origin.network,
            tie: attempt.tie(&claim, &device),
        })
        .await?;
        let detail = json!({
            "kind": pending.kind(),
            "key": attempt.shown.key,
            "unknown_key": pending.unknown_key,
            "copied_key": pending.copied_key,
            "replaced": pending.replaced,
        });
        let event = device_event(now, Action::ApprovalRequested, device.id, &device, detail);
        tx.append(self.0.ids.next(now), event);
        Ok(Outcome::Refused(if pending.copied_key {
            Refusal::said(pending.kind(), COPIED_KEY)
        } else {
            Refusal::of(pending.kind())
        }))
    }

    /// Tells the owners of the devices that a key belongs to that other hardware showed it.
    fn tell_of_copies(&self, tx: &mut Tx, now: Timestamp, copies: &[(OtherHolder, Vec<ReplacedPart>)]) {
        for (OtherHolder { claim, device }, differs) in copies {
            let subject =
                device.as_ref().map_or(Subject::Claim(claim.id), |device| Subject::Device(device.id));
            let refusal = Refusal::said(RefusalKind::PendingApproval, COPIED_KEY);
            let mut event =
                refusal_event(now, subject, Some(claim.customer), &refusal, json!({"differs": differs}));
            event.action = Action::KeyCopied;
            tx.append(self.0.ids.next(now), event);
        }
    }

    /// Signs and issues what was granted: it is on disk by now.
    async fn grant(&self, attempt: &Attempt, granted: &Granted) -> Result<Grant, ServiceError> {
        let Some(device) = granted.device else {
            return Err(ServiceError::Busy);
        };
        let Granted { generation, assigned, .. } = *granted;
        // Deleted since the commit: the device asks again and finds out what it is now.
        let assignment = self.assignment(assigned).await?.ok_or(ServiceError::Busy)?;
        let (key_digest, nonce) = (attempt.shown.key, attempt.notes.device_nonce);
        let to = Recipient { device, generation, key_digest, nonce };
        let now = attempt.now;
        let payload = assignment.payload(to, now, self.settings().payload_lifetime);
        let signer = &self.0.signer;
        let key = attempt.notes.key.clone();
        let enrollment = CertifiedEnrollment { device, generation, owner: granted.customer, key };
        Ok(Grant {
            device_id: device,
            generation,
            certificate_chain: signer.issue_certificate(&enrollment, now)?,
            owner: assignment.configuration.document.contact.owner(&granted.customer_name),
            payload: signer.sign_payload(&payload)?,
            roots: signer.roots_after(attempt.notes.root_version),
            server_time: now,
            check_in_after_s: self.settings().check_in_interval_s,
        })
    }
}

/// The other end of a connection.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin {
    /// The network that it is in.
    pub network: Option<Network>,
    /// Its client certificate.
    pub certificate: Option<DeviceIdentityCert>,
}

/// A proof whose signature is right.
struct Attempt {
    notes: Notes,
    identity: HardwareIdentity,
    tpm: Option<TpmEvidence>,
    ticket: Sha256,
    shown: ShownSecrets,
    sent_token: bool,
    origin: Origin,
    now: Timestamp,
}

impl Attempt {
    /// What ties it to this device, beside the identifiers that matched.
    fn tie(&self, claim: &Claim, device: &Device) -> Tie {
        let by_certificate = self.origin.certificate.is_some_and(|one| one.device == device.id);
        let by_tpm = self.tpm.as_ref().is_some_and(|tpm| is_own_tpm(claim, Some(device), tpm));
        if by_certificate || by_tpm || device.knows_key(self.shown.key) {
            Tie::Proof
        } else if self.origin.network.is_some() && self.origin.network == device.source {
            Tie::Network
        } else {
            Tie::None
        }
    }

    fn standing(&self, token: &TokenFacts) -> TokenStanding {
        standing(token.expires_at, token.revoked_at, self.now)
    }

    /// The version to draw for a device that has reached a higher one than it would get. Only a device
    /// that this server has enrolled before has reached anything.
    fn overtaken(&self, assigned: &Assigned, why: Why) -> Option<Timestamp> {
        let reached = self.notes.payload_version.filter(|_| matches!(why, Why::KnownKey | Why::Certified))?;
        assigned.overtaken_by(reached, self.now)
    }

    fn token_evidence(&self, facts: &EnrollmentFacts) -> TokenEvidence {
        match (&facts.token, self.sent_token) {
            (Some(token), _) => TokenEvidence::Known(self.standing(token)),
            (None, true) => TokenEvidence::Unknown,
            (None, false) => TokenEvidence::None,
        }
    }
}

/// What became of a proof.
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
    /// The token brought the configuration, and the claim keeps it.
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
            by_token: given.by_token,
        }
    }
}

/// Which configuration a device gets, and whether its token brought it.
#[derive(Clone, Copy)]
struct Given {
    assigned: Assigned,
    by_token: bool,
}

/// The claim's own configuration, or the token's, or the customer's default.
fn given(facts: &EnrollmentFacts, token: Option<&TokenFacts>) -> Option<Given> {
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

/// The device that this server's certificate attests, and the generation.
///
/// It is the claim's device, or becomes it if the claim's device never enrolled: then this database was
/// restored from a backup, and does not know the device. What belongs to another claim, or belonged to
/// another owner, stays what it is.
async fn certified_device(
    tx: &mut Tx,
    attempt: &Attempt,
    facts: &EnrollmentFacts,
) -> Result<Option<(Device, Generation)>, ServiceError> {
    let EnrollmentFacts { claim, device, .. } = facts;
    let Some(prior) = attempt.notes.prior.filter(|prior| prior.owner == claim.customer) else {
        return Ok(None);
    };
    let device = match device {
        Some(known) if known.id == prior.device => known.clone(),
        Some(known) if known.latest.is_some() => return Ok(None),
        _ if tx.device(Scope::Operator, prior.device).await?.is_some() => return Ok(None),
        Some(unseen) => Device { id: prior.device, ..unseen.clone() },
        None => Device::new(prior.device, claim.id, claim.customer, attempt.now),
    };
    Ok(Some((device, prior.generation)))
}

/// The other devices that the key belongs to, with what of this hardware is not theirs. A machine that two
/// claims register is no copy of itself.
async fn copied_from(
    tx: &mut Tx,
    attempt: &Attempt,
    facts: &EnrollmentFacts,
) -> Result<Vec<(OtherHolder, Vec<ReplacedPart>)>, ServiceError> {
    let is_bound = facts.device.as_ref().is_some_and(|device| device.knows_key(attempt.shown.key));
    if is_bound || !facts.key_is_elsewhere {
        return Ok(Vec::new());
    }
    let holders = tx.key_holders(&attempt.notes.key, facts.claim.id).await?;
    let differing = holders.into_iter().filter_map(|holder| {
        let last = holder.device.as_ref().and_then(|device| device.identity.as_ref());
        let seen = last.into_iter().flat_map(HardwareIdentity::observed).map(|one| &one.identifier);
        let known: Vec<_> = registered(&holder.claim).into_iter().chain(seen).collect();
        let differs = contradictions(&attempt.identity, &known);
        (!differs.is_empty()).then_some((holder, differs))
    });
    Ok(differing.collect())
}

/// The facts with the device that is certified in place of the one that never enrolled.
async fn known_again(
    tx: &mut Tx,
    facts: EnrollmentFacts,
    certified: Option<(Device, Generation)>,
) -> Result<EnrollmentFacts, ServiceError> {
    let Some((device, _)) = certified else { return Ok(facts) };
    if let Some(unseen) = facts.device.as_ref().filter(|one| one.id != device.id) {
        tx.delete_unseen_device(unseen.id).await?;
    }
    Ok(EnrollmentFacts { device: Some(device), ..facts })
}

fn subject_of(facts: &EnrollmentFacts) -> Subject {
    facts.device.as_ref().map_or(Subject::Claim(facts.claim.id), |device| Subject::Device(device.id))
}
