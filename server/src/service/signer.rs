//! What services need of the server's keys, and no more.

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

/// What a device needs to trust the server: the files that images get, as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// The TLS authorities: `anchors.pem`.
    pub anchors: String,
    /// The newest signing root: `root.json`.
    pub root: String,
    /// Its version.
    pub root_version: u64,
    /// Every root after the one that was known, oldest first, each written as `root.json`.
    pub newer_roots: Vec<String>,
}

/// What a device's client certificate attests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedEnrollment {
    /// The device.
    pub device: DeviceId,
    /// The enrollment in which it gets or got the certificate.
    pub generation: Generation,
    /// The customer that owns or owned it.
    pub owner: CompanyId,
    /// The device's key.
    pub key: DevicePublicKey,
}

/// The keys of the server, at work.
pub trait Signer: Send + Sync {
    /// A client certificate for an enrollment, DER, the device's own first.
    fn issue_certificate(
        &self,
        enrollment: &CertifiedEnrollment,
        now: Timestamp,
    ) -> Result<Vec<Bytes>, SignerError>;

    /// The enrollment that a client certificate attests, also after its end; `None` unless it was issued
    /// with these keys.
    fn read_certificate(&self, der: &[u8]) -> Option<CertifiedEnrollment>;

    /// Digest of the name of the authority that issues client certificates now.
    fn certificate_issuer(&self) -> Sha256;

    /// A payload in its signed envelope.
    fn sign_payload(&self, payload: &Payload) -> Result<Signed<Payload>, SignerError>;

    /// Notes that only this server reads again.
    fn seal_ticket(&self, plain: &[u8]) -> Result<Vec<u8>, SignerError>;

    /// The notes, if this server sealed them and nobody changed them since.
    fn open_ticket(&self, sealed: &[u8]) -> Option<Vec<u8>>;

    /// A secret of its own for page tokens, the same on every server that has these keys.
    fn page_token_secret(&self) -> [u8; 32];

    /// The signing roots after `version`, oldest first, at most as many as one answer carries.
    fn roots_after(&self, version: u64) -> Vec<Signed<SigningRoot>>;

    /// What devices trust, for those who write it onto them; `known` is the version of a root.
    fn trust_bundle(&self, known: u64) -> Result<TrustBundle, SignerError>;
}
