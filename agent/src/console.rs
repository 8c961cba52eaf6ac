//! The messages for people in front of the device: current activity, owner, and next steps when it stops.
//!
//! The same text goes to standard output (the units send it to journal and console), to systemd's status
//! line, and to a file for programs. All text from a server passes through [`plain`], so that no control
//! character reaches a terminal.

use crate::{
    boot::{Found, Medium},
    clock::{ClockSkew, Stopwatch},
    failure::{Failure, advice},
    files,
    http::Refusal,
    install,
    text::{chain, plain},
};
use serde::{Deserialize, Serialize};
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};
use unbox_common::{
    identity::{HardwareIdentity, IdentifierKind},
    ids::{DeviceId, Generation},
    protocol::latest::Owner,
    timestamp::Timestamp,
};

/// The longest text from a server that is shown, in bytes.
const MAX_SHOWN_BYTES: usize = 512;

/// The current activity of the device.
#[derive(Debug, Clone, Copy)]
pub enum Situation<'a> {
    /// The system clock must be wrong.
    ClockSkewed(ClockSkew),
    /// A removable medium was plugged in.
    Medium(&'a Medium),
    /// The first message is on its way.
    Contacting {
        /// The server.
        server: &'a str,
    },
    /// The server granted this device its enrollment.
    Granted {
        /// The owner of the device.
        owner: &'a Owner,
    },
    /// Artifacts are being fetched.
    Fetching {
        /// Bytes received so far.
        received: u64,
        /// Bytes in all.
        total: u64,
    },
    /// All artifacts are fetched; the privileged side continues.
    Fetched,
    /// A payload is being installed.
    Installing {
        /// The configuration's name.
        configuration: &'a str,
    },
    /// The device is managed.
    Managed {
        /// The id of the device.
        device: DeviceId,
        /// The generation of the enrollment.
        generation: Generation,
        /// The owner of the device.
        owner: &'a Owner,
    },
    /// The installation was rolled back.
    RolledBack {
        /// Short name of the reason.
        kind: &'a str,
        /// The reason.
        detail: &'a str,
    },
    /// The payload was refused before anything was changed.
    Rejected {
        /// Short name of the reason.
        kind: &'a str,
        /// The reason.
        detail: &'a str,
    },
    /// The ledger was damaged.
    LedgerDamaged,
    /// The disk came from another machine.
    OtherMachine,
    /// A record of this device was damaged.
    StateDamaged {
        /// The record, as the beginning of a sentence.
        what: &'a str,
        /// The consequence, as a sentence.
        so: &'a str,
    },
    /// A step failed, and will be tried again.
    Waiting {
        /// The failure.
        failure: &'a Failure,
        /// The pause before the next try.
        pause: Duration,
        /// The identifiers to read out on the telephone.
        identity: Option<&'a HardwareIdentity>,
    },
    /// A step failed, and trying again cannot help.
    Stopped {
        /// The failure.
        failure: &'a Failure,
        /// The identifiers to read out on the telephone.
        identity: Option<&'a HardwareIdentity>,
    },
    /// There is nothing to do.
    AtRest {
        /// The reason.
        why: &'a str,
    },
}

/// The text of a situation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Short name of the state.
    pub state: &'static str,
    /// Short name of the failure, if it is one.
    pub kind: Option<String>,
    /// The first line.
    pub headline: String,
    /// Further lines.
    pub more: Vec<String>,
}

impl Situation<'_> {
    /// Returns the situation's text, free of characters that could move a cursor.
    #[must_use]
    pub fn message(&self) -> Message {
        let said = |state, headline: String| Message { state, kind: None, headline, more: Vec::new() };
        match *self {
            Self::ClockSkewed(skew) => Message {
                kind: Some("clock_skew".to_owned()),
                ..said("clock_skew", skew.to_string())
            },
            Self::Medium(Medium { name, found: Found::Token(_) }) => said(
                "medium",
                format!("Found a pre-provisioning token on the removable medium {}. Leave it in.", make_printable(name)),
            ),
            Self::Medium(Medium { name, found: Found::NotUsed(why) }) => {
                said("medium", format!("The removable medium {} is not used: {}.", make_printable(name), make_printable(why)))
            }
            Self::Contacting { server } => {
                said("contacting", format!("Contacting {}.", make_printable(server)))
            }
            Self::Granted { owner } => Message {
                more: contact_lines(owner),
                ..said("granted", format!("This device belongs to {}.", make_printable(&owner.company)))
            },
            Self::Fetching { received, total } => said("fetching", download_progress(received, total)),
            Self::Fetched => said("fetched", "Everything is here. The installation follows.".to_owned()),
            Self::Installing { configuration } => {
                said("installing", format!("Installing {}.", make_printable(configuration)))
            }
            Self::Managed {
                device,
                generation,
                owner,
            } => Message {
                more: contact_lines(owner),
                ..said(
                    "managed",
                    format!("This device is managed by {} (device {device}, generation {generation}).", make_printable(&owner.company)),
                )
            },
            Self::RolledBack { kind, detail } => Message {
                kind: Some(make_printable(kind)),
                more: vec![format!("Reason: {}", make_printable(detail))],
                ..said("rolled_back", rollback_text(detail).to_owned())
            },
            Self::Rejected { kind, detail } => Message {
                kind: Some(make_printable(kind)),
                more: vec![format!("Reason: {}", make_printable(detail)), format!("Code: {}", make_printable(kind))],
                ..said("rejected", advice::UNINSTALLABLE.to_owned())
            },
            Self::LedgerDamaged => Message {
                kind: Some("ledger_damaged".to_owned()),
                ..said(
                    "ledger_damaged",
                    "This device's own records were damaged and have been put aside. It enrolls again.".to_owned(),
                )
            },
            Self::OtherMachine => Message {
                kind: Some("other_machine".to_owned()),
                ..said(
                    "other_machine",
                    "This disk was copied from another device. This device makes a key of its own, and enrolls as what \
                     it is."
                        .to_owned(),
                )
            },
            Self::StateDamaged { what, so } => Message {
                kind: Some("state_damaged".to_owned()),
                ..said("state_damaged", format!("{what} was damaged and has been put aside. {so}"))
            },
            Self::Waiting {
                failure,
                pause,
                identity,
            } => {
                let mut message = failure_message("waiting", failure, identity);
                message.more.push(format!("Next try in {} s.", pause.as_secs().max(1)));
                message
            }
            Self::Stopped { failure, identity } => failure_message("stopped", failure, identity),
            Self::AtRest { why } => said("at_rest", make_printable(why)),
        }
    }
}

fn failure_message(state: &'static str, failure: &Failure, identity: Option<&HardwareIdentity>) -> Message {
    let mut more = vec![make_printable(&chain(failure))];
    if let Some(refusal) = failure.cause::<Refusal>() {
        let own = [&refusal.problem.detail, &refusal.problem.message];
        more.extend(own.into_iter().flatten().map(|text| make_printable(text)));
    }
    more.extend(identity.and_then(identifiers_to_read_out));
    more.push(format!("Code: {}", failure.kind()));
    Message { state, kind: Some(failure.kind().to_owned()), headline: failure.advice().to_owned(), more }
}

/// Returns the identifiers that an administrator asks for on the telephone.
fn identifiers_to_read_out(identity: &HardwareIdentity) -> Option<String> {
    let identifying: Vec<String> = identity
        .observations()
        .iter()
        .map(|one| &one.identifier)
        .filter(|one| one.kind().rank().is_some() || one.kind() == IdentifierKind::Model)
        .take(4)
        .map(ToString::to_string)
        .collect();
    (!identifying.is_empty()).then(|| format!("This device: {}", identifying.join(", ")))
}

fn rollback_text(detail: &str) -> &'static str {
    if install::is_rolled_back(detail) {
        "The installation did not succeed; the device is as it was. Its administrator has been told."
    } else {
        "The installation did not succeed, and not everything could be taken back. Its administrator has been told."
    }
}

/// Formats the download's progress, in steps that do not fill a console: a message is printed when it
/// changes.
fn download_progress(received: u64, total: u64) -> String {
    const LARGE_BYTES: u64 = 64 << 20;
    let step = if total < LARGE_BYTES { 25 } else { 10 };
    let percent = received.saturating_mul(100) / total.max(1) / step * step;
    format!("Fetching: {percent} % of {} MiB.", (total >> 20).max(1))
}

fn contact_lines(owner: &Owner) -> Vec<String> {
    let reach: Vec<String> = [&owner.contact_email, &owner.contact_phone]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| make_printable(text))
        .collect();
    let mut lines = Vec::new();
    if !reach.is_empty() {
        lines.push(format!("Contact: {}", reach.join(", ")));
    }
    lines.extend(owner.message.as_ref().map(|message| make_printable(message)));
    lines
}

fn make_printable(text: &str) -> String {
    plain(text, MAX_SHOWN_BYTES)
}

/// The time at which one stage of this process was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// The stage.
    pub stage: String,
    /// Microseconds from the start of the process to its end.
    pub done_after_us: u64,
}

/// The file for programs, with the last situation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusFile {
    /// Short name of the state.
    pub state: String,
    /// Short name of the failure, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The first line.
    pub headline: String,
    /// Further lines.
    pub more: Vec<String>,
    /// The time of the message.
    pub at: Timestamp,
    /// The stages that this process has completed.
    pub stages: Vec<StageTime>,
}

/// The console: reports situations to standard output, systemd and the status file.
pub struct Console {
    out: Box<dyn Write + Send>,
    status_file: PathBuf,
    stopwatch: Stopwatch,
    stages: Vec<StageTime>,
    last: Option<Message>,
}

impl Console {
    /// Makes a console that writes to `out` and to a status file.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>, status_file: PathBuf, stopwatch: Stopwatch) -> Self {
        Self { out, status_file, stopwatch, stages: Vec::new(), last: None }
    }

    /// Records that a stage is done; for a repeated stage, the latest time counts.
    pub fn record_stage(&mut self, stage: &str) {
        let elapsed = self.stopwatch.elapsed().as_micros();
        let done_after_us = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.stages.retain(|one| one.stage != stage);
        self.stages.push(StageTime { stage: stage.to_owned(), done_after_us });
        if let Some(last) = self.last.take() {
            self.store(&last);
            self.last = Some(last);
        }
    }

    /// Reports a situation, unless the last message was the same.
    pub fn say(&mut self, situation: Situation<'_>) {
        let message = situation.message();
        if self.last.as_ref() == Some(&message) {
            return;
        }
        let again =
            self.last.as_ref().is_some_and(|last| (last.state, &last.kind) == (message.state, &message.kind));
        // Output may be closed: a device also enrolls without a console.
        let _ = self.print(&message, again);
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(&message.headline)]);
        // Transient situations are not worth a durable write.
        if !matches!(situation, Situation::Contacting { .. } | Situation::Fetching { .. }) {
            self.store(&message);
        }
        self.last = Some(message);
    }

    /// Tells systemd that the process is ready.
    pub fn notify_ready(&self) {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    fn print(&mut self, message: &Message, again: bool) -> io::Result<()> {
        if !again || message.more.is_empty() {
            writeln!(self.out, "unbox: {}", message.headline)?;
        }
        // An explanation is not repeated at every try.
        let skip = if again { message.more.len().saturating_sub(1) } else { 0 };
        for line in message.more.iter().skip(skip) {
            writeln!(self.out, "unbox:   {line}")?;
        }
        self.out.flush()
    }

    fn store(&self, message: &Message) {
        let status = StatusFile {
            state: message.state.to_owned(),
            kind: message.kind.clone(),
            headline: message.headline.clone(),
            more: message.more.clone(),
            at: crate::clock::system(),
            stages: self.stages.clone(),
        };
        // Nothing depends on this file: if it cannot be written, the console has the message.
        let stored = files::to_json_lines(&self.status_file, &status)
            .and_then(|json| files::replace(&self.status_file, &json, files::PUBLIC_FILE));
        if let Err(error) = stored {
            tracing::debug!(error = %chain(&error), "the status file was not written");
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex},
    };
    use unbox_common::{identity::RawIdentifier, protocol::problem::Problem, refusal::RefusalKind};

    /// A console whose output can be read back.
    #[derive(Clone, Default)]
    pub(crate) struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn owner() -> Owner {
        Owner {
            company: "Acme\u{1b}]0;owned\u{7} AG".to_owned(),
            contact_email: "it@acme.example".to_owned(),
            contact_phone: String::new(),
            message: Some("Welcome.\r\n\u{202e}Sign in.".to_owned()),
        }
    }

    #[test]
    fn a_rollback_that_is_not_complete_does_not_say_that_the_device_is_as_it_was() {
        assert!(rollback_text("the DPC is not healthy").contains("as it was"));
        let left = rollback_text("the DPC is not healthy; not taken back: package tool could not be changed");
        assert!(left.contains("not everything could be taken back") && !left.contains("as it was"), "{left}");
    }

    #[test]
    fn the_owner_is_shown_and_nothing_of_it_is_obeyed() {
        let message = Situation::Granted { owner: &owner() }.message();
        assert_eq!(message.headline, "This device belongs to Acme ]0;owned AG.");
        assert_eq!(message.more, ["Contact: it@acme.example", "Welcome. Sign in."]);
    }

    #[test]
    fn a_refusal_says_what_to_do_and_what_to_read_out() {
        let raw = r#"[{"kind":"serial_number","value":"AB12","source":"smbios"},
            {"kind":"model","value":"Gateway 3","source":"smbios"}]"#;
        let raw: Vec<RawIdentifier> = serde_json::from_str(raw).unwrap();
        let identity = HardwareIdentity::from_raw(&raw).unwrap();
        let problem = Problem::new(RefusalKind::Disabled).message(Some("Lost? Call +41.\u{7}".to_owned()));
        let failure = Failure::from(Refusal { problem: problem.into(), retry_after: None });
        let situation = Situation::Waiting {
            failure: &failure,
            pause: Duration::from_secs(90),
            identity: Some(&identity),
        };
        let message = situation.message();
        assert_eq!(message.headline, "The owner has disabled this device.");
        assert_eq!(
            message.more,
            [
                "the server refused: disabled",
                "Lost? Call +41.",
                "This device: serial_number AB12, model Gateway 3",
                "Code: disabled",
                "Next try in 90 s.",
            ]
        );
    }

    #[test]
    fn a_download_of_any_size_fills_no_console() {
        for (total, lines) in [(4_u64 << 20, 5), (64 << 20, 11), (64 << 30, 11)] {
            let said: BTreeSet<String> =
                (0..=1000).map(|part| download_progress(total * part / 1000, total)).collect();
            assert_eq!(said.len(), lines, "{said:?}");
        }
        assert_eq!(download_progress(4 << 20, 4 << 20), "Fetching: 100 % of 4 MiB.");
        assert_eq!(download_progress(0, 0), "Fetching: 0 % of 1 MiB.");
    }

    #[test]
    fn what_was_explained_is_not_explained_at_every_try() {
        let folder = tempfile::tempdir().unwrap();
        let (paper, path) = (Paper::default(), folder.path().join("status.json"));
        let mut console = Console::new(Box::new(paper.clone()), path.clone(), Stopwatch::start());
        let problem = Problem::new(RefusalKind::Busy);
        let failure = Failure::from(Refusal { problem: problem.into(), retry_after: None });
        for seconds in [3, 5] {
            let pause = Duration::from_secs(seconds);
            console.say(Situation::Waiting { failure: &failure, pause, identity: None });
        }
        console.record_stage("handshake");
        console.say(Situation::Fetched);
        console.say(Situation::Fetched);
        assert_eq!(
            paper.text(),
            "unbox: The server is busy. The device tries again by itself.\n\
             unbox:   the server refused: busy\n\
             unbox:   Code: busy\n\
             unbox:   Next try in 3 s.\n\
             unbox:   Next try in 5 s.\n\
             unbox: Everything is here. The installation follows.\n"
        );
        let status = files::read(&path, 4096).unwrap().unwrap();
        let status: StatusFile = serde_json::from_slice(&status).unwrap();
        assert_eq!((status.state.as_str(), status.stages.len()), ("fetched", 1));
    }
}
