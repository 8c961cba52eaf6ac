//! The only place that runs other programs: no shell, a clean environment, bounded time and output.

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

/// The search path for programs.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// The stored part of each output stream: its last bytes.
const MAX_OUTPUT_BYTES: usize = 64 * 1024;
/// The time between asking a program to end and killing it.
const GRACE: Duration = Duration::from_secs(2);
/// The longest wait for output after the program has ended: a daemon may hold the stream open.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// A program with its arguments, not started yet.
#[derive(Debug)]
pub struct Program {
    command: Command,
    name: String,
}

/// A program that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// The exit status.
    pub status: ExitStatus,
    /// The end of its standard output.
    pub stdout: Vec<u8>,
    /// The end of its standard error.
    pub stderr: Vec<u8>,
}

/// A program in the background, with all its child processes. Ends when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
}

/// The reason why a program could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The program does not exist, or cannot be executed.
    #[error("{program} could not be started")]
    Start {
        /// The program.
        program: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Waiting for the program failed.
    #[error("{program} could not be waited for")]
    Wait {
        /// The program.
        program: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The program exceeded its time limit, and was stopped.
    #[error("{program} took longer than {} s and was stopped", limit.as_secs_f32())]
    TooSlow {
        /// The program.
        program: String,
        /// The time limit.
        limit: Duration,
    },
    /// The program ended with a failure.
    #[error("{program} failed ({status}): {complaint}")]
    Failed {
        /// The program.
        program: String,
        /// The exit status.
        status: ExitStatus,
        /// The end of its standard error, on one line.
        complaint: String,
    },
}

impl Program {
    /// Prepares a program, named in the system's directories or by its full path.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref();
        #[expect(clippy::disallowed_methods, reason = "this is the one place that runs programs")]
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", PATH)
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null())
            .process_group(0);
        Self { command, name: program.to_string_lossy().into_owned() }
    }

    /// Adds an argument. Everybody on the device can read it, so it must never be a secret.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable; the environment is otherwise empty except for the search path.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Lets the program read its standard input from a file; it is empty otherwise.
    #[must_use]
    pub fn input(mut self, input: impl Into<Stdio>) -> Self {
        self.command.stdin(input);
        self
    }

    /// Runs the program to its end. After `limit`, it and all its child processes are stopped.
    ///
    /// # Errors
    /// [`ProgramError`]; a program that ends with a failure is not an error here.
    pub fn run(mut self, limit: Duration) -> Result<Finished, ProgramError> {
        let program = self.name;
        let start = |source| ProgramError::Start { program: program.clone(), source };
        let wait = |source| ProgramError::Wait { program: program.clone(), source };
        let command = self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(start)?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let in_time = wait_until_exit(&child, limit);
        if !matches!(in_time, Ok(true)) {
            end(&child);
        }
        let status = child.wait().map_err(wait)?;
        if !in_time.map_err(wait)? {
            return Err(ProgramError::TooSlow { program, limit });
        }
        let kept = |output: Receiver<Vec<u8>>| output.recv_timeout(OUTPUT_GRACE).unwrap_or_default();
        Ok(Finished { status, stdout: kept(stdout), stderr: kept(stderr) })
    }

    /// Runs the program to its end while `read` reads its complete standard output. After `limit`, it and
    /// all its child processes are stopped.
    ///
    /// # Errors
    /// [`ProgramError`]; a program that ends with a failure is not an error here.
    pub fn run_into<T>(
        mut self,
        limit: Duration,
        read: impl FnOnce(&mut dyn Read) -> T,
    ) -> Result<(Finished, T), ProgramError> {
        let program = self.name;
        let start = |source| ProgramError::Start { program: program.clone(), source };
        let wait = |source| ProgramError::Wait { program: program.clone(), source };
        let mut child = self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(start)?;
        let output = child.stdout.take();
        let stderr = collect(child.stderr.take());
        let (told, in_time) = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let in_time = wait_until_exit(&child, limit);
                if !matches!(in_time, Ok(true)) {
                    end(&child);
                }
                in_time
            });
            let told = match output {
                // Closed as soon as the reader is done, so that the program does not block on it.
                Some(mut output) => read(&mut output),
                None => read(&mut io::empty()),
            };
            (told, watch.join())
        });
        let status = child.wait().map_err(wait)?;
        let in_time = in_time.map_err(|_| wait(io::Error::other("the thread that waits for it ended")))?;
        if !in_time.map_err(wait)? {
            return Err(ProgramError::TooSlow { program, limit });
        }
        let stderr = stderr.recv_timeout(OUTPUT_GRACE).unwrap_or_default();
        Ok((Finished { status, stdout: Vec::new(), stderr }, told))
    }

    /// Runs the program to its end, which must be a success.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn succeed(self, limit: Duration) -> Result<Finished, ProgramError> {
        let program = self.name.clone();
        let finished = self.run(limit)?;
        if finished.status.success() {
            return Ok(finished);
        }
        let complaint = finished.complaint();
        Err(ProgramError::Failed { program, status: finished.status, complaint })
    }

    /// Starts the program in the background; its output goes to `output`.
    ///
    /// # Errors
    /// [`ProgramError::Start`].
    pub fn start(mut self, output: &File) -> Result<Running, ProgramError> {
        let mut start = || {
            let command = &mut self.command;
            command.stdout(output.try_clone()?).stderr(output.try_clone()?).spawn()
        };
        match start() {
            Ok(child) => Ok(Running { child, name: self.name }),
            Err(source) => Err(ProgramError::Start { program: self.name, source }),
        }
    }
}

impl Finished {
    /// Returns true if a beginning of its output may be missing.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.stdout.len() >= MAX_OUTPUT_BYTES || self.stderr.len() >= MAX_OUTPUT_BYTES
    }

    /// Returns the end of its standard error, on one line, for an error message.
    #[must_use]
    pub fn complaint(&self) -> String {
        const MAX_CHARS: usize = 400;
        let text = String::from_utf8_lossy(&self.stderr);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let line = lines.join("; ").replace(char::is_control, " ");
        let skip = line.chars().count().saturating_sub(MAX_CHARS);
        line.chars().skip(skip).collect()
    }
}

impl Running {
    /// Returns the exit status; `None` while it runs.
    ///
    /// # Errors
    /// [`ProgramError::Wait`].
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>, ProgramError> {
        self.child.try_wait().map_err(|source| ProgramError::Wait { program: self.name.clone(), source })
    }

    /// Stops the program and all its child processes.
    pub fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            end(&self.child);
            // It was killed, so its exit status is of no interest.
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Waits for the end without reaping, so that the process id stays the child's until `wait`.
fn wait_until_exit(child: &Child, limit: Duration) -> io::Result<bool> {
    let pid = pid(child);
    let (ended, end) = mpsc::sync_channel(1);
    thread::Builder::new().name("wait".to_owned()).spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        let waited = loop {
            match waitid(Id::Pid(pid), flags) {
                Err(Errno::EINTR) => (),
                waited => break waited,
            }
        };
        // The receiver is gone if the limit has passed.
        let _ = ended.send(waited.map(drop));
    })?;
    match end.recv_timeout(limit) {
        Ok(waited) => waited.map(|()| true).map_err(io::Error::from),
        Err(RecvTimeoutError::Timeout) => Ok(false),
        Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("the waiting thread ended")),
    }
}

/// Stops a process group: by SIGTERM first, then by SIGKILL.
fn end(child: &Child) {
    let group = pid(child);
    // If the group is gone already, nothing is left to do.
    let _ = killpg(group, Signal::SIGTERM);
    if !matches!(wait_until_exit(child, GRACE), Ok(true)) {
        let _ = killpg(group, Signal::SIGKILL);
    }
}

fn pid(child: &Child) -> Pid {
    // Linux process ids are at most 2^22 (proc(5), "pid_max").
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

/// Reads a stream to its end on its own thread, keeping the last part.
fn collect(stream: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (full, output) = mpsc::sync_channel(1);
    if let Some(mut stream) = stream {
        thread::spawn(move || {
            let mut kept = Vec::new();
            let mut chunk = vec![0; 8 * 1024];
            loop {
                let read = match stream.read(&mut chunk) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Ok(0) | Err(_) => break,
                    Ok(read) => read,
                };
                kept.extend_from_slice(chunk.get(..read).unwrap_or_default());
                let over = kept.len().saturating_sub(MAX_OUTPUT_BYTES);
                kept.drain(..over);
            }
            // The receiver is gone if a child process still holds the stream open.
            let _ = full.send(kept);
        });
    }
    output
}

/// Returns the exit code; for a program ended by a signal, as in a shell, 128 + signal.
#[must_use]
pub fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Program {
        Program::new("sh").arg("-c").arg(script)
    }

    #[test]
    fn output_and_failure_are_told_apart() {
        let finished = shell("echo out; echo err >&2; exit 3").run(LONG).unwrap();
        assert_eq!(finished.stdout, b"out\n");
        assert_eq!(exit_code(finished.status), 3);
        let failed = shell("printf 'first\\n\\n\\033[1msecond' >&2; exit 3").succeed(LONG).unwrap_err();
        assert_eq!(failed.to_string(), "sh failed (exit status: 3): first;  [1msecond");
        let missing = Program::new("/nowhere/program").run(LONG);
        assert!(matches!(missing, Err(ProgramError::Start { .. })));
    }

    #[test]
    fn the_environment_is_clean() {
        let finished = Program::new("env").env("ONLY", "this").run(LONG).unwrap();
        let mut lines: Vec<_> = std::str::from_utf8(&finished.stdout).unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["LC_ALL=C.UTF-8", "ONLY=this", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    }

    #[test]
    fn a_slow_program_is_ended_with_all_that_it_started() {
        let limit = Duration::from_millis(100);
        let slow = shell("sleep 1000 & sleep 1000").run(limit);
        assert!(matches!(slow, Err(ProgramError::TooSlow { .. })));
    }

    #[test]
    fn endless_output_is_cut_to_its_end() {
        let finished = shell("head -c 1000000 /dev/zero; echo end").run(LONG).unwrap();
        assert_eq!(finished.stdout.len(), MAX_OUTPUT_BYTES);
        assert!(finished.stdout.ends_with(b"end\n"));
    }

    #[test]
    fn output_of_any_length_is_read_while_it_comes() {
        let count = |script: &str, limit| {
            shell(script).run_into(limit, |output| io::copy(output, &mut io::sink()).unwrap())
        };
        let (finished, bytes) = count("head -c 1000000 /dev/zero; echo why >&2; exit 3", LONG).unwrap();
        assert_eq!((bytes, exit_code(finished.status), finished.complaint().as_str()), (1_000_000, 3, "why"));
        let (_, read) = shell("yes").run_into(LONG, |output| output.read(&mut [0; 2]).unwrap()).unwrap();
        assert_eq!(read, 2, "a program whose output nobody reads any more ends");
        let slow = count("sleep 1000", Duration::from_millis(100));
        assert!(matches!(slow, Err(ProgramError::TooSlow { .. })));
    }

    #[test]
    fn somebody_who_holds_the_output_open_does_not_hold_the_agent() {
        let finished = shell("sleep 5 & exit 0").run(LONG).unwrap();
        assert!(finished.status.success());
    }

    #[test]
    fn a_program_in_the_background_ends_when_dropped() {
        let output = tempfile::tempfile().unwrap();
        let mut running = Program::new("sleep").arg("1000").start(&output).unwrap();
        assert_eq!(running.exit_status().unwrap(), None);
        running.stop();
        assert!(running.exit_status().unwrap().is_some());
    }
}
