//! QEMU's own control channel: for the cable, the power button and the reset button.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// The time limit for QEMU's answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Sends one command, and returns its answer.
pub(super) fn execute(socket: &Path, command: &str, arguments: &Value) -> Result<Value> {
    let mut stream = UnixStream::connect(socket).context("QEMU's control channel is closed")?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    // The first line is QEMU's greeting; it takes no other command before capabilities are negotiated.
    read_line(&mut answers)?;
    ask(&mut stream, &mut answers, "qmp_capabilities", &json!({}))?;
    ask(&mut stream, &mut answers, command, arguments)
}

fn ask(
    stream: &mut UnixStream,
    answers: &mut BufReader<UnixStream>,
    name: &str,
    arguments: &Value,
) -> Result<Value> {
    writeln!(stream, "{}", json!({ "execute": name, "arguments": arguments }))?;
    loop {
        let mut answer = read_line(answers)?;
        if let Some(error) = answer.get("error") {
            bail!("QEMU refused {name}: {error}");
        }
        // Anything else is an event, and may come at any time.
        if let Some(result) = answer.get_mut("return") {
            return Ok(result.take());
        }
    }
}

fn read_line(answers: &mut BufReader<UnixStream>) -> Result<Value> {
    let mut line = String::new();
    answers.read_line(&mut line).context("QEMU did not answer")?;
    serde_json::from_str(&line).with_context(|| format!("QEMU answered {line:?}"))
}
