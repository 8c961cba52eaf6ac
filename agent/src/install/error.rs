//! Why an installation did not take place, whose fault that is, and what the device does next.

use super::{
    Failure, PlanError, Resource, TargetError,
    io::{ArchiveError, ArtifactError, SystemError},
    record::UnusableDocument,
};
use crate::{files::FilesError, programs::ProgramError};
use std::{error::Error, io, path::PathBuf};
use unbox_common::refusal::Disposition;

/// Who has to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Whoever made the payload: this device will not install it, however often it tries.
    Payload,
    /// This device: it is full, broken, busy, or not as the payload expects it.
    Device,
}

/// An installation that did not take place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Another process of the agent is at it.
    #[error("another installation is in progress on this device")]
    Busy,
    /// An installation was neither completed nor taken back yet.
    #[error("an earlier installation has to be brought to its end first")]
    Unfinished(#[source] Option<Box<InstallError>>),
    /// The stage's own files could not be read or written.
    #[error("the state of the installation could not be kept")]
    Store(#[source] FilesError),
    /// A document of the stage could not be made.
    #[error("the state of the installation could not be put into words")]
    Serialise(#[source] serde_json::Error),
    /// The journal of a transaction cannot be used.
    #[error("the journal of the last installation cannot be used")]
    Journal(#[source] UnusableDocument),
    /// The record of what is installed cannot be used.
    #[error("the record of what is installed cannot be used")]
    Record(#[source] UnusableDocument),
    /// An artifact could not be read.
    #[error("an artifact of the payload could not be read")]
    Artifact(#[source] io::Error),
    /// An artifact could not be kept.
    #[error("an artifact of the payload could not be kept")]
    Keep(#[source] FilesError),
    /// The DPC's archive is not one that is unpacked.
    #[error("the DPC's archive cannot be used")]
    Archive(#[source] ArchiveError),
    /// A package file could not be read.
    #[error("a package of the payload cannot be used")]
    Package(#[source] SystemError),
    /// The payload does not make sense on this device.
    #[error("the payload cannot be installed on this device")]
    Target(#[source] TargetError),
    /// There would be no way back.
    #[error("the payload could be installed, but not taken back")]
    Plan(#[source] PlanError),
    /// A path cannot be used.
    #[error("a path of the payload cannot be used on this device")]
    Path(#[source] FilesError),
    /// The present state of something could not be found out.
    #[error("the present state of {resource} could not be found out")]
    Look {
        /// What.
        resource: Resource,
        /// The cause.
        #[source]
        source: SystemError,
    },
    /// How much room there is could not be found out.
    #[error("the room on the disk could not be found out")]
    Room(#[source] io::Error),
    /// There is not enough room.
    #[error("{} has {free} bytes free, and the installation needs {needed}", path.display())]
    NoRoom {
        /// A directory on the file system.
        path: PathBuf,
        /// What is needed, in bytes.
        needed: u64,
        /// What is free, in bytes.
        free: u64,
    },
    /// A step failed.
    #[error("{step} could not be changed")]
    Step {
        /// What was to change.
        step: String,
        /// The cause.
        #[source]
        source: SystemError,
    },
    /// Everything was in place, but did not work.
    #[error("the DPC is not healthy: {0}")]
    Unhealthy(String),
    /// The device lost power, or the agent crashed, again and again.
    #[error("the installation was interrupted {0} times")]
    Interrupted(usize),
}

/// The closed set of reasons, as reports carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Busy,
    Unfinished,
    StateUnusable,
    ArtifactMissing,
    ArtifactChanged,
    ArchiveRefused,
    PackageRefused,
    PayloadContradictory,
    DeviceLacks,
    NoWayBack,
    PathRefused,
    NoSpace,
    ReadOnly,
    NotPermitted,
    FileFailed,
    ProgramFailed,
    KernelRefused,
    PackagesBusy,
    NoEffect,
    Unsupported,
    Unhealthy,
    Interrupted,
}

impl Reason {
    /// Name, fault and disposition of each: the table of `README.md`.
    const fn row(self) -> (&'static str, Fault, Disposition) {
        use Disposition::{Retry, WaitForAdministrator};
        use Fault::{Device, Payload};
        match self {
            Self::Busy => ("install_busy", Device, Retry),
            Self::Unfinished => ("install_unfinished", Device, Retry),
            Self::StateUnusable => ("install_state_unusable", Device, WaitForAdministrator),
            Self::ArtifactMissing => ("artifact_missing", Device, Retry),
            Self::ArtifactChanged => ("artifact_changed", Device, Retry),
            Self::ArchiveRefused => ("archive_refused", Payload, WaitForAdministrator),
            Self::PackageRefused => ("package_refused", Payload, WaitForAdministrator),
            Self::PayloadContradictory => ("payload_contradictory", Payload, WaitForAdministrator),
            Self::DeviceLacks => ("device_lacks", Payload, WaitForAdministrator),
            Self::NoWayBack => ("no_way_back", Device, WaitForAdministrator),
            Self::PathRefused => ("path_refused", Payload, WaitForAdministrator),
            Self::NoSpace => ("no_space", Device, Retry),
            Self::ReadOnly => ("read_only", Device, WaitForAdministrator),
            Self::NotPermitted => ("not_permitted", Device, WaitForAdministrator),
            Self::FileFailed => ("file_failed", Device, Retry),
            Self::ProgramFailed => ("program_failed", Payload, WaitForAdministrator),
            Self::KernelRefused => ("kernel_refused", Payload, WaitForAdministrator),
            Self::PackagesBusy => ("packages_busy", Device, Retry),
            Self::NoEffect => ("no_effect", Payload, WaitForAdministrator),
            Self::Unsupported => ("install_unsupported", Payload, WaitForAdministrator),
            Self::Unhealthy => ("unhealthy", Payload, WaitForAdministrator),
            Self::Interrupted => ("interrupted", Device, Retry),
        }
    }

    fn of_io(error: &io::Error) -> Self {
        if let Some(artifact) = ArtifactError::within(error) {
            return match artifact {
                ArtifactError::Missing(_) => Self::ArtifactMissing,
                ArtifactError::Changed(_) => Self::ArtifactChanged,
            };
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::PermissionDenied => Self::NotPermitted,
            _ => Self::FileFailed,
        }
    }

    fn of_files(error: &FilesError) -> Self {
        match error {
            FilesError::Read { source, .. } | FilesError::Write { source, .. } => Self::of_io(source),
            FilesError::TooLarge { .. } => Self::FileFailed,
            FilesError::Blocked { .. } | FilesError::Forbidden { .. } => Self::PathRefused,
        }
    }

    fn of_archive(error: &ArchiveError) -> Self {
        match error {
            ArchiveError::Write { source, .. } => match Self::of_io(source) {
                Self::FileFailed => Self::ArchiveRefused,
                reason => reason,
            },
            ArchiveError::Unreadable(source) if ArtifactError::within(source).is_some() => {
                Self::of_io(source)
            }
            _ => Self::ArchiveRefused,
        }
    }

    fn of_system(error: &SystemError) -> Self {
        match error {
            SystemError::Files(error) => Self::of_files(error),
            SystemError::Archive(error) => Self::of_archive(error),
            SystemError::Program(ProgramError::TooSlow { .. } | ProgramError::Failed { .. }) => {
                Self::ProgramFailed
            }
            SystemError::Kernel { .. } => Self::KernelRefused,
            SystemError::PackagesBusy => Self::PackagesBusy,
            SystemError::NoEffect { .. } => Self::NoEffect,
            SystemError::Program(ProgramError::Start { .. } | ProgramError::Wait { .. })
            | SystemError::Unsupported { .. } => Self::Unsupported,
        }
    }

    fn of_target(error: &TargetError) -> Self {
        match error {
            TargetError::NoUser(_)
            | TargetError::NoGroup(_)
            | TargetError::NoHome(_)
            | TargetError::NoTimeZone(_)
            | TargetError::NoSysctl(_) => Self::DeviceLacks,
            TargetError::WrongPackage { .. } => Self::PackageRefused,
            TargetError::NoUnitFile(_) => Self::ArchiveRefused,
            TargetError::Reserved { .. } | TargetError::Path(_) => Self::PathRefused,
            TargetError::Unsupported(_) => Self::Unsupported,
            TargetError::Contradiction(_)
            | TargetError::Nested { .. }
            | TargetError::ExtrasWithoutService
            | TargetError::HealthWithoutUnit
            | TargetError::Name(_) => Self::PayloadContradictory,
        }
    }
}

impl InstallError {
    /// The short name that reports carry, from a closed set: the table of `README.md`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.reason().row().0
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.reason().row().1
    }

    /// What the device does next.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        self.reason().row().2
    }

    /// The same as it is journalled and reported.
    #[must_use]
    pub fn failure(&self) -> Failure {
        let mut detail = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            detail = format!("{detail}: {error}");
            cause = error.source();
        }
        Failure { kind: self.kind().to_owned(), detail, disposition: self.disposition() }
    }

    /// Whether somebody else put something in the way since a path was managed.
    pub(super) fn is_in_the_way(&self) -> bool {
        matches!(
            self,
            Self::Look { source: SystemError::Files(FilesError::Blocked { .. }), .. }
                | Self::Step { source: SystemError::Files(FilesError::Blocked { .. }), .. }
        )
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Busy => Reason::Busy,
            Self::Unfinished(_) => Reason::Unfinished,
            Self::Serialise(_) | Self::Journal(_) | Self::Record(_) => Reason::StateUnusable,
            Self::Store(error) | Self::Keep(error) | Self::Path(error) => Reason::of_files(error),
            Self::Artifact(error) | Self::Room(error) => Reason::of_io(error),
            Self::Archive(error) => Reason::of_archive(error),
            Self::Package(error) => match Reason::of_system(error) {
                Reason::ProgramFailed => Reason::PackageRefused,
                reason => reason,
            },
            Self::Target(error) => Reason::of_target(error),
            Self::Plan(PlanError::NoWayBack(_)) => Reason::NoWayBack,
            Self::Plan(PlanError::InTheWay(_)) => Reason::PathRefused,
            Self::Look { source, .. } | Self::Step { source, .. } => Reason::of_system(source),
            Self::NoRoom { .. } => Reason::NoSpace,
            Self::Unhealthy(_) => Reason::Unhealthy,
            Self::Interrupted(_) => Reason::Interrupted,
        }
    }
}
