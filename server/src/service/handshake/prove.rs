//! The handshake: hello and prove.
//!
//! `hello` finds the claim and refuses what no proof could change; it stores nothing. `prove`
//! checks the device's signature, then decides and writes in one transaction, and only signs and
//! issues when that is on disk: if the server dies in between, the device proves again with the
//! same ticket and gets the same generation.

use super::{
    ServiceError, Services,
    ticket::{Challenged, Notes},
};
use crate::{
    domain::{
        admission::{
            Admission, Decision, Evidence, Pending, Refusal, TokenEvidence, Why, decide, refuse_early,
        },
        audit::{Action, Event, Subject},
        claim::lookup_text,
        configuration::{Assigned, Recipient},
        device::{ApprovalRequest, Device, Enrollment},
        name::Name,
        token::{TokenStanding, secret_digest, standing},
    },
    entropy,
    store::{EnrollmentFacts, MAX_CANDIDATES, ShownSecrets, TokenFacts, Tx},
};
use serde_json::{Value, json};
use std::sync::Arc;
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, Identifier, IdentifierKind, RawIdentifier, Source},
    ids::{CompanyId, DeviceId, Generation},
    matching::{Match, Reason, lookup_keys, match_claims},
    protocol::{
        latest::{Challenge, Grant, Hello, PROTOCOL_VERSION, ProofKind, Prove},
        limits::{MAX_AGENT_VERSION_BYTES, MAX_HELLO_BYTES, MAX_PROVE_BYTES, MAX_TICKET_BYTES},
        transcript::transcript,
    },
    refusal::RefusalKind,
    timestamp::Timestamp,
};

/// Who acts when a device asks that the server does not know yet.
const A_DEVICE: &str = "device";

/// A hello whose form and identifiers are in order.
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
            return Err(ServiceError::refused_because(RefusalKind::UnsupportedProtocol, detail));
        }
        check_agent_version(&message.agent_version)?;
        let identity = identity_of(&message)
            .map_err(|problem| ServiceError::refused_because(RefusalKind::InvalidIdentifier, problem))?;
        Ok(Self { digest: Sha256::of(body), identity, message })
    }

    /// What hellos are counted by against enumeration: the strongest identifier without its last
    /// three characters, so that a series of serial numbers shares it. The key is left out,
    /// because anybody can make new ones.
    #[must_use]
    pub fn limit_key(&self) -> String {
        let strongest = lookup_keys(&self.identity).find(|one| one.kind() != IdentifierKind::DeviceKey);
        let Some(identifier) = strongest else {
            return String::new();
        };
        let mut text = lookup_text(identifier);
        text.truncate(text.len().saturating_sub(3));
        text
    }
}

/// Parses a message of at most `limit` bytes.
pub(super) fn read_message<T: serde::de::DeserializeOwned>(
    body: &[u8],
    limit: usize,
) -> Result<T, ServiceError> {
    let unsupported =
        |detail: String| Err(ServiceError::refused_because(RefusalKind::UnsupportedProtocol, detail));
    if body.len() > limit {
        return unsupported(format!("The message is larger than {limit} bytes."));
    }
    // The parser's message may repeat a part of the input, and a token is a part of it.
    serde_json::from_slice(body).or_else(|error| {
        unsupported(format!(
            "The message cannot be read at line {}, column {}.",
            error.line(),
            error.column()
        ))
    })
}

/// An agent's version is kept and shown: one short printable word or two.
pub(super) fn check_agent_version(version: &str) -> Result<(), ServiceError> {
    let printable = version.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if printable && version.len() <= MAX_AGENT_VERSION_BYTES {
        Ok(())
    } else {
        let detail =
            format!("The agent's version is not {MAX_AGENT_VERSION_BYTES} printable characters or less.");
        Err(ServiceError::refused_because(RefusalKind::UnsupportedProtocol, detail))
    }
}

/// The identifiers of a hello, and the key that the handshake will prove. A key in the list itself
/// is a statement without proof, and must be that key.
fn identity_of(hello: &Hello) -> Result<HardwareIdentity, String> {
    let own = Identifier::parse(IdentifierKind::DeviceKey, &hello.device_key.digest().to_string())
        .map_err(|error| error.to_string())?;
    let is_key = |one: &&RawIdentifier| one.kind == IdentifierKind::DeviceKey;
    if hello.identity.iter().filter(is_key).any(|one| one.value != own.value()) {
        return Err("device_key is not the key of this handshake".to_owned());
    }
    let rest: Vec<RawIdentifier> = hello.identity.iter().filter(|one| !is_key(one)).cloned().collect();
    HardwareIdentity::from_raw(&rest)
        .and_then(|identity| identity.with(own, Source::Key))
        .map_err(|error| error.to_string())
}

impl Services {
    /// Answers a hello: [`Services::read_hello`], then [`Services::challenge`].
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
                self.note_refusal(
                    self.now(),
                    Subject::Unknown,
                    None,
                    &refusal,
                    json!({"detail": problem.detail}),
                );
            }
        })
    }

    /// Challenges the device that said hello, or refuses what no proof could change. Nothing is
    /// stored but the count of refusals.
    ///
    /// # Errors
    /// A refusal. An unknown device and one whose claim gives it nothing get the same bytes.
    pub async fn challenge(&self, hello: HelloRequest) -> Result<Challenge, ServiceError> {
        let now = self.now();
        let keys: Vec<String> = lookup_keys(&hello.identity).map(lookup_text).collect();
        let candidates = self.0.store.reader().await?.claims_found_by(&keys).await?;
        if candidates.len() > MAX_CANDIDATES {
            self.note_refusal(
                now,
                Subject::Unknown,
                None,
                &Refusal::of(RefusalKind::AmbiguousIdentity),
                json!({}),
            );
            return Err(self.refuse(Refusal::of(RefusalKind::AmbiguousIdentity)));
        }
        let registered: Vec<_> = candidates.iter().map(|one| one.claim.registered()).collect();
        let reason = match match_claims(&hello.identity, &registered) {
            Match::Claim(reason) => reason,
            Match::Ambiguous(reasons) => {
                return Err(self.refuse_matched(now, RefusalKind::AmbiguousIdentity, &reasons));
            }
            Match::None { near } if near.is_empty() => {
                self.note_refusal(
                    now,
                    Subject::Unknown,
                    None,
                    &Refusal::of(RefusalKind::NotClaimed),
                    json!({}),
                );
                return Err(self.refuse(Refusal::of(RefusalKind::NotClaimed)));
            }
            Match::None { near } => return Err(self.refuse_matched(now, RefusalKind::NotClaimed, &near)),
        };
        let Some(found) = candidates.iter().find(|one| one.claim.id == reason.claim) else {
            return Err(self.refuse(Refusal::of(RefusalKind::NotClaimed)));
        };
        let configured = found.default_configuration || found.claim.configuration.is_some();
        let offered = &hello.message.proofs;
        if let Some(refusal) = refuse_early(&found.claim, found.device_state.as_ref(), configured, offered) {
            let (subject, customer) = (Subject::Claim(found.claim.id), Some(found.claim.customer));
            self.note_refusal(now, subject, customer, &refusal, json!({"configured": configured}));
            return Err(self.refuse(refusal));
        }
        let server_nonce = entropy::nonce(&*self.0.entropy)?;
        let given = Challenged {
            server_nonce,
            proof: found.claim.proof,
            claim: reason.claim,
            rank: reason.rank,
            now,
        };
        let ticket = self.0.signer.seal_ticket(&Notes::new(&hello, &given).to_bytes())?;
        if ticket.len() > MAX_TICKET_BYTES {
            let detail = "The identifiers are too long to be taken together.";
            return Err(ServiceError::refused_because(RefusalKind::InvalidIdentifier, detail));
        }
        Ok(Challenge { ticket: ticket.into(), nonce: server_nonce, proof: given.proof })
    }

    /// Takes the proof, and enrolls the device.
    ///
    /// The same proof again, while its ticket is good, gives the same generation: the answer may
    /// have been lost.
    ///
    /// # Errors
    /// A refusal; then nothing has changed but what an administrator sees of it.
    pub async fn prove(&self, body: &[u8]) -> Result<Grant, ServiceError> {
        let message: Prove = read_message(body, MAX_PROVE_BYTES)?;
        let now = self.now();
        let attempt = Arc::new(self.attempt(&message, now)?);
        let services = self.clone();
        let job = Arc::clone(&attempt);
        let outcome = self
            .0
            .store
            .write(move |tx| {
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
        let shown = ShownSecrets {
            key: notes.key.digest(),
            token: message.token.as_ref().and_then(secret_digest),
            reset_ticket: message.reset_ticket.as_ref().and_then(secret_digest),
        };
        let sent_token = message.token.is_some();
        Ok(Attempt { ticket: Sha256::of(sealed), notes, identity, shown, sent_token, now })
    }

    /// Decides, and writes what follows. Runs inside the write transaction, perhaps more than once.
    async fn enroll(&self, tx: &mut Tx, attempt: &Attempt) -> Result<Outcome, ServiceError> {
        let Some(facts) = tx.enrollment_facts(attempt.notes.claim, attempt.shown, attempt.now).await? else {
            return Ok(Outcome::Refused(Refusal::of(RefusalKind::NotClaimed)));
        };
        let token = facts.token.filter(|one| attempt.standing(one) == TokenStanding::Valid);
        let given = given(&facts, token.as_ref());
        let decision = decide(&Admission {
            now: attempt.now,
            claim: &facts.claim,
            rank: attempt.notes.rank,
            device: facts.device.as_ref(),
            key: attempt.shown.key,
            identity: &attempt.identity,
            ticket: attempt.ticket,
            configured: given.is_some(),
            evidence: Evidence {
                token: attempt.token_evidence(&facts),
                reset_ticket: facts.reset_ticket,
                request: facts.request.as_ref(),
            },
        });
        match (decision, given) {
            (Decision::Admit { generation, why }, Some(given)) => {
                let granted = Granted::new(&facts, generation, given);
                self.admit(tx, attempt, facts, granted, why).await
            }
            (Decision::Admit { .. }, None) => Ok(Outcome::Refused(Refusal::of(RefusalKind::NotClaimed))),
            (Decision::Pend(pending), _) => self.hold(tx, attempt, facts, &pending).await,
            (Decision::Refuse(refusal), _) => {
                let subject = subject_of(&facts);
                let event =
                    refusal_event(attempt.now, subject, Some(facts.claim.customer), &refusal, json!({}));
                tx.append(self.0.ids.next(attempt.now), &event).await?;
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
        device.identity = Some(attempt.identity.clone());
        device.last_said.at = Some(now);
        device.last_said.agent_version = Some(attempt.notes.agent_version.clone());
        tx.save_device(&device).await?;
        granted.device = Some(device.id);
        if let (Why::ResetTicket, Some(digest)) = (why, attempt.shown.reset_ticket) {
            tx.use_reset_ticket(digest, now).await?;
        }
        if granted.by_token {
            tx.set_claim_configuration(claim.id, Some(granted.assigned.configuration), now).await?;
            granted.assigned.assigned_at = now;
        }
        let detail = json!({
            "generation": granted.generation,
            "why": why,
            "proof": claim.proof,
            "claim": claim.id,
            "key": attempt.shown.key,
            "token": token.filter(|_| claim.proof == ProofKind::Token).map(|one| one.id),
            "agent_version": attempt.notes.agent_version,
        });
        let event = device_event(now, Action::Granted, device.id, &device, detail);
        tx.append(self.0.ids.next(now), &event).await?;
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
        })
        .await?;
        let detail = json!({
            "kind": pending.kind(),
            "key": attempt.shown.key,
            "unknown_key": pending.unknown_key,
            "replaced": pending.replaced,
        });
        let event = device_event(now, Action::ApprovalRequested, device.id, &device, detail);
        tx.append(self.0.ids.next(now), &event).await?;
        Ok(Outcome::Refused(Refusal::of(pending.kind())))
    }

    /// Signs and issues what was granted: it is on disk by now.
    async fn grant(&self, attempt: &Attempt, granted: &Granted) -> Result<Grant, ServiceError> {
        let Some(device) = granted.device else {
            return Err(ServiceError::Busy);
        };
        let Granted { generation, assigned, .. } = *granted;
        // Deleted since the commit: the device asks again and finds out what it is now.
        let assignment = self.assignment(assigned).await?.ok_or(ServiceError::Busy)?;
        let to = Recipient { device, generation, nonce: attempt.notes.device_nonce };
        let now = attempt.now;
        let payload = assignment.payload(to, now, self.settings().payload_lifetime);
        let signer = &self.0.signer;
        Ok(Grant {
            device_id: device,
            generation,
            certificate_chain: signer.issue_certificate(&attempt.notes.key, device, generation, now)?,
            owner: assignment.configuration.document.contact.owner(&granted.customer_name),
            payload: signer.sign_payload(&payload)?,
            roots: signer.roots_after(attempt.notes.root_version),
            server_time: now,
            check_in_after_s: self.settings().check_in_interval_s,
        })
    }

    /// Refuses a device that claims matched, wholly or in part, and tells their owners which
    /// identifiers did.
    fn refuse_matched(&self, now: Timestamp, kind: RefusalKind, reasons: &[Reason]) -> ServiceError {
        let refusal = Refusal::of(kind);
        for reason in reasons {
            let detail = json!({"rank": reason.rank, "identifiers": reason.identifiers});
            self.note_refusal(now, Subject::Claim(reason.claim), Some(reason.owner), &refusal, detail);
        }
        self.refuse(refusal)
    }

    /// Counts a refusal in the audit trail, soon. Nobody waits for it, and under load it is the
    /// first thing to be left out: whoever knocks must not be able to make others wait.
    fn note_refusal(
        &self,
        now: Timestamp,
        subject: Subject,
        customer: Option<CompanyId>,
        refusal: &Refusal,
        detail: Value,
    ) {
        let event = Arc::new(refusal_event(now, subject, customer, refusal, detail));
        let ids = Arc::clone(&self.0.ids);
        self.0.store.write_soon(move |tx| {
            let (event, id) = (Arc::clone(&event), ids.next(now));
            Box::pin(async move { tx.append(id, &event).await })
        });
    }
}

/// A proof whose signature is right.
struct Attempt {
    notes: Notes,
    identity: HardwareIdentity,
    ticket: Sha256,
    shown: ShownSecrets,
    sent_token: bool,
    now: Timestamp,
}

impl Attempt {
    fn standing(&self, token: &TokenFacts) -> TokenStanding {
        standing(token.expires_at, token.revoked_at, self.now)
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

fn subject_of(facts: &EnrollmentFacts) -> Subject {
    facts.device.as_ref().map_or(Subject::Claim(facts.claim.id), |device| Subject::Device(device.id))
}

/// The event of a refusal.
pub(super) fn refusal_event(
    at: Timestamp,
    subject: Subject,
    customer: Option<CompanyId>,
    refusal: &Refusal,
    detail: Value,
) -> Event {
    let mut detail = detail;
    if let Value::Object(fields) = &mut detail {
        fields.insert("kind".to_owned(), json!(refusal.kind));
        if let Some(said) = refusal.detail {
            fields.insert("detail".to_owned(), json!(said));
        }
    }
    Event { at, actor: A_DEVICE.to_owned(), action: Action::Refused, subject, customer, detail }
}

/// The event of something that a device did.
pub(super) fn device_event(
    at: Timestamp,
    action: Action,
    id: DeviceId,
    device: &Device,
    detail: Value,
) -> Event {
    Event {
        at,
        actor: format!("{A_DEVICE} {id}"),
        action,
        subject: Subject::Device(id),
        customer: Some(device.customer),
        detail,
    }
}
