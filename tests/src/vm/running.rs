//! A virtual machine out of its box: switched on and off, talked to, unplugged, cut off and reset.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serde_json::json;
use tempfile::TempDir;

use super::disk::Disk;
use super::image::cache_directory;
use super::machine::{Machine, Wiring};
use super::qmp;
use super::shell::{Line, Output, Shell};
use super::smbios::Smbios;
use crate::host::{self, Deadline, tail};
use crate::process::Running;

/// The time limit of a command unless the test sets another: far longer than any command takes.
const COMMAND_LIMIT: Duration = Duration::from_secs(90);

/// The number of bytes of the console that an error quotes.
const QUOTED_BYTES: usize = 2500;

/// A machine that has been started at least once.
#[derive(Debug)]
pub struct Vm {
    machine: Machine,
    disk: Disk,
    /// Logs and disk, kept until the next run of the same test.
    directory: PathBuf,
    /// The lock on the directory, against another machine of the same name.
    _lock: File,
    /// The directory of sockets, whose paths have to be short.
    sockets: TempDir,
    power: Option<Power>,
    boots: u32,
    /// Whether an error came from this machine: its disk is then kept for the investigation.
    failed: Cell<bool>,
}

/// One boot: from power on to power off.
#[derive(Debug)]
struct Power {
    qemu: Running,
    shell: Shell,
}

impl Vm {
    pub(super) fn new(machine: Machine) -> Result<Self> {
        let directory = run_directory(&machine.name);
        fs::create_dir_all(&directory)?;
        let lock = host::try_lock(&directory.with_extension("lock"))?.with_context(|| {
            format!("there is another machine `{}` in this test: use .name()", machine.name)
        })?;
        host::remove(&directory)?;
        fs::create_dir_all(&directory)?;
        let disk = Disk::new(&machine.image, &machine.files, &directory)
            .context("cannot make the machine's disk")?;
        let sockets = tempfile::Builder::new().prefix("unbox-vm-").tempdir()?;
        let mut vm = Self {
            machine,
            disk,
            directory,
            _lock: lock,
            sockets,
            power: None,
            boots: 0,
            failed: Cell::new(false),
        };
        vm.start_again()?;
        Ok(vm)
    }

    /// Switches the machine on again, with the state of its disk.
    pub fn start_again(&mut self) -> Result<()> {
        if self.power.is_some() {
            bail!("the machine is on already");
        }
        self.boots += 1;
        let socket = |kind: &str| self.sockets.path().join(format!("{kind}-{}", self.boots));
        let (shell, qmp) = (socket("shell"), socket("qmp"));
        let device_tree = self.directory.join("board.dtb");
        self.machine.write_device_tree(&device_tree).context("cannot make the board's device tree")?;
        let line = Line::listen(&shell)?;
        let wiring = Wiring {
            disk: self.disk.path(),
            console: &self.log("console"),
            shell: &shell,
            qmp: &qmp,
            device_tree: &device_tree,
        };
        let mut qemu = host::spawn_tied(&self.machine.command_line(&wiring), &self.log("qemu"))?;
        match line.accept() {
            Ok(shell) => self.power = Some(Power { qemu, shell }),
            Err(error) => {
                qemu.kill();
                return Err(error.context(qemu.output()));
            }
        }
        Ok(())
    }

    /// Waits until the guest's shell answers; services may still be starting.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let ready = self.power()?.shell.wait_ready(limit);
        ready.map_err(|error| self.explain(error))
    }

    /// Runs a command in the guest, as root in a subshell of bash.
    pub fn shell(&mut self, command: &str) -> Result<Output> {
        self.shell_within(command, COMMAND_LIMIT)
    }

    /// Runs a command in the guest, with this time limit.
    pub fn shell_within(&mut self, command: &str, limit: Duration) -> Result<Output> {
        let output = self.power()?.shell.run(command, limit);
        output.map_err(|error| self.explain(error))
    }

    /// Runs a command in the guest that has to succeed, and returns its output.
    pub fn succeed(&mut self, command: &str) -> Result<String> {
        let output = self.shell(command)?;
        if output.success() {
            return Ok(output.text);
        }
        Err(self.explain(anyhow!("`{command}` exited with {}:\n{}", output.status, output.text)))
    }

    /// Runs a command again and again until it succeeds, and returns its last output.
    pub fn wait_until(&mut self, command: &str, limit: Duration) -> Result<String> {
        let deadline = Deadline::after(limit);
        loop {
            let output = self.shell(command)?;
            if output.success() {
                return Ok(output.text);
            }
            if !deadline.pause() {
                let last = format!(
                    "`{command}` did not succeed within {limit:?}; at last it said:\n{}",
                    output.text
                );
                return Err(self.explain(anyhow!(last)));
            }
        }
    }

    /// Waits until the console has shown a text in this boot.
    pub fn wait_console(&mut self, text: &str, limit: Duration) -> Result<()> {
        self.wait_console_for(&[text], limit).map(drop)
    }

    /// Waits until the console has shown one of these texts in this boot, and returns it.
    pub fn wait_console_for<'a>(&mut self, texts: &[&'a str], limit: Duration) -> Result<&'a str> {
        let deadline = Deadline::after(limit);
        loop {
            let console = self.console()?;
            if let Some(text) = texts.iter().find(|text| console.contains(**text)) {
                return Ok(text);
            }
            if !deadline.pause() {
                return Err(self.explain(anyhow!("the console did not say {texts:?} within {limit:?}")));
            }
        }
    }

    /// Returns the console's output since the machine was last switched on.
    pub fn console(&self) -> Result<String> {
        let path = self.log("console");
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
    }

    /// Cuts the power, this instant. Anything that is not on the disk yet is lost.
    pub fn cut_power(&mut self) {
        if let Some(mut power) = self.power.take() {
            power.qemu.kill();
        }
    }

    /// Cuts the power after this long: for a moment that a seed chose. For a certain step, let the step print
    /// something to the console, [`wait_console`](Self::wait_console), and cut then.
    pub fn cut_power_after(&mut self, delay: Duration) {
        thread::sleep(delay);
        self.cut_power();
    }

    /// Waits until the guest has switched the machine off, or restarted it, by itself.
    pub fn wait_off(&mut self, limit: Duration) -> Result<()> {
        let deadline = Deadline::after(limit);
        while self.power()?.qemu.is_running() {
            if !deadline.pause() {
                return Err(self.explain(anyhow!("the machine is still on after {limit:?}")));
            }
        }
        self.power = None;
        Ok(())
    }

    /// Cuts the power and returns the disk to its factory state; the machine stays off.
    pub fn factory_reset(&mut self) -> Result<()> {
        self.cut_power();
        self.disk.reset()
    }

    /// Changes the clock that the firmware shows from the next boot on.
    pub fn set_rtc(&mut self, time: &str) {
        self.machine = self.machine.clone().rtc(time);
    }

    /// Cuts the power and puts another main board under the same disk; the machine stays off.
    pub fn replace_board(&mut self, smbios: Smbios, mac: &str) {
        self.cut_power();
        self.machine = self.machine.clone().smbios(smbios).mac(mac);
    }

    /// Pulls the network cable, or plugs it in.
    pub fn link(&mut self, up: bool) -> Result<()> {
        self.qmp("set_link", &json!({ "name": "nic", "up": up })).map(drop)
    }

    /// Presses the power button, and leaves the rest to the guest.
    pub fn press_power_button(&mut self) -> Result<()> {
        self.qmp("system_powerdown", &json!({})).map(drop)
    }

    /// Gives QEMU a command of its control protocol.
    pub fn qmp(&mut self, command: &str, arguments: &serde_json::Value) -> Result<serde_json::Value> {
        self.power()?;
        qmp::execute(&self.sockets.path().join(format!("qmp-{}", self.boots)), command, arguments)
    }

    fn power(&mut self) -> Result<&mut Power> {
        self.power.as_mut().context("the machine is off")
    }

    fn log(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{kind}-{}.log", self.boots))
    }

    /// Adds the console's last output to an error.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        self.failed.set(true);
        let console = self.console().unwrap_or_default();
        error.context(format!(
            "machine `{}`, boot {}, logs in {}; its console said at last:\n{}\n",
            self.machine.name,
            self.boots,
            self.directory.display(),
            tail(console.as_bytes(), QUOTED_BYTES)
        ))
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.cut_power();
        // The next run clears away the leftovers of a failed one.
        if !thread::panicking() && !self.failed.get() {
            let _ = self.disk.discard();
        }
    }
}

/// Returns the directory of logs and disk of the machine with this name in the current test.
fn run_directory(name: &str) -> PathBuf {
    let test = thread::current().name().unwrap_or("main").replace("::", "-");
    cache_directory().join("run").join(test).join(Path::new(name))
}
