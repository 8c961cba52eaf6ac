//! A device without a machine: a root directory with firmware, trust and configuration in it.
//!
//! The real agent runs in it with `--root`, and its installations are real; it reports by itself the parts
//! that a sandbox cannot have (a kernel of its own, systemd).

mod preload;

pub use preload::Trouble;

use crate::{
    binaries, files,
    process::{Ended, Running, command, run},
};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use unbox_agent::console::StatusFile;
use unbox_common::digest::Sha256;

/// Ample time from power-on to managed on a busy machine.
const MANAGED_LIMIT: Duration = Duration::from_mins(2);

/// The firmware of a sandbox.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// SMBIOS system manufacturer.
    pub manufacturer: String,
    /// SMBIOS product name.
    pub model: String,
    /// SMBIOS system serial number.
    pub serial: String,
}

impl Firmware {
    /// Makes a firmware with a maker, a model and a serial number.
    #[must_use]
    pub fn new(manufacturer: &str, model: &str, serial: &str) -> Self {
        Self { manufacturer: manufacturer.to_owned(), model: model.to_owned(), serial: serial.to_owned() }
    }
}

/// One sandbox.
#[derive(Debug)]
pub struct Sandbox {
    root: PathBuf,
}

impl Sandbox {
    /// Makes a device in its factory state out of an empty directory.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn unpack(root: &Path, firmware: &Firmware, server_url: &str, bundle: &Path) -> Result<Self> {
        let sandbox = Self { root: root.to_owned() };
        let dmi = "/sys/class/dmi/id";
        sandbox.write(&format!("{dmi}/sys_vendor"), &format!("{}\n", firmware.manufacturer))?;
        sandbox.write(&format!("{dmi}/product_name"), &format!("{}\n", firmware.model))?;
        sandbox.write(&format!("{dmi}/product_serial"), &format!("{}\n", firmware.serial))?;
        sandbox.write("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")?;
        sandbox.write("/etc/group", "root:x:0:\n")?;
        sandbox.write("/etc/hostname", "factory\n")?;
        sandbox.write("/root/.profile", "")?;
        sandbox.write("/etc/unbox/agent.toml", &format!("server = \"{server_url}\"\n"))?;
        for name in ["anchors.pem", "root.json"] {
            let bytes =
                std::fs::read(bundle.join(name)).with_context(|| format!("read {name} of the bundle"))?;
            files::write(&sandbox.path(&format!("/etc/unbox/trust/{name}")), &bytes)?;
        }
        Ok(sandbox)
    }

    /// Returns the sandbox's root directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a path of the device, as this machine sees it.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Writes a text file of the device.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        files::write(&self.path(path), text.as_bytes())
    }

    /// Reads a text file of the device.
    ///
    /// # Errors
    /// If it does not exist.
    pub fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.path(path)).with_context(|| format!("read {path} of the sandbox"))
    }

    /// Removes everything that a factory reset removes: all but the firmware and the image.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn wipe(&self) -> Result<()> {
        for path in ["/var/lib/unbox", "/run/unbox", "/opt/unbox"] {
            let path = self.path(path);
            if path.exists() {
                std::fs::remove_dir_all(&path).with_context(|| format!("wipe {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Returns the agent, ready to be started in this sandbox.
    ///
    /// # Errors
    /// If it cannot be built.
    pub fn agent(&self, arguments: &[&str]) -> Result<Command> {
        let mut agent = command(binaries::agent()?, &["--root"]);
        agent.arg(&self.root).args(arguments);
        Ok(agent)
    }

    /// Returns the agent in a sandbox whose clock is wrong, or whose power is cut.
    ///
    /// # Errors
    /// If the agent, or the library for the trouble, cannot be built.
    pub fn agent_in(&self, trouble: &Trouble<'_>, arguments: &[&str]) -> Result<Command> {
        trouble.preload_into(self.agent(arguments)?)
    }

    /// Switches the device on and waits until it is managed; returns the agent's output.
    ///
    /// # Errors
    /// If it ended otherwise, with its output.
    pub fn power_on(&self, log: &Path) -> Result<String> {
        let mut agent = Running::start(self.agent(&["run", "--once"])?, log)?;
        let status = agent.wait(MANAGED_LIMIT)?;
        ensure!(status.success(), "the agent ended with {status}: {}", agent.output());
        Ok(agent.output())
    }

    /// Checks in at once, as the device's units do on request; returns the agent's output.
    ///
    /// # Errors
    /// If it ended otherwise, with its output.
    pub fn check_in(&self) -> Result<String> {
        self.run_agent(&["stage", "identity"])?.success()?;
        self.run_agent(&["check-in"])?.success()
    }

    /// Runs the agent to its end.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn run_agent(&self, arguments: &[&str]) -> Result<Ended> {
        run(self.agent(arguments)?)
    }

    /// Returns the output of `status --json`.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn status(&self) -> Result<Value> {
        let ended = self.run_agent(&["status", "--json"])?;
        serde_json::from_str(&ended.stdout).with_context(|| format!("parse the status: {ended:?}"))
    }

    /// Returns the agent's latest status, as programs read it; `None` before the first one.
    ///
    /// # Errors
    /// If the file is not in the agent's form.
    pub fn status_file(&self) -> Result<Option<StatusFile>> {
        match std::fs::read(self.path("/run/unbox/status.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).context("parse the status file"),
            Err(_) => Ok(None),
        }
    }

    /// Removes the agent's latest status, so that a test can wait for the next one.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove_status_file(&self) -> Result<()> {
        match std::fs::remove_file(self.path("/run/unbox/status.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("remove the status file")
            }
            _ => Ok(()),
        }
    }

    /// Returns the short name of the failure in the agent's latest status.
    ///
    /// # Errors
    /// If the status file is not in the agent's form.
    pub fn failure(&self) -> Result<Option<String>> {
        Ok(self.status_file()?.and_then(|said| said.kind))
    }

    /// Returns the version of the payload in force, from the ledger.
    ///
    /// # Errors
    /// If the ledger is not JSON.
    pub fn installed_version(&self) -> Result<Option<u64>> {
        let Ok(bytes) = std::fs::read(self.path("/var/lib/unbox/ledger.json")) else { return Ok(None) };
        let ledger: Value = serde_json::from_slice(&bytes).context("parse the ledger")?;
        Ok(ledger.pointer("/phase/installed/version").and_then(Value::as_u64))
    }

    /// Returns every file below the root with the digest of its content, except Unbox's own state: to compare
    /// the device before and after.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn snapshot(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut found = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
                let entry = entry.context("list the sandbox")?;
                let (path, kind) = (entry.path(), entry.file_type().context("look at a file")?);
                let shown = path.strip_prefix(&self.root).unwrap_or(&path).to_owned();
                if ["var/lib/unbox", "run", "sys"].iter().any(|own| shown.starts_with(own)) {
                    continue;
                }
                if kind.is_dir() {
                    // The directories that lead to Unbox's own state belong to Unbox, too.
                    if !["var", "var/lib"].iter().any(|way| shown == Path::new(way)) {
                        found.push((shown, "directory".to_owned()));
                    }
                    folders.push(path);
                } else if kind.is_symlink() {
                    let target = std::fs::read_link(&path).context("read a link")?;
                    found.push((shown, format!("link to {}", target.display())));
                } else {
                    let content = std::fs::read(&path).context("read a file")?;
                    found.push((shown, Sha256::of(&content).to_string()));
                }
            }
        }
        found.sort();
        Ok(found)
    }
}
