//! The name in a device's certificate: the device, its generation and its owner.

use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, DeviceId, Generation},
    timestamp::Timestamp,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// A device as its certificate names it. TLS has verified the certificate; the service decides whether the
/// generation is still valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceCertificate {
    /// The device.
    pub device: DeviceId,
    /// The enrollment that the certificate is for.
    pub generation: Generation,
    /// The customer that owned the device then.
    pub owner: CompanyId,
    /// The digest of its issuer's name.
    pub issuer: Sha256,
    /// The end of the certificate's validity.
    pub not_after: Timestamp,
}

/// A certificate of the device authority that names no device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a certificate with one name of the form urn:unbox:device:<id>:generation:<n>:owner:<id>")]
pub struct NotADeviceCertificate;

/// Returns the name in a device's certificate.
pub(super) fn subject_uri(device: DeviceId, generation: Generation, owner: CompanyId) -> String {
    format!("urn:unbox:device:{device}:generation:{generation}:owner:{owner}")
}

impl DeviceCertificate {
    /// Parses a certificate that TLS has already verified.
    ///
    /// # Errors
    /// [`NotADeviceCertificate`] unless it carries exactly one name, in the form that
    /// [`super::Keyring::issue_certificate`] writes.
    pub fn parse(der: &[u8]) -> Result<Self, NotADeviceCertificate> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| NotADeviceCertificate)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| NotADeviceCertificate)?
            .ok_or(NotADeviceCertificate)?;
        let [GeneralName::URI(name)] = names.value.general_names.as_slice() else {
            return Err(NotADeviceCertificate);
        };
        let (device, generation, owner) = parse_uri(name).ok_or(NotADeviceCertificate)?;
        let not_after =
            u64::try_from(certificate.validity().not_after.timestamp()).map_err(|_| NotADeviceCertificate)?;
        let issuer = Sha256::of(certificate.issuer().as_raw());
        Ok(Self { device, generation, owner, issuer, not_after: Timestamp::from_secs(not_after) })
    }
}

fn parse_uri(name: &str) -> Option<(DeviceId, Generation, CompanyId)> {
    let (device, rest) = name.strip_prefix("urn:unbox:device:")?.split_once(":generation:")?;
    let (generation, owner) = rest.split_once(":owner:")?;
    let (device, owner) = (device.parse().ok()?, owner.parse().ok()?);
    let generation = Generation(generation.parse().ok()?);
    // One spelling only: no leading zeros or signs.
    (subject_uri(device, generation, owner) == name).then_some((device, generation, owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_written_form_names_a_device() {
        let (device, owner) = (DeviceId::new(4211).unwrap(), CompanyId::new(17).unwrap());
        let name = subject_uri(device, Generation(3), owner);
        assert_eq!(name, "urn:unbox:device:4211:generation:3:owner:17");
        assert_eq!(parse_uri(&name), Some((device, Generation(3), owner)));
        for bad in [
            "",
            "urn:unbox:device:4211",
            "urn:unbox:device:4211:generation:3",
            "urn:unbox:device:0:generation:1:owner:17",
            "urn:unbox:device:-1:generation:1:owner:17",
            "urn:unbox:device:04211:generation:3:owner:17",
            "urn:unbox:device:4211:generation:+3:owner:17",
            "urn:unbox:device:4211:generation:03:owner:17",
            "urn:unbox:device:4211:generation:3:owner:17 ",
            "urn:unbox:device:4211:generation:3:owner:017",
            "urn:unbox:device:4211:generation:3:owner:0",
            "urn:unbox:device:4211:generation::owner:17",
            "urn:unbox:device:4211:generation:18446744073709551616:owner:17",
        ] {
            assert_eq!(parse_uri(bad), None, "{bad}");
        }
        assert_eq!(DeviceCertificate::parse(b"nothing"), Err(NotADeviceCertificate));
    }
}
