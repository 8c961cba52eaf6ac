//! What the stage needs of a device beside its files: packages, units, kernel and time.

pub(super) mod archive;
mod choices;
pub(super) mod contents;
mod deb;
mod dpkg;
mod kernel;
pub(super) mod live;
pub(super) mod packages;
pub(super) mod paths;
pub(super) mod reach;
pub(super) mod repair;
pub(super) mod room;
pub(super) mod sandbox;
pub(super) mod store;
pub(super) mod survey;
mod systemctl;
mod unit_file;

pub use archive::ArchiveError;
pub use contents::ArtifactError;

use super::{Change, Choices, Resource, State, package::PackageFile};
use crate::{
    files::{FilesError, Root},
    programs::ProgramError,
};
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::{
    path::SafePath,
    payload::{PackageName, UnitName},
};

/// A device as the install stage sees it.
pub trait System {
    /// Its file system.
    fn root(&self) -> &Root;

    /// Whether such a resource can be changed here. What cannot is told, and left out.
    fn covers(&self, resource: &Resource) -> bool;

    /// The present state of anything but files and trees.
    fn look(&self, resource: &Resource) -> Result<State, SystemError>;

    /// Brings anything but files and trees into a state; fine if it is in it already.
    /// `deb` is where the package lies that is to be installed.
    fn change(&mut self, change: &Change, deb: Option<&Path>) -> Result<(), SystemError>;

    /// Its packages.
    fn packages(&self) -> &dyn Packages;

    /// Whether anything here reads such files.
    fn covers_reload(&self, what: Reload) -> bool;

    /// Has something read its files again.
    fn reload(&mut self, what: Reload) -> Result<(), SystemError>;

    /// How a unit is doing.
    fn unit(&mut self, unit: &UnitName) -> Result<UnitReport, SystemError>;

    /// Runs a DPC's own health check: `None` if it is content, else its complaint.
    fn check(&mut self, program: &SafePath, arguments: &[String], limit: Duration) -> Option<String>;
}

/// The package system of a device, as far as it is asked before anything changes.
pub trait Packages {
    /// What is in a package file.
    fn describe(&self, deb: &Path) -> Result<PackageFile, SystemError>;

    /// Every path of an installed package, directories as well, as the package names them.
    fn paths_of(&self, name: &PackageName) -> Result<Vec<String>, SystemError>;

    /// The installed packages that any of these files belongs to, each with one such file.
    fn owners(&self, files: &[&SafePath]) -> Result<Vec<(String, String)>, SystemError>;

    /// The installed packages that would be removed if these package files were installed together.
    ///
    /// # Errors
    /// [`SystemError::Program`] if they could not be installed.
    fn rehearse(&self, debs: &[PathBuf]) -> Result<BTreeSet<String>, SystemError>;

    /// Diversions, overridden modes and alternatives, as they are now.
    fn choices(&self) -> Result<Choices, SystemError>;

    /// The program that is at work on the packages now, for people.
    fn holder(&self) -> Result<Option<String>, SystemError>;
}

/// What reads files only when it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    /// systemd and its unit files.
    Units,
    /// The system's certificate store.
    CaCertificates,
}

/// How a unit is doing, as systemd tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitReport {
    /// Whether it runs.
    pub phase: UnitPhase,
    /// How often it was started anew by itself.
    pub restarts: u32,
    /// The same as long as it is the same run.
    pub invocation: String,
}

/// systemd's `ActiveState`, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitPhase {
    /// It runs.
    Active,
    /// It is about to run, or about to stop.
    Changing,
    /// It does not run, and nothing went wrong.
    Inactive,
    /// It does not run, because something went wrong.
    Failed,
}

impl Reload {
    /// What it is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Units => "systemd's view of its unit files",
            Self::CaCertificates => "the system's certificate store",
        }
    }
}

impl UnitPhase {
    /// What it is, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Changing => "starting or stopping",
            Self::Inactive => "not running",
            Self::Failed => "failed",
        }
    }
}

/// The device did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A program failed.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// An archive was not unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The kernel refused a value.
    #[error("the kernel did not take {what}")]
    Kernel {
        /// What.
        what: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another program is at work on the packages.
    #[error("{0} is installing packages at the moment")]
    PackagesBusy(String),
    /// It was done, but is not so.
    #[error("it was to be {wanted}, but is {found}")]
    NoEffect {
        /// What was wanted.
        wanted: String,
        /// What is there.
        found: String,
    },
    /// This device has no means for it.
    #[error("{what} is not possible here: {why}")]
    Unsupported {
        /// What.
        what: String,
        /// Why.
        why: String,
    },
}
