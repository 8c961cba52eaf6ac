//! The services' interface to the server's keys.

use std::error::Error;
use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    ids::{CompanyId, DeviceId, Generation},
    payload::Payload,
    timestamp::Timestamp,
    trust::{DevicePublicKey, Signed, SigningRoot},
};

/// A key could not do its work.
#[derive(Debug, thiserror::Error)]
#[error("a key of this server could not do its work")]
pub struct SignerError(#[source] pub Box<dyn Error + Send + Sync>);

/// The files that a device needs to trust the server, exactly as in images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// The TLS authorities: `anchors.pem`.
    pub anchors: String,
    /// The newest signing root: `root.json`.
    pub root: String,
    /// Its version.
    pub root_version: u64,
    /// Every root after the known one, oldest first, each written as `root.json`.
    pub newer_roots: Vec<String>,
}

/// The contents of a device's client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedEnrollment {
    /// The device.
    pub device: DeviceId,
    /// The enrollment that the certificate is for.
    pub generation: Generation,
    /// The customer that owns the device, or owned it when the certificate was issued.
    pub owner: CompanyId,
    /// The device's key.
    pub key: DevicePublicKey,
}

/// The server's keys in use.
pub trait Signer: Send + Sync {
    /// Issues a client certificate for an enrollment, DER, the device's own first.
    fn issue_certificate(
        &self,
        enrollment: &CertifiedEnrollment,
        now: Timestamp,
    ) -> Result<Vec<Bytes>, SignerError>;

    /// Returns the enrollment that a client certificate attests, even after its expiry; `None` unless it
    /// was issued with these keys.
    fn read_certificate(&self, der: &[u8]) -> Option<CertifiedEnrollment>;

    /// Returns the digest of the name of the authority that issues client certificates now.
    fn certificate_issuer(&self) -> Sha256;

    /// Returns a payload in its signed envelope.
    fn sign_payload(&self, payload: &Payload) -> Result<Signed<Payload>, SignerError>;

    /// Seals notes that only this server can read.
    fn seal_ticket(&self, plain: &[u8]) -> Result<Vec<u8>, SignerError>;

    /// Returns the notes, if this server sealed them and they are unaltered.
    fn open_ticket(&self, sealed: &[u8]) -> Option<Vec<u8>>;

    /// Returns a separate secret for page tokens, the same on every server with these keys.
    fn page_token_secret(&self) -> [u8; 32];

    /// Returns the signing roots after `version`, oldest first, at most as many as fit in one answer.
    fn roots_after(&self, version: u64) -> Vec<Signed<SigningRoot>>;

    /// Returns the files that devices need for trust, for tools that provision devices; `known` is the
    /// version of a root.
    fn trust_bundle(&self, known: u64) -> Result<TrustBundle, SignerError>;
}
