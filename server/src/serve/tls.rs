//! TLS 1.3 and nothing older; a client certificate is accepted if it is from the device authority.

use super::acme::{self, Answers, Shown};
use crate::{
    config::{CertificateSource, Settings},
    keys::{self, KeyError, Keyring},
};
use rustls::{
    RootCertStore, ServerConfig, SupportedCipherSuite,
    crypto::{
        CryptoProvider,
        ring::{
            self,
            cipher_suite::{
                TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
            },
        },
    },
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::TLS13,
};
use std::{path::PathBuf, sync::Arc};

/// The cipher suites in the server's order. Processors have instructions for SHA-256 and rarely for
/// SHA-384, with which a handshake costs the server about a tenth more.
const CIPHER_SUITES: [SupportedCipherSuite; 3] =
    [TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256];

/// The reason why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The server's certificate or key is missing or malformed.
    #[error(transparent)]
    Identity(#[from] KeyError),
    /// The server's key does not belong to its certificate, or is too weak.
    #[error("the certificate in {} cannot be used with its key: {renewal}", path.display())]
    Certificate {
        /// The path of the certificate.
        path: PathBuf,
        /// The step that gives the server another one.
        renewal: &'static str,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// The device authority's certificate cannot be trusted.
    #[error("the device authority's certificate cannot be used")]
    DeviceAuthority(#[source] rustls::Error),
    /// The verifier for devices' certificates could not be built.
    #[error("the device authority's certificate cannot verify others")]
    Verifier(#[source] VerifierBuilderError),
    /// The cryptography library of this build lacks TLS 1.3.
    #[error("TLS 1.3 is not available")]
    Version(#[source] rustls::Error),
}

/// Reads the certificate that the server presents, and its key.
///
/// # Errors
/// [`TlsError::Identity`] naming the file, and [`TlsError::Certificate`] if the two cannot be used.
pub fn own_certificate(settings: &Settings) -> Result<CertifiedKey, TlsError> {
    let source = settings.certificate_source();
    let (path, key) = settings.presented_certificate();
    let own = keys::server_identity(&path, &key).map_err(|error| match source {
        CertificateSource::Files => error.with_advice_for_given_path(),
        CertificateSource::Own | CertificateSource::Acme => error,
    })?;
    CertifiedKey::from_der(own.chain, own.key, &ring::default_provider())
        .map_err(|error| TlsError::Certificate { path, renewal: source.renewal(), source: error })
}

/// Returns the server's side of a TLS handshake.
///
/// No session is resumed: a device connects anew once it has a certificate, and then once an
/// hour, so there is nothing to gain; and a session that outlived a certificate would be one thing
/// more to think about.
///
/// # Errors
/// [`TlsError`] naming the unusable part.
pub(super) fn server_config(
    settings: &Settings,
    keyring: &Keyring,
    answers: &Arc<Answers>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider =
        Arc::new(CryptoProvider { cipher_suites: CIPHER_SUITES.to_vec(), ..ring::default_provider() });
    let mut authorities = RootCertStore::empty();
    for authority in keyring.device_authorities() {
        authorities.add(authority).map_err(TlsError::DeviceAuthority)?;
    }
    let devices = WebPkiClientVerifier::builder_with_provider(authorities.into(), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(TlsError::Verifier)?;
    let shown = Shown { own: own_certificate(settings)?.into(), answers: answers.clone() };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Version)?
        .with_client_cert_verifier(devices)
        .with_cert_resolver(Arc::new(shown));
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if settings.acme.is_some() {
        config.alpn_protocols.push(acme::PROTOCOL.to_vec());
    }
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config.into())
}
