//! The client certificate that a server issued for this device's key.

use super::{DeviceKey, KeyError};
use rustls::{pki_types::CertificateDer, sign::CertifiedKey};
use unbox_common::{bytes::Bytes, timestamp::Timestamp, trust::DevicePublicKey};
use x509_parser::parse_x509_certificate;

/// The most certificates in one chain: device, issuer, and an intermediate or two.
const MAX_CHAIN: usize = 4;

/// A chain whose first certificate is for this device's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateChain {
    chain: Vec<Bytes>,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// The reason why a chain is not valid for this device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCertificate {
    /// The chain is empty or too long.
    #[error("expected 1 to {MAX_CHAIN} certificates, found {0}")]
    Length(usize),
    /// The first element is not a certificate.
    #[error("expected a certificate in DER")]
    Unreadable,
    /// The certificate is for another key.
    #[error("the certificate is for another key")]
    OtherKey,
}

impl CertificateChain {
    /// Checks a chain against the device's key.
    ///
    /// # Errors
    /// [`InvalidCertificate`].
    pub fn parse(chain: &[Bytes], key: &DevicePublicKey) -> Result<Self, InvalidCertificate> {
        let device = match chain {
            [device, ..] if chain.len() <= MAX_CHAIN => device,
            _ => return Err(InvalidCertificate::Length(chain.len())),
        };
        let (rest, certificate) =
            parse_x509_certificate(device.as_ref()).map_err(|_| InvalidCertificate::Unreadable)?;
        if !rest.is_empty() {
            return Err(InvalidCertificate::Unreadable);
        }
        if certificate.public_key().raw != key.spki() {
            return Err(InvalidCertificate::OtherKey);
        }
        let at = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
        };
        let validity = certificate.validity();
        Ok(Self {
            chain: chain.to_vec(),
            not_before: at(validity.not_before),
            not_after: at(validity.not_after),
        })
    }

    /// Returns the chain as it is stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[Bytes] {
        &self.chain
    }

    /// Returns the end of the certificate's validity.
    #[must_use]
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Returns true if the certificate has not expired.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        now < self.not_after
    }

    /// Returns true if less than a third of its lifetime is left.
    #[must_use]
    pub fn needs_renewal(&self, now: Timestamp) -> bool {
        let life = self.not_after.duration_since(self.not_before);
        self.not_after.duration_since(now) < life / 3
    }

    /// Returns chain and key for TLS client authentication.
    ///
    /// # Errors
    /// [`KeyError::Tpm`] if the TPM cannot remake the key.
    pub fn certified_key(&self, key: &DeviceKey) -> Result<CertifiedKey, KeyError> {
        let chain = self.chain.iter().map(|certificate| CertificateDer::from(certificate.0.clone()));
        Ok(CertifiedKey::new(chain.collect(), key.tls_key()?))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::entropy::Entropy;
    use std::time::Duration;

    /// Makes a self-signed certificate for a device's key, valid between the two times.
    pub(crate) fn certificate(key: &DeviceKey, from: Timestamp, until: Timestamp) -> Bytes {
        let pair = rcgen::KeyPair::from_pem(key.to_file().expose()).unwrap();
        Bytes(lasting(from, until).self_signed(&pair).unwrap().der().to_vec())
    }

    /// Makes a certificate for a public key alone, as a server issues it, by a throwaway issuer.
    pub(crate) fn certificate_of_spki(key: &DevicePublicKey, from: Timestamp, until: Timestamp) -> Bytes {
        let subject = rcgen::SubjectPublicKeyInfo::from_der(key.spki()).unwrap();
        let pair = rcgen::KeyPair::generate().unwrap();
        let issuer = rcgen::Issuer::new(rcgen::CertificateParams::new(Vec::new()).unwrap(), pair);
        let params = lasting(from, until);
        Bytes(params.signed_by(&subject, &issuer).unwrap().der().to_vec())
    }

    fn lasting(from: Timestamp, until: Timestamp) -> rcgen::CertificateParams {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        let time = |at: Timestamp| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.as_secs());
        (params.not_before, params.not_after) = (time(from), time(until));
        params
    }

    const FROM: Timestamp = Timestamp::from_secs(1_795_000_000);

    #[test]
    fn a_chain_is_for_this_device_or_none() {
        let entropy = Entropy::system();
        let (own, other) = (DeviceKey::generate(&entropy).unwrap(), DeviceKey::generate(&entropy).unwrap());
        let until = FROM.plus(Duration::from_hours(24 * 90));
        let certificate = certificate(&own, FROM, until);
        let chain = [certificate.clone()];
        let parsed = CertificateChain::parse(&chain, own.public()).unwrap();
        assert_eq!(parsed.not_after(), until);
        assert_eq!(CertificateChain::parse(&chain, other.public()), Err(InvalidCertificate::OtherKey));
        assert_eq!(CertificateChain::parse(&[], own.public()), Err(InvalidCertificate::Length(0)));
        let many = vec![certificate.clone(); 5];
        assert_eq!(CertificateChain::parse(&many, own.public()), Err(InvalidCertificate::Length(5)));
        let mut longer = certificate;
        longer.0.push(0);
        for bad in [Bytes::default(), Bytes(vec![0x30, 3]), longer] {
            assert_eq!(CertificateChain::parse(&[bad], own.public()), Err(InvalidCertificate::Unreadable));
        }
    }

    #[test]
    fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
        let day = Duration::from_hours(24);
        let key = DeviceKey::generate(&Entropy::system()).unwrap();
        let chain = [certificate(&key, FROM, FROM.plus(90 * day))];
        let chain = CertificateChain::parse(&chain, key.public()).unwrap();
        for (days, renews, valid) in
            [(0, false, true), (59, false, true), (61, true, true), (90, true, false)]
        {
            let now = FROM.plus(days * day);
            assert_eq!((chain.needs_renewal(now), chain.is_valid(now)), (renews, valid), "day {days}");
        }
    }
}
