//! The proof `tpm`: the introduction of a TPM, and its answer to a challenge.

use super::{
    Endorsement, Tpm, TpmError,
    call::{Attested, Loaded},
    endorsement,
};
use unbox_common::{
    attestation::KeyRole,
    bytes::{Bytes, to_base64},
    digest::Sha256,
    protocol::latest::{TpmCredential, TpmEvidence, TpmIntroduction},
    secret::Secret,
};

/// The endorsement key and the attestation key of a TPM.
pub(super) struct TpmIdentity {
    pub(super) endorsement: Endorsement,
    pub(super) attestation_key: Bytes,
}

/// Returns the introduction of the TPM, for `hello`.
///
/// # Errors
/// [`TpmError`].
pub fn introduce(tpm: &mut Tpm) -> Result<TpmIntroduction, TpmError> {
    let TpmIdentity { endorsement, attestation_key } = read_identity(tpm)?;
    Ok(TpmIntroduction {
        endorsement_key: endorsement.key,
        certificates: endorsement.certificates,
        attestation_key,
    })
}

pub(super) fn read_identity(tpm: &mut Tpm) -> Result<TpmIdentity, TpmError> {
    let endorsement = endorsement(tpm)?;
    let attestation_key = with_attestation_key(tpm, |_, key| Ok(Bytes(key.area.clone())))?;
    Ok(TpmIdentity { endorsement, attestation_key })
}

/// Calls `work` with the attestation key. It is the same key each time, made from the TPM's seed without
/// a salt.
fn with_attestation_key<T>(
    tpm: &mut Tpm,
    work: impl FnOnce(&mut Tpm, &Loaded) -> Result<T, TpmError>,
) -> Result<T, TpmError> {
    tpm.with_key(&KeyRole::Attestation.template(&[]), work)
}

/// Opens the challenge's secret, which only the introduced TPM can do.
pub(super) fn activate(
    tpm: &mut Tpm,
    endorsement: &Endorsement,
    challenge: &TpmCredential,
) -> Result<Secret, TpmError> {
    let TpmCredential { credential, seed } = challenge;
    let template = endorsement.template;
    with_attestation_key(tpm, |tpm, attestation| {
        tpm.with_key(&template.public_area(), |tpm, endorsement| {
            let opened = tpm.activate(
                attestation,
                endorsement,
                template.allowed_by,
                credential.as_ref(),
                seed.as_ref(),
            )?;
            Ok(Secret::new(to_base64(&opened)))
        })
    })
}

/// Certifies the device's key and quotes the measurements with the attestation key.
pub(super) fn certify_and_quote(
    tpm: &mut Tpm,
    device_key: &Loaded,
    secret: Secret,
    bound_to: Sha256,
) -> Result<TpmEvidence, TpmError> {
    with_attestation_key(tpm, |tpm, attestation| {
        let Attested { statement: certification, signature: certification_signature } =
            tpm.certify(device_key, attestation, bound_to)?;
        let pcrs = tpm.read_pcrs()?;
        let Attested { statement: quote, signature: quote_signature } = tpm.quote(attestation, bound_to)?;
        Ok(TpmEvidence {
            secret,
            device_key: Bytes(device_key.area.clone()),
            certification,
            certification_signature,
            quote,
            quote_signature,
            pcrs,
        })
    })
}
