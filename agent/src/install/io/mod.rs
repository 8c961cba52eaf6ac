//! The stage's view of a device apart from its files: packages, units, kernel and time.

pub(super) mod archive;
mod choices;
pub(super) mod contents;
mod database;
mod deb;
mod dpkg;
mod entries;
mod kernel;
pub(super) mod live;
mod owners;
pub(super) mod packages;
pub(super) mod paths;
mod places;
pub(super) mod reach;
pub(super) mod repair;
pub(super) mod room;
pub(super) mod sandbox;
mod settings;
pub(super) mod store;
pub(super) mod survey;
mod systemctl;
mod unit_file;

pub use archive::ArchiveError;
pub use contents::ArtifactError;

use super::{
    Change, Choices, Resource, State,
    package::{PackageFile, Relations},
};
use crate::{
    files::{FilesError, Root},
    programs::ProgramError,
};
use std::{
    collections::{BTreeMap, BTreeSet},
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
    /// Returns its file system.
    fn root(&self) -> &Root;

    /// Returns true if such a resource can be changed here. Others are reported, and left out.
    fn covers(&self, resource: &Resource) -> bool;

    /// Returns the current state of anything but files and trees.
    fn look(&self, resource: &Resource) -> Result<State, SystemError>;

    /// Changes anything but files and trees; succeeds if the state is already right. `debs` are the files
    /// of the package to install and of those that have to be installed together with it, or the file that a
    /// package to remove came from.
    fn change(&mut self, change: &Change, debs: &[PathBuf]) -> Result<(), SystemError>;

    /// Returns its package system.
    fn packages(&self) -> &dyn Packages;

    /// Returns true if anything here reads such files.
    fn covers_reload(&self, what: Reload) -> bool;

    /// Makes something read its files again.
    fn reload(&mut self, what: Reload) -> Result<(), SystemError>;

    /// Returns the current status of a unit.
    fn unit(&mut self, unit: &UnitName) -> Result<UnitReport, SystemError>;

    /// Runs a DPC's own health check, and returns its complaint, if any.
    fn check(&mut self, program: &SafePath, arguments: &[String], limit: Duration) -> Option<String>;
}

/// The package system of a device, for queries before anything changes.
pub trait Packages {
    /// Reads a package file.
    fn describe(&self, deb: &Path) -> Result<PackageFile, SystemError>;

    /// Completes packages that an interruption left half configured, as far as possible.
    fn complete(&self) -> Result<(), SystemError>;

    /// Returns the relations of an installed package.
    fn relations_of(&self, name: &PackageName) -> Result<Relations, SystemError>;

    /// Returns every path of an installed package, including directories, as the package names them.
    fn paths_of(&self, name: &PackageName) -> Result<Vec<String>, SystemError>;

    /// Returns the configuration files of an installed package, those of its earlier versions included: what
    /// dpkg removes at a purge, with the copies beside them.
    fn conffiles_of(&self, name: &PackageName) -> Result<Vec<String>, SystemError>;

    /// Returns every path of every package that is installed or has left its configuration, as the package
    /// names them.
    fn lists(&self) -> Result<BTreeMap<String, Vec<String>>, SystemError>;

    /// Returns every installed package, with its architecture.
    fn installed(&self) -> Result<BTreeSet<String>, SystemError>;

    /// Returns the installed packages that would be removed if these package files were installed
    /// together. With `after_removals`, other packages are removed before that, and a conflict may be
    /// with one of them.
    ///
    /// # Errors
    /// [`SystemError::Program`] if they could not be installed.
    fn rehearse(&self, debs: &[PathBuf], after_removals: bool) -> Result<BTreeSet<String>, SystemError>;

    /// Returns the current diversions, overridden modes and alternatives.
    fn choices(&self) -> Result<Choices, SystemError>;

    /// Returns the program that is working on packages now, for people.
    fn holder(&self) -> Result<Option<String>, SystemError>;
}

/// A program that reads files only when told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reload {
    /// systemd and its unit files.
    Units,
    /// The system's certificate store.
    CaCertificates,
}

/// The current status of a unit, according to systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitReport {
    /// Its activity.
    pub phase: UnitPhase,
    /// The number of automatic restarts.
    pub restarts: u32,
    /// Id of the current run.
    pub invocation: String,
}

/// systemd's `ActiveState`, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitPhase {
    /// The unit is running.
    Active,
    /// The unit is starting or stopping.
    Changing,
    /// The unit is not running, without an error.
    Inactive,
    /// The unit is not running, because of an error.
    Failed,
}

impl Reload {
    /// Returns the name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Units => "systemd's view of its unit files",
            Self::CaCertificates => "the system's certificate store",
        }
    }
}

impl UnitPhase {
    /// Returns the name for people.
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
    /// An archive could not be unpacked.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The kernel refused a value.
    #[error("the kernel did not take {what}")]
    Kernel {
        /// The parameter and value.
        what: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another program is working on the packages.
    #[error("{0} is installing packages at the moment")]
    PackagesBusy(String),
    /// The change was made, but had no effect.
    #[error("it was to be {wanted}, but is {found}")]
    NoEffect {
        /// The intended state.
        wanted: String,
        /// The state found.
        found: String,
    },
    /// This device does not support the operation.
    #[error("{what} is not possible here: {why}")]
    Unsupported {
        /// The operation.
        what: String,
        /// The reason.
        why: String,
    },
}
