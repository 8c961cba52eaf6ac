//! `identity` and `status`: the identifiers of this device, and its progress.

use crate::{
    boot::{self, Found, Layout, StartingPoint},
    console::StatusFile,
    driver::Session,
    exit::Exit,
    files, identity,
    ledger::{self, io::LedgerError},
    report,
    text::{chain, escape_json, plain},
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

/// Prints the identifiers, the refused ones, and the row to register.
pub(super) async fn print_identity(
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
        print_json(&identity::SurveyReport::new(&survey, models))
    } else {
        io::stdout().write_all(identity::survey_text(&survey, models).as_bytes())
    };
    printed.context("could not print the identity")?;
    Ok(if survey.identity().is_ok() { Exit::Done } else { Exit::Fatal })
}

/// The folder where systemd keeps the machine's credentials; readable by root only.
const MACHINE_CREDENTIALS: &str = "/run/credentials/@system";

/// The status of a device, for programs.
#[derive(Debug, Serialize)]
struct Status {
    /// Name of the ledger's phase; `damaged` if it cannot be read, `newer` if a newer agent wrote it.
    phase: String,
    /// The ledger itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<ledger::Ledger>,
    /// The payload that the network side refused before the installer saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<ledger::Refused>,
    /// The settings from before the device was switched on.
    told: EffectiveSettings,
    /// The last console message of the privileged side.
    #[serde(skip_serializing_if = "Option::is_none")]
    installer: Option<StatusFile>,
    /// The last console message of the network side.
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<StatusFile>,
}

/// The settings of a device and their sources; the token itself is never shown.
#[derive(Debug, Default, Serialize)]
struct EffectiveSettings {
    /// The server's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    /// The source of the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    server_from: Option<String>,
    /// The source of the pre-provisioning token.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_from: Option<String>,
    /// The reason why the sources are unusable.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// The removable media that are plugged in.
    media: Vec<ShownMedium>,
}

/// A removable medium.
#[derive(Debug, Serialize)]
struct ShownMedium {
    name: String,
    /// True if there is a token on it.
    has_token: bool,
    /// The reason why it is not used.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Prints the progress of this device.
pub(super) fn print_status(from: &StartingPoint, json: bool) -> io::Result<Exit> {
    let layout = &Layout::new(&from.root);
    let (ledger, problem) = match ledger::io::read(layout) {
        Ok(ledger) => (Some(ledger), None),
        Err(error) => (None, Some(error)),
    };
    let unreadable = if problem.as_ref().is_some_and(LedgerError::is_newer) { "newer" } else { "damaged" };
    let status = Status {
        phase: ledger.as_ref().map_or(unreadable, |ledger| ledger.phase.name()).to_owned(),
        ledger,
        refused: report::io::read_enrolled(layout).ok().flatten().and_then(|enrolled| enrolled.refused),
        told: effective_settings(from, layout),
        installer: read_status_file(&layout.status()),
        network: read_status_file(&layout.network_status()),
    };
    if json {
        print_json(&status)?;
    } else {
        io::stdout().write_all(status_text(&status).as_bytes())?;
        if let Some(problem) = &problem {
            writeln!(io::stdout(), "Problem: {}", plain(&chain(problem), 512))?;
        }
    }
    Ok(if problem.is_some() { Exit::Damaged } else { Exit::Done })
}

/// Returns the settings that a stage would start with.
fn effective_settings(from: &StartingPoint, layout: &Layout) -> EffectiveSettings {
    let credentials = from.credentials.clone().or_else(|| Some(layout.path(MACHINE_CREDENTIALS)));
    let (settings, media) = match boot::io::read_settings(&StartingPoint { credentials, ..from.clone() }) {
        Ok((settings, media)) => (Ok(settings), media),
        Err(error) => (Err(error), boot::io::media(from).0),
    };
    let media = media.into_iter().map(|medium| {
        let reason = match medium.found {
            Found::Token(_) => None,
            Found::NotUsed(why) => Some(why),
        };
        ShownMedium { name: medium.name, has_token: reason.is_none(), reason }
    });
    let media = media.collect();
    match settings {
        Ok(settings) => EffectiveSettings {
            server: settings.server.as_ref().map(ToString::to_string),
            server_from: settings.server.map(|server| server.origin.to_string()),
            token_from: settings.token.map(|token| token.origin.to_string()),
            problem: None,
            media,
        },
        Err(error) => {
            EffectiveSettings { problem: Some(chain(&error)), media, ..EffectiveSettings::default() }
        }
    }
}

fn read_status_file(path: &Path) -> Option<StatusFile> {
    files::read_json(path, MAX_STATUS_BYTES).ok()?
}

fn status_text(status: &Status) -> String {
    let mut lines = vec![format!("Phase: {}", status.phase)];
    if let Some(own) = status.ledger.as_ref().and_then(ledger::Ledger::enrollment) {
        lines.push(format!("Device: {}, generation {}", own.device, own.generation));
        lines.push(format!("Owner: {}", plain(&own.owner.company, 512)));
    }
    lines.extend(settings_lines(&status.told));
    if let Some(installed) = status.ledger.as_ref().and_then(ledger::Ledger::installed_payload) {
        let dpc = installed.dpc.as_ref().map_or_else(String::new, |dpc| {
            format!(", {} {}", plain(&dpc.name, 128), plain(&dpc.version.to_string(), 128))
        });
        lines.push(format!("Installed: version {}{dpc}", installed.version));
    }
    if let Some(failed) = status.ledger.as_ref().and_then(ledger::Ledger::failed_payload) {
        let reason = plain(&format!("{}: {}", failed.kind, failed.detail), 512);
        lines.push(format!("Failed: version {}, {reason}", failed.version));
    }
    let refused = status.ledger.as_ref().and_then(|ledger| ledger.refused.as_ref());
    if let Some(refused) = refused.or(status.refused.as_ref()) {
        let reason = plain(&format!("{}: {}", refused.kind, refused.detail), 512);
        lines.push(format!("Refused: version {}, {reason}", refused.version));
    }
    // The later of the two messages is current.
    let last = [&status.installer, &status.network].into_iter().flatten().max_by_key(|said| said.at);
    if let Some(said) = last {
        lines.push(format!("Last: {} ({})", plain(&said.headline, 512), said.at));
        lines.extend(said.more.iter().map(|line| format!("  {}", plain(line, 512))));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn settings_lines(told: &EffectiveSettings) -> Vec<String> {
    let mut lines = Vec::new();
    if let (Some(server), Some(from)) = (&told.server, &told.server_from) {
        lines.push(format!("Server: {}, from {}", plain(server, 512), plain(from, 512)));
    }
    lines.extend(told.token_from.as_ref().map(|from| format!("Token: from {}", plain(from, 512))));
    lines.extend(told.problem.as_ref().map(|why| format!("Sources: {}", plain(why, 512))));
    lines.extend(told.media.iter().map(|medium| {
        let found =
            medium.reason.as_ref().map_or_else(|| "has a token".to_owned(), |why| format!("not used: {why}"));
        format!("Removable medium {}: {}", plain(&medium.name, 64), plain(&found, 512))
    }));
    lines
}

fn print_json(document: &impl Serialize) -> io::Result<()> {
    let json = escape_json(&serde_json::to_string_pretty(document)?);
    writeln!(io::stdout(), "{json}")
}
