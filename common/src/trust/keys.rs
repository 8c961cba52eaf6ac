//! Ed25519 keys (RFC 8032) that sign payloads and signing roots, and sets of them.

use crate::{bytes::FixedBytes, digest::Sha256};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};
use zeroize::Zeroizing;

/// PKCS#8 around an Ed25519 private key, up to its 32 bytes (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The most keys that one set may hold.
const MAX_KEYS: usize = 16;

/// Names a public key: the SHA-256 of its 32 bytes. Computed, never taken from a message.
pub type KeyId = Sha256;

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PublicKey(pub FixedBytes<32>);

impl PublicKey {
    /// Returns the key's name.
    #[must_use]
    pub fn id(&self) -> KeyId {
        Sha256::of(self.0.as_ref())
    }

    /// Returns true if `signature` is this key's signature over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// Public keys, and the number of them that must have signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WireKeySet", into = "WireKeySet")]
pub struct KeySet {
    threshold: usize,
    keys: BTreeMap<KeyId, PublicKey>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireKeySet {
    threshold: usize,
    keys: Vec<PublicKey>,
}

/// A set of keys that could never be satisfied, or too easily.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    /// No signature would be needed.
    #[error("expected a threshold of at least 1")]
    NoThreshold,
    /// More signatures needed than there are different keys.
    #[error("threshold {threshold} is more than the {keys} different keys")]
    TooFewKeys {
        /// Signatures needed.
        threshold: usize,
        /// Different keys in the set.
        keys: usize,
    },
    /// More keys than anybody rotates.
    #[error("expected at most {MAX_KEYS} keys")]
    TooManyKeys,
}

impl KeySet {
    /// Makes a set of which `threshold` different keys must have signed.
    ///
    /// # Errors
    /// [`InvalidKeySet`] if no signature, or more than there are keys, would be needed.
    pub fn new(threshold: usize, keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, InvalidKeySet> {
        let keys: BTreeMap<KeyId, PublicKey> = keys.into_iter().map(|key| (key.id(), key)).collect();
        match threshold {
            _ if keys.len() > MAX_KEYS => Err(InvalidKeySet::TooManyKeys),
            0 => Err(InvalidKeySet::NoThreshold),
            _ if threshold > keys.len() => Err(InvalidKeySet::TooFewKeys { threshold, keys: keys.len() }),
            _ => Ok(Self { threshold, keys }),
        }
    }

    /// Returns the number of different keys that must have signed.
    #[must_use]
    pub const fn threshold(&self) -> usize {
        self.threshold
    }

    /// Returns the key of this name, if the set holds it.
    #[must_use]
    pub fn key(&self, id: &KeyId) -> Option<&PublicKey> {
        self.keys.get(id)
    }

    /// Returns all keys, ordered by name.
    pub fn keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.keys.values()
    }
}

impl TryFrom<WireKeySet> for KeySet {
    type Error = InvalidKeySet;

    fn try_from(wire: WireKeySet) -> Result<Self, InvalidKeySet> {
        Self::new(wire.threshold, wire.keys)
    }
}

impl From<KeySet> for WireKeySet {
    fn from(set: KeySet) -> Self {
        Self { threshold: set.threshold, keys: set.keys.into_values().collect() }
    }
}

/// An Ed25519 private key. Its `Debug` shows the public half only.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pkcs8: Zeroizing<Vec<u8>>,
}

/// The bytes were not an Ed25519 private key in PKCS#8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an Ed25519 private key in PKCS#8 (RFC 8410)")]
pub struct NotASigningKey;

impl SigningKey {
    /// Makes the key of a seed: 32 bytes that were chosen at random, once.
    ///
    /// # Panics
    /// Never: every seed of 32 bytes is a key (RFC 8032, section 5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let document = [&PKCS8_PREFIX[..], seed].concat();
        #[expect(clippy::expect_used, reason = "RFC 8032: any 32 bytes are a private key")]
        Self::from_pkcs8(&document).expect("a PKCS#8 document around 32 bytes")
    }

    /// Reads a key from PKCS#8 DER.
    ///
    /// # Errors
    /// [`NotASigningKey`] for anything else.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, NotASigningKey> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| NotASigningKey)?;
        Ok(Self { pair, pkcs8: Zeroizing::new(der.to_vec()) })
    }

    /// Returns the key in PKCS#8 DER, to be stored where only its owner can read it.
    #[must_use]
    pub fn to_pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(self.pair.public_key().as_ref()) {
            *to = *from;
        }
        PublicKey(FixedBytes(bytes))
    }

    /// Signs `message`; the same message always gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_set_must_be_possible_and_not_trivial() {
        let key = SigningKey::from_seed(&[1; 32]).public();
        assert_eq!(KeySet::new(0, [key]), Err(InvalidKeySet::NoThreshold));
        assert_eq!(KeySet::new(2, [key, key]), Err(InvalidKeySet::TooFewKeys { threshold: 2, keys: 1 }));
        let set = KeySet::new(1, [key]).unwrap();
        let json = serde_json::to_string(&set).unwrap();
        assert_eq!(serde_json::from_str::<KeySet>(&json).unwrap(), set);
        assert!(serde_json::from_str::<KeySet>(&json.replace(":1,", ":2,")).is_err());
    }

    #[test]
    fn a_signing_key_never_prints_itself() {
        let key = SigningKey::from_seed(&[1; 32]);
        assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public().id()));
        assert!(key.public().verifies(b"x", &key.sign(b"x")));
        assert!(!key.public().verifies(b"y", &key.sign(b"x")));
    }
}
