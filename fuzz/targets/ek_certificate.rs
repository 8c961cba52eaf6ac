//! The certificate of a TPM's endorsement key, as a device sends it, traced to a manufacturer's root.

#![no_main]

use libfuzzer_sys::fuzz_target;
use unbox_common::{bytes::Bytes, timestamp::Timestamp};
use unbox_fuzz::tpm::{TpmRoots, certificate::EndorsementCertificate};

/// An authority below a manufacturer's root, which issued the certificates of the corpus.
const ISSUER: &[u8] = include_bytes!("../corpus/ek_certificate/issuer");
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fuzz_target!(|der: &[u8]| {
    let Ok(certificate) = EndorsementCertificate::parse(der) else { return };
    assert!(!certificate.public_key().is_empty());
    let sent = [Bytes(der.to_vec()), Bytes(ISSUER.to_vec())];
    let nobody = TpmRoots(Vec::new());
    assert!(certificate.trace(&sent, &nobody, NOW).is_err(), "without roots nothing leads to one");
    let _ = certificate.trace(&sent, &TpmRoots(vec![ISSUER.to_vec()]), NOW);
});
