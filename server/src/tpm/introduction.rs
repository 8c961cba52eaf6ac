//! How a device's TPM introduces itself: by which keys, and who vouches for them.

use super::{
    EndorsementCertificate, EndorsementKey, InvalidEkCertificate, NotAnEndorsementKey, TpmRoots, Untraceable,
};
use unbox_common::{
    attestation::{KeyRole, NotATpmKey, TpmPublic},
    digest::Sha256,
    protocol::{latest::TpmIntroduction, limits::MAX_TPM_CERTIFICATES},
    timestamp::Timestamp,
};

/// A TPM whose keys have the right form. That it has them is still to be proven.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// Digest of its endorsement key: the identifier `tpm_key`.
    pub digest: Sha256,
    /// The endorsement key.
    pub endorsement: EndorsementKey,
    /// The attestation key that it says stands beside it.
    pub attestation: TpmPublic,
}

/// Why a TPM's introduction is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotIntroduced {
    /// The endorsement key is none.
    #[error("the TPM's endorsement key cannot be used: {0}")]
    Endorsement(#[from] NotAnEndorsementKey),
    /// The attestation key is none.
    #[error("the TPM's attestation key cannot be used: {0}")]
    Attestation(NotATpmKey),
    /// The certificate is for another key.
    #[error("the certificate of the TPM is for another endorsement key")]
    OtherKey,
    /// It comes without a certificate, and roots are configured.
    #[error("the TPM holds no certificate of its endorsement key, and this server asks for one")]
    NoCertificate,
    /// More certificates than anybody needs.
    #[error("the TPM sent more than {MAX_TPM_CERTIFICATES} certificates")]
    TooMany,
    /// Its certificate leads nowhere.
    #[error(transparent)]
    Untraceable(#[from] Untraceable),
}

impl Introduction {
    /// Reads the keys of an introduction.
    ///
    /// # Errors
    /// [`NotIntroduced`].
    pub fn read(from: &TpmIntroduction) -> Result<Self, NotIntroduced> {
        let key = from.endorsement_key.as_ref();
        Ok(Self {
            digest: Sha256::of(key),
            endorsement: EndorsementKey::parse(key)?,
            attestation: TpmPublic::parse(from.attestation_key.as_ref(), KeyRole::Attestation)
                .map_err(NotIntroduced::Attestation)?,
        })
    }

    /// Checks that a manufacturer vouches for the endorsement key.
    ///
    /// # Errors
    /// [`NotIntroduced`].
    pub fn vouched_for(
        from: &TpmIntroduction,
        roots: &TpmRoots,
        now: Timestamp,
    ) -> Result<(), NotIntroduced> {
        let [own, issuers @ ..] = from.certificates.as_slice() else {
            return Err(NotIntroduced::NoCertificate);
        };
        if from.certificates.len() > MAX_TPM_CERTIFICATES {
            return Err(NotIntroduced::TooMany);
        }
        let certificate = EndorsementCertificate::parse(own.as_ref())
            .map_err(|invalid: InvalidEkCertificate| Untraceable::from(invalid))?;
        if certificate.public_key() != from.endorsement_key.as_ref() {
            return Err(NotIntroduced::OtherKey);
        }
        Ok(certificate.trace(issuers, roots, now)?)
    }
}
