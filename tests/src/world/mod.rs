//! A server that the test controls completely: it knows every key, and gives the answers that it is told.
//!
//! [`World::honest_reply`] gives the reply that a good server would; a test changes it into an attack, and checks
//! the agent's reaction.

mod bare_listener;
mod keys;
mod serve;

pub use bare_listener::BareListener;
pub use keys::{Keys, SERVER_NAME};
pub use serve::{Reply, Request, Served};

use anyhow::{Context as _, Result};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};
use unbox_common::{
    bytes::{Bytes, FixedBytes},
    digest::Sha256,
    ids::{ConfigurationId, DeviceId, Generation},
    payload::{Artifact, ConfigurationRef, Payload, Setup},
    protocol::latest::{
        ARTIFACT_PATH, Acknowledged, CHECK_IN_PATH, Challenge, CheckIn, Grant, HELLO_PATH, Hello, News,
        Owner, PROVE_PATH, ProofKind, REPORT_PATH, Report,
    },
    timestamp::Timestamp,
    trust::DevicePublicKey,
};

/// The device that this world enrolls.
pub const DEVICE: i64 = 4211;

/// The whole knowledge of the server.
#[derive(Debug)]
pub struct World {
    /// All keys, those of the image's trust bundle among them.
    pub keys: Keys,
    /// The payload that a grant carries; key, nonce and generation are filled in.
    pub payload: Payload,
    /// The time until managed devices come back, in seconds.
    pub check_in_after_s: u32,
    artifacts: BTreeMap<Sha256, Vec<u8>>,
    seen: Mutex<Seen>,
}

/// The device's messages so far.
#[derive(Debug, Default)]
struct Seen {
    hello: Option<Hello>,
    hellos: u64,
    unexpected: u64,
    reports: Vec<Report>,
    check_ins: Vec<CheckIn>,
    grants: u64,
}

impl World {
    /// Makes a world whose configuration is empty.
    ///
    /// # Errors
    /// If keys cannot be made.
    pub fn new(now: Timestamp) -> Result<Self> {
        let payload = Payload {
            device: DeviceId::new(DEVICE)?,
            generation: Generation(1),
            key_digest: Sha256([0; 32]),
            nonce: FixedBytes([0; 32]),
            version: now.0,
            issued_at: now,
            expires_at: Timestamp(now.0 + 3_600_000),
            configuration: ConfigurationRef { id: ConfigurationId::new(1)?, name: "World".to_owned() },
            dpc: None,
            policy: Vec::new(),
            setup: Setup::default(),
        };
        Ok(Self {
            keys: Keys::new(now)?,
            payload,
            check_in_after_s: 3600,
            artifacts: BTreeMap::new(),
            seen: Mutex::default(),
        })
    }

    /// Adds bytes to the artifacts that are served.
    pub fn add_artifact(&mut self, bytes: Vec<u8>) -> Artifact {
        let artifact = Artifact { sha256: Sha256::of(&bytes), size: bytes.len() as u64, url: None };
        self.artifacts.insert(artifact.sha256, bytes);
        artifact
    }

    /// Serves this world with the replies that `reply` gives, until the result is dropped.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn serve(
        self: &Arc<Self>,
        reply: impl Fn(&Self, &Request) -> Reply + Send + Sync + 'static,
    ) -> Result<Served> {
        let world = Arc::clone(self);
        Served::start(&self.keys, move |request| {
            world.remember(request);
            reply(&world, request)
        })
    }

    /// Writes the trust bundle of this world, as a device's image carries it.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_bundle(&self, folder: &Path) -> Result<()> {
        self.keys.write_bundle(folder)
    }

    /// Returns the reply of a good server.
    #[must_use]
    pub fn honest_reply(&self, request: &Request) -> Reply {
        self.try_honest_reply(request).unwrap_or_else(|error| Reply::text(500, format!("{error:#}")))
    }

    /// Returns the grant of a good server, to be changed into something else.
    ///
    /// # Errors
    /// If the device has not said hello.
    pub fn grant(&self) -> Result<Grant> {
        let (key, nonce, grants) = self.greeting()?;
        let generation = Generation(grants);
        let payload = Payload { key_digest: key.digest(), nonce, generation, ..self.payload.clone() };
        Ok(Grant {
            device_id: self.payload.device,
            generation,
            certificate_chain: self.keys.device_certificate(&key, self.payload.device, generation)?,
            owner: owner(),
            payload: self.keys.sign(&payload)?,
            roots: Vec::new(),
            server_time: self.payload.issued_at,
            check_in_after_s: self.check_in_after_s,
        })
    }

    /// Returns the number of hellos from the device.
    #[must_use]
    pub fn count_hellos(&self) -> u64 {
        self.seen.lock().map(|seen| seen.hellos).unwrap_or_default()
    }

    /// Returns the number of requests for things that a good server does not have.
    #[must_use]
    pub fn count_unexpected(&self) -> u64 {
        self.seen.lock().map(|seen| seen.unexpected).unwrap_or_default()
    }

    /// Returns every report that has arrived.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.seen.lock().map(|seen| seen.reports.clone()).unwrap_or_default()
    }

    /// Returns every check-in that has arrived.
    #[must_use]
    pub fn check_ins(&self) -> Vec<CheckIn> {
        self.seen.lock().map(|seen| seen.check_ins.clone()).unwrap_or_default()
    }

    fn greeting(&self) -> Result<(DevicePublicKey, unbox_common::bytes::Nonce, u64)> {
        let seen = self.seen.lock().ok().context("look at what was seen")?;
        let hello = seen.hello.as_ref().context("the device has not said hello")?;
        Ok((hello.device_key.clone(), hello.nonce, seen.grants.max(1)))
    }

    fn try_honest_reply(&self, request: &Request) -> Result<Reply> {
        Ok(match request.path.as_str() {
            HELLO_PATH => Reply::json(&Challenge {
                ticket: Bytes(b"ticket".to_vec()),
                nonce: FixedBytes([5; 32]),
                proof: ProofKind::Identifiers,
                tpm: None,
            }),
            PROVE_PATH => Reply::json(&self.grant()?),
            REPORT_PATH => {
                let report: Report = serde_json::from_slice(&request.body).context("parse the report")?;
                let sequence = report.entries.last().map_or(0, |entry| entry.sequence);
                Reply::json(&Acknowledged { sequence, server_time: self.payload.issued_at })
            }
            CHECK_IN_PATH => Reply::json(&self.news(None)?),
            path => match path
                .strip_prefix(ARTIFACT_PATH)
                .and_then(|rest| rest.trim_start_matches('/').parse().ok())
            {
                Some(digest) => Reply::artifact(self.artifacts.get(&digest), request),
                None => Reply::text(404, "no such thing".to_owned()),
            },
        })
    }

    /// Returns the answer to the latest check-in, with a newer payload or none.
    ///
    /// # Errors
    /// If the payload cannot be signed.
    pub fn news(&self, newer: Option<&Payload>) -> Result<News> {
        let check_in = self.seen.lock().ok().and_then(|seen| seen.check_ins.last().cloned());
        let (key, ..) = self.greeting()?;
        let payload = newer.zip(check_in).map(|(payload, check_in)| {
            self.keys.sign(&Payload {
                key_digest: key.digest(),
                nonce: check_in.nonce,
                generation: check_in.generation,
                ..payload.clone()
            })
        });
        Ok(News {
            check_in_after_s: self.check_in_after_s,
            server_time: self.payload.issued_at,
            commands: Vec::new(),
            payload: payload.transpose()?,
            roots: Vec::new(),
            certificate_chain: Vec::new(),
            owner: owner(),
        })
    }

    fn remember(&self, request: &Request) {
        let Ok(mut seen) = self.seen.lock() else { return };
        match request.path.as_str() {
            HELLO_PATH => {
                seen.hello = serde_json::from_slice(&request.body).ok();
                seen.hellos += 1;
            }
            PROVE_PATH => seen.grants += 1,
            REPORT_PATH => seen.reports.extend(serde_json::from_slice(&request.body).ok()),
            CHECK_IN_PATH => seen.check_ins.extend(serde_json::from_slice(&request.body).ok()),
            path if path.starts_with(ARTIFACT_PATH) => {}
            _ => seen.unexpected += 1,
        }
    }
}

fn owner() -> Owner {
    Owner {
        company: "Acme AG".to_owned(),
        contact_email: "it@acme.example".to_owned(),
        contact_phone: "+41 44 000 00 00".to_owned(),
        message: None,
    }
}
