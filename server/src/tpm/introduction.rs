//! The introduction of a device's TPM: its keys, and the certificate that vouches for them.

use super::{
    EndorsementCertificate, EndorsementKey, InvalidEkCertificate, NotAnEndorsementKey, TpmRoots, Untraceable,
};
use unbox_common::{
    attestation::{KeyRole, NotATpmKey, TpmPublic},
    digest::Sha256,
    protocol::{latest::TpmIntroduction, limits::MAX_TPM_CERTIFICATES},
    timestamp::Timestamp,
};

/// A TPM whose keys have the right form. It has yet to prove that it holds them.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// The digest of its endorsement key: the identifier `tpm_key`.
    pub digest: Sha256,
    /// The endorsement key.
    pub endorsement: EndorsementKey,
    /// The attestation key that it claims to hold as well.
    pub attestation: TpmPublic,
}

/// The reason why a TPM's introduction is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotIntroduced {
    /// The endorsement key is invalid.
    #[error("the TPM's endorsement key cannot be used: {0}")]
    Endorsement(#[from] NotAnEndorsementKey),
    /// The attestation key is invalid.
    #[error("the TPM's attestation key cannot be used: {0}")]
    Attestation(NotATpmKey),
    /// The certificate is for another key.
    #[error("the certificate of the TPM is for another endorsement key")]
    OtherKey,
    /// There is no certificate, although roots are configured.
    #[error("the TPM holds no certificate of its endorsement key, and this server asks for one")]
    NoCertificate,
    /// There are more certificates than any TPM needs.
    #[error("the TPM sent more than {MAX_TPM_CERTIFICATES} certificates")]
    TooMany,
    /// The certificate leads to no root.
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
    pub fn check_voucher(
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
