//! The management API as its clients reach it: the real server's sandbox, started as a user would.

use crate::{
    binaries,
    process::{Running, command, wait_for},
};
use anyhow::{Context as _, Result, bail, ensure};
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Ample time for a start on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Ample time to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// Ample time for one call.
const CALL_LIMIT: Duration = Duration::from_mins(5);

/// A sandbox that runs, and dies with the test.
#[derive(Debug)]
pub struct ApiSandbox {
    process: Running,
    keys: PathBuf,
    data: PathBuf,
    client: Client,
    /// The environment that it wrote for its clients.
    pub environment: Environment,
}

/// The contents of `env.json`.
#[derive(Debug, Deserialize)]
pub struct Environment {
    /// Its address, without a slash at the end.
    pub base_url: String,
    /// The reseller.
    pub partner_id: String,
    /// Its vendor.
    pub vendor_id: String,
    /// The customer.
    pub customer_id: String,
    /// The resource name of a DPC.
    pub dpc: String,
    /// API keys by `reseller`, `vendor`, `customer`, `emm`.
    pub api_keys: BTreeMap<String, String>,
}

/// The body of a request.
#[derive(Debug)]
pub enum Body<'a> {
    /// An empty body.
    Nothing,
    /// A message.
    Message(&'a Value),
    /// A claims file.
    Csv(String),
}

impl Body<'_> {
    const fn media_type(&self) -> &'static str {
        match self {
            Self::Nothing | Self::Message(_) => "application/json",
            Self::Csv(_) => "text/csv",
        }
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Message(message) => message.to_string().into_bytes(),
            Self::Csv(file) => file.into_bytes(),
        }
    }
}

impl ApiSandbox {
    /// Starts one on a free port; its files are in `folder`.
    ///
    /// # Errors
    /// The server's error output.
    pub fn start(folder: &Path) -> Result<Self> {
        let (keys, data) = (folder.join("keys"), folder.join("data"));
        fs::create_dir_all(&data).context("make a directory for the sandbox")?;
        let arguments = ["sandbox", "--listen", "127.0.0.1:0", "--out"];
        let mut sandbox = command(binaries::server()?, &arguments);
        sandbox.arg(&keys).env("TMPDIR", &data);
        let mut process = Running::start(sandbox, &folder.join("sandbox.log"))?;
        let written = wait_for(START_LIMIT, "the sandbox to be ready", || {
            if !process.is_running() {
                bail!("the sandbox ended: {}", process.output());
            }
            Ok(fs::read(keys.join("env.json")).ok())
        })?;
        let environment = serde_json::from_slice(&written).context("parse env.json")?;
        // The client wants one even for plain HTTP. It may have been installed before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        #[expect(clippy::disallowed_methods, reason = "a client of the management API, and no agent")]
        let client = Client::builder().timeout(CALL_LIMIT).build().context("make an HTTP client")?;
        Ok(Self { process, keys, data, client, environment })
    }

    /// Returns the directory of the key files.
    #[must_use]
    pub fn keys(&self) -> &Path {
        &self.keys
    }

    /// Returns the server's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Returns its output so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Ends it as its user would. No data is left behind.
    ///
    /// # Errors
    /// If it fails, or leaves data behind.
    pub fn stop(mut self) -> Result<()> {
        let ended = self.process.terminate(STOP_LIMIT)?;
        ensure!(ended.success(), "the sandbox failed: {}", self.process.output());
        let left: Vec<_> = fs::read_dir(&self.data).context("look what is left of its data")?.collect();
        ensure!(left.is_empty(), "the sandbox left its data behind: {left:?}");
        Ok(())
    }

    /// Calls a method as one of the principals, and reads its answer whole.
    ///
    /// # Errors
    /// If there is no answer, or it is a refusal.
    pub async fn call(&self, principal: &str, method: Method, path: &str, body: Body<'_>) -> Result<Vec<u8>> {
        let key =
            self.environment.api_keys.get(principal).with_context(|| format!("no key of {principal}"))?;
        let request = self
            .client
            .request(method, format!("{}{path}", self.environment.base_url))
            .header("X-Goog-Api-Key", key)
            .header("Content-Type", body.media_type())
            .body(body.into_bytes());
        let answer = request.send().await.with_context(|| format!("call {path}"))?;
        let status = answer.status();
        let body = answer.bytes().await.context("read the answer")?.to_vec();
        ensure!(status.is_success(), "{path} answered {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// Posts a message, and parses the answer.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn post(&self, principal: &str, path: &str, message: &Value) -> Result<Value> {
        let answer = self.call(principal, Method::POST, path, Body::Message(message)).await?;
        serde_json::from_slice(&answer).context("parse the answer")
    }
}
