//! `doctor`: finds problems before a device does.

use super::{
    Exit, Global,
    context::Opened,
    output::{Output, Row},
};
use crate::{
    clock::{Clock as _, SystemClock},
    config::{Fragment, Settings},
    disk::DiskHistory,
    files,
    keys::{self, CertificateSummary, KeyError, KeySummary, Layout, Standing, anchors},
    log,
    serve::{ServeError, TlsError, check_artifact_directory, own_certificate},
    service::{Finding, Severity},
    store::Store,
};
use rustls::pki_types::CertificateDer;
use serde::{Serialize, Serializer};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::timestamp::Timestamp;

/// The free space below which a disk is reported, in bytes.
const LEAST_FREE_BYTES: u64 = 1024 * 1024 * 1024;
/// The time within which a disk must fill up to be reported.
const FORECAST: Duration = Duration::from_hours(60 * 24);
/// The day on which this was written: a clock before it is wrong.
const WRITTEN: Timestamp = Timestamp::from_secs(1_790_000_000);

/// Runs every possible check: keys first, then settings, disk, and the stored data.
pub(super) async fn run(global: &Global, output: &mut Output) -> anyhow::Result<Exit> {
    let mut findings = Vec::new();
    let now = SystemClock.now();
    if now < WRITTEN {
        findings.push(error(
            "clock",
            "",
            format!("it shows {now}: set it, or devices refuse every certificate"),
        ));
    }
    let layout = global.layout();
    let faults = keys::faults(&layout);
    findings.extend(faults.iter().map(|fault| error("keys", "", log::chain(fault))));
    let settings = global.settings(Fragment::default());
    let in_use = settings.as_ref().map_or(layout.server_certificate(), |one| one.presented_certificate().0);
    if let Ok(summary) = keys::survey(&layout, &in_use) {
        findings.extend(check_keys(&layout, &summary, now));
    }
    match settings {
        Ok(settings) => {
            findings.extend(check_disk(&settings, now));
            findings.extend(check_certificate(&settings, now));
            findings.extend(check_secrets(&settings));
            // Without its keys the server does not run, and cannot be asked.
            if faults.iter().all(KeyError::is_harmless) {
                findings.extend(check_database(&settings).await);
            }
        }
        Err(broken) => findings.push(error("settings", "", format!("{broken:#}"))),
    }
    let worst = findings.iter().map(|finding| finding.severity).max();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    if findings.is_empty() && !output.is_json() {
        output.say("Nothing was found.")?;
    } else {
        output.rows(&findings.into_iter().map(Found).collect::<Vec<_>>())?;
    }
    // Notes are worth reading, but no reason for a script to stop.
    Ok(if worst > Some(Severity::Note) { Exit::Findings } else { Exit::Done })
}

fn check_keys(layout: &Layout, summary: &KeySummary, now: Timestamp) -> Vec<Finding> {
    let renewals = [
        (layout.tls_ca(), "run `unbox-server key rotate-anchors`, and put trust/ into new images"),
        (layout.device_ca(), "run `unbox-server key rotate-device-ca`"),
    ];
    // The server's own certificate is judged with the settings, which say where it comes from.
    let of_authority = |certificate: &CertificateSummary| {
        let (_, renewal) = renewals.iter().find(|(path, _)| *path == certificate.path)?;
        check_expiry(certificate, now, renewal)
    };
    let mut findings: Vec<Finding> = summary.certificates.iter().filter_map(of_authority).collect();
    if summary.root_keys.iter().any(|key| key.path.is_some()) {
        findings.push(Finding {
            severity: Severity::Note,
            check: "root key",
            subject: String::new(),
            advice: "the key that signs changes of keys is on this machine: keep it offline, and hand it in \
                     with --root-key when you rotate"
                .to_owned(),
            count: 1,
        });
    }
    if summary.anchors.len() > 1 {
        findings.push(Finding {
            severity: Severity::Note,
            check: "TLS anchors",
            subject: String::new(),
            advice: format!(
                "{} TLS anchors count: run `unbox-server key retire-anchors` when every device has checked in",
                summary.anchors.len()
            ),
            count: 1,
        });
    }
    if summary.payload_keys.len() > 1 {
        findings.push(Finding {
            severity: Severity::Note,
            check: "payload keys",
            subject: String::new(),
            advice: format!(
                "{} payload keys are believed: run `unbox-server key retire` when every device has checked in",
                summary.payload_keys.len()
            ),
            count: 1,
        });
    }
    findings
}

fn check_expiry(certificate: &CertificateSummary, now: Timestamp, renewal: &str) -> Option<Finding> {
    let (subject, end) = (certificate.subject.clone(), certificate.not_after);
    match certificate.standing(now) {
        Standing::Ended => Some(error("certificate", &subject, format!("it ended at {end}: {renewal}"))),
        Standing::Overdue => Some(warning("certificate", &subject, format!("it ends at {end}: {renewal}"))),
        Standing::Good | Standing::Due => None,
    }
}

/// Checks the certificate that the server presents: that it can be used, that it carries the names that
/// devices use, and that they accept it.
fn check_certificate(settings: &Settings, now: Timestamp) -> Vec<Finding> {
    let unusable = |chain: String| vec![error("certificate", "server", chain)];
    let own = match own_certificate(settings) {
        Ok(own) => own,
        // It is among the faults of the keys already.
        Err(TlsError::Identity(KeyError::Exposed { path, .. }))
            if settings.layout.private_files().contains(&path) =>
        {
            return Vec::new();
        }
        Err(broken) => return unusable(log::chain(&broken)),
    };
    let Some(leaf) = own.cert.first() else { return Vec::new() };
    let shown = match keys::summary(leaf, settings.presented_certificate().0) {
        Ok(shown) => shown,
        Err(broken) => return unusable(log::chain(&broken)),
    };
    let renewal = settings.certificate_source().renewal();
    let missing = settings.services.names.iter().filter(|name| !shown.names.contains(name));
    missing
        .map(|name| {
            let advice = format!("the server's certificate does not carry this name: {renewal}");
            warning("certificate", name, advice)
        })
        .chain(check_expiry(&shown, now, renewal))
        .chain(check_anchors(settings, &shown, &own.cert, now))
        .collect()
}

/// Checks the certificate against the anchors: devices accept no other.
fn check_anchors(
    settings: &Settings,
    shown: &CertificateSummary,
    chain: &[CertificateDer<'static>],
    now: Timestamp,
) -> Option<Finding> {
    let layout = &settings.layout;
    if settings.acme.is_some() && matches!(anchors::name_another_authority(layout), Ok(false)) {
        return Some(error("TLS anchors", "", ServeError::NoAcmeAnchor.to_string()));
    }
    // A certificate that has ended is reported separately.
    match anchors::devices_accept(layout, chain, now.min(shown.not_after)) {
        Ok(true) => None,
        Ok(false) => Some(error(
            "TLS anchors",
            &shown.path.display().to_string(),
            "devices refuse this certificate: none of their anchors leads to it; run `unbox-server key \
             rotate-anchors --anchor FILE` with its authority's, and wait until they have checked in before \
             you use it"
                .to_owned(),
        )),
        Err(broken) => Some(error("TLS anchors", "", log::chain(&broken))),
    }
}

/// Checks that nobody else may read the secrets outside of the directory of keys.
fn check_secrets(settings: &Settings) -> Vec<Finding> {
    let mut secrets = Store::files(settings.database.expose());
    let file = settings.layout.settings();
    if Fragment::read(&file).is_ok_and(|settings| settings.holds_password()) {
        secrets.push(file);
    }
    let exposed = |path: &PathBuf| {
        let (mode, path) = (files::mode_open_to_others(path).ok().flatten()?, path.display().to_string());
        let advice =
            format!("it holds secrets, and others may access it (mode {mode:04o}): run `chmod 0600 {path}`");
        Some(error("secrets", &path, advice))
    };
    secrets.iter().filter_map(exposed).collect()
}

fn check_disk(settings: &Settings, now: Timestamp) -> Vec<Finding> {
    let history = DiskHistory::read(&settings.layout.disk_history()).unwrap_or_default();
    let reserve = LEAST_FREE_BYTES.max(settings.services.reserved_bytes);
    let forecast = |path: &Path| {
        let full = history.full_at(path, reserve).filter(|full| *full < now.plus(FORECAST))?;
        let advice = format!("as it fills, uploads are refused from {full} on: make room before");
        Some(warning("disk", &path.display().to_string(), advice))
    };
    let check = |path: &Path, free: u64| {
        if free >= reserve {
            return forecast(path);
        }
        let free = free / (1024 * 1024);
        let advice = format!("{free} MiB are free: make room before writes fail");
        Some(warning("disk", &path.display().to_string(), advice))
    };
    let artifacts = match check_artifact_directory(settings) {
        Ok(free) => check(&settings.services.artifact_directory, free),
        Err(broken) => {
            let subject = settings.services.artifact_directory.display().to_string();
            Some(error("disk", &subject, log::chain(&broken)))
        }
    };
    let directory = settings.layout.dir();
    // A directory that is not there has been reported with the keys in it.
    let own = files::free_bytes(directory).ok().and_then(|free| check(directory, free));
    own.into_iter().chain(artifacts).collect()
}

async fn check_database(settings: &Settings) -> Vec<Finding> {
    let opened = match Opened::inspect_with(settings).await {
        Ok(opened) => opened,
        Err(broken) => return vec![error("database", "", format!("{broken:#}"))],
    };
    let found = opened.services.upkeep.doctor(&opened.by).await;
    opened.services.close().await;
    found.unwrap_or_else(|broken| vec![error("database", "", log::chain(&broken))])
}

fn error(check: &'static str, subject: &str, advice: String) -> Finding {
    Finding { severity: Severity::Error, check, subject: subject.to_owned(), advice, count: 1 }
}

fn warning(check: &'static str, subject: &str, advice: String) -> Finding {
    Finding { severity: Severity::Warning, ..error(check, subject, advice) }
}

/// A finding in the list.
struct Found(Finding);

const fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

impl Row for Found {
    const LIST: &'static str = "findings";
    const HEADS: &'static [&'static str] = &["severity", "check", "about", "advice"];

    fn cells(&self) -> Vec<String> {
        let Self(finding) = self;
        vec![
            severity_name(finding.severity).to_owned(),
            finding.check.to_owned(),
            finding.subject.clone(),
            finding.advice.clone(),
        ]
    }
}

impl Serialize for Found {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(finding) = self;
        serde_json::json!({
            "severity": severity_name(finding.severity),
            "check": finding.check,
            "about": finding.subject,
            "advice": finding.advice,
            "count": finding.count,
        })
        .serialize(serializer)
    }
}
