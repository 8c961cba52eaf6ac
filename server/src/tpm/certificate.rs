//! Certificates of endorsement keys (TCG EK Credential Profile, 3.2).
//!
//! Such a certificate has no subject, a critical alternative name of the directory kind, and a purpose of
//! its own. `path.rs` leads from one to a manufacturer's root.

use super::{TpmRoots, path};
use unbox_common::{
    bytes::Bytes,
    protocol::limits::{MAX_TPM_CERTIFICATE_BYTES, MAX_TPM_CERTIFICATES},
    timestamp::Timestamp,
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::ParsedExtension,
    oid_registry::{
        OID_PKIX_AUTHORITY_INFO_ACCESS, OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
        OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_CERTIFICATE_POLICIES,
        OID_X509_EXT_CRL_DISTRIBUTION_POINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME, OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
        Oid,
    },
    parse_x509_certificate,
    x509::X509Version,
};

/// `tcg-kp-EKCertificate`, 2.23.133.8.1: the purpose of these certificates.
const EK_CERTIFICATE: &str = "2.23.133.8.1";
/// Critical extensions that are understood, or irrelevant to trust.
const UNDERSTOOD: [Oid<'static>; 10] = [
    OID_X509_EXT_BASIC_CONSTRAINTS,
    OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_EXTENDED_KEY_USAGE,
    OID_X509_EXT_SUBJECT_ALT_NAME,
    OID_X509_EXT_NAME_CONSTRAINTS,
    OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER,
    OID_X509_EXT_SUBJECT_KEY_IDENTIFIER,
    OID_X509_EXT_CERTIFICATE_POLICIES,
    OID_X509_EXT_CRL_DISTRIBUTION_POINTS,
    OID_PKIX_AUTHORITY_INFO_ACCESS,
];

/// The certificate of an endorsement key, parsed but not yet traced to a root.
#[derive(Debug, Clone)]
pub struct EndorsementCertificate<'a>(X509Certificate<'a>);

/// The reason why bytes are not the certificate of an endorsement key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEkCertificate {
    /// It is too long, or not exactly one X.509 certificate of version 3.
    #[error("it is not an X.509 certificate of at most {MAX_TPM_CERTIFICATE_BYTES} bytes")]
    Unreadable,
    /// It is not for an endorsement key.
    #[error("its purpose is not that of an endorsement key")]
    Purpose,
    /// It has a critical extension that is not understood.
    #[error("it has a critical extension that is not understood")]
    Critical,
}

/// The reason why a certificate leads to no root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untraceable {
    /// A certificate is invalid.
    #[error("the certificate of the TPM's endorsement key cannot be used: {0}")]
    Invalid(#[from] InvalidEkCertificate),
    /// A certificate on the path is expired or not yet valid.
    #[error("the certificate of the TPM's endorsement key, or of its issuer, is outside its time")]
    OutsideItsTime,
    /// A signature on the path uses a method that is forgeable or unknown.
    #[error(
        "the certificate of the TPM's endorsement key, or of its issuer, is signed with SHA-1 or by another \
         method that this server does not accept"
    )]
    Signature,
    /// An authority on the path may not issue such certificates.
    #[error("an issuer of the TPM's certificate may not issue it: its own certificate forbids that")]
    Forbidden,
    /// No authority on the path is trusted.
    #[error("no root that this server trusts issued the certificate of the TPM's endorsement key")]
    UnknownRoot,
}

impl<'a> EndorsementCertificate<'a> {
    /// Reads a certificate, and checks that it is for an endorsement key.
    ///
    /// # Errors
    /// [`InvalidEkCertificate`].
    pub fn parse(der: &'a [u8]) -> Result<Self, InvalidEkCertificate> {
        let certificate = read(der)?;
        let purposes = certificate.extended_key_usage().map_err(|_| InvalidEkCertificate::Unreadable)?;
        let is_for_ek = purposes
            .is_some_and(|usage| usage.value.other.iter().any(|oid| oid.to_id_string() == EK_CERTIFICATE));
        let usage = certificate.key_usage().map_err(|_| InvalidEkCertificate::Unreadable)?;
        // Section 3.2.9: a secret is encrypted for an RSA key, or agreed on with a key on a curve.
        let opens = usage.is_none_or(|usage| usage.value.key_encipherment() || usage.value.key_agreement());
        if !is_for_ek || !opens || certificate.is_ca() {
            return Err(InvalidEkCertificate::Purpose);
        }
        Ok(Self(certificate))
    }

    /// Returns the endorsement key, DER `SubjectPublicKeyInfo`.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        self.0.public_key().raw
    }

    /// Traces the certificate to one of the roots, through the issuers' certificates that came with it.
    ///
    /// # Errors
    /// [`Untraceable`].
    pub fn trace(&self, issuers: &[Bytes], roots: &TpmRoots, now: Timestamp) -> Result<(), Untraceable> {
        let issuers = issuers.iter().take(MAX_TPM_CERTIFICATES).map(|der| read(der.as_ref()));
        let issuers: Vec<X509Certificate<'_>> = issuers.collect::<Result<_, _>>()?;
        path::trace(&self.0, &issuers, roots, now)
    }
}

/// Parses a certificate, all of whose critical extensions must be understood.
pub(super) fn read(der: &[u8]) -> Result<X509Certificate<'_>, InvalidEkCertificate> {
    if der.len() > MAX_TPM_CERTIFICATE_BYTES {
        return Err(InvalidEkCertificate::Unreadable);
    }
    let (rest, certificate) = parse_x509_certificate(der).map_err(|_| InvalidEkCertificate::Unreadable)?;
    if !rest.is_empty() || certificate.version() != X509Version::V3 {
        return Err(InvalidEkCertificate::Unreadable);
    }
    let is_strange = certificate.extensions().iter().any(|extension| {
        let unread = matches!(
            extension.parsed_extension(),
            ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::ParseError { .. }
        );
        extension.critical && (unread || !UNDERSTOOD.contains(&extension.oid))
    });
    if is_strange { Err(InvalidEkCertificate::Critical) } else { Ok(certificate) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RSA: &[u8] = include_bytes!("../../tests/fixtures/tpm/rsa-2048.der");
    const P384: &[u8] = include_bytes!("../../tests/fixtures/tpm/p-384.der");
    const ISSUER: &[u8] = include_bytes!("../../tests/fixtures/tpm/issuer.pem");
    const ROOT: &[u8] = include_bytes!("../../tests/fixtures/tpm/root.pem");
    /// A day on which all of them are valid.
    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn der(pem: &[u8]) -> Vec<u8> {
        pem::parse(pem).unwrap().into_contents()
    }

    fn roots(of: &[&[u8]]) -> TpmRoots {
        TpmRoots::new(of.iter().map(|pem| der(pem)).collect()).unwrap()
    }

    #[test]
    fn a_certificate_leads_to_a_root_or_to_an_authority_below_it() {
        let issuer = [Bytes(der(ISSUER))];
        for certificate in [RSA, P384] {
            let own = EndorsementCertificate::parse(certificate).unwrap();
            for (believed, sent, expected) in [
                (&[ISSUER][..], &[][..], Ok(())),
                (&[ROOT, ISSUER], &[], Ok(())),
                (&[ROOT], &issuer, Ok(())),
                (&[ROOT], &[], Err(Untraceable::UnknownRoot)),
                (&[], &issuer, Err(Untraceable::UnknownRoot)),
            ] {
                assert_eq!(own.trace(sent, &roots(believed), NOW), expected);
            }
            let early = own.trace(&issuer, &roots(&[ROOT]), Timestamp(0));
            assert_eq!(early, Err(Untraceable::OutsideItsTime));
        }
    }

    #[test]
    fn another_authority_of_the_same_name_is_not_the_one_that_signed() {
        let own = EndorsementCertificate::parse(RSA).unwrap();
        let mut forged = der(ISSUER);
        // The authority's key is changed, but not its name.
        let (_, read) = parse_x509_certificate(&forged).unwrap();
        let key = read.public_key().subject_public_key.data.to_vec();
        let at = forged.windows(key.len()).position(|window| window == key).unwrap();
        forged[at + key.len() / 2] ^= 1;
        let roots = TpmRoots::new(vec![forged]).unwrap();
        assert_eq!(own.trace(&[], &roots, NOW), Err(Untraceable::UnknownRoot));
        let mut changed = RSA.to_vec();
        *changed.last_mut().unwrap() ^= 1;
        let changed = EndorsementCertificate::parse(&changed).unwrap();
        assert_eq!(changed.trace(&[], &self::roots(&[ISSUER]), NOW), Err(Untraceable::UnknownRoot));
    }

    #[test]
    fn what_is_not_for_an_endorsement_key_is_refused() {
        let padded = [RSA, &[0]].concat();
        let issuer = der(ISSUER);
        for (bytes, expected) in [
            (&[][..], InvalidEkCertificate::Unreadable),
            (&RSA[..RSA.len() - 1], InvalidEkCertificate::Unreadable),
            (&padded, InvalidEkCertificate::Unreadable),
            (&vec![0x30; MAX_TPM_CERTIFICATE_BYTES + 1], InvalidEkCertificate::Unreadable),
            (&issuer, InvalidEkCertificate::Purpose),
        ] {
            assert_eq!(EndorsementCertificate::parse(bytes).err(), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parser(at in 0..RSA.len(), to in any::<u8>(), end in 0..=RSA.len()) {
            let mut bytes = RSA.to_vec();
            bytes[at] = to;
            bytes.truncate(end);
            if let Ok(certificate) = EndorsementCertificate::parse(&bytes) {
                // It is either the original certificate, or cannot be traced.
                let traced = certificate.trace(&[], &roots(&[ISSUER]), NOW);
                prop_assert_eq!(traced.is_ok(), bytes == RSA);
            }
        }
    }
}
