//! `key`: the server's keys and certificates. Private keys are never shown.

use super::{
    Exit, Global,
    confirm::Consent,
    context::Opened,
    output::{Output, Row, warn},
};
use crate::{
    clock::{Clock as _, SystemClock},
    config::Fragment,
    entropy::SystemEntropy,
    keys::{self, Layout, anchors, rotate},
};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The commands for keys.
#[derive(Debug, Subcommand)]
pub(super) enum Key {
    /// List keys and certificates, with their ends.
    List,
    /// Make a new key that signs payloads; or, with --root, one that signs changes of keys.
    #[command(after_help = "\
Devices follow by themselves: each change is a signing root that they get with their next answer.
A running server signs with the new key after SIGHUP.

Example, with the root key offline:
  unbox-server key rotate --root-key /media/safe/root-1.pem")]
    Rotate {
        /// Replace the key that signs changes of keys.
        #[arg(long)]
        root: bool,
        /// The present root key, if it is not in the server's directory.
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
        /// The file for the new root key, if not in the server's directory.
        #[arg(long, value_name = "FILE", requires = "root")]
        new_root_key: Option<PathBuf>,
    },
    /// Trust only the newest payload key, and remove the old ones.
    Retire {
        #[command(flatten)]
        ending: Ending,
        /// The present root key, if it is not in the server's directory.
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
    },
    /// Make a new authority of device certificates; certificates of the old one still count.
    #[command(after_help = "\
Devices get a new certificate with their next check-in, once a running server got SIGHUP.
The old authority's private key is removed.")]
    RotateDeviceCa,
    /// End the trust in all but the present authority of device certificates.
    #[command(after_help = "A device that has no certificate of it yet enrolls again by itself.")]
    RetireDeviceCa(Ending),
    /// Make a new TLS authority, or trust another one; the old one stays trusted.
    #[command(after_help = "\
Devices follow by themselves: the anchors are in a signing root that they get with their next answer.
The new authority issues the server's certificate at once, and devices that know only the old one accept it.
The old authority's private key is removed.

Example, before the server's certificate comes from somebody else's authority:
  unbox-server key rotate-anchors --anchor isrg-root-x1.pem")]
    RotateAnchors {
        /// Trust the certificates in this file, instead of making an authority.
        #[arg(long, value_name = "FILE")]
        anchor: Option<PathBuf>,
        /// The present root key, if it is not in the server's directory.
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
    },
    /// End the trust in all TLS anchors but those that the server's certificate leads to.
    #[command(after_help = "\
A device that has not checked in since rotate-anchors never accepts this server again, until it gets a new image.")]
    RetireAnchors {
        #[command(flatten)]
        ending: Ending,
        /// The present root key, if it is not in the server's directory.
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
    },
    /// Give the server a new TLS key and certificate; devices notice nothing.
    RenewServer {
        /// Names of the server, in place of the settings.
        #[arg(long = "name", value_name = "HOST")]
        names: Vec<String>,
    },
}

/// The end of the trust in something, which cannot be undone.
#[derive(Debug, Args)]
pub(super) struct Ending {
    /// Only say what would end.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    #[command(flatten)]
    consent: Consent,
}

impl Ending {
    /// Says the consequence, or asks for confirmation. Returns whether to go on.
    fn confirm(&self, consequence: &str, output: &mut Output) -> anyhow::Result<bool> {
        if self.dry_run {
            output.say(&format!("{consequence}. Nothing was changed."))?;
        } else {
            self.consent.ask(consequence)?;
        }
        Ok(!self.dry_run)
    }
}

/// One line of the list.
#[derive(Serialize)]
struct Line {
    what: String,
    name: String,
    until: String,
    place: String,
}

impl Row for Line {
    const LIST: &'static str = "keys";
    const HEADS: &'static [&'static str] = &["what", "name", "until", "where"];

    fn cells(&self) -> Vec<String> {
        vec![self.what.clone(), self.name.clone(), self.until.clone(), self.place.clone()]
    }
}

const RELOAD: &str = "A running server uses it after SIGHUP or a restart.";

/// A change of keys that is done.
struct Change {
    command: &'static str,
    result: Value,
    text: String,
}

impl Change {
    fn new(command: &'static str, result: &impl Serialize, text: String) -> Self {
        Self { command, result: json!(result), text }
    }

    /// Writes the change to the audit trail, if its database can be opened.
    async fn record(&self, global: &Global) -> anyhow::Result<()> {
        let recorded = async {
            let opened = Opened::open(global).await?;
            let recorded =
                opened.services.tenancy.record_key_change(&opened.by, self.command, &self.result).await;
            opened.services.close().await;
            anyhow::Ok(recorded?)
        };
        match recorded.await {
            Ok(()) => Ok(()),
            Err(error) => warn(&format!(
                "the keys are changed, but the audit trail has no entry about it, because its database could \
                 not be written: {error:#}"
            )),
        }
    }
}

impl Key {
    pub(super) async fn run(self, global: &Global, output: &mut Output) -> anyhow::Result<Exit> {
        if let Some(change) = self.change(global, output)? {
            output.show(&change.result, &change.text)?;
            change.record(global).await?;
        }
        Ok(Exit::Done)
    }

    /// Changes keys; `None` if there was nothing to change.
    fn change(self, global: &Global, output: &mut Output) -> anyhow::Result<Option<Change>> {
        let layout = global.layout();
        match self {
            Self::List => {
                list(global, output)?;
                Ok(None)
            }
            Self::Rotate { root: false, root_key, .. } => rotate_payload_key(&layout, root_key.as_deref()),
            Self::Rotate { root: true, root_key, new_root_key } => {
                rotate_root_key(&layout, root_key.as_deref(), new_root_key.as_deref())
            }
            Self::Retire { ending, root_key } => retire(global, output, &ending, root_key.as_deref()),
            Self::RotateDeviceCa => rotate_device_ca(&layout),
            Self::RetireDeviceCa(ending) => retire_device_ca(global, output, &ending),
            Self::RotateAnchors { anchor, root_key } => {
                rotate_anchors(global, anchor.as_deref(), root_key.as_deref())
            }
            Self::RetireAnchors { ending, root_key } => {
                retire_anchors(global, output, &ending, root_key.as_deref())
            }
            Self::RenewServer { names } => renew_server(global, names),
        }
    }
}

fn rotate_payload_key(layout: &Layout, root_key: Option<&Path>) -> anyhow::Result<Option<Change>> {
    let rotated = rotate::rotate_payload_key(layout, root_key, &SystemEntropy::new())?;
    let text = format!(
        "Payload key {} is new, in root version {}. {RELOAD}\n\
         Next: when every device has checked in, unbox-server key retire.",
        rotated.key, rotated.version
    );
    Ok(Some(Change::new("key rotate", &rotated, text)))
}

fn rotate_root_key(
    layout: &Layout,
    root_key: Option<&Path>,
    new_root_key: Option<&Path>,
) -> anyhow::Result<Option<Change>> {
    let rotated = rotate::rotate_root_key(layout, root_key, new_root_key, &SystemEntropy::new())?;
    let text = format!(
        "Root key {} is new, in root version {}, and lies in {}. {RELOAD}\n\
         Next: take it offline, and destroy the old one.",
        rotated.key,
        rotated.version,
        rotated.path.display()
    );
    Ok(Some(Change::new("key rotate --root", &rotated, text)))
}

fn rotate_device_ca(layout: &Layout) -> anyhow::Result<Option<Change>> {
    rotate::rotate_device_ca(layout, SystemClock.now(), &SystemEntropy::new())?;
    let new = keys::certificate(layout.device_ca())?;
    let text = format!(
        "{} issues the certificates of devices from now on. {RELOAD}\n\
         Next: when every device has checked in, unbox-server key retire-device-ca.",
        new.subject
    );
    Ok(Some(Change::new("key rotate-device-ca", &new, text)))
}

fn renew_server(global: &Global, names: Vec<String>) -> anyhow::Result<Option<Change>> {
    let layout = global.layout();
    let names = if names.is_empty() { global.settings(Fragment::default())?.services.names } else { names };
    rotate::renew_server(&layout, &names, SystemClock.now(), &SystemEntropy::new())?;
    let renewed = keys::certificate(layout.server_certificate())?;
    let text = format!("The server's certificate is good until {}. {RELOAD}", renewed.not_after);
    Ok(Some(Change::new("key renew-server", &renewed, text)))
}

fn list(global: &Global, output: &mut Output) -> anyhow::Result<()> {
    let settings = global.settings(Fragment::default())?;
    let summary = keys::survey(&settings.layout, &settings.presented_certificate().0)?;
    if output.is_json() { output.show(&summary, "") } else { output.rows(&lines(&summary)) }
}

fn retire(
    global: &Global,
    output: &mut Output,
    ending: &Ending,
    root_key: Option<&Path>,
) -> anyhow::Result<Option<Change>> {
    let layout = global.layout();
    let (kept, count) = rotate::retirable_payload_keys(&layout)?;
    let consequence = match count {
        0 => "This finishes a retirement of payload keys that was interrupted".to_owned(),
        1 => format!("This ends the trust in one payload key, for good: {kept} alone is left"),
        _ => format!("This ends the trust in {count} payload keys, for good: {kept} alone is left"),
    };
    if !ending.confirm(&consequence, output)? {
        return Ok(None);
    }
    let retired = rotate::retire_payload_keys(&layout, root_key)?;
    let (key, version) = (retired.key, retired.version);
    let text = format!("Only payload key {key} is believed, from root version {version} on. {RELOAD}");
    Ok(Some(Change::new("key retire", &retired, text)))
}

fn retire_device_ca(global: &Global, output: &mut Output, ending: &Ending) -> anyhow::Result<Option<Change>> {
    let layout = global.layout();
    let former = subjects(&rotate::retirable_device_cas(&layout)?);
    let consequence = format!(
        "This ends the trust in {former}, for good: devices that have no other certificate enroll again"
    );
    if !ending.confirm(&consequence, output)? {
        return Ok(None);
    }
    rotate::retire_device_cas(&layout)?;
    let present = keys::certificate(layout.device_ca())?;
    let text = format!("Only certificates of {} count. {RELOAD}", present.subject);
    Ok(Some(Change::new("key retire-device-ca", &present, text)))
}

fn rotate_anchors(
    global: &Global,
    anchor: Option<&Path>,
    root_key: Option<&Path>,
) -> anyhow::Result<Option<Change>> {
    let layout = global.layout();
    let anchored = if let Some(file) = anchor {
        anchors::add(&layout, file, root_key)?
    } else {
        let names = global.settings(Fragment::default())?.services.names;
        anchors::rotate(&layout, &names, root_key, SystemClock.now(), &SystemEntropy::new())?
    };
    let (count, version) = (anchored.anchors.len(), anchored.version);
    let text = format!(
        "{count} TLS anchors count, from root version {version} on. {RELOAD}\n\
         Next: put trust/ into new images; when every device has checked in, \
         unbox-server key retire-anchors."
    );
    Ok(Some(Change::new("key rotate-anchors", &anchored, text)))
}

fn retire_anchors(
    global: &Global,
    output: &mut Output,
    ending: &Ending,
    root_key: Option<&Path>,
) -> anyhow::Result<Option<Change>> {
    let settings = global.settings(Fragment::default())?;
    let former = anchors::find_retirable(&global.layout(), &settings.certificate, SystemClock.now())?;
    let consequence = if former.is_empty() {
        "This finishes a retirement of TLS anchors that was interrupted".to_owned()
    } else {
        format!(
            "This ends the trust in {}, for good: a device that has not checked in since `key rotate-anchors` \
             never accepts this server again, until it gets a new image",
            subjects(&former)
        )
    };
    if !ending.confirm(&consequence, output)? {
        return Ok(None);
    }
    let reached = anchors::Reached { certificate: &settings.certificate, names: &settings.services.names };
    let entropy = SystemEntropy::new();
    let anchored = anchors::retire(&global.layout(), reached, root_key, SystemClock.now(), &entropy)?;
    let (left, version) = (subjects(&anchored.anchors), anchored.version);
    let text = format!("Of TLS anchors, only {left} counts, from root version {version} on. {RELOAD}");
    Ok(Some(Change::new("key retire-anchors", &anchored, text)))
}

fn subjects(certificates: &[keys::CertificateSummary]) -> String {
    certificates.iter().map(|one| one.subject.as_str()).collect::<Vec<_>>().join(" and ")
}

fn lines(summary: &keys::KeySummary) -> Vec<Line> {
    let place = |path: Option<&PathBuf>| {
        path.map_or_else(|| "not on this machine".to_owned(), |path| path.display().to_string())
    };
    let trusted = |what: &str, key: &keys::TrustedKey| Line {
        what: what.to_owned(),
        name: key.id.to_string(),
        until: "-".to_owned(),
        place: place(key.path.as_ref()),
    };
    let payload = summary.payload_keys.iter().map(|key| trusted("payload key", key));
    let root = summary.root_keys.iter().map(|key| trusted("root key", key));
    let certificate = |what: &str, certificate: &keys::CertificateSummary| Line {
        what: what.to_owned(),
        name: certificate.subject.clone(),
        until: certificate.not_after.to_string(),
        place: place(Some(&certificate.path)),
    };
    let certificates = summary.certificates.iter().map(|one| {
        let is_in_use = one.path == summary.certificate_in_use;
        certificate(if is_in_use { "certificate in use" } else { "certificate" }, one)
    });
    let anchors = summary.anchors.iter().map(|one| certificate("TLS anchor", one));
    payload.chain(root).chain(certificates).chain(anchors).collect()
}
