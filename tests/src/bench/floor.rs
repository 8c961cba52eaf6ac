//! The floor: the cost of the unavoidable parts of an enrollment on this machine, in this run.

use super::tls_handshake::TlsHandshake;
use crate::clock::Stopwatch;
use anyhow::{Context as _, Result, anyhow};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use std::{fs::OpenOptions, io::Write as _, path::Path, time::Duration};
use unbox_common::trust::SigningKey;

/// The CPU time that no enrollment can avoid, each figure the median of many.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// TLS 1.3, P-256 certificates, no resumption: the server's half and the client's.
    pub tls: Halves,
    /// The same with a client certificate, which the server verifies.
    pub mutual_tls: Halves,
    /// One P-256 signature checked: the transcript.
    pub p256_verify: Duration,
    /// One P-256 signature made: the certificate; or, on the device, the transcript.
    pub p256_sign: Duration,
    /// One Ed25519 signature made: the payload.
    pub ed25519_sign: Duration,
    /// The same, checked by the device.
    pub ed25519_verify: Duration,
}

/// The cost of a handshake for each side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Halves {
    /// The server.
    pub server: Duration,
    /// The client.
    pub client: Duration,
}

impl Floor {
    /// Measures everything `times` times: 500 take about a second.
    ///
    /// # Errors
    /// If a key cannot be made.
    pub fn measure(times: usize) -> Result<Self> {
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
        let by_ed25519 = ed25519.sign(&message);
        let ed25519_public = ed25519.public();
        Ok(Self {
            tls: TlsHandshake::new(false)?.measure_halves(times)?,
            mutual_tls: TlsHandshake::new(true)?.measure_halves(times)?,
            p256_verify: median(times, || public.verify(&message, signature.as_ref()).is_ok()),
            p256_sign: median(times, || p256.sign(&random, &message).is_ok()),
            ed25519_sign: median(times, || !ed25519.sign(&message).is_empty()),
            ed25519_verify: median(times, || ed25519_public.verifies(&message, &by_ed25519)),
        })
    }

    /// Returns the server's floor: a handshake for hello and prove, one with the new certificate for the
    /// report, the transcript, the certificate, the payload.
    #[must_use]
    pub fn server_floor(&self) -> Duration {
        self.tls.server + self.mutual_tls.server + self.p256_verify + self.p256_sign + self.ed25519_sign
    }

    /// Returns the device's floor: the other halves of the handshakes, the transcript, the payload's
    /// signature.
    #[must_use]
    pub fn device_floor(&self) -> Duration {
        self.tls.client + self.mutual_tls.client + self.p256_sign + self.ed25519_verify
    }
}

fn median(times: usize, mut work: impl FnMut() -> bool) -> Duration {
    let each = (0..times.max(1)).map(|_| {
        let started = Stopwatch::start();
        std::hint::black_box(work());
        started.elapsed()
    });
    super::median(each.collect())
}

/// Measures one small append and `fdatasync`, to the disk that the database is on; wall clock.
///
/// # Errors
/// If the disk cannot be written.
pub fn durable_write(directory: &Path, times: usize) -> Result<Duration> {
    let path = directory.join("floor.bin");
    let mut file = OpenOptions::new().create(true).append(true).open(&path).context("open a file")?;
    let mut each = Vec::with_capacity(times);
    for _ in 0..times {
        let started = Stopwatch::start();
        file.write_all(&[7; 512]).context("write")?;
        file.sync_data().context("flush to the disk")?;
        each.push(started.elapsed());
    }
    std::fs::remove_file(&path).context("remove the file")?;
    Ok(super::median(each))
}
