//! The device's key in the TPM, and its file on the disk.

use super::{
    Tpm, TpmError,
    call::Loaded,
    evidence::{self, TpmIdentity},
};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use unbox_common::{
    attestation::{KeyRole, TpmPublic},
    bytes::{Bytes, FixedBytes, Nonce},
    digest::Sha256,
    protocol::latest::{TpmCredential, TpmEvidence, TpmIntroduction},
    trust::{DeviceKeySignature, DevicePublicKey},
};

/// The device's key, in the TPM. The part on the disk is worthless without that TPM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmKey {
    path: PathBuf,
    stored: Stored,
    public: DevicePublicKey,
}

/// The file in place of a key in software: it says where the key is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "held_in", rename_all = "snake_case")]
enum KeyFile {
    Tpm(Stored),
}

/// The input for making the same key again, in the same TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    /// The salt that distinguishes this key from the one before it.
    salt: FixedBytes<32>,
    /// Its public area.
    device_key: Bytes,
    /// The introduction of the TPM when it made this key.
    tpm: TpmIntroduction,
}

/// The text is not the file of a key in a TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotStored;

impl TpmKey {
    /// Makes a key, in the TPM at `path`.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn make(tpm: &mut Tpm, path: &Path, salt: Nonce) -> Result<Self, TpmError> {
        let introduction = super::introduce(tpm)?;
        let made = tpm.with_key(&KeyRole::Device.template(salt.as_ref()), |_, key| parse_public(key))?;
        let stored = Stored { salt, device_key: Bytes(made.area().to_vec()), tpm: introduction };
        Ok(Self { path: path.to_owned(), stored, public: made.key().clone() })
    }

    /// Parses the file of a key whose TPM is at `path`. The TPM is not used before it has to sign.
    pub(crate) fn from_file(text: &[u8], path: &Path) -> Result<Self, NotStored> {
        let KeyFile::Tpm(stored) = serde_json::from_slice(text).map_err(|_| NotStored)?;
        let public = TpmPublic::parse(stored.device_key.as_ref(), KeyRole::Device).map_err(|_| NotStored)?;
        Ok(Self { path: path.to_owned(), public: public.key().clone(), stored })
    }

    /// Returns the content of this key's file.
    #[must_use]
    pub(crate) fn to_file(&self) -> String {
        // Writing our own type cannot fail; an empty file would not be read as a key again.
        serde_json::to_string_pretty(&KeyFile::Tpm(self.stored.clone())).unwrap_or_default()
    }

    /// Returns the public half.
    #[must_use]
    pub const fn public(&self) -> &DevicePublicKey {
        &self.public
    }

    /// Returns the introduction of its TPM.
    #[must_use]
    pub const fn introduction(&self) -> &TpmIntroduction {
        &self.stored.tpm
    }

    /// Returns true if the TPM of this device holds this key.
    ///
    /// # Errors
    /// [`TpmError`] if the TPM cannot be used, [`TpmError::Absent`] among them.
    pub fn is_in_this_tpm(&self) -> Result<bool, TpmError> {
        match self.with_own_key(|_, _| Ok(())) {
            Ok(()) => Ok(true),
            Err(TpmError::OtherTpm) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Signs a message.
    ///
    /// # Errors
    /// [`TpmError`]; [`TpmError::OtherTpm`] if this is not the TPM that made the key.
    pub fn sign(&self, message: &[u8]) -> Result<DeviceKeySignature, TpmError> {
        self.with_own_key(|tpm, key| tpm.sign(key, Sha256::of(message)))
    }

    /// Answers a challenge, bound to this handshake.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn answer(&self, challenge: &TpmCredential, transcript: &[u8]) -> Result<TpmEvidence, TpmError> {
        let bound_to = Sha256::of(transcript);
        let mut tpm = self.open()?;
        let TpmIdentity { endorsement, .. } = evidence::read_identity(&mut tpm)?;
        let secret = evidence::activate(&mut tpm, &endorsement, challenge)?;
        let template = KeyRole::Device.template(self.stored.salt.as_ref());
        tpm.with_key(&template, |tpm, key| {
            self.expect_own(key)?;
            evidence::certify_and_quote(tpm, key, secret, bound_to)
        })
    }

    fn with_own_key<T>(
        &self,
        work: impl FnOnce(&mut Tpm, &Loaded) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let template = KeyRole::Device.template(self.stored.salt.as_ref());
        self.open()?.with_key(&template, |tpm, key| {
            self.expect_own(key)?;
            work(tpm, key)
        })
    }

    fn open(&self) -> Result<Tpm, TpmError> {
        Tpm::open(&self.path)?.ok_or(TpmError::Absent)
    }

    fn expect_own(&self, key: &Loaded) -> Result<(), TpmError> {
        if parse_public(key)?.area() == self.stored.device_key.as_ref() {
            Ok(())
        } else {
            Err(TpmError::OtherTpm)
        }
    }
}

fn parse_public(key: &Loaded) -> Result<TpmPublic, TpmError> {
    Ok(TpmPublic::parse(&key.area, KeyRole::Device)?)
}
