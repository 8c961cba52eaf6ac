//! `hello`: finds the claim, and refuses what no proof could change. It stores nothing.

use super::{
    super::{ServiceError, Services},
    check_agent_version, read_message,
    ticket::{Challenged, Notes},
    tpm::Sealed,
};
use crate::{
    domain::{
        admission::{Found, Refusal, refuse_early},
        audit::Subject,
        claim::lookup_text,
    },
    entropy,
    store::MAX_CANDIDATES,
};
use serde_json::json;
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, Identifier, IdentifierKind, RawIdentifier, Source},
    matching::{Match, Reason, lookup_keys, match_claims},
    protocol::{
        latest::{Challenge, Hello, PROTOCOL_VERSION},
        limits::{MAX_HELLO_BYTES, MAX_TICKET_BYTES},
    },
    refusal::RefusalKind,
    timestamp::Timestamp,
};

/// Claims of which one refusal tells the owners: one hello must not cause many writes.
const MAX_TOLD: usize = 8;

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
    /// three characters, so that a series of serial numbers shares it. The keys are left out,
    /// because anybody can make new ones.
    #[must_use]
    pub fn limit_key(&self) -> String {
        let is_key = |kind| matches!(kind, IdentifierKind::DeviceKey | IdentifierKind::TpmKey);
        let strongest = lookup_keys(&self.identity).find(|one| !is_key(one.kind()));
        let Some(identifier) = strongest else {
            return String::new();
        };
        let mut text = lookup_text(identifier);
        text.truncate(text.len().saturating_sub(3));
        text
    }
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
        let seen =
            Found { claim: &found.claim, state: found.device_state.as_ref(), configured, terms: found.terms };
        if let Some(refusal) = refuse_early(now, &seen, &hello.message.proofs) {
            let (subject, customer) = (Subject::Claim(found.claim.id), Some(found.claim.customer));
            self.note_refusal(now, subject, customer, &refusal, json!({"configured": configured}));
            return Err(self.refuse(refusal));
        }
        let Sealed { notes: tpm, credential } = match self.seal_for_tpm(&found.claim, &hello, now)? {
            Ok(sealed) => sealed,
            Err(refusal) => {
                let (subject, customer) = (Subject::Claim(found.claim.id), Some(found.claim.customer));
                self.note_refusal(now, subject, customer, &refusal, json!({"detail": refusal.detail}));
                return Err(self.refuse(refusal));
            }
        };
        let server_nonce = entropy::nonce(&*self.0.entropy)?;
        let proof = found.claim.proof;
        let given = Challenged { server_nonce, proof, claim: reason.claim, rank: reason.rank, tpm, now };
        let ticket = self.0.signer.seal_ticket(&Notes::new(&hello, given).to_bytes())?;
        if ticket.len() > MAX_TICKET_BYTES {
            let detail = "The identifiers are too long to be taken together.";
            return Err(ServiceError::refused_because(RefusalKind::InvalidIdentifier, detail));
        }
        Ok(Challenge { ticket: ticket.into(), nonce: server_nonce, proof, tpm: credential })
    }

    /// Refuses a device that claims matched, wholly or in part, and tells their owners which
    /// identifiers did.
    fn refuse_matched(&self, now: Timestamp, kind: RefusalKind, reasons: &[Reason]) -> ServiceError {
        let refusal = Refusal::of(kind);
        for reason in reasons.iter().take(MAX_TOLD) {
            let detail = json!({"rank": reason.rank, "identifiers": reason.identifiers});
            self.note_refusal(now, Subject::Claim(reason.claim), Some(reason.owner), &refusal, detail);
        }
        self.refuse(refusal)
    }
}

/// The identifiers of a hello, and the keys that the handshake may prove. A device's key in the list
/// itself is a statement without proof, and must be that key; a TPM's key counts only as that of the
/// TPM which introduces itself.
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
        .and_then(|identity| identity.with(own, Source::Key))
        .map_err(|error| error.to_string())
}
