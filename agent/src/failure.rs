//! The one error type on the way from power-on to managed: the reason of a failure, and the party at
//! fault.
//!
//! Each failure has a [`Failure::kind`], from a closed set of short names, and a
//! [`Failure::disposition`]; the retry policy and the exit code read nothing else.

use crate::{
    boot::BootError,
    entropy::NoEntropy,
    files::FilesError,
    handover::HandoverError,
    handshake::KeyError,
    identity::io::SurveyError,
    install::{Fault, InstallError},
    ledger::{IllegalTransition, io::LedgerError},
    tpm::TpmError,
};
use std::{io, path::PathBuf, time::Duration};
use unbox_common::{
    digest::Sha256,
    payload::PayloadRejected,
    protocol::problem::Problem,
    refusal::{Disposition, RefusalKind},
    trust::VerifyError,
};

/// A failure, by the party at fault.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection to the server failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The server answered, but not as the protocol requires.
    #[error(transparent)]
    Misbehaved(#[from] Misbehaviour),
    /// The server refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The payload is not trusted, or not for this device now.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Something on this device is missing, full or broken.
    #[error(transparent)]
    Device(#[from] DeviceFault),
}

/// The connection to the server failed.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection: no network, unknown host name, or no listener.
    #[error("the server could not be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The server was too slow, or silent.
    #[error("the server did not answer in time")]
    TimedOut(#[source] reqwest::Error),
    /// The connection broke during a message.
    #[error("the connection to the server was cut")]
    Cut(#[source] reqwest::Error),
    /// The server's certificate does not chain to an anchor of this image, or names another server.
    #[error("the server's certificate is not one that this device trusts")]
    Untrusted(#[source] rustls::Error),
    /// The server's certificate is outside its validity: one of the two clocks is wrong.
    #[error("the server's certificate is not valid at this device's time")]
    OutsideItsTime(#[source] rustls::Error),
    /// The server rejects this device's certificate: another authority issues them now, or it has expired
    /// by the server's clock.
    #[error("the server does not accept this device's certificate")]
    CertificateRefused(#[source] rustls::Error),
    /// The server does not speak TLS 1.3, or not correctly.
    #[error("no TLS 1.3 connection with the server was possible")]
    Tls(#[source] rustls::Error),
    /// The host that a payload names for an artifact does not serve it. Its answer is not the server's,
    /// whatever it says.
    #[error("the host of artifact {digest} answered with status {status}")]
    ArtifactHost {
        /// Digest of the artifact.
        digest: Sha256,
        /// The HTTP status.
        status: u16,
    },
}

/// The server answered, but not as the protocol requires.
#[derive(Debug, thiserror::Error)]
pub enum Misbehaviour {
    /// The server redirected the device.
    #[error("the server redirects to another place (status {0}), which this device does not follow")]
    Redirected(u16),
    /// The HTTP status is not defined here by the protocol.
    #[error("the server answered with status {status}")]
    UnexpectedStatus {
        /// The HTTP status.
        status: u16,
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The answer's media type is wrong.
    #[error("the server's answer is not {expected}")]
    WrongContentType {
        /// The media type required here.
        expected: &'static str,
    },
    /// The answer is too large.
    #[error("the server's answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The answer could not be parsed.
    #[error("the server's {what} cannot be read")]
    Unreadable {
        /// Name of the message.
        what: &'static str,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// The server asked for a proof that the device did not offer.
    #[error("the server asks for the proof {0}, which this device did not offer")]
    ProofNotOffered(&'static str),
    /// The server asked for the proof `tpm` without a credential to open.
    #[error("the server asks for the TPM, and gives it nothing to open")]
    NoCredential,
    /// The server issued a certificate for another key.
    #[error("the server issued a certificate that is not for this device's key")]
    WrongCertificate,
    /// The server did not confirm that it stored the report.
    #[error("the server did not acknowledge the report")]
    NotAcknowledged,
    /// The server answered a range request with another range.
    #[error("the server sent another part of an artifact than the one that was asked for")]
    WrongRange,
}

/// The server's refusal, with everything it said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server refused: {}", problem.kind)]
pub struct Refusal {
    /// The problem document.
    pub problem: Box<Problem>,
    /// The earliest time for the next try.
    pub retry_after: Option<Duration>,
}

/// The payload is not one that this device may install.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// The signatures are not by keys that this device trusts.
    #[error("the payload is not signed by keys that this device trusts")]
    Untrusted(#[source] VerifyError),
    /// The signatures are good, but this version of the agent does not understand the whole payload.
    #[error("the payload asks for something that this version of the agent does not know")]
    Unreadable(#[source] VerifyError),
    /// The payload is not for this device, or not now.
    #[error("the payload was rejected")]
    Judged(#[source] PayloadRejected),
    /// The server offers only what was rejected, for the given reason.
    #[error("the server has no payload that this device can install{0}")]
    Nothing(String),
    /// The server of the artifact does not have it.
    #[error("artifact {0} is not where it should be")]
    ArtifactMissing(Sha256),
    /// The artifact is longer or shorter than the payload says.
    #[error("artifact {digest} is not {size} bytes long")]
    ArtifactSize {
        /// Digest of the artifact.
        digest: Sha256,
        /// Size according to the payload, in bytes.
        size: u64,
    },
    /// The artifact's digest differs from the payload's.
    #[error("artifact {expected} has another digest: {found}")]
    ArtifactDigest {
        /// Digest according to the payload.
        expected: Sha256,
        /// Digest of the fetched bytes.
        found: Sha256,
    },
}

/// Something on this device is missing, full or broken.
#[derive(Debug, thiserror::Error)]
pub enum DeviceFault {
    /// Configuration or trust is missing or invalid.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The identity could not be read or handed over.
    #[error(transparent)]
    Survey(#[from] SurveyError),
    /// The device's key is missing or unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The TLS configuration could not be built from the image's anchors.
    #[error("the image's trust anchors cannot be used")]
    Anchors(#[source] rustls::Error),
    /// The HTTP client could not be built.
    #[error("no connection could be prepared")]
    Client(#[source] reqwest::Error),
    /// The kernel gave no random numbers.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The disk has too little room for the artifacts.
    #[error("the disk is full: {needed} bytes are needed, {free} are free")]
    DiskFull {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A file could not be handed over to the other side.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// An artifact could not be written.
    #[error("an artifact could not be stored")]
    Artifact(#[source] io::Error),
    /// The ledger could not be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger does not allow the intended transition.
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    /// The installation failed before any change.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// Another process of the agent is at work on this device.
    #[error("another process of the agent is at work on this device")]
    Busy,
    /// The exchange belongs to another user, who could not read files written by this one.
    #[error("{} belongs to another user: start the unit, or run this as that user", .0.display())]
    NotOwner(PathBuf),
    /// An installation was rolled back for a temporary reason.
    #[error("the installation was undone, and is tried again")]
    RolledBack,
    /// The installed payload could not be removed.
    #[error("what was installed could not be taken away: {detail}")]
    ResetFailed {
        /// The reason.
        detail: String,
    },
    /// The ticket file does not hold a reset ticket.
    #[error("the ticket file does not hold a reset ticket: one line of printable characters")]
    NoTicket,
    /// The user did not confirm.
    #[error("nothing was changed, because nobody confirmed it: add --yes to go on without being asked")]
    NotConfirmed,
    /// Something else is in the place of the network side's folder.
    #[error("{} is no directory: `unbox-agent reset` puts it aside, and the device enrolls again", .0.display())]
    NoExchange(PathBuf),
    /// A file of the network side is damaged; it will be rewritten.
    #[error("{what} is damaged")]
    Damaged {
        /// The file, in words.
        what: &'static str,
    },
}

/// Converts faults of the device's parts into a [`Failure`].
macro_rules! device_fault {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Device(error.into())
            }
        }
    )*};
}

device_fault!(
    BootError,
    FilesError,
    HandoverError,
    IllegalTransition,
    InstallError,
    KeyError,
    LedgerError,
    NoEntropy,
    SurveyError,
);

impl Failure {
    /// Returns the short name, from a closed set; for a refusal, the server's.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Transport(error) => error.kind(),
            Self::Misbehaved(error) => error.kind(),
            Self::Refused(refusal) => refusal.problem.kind.name(),
            Self::Rejected(error) => error.kind(),
            Self::Device(error) => error.kind(),
        }
    }

    /// Returns the next action of the device.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            // If a payload is from the future, one of the two clocks is wrong; a network usually brings
            // the time.
            Self::Transport(_)
            | Self::Misbehaved(_)
            | Self::Rejected(Rejection::Judged(PayloadRejected::FromTheFuture { .. })) => Disposition::Retry,
            Self::Refused(refusal) => refusal.problem.kind.disposition(),
            // The server must offer something else, which takes an administrator.
            Self::Rejected(_) => Disposition::WaitForAdministrator,
            Self::Device(error) => error.disposition(),
        }
    }

    /// Returns the pause that the server asked for.
    #[must_use]
    pub const fn hint(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Misbehaved(Misbehaviour::UnexpectedStatus { retry_after, .. }) => *retry_after,
            _ => None,
        }
    }

    /// Returns the longest pause before the next try, if shorter than the disposition's: the time may
    /// arrive with the next packet of a time server.
    #[must_use]
    pub const fn longest_pause(&self) -> Duration {
        match self {
            Self::Transport(TransportError::OutsideItsTime(_))
            | Self::Rejected(Rejection::Judged(PayloadRejected::FromTheFuture { .. })) => CLOCK_SKEW_PAUSE,
            _ => Duration::MAX,
        }
    }

    /// Returns true if the server refused the token it was shown.
    #[must_use]
    pub fn is_about_the_token(&self) -> bool {
        let Self::Refused(refusal) = self else { return false };
        matches!(refusal.problem.kind, RefusalKind::InvalidToken | RefusalKind::RevokedToken)
    }

    /// Returns true if the server may be asking for a token, or for another one.
    #[must_use]
    pub fn asks_for_a_token(&self) -> bool {
        let Self::Refused(refusal) = self else { return false };
        self.is_about_the_token() || refusal.problem.kind == RefusalKind::ProofRequired
    }

    /// Returns true if only another process may succeed: units are given the TPM's device when they start.
    #[must_use]
    pub const fn needs_a_new_process(&self) -> bool {
        matches!(self, Self::Device(DeviceFault::Key(KeyError::Tpm(TpmError::Absent))))
    }

    /// Returns the advice for a person in front of the device.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Transport(error) => error.advice(),
            Self::Misbehaved(_) => {
                "The server, or something between it and this device, does not work as it should. The device tries \
                 again by itself; if this stays, tell your IT department."
            }
            Self::Refused(refusal) => refusal.problem.kind.advice(),
            Self::Rejected(Rejection::Judged(PayloadRejected::FromTheFuture { .. })) => {
                RefusalKind::ClockSkew.advice()
            }
            Self::Rejected(_) => UNINSTALLABLE,
            Self::Device(error) => error.advice(),
        }
    }
}

/// The longest pause while the clock is the only obstacle.
const CLOCK_SKEW_PAUSE: Duration = Duration::from_secs(30);

/// The way on from the records of a newer agent.
const NEWER: &str = "A newer version of the agent wrote this device's records. Install that version again, or give \
                     the records up with `unbox-agent reset --forget-newer`.";

/// The advice about a payload that this device will not install.
pub(crate) const UNINSTALLABLE: &str = "What the server offers cannot be installed on this device. An administrator has to look \
    at the configuration.";

impl TransportError {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut(_) => "timed_out",
            Self::Cut(_) => "connection_cut",
            Self::Untrusted(_) => "server_untrusted",
            Self::OutsideItsTime(_) => RefusalKind::ClockSkew.name(),
            Self::CertificateRefused(_) => "certificate_refused",
            Self::Tls(_) => "tls_failed",
            Self::ArtifactHost { .. } => "artifact_host",
        }
    }

    const fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::TimedOut(_) | Self::Cut(_) => {
                "Check that this device is connected to a network that reaches the server. It tries again by itself."
            }
            Self::Untrusted(_) => {
                "Another server answers in the place of the right one, or this image is for another server. Try \
                 another network, or tell your IT department."
            }
            Self::OutsideItsTime(_) => RefusalKind::ClockSkew.advice(),
            Self::ArtifactHost { .. } => {
                "The place that a part of the configuration is fetched from does not give it. The device tries again \
                 by itself; if this stays, tell your IT department."
            }
            Self::CertificateRefused(_) => {
                "The server replaced what it knows its devices by. This device enrolls again by itself."
            }
            Self::Tls(_) => {
                "Something between this device and the server changes or blocks the connection. Try another network."
            }
        }
    }
}

impl Misbehaviour {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Redirected(_) => "redirected",
            Self::UnexpectedStatus { .. } => "unexpected_status",
            Self::WrongContentType { .. } => "wrong_content_type",
            Self::TooLarge { .. } => "answer_too_large",
            Self::Unreadable { .. } => "answer_unreadable",
            Self::ProofNotOffered(_) => "proof_not_offered",
            Self::NoCredential => "no_credential",
            Self::WrongCertificate => "wrong_certificate",
            Self::NotAcknowledged => "not_acknowledged",
            Self::WrongRange => "wrong_range",
        }
    }
}

impl Rejection {
    /// Returns true if this version of the payload is refused for good, because of its content and not of
    /// the time or the way it arrived.
    #[must_use]
    pub const fn is_about_the_payload(&self) -> bool {
        match self {
            Self::Judged(rejected) => rejected.is_about_contents(),
            Self::Unreadable(_) => true,
            // The artifact's host may fix that without a new version.
            Self::ArtifactMissing(_)
            | Self::ArtifactSize { .. }
            | Self::ArtifactDigest { .. }
            | Self::Untrusted(_)
            | Self::Nothing(_) => false,
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Untrusted(_) => "payload_untrusted",
            Self::Unreadable(_) => "payload_unreadable",
            Self::Judged(rejected) => rejected.kind(),
            Self::Nothing(_) => "payload_none",
            Self::ArtifactMissing(_) => "artifact_missing",
            Self::ArtifactSize { .. } => "artifact_size",
            Self::ArtifactDigest { .. } => "artifact_digest",
        }
    }
}

impl DeviceFault {
    fn kind(&self) -> &'static str {
        match self {
            Self::Boot(BootError::NoServer) => "no_server",
            Self::Boot(BootError::NoTrust) | Self::Anchors(_) => "no_trust",
            Self::Boot(BootError::Ledger(error)) | Self::Ledger(error) => error.kind(),
            Self::Boot(_) => "configuration",
            Self::Survey(SurveyError::Identity(_)) => "no_identity",
            Self::Key(
                KeyError::NotAKey(_) | KeyError::Exposed(_) | KeyError::Damaged(_) | KeyError::Unreadable(_),
            ) => "key_unusable",
            Self::Key(KeyError::NoTpm) => "no_tpm",
            Self::Key(KeyError::Tpm(TpmError::OtherTpm)) => "other_tpm",
            Self::Key(KeyError::Tpm(_)) => "tpm_failed",
            Self::Entropy(_) | Self::Key(KeyError::Generate(_) | KeyError::Sign(_)) => "no_entropy",
            Self::DiskFull { .. } => "disk_full",
            Self::Install(error) => error.kind(),
            Self::Transition(_) => "ledger_transition",
            Self::NoExchange(_) | Self::Damaged { .. } => "state_damaged",
            Self::Busy => "busy_here",
            Self::NotOwner(_) => "not_owner",
            Self::RolledBack => "rolled_back",
            Self::ResetFailed { .. } => "reset_failed",
            Self::NoTicket => "no_ticket",
            Self::NotConfirmed => "not_confirmed",
            Self::Files(error)
            | Self::Key(KeyError::Files(error))
            | Self::Handover(HandoverError::Files(error)) => storage_kind(error.io()),
            Self::Survey(_) | Self::Client(_) | Self::Handover(HandoverError::Document(_)) => "device_state",
            Self::Artifact(error) => storage_kind(Some(error)),
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::Boot(_)
            | Self::Anchors(_)
            | Self::Key(KeyError::NotAKey(_) | KeyError::Exposed(_))
            | Self::Survey(SurveyError::Identity(_))
            | Self::NoTicket
            | Self::NotConfirmed
            | Self::NotOwner(_) => Disposition::Fatal,
            Self::Ledger(error) if error.is_newer() => Disposition::Fatal,
            Self::Install(error) => error.disposition(),
            Self::DiskFull { .. }
            | Self::Files(_)
            | Self::Key(
                KeyError::Files(_)
                | KeyError::Damaged(_)
                | KeyError::Unreadable(_)
                | KeyError::NoTpm
                | KeyError::Tpm(TpmError::OtherTpm),
            )
            | Self::Handover(_)
            | Self::Artifact(_)
            | Self::Ledger(_)
            | Self::NoExchange(_)
            | Self::Damaged { .. } => Disposition::WaitForAdministrator,
            Self::Survey(_)
            | Self::Client(_)
            | Self::Entropy(_)
            | Self::Key(KeyError::Generate(_) | KeyError::Sign(_) | KeyError::Tpm(_))
            | Self::Transition(_)
            | Self::Busy
            | Self::RolledBack
            | Self::ResetFailed { .. } => Disposition::Retry,
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Survey(SurveyError::Identity(_)) => RefusalKind::InvalidIdentifier.advice(),
            Self::Install(error) if error.fault() == Fault::Payload => UNINSTALLABLE,
            Self::Install(error) if error.is_newer() => NEWER,
            _ if matches!(self.kind(), "disk_full" | "no_space") => {
                "The disk of this device is full. Free some space; it tries again by itself."
            }
            Self::Busy | Self::Install(InstallError::Busy) => {
                "Another process of the agent is at work on this device. Wait until it is done."
            }
            Self::Ledger(error) | Self::Boot(BootError::Ledger(error)) if error.is_newer() => NEWER,
            Self::NotConfirmed => "Nothing was changed.",
            Self::Key(
                KeyError::NotAKey(_) | KeyError::Exposed(_) | KeyError::Damaged(_) | KeyError::Unreadable(_),
            ) => {
                "The key of this device cannot be used. Put the right one back, or have a new one made with \
                 `unbox-agent reset`."
            }
            Self::Boot(_) | Self::Anchors(_) => {
                "The image of this device is not set up for enrollment. Tell your IT department what is written here."
            }
            Self::Key(KeyError::Tpm(TpmError::OtherTpm)) => {
                "This disk belongs to another device, or this device's board was replaced. If it is to be enrolled as \
                 it is, reset it with `unbox-agent reset`."
            }
            Self::Key(KeyError::Tpm(TpmError::Absent)) => {
                "The TPM that holds the key of this device is not there. The device tries again by itself. If the TPM is \
                 gone for good, have a new key made with `unbox-agent reset`."
            }
            Self::Key(KeyError::Tpm(_) | KeyError::NoTpm) => {
                "The TPM of this device does not work as it should. Look at the firmware's settings, or tell your IT \
                 department what is written here."
            }
            _ => "This device could not keep its state. Tell your IT department what is written here.",
        }
    }
}

/// Names a storage error: a full disk has its own kind, all others share one.
fn storage_kind(error: Option<&io::Error>) -> &'static str {
    match error.map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => "disk_full",
        _ => "storage_failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use unbox_common::timestamp::Timestamp;

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let artifact = |kind: io::ErrorKind| Failure::from(DeviceFault::Artifact(kind.into()));
        assert_eq!(artifact(io::ErrorKind::StorageFull).kind(), "disk_full");
        assert_eq!(artifact(io::ErrorKind::ReadOnlyFilesystem).kind(), "storage_failed");
        assert!(artifact(io::ErrorKind::StorageFull).advice().contains("full"));
    }

    #[test]
    fn a_clock_that_is_wrong_is_waited_for_in_short_steps() {
        let judged = PayloadRejected::FromTheFuture { issued: Timestamp(2_000), now: Timestamp(1_000) };
        let failure = Failure::from(Rejection::Judged(judged));
        assert_eq!((failure.kind(), failure.disposition()), ("clock_skew", Disposition::Retry));
        assert_eq!(failure.longest_pause(), Duration::from_secs(30));
    }

    #[test]
    fn nobody_is_called_because_two_processes_meet() {
        for failure in [DeviceFault::Busy, DeviceFault::Install(InstallError::Busy)] {
            let failure = Failure::from(failure);
            assert_eq!(failure.disposition(), Disposition::Retry);
            assert!(failure.advice().contains("Wait until it is done"));
        }
    }

    #[test]
    fn a_key_that_the_disk_has_no_room_for_is_no_unusable_key() {
        let unwritten = |kind: io::ErrorKind| {
            let path = PathBuf::from("device.key");
            Failure::from(KeyError::from(FilesError::Write { path, source: kind.into() }))
        };
        for (failure, kind, disposition) in [
            (unwritten(io::ErrorKind::StorageFull), "disk_full", Disposition::WaitForAdministrator),
            (
                unwritten(io::ErrorKind::ReadOnlyFilesystem),
                "storage_failed",
                Disposition::WaitForAdministrator,
            ),
            (KeyError::Generate(NoEntropy).into(), "no_entropy", Disposition::Retry),
            (KeyError::NotAKey("device.key".into()).into(), "key_unusable", Disposition::Fatal),
        ] {
            assert_eq!((failure.kind(), failure.disposition()), (kind, disposition));
        }
        assert!(unwritten(io::ErrorKind::StorageFull).advice().contains("full"));
    }

    /// Returns the kinds between quotes; those of a single word look like any word, and are left out.
    fn kinds_in(text: &str, quote: char) -> BTreeSet<&str> {
        let is_kind =
            |word: &&str| word.contains('_') && word.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
        text.split(quote).skip(1).step_by(2).filter(is_kind).collect()
    }

    #[test]
    fn the_readme_lists_every_kind_and_no_other() {
        let code = |file: &'static str| file.split("#[cfg(test)]").next().unwrap();
        let mut kinds = kinds_in(code(include_str!("failure.rs")), '"');
        let ledger = kinds_in(code(include_str!("ledger/io.rs")), '"');
        kinds.extend(ledger.into_iter().filter(|kind| kind.starts_with("ledger_")));
        // The installer's own name for a full disk, which is only compared with here.
        kinds.remove("no_space");
        kinds.insert(RefusalKind::ClockSkew.name());
        let readme = include_str!("../README.md").split("## Failures").nth(1).unwrap();
        let table = readme.split("Retries are").next().unwrap();
        assert_eq!(kinds_in(table, '`'), kinds);
    }

    #[test]
    fn a_refusal_speaks_with_the_servers_words() {
        for kind in RefusalKind::ALL {
            let refused = Failure::from(Refusal {
                problem: Box::new(Problem::new(kind)),
                retry_after: Some(Duration::from_secs(7)),
            });
            assert_eq!(refused.kind(), kind.name());
            assert_eq!(refused.disposition(), kind.disposition());
            assert_eq!(refused.advice(), kind.advice());
            assert_eq!(refused.hint(), Some(Duration::from_secs(7)));
        }
    }
}
