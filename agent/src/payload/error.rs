//! The reasons why a payload or its artifacts cannot be used, each with its meaning for the device.

use crate::{
    failure::{CLOCK_SKEW_PAUSE, Diagnose, advice, diagnose_storage},
    files::FilesError,
};
use std::{io, time::Duration};
use unbox_common::{
    digest::Sha256,
    payload::PayloadRejected,
    refusal::{Disposition, RefusalKind},
    trust::VerifyError,
};

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

/// An artifact's host does not serve it as it should.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactHostError {
    /// The host that a payload names for an artifact does not serve it. Its answer is not the server's,
    /// whatever it says.
    #[error("the host of artifact {digest} answered with status {status}")]
    Status {
        /// Digest of the artifact.
        digest: Sha256,
        /// The HTTP status.
        status: u16,
    },
    /// The server answered a range request with another range.
    #[error("the server sent another part of an artifact than the one that was asked for")]
    WrongRange,
}

/// An artifact could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The disk has too little room for the artifacts.
    #[error("the disk is full: {needed} bytes are needed, {free} are free")]
    DiskFull {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// An artifact could not be written.
    #[error("an artifact could not be stored")]
    Artifact(#[source] io::Error),
}

/// A stored grant could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The file could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The file is not a grant; it will be rewritten.
    #[error("the grant in the exchange is damaged")]
    Damaged,
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

    /// Returns true if one of the two clocks is wrong; a network usually brings the time.
    const fn is_about_the_clock(&self) -> bool {
        matches!(self, Self::Judged(PayloadRejected::FromTheFuture { .. }))
    }
}

impl Diagnose for Rejection {
    fn kind(&self) -> &'static str {
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

    fn disposition(&self) -> Disposition {
        if self.is_about_the_clock() {
            Disposition::Retry
        } else {
            // The server must offer something else, which takes an administrator.
            Disposition::WaitForAdministrator
        }
    }

    fn advice(&self) -> &'static str {
        if self.is_about_the_clock() { RefusalKind::ClockSkew.advice() } else { advice::UNINSTALLABLE }
    }

    fn longest_pause(&self) -> Duration {
        if self.is_about_the_clock() { CLOCK_SKEW_PAUSE } else { Duration::MAX }
    }
}

impl Diagnose for ArtifactHostError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Status { .. } => "artifact_host",
            Self::WrongRange => "wrong_range",
        }
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Status { .. } => {
                "The place that a part of the configuration is fetched from does not give it. The device tries again \
                 by itself; if this stays, tell your IT department."
            }
            Self::WrongRange => advice::MISBEHAVED,
        }
    }
}

impl Diagnose for StorageError {
    fn kind(&self) -> &'static str {
        match self {
            Self::DiskFull { .. } => "disk_full",
            Self::Artifact(error) => diagnose_storage(Some(error)).0,
        }
    }

    fn disposition(&self) -> Disposition {
        Disposition::WaitForAdministrator
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::DiskFull { .. } => advice::DISK_FULL,
            Self::Artifact(error) => diagnose_storage(Some(error)).1,
        }
    }
}

impl Diagnose for GrantError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Files(error) => error.kind(),
            Self::Damaged => "state_damaged",
        }
    }

    fn disposition(&self) -> Disposition {
        Disposition::WaitForAdministrator
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Files(error) => error.advice(),
            Self::Damaged => advice::STATE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::timestamp::Timestamp;

    #[test]
    fn a_full_disk_is_told_from_other_trouble() {
        let artifact = |kind: io::ErrorKind| StorageError::Artifact(kind.into());
        assert_eq!(artifact(io::ErrorKind::StorageFull).kind(), "disk_full");
        assert_eq!(artifact(io::ErrorKind::ReadOnlyFilesystem).kind(), "storage_failed");
        assert!(artifact(io::ErrorKind::StorageFull).advice().contains("full"));
    }

    #[test]
    fn a_clock_that_is_wrong_is_waited_for_in_short_steps() {
        let judged = PayloadRejected::FromTheFuture { issued: Timestamp(2_000), now: Timestamp(1_000) };
        let rejection = Rejection::Judged(judged);
        assert_eq!((rejection.kind(), rejection.disposition()), ("clock_skew", Disposition::Retry));
        assert_eq!(rejection.longest_pause(), Duration::from_secs(30));
    }
}
