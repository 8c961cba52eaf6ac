//! The device's own key: ECDSA P-256, its public half as it travels and as certificates hold it.

use crate::{
    bytes::{Bytes, FixedBytes},
    digest::Sha256,
};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// `SubjectPublicKeyInfo` of a P-256 key up to the point (RFC 5480, section 2.1).
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A signature by a device key: `r` and `s`, 32 bytes each (IEEE P1363).
pub type DeviceKeySignature = FixedBytes<64>;

/// A P-256 public key as DER `SubjectPublicKeyInfo` with an uncompressed point.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Bytes", into = "Bytes")]
pub struct DevicePublicKey(Bytes);

/// The bytes were not such a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a P-256 public key: 91 bytes of SubjectPublicKeyInfo with an uncompressed point")]
pub struct NotADeviceKey;

impl DevicePublicKey {
    /// Makes the key whose uncompressed point (65 bytes, `0x04` first) is `point`.
    ///
    /// # Errors
    /// [`NotADeviceKey`] for any other length or form.
    pub fn from_point(point: &[u8]) -> Result<Self, NotADeviceKey> {
        Self::try_from(Bytes([&SPKI_PREFIX, point].concat()))
    }

    /// Returns the DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Returns the uncompressed point, 65 bytes, as certificates and signature checks need it.
    #[must_use]
    pub fn point(&self) -> &[u8] {
        self.spki().get(SPKI_PREFIX.len()..).unwrap_or_default()
    }

    /// Returns the name under which claims and devices know this key: SHA-256 of the SPKI.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.spki())
    }

    /// Returns true if `signature` is this key's signature over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &DeviceKeySignature) -> bool {
        let point = self.spki().get(SPKI_PREFIX.len()..).unwrap_or_default();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature.as_ref()).is_ok()
    }
}

impl TryFrom<Bytes> for DevicePublicKey {
    type Error = NotADeviceKey;

    fn try_from(spki: Bytes) -> Result<Self, NotADeviceKey> {
        match spki.0.strip_prefix(&SPKI_PREFIX) {
            Some([0x04, coordinates @ ..]) if coordinates.len() == 64 => Ok(Self(spki)),
            _ => Err(NotADeviceKey),
        }
    }
}

impl From<DevicePublicKey> for Bytes {
    fn from(key: DevicePublicKey) -> Self {
        key.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };

    #[test]
    fn only_the_holder_of_the_key_can_sign() {
        #[expect(clippy::disallowed_methods, reason = "a test needs two different keys, whichever they are")]
        let random = SystemRandom::new();
        let pair = || {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap()
        };
        let (own, other) = (pair(), pair());
        let key = DevicePublicKey::from_point(own.public_key().as_ref()).unwrap();
        let sign = |pair: &EcdsaKeyPair, message: &[u8]| {
            FixedBytes(<[u8; 64]>::try_from(pair.sign(&random, message).unwrap().as_ref()).unwrap())
        };
        assert!(key.verifies(b"transcript", &sign(&own, b"transcript")));
        assert!(!key.verifies(b"transcript", &sign(&own, b"another")));
        assert!(!key.verifies(b"transcript", &sign(&other, b"transcript")));
    }

    #[test]
    fn other_keys_are_refused() {
        let compressed = [&[2u8][..], &[7; 32]].concat();
        for point in [&[][..], &[4; 64], &[4; 66], &compressed] {
            assert_eq!(DevicePublicKey::from_point(point), Err(NotADeviceKey));
        }
        // The right shape, but no point of the curve: it verifies nothing.
        let off_curve = DevicePublicKey::from_point(&[4; 65]).unwrap();
        assert!(!off_curve.verifies(b"x", &FixedBytes([1; 64])));
    }
}
