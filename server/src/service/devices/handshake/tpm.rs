//! The proof `tpm`: a secret is sealed for the TPM that introduced itself, and the TPM's answer is checked
//! against this handshake.

use super::{
    HelloRequest,
    ticket::{Notes, TpmNotes},
};
use crate::{
    domain::{
        claims::claim::Claim,
        devices::admission::{Refusal, TpmEvidence, refuse_other_tpm},
    },
    entropy,
    service::{Devices, ServiceError},
    tpm::{Introduction, NotIntroduced, SealError},
};
use unbox_common::{
    attestation::{KeyRole, TpmPublic, verify_certification, verify_quote},
    bytes::{Bytes, FixedBytes, from_base64},
    digest::Sha256,
    protocol::latest::{self as wire, ProofKind, TpmCredential},
    refusal::RefusalKind,
    timestamp::Timestamp,
};

const NO_VOUCHER: &str = "This server knows no TPM manufacturer's certificates, and the claim registers no TPM. \
    Register the device's tpm_key, or set tpm.roots in the server's settings.";
const NOT_INTRODUCED: &str = "The device offers a proof by its TPM, and does not introduce the TPM.";
const NOT_OPENED: &str = "The TPM did not open the secret that was sealed for it.";
const NO_ANSWER: &str = "The answer of the TPM is missing.";
const NOT_IN_TPM: &str = "The device's key is not in the TPM.";
const NOT_QUOTED: &str = "The TPM's statement about the firmware does not belong to this handshake.";

/// The notes for the ticket and the secret for the device; both empty unless the claim demands a TPM.
#[derive(Default)]
pub(super) struct Sealed {
    pub(super) notes: Option<TpmNotes>,
    pub(super) credential: Option<TpmCredential>,
}

impl Devices {
    /// Seals a secret for the device's TPM, if the claim demands one.
    ///
    /// # Errors
    /// Fails without randomness. The inner error refuses a device that no proof could help.
    pub(super) fn seal_for_tpm(
        &self,
        claim: &Claim,
        hello: &HelloRequest,
        now: Timestamp,
    ) -> Result<Result<Sealed, Refusal>, ServiceError> {
        if claim.proof != ProofKind::Tpm {
            return Ok(Ok(Sealed::default()));
        }
        let (introduction, rooted) = match self.check_introduction(claim, hello, now) {
            Ok(introduced) => introduced,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let secret = entropy::nonce(&*self.core.entropy)?;
        let Introduction { digest, endorsement, attestation } = introduction;
        let credential = match endorsement.seal(&attestation, &secret.0, &*self.core.entropy) {
            Ok(credential) => credential,
            Err(off_curve @ SealError::OffCurve) => {
                return Ok(Err(Refusal::with_owned_detail(
                    RefusalKind::ProofRequired,
                    format!("{off_curve}."),
                )));
            }
            Err(SealError::Entropy(error)) => return Err(error.into()),
        };
        let notes = TpmNotes {
            endorsement: digest,
            attestation: Bytes(attestation.area().to_vec()),
            secret: Sha256::of(secret.as_ref()),
            rooted,
        };
        Ok(Ok(Sealed { notes: Some(notes), credential: Some(credential) }))
    }

    /// Checks how the TPM introduced itself, and returns it and whether a manufacturer vouches for it.
    fn check_introduction(
        &self,
        claim: &Claim,
        hello: &HelloRequest,
        now: Timestamp,
    ) -> Result<(Introduction, bool), Refusal> {
        let Some(from) = &hello.message.tpm else {
            return Err(Refusal::with_detail(RefusalKind::ProofRequired, NOT_INTRODUCED));
        };
        let strange = |error: NotIntroduced| {
            Refusal::with_owned_detail(RefusalKind::ProofRequired, format!("{error}."))
        };
        let introduction = Introduction::read(from).map_err(strange)?;
        let roots = &self.core.settings.tpm_roots;
        if roots.is_empty() && claim.sets.registered_tpm_keys().next().is_none() {
            return Err(Refusal::with_detail(RefusalKind::ProofRequired, NO_VOUCHER));
        }
        if !roots.is_empty() {
            Introduction::check_voucher(from, roots, now).map_err(strange)?;
        }
        match refuse_other_tpm(claim, introduction.digest) {
            Some(refusal) => Err(refusal),
            None => Ok((introduction, !roots.is_empty())),
        }
    }
}

/// Checks a TPM's answer against the notes of the challenge and the transcript. Returns `None` if none was
/// demanded.
pub(super) fn check_answer(
    notes: &Notes,
    message: &wire::Prove,
    transcript: &[u8],
) -> Result<Option<TpmEvidence>, &'static str> {
    let Some(asked) = &notes.tpm else { return Ok(None) };
    let answer = message.tpm.as_ref().ok_or(NO_ANSWER)?;
    let opened = from_base64(answer.secret.expose()).map_err(|_| NOT_OPENED)?;
    // Comparing digests takes a time that reveals nothing about the secret.
    if Sha256::of(&opened) != asked.secret {
        return Err(NOT_OPENED);
    }
    let attestation =
        TpmPublic::parse(asked.attestation.as_ref(), KeyRole::Attestation).map_err(|_| NO_ANSWER)?;
    let device = TpmPublic::parse(answer.device_key.as_ref(), KeyRole::Device).map_err(|_| NOT_IN_TPM)?;
    if *device.key() != notes.key {
        return Err(NOT_IN_TPM);
    }
    let bound_to = Sha256::of(transcript);
    let (statement, signature) = (answer.certification.as_ref(), &answer.certification_signature);
    verify_certification(&attestation, statement, signature, bound_to, &device).map_err(|_| NOT_IN_TPM)?;
    let (statement, signature) = (answer.quote.as_ref(), &answer.quote_signature);
    verify_quote(&attestation, statement, signature, bound_to, &answer.pcrs).map_err(|_| NOT_QUOTED)?;
    let pcrs = answer.pcrs.map(|FixedBytes(value)| Sha256(value));
    Ok(Some(TpmEvidence { key: asked.endorsement, rooted: asked.rooted, pcrs }))
}
