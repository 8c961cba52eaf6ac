//! Simulated TPMs, each with certificates from a manufacturer of its own: soldered onto the device, they
//! outlive its disk.

use crate::{
    files,
    host::{Deadline, Program, spawn_tied},
    process::Running,
};
use anyhow::{Context as _, Result, ensure};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Ample time for the simulation to open its socket.
const LIMIT: Duration = Duration::from_secs(20);

/// A manufacturer of TPMs, which certifies their endorsement keys.
#[derive(Debug)]
pub struct Manufacturer {
    folder: PathBuf,
}

/// The endorsement key of a TPM that is certified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certified {
    /// RSA-2048, and P-384 beside it.
    Rsa,
    /// P-384, and RSA-3072 beside it.
    P384,
    /// No key at all.
    Not,
}

/// One TPM: its state on the disk, and a process that simulates it while it is on.
#[derive(Debug)]
pub struct SimulatedTpm {
    state: PathBuf,
    running: Option<Running>,
}

impl Manufacturer {
    /// Makes a manufacturer whose root was never seen before.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn new(folder: &Path) -> Result<Self> {
        let folder = folder.to_owned();
        let ca = folder.display();
        let authority = format!(
            "statedir = {ca}\nsigningkey = {ca}/signkey.pem\nissuercert = {ca}/issuercert.pem\n\
             certserial = {ca}/certserial\n"
        );
        let options = "--tpm-manufacturer id:00001014\n--tpm-model simulated\n--tpm-version id:20191023\n\
                       --platform-manufacturer Acme\n--platform-version 1\n--platform-model Box\n";
        let setup = format!(
            "create_certs_tool = /usr/bin/swtpm_localca\ncreate_certs_tool_config = {ca}/localca.conf\n\
             create_certs_tool_options = {ca}/options\nactive_pcr_banks = sha256\n"
        );
        files::write(&folder.join("localca.conf"), authority.as_bytes())?;
        files::write(&folder.join("options"), options.as_bytes())?;
        files::write(&folder.join("setup.conf"), setup.as_bytes())?;
        Ok(Self { folder })
    }

    /// Makes a TPM.
    ///
    /// # Errors
    /// The tool's error output.
    pub fn make(&self, state: &Path, certified: Certified) -> Result<SimulatedTpm> {
        std::fs::create_dir_all(state).with_context(|| format!("make {}", state.display()))?;
        let tool = Program::new("swtpm_setup")
            .args(["--tpm2", "--overwrite", "--lock-nvram", "--config"])
            .arg(self.folder.join("setup.conf"))
            .arg("--tpmstate")
            .arg(state);
        match certified {
            Certified::Rsa => tool.args(["--create-ek-cert", "--vmid", "device"]),
            // The certificate of an RSA-3072 key lies elsewhere, where the agent does not look.
            Certified::P384 => tool.args(["--create-ek-cert", "--rsa-keysize", "3072", "--vmid", "device"]),
            Certified::Not => tool,
        }
        .run()?;
        Ok(SimulatedTpm { state: state.to_owned(), running: None })
    }

    /// Returns a folder with the root and the authority below it, for the server's settings.
    ///
    /// # Errors
    /// If there are none yet: the first TPM creates them.
    pub fn roots(&self) -> Result<PathBuf> {
        let folder = self.folder.join("roots");
        for name in ["issuercert.pem", "swtpm-localca-rootca-cert.pem"] {
            let certificate =
                std::fs::read(self.folder.join(name)).with_context(|| format!("read {name}"))?;
            files::write(&folder.join(name), &certificate)?;
        }
        Ok(folder)
    }
}

impl SimulatedTpm {
    /// Switches it on, reachable at this path.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn serve(&mut self, socket: &Path) -> Result<()> {
        if let Some(parent) = socket.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        self.start(socket, |path| {
            format!("--server type=unixio,path={path} --flags not-need-init,startup-clear")
        })
    }

    /// Switches it on, to be driven by a virtual machine over this socket.
    ///
    /// # Errors
    /// If it does not come up.
    pub fn attach(&mut self, socket: &Path) -> Result<()> {
        self.start(socket, |path| format!("--ctrl type=unixio,path={path}"))
    }

    /// Switches it off: its non-volatile memory stays.
    pub fn switch_off(&mut self) {
        self.running = None;
    }

    fn start(&mut self, socket: &Path, how: impl FnOnce(&str) -> String) -> Result<()> {
        self.switch_off();
        let _ = std::fs::remove_file(socket);
        let path = socket.to_str().context("a path that is text")?;
        ensure!(path.len() < 108, "the path of a socket is at most 107 bytes long: {path}");
        let mut line = vec!["swtpm".to_owned(), "socket".to_owned(), "--tpm2".to_owned()];
        line.extend(["--tpmstate".to_owned(), format!("dir={}", self.state.display())]);
        line.extend(how(path).split(' ').map(str::to_owned));
        self.running = Some(spawn_tied(&line, &self.state.join("swtpm.log"))?);
        let deadline = Deadline::after(LIMIT);
        while !socket.exists() {
            ensure!(deadline.pause(), "the simulated TPM did not open {path}");
        }
        Ok(())
    }
}
