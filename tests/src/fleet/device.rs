//! One simulated device: the real messages, the real checks, its own key.

use super::http::{Anchors, Answer, Connection};
use anyhow::{Context as _, Result, anyhow, bail, ensure};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde::{Serialize, de::DeserializeOwned};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use unbox_common::{
    bytes::{FixedBytes, Nonce},
    digest::Sha256,
    identity::{IdentifierKind, RawIdentifier, Source},
    payload::{Expectation, judge},
    protocol::{
        latest::{
            Acknowledged, CHECK_IN_PATH, Challenge, CheckIn, Grant, HELLO_PATH, Hello, News, Outcome,
            PROTOCOL_VERSION, PROVE_PATH, ProofKind, Prove, REPORT_PATH, Report, ReportEntry,
        },
        problem::Problem,
        progress::Progress,
        transcript::transcript,
    },
    secret::Secret,
    timestamp::Timestamp,
    trust::{DevicePublicKey, Signed, SigningRoot, Verified},
};

/// The contents of every device image of a fleet.
#[derive(Debug, Clone)]
pub struct FleetImage {
    /// The server's address.
    pub address: SocketAddr,
    /// The name in its certificate.
    pub name: String,
    anchors: Anchors,
    tls: Arc<ClientConfig>,
    root: Verified<SigningRoot>,
}

/// One device that is switched on.
#[derive(Debug)]
pub struct SimulatedDevice {
    identity: Vec<RawIdentifier>,
    token: Option<Secret>,
    pkcs8: Vec<u8>,
    key: EcdsaKeyPair,
    random: SystemRandom,
}

/// A hello that was answered.
#[derive(Debug)]
pub struct Challenged {
    /// Digest of the hello.
    hello: Sha256,
    /// The device's nonce.
    nonce: Nonce,
    /// The answer.
    challenge: Challenge,
}

/// A grant whose payload was verified and judged, as a real device does.
#[derive(Debug)]
pub struct Granted {
    /// The grant.
    pub grant: Grant,
    /// The version of its payload.
    pub version: u64,
}

/// The outcome of one enrollment.
#[derive(Debug)]
pub struct Enrolled {
    /// The grant, verified.
    pub grant: Grant,
    /// The number of times that the server asked to come back later, and the device did.
    pub told_to_wait: u32,
}

impl FleetImage {
    /// Reads the trust bundle that a server made for images.
    ///
    /// # Errors
    /// If the bundle is not there or does not verify.
    pub fn from_bundle(address: SocketAddr, name: &str, bundle: &Path) -> Result<Self> {
        let anchors = Anchors::read(&bundle.join("anchors.pem"))?;
        let root = std::fs::read(bundle.join("root.json")).context("read root.json")?;
        let root: Signed<SigningRoot> = serde_json::from_slice(&root).context("parse root.json")?;
        let root = SigningRoot::from_image(&root).context("verify root.json")?;
        Ok(Self { address, name: name.to_owned(), tls: anchors.tls(None)?, anchors, root })
    }

    /// Connects as a device that has no certificate yet.
    ///
    /// # Errors
    /// If the server cannot be reached, or is not the one that the anchors vouch for.
    pub async fn connect(&self) -> Result<Connection> {
        Connection::open(self.address, &self.name, Arc::clone(&self.tls)).await
    }

    /// Returns the TLS configuration of a device with this certificate.
    ///
    /// # Errors
    /// If the certificate does not fit the key.
    pub fn client_config(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<ClientConfig>> {
        self.anchors.tls(Some((chain, key)))
    }
}

impl SimulatedDevice {
    /// Makes a device with a serial number, and a key of its own.
    ///
    /// # Errors
    /// If no key can be made.
    pub fn new(serial: &str, manufacturer: &str, model: &str) -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the fleet's one source of randomness: its keys")]
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document =
            EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| anyhow!("make a device key"))?;
        let key = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random)
            .map_err(|_| anyhow!("read the device key"))?;
        let one = |kind, value: &str| RawIdentifier { kind, value: value.to_owned(), source: Source::Smbios };
        let identity = vec![
            one(IdentifierKind::SerialNumber, serial),
            one(IdentifierKind::Manufacturer, manufacturer),
            one(IdentifierKind::Model, model),
        ];
        Ok(Self { identity, token: None, pkcs8: document.as_ref().to_vec(), key, random })
    }

    /// Gives the device a pre-provisioning token.
    #[must_use]
    pub fn with_token(mut self, token: Secret) -> Self {
        self.token = Some(token);
        self
    }

    /// Goes from power-on to managed: hello, prove, checks, report. It waits if the server asks for time; any
    /// other refusal ends it.
    ///
    /// # Errors
    /// The refusal, or the server's mistake.
    pub async fn enroll(&self, image: &FleetImage) -> Result<Enrolled> {
        let mut told_to_wait = 0;
        let Granted { grant, version } = loop {
            match self.handshake(image).await? {
                Ok(granted) => break granted,
                Err(answer) => wait_before_retry(&answer, &mut told_to_wait).await?,
            }
        };
        let report = Report {
            generation: grant.generation,
            entries: vec![ReportEntry {
                sequence: 1,
                at: grant.server_time,
                progress: Progress::BootstrapComplete,
                detail: None,
            }],
            outcome: Some(Outcome::Managed { version }),
        };
        while let Err(answer) =
            self.post_with_certificate::<Acknowledged>(image, &grant, REPORT_PATH, &report).await?
        {
            wait_before_retry(&answer, &mut told_to_wait).await?;
        }
        Ok(Enrolled { grant, told_to_wait })
    }

    /// Makes the two round trips; the inner error is the server's refusal.
    ///
    /// # Errors
    /// The fault that broke the exchange.
    pub async fn handshake(&self, image: &FleetImage) -> Result<Result<Granted, Answer>> {
        let mut connection = image.connect().await?;
        let Challenged { hello, nonce, challenge } = match self.hello(image, &mut connection).await? {
            Ok(challenged) => challenged,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let prove = serde_json::to_vec(&self.prove(hello, challenge)?).context("write the proof")?;
        match parse_accepted(connection.post(PROVE_PATH, prove).await?)? {
            Ok(grant) => self.check(image, grant, nonce).map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Makes the first round trip; the inner error is the server's refusal.
    ///
    /// # Errors
    /// The fault that broke the exchange.
    pub async fn hello(
        &self,
        image: &FleetImage,
        connection: &mut Connection,
    ) -> Result<Result<Challenged, Answer>> {
        let nonce = self.nonce()?;
        let message = serde_json::to_vec(&self.hello_message(image, nonce)?).context("write the hello")?;
        let hello = Sha256::of(&message);
        let answered = parse_accepted(connection.post(HELLO_PATH, message).await?)?;
        Ok(answered.map(|challenge| Challenged { hello, nonce, challenge }))
    }

    /// Checks in once; the inner error is the server's refusal.
    ///
    /// # Errors
    /// The fault that broke the exchange.
    pub async fn check_in(&self, image: &FleetImage, grant: &Grant) -> Result<Result<News, Answer>> {
        let check_in = CheckIn {
            generation: grant.generation,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            installed: None,
            failed_version: None,
            healthy: true,
            nonce: self.nonce()?,
            root_version: image.root.version,
            renew_certificate: false,
        };
        self.post_with_certificate(image, grant, CHECK_IN_PATH, &check_in).await
    }

    /// Posts a message over mutual TLS with the certificate of a grant.
    async fn post_with_certificate<T: DeserializeOwned>(
        &self,
        image: &FleetImage,
        grant: &Grant,
        path: &str,
        message: &impl Serialize,
    ) -> Result<Result<T, Answer>> {
        let chain = grant.certificate_chain.iter().map(|der| CertificateDer::from(der.0.clone())).collect();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.pkcs8.clone()));
        let config = image.client_config(chain, key)?;
        let mut connection = Connection::open(image.address, &image.name, config).await?;
        parse_accepted(
            connection.post(path, serde_json::to_vec(message).context("write the message")?).await?,
        )
    }

    fn prove(&self, hello: Sha256, challenge: Challenge) -> Result<Prove> {
        let Challenge { ticket, nonce, proof, .. } = challenge;
        let message = transcript(hello, ticket.as_ref(), &nonce, proof);
        let signature = self.key.sign(&self.random, &message).map_err(|_| anyhow!("sign the transcript"))?;
        let signature = <[u8; 64]>::try_from(signature.as_ref()).context("a P-256 signature has 64 bytes")?;
        let token = self.token.clone().filter(|_| proof == ProofKind::Token);
        Ok(Prove { ticket, signature: FixedBytes(signature), token, reset_ticket: None, tpm: None })
    }

    fn hello_message(&self, image: &FleetImage, nonce: Nonce) -> Result<Hello> {
        let mut proofs = vec![ProofKind::Identifiers, ProofKind::RegisteredKey];
        proofs.extend(self.token.as_ref().map(|_| ProofKind::Token));
        Ok(Hello {
            protocol: PROTOCOL_VERSION,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: self.identity.clone(),
            device_key: self.public_key()?,
            proofs,
            nonce,
            root_version: image.root.version,
            token_digest: None,
            tpm: None,
            enrollment: None,
        })
    }

    fn nonce(&self) -> Result<Nonce> {
        let mut nonce = [0; 32];
        ring::rand::SecureRandom::fill(&self.random, &mut nonce).map_err(|_| anyhow!("make a nonce"))?;
        Ok(FixedBytes(nonce))
    }

    /// Makes the checks of a real device.
    fn check(&self, image: &FleetImage, grant: Grant, nonce: Nonce) -> Result<Granted> {
        let payload = grant.payload.verify(&image.root.payload_keys).context("verify the payload")?;
        let version = payload.version;
        let expectation = Expectation {
            device: grant.device_id,
            generation: grant.generation,
            key_digest: Some(self.public_key()?.digest()),
            nonce: Some(nonce),
            installed_version: None,
            now: Timestamp(grant.server_time.0),
        };
        judge(payload, &expectation).context("judge the payload")?;
        ensure!(!grant.certificate_chain.is_empty(), "the grant brings no certificate");
        Ok(Granted { grant, version })
    }

    fn public_key(&self) -> Result<DevicePublicKey> {
        Ok(DevicePublicKey::from_point(self.key.public_key().as_ref())?)
    }
}

fn parse_accepted<T: DeserializeOwned>(answer: Answer) -> Result<Result<T, Answer>> {
    if answer.status == 200 {
        serde_json::from_slice(&answer.body).map(Ok).context("parse the answer")
    } else {
        Ok(Err(answer))
    }
}

async fn wait_before_retry(answer: &Answer, told_to_wait: &mut u32) -> Result<()> {
    let problem: Problem = serde_json::from_slice(&answer.body)
        .with_context(|| format!("the server answered {} without a problem document", answer.status))?;
    let Some(seconds) = answer.retry_after_s.filter(|_| matches!(answer.status, 429 | 503)) else {
        bail!("refused: {} ({})", problem.kind, problem.detail.unwrap_or_default());
    };
    *told_to_wait += 1;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    Ok(())
}
