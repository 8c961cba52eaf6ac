//! Certificate authorities: one for the server's TLS certificate, one for devices' certificates.
//!
//! Pure: randomness and time are parameters.

use super::device_certificate::{DeviceCertificate, subject_uri};
use crate::service::CertifiedEnrollment;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _};
use std::time::Duration;
use time::OffsetDateTime;
use unbox_common::{bytes::Bytes, digest::Sha256, timestamp::Timestamp, trust::DevicePublicKey};
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

/// The time by which a certificate is backdated, so that a device whose clock is slow accepts it.
pub const BACKDATED: Duration = Duration::from_hours(48);
/// The lifetime of an authority: longer than that of devices whose images trust it.
pub const AUTHORITY_LIFETIME: Duration = Duration::from_hours(20 * 365 * 24);
/// The lifetime of a server certificate: the most that browsers and auditors accept.
pub const SERVER_LIFETIME: Duration = Duration::from_hours(397 * 24);
/// The number of random bytes in a serial number; RFC 5280, section 4.1.2.2, allows 20.
const SERIAL_BYTES: usize = 16;
/// The authorities that may follow one another before the first is retired: a signing root names one anchor
/// more than that.
const SUCCESSORS: u8 = 3;

/// The random part of a certificate's serial number.
pub(super) type Serial = [u8; SERIAL_BYTES];

/// The reason why a certificate or its authority could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A name that no certificate can carry.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    InvalidName(String),
    /// A server certificate must carry a name.
    #[error("expected at least one name for the server's certificate")]
    NoName,
    /// The time cannot be expressed in a certificate.
    #[error("{0} is no time that a certificate can carry")]
    Time(Timestamp),
    /// The PEM text does not hold a private key and a certificate.
    #[error("expected a PKCS#8 private key and a certificate in PEM")]
    NotAnAuthority,
    /// The certificate library refused.
    #[error("the certificate could not be made")]
    Certificate(#[source] rcgen::Error),
}

/// A key that may sign certificates, parsed once.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// Its certificate by the authority before it, that one's by the one before, and so on: they lead to
    /// the anchors that devices have trusted so far.
    by_former: Vec<CertificateDer<'static>>,
}

/// A private key and its certificate, as one PEM text, so that they are always replaced together.
pub(super) type KeyAndCertificate = Zeroizing<String>;

impl Authority {
    /// Makes a new authority.
    pub(super) fn generate(
        name: &str,
        now: Timestamp,
        serial: &Serial,
    ) -> Result<KeyAndCertificate, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Certificate)?;
        let params = authority_params(name, now, serial)?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Certificate)?;
        Ok(concatenate(&key, &certificate.pem()))
    }

    /// Makes the successor of this authority, with a certificate by this one.
    pub(super) fn generate_successor(
        &self,
        name: &str,
        now: Timestamp,
        serials: [&Serial; 2],
    ) -> Result<KeyAndCertificate, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Certificate)?;
        let [own, by_former] = serials.map(|serial| authority_params(name, now, serial));
        let own = own?.self_signed(&key).map_err(AuthorityError::Certificate)?;
        let by_former = by_former?.signed_by(&key, &self.issuer).map_err(AuthorityError::Certificate)?;
        Ok(concatenate(&key, &format!("{}{}{}", own.pem(), by_former.pem(), to_pem(&self.by_former))))
    }

    /// Reads an authority from its PEM text.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, AuthorityError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| AuthorityError::NotAnAuthority)?;
        let mut certificates = CertificateDer::pem_slice_iter(pem);
        let mut next = || certificates.next().transpose().map_err(|_| AuthorityError::NotAnAuthority);
        let certificate = next()?.ok_or(AuthorityError::NotAnAuthority)?;
        let by_former = std::iter::from_fn(|| next().transpose()).collect::<Result<_, _>>()?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256)
            .map_err(AuthorityError::Certificate)?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(AuthorityError::Certificate)?;
        Ok(Self { issuer, certificate, by_former })
    }

    /// Returns the authority's own certificate.
    pub(super) const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns the digest of its name, which identifies its certificates.
    pub(super) fn name(&self) -> Sha256 {
        parse_x509_certificate(&self.certificate)
            .map_or(Sha256([0; 32]), |(_, certificate)| Sha256::of(certificate.subject().as_raw()))
    }

    /// Returns true if it has a certificate by a previous authority.
    pub(super) const fn has_former(&self) -> bool {
        !self.by_former.is_empty()
    }

    /// Returns the key and the certificates, the authority's own first.
    pub(super) fn to_pem(&self) -> KeyAndCertificate {
        let own = to_pem(std::slice::from_ref(&self.certificate));
        concatenate(self.issuer.key(), &format!("{own}{}", to_pem(&self.by_former)))
    }

    /// Returns the key and the certificate, without the one by the previous authority.
    pub(super) fn without_former(&self) -> KeyAndCertificate {
        concatenate(self.issuer.key(), &to_pem(std::slice::from_ref(&self.certificate)))
    }

    /// Issues a new key and certificate for the server itself, with the certificates that lead to the
    /// previous authority.
    pub(super) fn issue_server(
        &self,
        names: &[String],
        now: Timestamp,
        serial: &Serial,
    ) -> Result<KeyAndCertificate, AuthorityError> {
        let first = names.first().ok_or(AuthorityError::NoName)?;
        let mut params = template(first, now, SERVER_LIFETIME, serial)?;
        params.subject_alt_names = subject_names(names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(AuthorityError::Certificate)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError::Certificate)?;
        Ok(concatenate(&key, &format!("{}{}", certificate.pem(), to_pem(&self.by_former))))
    }

    /// Issues a certificate for a device's key: one device, one generation, client authentication only.
    pub(super) fn issue_device(
        &self,
        subject: &CertifiedEnrollment,
        (now, lifetime): (Timestamp, Duration),
        serial: &Serial,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let CertifiedEnrollment { device, generation, owner, ref key } = *subject;
        let mut params = template(&device.to_string(), now, lifetime, serial)?;
        let name = subject_uri(device, generation, owner);
        params.subject_alt_names = vec![SanType::URI(name.try_into().map_err(AuthorityError::Certificate)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(&Subject(key), &self.issuer).map(Into::into).map_err(AuthorityError::Certificate)
    }
}

/// Returns the enrollment that a device's certificate names, if `authority` signed it. The validity period
/// is ignored, because the statement stays true.
pub(super) fn certified_enrollment(
    der: &[u8],
    authority: &CertificateDer<'static>,
) -> Option<CertifiedEnrollment> {
    let DeviceCertificate { device, generation, owner, .. } = DeviceCertificate::parse(der).ok()?;
    let (rest, certificate) = parse_x509_certificate(der).ok()?;
    let (_, authority) = parse_x509_certificate(authority).ok()?;
    let issued = rest.is_empty()
        && certificate.issuer() == authority.subject()
        && certificate.verify_signature(Some(authority.public_key())).is_ok();
    let key = DevicePublicKey::try_from(Bytes(certificate.public_key().raw.to_vec())).ok()?;
    issued.then_some(CertifiedEnrollment { device, generation, owner, key })
}

/// A device's key in the form that the certificate library requires.
struct Subject<'a>(&'a DevicePublicKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Returns the parameters of an authority. It may sign its successor, but no other authority.
fn authority_params(
    name: &str,
    now: Timestamp,
    serial: &Serial,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = template(name, now, AUTHORITY_LIFETIME, serial)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(SUCCESSORS));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn template(
    name: &str,
    now: Timestamp,
    lifetime: Duration,
    serial: &Serial,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date(now.minus(BACKDATED))?;
    params.not_after = date(now.plus(lifetime))?;
    params.use_authority_key_identifier_extension = true;
    // Positive (first bit 0) and without leading zeros (second bit 1), so that it is always 16 bytes.
    let mut serial = *serial;
    let [first, ..] = &mut serial;
    *first = (*first & 0x7f) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn date(at: Timestamp) -> Result<OffsetDateTime, AuthorityError> {
    i64::try_from(at.as_secs())
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .ok_or(AuthorityError::Time(at))
}

/// Checks that a server certificate can carry these names, before anything is written.
pub(super) fn check_names(names: &[String]) -> Result<(), AuthorityError> {
    match subject_names(names)?.len() {
        0 => Err(AuthorityError::NoName),
        _ => Ok(()),
    }
}

fn subject_names(names: &[String]) -> Result<Vec<SanType>, AuthorityError> {
    names.iter().map(|name| subject_name(name)).collect()
}

fn subject_name(name: &str) -> Result<SanType, AuthorityError> {
    let invalid = || AuthorityError::InvalidName(name.chars().take(128).collect());
    match ServerName::try_from(name).map_err(|_| invalid())? {
        ServerName::IpAddress(address) => Ok(SanType::IpAddress(address.into())),
        _ => Ok(SanType::DnsName(name.try_into().map_err(AuthorityError::Certificate)?)),
    }
}

/// Returns certificates as one text in PEM.
pub(super) fn to_pem(certificates: &[CertificateDer<'_>]) -> String {
    let blocks: Vec<_> = certificates.iter().map(|der| pem::Pem::new("CERTIFICATE", der.as_ref())).collect();
    pem::encode_many(&blocks)
}

fn concatenate(key: &KeyPair, certificate: &str) -> KeyAndCertificate {
    let key = Zeroizing::new(key.serialize_pem());
    Zeroizing::new(format!("{}{certificate}", *key))
}
