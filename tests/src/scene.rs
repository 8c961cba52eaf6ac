//! The starting point of most tests and the demo: a server with a reseller, a customer and a DPC.

use crate::{binaries, dpc, files, process::Running, server::TestServer};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// The customer of every scene.
pub const CUSTOMER: &str = "Acme AG";
/// The reseller of every scene.
pub const RESELLER: &str = "Boxes and More";
/// The configuration of every scene: the customer's default.
pub const CONFIGURATION: &str = "Kiosk";

/// A server with something to enroll for.
#[derive(Debug)]
pub struct Scene {
    /// The server itself.
    pub server: TestServer,
    folder: PathBuf,
}

impl Scene {
    /// Makes a server in `folder`, with a reseller and a customer who has no configuration yet.
    ///
    /// # Errors
    /// The server's error output.
    pub fn create(folder: &Path) -> Result<Self> {
        Self::create_with(folder, &[])
    }

    /// Makes such a server with settings other than the defaults: names and values as in `server.toml`.
    ///
    /// # Errors
    /// The server's error output.
    pub fn create_with(folder: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let server = TestServer::start_with(&folder.join("server"), settings)?;
        server.admin(&["reseller", "create", RESELLER])?;
        server.admin(&["customer", "create", CUSTOMER])?;
        server.admin(&["reseller", "link", RESELLER, CUSTOMER])?;
        Ok(Self { server, folder: folder.to_owned() })
    }

    /// Uploads the demo's DPC, padded, and returns the `dpc` part of a configuration.
    ///
    /// # Errors
    /// If it cannot be packed or uploaded.
    pub fn demo_dpc(&self, version: &str, padding_bytes: usize) -> Result<Value> {
        self.dpc(&binaries::demo_dpc()?, version, padding_bytes)
    }

    /// Uploads a DPC with another program in it, as [`Self::demo_dpc`] does.
    ///
    /// # Errors
    /// If it cannot be packed or uploaded.
    pub fn dpc(&self, program: &Path, version: &str, padding_bytes: usize) -> Result<Value> {
        let tar = self.folder.join(format!("demo-dpc-{version}.tar"));
        let file =
            File::options().create(true).write(true).truncate(true).open(&tar).context("open the tar")?;
        dpc::write_tar(program, file, padding_bytes)?;
        Ok(json!({
            "name": "demo-dpc",
            "version": version,
            "kind": "tar",
            "artifact": self.upload(&tar)?,
            "unit": dpc::UNIT,
            "extras": {"site": "zurich-1", "tenant": "acme"},
            "health": {"type": "unit_active", "stable_for_s": 1, "timeout_s": 60},
        }))
    }

    /// Uploads a file and returns the `artifact` part of a configuration.
    ///
    /// # Errors
    /// The server's error output.
    pub fn upload(&self, file: &Path) -> Result<Value> {
        let path = file.to_str().context("a path that is text")?;
        let added = self.server.admin_json(&["artifact", "add", path])?;
        Ok(json!({"sha256": added.get("sha256"), "size": added.get("size")}))
    }

    /// Makes, or changes, the customer's default configuration.
    ///
    /// # Errors
    /// The server's error output.
    pub fn configure(&self, dpc: Option<&Value>, policy: &Value) -> Result<()> {
        let mut document = json!({
            "policy": policy,
            "contact": {
                "contact_email": "it@acme.example",
                "contact_phone": "+41 44 000 00 00",
                "message": "Welcome. Sign in with your Acme account.",
            },
        });
        if let (Some(dpc), Some(document)) = (dpc, document.as_object_mut()) {
            document.insert("dpc".to_owned(), dpc.clone());
        }
        let path = self.folder.join("configuration.json");
        let exists = path.exists();
        files::write(&path, serde_json::to_string_pretty(&document)?.as_bytes())?;
        let path = path.to_str().context("a path that is text")?;
        if exists {
            self.server.admin(&[
                "configuration",
                "update",
                CONFIGURATION,
                "--customer",
                CUSTOMER,
                "--file",
                path,
            ])?;
        } else {
            let create = [
                "configuration",
                "create",
                CONFIGURATION,
                "--customer",
                CUSTOMER,
                "--file",
                path,
                "--default",
            ];
            self.server.admin(&create)?;
        }
        Ok(())
    }

    /// Imports claims for the customer.
    ///
    /// # Errors
    /// The server's error output.
    pub fn claim(&self, csv: &str, more: &[&str]) -> Result<String> {
        let path = self.folder.join("claims.csv");
        files::write(&path, csv.as_bytes())?;
        let path = path.to_str().context("a path that is text")?;
        let import = ["import", path, "--customer", CUSTOMER, "--reseller", RESELLER];
        self.server.admin(&[&import, more].concat())
    }

    /// Starts an import of claims, without waiting for it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_claim(&self, csv: &str) -> Result<Running> {
        let path = self.folder.join("claims.csv");
        files::write(&path, csv.as_bytes())?;
        let path = path.to_str().context("a path that is text")?;
        let import =
            self.server.admin_command(&["import", path, "--customer", CUSTOMER, "--reseller", RESELLER])?;
        Running::start(import, &self.folder.join("import.log"))
    }

    /// Makes a pre-provisioning token.
    ///
    /// # Errors
    /// The server's error output.
    pub fn token(&self) -> Result<String> {
        let made = self.server.admin_json(&["token", "create", "--customer", CUSTOMER])?;
        made.get("token")
            .and_then(Value::as_str)
            .map(ToOwned::to_owned)
            .context("a token in what was printed")
    }

    /// Returns every device that the server knows.
    ///
    /// # Errors
    /// The server's error output.
    pub fn devices(&self) -> Result<Vec<Value>> {
        let listed = self.server.admin_json(&["device", "list"])?;
        listed.get("devices").and_then(Value::as_array).cloned().context("devices in what was printed")
    }
    /// Returns the one device that the server knows.
    ///
    /// # Errors
    /// If it knows none, or more than one.
    pub fn device(&self) -> Result<Value> {
        let mut devices = self.devices()?;
        ensure!(devices.len() == 1, "expected one device: {devices:#?}");
        devices.pop().context("one device")
    }

    /// Returns the entries of one kind in the audit trail, such as `granted`, newest first.
    ///
    /// # Errors
    /// The server's error output.
    pub fn audit(&self, action: &str) -> Result<Vec<Value>> {
        let listed = self.server.admin_json(&["audit", "--action", action, "--limit", "1000"])?;
        listed.get("entries").and_then(Value::as_array).cloned().context("entries in what was printed")
    }
}
