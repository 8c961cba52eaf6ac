//! `identity` and `status`: what this device is, and how far it has come.

use super::{exit::Exit, session::Session};
use crate::{
    boot::Layout,
    console::{StatusFile, chain, plain},
    files, identity, ledger,
};
use anyhow::Context as _;
use serde::Serialize;
use std::{
    io::{self, Write as _},
    path::Path,
};
use unbox_common::models::Models;

/// The largest status file that is read, in bytes.
const MAX_STATUS_BYTES: u64 = 64 * 1024;

/// Prints the identifiers, what was refused, and what to register.
pub(super) async fn identity(
    session: &Session,
    json: bool,
    folder: Option<&Path>,
    models: &Models,
) -> anyhow::Result<Exit> {
    let survey = match folder {
        Some(folder) => {
            let captured = identity::io::capture(&session.layout, folder).await;
            captured.context("the machine was not captured")?
        }
        None => identity::io::survey(&session.layout).await,
    };
    let printed = if json {
        print_json(&identity::Shown::new(&survey, models))
    } else {
        io::stdout().write_all(identity::shown(&survey, models).as_bytes())
    };
    printed.context("could not print the identity")?;
    Ok(if survey.identity().is_ok() { Exit::Done } else { Exit::Fatal })
}

/// The status of a device, for programs.
#[derive(Debug, Serialize)]
struct Status {
    /// Name of the ledger's phase; `damaged` if it cannot be read.
    phase: String,
    /// The ledger itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<ledger::Ledger>,
    /// What the privileged side last said.
    #[serde(skip_serializing_if = "Option::is_none")]
    installer: Option<StatusFile>,
    /// What the network side last said.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<StatusFile>,
}

/// Prints how far this device has come.
pub(super) fn status(layout: &Layout, json: bool) -> io::Result<Exit> {
    let (ledger, problem) = match ledger::io::read(layout) {
        Ok(ledger) => (Some(ledger), None),
        Err(error) => (None, Some(error)),
    };
    let status = Status {
        phase: ledger.as_ref().map_or("damaged", |ledger| ledger.phase.name()).to_owned(),
        ledger,
        installer: last_said(&layout.status()),
        network: last_said(&layout.network_status()),
    };
    if json {
        print_json(&status)?;
    } else {
        io::stdout().write_all(shown(&status).as_bytes())?;
        if let Some(problem) = &problem {
            writeln!(io::stdout(), "Problem: {}", plain(&chain(problem), 512))?;
        }
    }
    Ok(if problem.is_some() { Exit::Damaged } else { Exit::Done })
}

fn last_said(path: &Path) -> Option<StatusFile> {
    let bytes = files::read(path, MAX_STATUS_BYTES).ok()??;
    serde_json::from_slice(&bytes).ok()
}

fn shown(status: &Status) -> String {
    let mut lines = vec![format!("Phase: {}", status.phase)];
    if let Some(own) = status.ledger.as_ref().and_then(ledger::Ledger::enrollment) {
        lines.push(format!("Device: {}, generation {}", own.device, own.generation));
        lines.push(format!("Owner: {}", plain(&own.owner.company, 512)));
    }
    if let Some(installed) = status.ledger.as_ref().and_then(ledger::Ledger::installed) {
        let dpc = installed.dpc.as_ref().map_or_else(String::new, |dpc| {
            format!(", {} {}", plain(&dpc.name, 128), plain(&dpc.version.to_string(), 128))
        });
        lines.push(format!("Installed: version {}{dpc}", installed.version));
    }
    if let Some(failed) = status.ledger.as_ref().and_then(ledger::Ledger::failed) {
        let reason = plain(&format!("{}: {}", failed.kind, failed.detail), 512);
        lines.push(format!("Failed: version {}, {reason}", failed.version));
    }
    // The later of the two is what is happening.
    let last = [&status.installer, &status.network].into_iter().flatten().max_by_key(|said| said.at);
    if let Some(said) = last {
        lines.push(format!("Last: {} ({})", plain(&said.headline, 512), said.at));
        lines.extend(said.more.iter().map(|line| format!("  {}", plain(line, 512))));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn print_json(document: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, document)?;
    out.write_all(b"\n")
}
