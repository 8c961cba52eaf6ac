//! The reason for a failed installation, the party at fault, and the next action of the device.

use super::{
    Failure, PlanError, Resource, TargetError,
    io::{ArchiveError, ArtifactError, SystemError},
    record::UnusableDocument,
};
use crate::{
    failure::{Diagnose, advice},
    files::FilesError,
    programs::ProgramError,
};
use std::{error::Error, io, path::PathBuf};
use unbox_common::refusal::Disposition;

/// The party that has to change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The payload's author: this device will never install it as it is.
    Payload,
    /// This device: it is full, broken, busy, or not as the payload expects it.
    Device,
}

/// The reason why an installation did not take place.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Another process of the agent is installing.
    #[error("another installation is in progress on this device")]
    Busy,
    /// An earlier installation was neither completed nor rolled back yet.
    #[error("an earlier installation has to be brought to its end first")]
    Unfinished(#[source] Option<Box<InstallError>>),
    /// The stage's own files could not be read or written.
    #[error("the state of the installation could not be kept")]
    Store(#[source] FilesError),
    /// A document of the stage could not be serialized.
    #[error("the state of the installation could not be put into words")]
    Serialise(#[source] serde_json::Error),
    /// The journal of a transaction is unusable.
    #[error("the journal of the last installation cannot be used")]
    Journal(#[source] UnusableDocument),
    /// The record of the installed payload is unusable.
    #[error("the record of what is installed cannot be used")]
    Record(#[source] UnusableDocument),
    /// An artifact could not be read.
    #[error("an artifact of the payload could not be read")]
    Artifact(#[source] io::Error),
    /// An artifact could not be stored.
    #[error("an artifact of the payload could not be kept")]
    Keep(#[source] FilesError),
    /// The DPC's archive was refused.
    #[error("the DPC's archive cannot be used")]
    Archive(#[source] ArchiveError),
    /// A package file could not be read.
    #[error("a package of the payload cannot be used")]
    Package(#[source] SystemError),
    /// The payload does not make sense on this device.
    #[error("the payload cannot be installed on this device")]
    Target(#[source] TargetError),
    /// The payload could not be rolled back.
    #[error("the payload could be installed, but not taken back")]
    Plan(#[source] PlanError),
    /// A path of the payload is unusable.
    #[error("a path of the payload cannot be used on this device")]
    Path(#[source] FilesError),
    /// The current state of a resource could not be determined.
    #[error("the present state of {resource} could not be found out")]
    Look {
        /// The resource.
        resource: Resource,
        /// The cause.
        #[source]
        source: SystemError,
    },
    /// The free room could not be determined.
    #[error("the room on the disk could not be found out")]
    Room(#[source] io::Error),
    /// The disk has too little room.
    #[error("{} has {free} bytes free, and the installation needs {needed}", path.display())]
    NoRoom {
        /// A directory on the file system.
        path: PathBuf,
        /// The bytes needed.
        needed: u64,
        /// The bytes free.
        free: u64,
    },
    /// A step failed.
    #[error("{step} could not be changed")]
    Step {
        /// The resource that was to change.
        step: String,
        /// The cause.
        #[source]
        source: SystemError,
    },
    /// Every step succeeded, but the result does not work.
    #[error("the DPC is not healthy: {0}")]
    Unhealthy(String),
    /// The device lost power, or the agent crashed, too many times.
    #[error("the installation was interrupted {0} times")]
    Interrupted(usize),
}

impl Diagnose for InstallError {
    fn kind(&self) -> &'static str {
        Self::kind(self)
    }

    fn disposition(&self) -> Disposition {
        Self::disposition(self)
    }

    fn advice(&self) -> &'static str {
        match self.reason() {
            reason if reason.row().1 == Fault::Payload => advice::UNINSTALLABLE,
            _ if self.is_newer() => advice::NEWER,
            Reason::NoSpace => advice::DISK_FULL,
            Reason::Busy => advice::BUSY,
            _ => advice::STATE,
        }
    }
}

/// The closed set of reasons in reports.
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
    /// Returns name, fault and disposition: the table in `README.md`.
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

    fn from_io(error: &io::Error) -> Self {
        if let Some(artifact) = ArtifactError::find_in(error) {
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

    fn from_files(error: &FilesError) -> Self {
        match error {
            FilesError::Read { source, .. } | FilesError::Write { source, .. } => Self::from_io(source),
            FilesError::TooLarge { .. } => Self::FileFailed,
            FilesError::Blocked { .. } | FilesError::Forbidden { .. } => Self::PathRefused,
        }
    }

    fn from_archive(error: &ArchiveError) -> Self {
        match error {
            ArchiveError::Write { source, .. } => match Self::from_io(source) {
                Self::FileFailed => Self::ArchiveRefused,
                reason => reason,
            },
            ArchiveError::Unreadable(source) if ArtifactError::find_in(source).is_some() => {
                Self::from_io(source)
            }
            _ => Self::ArchiveRefused,
        }
    }

    fn from_system(error: &SystemError) -> Self {
        match error {
            SystemError::Files(error) => Self::from_files(error),
            SystemError::Archive(error) => Self::from_archive(error),
            SystemError::Program(ProgramError::TooSlow { .. } | ProgramError::Failed { .. }) => {
                Self::ProgramFailed
            }
            SystemError::Kernel { .. } => Self::KernelRefused,
            SystemError::PackagesBusy(_) => Self::PackagesBusy,
            SystemError::NoEffect { .. } => Self::NoEffect,
            SystemError::Program(ProgramError::Start { .. } | ProgramError::Wait { .. })
            | SystemError::Unsupported { .. } => Self::Unsupported,
        }
    }

    fn from_target(error: &TargetError) -> Self {
        match error {
            TargetError::NoUser(_)
            | TargetError::NoGroup(_)
            | TargetError::NoHome(_)
            | TargetError::NoTimeZone(_)
            | TargetError::NoSysctl(_) => Self::DeviceLacks,
            TargetError::WrongPackage { .. } | TargetError::PackageUnfit { .. } => Self::PackageRefused,
            TargetError::NoUnitFile(_) => Self::ArchiveRefused,
            TargetError::Reserved { .. }
            | TargetError::Path(_)
            | TargetError::Policy(_)
            | TargetError::Unit(_) => Self::PathRefused,
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
    /// Returns the short name for reports, from a closed set: the table in `README.md`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.reason().row().0
    }

    /// Returns the party at fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.reason().row().1
    }

    /// Returns the next action of the device.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        self.reason().row().2
    }

    /// Converts the error into the form for journal and reports.
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

    /// Returns true if nothing was begun because there is too little room.
    pub(super) fn is_out_of_space(&self) -> bool {
        self.reason() == Reason::NoSpace
    }

    /// Returns true if a newer agent wrote the records of what is installed.
    pub(crate) const fn is_newer(&self) -> bool {
        matches!(self, Self::Journal(UnusableDocument::TooNew(_)) | Self::Record(UnusableDocument::TooNew(_)))
    }

    /// Returns true if the operating system does not allow it.
    pub(super) fn is_not_permitted(&self) -> bool {
        self.reason() == Reason::NotPermitted
    }

    /// Returns true if somebody else has put an obstacle in a managed path.
    pub(super) fn is_obstruction(&self) -> bool {
        matches!(
            self,
            Self::Look { source: SystemError::Files(FilesError::Blocked { .. }), .. }
                | Self::Step { source: SystemError::Files(FilesError::Blocked { .. }), .. }
        )
    }

    /// Returns true if a program failed, timed out or had no effect.
    pub(super) const fn is_program_failure(&self) -> bool {
        use ProgramError::{Failed, TooSlow};
        matches!(
            self,
            Self::Step {
                source: SystemError::Program(Failed { .. } | TooSlow { .. }) | SystemError::NoEffect { .. },
                ..
            }
        )
    }

    fn reason(&self) -> Reason {
        match self {
            Self::Busy => Reason::Busy,
            Self::Unfinished(_) => Reason::Unfinished,
            Self::Serialise(_) | Self::Journal(_) | Self::Record(_) => Reason::StateUnusable,
            Self::Store(error) | Self::Keep(error) | Self::Path(error) => Reason::from_files(error),
            Self::Artifact(error) | Self::Room(error) => Reason::from_io(error),
            Self::Archive(error) => Reason::from_archive(error),
            Self::Package(error) => match Reason::from_system(error) {
                Reason::ProgramFailed | Reason::ArchiveRefused => Reason::PackageRefused,
                reason => reason,
            },
            Self::Target(error) => Reason::from_target(error),
            Self::Plan(PlanError::NoWayBack(_)) => Reason::NoWayBack,
            Self::Plan(PlanError::InTheWay(_)) => Reason::PathRefused,
            Self::Look { source, .. } | Self::Step { source, .. } => Reason::from_system(source),
            Self::NoRoom { .. } => Reason::NoSpace,
            Self::Unhealthy(_) => Reason::Unhealthy,
            Self::Interrupted(_) => Reason::Interrupted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Reason; 22] = [
        Reason::Busy,
        Reason::Unfinished,
        Reason::StateUnusable,
        Reason::ArtifactMissing,
        Reason::ArtifactChanged,
        Reason::ArchiveRefused,
        Reason::PackageRefused,
        Reason::PayloadContradictory,
        Reason::DeviceLacks,
        Reason::NoWayBack,
        Reason::PathRefused,
        Reason::NoSpace,
        Reason::ReadOnly,
        Reason::NotPermitted,
        Reason::FileFailed,
        Reason::ProgramFailed,
        Reason::KernelRefused,
        Reason::PackagesBusy,
        Reason::NoEffect,
        Reason::Unsupported,
        Reason::Unhealthy,
        Reason::Interrupted,
    ];

    #[test]
    fn the_table_in_the_readme_is_this_one() {
        let readme = include_str!("../../README.md");
        let (_, table) = readme.split_once("| kinds of `InstallError` |").unwrap();
        let rows: Vec<&str> = table.lines().take_while(|line| !line.is_empty()).skip(2).collect();
        for reason in ALL {
            let (kind, fault, disposition) = reason.row();
            let fault = if fault == Fault::Payload { "payload" } else { "device" };
            let disposition = match disposition {
                Disposition::Retry => "retry",
                Disposition::WaitForAdministrator => "wait for administrator",
                Disposition::Fatal => "fatal",
            };
            let row = rows.iter().find(|row| row.contains(&format!("`{kind}`")));
            let row = row.unwrap_or_else(|| panic!("{kind} is not in the table"));
            assert!(row.ends_with(&format!("| {fault} | {disposition} |")), "{kind}: {row}");
        }
        let listed = rows.iter().map(|row| row.matches('`').count() / 2).sum::<usize>();
        assert_eq!(listed, ALL.len());
    }

    #[test]
    fn what_the_operating_system_says_decides_the_kind() {
        let failed = |kind: io::ErrorKind| {
            InstallError::Store(FilesError::Write { path: PathBuf::from("/x"), source: kind.into() }).kind()
        };
        assert_eq!(failed(io::ErrorKind::StorageFull), "no_space");
        assert_eq!(failed(io::ErrorKind::QuotaExceeded), "no_space");
        assert_eq!(failed(io::ErrorKind::ReadOnlyFilesystem), "read_only");
        assert_eq!(failed(io::ErrorKind::PermissionDenied), "not_permitted");
        assert_eq!(failed(io::ErrorKind::Other), "file_failed");
    }

    #[test]
    fn a_failure_tells_every_cause_once() {
        let error = InstallError::Step {
            step: "/etc/motd".to_owned(),
            source: FilesError::Write { path: PathBuf::from("/etc/motd"), source: io::Error::other("why") }
                .into(),
        };
        let Failure { kind, detail, disposition } = error.failure();
        assert_eq!((kind.as_str(), disposition), ("file_failed", Disposition::Retry));
        assert_eq!(detail, "/etc/motd could not be changed: /etc/motd could not be written: why");
    }
}
