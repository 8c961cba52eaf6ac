//! The exchange itself, without any I/O: the order of messages, and the required content of each.

use super::CertificateChain;
use crate::{
    AGENT_VERSION,
    failure::{Diagnose, advice},
    http::{Misbehaviour, read},
};
use unbox_common::{
    bytes::{Bytes, Nonce},
    digest::Sha256,
    identity::HardwareIdentity,
    protocol::{
        latest::{
            self as wire, Challenge, Grant, Hello, PROTOCOL_VERSION, PriorEnrollment, ProofKind,
            TpmCredential, TpmEvidence, TpmIntroduction,
        },
        limits::MAX_TICKET_BYTES,
        transcript::transcript,
    },
    refusal::Disposition,
    secret::Secret,
    trust::{DeviceKeySignature, DevicePublicKey},
};

/// The input of an exchange.
#[derive(Debug, Clone)]
pub struct Start {
    /// The identity of the device.
    pub identity: HardwareIdentity,
    /// The public half of the device's key.
    pub key: DevicePublicKey,
    /// A fresh nonce.
    pub nonce: Nonce,
    /// The version of the signing root in force.
    pub root_version: u64,
    /// The pre-provisioning token, if there is one.
    pub token: Option<Secret>,
    /// The reset ticket, if there is one.
    pub reset_ticket: Option<Secret>,
    /// The introduction of the TPM, if the key is in one.
    pub tpm: Option<TpmIntroduction>,
    /// The progress of an earlier enrollment, if there was one.
    pub enrollment: Option<PriorEnrollment>,
}

/// `hello` was sent.
#[derive(Debug)]
pub struct AwaitChallenge {
    start: Start,
    hello: Sha256,
    proofs: Vec<ProofKind>,
}

/// The server asked for a proof: a signature over [`Prove::transcript`].
#[derive(Debug)]
pub struct Prove {
    start: Start,
    ticket: Bytes,
    token: Option<Secret>,
    credential: Option<TpmCredential>,
    transcript: Vec<u8>,
}

/// `prove` was sent.
#[derive(Debug)]
pub struct AwaitGrant {
    key: DevicePublicKey,
    nonce: Nonce,
}

/// The server granted the enrollment. Only [`AwaitGrant::handle`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Granted {
    grant: Grant,
    certificate: CertificateChain,
    nonce: Nonce,
}

impl Start {
    /// Makes the first message.
    ///
    /// # Errors
    /// An error of `serde_json`, which does not occur for a message without maps and floats.
    pub fn hello(self) -> Result<(Vec<u8>, AwaitChallenge), serde_json::Error> {
        // The factory may have registered this very key: only the server knows.
        let mut proofs = vec![ProofKind::Identifiers, ProofKind::RegisteredKey];
        if self.token.is_some() {
            proofs.push(ProofKind::Token);
        }
        if self.tpm.is_some() {
            proofs.push(ProofKind::Tpm);
        }
        let hello = serde_json::to_vec(&Hello {
            protocol: PROTOCOL_VERSION,
            agent_version: AGENT_VERSION.to_owned(),
            identity: self.identity.to_raw(),
            device_key: self.key.clone(),
            proofs: proofs.clone(),
            nonce: self.nonce,
            root_version: self.root_version,
            token_digest: self.token.as_ref().map(|token| Sha256::of(token.expose().as_bytes())),
            tpm: self.tpm.clone(),
            enrollment: self.enrollment.clone(),
        })?;
        let next = AwaitChallenge { start: self, hello: Sha256::of(&hello), proofs };
        Ok((hello, next))
    }
}

/// The server's answer does not fit the exchange.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The answer could not be read.
    #[error(transparent)]
    Answer(#[from] Misbehaviour),
    /// The server asked for a proof that the device did not offer.
    #[error("the server asks for the proof {0}, which this device did not offer")]
    ProofNotOffered(&'static str),
    /// The server asked for the proof `tpm` without a credential to open.
    #[error("the server asks for the TPM, and gives it nothing to open")]
    NoCredential,
    /// The server issued a certificate for another key.
    #[error("the server issued a certificate that is not for this device's key")]
    WrongCertificate,
}

impl Diagnose for ExchangeError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Answer(error) => error.kind(),
            Self::ProofNotOffered(_) => "proof_not_offered",
            Self::NoCredential => "no_credential",
            Self::WrongCertificate => "wrong_certificate",
        }
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn advice(&self) -> &'static str {
        advice::MISBEHAVED
    }
}

impl AwaitChallenge {
    /// Handles the server's challenge.
    ///
    /// # Errors
    /// [`ExchangeError`] if it cannot be parsed, or asks for a proof that was not offered.
    pub fn handle(self, answer: &[u8]) -> Result<Prove, ExchangeError> {
        let challenge: Challenge = read("challenge", answer)?;
        if challenge.ticket.0.len() > MAX_TICKET_BYTES {
            return Err(Misbehaviour::TooLarge { limit: MAX_TICKET_BYTES }.into());
        }
        if !self.proofs.contains(&challenge.proof) {
            return Err(ExchangeError::ProofNotOffered(challenge.proof.name()));
        }
        let credential = challenge.tpm.filter(|_| challenge.proof == ProofKind::Tpm);
        if credential.is_none() && challenge.proof == ProofKind::Tpm {
            return Err(ExchangeError::NoCredential);
        }
        let transcript = transcript(self.hello, challenge.ticket.as_ref(), &challenge.nonce, challenge.proof);
        // The token is sent only to a server that asks for it.
        let token = self.start.token.clone().filter(|_| challenge.proof == ProofKind::Token);
        Ok(Prove { start: self.start, ticket: challenge.ticket, token, credential, transcript })
    }
}

impl Prove {
    /// Returns the bytes that the device's key has to sign.
    #[must_use]
    pub fn transcript(&self) -> &[u8] {
        &self.transcript
    }

    /// Returns the credential that the TPM has to open, if the server asks for that.
    #[must_use]
    pub const fn credential(&self) -> Option<&TpmCredential> {
        self.credential.as_ref()
    }

    /// Makes the second message, with the TPM's answer if the server asks for one.
    ///
    /// # Errors
    /// An error of `serde_json`, which does not occur for a message without maps and floats.
    pub fn into_message(
        self,
        signature: DeviceKeySignature,
        tpm: Option<TpmEvidence>,
    ) -> Result<(Vec<u8>, AwaitGrant), serde_json::Error> {
        let prove = serde_json::to_vec(&wire::Prove {
            ticket: self.ticket,
            signature,
            token: self.token,
            reset_ticket: self.start.reset_ticket,
            tpm,
        })?;
        let next = AwaitGrant { key: self.start.key, nonce: self.start.nonce };
        Ok((prove, next))
    }
}

impl AwaitGrant {
    /// Handles the server's grant. The payload in it is not verified yet.
    ///
    /// # Errors
    /// [`ExchangeError`] if it cannot be parsed, or its certificate is not for this device's key.
    pub fn handle(self, answer: &[u8]) -> Result<Granted, ExchangeError> {
        let grant: Grant = read("grant", answer)?;
        let certificate = CertificateChain::parse(&grant.certificate_chain, &self.key)
            .map_err(|_| ExchangeError::WrongCertificate)?;
        Ok(Granted { grant, certificate, nonce: self.nonce })
    }
}

impl Granted {
    /// Returns the grant as received.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Returns the certificate for this device's key.
    #[must_use]
    pub const fn certificate(&self) -> &CertificateChain {
        &self.certificate
    }

    /// Returns the nonce that the payload has to repeat.
    #[must_use]
    pub const fn nonce(&self) -> Nonce {
        self.nonce
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entropy::Entropy,
        handshake::{DeviceKey, certificate::tests::certificate},
    };
    use serde_json::{Value, json};
    use unbox_common::{bytes::FixedBytes, identity::RawIdentifier, timestamp::Timestamp};

    fn start(token: Option<&str>) -> (DeviceKey, Start) {
        let key = DeviceKey::generate(&Entropy::system()).unwrap();
        let serial = r#"[{"kind":"service_tag","value":"7XK9Q13","source":"smbios"}]"#;
        let raw: Vec<RawIdentifier> = serde_json::from_str(serial).unwrap();
        let start = Start {
            identity: HardwareIdentity::from_raw(&raw).unwrap(),
            key: key.public().clone(),
            nonce: FixedBytes([1; 32]),
            root_version: 3,
            token: token.map(|token| Secret::new(token.to_owned())),
            reset_ticket: None,
            tpm: None,
            enrollment: None,
        };
        (key, start)
    }

    fn challenge(proof: &str) -> Vec<u8> {
        let nonce = FixedBytes([2; 32]);
        json!({"ticket": Bytes(b"ticket".to_vec()), "nonce": nonce, "proof": proof}).to_string().into_bytes()
    }

    fn golden_grant() -> Value {
        let golden = include_str!("../../../common/tests/golden/v1/grant.json");
        serde_json::from_str(golden).unwrap()
    }

    fn proved(token: Option<&str>, proof: &str) -> (DeviceKey, Value, AwaitGrant) {
        let (key, start) = start(token);
        let (hello, next) = start.hello().unwrap();
        let prove = next.handle(&challenge(proof)).unwrap();
        let signature = key.sign(prove.transcript(), &Entropy::system()).unwrap();
        let expected = transcript(
            Sha256::of(&hello),
            b"ticket",
            &FixedBytes([2; 32]),
            ProofKind::ALL.into_iter().find(|kind| kind.name() == proof).unwrap(),
        );
        assert!(key.public().verifies(&expected, &signature));
        let (message, next) = prove.into_message(signature, None).unwrap();
        (key, serde_json::from_slice(&message).unwrap(), next)
    }

    #[test]
    fn two_messages_lead_to_a_grant() {
        let (key, _, next) = proved(None, "identifiers");
        let mut grant = golden_grant();
        let (from, until) = (Timestamp::from_secs(1_795_000_000), Timestamp::from_secs(1_800_000_000));
        grant["certificate_chain"] = json!([certificate(&key, from, until)]);
        let granted = next.handle(grant.to_string().as_bytes()).unwrap();
        assert_eq!(granted.grant().device_id.get(), 4211);
        assert_eq!(granted.nonce(), FixedBytes([1; 32]));
        assert_eq!(granted.certificate().not_after(), until);
    }

    #[test]
    fn a_token_is_shown_only_to_who_asks_for_it() {
        assert!(proved(Some("ppt_1"), "identifiers").1.get("token").is_none());
        assert_eq!(proved(Some("ppt_1"), "token").1["token"], "ppt_1");
        let (_, start) = start(Some("ppt_1"));
        let (hello, _) = start.hello().unwrap();
        assert!(!String::from_utf8(hello).unwrap().contains("ppt_1"));
    }

    #[test]
    fn a_proof_that_was_not_offered_is_not_given() {
        for proof in ["token", "tpm"] {
            let (_, next) = start(None).1.hello().unwrap();
            let refused = next.handle(&challenge(proof)).unwrap_err();
            assert!(matches!(refused, ExchangeError::ProofNotOffered(_)), "{refused}");
        }
    }

    #[test]
    fn answers_that_are_no_answers_are_refused() {
        let oversized = Bytes(vec![0; MAX_TICKET_BYTES + 1]);
        let oversized = json!({"ticket": oversized, "nonce": FixedBytes([2; 32]), "proof": "identifiers"});
        for garbage in ["", "{}", "[]", "nonsense", &oversized.to_string()] {
            let (_, next) = start(None).1.hello().unwrap();
            assert!(next.handle(garbage.as_bytes()).is_err(), "{garbage:.40}");
            let (_, _, next) = proved(None, "identifiers");
            assert!(next.handle(garbage.as_bytes()).is_err(), "{garbage:.40}");
        }
    }

    #[test]
    fn a_certificate_for_another_key_is_refused() {
        let (_, _, next) = proved(None, "identifiers");
        let refused = next.handle(golden_grant().to_string().as_bytes()).unwrap_err();
        assert!(matches!(refused, ExchangeError::WrongCertificate), "{refused}");
    }
}
