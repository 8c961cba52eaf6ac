//! Version 1 of the device protocol: JSON over HTTPS below `/device/v1`.
//!
//! Unknown fields are passed over on both sides, so that either can be newer; what is signed
//! is stricter (see [`crate::payload`]).

use crate::{
    attestation::QUOTED_PCRS,
    bytes::{Bytes, FixedBytes, Nonce},
    digest::Sha256,
    identity::RawIdentifier,
    ids::{ConfigurationId, DeviceId, Generation},
    payload::{Payload, VersionText},
    protocol::progress::Progress,
    secret::Secret,
    timestamp::Timestamp,
    trust::{DeviceKeySignature, DevicePublicKey, Signed, SigningRoot},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The number that `hello` carries.
pub const PROTOCOL_VERSION: u32 = 1;
/// Path of `hello`.
pub const HELLO_PATH: &str = "/device/v1/hello";
/// Path of `prove`.
pub const PROVE_PATH: &str = "/device/v1/prove";
/// Path of `report`, over mutual TLS.
pub const REPORT_PATH: &str = "/device/v1/report";
/// Path of `check-in`, over mutual TLS.
pub const CHECK_IN_PATH: &str = "/device/v1/check-in";
/// Where artifacts lie, by their SHA-256.
pub const ARTIFACT_PATH: &str = "/artifacts/sha256";

/// What a device can show beside its identifiers, and what a claim asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofKind {
    /// The identifiers alone; the first key to enroll is bound.
    Identifiers,
    /// A pre-provisioning token.
    Token,
    /// Possession of the key that the factory registered.
    RegisteredKey,
    /// A TPM: endorsement certificate, credential activation, quote.
    Tpm,
}

impl ProofKind {
    /// Every kind, in rising strength.
    pub const ALL: [Self; 4] = [Self::Identifiers, Self::Token, Self::RegisteredKey, Self::Tpm];

    /// The wire name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identifiers => "identifiers",
            Self::Token => "token",
            Self::RegisteredKey => "registered_key",
            Self::Tpm => "tpm",
        }
    }
}

impl fmt::Display for ProofKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// First message of a device: what it is, which key it holds, what it can prove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    pub protocol: u32,
    /// Version of the agent, for the audit trail.
    pub agent_version: String,
    /// The identifiers, as read.
    pub identity: Vec<RawIdentifier>,
    /// The public half of the device's key.
    pub device_key: DevicePublicKey,
    /// What it can prove.
    pub proofs: Vec<ProofKind>,
    /// The device's nonce; the payload will repeat it.
    pub nonce: Nonce,
    /// Version of the signing root that the device trusts.
    pub root_version: u64,
    /// SHA-256 of its pre-provisioning token, if it has one: whoever has a token is not held back for
    /// what others at the same address guess. The token itself is for [`Prove`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_digest: Option<Sha256>,
    /// Its TPM, if it offers to prove itself by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmIntroduction>,
    /// The enrollment that it has or had, if it remembers one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment: Option<PriorEnrollment>,
}

/// How far a device that enrolls again has come already. A server whose database was restored from a
/// backup may know less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorEnrollment {
    /// The client certificate of its last grant, DER. It may have expired.
    pub certificate: Bytes,
    /// The highest payload version that was in force on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_version: Option<u64>,
}

/// The keys that a device's TPM is known by. Nothing of it is proven yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmIntroduction {
    /// The endorsement key, DER `SubjectPublicKeyInfo`.
    pub endorsement_key: Bytes,
    /// The endorsement key's certificate, then those of its issuers as far as the TPM holds them;
    /// DER. Empty if the maker put none into the TPM.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Bytes>,
    /// The attestation key's public area (`TPMT_PUBLIC`).
    pub attestation_key: Bytes,
}

/// Answer to [`Hello`]: what the server asks for. The server remembers nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Opaque: the server's own notes, sealed.
    pub ticket: Bytes,
    /// The server's nonce.
    pub nonce: Nonce,
    /// The proof that the claim asks for.
    pub proof: ProofKind,
    /// What only that TPM can open, if the proof is [`ProofKind::Tpm`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmCredential>,
}

/// A secret that only the TPM with this endorsement key *and* this attestation key can open
/// (`TPM2_MakeCredential`, `TPM2_ActivateCredential`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmCredential {
    /// The sealed secret (`TPMS_ID_OBJECT`: integrity and ciphertext).
    pub credential: Bytes,
    /// What the endorsement key needs to open it (the contents of `TPM2B_ENCRYPTED_SECRET`).
    pub seed: Bytes,
}

/// Second message of a device: the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prove {
    /// The ticket of the challenge, as it came.
    pub ticket: Bytes,
    /// The device key's signature over the [transcript](super::transcript).
    pub signature: DeviceKeySignature,
    /// The pre-provisioning token, if the challenge asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// A one-time ticket that allows a new key after an authorised factory reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_ticket: Option<Secret>,
    /// What the TPM answered, if the challenge asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmEvidence>,
}

/// What a TPM answers to a challenge. Both statements are bound to this handshake: their qualifying
/// data is the SHA-256 of the [transcript](super::transcript).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmEvidence {
    /// The secret of the credential, in base64.
    pub secret: Secret,
    /// The device key's public area (`TPMT_PUBLIC`).
    pub device_key: Bytes,
    /// The attestation key's statement about the device key (`TPMS_ATTEST`).
    pub certification: Bytes,
    /// Its signature.
    pub certification_signature: DeviceKeySignature,
    /// The attestation key's statement about the measurements (`TPMS_ATTEST`).
    pub quote: Bytes,
    /// Its signature.
    pub quote_signature: DeviceKeySignature,
    /// The measurements themselves: PCR 0 to 7 of the SHA-256 bank.
    pub pcrs: [FixedBytes<32>; QUOTED_PCRS],
}

/// Answer to [`Prove`]: the device is enrolled, and this is what it becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The device's id from now on.
    pub device_id: DeviceId,
    /// Which enrollment this is.
    pub generation: Generation,
    /// The client certificate for the device's key first, then its issuer; DER.
    pub certificate_chain: Vec<Bytes>,
    /// Whose device this is, for whoever stands in front of it.
    pub owner: Owner,
    /// What to install.
    pub payload: Signed<Payload>,
    /// Signing roots that the device does not have yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<Signed<SigningRoot>>,
    /// The server's clock.
    pub server_time: Timestamp,
    /// When to check in for the first time after set-up, in seconds.
    pub check_in_after_s: u32,
}

/// Whose device this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The company.
    pub company: String,
    /// Whom to write to.
    pub contact_email: String,
    /// Whom to call.
    pub contact_phone: String,
    /// A greeting, or what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Progress and outcome, over mutual TLS. Sending it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The enrollment that it is about.
    pub generation: Generation,
    /// What happened, oldest first.
    pub entries: Vec<ReportEntry>,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportEntry {
    /// Counts up within a generation, from 1; what the server has seen it does not take again.
    pub sequence: u64,
    /// When, by the device's clock.
    pub at: Timestamp,
    /// What, in the words of RFC 8572.
    pub progress: Progress,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// How an installation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// Installed, healthy, final.
    Managed {
        /// The payload's version.
        version: u64,
    },
    /// Undone: the device is exactly as it was.
    RolledBack {
        /// The payload's version.
        version: u64,
        /// Short name of the reason.
        kind: String,
        /// The reason, for people.
        detail: String,
    },
    /// Not even begun.
    Rejected {
        /// The payload's version, where it could be read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
        /// Short name of the reason.
        kind: String,
        /// The reason, for people.
        detail: String,
    },
}

/// Answer to [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// The highest sequence that is safely stored.
    pub sequence: u64,
    /// The server's clock.
    pub server_time: Timestamp,
}

/// A managed device asks whether there is news, over mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckIn {
    /// The enrollment.
    pub generation: Generation,
    /// Version of the agent.
    pub agent_version: String,
    /// What is installed; nothing if the last installation was rolled back to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
    /// Version of a payload that failed or was refused here, so that the server does not send it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_version: Option<u64>,
    /// Whether the DPC passes its health check now.
    pub healthy: bool,
    /// The device's nonce; a newer payload will repeat it.
    pub nonce: Nonce,
    /// Version of the signing root that the device trusts.
    pub root_version: u64,
    /// The device asks for a new certificate for the same key.
    #[serde(default)]
    pub renew_certificate: bool,
}

/// What a device runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    /// The configuration.
    pub configuration: ConfigurationId,
    /// The payload's version.
    pub version: u64,
    /// The DPC's name and version, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpc: Option<InstalledDpc>,
}

/// The DPC that a device runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledDpc {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: VersionText,
}

/// Answer to [`CheckIn`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// When to check in again, in seconds.
    pub check_in_after_s: u32,
    /// The server's clock.
    pub server_time: Timestamp,
    /// What to do, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    /// A payload that is newer than what is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Signed<Payload>>,
    /// Signing roots that the device does not have yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<Signed<SigningRoot>>,
    /// The new certificate, if one was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_chain: Vec<Bytes>,
    /// Whose device this is.
    pub owner: Owner,
}

/// What an administrator asks of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Enroll again, from the first message on; the generation rises.
    ReEnroll,
    /// Something that a newer server asks for; an older agent passes it over.
    #[serde(other)]
    Unknown,
}
