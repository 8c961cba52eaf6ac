//! The sealed ticket: the server's state between hello and prove.
//!
//! The server stores nothing for a device that has proved nothing. Its notes travel with the device,
//! sealed. The first byte names their form, so that a server that was updated in between reads or refuses
//! them, and never misreads them.

use super::HelloRequest;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use unbox_common::{
    bytes::{Bytes, Nonce},
    digest::Sha256,
    identity::{HardwareIdentity, IdentifierKind, Rank, RawIdentifier, Source},
    ids::{ClaimId, CompanyId, DeviceId, Generation},
    protocol::latest::ProofKind,
    timestamp::Timestamp,
    trust::DevicePublicKey,
};

/// The form of the notes.
const FORM: u8 = 1;
/// The most that another server's clock may be ahead.
const SKEW: Duration = Duration::from_secs(30);

/// The server's notes about a hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    /// The digest of the hello's exact bytes.
    pub(super) hello: Sha256,
    /// The identifiers that the device showed, as `(kind, value, source)`.
    identity: Vec<(IdentifierKind, String, Source)>,
    /// The key that the device claims to hold.
    pub(super) key: DevicePublicKey,
    /// The device's nonce.
    pub(super) device_nonce: Nonce,
    /// The server's nonce.
    pub(super) server_nonce: Nonce,
    /// The demanded proof.
    pub(super) proof: ProofKind,
    /// The claim that matched.
    pub(super) claim: ClaimId,
    /// The strength of the match.
    pub(super) rank: Rank,
    /// The version of the device's signing root.
    pub(super) root_version: u64,
    /// The version of its agent.
    pub(super) agent_version: String,
    /// The TPM that must prove itself, if the claim demands one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tpm: Option<TpmNotes>,
    /// The enrollment that this server's certificate for the key attests, if the device showed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) prior: Option<PriorNotes>,
    /// The payload version that the device claims to have reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payload_version: Option<u64>,
    /// The time of the challenge.
    pub(super) issued_at: Timestamp,
}

/// The server's notes about a TPM that introduced itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TpmNotes {
    /// The endorsement key that the secret was sealed for, as an identifier.
    pub(super) endorsement: Sha256,
    /// The attestation key's public area.
    pub(super) attestation: Bytes,
    /// Digest of the secret that only this TPM can open.
    pub(super) secret: Sha256,
    /// True if a manufacturer's root vouches for the endorsement key.
    pub(super) rooted: bool,
}

/// An enrollment that this server has certified for the device's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PriorNotes {
    /// The device.
    pub(super) device: DeviceId,
    /// The enrollment.
    pub(super) generation: Generation,
    /// The customer that owned the device then.
    pub(super) owner: CompanyId,
}

/// The part of the notes that does not come from the hello itself.
pub(super) struct Challenged {
    pub(super) server_nonce: Nonce,
    pub(super) proof: ProofKind,
    pub(super) claim: ClaimId,
    pub(super) rank: Rank,
    pub(super) tpm: Option<TpmNotes>,
    pub(super) prior: Option<PriorNotes>,
    pub(super) now: Timestamp,
}

impl Notes {
    pub(super) fn new(hello: &HelloRequest, given: Challenged) -> Self {
        // A TPM key that will not be proved is not remembered.
        let is_kept = |one: &RawIdentifier| given.tpm.is_some() || one.kind != IdentifierKind::TpmKey;
        let identity = hello.identity.to_raw();
        Self {
            hello: hello.digest,
            identity: identity
                .into_iter()
                .filter(is_kept)
                .map(|one| (one.kind, one.value, one.source))
                .collect(),
            key: hello.message.device_key.clone(),
            device_nonce: hello.message.nonce,
            server_nonce: given.server_nonce,
            proof: given.proof,
            claim: given.claim,
            rank: given.rank,
            root_version: hello.message.root_version,
            agent_version: hello.message.agent_version.clone(),
            tpm: given.tpm,
            prior: given.prior,
            payload_version: hello.message.enrollment.as_ref().and_then(|prior| prior.payload_version),
            issued_at: given.now,
        }
    }

    /// Returns the plain text to seal.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![FORM];
        // Serializing our own type into memory cannot fail; truncated text would not be accepted later.
        let _ = serde_json::to_writer(&mut bytes, self);
        bytes
    }

    /// Reads notes that were sealed.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [FORM, json @ ..] => serde_json::from_slice(json).ok(),
            _ => None,
        }
    }

    /// Returns the identifiers that the device showed; `None` if the rules have changed since.
    pub(super) fn identity(&self) -> Option<HardwareIdentity> {
        let raw: Vec<RawIdentifier> = self
            .identity
            .iter()
            .map(|(kind, value, source)| RawIdentifier { kind: *kind, value: value.clone(), source: *source })
            .collect();
        HardwareIdentity::from_raw(&raw).ok()
    }

    /// Returns true if the challenge may still be answered.
    pub(super) fn is_in_time(&self, now: Timestamp, lifetime: Duration) -> bool {
        now < self.issued_at.plus(lifetime) && self.issued_at <= now.plus(SKEW)
    }
}
