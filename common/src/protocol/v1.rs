//! Version 1 of the device protocol: JSON over HTTPS below `/device/v1`.
//!
//! Both sides ignore unknown fields, so that either can be newer; signed documents are stricter (see
//! [`crate::payload`]).

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
/// Path of artifacts, each under its SHA-256.
pub const ARTIFACT_PATH: &str = "/artifacts/sha256";

/// A proof that a device can give beside its identifiers, and that a claim can require.
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

    /// Returns the wire name.
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

/// First message of a device: its identifiers, its key, and the proofs that it can give.
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
    /// The proofs that it can give.
    pub proofs: Vec<ProofKind>,
    /// The device's nonce; the payload will repeat it.
    pub nonce: Nonce,
    /// Version of the signing root that the device trusts.
    pub root_version: u64,
    /// SHA-256 of its pre-provisioning token, if it has one: a device with a token is not slowed down by
    /// others' guesses from the same address. The token itself is for [`Prove`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_digest: Option<Sha256>,
    /// Its TPM, if it offers a proof by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmIntroduction>,
    /// The enrollment that it has or had, if it remembers one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment: Option<PriorEnrollment>,
}

/// The previous enrollment of a device that enrolls again. A server whose database was restored from a
/// backup may know less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriorEnrollment {
    /// The client certificate of its last grant, DER. It may have expired.
    pub certificate: Bytes,
    /// The highest payload version that was in force on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_version: Option<u64>,
}

/// The keys of a device's TPM. Nothing of it is proven yet.
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

/// Answer to [`Hello`]: the server's question. The server remembers nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// Opaque: the server's own notes, sealed.
    pub ticket: Bytes,
    /// The server's nonce.
    pub nonce: Nonce,
    /// The proof that the claim requires.
    pub proof: ProofKind,
    /// The credential that only that TPM can open, if the proof is [`ProofKind::Tpm`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmCredential>,
}

/// A secret that only the TPM with this endorsement key *and* this attestation key can open
/// (`TPM2_MakeCredential`, `TPM2_ActivateCredential`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmCredential {
    /// The sealed secret (`TPMS_ID_OBJECT`: integrity and ciphertext).
    pub credential: Bytes,
    /// The input that the endorsement key needs to open it (the contents of `TPM2B_ENCRYPTED_SECRET`).
    pub seed: Bytes,
}

/// Second message of a device: the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prove {
    /// The ticket of the challenge, as it came.
    pub ticket: Bytes,
    /// The device key's signature over the [transcript](super::transcript).
    pub signature: DeviceKeySignature,
    /// The pre-provisioning token, if the challenge requires one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// A one-time ticket that allows a new key after an authorised factory reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset_ticket: Option<Secret>,
    /// The TPM's answer, if the challenge requires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tpm: Option<TpmEvidence>,
}

/// The TPM's answer to a challenge. Both statements are bound to this handshake: their qualifying
/// data is the SHA-256 of the [transcript](super::transcript).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TpmEvidence {
    /// The secret of the credential, in base64.
    pub secret: Secret,
    /// The device key's public area (`TPMT_PUBLIC`).
    pub device_key: Bytes,
    /// The attestation key's statement about the device key (`TPMS_ATTEST`).
    pub certification: Bytes,
    /// The signature of `certification`.
    pub certification_signature: DeviceKeySignature,
    /// The attestation key's statement about the measurements (`TPMS_ATTEST`).
    pub quote: Bytes,
    /// The signature of `quote`.
    pub quote_signature: DeviceKeySignature,
    /// The measurements themselves: PCR 0 to 7 of the SHA-256 bank.
    pub pcrs: [FixedBytes<32>; QUOTED_PCRS],
}

/// Answer to [`Prove`]: the device is enrolled, and this is what it becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The device's id from now on.
    pub device_id: DeviceId,
    /// The generation of this enrollment.
    pub generation: Generation,
    /// The client certificate for the device's key first, then its issuer; DER.
    pub certificate_chain: Vec<Bytes>,
    /// The owner of the device, for the person in front of it.
    pub owner: Owner,
    /// The payload to install.
    pub payload: Signed<Payload>,
    /// Signing roots that the device does not have yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<Signed<SigningRoot>>,
    /// The server's clock.
    pub server_time: Timestamp,
    /// The time until the first check-in after set-up, in seconds.
    pub check_in_after_s: u32,
}

/// The owner of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The company.
    pub company: String,
    /// The address to write to.
    pub contact_email: String,
    /// The number to call.
    pub contact_phone: String,
    /// A greeting, or the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Progress and outcome, over mutual TLS. Sending it twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The enrollment that it is about.
    pub generation: Generation,
    /// The events, oldest first.
    pub entries: Vec<ReportEntry>,
    /// The end of the installation, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// One event on the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportEntry {
    /// Counts up within a generation, from 1; the server does not accept a number again that it has seen.
    pub sequence: u64,
    /// The time, by the device's clock.
    pub at: Timestamp,
    /// The event, in the words of RFC 8572.
    pub progress: Progress,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The end of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Outcome {
    /// The payload is installed, healthy and final.
    Managed {
        /// The payload's version.
        version: u64,
    },
    /// The installation was undone: the device is exactly as before.
    RolledBack {
        /// The payload's version.
        version: u64,
        /// Short name of the reason.
        kind: String,
        /// The reason, for people.
        detail: String,
    },
    /// The installation did not begin.
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

/// A managed device's question for news, over mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckIn {
    /// The enrollment.
    pub generation: Generation,
    /// Version of the agent.
    pub agent_version: String,
    /// The installed payload; `None` if the last installation was rolled back to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
    /// Version of a payload that failed or was refused here, so that the server does not send it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_version: Option<u64>,
    /// True if the DPC passes its health check now.
    pub healthy: bool,
    /// The device's nonce; a newer payload will repeat it.
    pub nonce: Nonce,
    /// Version of the signing root that the device trusts.
    pub root_version: u64,
    /// True if the device asks for a new certificate for the same key.
    #[serde(default)]
    pub renew_certificate: bool,
}

/// The payload that a device runs.
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
    /// The time until the next check-in, in seconds.
    pub check_in_after_s: u32,
    /// The server's clock.
    pub server_time: Timestamp,
    /// The commands to carry out, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<Command>,
    /// A payload that is newer than the installed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Signed<Payload>>,
    /// Signing roots that the device does not have yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roots: Vec<Signed<SigningRoot>>,
    /// The new certificate, if one was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificate_chain: Vec<Bytes>,
    /// The owner of the device.
    pub owner: Owner,
}

/// An administrator's command to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Enroll again, from the first message on; the generation rises.
    ReEnroll,
    /// A command of a newer server; an older agent ignores it.
    #[serde(other)]
    Unknown,
}
