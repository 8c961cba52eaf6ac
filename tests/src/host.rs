//! The host's tools for making images and packages, and the locks and time limits around them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::binaries::workspace;
use crate::clock::Stopwatch;
use crate::process::{self, Running};

/// The number of bytes of a failed program's output that its error quotes.
const QUOTED_BYTES: usize = 3000;

/// The pause between two looks of a wait.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A program to run to its end, within a bounded time.
#[derive(Debug)]
pub struct Program {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    is_cargo: bool,
    directory: Option<PathBuf>,
    limit: Duration,
}

impl Program {
    /// Makes a program found on the `PATH`, with ten minutes to finish.
    pub fn new(name: impl AsRef<OsStr>) -> Self {
        Self {
            argv: vec![name.as_ref().to_owned()],
            env: Vec::new(),
            is_cargo: false,
            directory: None,
            limit: Duration::from_mins(10),
        }
    }

    /// Returns the cargo that runs this program, or the one on the `PATH`, without its variables about the
    /// present run.
    #[must_use]
    pub fn cargo() -> Self {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        Self { is_cargo: true, ..Self::new(cargo) }
    }

    /// Prepares a program to run as root, with [`Program::new`] or through `sudo -n`.
    pub fn as_root(name: impl AsRef<OsStr>) -> Self {
        if nix::unistd::geteuid().is_root() {
            Self::new(name)
        } else {
            Self::new("sudo").args(["-n", "--"]).arg(name)
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.argv.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.argv.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Sets the time after which the program is killed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the program, and returns its standard output.
    pub fn read(self) -> Result<String> {
        let ended = process::run(self.command())?;
        if ended.status.success() {
            return Ok(ended.stdout);
        }
        let said = ended.stdout + &ended.stderr;
        bail!("{}: {}\n{}", self.describe("failed"), ended.status, tail(said.as_bytes(), QUOTED_BYTES))
    }

    /// Runs the program; its output is shown only when it fails.
    pub fn run(self) -> Result<()> {
        self.read().map(drop)
    }

    /// Runs the program with its output on ours, for work whose progress a person wants to see.
    pub fn show(self) -> Result<()> {
        let mut command = self.command();
        let status =
            command.stdout(Stdio::inherit()).status().with_context(|| self.describe("cannot run"))?;
        if status.success() { Ok(()) } else { bail!("{}: {status}", self.describe("failed")) }
    }

    fn command(&self) -> Command {
        let mut command = process::command("timeout", &["--foreground", "--kill-after=10"]);
        command.arg(self.limit.as_secs().to_string()).args(&self.argv);
        // The tools of file systems live in sbin, which is not on everyone's PATH.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
        if self.is_cargo {
            process::forget_cargo(&mut command);
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    fn describe(&self, what: &str) -> String {
        let words: Vec<_> = self.argv.iter().map(|word| word.to_string_lossy()).collect();
        format!("{what} `{}`", words.join(" "))
    }
}

/// Starts a program that is killed when the thread that started it ends, its output in `log`.
pub fn spawn_tied(argv: &[impl AsRef<OsStr>], log: &Path) -> Result<Running> {
    let mut command = process::command("setpriv", &["--pdeathsig", "KILL", "--"]);
    command.args(argv);
    Running::start(command, log)
}

/// Writes a file with the given mode, and the directories above it.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    crate::files::write(path, bytes)?;
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions)
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Moves a file or directory into its final place on the same file system.
#[expect(clippy::disallowed_methods, reason = "a cache need not survive a power cut of the host")]
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))
}

/// Removes a file, or a directory with its contents; a missing one is fine.
pub fn remove(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    gone.with_context(|| format!("cannot remove {}", path.display()))
}

/// Takes a lock among all processes, and holds it as long as the returned file lives.
pub fn lock(path: &Path) -> Result<File> {
    let file = lock_file(path)?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Takes a [`lock`], or returns `None` at once if another process holds it.
pub fn try_lock(path: &Path) -> Result<Option<File>> {
    let file = lock_file(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

fn lock_file(path: &Path) -> Result<File> {
    let failed = || format!("cannot lock {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(failed)?;
    }
    File::options().create(true).append(true).open(path).with_context(failed)
}

/// Returns the directory of build products: `CARGO_TARGET_DIR`, or `target/` of the workspace.
#[must_use]
pub fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |set| workspace().join(set))
}

/// Returns the last `limit` bytes of a text, from the start of a line.
#[must_use]
pub fn tail(bytes: &[u8], limit: usize) -> String {
    let kept = bytes.get(bytes.len().saturating_sub(limit)..).unwrap_or(bytes);
    let text = String::from_utf8_lossy(kept);
    if kept.len() == bytes.len() {
        return text.into_owned();
    }
    text.split_once('\n').map_or_else(|| text.to_string(), |(_, rest)| rest.to_owned())
}

/// The end of a bounded wait.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    started: Stopwatch,
    limit: Duration,
}

impl Deadline {
    /// Makes a deadline that lies `limit` ahead.
    #[must_use]
    pub fn after(limit: Duration) -> Self {
        Self { started: Stopwatch::start(), limit }
    }

    /// Returns the time that is left; zero once it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    /// Pauses before another look at a condition; `false` once the deadline has passed.
    #[must_use]
    pub fn pause(self) -> bool {
        let left = self.remaining();
        thread::sleep(left.min(LOOK_AGAIN_AFTER));
        !left.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_program_is_quoted() {
        let error =
            Program::new("sh").args(["-c", "echo out; echo why >&2; exit 3"]).run().unwrap_err().to_string();
        assert!(error.contains("why") && error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let error =
            Program::new("sleep").arg("60").limit(Duration::from_secs(1)).run().unwrap_err().to_string();
        assert!(error.contains("exit status: 124"), "{error}");
    }

    #[test]
    fn a_tail_starts_with_a_line() {
        assert_eq!(tail(b"first\nsecond\nthird\n", 9), "third\n".to_owned());
        assert_eq!(tail(b"short", 16), "short");
    }
}
