//! Every key of a [`World`](super::World): the server's, the image's and the attacker's.

use anyhow::{Context as _, Result, anyhow};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType, SubjectPublicKeyInfo,
};
use std::{path::Path, time::Duration};
use unbox_common::{
    bytes::Bytes,
    ids::{DeviceId, Generation},
    payload::Payload,
    timestamp::Timestamp,
    trust::{DevicePublicKey, Envelope, KeySet, Signable, Signature, Signed, SigningKey, SigningRoot, sign},
};

/// The name in the server's certificate.
pub const SERVER_NAME: &str = "localhost";

/// All keys of one world.
#[derive(Debug)]
pub struct Keys {
    tls_ca: CertifiedIssuer<'static, KeyPair>,
    device_ca: CertifiedIssuer<'static, KeyPair>,
    /// The key that signs payloads, and is trusted for it.
    pub payload_key: SigningKey,
    /// The key that signs the next root.
    pub root_key: SigningKey,
    /// A key that signs, too, but that nobody trusts.
    pub strangers_key: SigningKey,
    now: Timestamp,
}

impl Keys {
    /// Makes all keys.
    ///
    /// # Errors
    /// If a certificate cannot be made.
    pub fn new(now: Timestamp) -> Result<Self> {
        Ok(Self {
            tls_ca: authority("World TLS CA", now)?,
            device_ca: authority("World device CA", now)?,
            payload_key: SigningKey::from_seed(&[11; 32]),
            root_key: SigningKey::from_seed(&[12; 32]),
            strangers_key: SigningKey::from_seed(&[13; 32]),
            now,
        })
    }

    /// Returns the root that images carry.
    ///
    /// # Errors
    /// Never with these keys.
    pub fn root(&self) -> Result<SigningRoot> {
        Ok(SigningRoot {
            version: 1,
            payload_keys: KeySet::new(1, [self.payload_key.public()])?,
            root_keys: KeySet::new(1, [self.root_key.public()])?,
            tls_anchors: None,
        })
    }

    /// Writes `anchors.pem` and `root.json`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_bundle(&self, folder: &Path) -> Result<()> {
        let root = serde_json::to_string_pretty(&sign(&self.root()?, &[&self.root_key])?)?;
        crate::files::write(&folder.join("anchors.pem"), self.tls_ca.pem().as_bytes())?;
        crate::files::write(&folder.join("root.json"), root.as_bytes())
    }

    /// Signs a payload with the trusted key.
    ///
    /// # Errors
    /// If it cannot be serialised.
    pub fn sign<T: Signable>(&self, document: &T) -> Result<Signed<T>> {
        sign(document, &[&self.payload_key]).context("sign the payload")
    }

    /// Signs `payload` with a key that nobody trusts, as an attacker would.
    ///
    /// # Errors
    /// If it cannot be serialised.
    pub fn sign_as_stranger(&self, payload: &Payload) -> Result<Signed<Payload>> {
        sign(payload, &[&self.strangers_key]).context("sign the payload")
    }

    /// Signs this text as if it were a document: with the trusted key, but outside of the types.
    #[must_use]
    pub fn sign_text<T: Signable>(&self, text: &str) -> Envelope {
        let kind = T::PAYLOAD_TYPE;
        let message = format!("DSSEv1 {} {kind} {} {text}", kind.len(), text.len());
        let sig = Bytes(self.payload_key.sign(message.as_bytes()));
        Envelope {
            payload: Bytes(text.as_bytes().to_vec()),
            payload_type: kind.to_owned(),
            signatures: vec![Signature { keyid: self.payload_key.public().id(), sig }],
        }
    }

    /// Makes the server's certificate chain and key, PEM, valid for [`SERVER_NAME`] and 127.0.0.1.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn server_certificate(&self) -> Result<(String, String)> {
        let mut params = lifetime(CertificateParams::new(vec![SERVER_NAME.to_owned()])?, self.now)?;
        params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().context("make the server's key")?;
        let certificate = params.signed_by(&key, &self.tls_ca).context("sign the server's certificate")?;
        Ok((format!("{}{}", certificate.pem(), self.tls_ca.pem()), key.serialize_pem()))
    }

    /// Returns the CA that device certificates come from, PEM.
    #[must_use]
    pub fn device_ca_pem(&self) -> String {
        self.device_ca.pem()
    }

    /// Issues a certificate for a device's key, DER, with its issuer.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn device_certificate(
        &self,
        key: &DevicePublicKey,
        device: DeviceId,
        generation: Generation,
    ) -> Result<Vec<Bytes>> {
        let mut params = lifetime(CertificateParams::default(), self.now)?;
        params.distinguished_name.push(DnType::CommonName, device.to_string());
        let urn = format!("urn:unbox:device:{device}:generation:{generation}");
        params.subject_alt_names.push(SanType::URI(urn.try_into().map_err(|_| anyhow!("write the URN"))?));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let public = SubjectPublicKeyInfo::from_der(key.spki()).context("read the device's key")?;
        let certificate =
            params.signed_by(&public, &self.device_ca).context("sign the device's certificate")?;
        Ok(vec![Bytes(certificate.der().to_vec()), Bytes(self.device_ca.der().to_vec())])
    }
}

fn authority(name: &str, now: Timestamp) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = lifetime(CertificateParams::default(), now)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().context("make a CA key")?;
    CertifiedIssuer::self_signed(params, key).context("make a CA certificate")
}

fn lifetime(mut params: CertificateParams, now: Timestamp) -> Result<CertificateParams> {
    let day = Duration::from_hours(24);
    let moment = |time: Timestamp| {
        time::OffsetDateTime::from_unix_timestamp(i64::try_from(time.as_secs())?).context("write a time")
    };
    params.not_before = moment(now.minus(day * 2))?;
    params.not_after = moment(now.plus(day * 365))?;
    Ok(params)
}
