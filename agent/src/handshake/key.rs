//! The device's own key: made on the device, or put there by the factory, and never shown.

use crate::{
    entropy::{Entropy, NoEntropy},
    files::FilesError,
};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use std::{fmt, path::PathBuf};
use unbox_common::{
    bytes::{FixedBytes, to_base64},
    secret::Secret,
    trust::{DeviceKeySignature, DevicePublicKey, NotADeviceKey},
};

/// The largest key file that is read, in bytes.
pub(super) const MAX_KEY_BYTES: u64 = 16 * 1024;

/// A device key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file holds something else.
    #[error("{} is not a P-256 private key in PKCS#8, PEM", .0.display())]
    NotAKey(PathBuf),
    /// Everybody on the device could read it.
    #[error("{} can be read by everybody: its permissions must be 0600", .0.display())]
    Exposed(PathBuf),
    /// The file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A key could not be made.
    #[error("a device key could not be made")]
    Generate(#[source] NoEntropy),
    /// A signature could not be made.
    #[error("the device key could not sign")]
    Sign(#[source] NoEntropy),
}

/// The private half of the device's identity: ECDSA P-256.
pub struct DeviceKey {
    pair: EcdsaKeyPair,
    pkcs8: PrivatePkcs8KeyDer<'static>,
    public: DevicePublicKey,
}

/// The bytes are no P-256 key in PKCS#8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotAKey;

impl DeviceKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`KeyError::Generate`].
    pub fn generate(entropy: &Entropy) -> Result<Self, KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, entropy.ring())
            .map_err(|_| KeyError::Generate(NoEntropy))?;
        Self::from_pkcs8(document.as_ref().to_vec().into(), entropy)
            .map_err(|NotAKey| KeyError::Generate(NoEntropy))
    }

    /// Reads a key from PEM.
    pub(super) fn from_pem(pem: &[u8], entropy: &Entropy) -> Result<Self, NotAKey> {
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| NotAKey)?;
        Self::from_pkcs8(pkcs8, entropy)
    }

    fn from_pkcs8(pkcs8: PrivatePkcs8KeyDer<'static>, entropy: &Entropy) -> Result<Self, NotAKey> {
        let pair = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            pkcs8.secret_pkcs8_der(),
            entropy.ring(),
        )
        .map_err(|_| NotAKey)?;
        let public =
            DevicePublicKey::from_point(pair.public_key().as_ref()).map_err(|NotADeviceKey| NotAKey)?;
        Ok(Self { pair, pkcs8, public })
    }

    /// The key in PEM, to be stored where only its owner reads.
    #[must_use]
    pub(super) fn to_pem(&self) -> Secret {
        let base64 = Secret::new(to_base64(self.pkcs8.secret_pkcs8_der()));
        let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
        let mut rest = base64.expose();
        while !rest.is_empty() {
            // Base64 is ASCII: every byte is a character.
            let (line, after) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = after;
        }
        pem.push_str("-----END PRIVATE KEY-----\n");
        Secret::new(pem)
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &DevicePublicKey {
        &self.public
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`KeyError::Sign`].
    pub fn sign(&self, message: &[u8], entropy: &Entropy) -> Result<DeviceKeySignature, KeyError> {
        let signature = self.pair.sign(entropy.ring(), message).map_err(|_| KeyError::Sign(NoEntropy))?;
        <[u8; 64]>::try_from(signature.as_ref()).map(FixedBytes).map_err(|_| KeyError::Sign(NoEntropy))
    }

    /// The key for TLS client authentication.
    pub(super) fn for_tls(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.pkcs8.clone_key())
    }
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.public.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_signs() {
        let entropy = Entropy::system();
        let key = DeviceKey::generate(&entropy).unwrap();
        let again = DeviceKey::from_pem(key.to_pem().expose().as_bytes(), &entropy).unwrap();
        assert_eq!(key.public(), again.public());
        let signature = again.sign(b"transcript", &entropy).unwrap();
        assert!(key.public().verifies(b"transcript", &signature));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    #[test]
    fn what_is_not_a_p256_key_is_refused() {
        let ed25519 = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\n\
            -----END PRIVATE KEY-----\n";
        for bad in ["", "garbage", ed25519] {
            assert!(DeviceKey::from_pem(bad.as_bytes(), &Entropy::system()).is_err(), "{bad:?}");
        }
    }
}
