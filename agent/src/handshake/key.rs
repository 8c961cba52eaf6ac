//! The device's own key: made on the device, in its TPM if there is one, or installed by the factory, and
//! never disclosed.

use crate::{
    entropy::{Entropy, NoEntropy},
    failure::Diagnose,
    files::FilesError,
    tpm::{self, TpmError, TpmKey},
};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::{
    SignatureAlgorithm, SignatureScheme,
    crypto::ring::sign::any_ecdsa_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _},
    sign::{Signer, SigningKey},
};
use std::{fmt, path::PathBuf, sync::Arc};
use unbox_common::{
    bytes::{FixedBytes, to_base64},
    refusal::Disposition,
    secret::Secret,
    trust::{DeviceKeySignature, DevicePublicKey, NotADeviceKey},
};

/// The largest key file that is read, in bytes.
pub(super) const MAX_KEY_BYTES: u64 = 16 * 1024;

/// The reason why a device key is unusable.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file does not hold a key.
    #[error("{} is not a P-256 private key in PKCS#8, PEM", .0.display())]
    NotAKey(PathBuf),
    /// The file is truncated, or is not text.
    #[error("{} is damaged", .0.display())]
    Damaged(PathBuf),
    /// Everybody on the device can read the file.
    #[error("{} can be read by everybody: its permissions must be 0600", .0.display())]
    Exposed(PathBuf),
    /// This process has no permission to read the file.
    #[error("{} belongs to another user, or its permissions are wrong: it must be 0600 and its reader's own", .0.display())]
    Unreadable(PathBuf),
    /// The file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A key could not be made.
    #[error("a device key could not be made")]
    Generate(#[source] NoEntropy),
    /// A signature could not be made.
    #[error("the device key could not sign")]
    Sign(#[source] NoEntropy),
    /// The key is in a TPM, or should be made in one, and the TPM failed.
    #[error("the TPM of this device cannot be used")]
    Tpm(#[from] TpmError),
    /// There is no TPM, although the settings require one.
    #[error("this device has no TPM, and its settings ask for one: change `tpm` in /etc/unbox/agent.toml")]
    NoTpm,
}

impl Diagnose for KeyError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NotAKey(_) | Self::Exposed(_) | Self::Damaged(_) | Self::Unreadable(_) => "key_unusable",
            Self::Files(error) => error.kind(),
            Self::Generate(error) | Self::Sign(error) => error.kind(),
            Self::Tpm(error) => error.kind(),
            Self::NoTpm => "no_tpm",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::NotAKey(_) | Self::Exposed(_) => Disposition::Fatal,
            Self::Damaged(_) | Self::Unreadable(_) | Self::NoTpm => Disposition::WaitForAdministrator,
            Self::Files(error) => error.disposition(),
            Self::Generate(error) | Self::Sign(error) => error.disposition(),
            Self::Tpm(error) => error.disposition(),
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::NotAKey(_) | Self::Exposed(_) | Self::Damaged(_) | Self::Unreadable(_) => {
                "The key of this device cannot be used. Put the right one back, or have a new one made with \
                 `unbox-agent reset`."
            }
            Self::Files(error) => error.advice(),
            Self::Generate(error) | Self::Sign(error) => error.advice(),
            Self::Tpm(error) => error.advice(),
            Self::NoTpm => tpm::UNUSABLE,
        }
    }

    fn needs_a_new_process(&self) -> bool {
        matches!(self, Self::Tpm(error) if error.needs_a_new_process())
    }
}

/// The private half of the device's identity: ECDSA P-256.
pub struct DeviceKey {
    held: Held,
    public: DevicePublicKey,
}

/// A key held in this process.
struct Software {
    pair: EcdsaKeyPair,
    pkcs8: PrivatePkcs8KeyDer<'static>,
}

/// The place of the private half.
enum Held {
    Here(Box<Software>),
    InTpm(Arc<TpmKey>),
}

/// The bytes are not a P-256 key in PKCS#8.
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

    /// Parses a key from PEM.
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
        Ok(Self { held: Held::Here(Box::new(Software { pair, pkcs8 })), public })
    }

    /// Wraps a key in the TPM of this device.
    pub(super) fn from_tpm(key: TpmKey) -> Self {
        Self { public: key.public().clone(), held: Held::InTpm(Arc::new(key)) }
    }

    /// Returns the TPM's side of this key, if it is in one.
    #[must_use]
    pub fn tpm(&self) -> Option<&TpmKey> {
        match &self.held {
            Held::Here(_) => None,
            Held::InTpm(key) => Some(key),
        }
    }

    /// Returns the content of the key's file: the key in PEM, or the salt that its TPM remakes it from.
    pub(super) fn to_file(&self) -> Secret {
        match &self.held {
            Held::Here(key) => pem_of(&key.pkcs8),
            Held::InTpm(key) => Secret::new(key.to_file()),
        }
    }
    /// Returns the public half.
    #[must_use]
    pub const fn public(&self) -> &DevicePublicKey {
        &self.public
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`KeyError::Sign`] or [`KeyError::Tpm`].
    pub fn sign(&self, message: &[u8], entropy: &Entropy) -> Result<DeviceKeySignature, KeyError> {
        let pair = match &self.held {
            Held::Here(key) => &key.pair,
            Held::InTpm(key) => return Ok(key.sign(message)?),
        };
        let signature = pair.sign(entropy.ring(), message).map_err(|_| KeyError::Sign(NoEntropy))?;
        <[u8; 64]>::try_from(signature.as_ref()).map(FixedBytes).map_err(|_| KeyError::Sign(NoEntropy))
    }

    /// Returns the key for TLS client authentication.
    ///
    /// # Errors
    /// [`KeyError::Tpm`] if the TPM cannot remake it.
    pub(super) fn tls_key(&self) -> Result<Arc<dyn SigningKey>, KeyError> {
        match &self.held {
            Held::Here(key) => any_ecdsa_type(&PrivateKeyDer::Pkcs8(key.pkcs8.clone_key()))
                .map_err(|_| KeyError::Sign(NoEntropy)),
            // Checked before TLS begins: a signature that fails during the handshake shows only as "no
            // connection".
            Held::InTpm(key) if key.is_in_this_tpm()? => Ok(Arc::new(TlsKey(Arc::clone(key)))),
            Held::InTpm(_) => Err(TpmError::OtherTpm.into()),
        }
    }
}

fn pem_of(pkcs8: &PrivatePkcs8KeyDer<'_>) -> Secret {
    let base64 = Secret::new(to_base64(pkcs8.secret_pkcs8_der()));
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

/// A key in the TPM, in the form that TLS uses.
#[derive(Debug, Clone)]
struct TlsKey(Arc<TpmKey>);

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.0.public().spki().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        let signature = self.0.sign(message).map_err(|error| rustls::Error::General(error.to_string()))?;
        let (r, s) = signature.0.split_at(32);
        let both = [der_integer(r), der_integer(s)].concat();
        Ok(der(0x30, &both))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

/// Encodes a positive `INTEGER`: no leading zeros but the one that keeps it positive (X.690, section
/// 8.3).
fn der_integer(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = bytes.get(zeros..).unwrap_or_default();
    let sign: &[u8] = if digits.first().is_none_or(|first| first & 0x80 != 0) { &[0] } else { &[] };
    der(0x02, &[sign, digits].concat())
}

/// Encodes tag, length and contents; a signature is shorter than 128 bytes.
fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u8::try_from(contents.len()).unwrap_or(u8::MAX);
    [&[tag, length], contents].concat()
}

impl fmt::Debug for DeviceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceKey({})", self.public.digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use std::io;

    #[test]
    fn a_key_survives_its_file_and_signs() {
        let entropy = Entropy::system();
        let key = DeviceKey::generate(&entropy).unwrap();
        let again = DeviceKey::from_pem(key.to_file().expose().as_bytes(), &entropy).unwrap();
        assert_eq!(key.public(), again.public());
        let signature = again.sign(b"transcript", &entropy).unwrap();
        assert!(key.public().verifies(b"transcript", &signature));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    #[test]
    fn a_signature_of_the_tpm_is_written_as_tls_wants_it() {
        assert_eq!(der_integer(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(der_integer(&[0x80, 0]), [2, 3, 0, 0x80, 0]);
        assert_eq!(der_integer(&[0, 0]), [2, 1, 0]);
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

    #[test]
    fn a_key_that_the_disk_has_no_room_for_is_no_unusable_key() {
        let unwritten = |kind: io::ErrorKind| {
            let path = PathBuf::from("device.key");
            Failure::from(KeyError::from(FilesError::Write { path, source: kind.into() }))
        };
        for (failure, kind, disposition) in [
            (unwritten(io::ErrorKind::StorageFull), "disk_full", Disposition::WaitForAdministrator),
            (
                unwritten(io::ErrorKind::ReadOnlyFilesystem),
                "storage_failed",
                Disposition::WaitForAdministrator,
            ),
            (KeyError::Generate(NoEntropy).into(), "no_entropy", Disposition::Retry),
            (KeyError::NotAKey("device.key".into()).into(), "key_unusable", Disposition::Fatal),
        ] {
            assert_eq!((failure.kind(), failure.disposition()), (kind, disposition));
        }
        assert!(unwritten(io::ErrorKind::StorageFull).advice().contains("full"));
    }
}
