//! A root shell in the guest, over a serial port of its own: commands go in, framed answers come out.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::host::{Deadline, tail};

/// The greeting of the guest's end once it listens.
const GREETING: &str = "BACKDOOR-READY\n";

/// The time limit for QEMU to open its end of the line.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; more than 128 for a signal.
    pub status: i32,
    /// The command's standard output and standard error, interleaved.
    pub text: String,
}

impl Output {
    /// Whether the command exited with status 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

/// The harness's end of the line, before QEMU has taken the other one.
#[derive(Debug)]
pub(super) struct Line(UnixListener);

impl Line {
    /// Listens on a new socket: QEMU connects to it, so that not a byte is lost.
    pub(super) fn listen(socket: &Path) -> Result<Self> {
        let listener =
            UnixListener::bind(socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        listener.set_nonblocking(true)?;
        Ok(Self(listener))
    }

    /// Waits until QEMU has connected.
    pub(super) fn accept(self) -> Result<Shell> {
        let deadline = Deadline::after(CONNECT_LIMIT);
        loop {
            match self.0.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false)?;
                    return Ok(Shell { stream, unread: Vec::new(), commands: 0 });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock && deadline.pause() => {}
                Err(error) => return Err(error).context("QEMU did not open its serial port"),
            }
        }
    }
}

/// The shell of one boot.
#[derive(Debug)]
pub(super) struct Shell {
    stream: UnixStream,
    unread: Vec<u8>,
    commands: u64,
}

impl Shell {
    /// Waits until the guest listens.
    pub(super) fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        self.read_past(GREETING, limit).map(drop).context("the guest's shell did not come up")
    }

    /// Runs a command in a subshell of the guest, and waits for its end.
    ///
    /// After an error the command may still be running; its late output is skipped by the next one.
    pub(super) fn run(&mut self, command: &str, limit: Duration) -> Result<Output> {
        self.commands += 1;
        let token = format!("--{}-{}--", std::process::id(), self.commands);
        // The markers are printed from two pieces, so that an echo of the command is no answer.
        let framed = format!(
            "printf '%s%s\\n' '{token}' begin; (\n{command}\n) </dev/null; printf '\\n%s%s%s\\n' '{token}' end= $?\n"
        );
        self.stream.write_all(framed.as_bytes()).context("the guest's shell is gone")?;
        let deadline = Deadline::after(limit);
        let failed = || format!("no answer to `{command}`");
        self.read_past(&format!("{token}begin\n"), deadline.remaining()).with_context(failed)?;
        let text = self.read_past(&format!("\n{token}end="), deadline.remaining()).with_context(failed)?;
        let status = self.read_past("\n", deadline.remaining()).with_context(failed)?;
        let status = status.trim().parse().with_context(|| format!("`{status}` is not an exit status"))?;
        Ok(Output { status, text: text.replace('\r', "").trim_end_matches('\n').to_owned() })
    }

    /// Reads up to and past `mark`, and returns the text before it.
    fn read_past(&mut self, mark: &str, limit: Duration) -> Result<String> {
        let deadline = Deadline::after(limit);
        let mut searched = 0;
        loop {
            if let Some(at) = find(self.unread.get(searched..).unwrap_or_default(), mark.as_bytes()) {
                let before: Vec<u8> = self.unread.drain(..searched + at).collect();
                self.unread.drain(..mark.len());
                return Ok(String::from_utf8_lossy(&before).into_owned());
            }
            searched = self.unread.len().saturating_sub(mark.len());
            if self.receive(deadline.remaining())? == 0 {
                bail!("nothing for {limit:?}; the last that came: {:?}", tail(&self.unread, 500));
            }
        }
    }

    /// Waits for more bytes; returns zero when the time is over.
    fn receive(&mut self, left: Duration) -> Result<usize> {
        if left.is_zero() {
            return Ok(0);
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => bail!("the machine is off"),
            Ok(length) => {
                self.unread.extend_from_slice(buffer.get(..length).unwrap_or_default());
                Ok(length)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
            Err(error) => Err(error).context("cannot read from the guest's shell"),
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a shell whose other end is the test.
    fn pair() -> (Shell, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Shell { stream: ours, unread: Vec::new(), commands: 0 }, theirs)
    }

    #[test]
    fn late_output_of_an_earlier_command_is_skipped() {
        let (mut shell, mut guest) = pair();
        let token = format!("--{}-1--", std::process::id());
        guest.write_all(format!("late\r\n{token}begin\nyes\r\n\n{token}end=7\n").as_bytes()).unwrap();
        let output = shell.run("true", Duration::from_secs(5)).unwrap();
        assert_eq!(output, Output { status: 7, text: "yes".to_owned() });
    }

    #[test]
    fn a_guest_that_says_nothing_is_an_error_in_bounded_time() {
        let (mut shell, _guest) = pair();
        assert!(shell.run("true", Duration::from_millis(50)).is_err());
    }

    #[test]
    fn a_machine_that_went_off_is_an_error_at_once() {
        let (mut shell, guest) = pair();
        drop(guest);
        assert!(shell.wait_ready(Duration::from_mins(1)).is_err());
    }
}
