//! A device as the server sees one: identifiers, a key, and the messages of the protocol.

use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use unbox_common::{
    bytes::{Bytes, FixedBytes},
    digest::Sha256,
    identity::{IdentifierKind, RawIdentifier, Source},
    ids::Generation,
    payload::Payload,
    protocol::{
        latest::{
            Challenge, CheckIn, Grant, Hello, Installed, Outcome, PROTOCOL_VERSION, PriorEnrollment,
            ProofKind, Prove, Report, ReportEntry,
        },
        progress::Progress,
        transcript::transcript,
    },
    secret::Secret,
    timestamp::Timestamp,
    trust::{DeviceKeySignature, DevicePublicKey},
};
use unbox_server::service::{DeviceIdentityCert, ServiceError, Services};

/// A device in a test.
pub struct TestDevice {
    pair: EcdsaKeyPair,
    document: Vec<u8>,
    random: SystemRandom,
    pub identity: Vec<(IdentifierKind, String)>,
    pub proofs: Vec<ProofKind>,
    pub token: Option<Secret>,
    pub reset_ticket: Option<Secret>,
    pub enrollment: Option<PriorEnrollment>,
}

impl TestDevice {
    /// Makes a Lenovo with this serial number and a key of its own.
    pub fn new(serial: &str) -> Self {
        let (pair, document, random) = new_key();
        let identity = [
            (IdentifierKind::SerialNumber, serial),
            (IdentifierKind::Manufacturer, "LENOVO"),
            (IdentifierKind::Model, "20QES0XX00"),
            (IdentifierKind::BoardSerial, "L1HF123"),
            (IdentifierKind::MacAddress, "00:16:3e:00:00:01"),
        ];
        Self {
            pair,
            document,
            random,
            identity: identity.map(|(kind, value)| (kind, value.to_owned())).to_vec(),
            proofs: vec![ProofKind::Identifiers, ProofKind::Token, ProofKind::RegisteredKey],
            token: None,
            reset_ticket: None,
            enrollment: None,
        }
    }

    /// Returns the same hardware after its disk was wiped: with a new key.
    pub fn wiped(&self) -> Self {
        let (pair, document, random) = new_key();
        let (identity, proofs) = (self.identity.clone(), self.proofs.clone());
        let token = self.token.clone();
        Self { pair, document, random, identity, proofs, token, reset_ticket: None, enrollment: None }
    }

    /// Returns another device with the same key, as on a copied disk.
    pub fn same_key(&self) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let random = self.random.clone();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, &self.document, &random).unwrap();
        let (identity, proofs, document) =
            (self.identity.clone(), self.proofs.clone(), self.document.clone());
        let (token, enrollment) = (self.token.clone(), self.enrollment.clone());
        Self { pair, document, random, identity, proofs, token, reset_ticket: None, enrollment }
    }

    pub fn replace(&mut self, kind: IdentifierKind, value: &str) {
        self.identity.retain(|(own, _)| *own != kind);
        self.identity.push((kind, value.to_owned()));
    }

    pub fn key(&self) -> DevicePublicKey {
        DevicePublicKey::from_point(self.pair.public_key().as_ref()).unwrap()
    }

    pub fn hello(&self) -> Hello {
        let raw = |(kind, value): &(IdentifierKind, String)| RawIdentifier {
            kind: *kind,
            value: value.clone(),
            source: Source::Smbios,
        };
        Hello {
            protocol: PROTOCOL_VERSION,
            agent_version: "0.1.0".to_owned(),
            identity: self.identity.iter().map(raw).collect(),
            device_key: self.key(),
            proofs: self.proofs.clone(),
            nonce: FixedBytes([7; 32]),
            root_version: 1,
            token_digest: self.token.as_ref().map(|token| Sha256::of(token.expose().as_bytes())),
            tpm: None,
            enrollment: self.enrollment.clone(),
        }
    }

    pub fn hello_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.hello()).unwrap()
    }

    pub fn sign(&self, message: &[u8]) -> DeviceKeySignature {
        FixedBytes(self.pair.sign(&self.random, message).unwrap().as_ref().try_into().unwrap())
    }

    /// Signs the proof for a challenge of exactly this hello.
    pub fn prove_bytes(&self, hello: &[u8], challenge: &Challenge) -> Vec<u8> {
        let Challenge { ticket, nonce, proof, .. } = challenge;
        let signed = transcript(Sha256::of(hello), ticket.as_ref(), nonce, *proof);
        serde_json::to_vec(&Prove {
            ticket: Bytes(ticket.0.clone()),
            signature: self.sign(&signed),
            token: self.token.clone(),
            reset_ticket: self.reset_ticket.clone(),
            tpm: None,
        })
        .unwrap()
    }

    /// Returns the same device, which shows this prior enrollment.
    pub fn showing(mut self, enrollment: Option<PriorEnrollment>) -> Self {
        self.enrollment = enrollment;
        self
    }

    /// Shows the certificate of this grant from now on, and its payload as installed.
    pub fn remember(&mut self, grant: &Grant) {
        let certificate = grant.certificate_chain[0].clone();
        let payload: Payload = serde_json::from_slice(grant.payload.envelope().payload.as_ref()).unwrap();
        self.enrollment = Some(PriorEnrollment { certificate, payload_version: Some(payload.version) });
    }

    /// Runs the whole handshake.
    pub async fn enroll(&self, services: &Services) -> Result<Grant, ServiceError> {
        let hello = self.hello_bytes();
        let challenge = services.devices.hello(&hello).await?;
        services.devices.prove(&self.prove_bytes(&hello, &challenge)).await
    }
}

fn new_key() -> (EcdsaKeyPair, Vec<u8>, SystemRandom) {
    #[expect(clippy::disallowed_methods, reason = "each device of a test needs a key of its own, whichever")]
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
    (pair, document.as_ref().to_vec(), random)
}

/// Returns the identity in the certificate of a grant.
pub fn certificate(grant: &Grant) -> DeviceIdentityCert {
    // The authority of every world's signer.
    let issuer = Sha256::of(&[1]);
    DeviceIdentityCert { device: grant.device_id, generation: grant.generation, issuer }
}

/// Makes a report of these sequence numbers.
pub fn report(generation: Generation, sequences: &[u64], outcome: Option<Outcome>) -> Report {
    let entry = |sequence: &u64| ReportEntry {
        sequence: *sequence,
        at: Timestamp(sequence.saturating_add(1000)),
        progress: Progress::Informational,
        detail: Some(format!("entry {sequence}")),
    };
    Report { generation, entries: sequences.iter().map(entry).collect(), outcome }
}

/// Makes a check-in of a healthy device.
pub fn check_in(generation: Generation, installed: Option<Installed>) -> CheckIn {
    CheckIn {
        generation,
        agent_version: "0.1.0".to_owned(),
        installed,
        failed_version: None,
        healthy: true,
        nonce: FixedBytes([9; 32]),
        root_version: 1,
        renew_certificate: false,
    }
}
