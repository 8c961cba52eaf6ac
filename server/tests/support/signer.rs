//! Keys for tests: real signatures over payloads, and certificates that only name their device.

use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    payload::Payload,
    timestamp::Timestamp,
    trust::{KeySet, Signed, SigningKey, SigningRoot, sign},
};
use unbox_server::service::{CertifiedEnrollment, Signer, SignerError, TrustBundle};

/// A signer whose seal is a tag that only the same secret makes; nothing is encrypted.
pub struct TestSigner {
    secret: u8,
}

impl TestSigner {
    pub fn new(secret: u8) -> Self {
        Self { secret }
    }

    fn payload_key(&self) -> SigningKey {
        SigningKey::from_seed(&[self.secret; 32])
    }

    /// Returns the keys that devices would trust.
    pub fn trusted(&self) -> KeySet {
        KeySet::new(1, [self.payload_key().public()]).unwrap()
    }

    fn tag(&self, plain: &[u8]) -> [u8; 32] {
        Sha256::of(&[&[self.secret], plain].concat()).0
    }
}

impl Signer for TestSigner {
    fn issue_certificate(
        &self,
        enrollment: &CertifiedEnrollment,
        now: Timestamp,
    ) -> Result<Vec<Bytes>, SignerError> {
        let CertifiedEnrollment { device, generation, owner, key } = enrollment;
        let leaf = (device, generation, owner, key, now);
        let leaf = serde_json::to_vec(&leaf).map_err(|error| SignerError(error.into()))?;
        Ok(vec![Bytes([&self.tag(&leaf)[..], &leaf].concat()), Bytes(b"authority".to_vec())])
    }

    fn read_certificate(&self, der: &[u8]) -> Option<CertifiedEnrollment> {
        let (device, generation, owner, key, _): (_, _, _, _, Timestamp) =
            serde_json::from_slice(&self.open_ticket(der)?).ok()?;
        Some(CertifiedEnrollment { device, generation, owner, key })
    }

    fn certificate_issuer(&self) -> Sha256 {
        Sha256::of(&[self.secret])
    }

    fn sign_payload(&self, payload: &Payload) -> Result<Signed<Payload>, SignerError> {
        sign(payload, &[&self.payload_key()]).map_err(|error| SignerError(error.into()))
    }

    fn seal_ticket(&self, plain: &[u8]) -> Result<Vec<u8>, SignerError> {
        Ok([&self.tag(plain), plain].concat())
    }

    fn open_ticket(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (tag, plain) = sealed.split_at_checked(32)?;
        (tag == self.tag(plain)).then(|| plain.to_vec())
    }

    fn page_token_secret(&self) -> [u8; 32] {
        [7; 32]
    }

    fn roots_after(&self, _version: u64) -> Vec<Signed<SigningRoot>> {
        Vec::new()
    }

    fn trust_bundle(&self, _known: u64) -> Result<TrustBundle, SignerError> {
        let (anchors, root, newer_roots) = (String::new(), String::new(), Vec::new());
        Ok(TrustBundle { anchors, root, root_version: 1, newer_roots })
    }
}
