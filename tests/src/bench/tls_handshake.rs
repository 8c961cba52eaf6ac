//! A TLS handshake in memory, each half timed by itself: no socket, no scheduler, no other process.

use super::floor::Halves;
use crate::clock::Stopwatch;
use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};
use std::{sync::Arc, time::Duration};

/// Both sides, ready for handshakes.
pub(super) struct TlsHandshake {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    name: ServerName<'static>,
}

impl TlsHandshake {
    /// Sets both sides up like Unbox's server: one authority above each certificate, P-256, no session kept,
    /// and the server's preferred cipher suite; with a client certificate if `mutual`.
    pub(super) fn new(mutual: bool) -> Result<Self> {
        let provider = Arc::new(CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
            ..ring::default_provider()
        });
        let authority = authority()?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).context("trust the authority")?;
        let roots = Arc::new(roots);
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .context("ask for TLS 1.3")?
            .with_root_certificates(Arc::clone(&roots));
        let mut client = if mutual {
            let (chain, key) = identity(&authority, "device.example")?;
            client.with_client_auth_cert(chain, key).context("use the client's certificate")?
        } else {
            client.with_no_client_auth()
        };
        client.resumption = Resumption::disabled();
        let devices = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .context("verify clients")?;
        let (chain, key) = identity(&authority, "floor.example")?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .context("ask for TLS 1.3")?
            .with_client_cert_verifier(devices)
            .with_single_cert(chain, key)
            .context("use the server's certificate")?;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let name = ServerName::try_from("floor.example").context("parse the name")?;
        Ok(Self { client: Arc::new(client), server: Arc::new(server), name })
    }

    /// Returns the medians of many handshakes.
    pub(super) fn measure_halves(&self, times: usize) -> Result<Halves> {
        let (mut server, mut client) = (Vec::new(), Vec::new());
        for _ in 0..times.max(1) {
            let halves = self.measure_once()?;
            server.push(halves.server);
            client.push(halves.client);
        }
        Ok(Halves { server: super::median(server), client: super::median(client) })
    }

    fn measure_once(&self) -> Result<Halves> {
        let mut halves = Halves::default();
        let mut to_client = Vec::new();
        let mut client = add_time(&mut halves.client, || {
            ClientConnection::new(Arc::clone(&self.client), self.name.clone()).context("start a client")
        })?;
        let mut server = add_time(&mut halves.server, || {
            ServerConnection::new(Arc::clone(&self.server)).context("start a server")
        })?;
        while client.is_handshaking() || server.is_handshaking() {
            let to_server = add_time(&mut halves.client, || answer_bytes(&mut client, &to_client))?;
            to_client = add_time(&mut halves.server, || answer_bytes(&mut server, &to_server))?;
        }
        Ok(halves)
    }
}

fn add_time<T>(spent: &mut Duration, work: impl FnOnce() -> T) -> T {
    let started = Stopwatch::start();
    let done = work();
    *spent += started.elapsed();
    done
}

/// Returns the bytes that a side sends in answer to these.
fn answer_bytes<D>(
    side: &mut impl std::ops::DerefMut<Target = rustls::ConnectionCommon<D>>,
    mut told: &[u8],
) -> Result<Vec<u8>> {
    while !told.is_empty() {
        side.read_tls(&mut told).context("read")?;
        side.process_new_packets().context("handle")?;
    }
    let mut said = Vec::new();
    while side.wants_write() {
        side.write_tls(&mut said).context("write")?;
    }
    Ok(said)
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let key = KeyPair::generate().context("make the authority's key")?;
    CertifiedIssuer::self_signed(params, key).context("make the authority")
}

fn identity(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let key = KeyPair::generate().context("make a key")?;
    let params = CertificateParams::new([name.to_owned()]).context("name a certificate")?;
    let certificate = params.signed_by(&key, authority).context("make a certificate")?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((vec![certificate.into()], PrivateKeyDer::Pkcs8(key)))
}
