//! Keys for tests: real signatures over payloads, and certificates that only say who they are for.

use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    ids::{DeviceId, Generation},
    payload::Payload,
    timestamp::Timestamp,
    trust::{DevicePublicKey, KeySet, Signed, SigningKey, SigningRoot, sign},
};
use unbox_server::service::{Signer, SignerError, TrustBundle};

/// Seals with a tag that only the same secret makes; nothing is encrypted.
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

    /// What devices would trust.
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
        key: &DevicePublicKey,
        device: DeviceId,
        generation: Generation,
        now: Timestamp,
    ) -> Result<Vec<Bytes>, SignerError> {
        let leaf = format!("device {device} generation {generation} key {} at {}", key.digest(), now.0);
        Ok(vec![Bytes(leaf.into_bytes()), Bytes(b"authority".to_vec())])
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
