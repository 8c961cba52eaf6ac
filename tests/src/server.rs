//! The real server in a directory of its own: initialised, started, killed and started again.

use crate::{
    binaries,
    process::{Running, command, run, wait_for},
    vm,
};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Ample time for a start on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Ample time for a graceful stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// The name in the server's certificate.
pub const NAME: &str = "localhost";

/// A running server, which dies with the test.
#[derive(Debug)]
pub struct TestServer {
    dir: PathBuf,
    process: Running,
    /// The address on which it listens for devices.
    pub address: SocketAddr,
}

#[derive(Deserialize)]
struct Ready {
    addresses: Vec<SocketAddr>,
}

impl TestServer {
    /// Initialises a server in `dir` and starts it on a free port of the loopback.
    ///
    /// # Errors
    /// The error output of `init` or `serve`.
    pub fn start(dir: &Path) -> Result<Self> {
        Self::start_with(dir, &[])
    }

    /// Starts a new server with settings other than the defaults: names and values as in `server.toml`.
    ///
    /// # Errors
    /// The error output of `init` or `serve`.
    pub fn start_with(dir: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let names = ["--name", NAME, "--name", "127.0.0.1", "--name", vm::SERVER_NAME];
        run(cli(dir, &[&["init"], &names[..]].concat())?)?.success().context("initialise the server")?;
        change_settings(&dir.join("server.toml"), settings)?;
        let (process, address) = serve(dir, "127.0.0.1:0")?;
        Ok(Self { dir: dir.to_owned(), process, address })
    }

    /// Returns the address for a device's configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{NAME}:{}", self.address.port())
    }

    /// Returns the trust bundle for device images.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.dir.join("trust")
    }

    /// Returns the server's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Runs an administrator's command.
    ///
    /// # Errors
    /// The command's error output.
    pub fn admin(&self, arguments: &[&str]) -> Result<String> {
        run(cli(&self.dir, arguments)?)?
            .success()
            .with_context(|| format!("unbox-server {}", arguments.join(" ")))
    }

    /// Returns an administrator's command, to be started.
    ///
    /// # Errors
    /// If the server cannot be built.
    pub fn admin_command(&self, arguments: &[&str]) -> Result<Command> {
        cli(&self.dir, arguments)
    }

    /// Runs an administrator's command with `--json`.
    ///
    /// # Errors
    /// The command's error output, or its output if that is not JSON.
    pub fn admin_json(&self, arguments: &[&str]) -> Result<Value> {
        let printed = self.admin(&[arguments, &["--json"]].concat())?;
        serde_json::from_str(&printed).with_context(|| format!("parse what it printed: {printed}"))
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Stops it, as an administrator would.
    ///
    /// # Errors
    /// If it does not end, or not successfully.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate(STOP_LIMIT)?;
        if status.success() {
            Ok(())
        } else {
            bail!("the server ended with {status}: {}", self.process.output())
        }
    }

    /// Starts it again, at the same address.
    ///
    /// # Errors
    /// The error output of `serve`.
    pub fn start_again(&mut self) -> Result<()> {
        let (process, address) = serve(&self.dir, &self.address.to_string())?;
        (self.process, self.address) = (process, address);
        Ok(())
    }

    /// Returns its log so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }
}

fn cli(dir: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = command(binaries::server()?, &["--dir"]);
    command.arg(dir).args(arguments);
    Ok(command)
}

/// Uncomments a line of the file that `init` wrote, with another value.
fn change_settings(file: &Path, settings: &[(&str, &str)]) -> Result<()> {
    let mut text = fs::read_to_string(file).context("read the settings")?;
    for (name, value) in settings {
        let start = format!("#{name} = ");
        let line = text.lines().find(|line| line.starts_with(&start));
        let line = line.with_context(|| format!("no setting {name}"))?.to_owned();
        text = text.replace(&line, &format!("{name} = {value}"));
    }
    crate::files::write(file, text.as_bytes())
}

fn serve(dir: &Path, listen: &str) -> Result<(Running, SocketAddr)> {
    let ready = dir.join("ready.json");
    if ready.exists() {
        fs::remove_file(&ready).context("remove the old ready file")?;
    }
    let mut serve = cli(dir, &["serve", "--listen", listen, "--ready-file"])?;
    serve.arg(&ready);
    let mut process = Running::start(serve, &dir.join("serve.log"))?;
    let started = wait_for(START_LIMIT, "the server to be ready", || {
        if !process.is_running() {
            bail!("the server ended: {}", process.output());
        }
        Ok(fs::read(&ready).ok())
    })?;
    let ready: Ready = serde_json::from_slice(&started).context("parse the ready file")?;
    let address = ready.addresses.first().copied().context("the server listens nowhere")?;
    Ok((process, address))
}
