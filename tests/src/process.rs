//! The harness's one place that starts programs. All of them end with the test.

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env,
    ffi::OsStr,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

/// A program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// A running program, which is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: PathBuf,
}

/// Prepares a program with its arguments; the environment is kept except for `RUST_LOG`.
pub fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    #[expect(clippy::disallowed_methods, reason = "the harness's one place that starts programs")]
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// Removes cargo's variables about the running test. They would make the build scripts of an inner cargo run
/// again, and rebuild everything that depends on them.
pub fn forget_cargo(command: &mut Command) {
    const ABOUT_US: [&str; 5] =
        ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE"];
    for (name, _) in env::vars_os() {
        if ABOUT_US.iter().any(|start| name.to_string_lossy().starts_with(start)) {
            command.env_remove(name);
        }
    }
}

/// Runs a program to its end.
///
/// # Errors
/// If it cannot be started; its exit status is in the result.
pub fn run(mut command: Command) -> Result<Ended> {
    let output = command.output().with_context(|| format!("start {}", command.get_program().display()))?;
    Ok(Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

impl Ended {
    /// Returns its standard output, if it succeeded.
    ///
    /// # Errors
    /// Its exit status and its standard error.
    pub fn success(self) -> Result<String> {
        if self.status.success() {
            Ok(self.stdout)
        } else {
            bail!("ended with {}: {}{}", self.status, self.stdout, self.stderr)
        }
    }
}

impl Running {
    /// Starts a program that writes all its output to a file.
    ///
    /// # Errors
    /// If it cannot be started or the file cannot be made.
    pub fn start(mut command: Command, output: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(output).context("open the output file")?;
        command.stdout(file.try_clone().context("share the output file")?).stderr(file);
        let child = command.spawn().with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self { child, output: output.to_owned() })
    }

    /// Returns its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns its output so far.
    #[must_use]
    pub fn output(&self) -> String {
        std::fs::read(&self.output)
            .map_or_else(|_| String::new(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once, as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        // It may have ended by itself, which is just as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM), and waits.
    ///
    /// # Errors
    /// If it does not end within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Result<ExitStatus> {
        let id = i32::try_from(self.child.id()).context("a process id is an i32")?;
        kill(Pid::from_raw(id), Signal::SIGTERM).context("send SIGTERM")?;
        self.wait(limit)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it does not end within `limit`; its output so far is in the error.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait_for(limit, "the program to end", || self.child.try_wait().context("wait for the program"))
            .with_context(|| self.output())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Polls until there is an answer.
///
/// # Errors
/// If `ask` fails, or there is no answer within `limit`.
pub fn wait_for<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = crate::clock::Stopwatch::start();
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if started.elapsed() > limit {
            bail!("waited {limit:?} for {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}
