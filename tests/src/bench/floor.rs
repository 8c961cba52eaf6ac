//! The floor: what the unavoidable parts of an enrollment cost on this machine, in this run.

use crate::clock::Stopwatch;
use anyhow::{Context as _, Result, anyhow};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    version::TLS13,
};
use std::{fs::OpenOptions, io::Write as _, path::Path, sync::Arc, time::Duration};
use unbox_common::trust::SigningKey;

/// The unavoidable costs of one enrollment on the server, each the mean of many.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// Server side of one TLS 1.3 handshake with a P-256 certificate.
    pub tls_handshake: Duration,
    /// One P-256 signature checked: the transcript.
    pub p256_verify: Duration,
    /// One P-256 signature made: the certificate.
    pub p256_sign: Duration,
    /// One Ed25519 signature made: the payload.
    pub ed25519_sign: Duration,
    /// One small append and `fdatasync` to the disk that the database is on; wall clock.
    pub durable_write: Duration,
}

impl Floor {
    /// Measures all of it; about a second.
    ///
    /// # Errors
    /// If a key cannot be made or the disk cannot be written.
    pub fn measure(directory: &Path) -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the floor's one source of randomness")]
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| anyhow!("make a key"))?;
        let p256 = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .map_err(|_| anyhow!("read a key"))?;
        let message = [7; 1024];
        let signature = p256.sign(&random, &message).map_err(|_| anyhow!("sign"))?;
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, p256.public_key().as_ref());
        let ed25519 = SigningKey::from_seed(&[3; 32]);
        Ok(Self {
            tls_handshake: tls_handshake()?,
            p256_verify: mean(2000, || public.verify(&message, signature.as_ref()).is_ok()),
            p256_sign: mean(2000, || p256.sign(&random, &message).is_ok()),
            ed25519_sign: mean(2000, || !ed25519.sign(&message).is_empty()),
            durable_write: durable_write(directory)?,
        })
    }

    /// CPU that one enrollment cannot do without: two handshakes (one mutual), two P-256
    /// checks (transcript, client's `CertificateVerify`), a certificate, a payload.
    #[must_use]
    pub fn enrollment_cpu(&self) -> Duration {
        self.tls_handshake * 2 + self.p256_verify * 2 + self.p256_sign + self.ed25519_sign
    }
}

fn mean(times: u32, mut work: impl FnMut() -> bool) -> Duration {
    let started = Stopwatch::start();
    for _ in 0..times {
        std::hint::black_box(work());
    }
    started.elapsed() / times
}

/// Shakes hands in memory and times the server's half alone.
fn tls_handshake() -> Result<Duration> {
    let (client, server) = tls_configs()?;
    let name = ServerName::try_from("floor.example").context("parse the name")?;
    let (times, mut spent) = (500, Duration::ZERO);
    for _ in 0..times {
        let mut client =
            ClientConnection::new(Arc::clone(&client), name.clone()).context("start a client")?;
        let mut server = ServerConnection::new(Arc::clone(&server)).context("start a server")?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut to_server = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut to_server).context("client writes")?;
            }
            let started = Stopwatch::start();
            let mut unread = to_server.as_slice();
            while !unread.is_empty() {
                server.read_tls(&mut unread).context("server reads")?;
                server.process_new_packets().context("server handles")?;
            }
            let mut to_client = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut to_client).context("server writes")?;
            }
            spent += started.elapsed();
            let mut unread = to_client.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread).context("client reads")?;
                client.process_new_packets().context("client handles")?;
            }
        }
    }
    Ok(spent / times)
}

fn tls_configs() -> Result<(Arc<ClientConfig>, Arc<ServerConfig>)> {
    let made =
        rcgen::generate_simple_self_signed(["floor.example".to_owned()]).context("make a certificate")?;
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key =
        PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|error| anyhow!("{error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).context("trust the certificate")?;
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .context("ask for TLS 1.3")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .context("ask for TLS 1.3")?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .context("use the certificate")?;
    Ok((Arc::new(client), Arc::new(server)))
}

fn durable_write(directory: &Path) -> Result<Duration> {
    let path = directory.join("floor.bin");
    let mut file = OpenOptions::new().create(true).append(true).open(&path).context("open a file")?;
    let (times, started) = (200, Stopwatch::start());
    for _ in 0..times {
        file.write_all(&[7; 512]).context("write")?;
        file.sync_data().context("flush to the disk")?;
    }
    let each = started.elapsed() / times;
    std::fs::remove_file(&path).context("remove the file")?;
    Ok(each)
}
