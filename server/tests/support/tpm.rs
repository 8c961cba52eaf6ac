//! A TPM's introduction. The TPM itself does not exist: it answers no challenge.

use unbox_common::{attestation::KeyRole, bytes::Bytes, protocol::latest::TpmIntroduction};
use unbox_server::tpm::EndorsementCertificate;

const CERTIFICATE: &[u8] = include_bytes!("../fixtures/tpm/rsa-2048.der");

/// Returns the introduction of a TPM that `fixtures/tpm/issuer.pem` vouches for.
pub(crate) fn introduction() -> TpmIntroduction {
    let certificate = EndorsementCertificate::parse(CERTIFICATE).unwrap();
    TpmIntroduction {
        endorsement_key: Bytes(certificate.public_key().to_vec()),
        certificates: vec![Bytes(CERTIFICATE.to_vec())],
        attestation_key: Bytes(KeyRole::Attestation.template(&[7; 32])),
    }
}
