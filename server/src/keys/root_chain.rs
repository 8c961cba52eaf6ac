//! The signing roots from the first to the newest, and the making of the next one.
//!
//! Pure: other files read and write them, and keys are parameters.

use unbox_common::{
    protocol::limits::MAX_ROOTS,
    trust::{
        InvalidKeySet, KeySet, PublicKey, RootRejected, Signed, SigningKey, SigningRoot, TlsAnchors,
        Verified, sign,
    },
};

/// Every root, oldest first, each accepted by the one before it exactly as a device accepts it.
#[derive(Debug, Clone)]
pub(super) struct RootChain {
    signed: Vec<Signed<SigningRoot>>,
    latest: Verified<SigningRoot>,
}

/// The change that the next root makes.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new key signs payloads; the old ones stay trusted.
    AddPayloadKey(PublicKey),
    /// Only this key signs payloads from now on.
    RetireOtherPayloadKeys(PublicKey),
    /// A new key signs the roots after this one; the old ones no longer do.
    ReplaceRootKeys(PublicKey),
    /// Servers' certificates must lead to one of these from now on.
    SetTlsAnchors(TlsAnchors),
}

/// The reason why a chain of roots was not accepted, or not continued.
#[derive(Debug, thiserror::Error)]
pub enum RootChainError {
    /// There is no root at all.
    #[error("there is no signing root")]
    Empty,
    /// A root does not follow the one before it, or the first is not signed by itself.
    #[error("signing root {version} is not accepted")]
    Rejected {
        /// The version of the root.
        version: u64,
        /// The cause.
        #[source]
        source: RootRejected,
    },
    /// The keys of the next root do not form a valid set.
    #[error("the next root's keys make no set")]
    KeySet(#[source] InvalidKeySet),
    /// The next root could not be serialised.
    #[error("the next root could not be signed")]
    Sign(#[source] serde_json::Error),
}

impl RootChain {
    /// Returns a chain with the first root: one payload key, one root key.
    pub(super) fn new_first(payload_key: &PublicKey, root_key: &SigningKey) -> Result<Self, RootChainError> {
        let root = SigningRoot {
            version: 1,
            payload_keys: KeySet::new(1, [*payload_key]).map_err(RootChainError::KeySet)?,
            root_keys: KeySet::new(1, [root_key.public()]).map_err(RootChainError::KeySet)?,
            tls_anchors: None,
        };
        Self::accept(vec![sign(&root, &[root_key]).map_err(RootChainError::Sign)?])
    }

    /// Verifies the roots one by one, as a device with the first one would.
    pub(super) fn accept(signed: Vec<Signed<SigningRoot>>) -> Result<Self, RootChainError> {
        let mut versions = 1..;
        let mut latest: Option<Verified<SigningRoot>> = None;
        for (root, version) in signed.iter().zip(&mut versions) {
            let next = match &latest {
                None => SigningRoot::from_image(root),
                Some(present) => present.successor(root),
            };
            let next = next.map_err(|source| RootChainError::Rejected { version, source })?;
            if next.version != version {
                let source = RootRejected::WrongVersion { expected: version, found: next.version };
                return Err(RootChainError::Rejected { version, source });
            }
            latest = Some(next);
        }
        latest.map(|latest| Self { signed, latest }).ok_or(RootChainError::Empty)
    }

    /// Returns the chain with one more root, signed by `signers` and checked as a device will check it.
    pub(super) fn with_next_root(
        &self,
        change: Change,
        signers: &[&SigningKey],
    ) -> Result<Self, RootChainError> {
        let mut root = SigningRoot {
            version: self.latest.version.saturating_add(1),
            payload_keys: self.latest.payload_keys.clone(),
            root_keys: self.latest.root_keys.clone(),
            tls_anchors: self.latest.tls_anchors.clone(),
        };
        match change {
            Change::AddPayloadKey(key) => {
                let keys = root.payload_keys.keys().copied().chain([key]);
                root.payload_keys =
                    KeySet::new(root.payload_keys.threshold(), keys).map_err(RootChainError::KeySet)?;
            }
            Change::RetireOtherPayloadKeys(key) => {
                root.payload_keys = KeySet::new(1, [key]).map_err(RootChainError::KeySet)?;
            }
            Change::ReplaceRootKeys(key) => {
                root.root_keys = KeySet::new(1, [key]).map_err(RootChainError::KeySet)?;
            }
            Change::SetTlsAnchors(anchors) => root.tls_anchors = Some(anchors),
        }
        let next = sign(&root, signers).map_err(RootChainError::Sign)?;
        Self::accept(self.signed.iter().cloned().chain([next]).collect())
    }

    /// Returns the newest root.
    pub(super) fn latest(&self) -> &SigningRoot {
        &self.latest
    }

    /// Returns the newest root in its signed form.
    pub(super) fn latest_signed(&self) -> Option<&Signed<SigningRoot>> {
        self.signed.last()
    }

    /// Returns the roots that a device with `version` still has to follow, oldest first, as many as one
    /// answer may carry.
    pub(super) fn after(&self, version: u64) -> Vec<Signed<SigningRoot>> {
        self.all_after(version).take(MAX_ROOTS).cloned().collect()
    }

    /// Returns all of these roots.
    pub(super) fn all_after(&self, version: u64) -> impl Iterator<Item = &Signed<SigningRoot>> {
        self.signed.iter().skip(usize::try_from(version).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed(&[byte; 32])
    }

    #[test]
    fn a_device_with_any_root_can_follow_to_the_newest() {
        let (first, second, old, new) = (key(1), key(2), key(3), key(4));
        let chain = RootChain::new_first(&first.public(), &old).unwrap();
        let chain = chain.with_next_root(Change::AddPayloadKey(second.public()), &[&old]).unwrap();
        let chain = chain.with_next_root(Change::ReplaceRootKeys(new.public()), &[&old, &new]).unwrap();
        let chain = chain.with_next_root(Change::RetireOtherPayloadKeys(second.public()), &[&new]).unwrap();

        for known in 1..=4_usize {
            let mut device = SigningRoot::from_image(&chain.signed[0]).unwrap();
            for root in &chain.signed[1..known] {
                device = device.successor(root).unwrap();
            }
            for root in chain.after(device.version) {
                device = device.successor(&root).unwrap();
            }
            assert_eq!(device.version, 4);
            assert_eq!(device.payload_keys.key(&first.public().id()), None);
            assert!(device.payload_keys.key(&second.public().id()).is_some());
        }
        assert!(chain.after(4).is_empty() && chain.after(u64::MAX).is_empty());
    }

    #[test]
    fn a_root_that_no_device_would_follow_is_never_made() {
        let (payload, old, stranger) = (key(1), key(3), key(5));
        let chain = RootChain::new_first(&payload.public(), &old).unwrap();
        let by_stranger = chain.with_next_root(Change::AddPayloadKey(key(2).public()), &[&stranger]);
        assert!(matches!(by_stranger, Err(RootChainError::Rejected { version: 2, .. })));
        let without_itself = chain.with_next_root(Change::ReplaceRootKeys(stranger.public()), &[&old]);
        assert!(matches!(without_itself, Err(RootChainError::Rejected { version: 2, .. })));
        assert_eq!(chain.latest().version, 1);
    }

    #[test]
    fn a_chain_with_a_gap_is_refused() {
        let (payload, old) = (key(1), key(3));
        let chain = RootChain::new_first(&payload.public(), &old).unwrap();
        let chain = chain.with_next_root(Change::AddPayloadKey(key(2).public()), &[&old]).unwrap();
        let headless = RootChain::accept(vec![chain.signed[1].clone()]);
        assert!(matches!(headless, Err(RootChainError::Rejected { version: 1, .. })));
        assert!(matches!(RootChain::accept(Vec::new()), Err(RootChainError::Empty)));
    }

    #[test]
    fn one_answer_carries_a_bounded_number_of_roots() {
        let old = key(3);
        let mut chain = RootChain::new_first(&key(1).public(), &old).unwrap();
        for _ in 0..12 {
            let next = Change::RetireOtherPayloadKeys(key(2).public());
            chain = chain.with_next_root(next, &[&old]).unwrap();
        }
        assert_eq!(chain.after(1).len(), MAX_ROOTS);
    }
}
