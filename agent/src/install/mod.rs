//! Stage install: an accepted payload becomes what the device is, exactly or not at all.
//!
//! `StagedInstall -> Outcome` on the device's path. The stage takes an [`AcceptedPayload`] and
//! its artifacts, and ends in one of two states: everything that the payload says is in place and
//! healthy, or everything is as it was. A power cut at any instant changes nothing about that:
//! [`Installer::resume`] at the next start brings it to one of the two.

mod error;
mod health;
mod io;
mod resource;

pub use error::{Fault, InstallError};
pub use health::{Clock, Health};
pub use io::{Reload, System, SystemError, UnitPhase, UnitReport};
pub use resource::{Change, Resource, State, States};

use std::path::{Path, PathBuf};
use unbox_common::{
    payload::AcceptedPayload,
    protocol::{latest, progress::Progress},
    refusal::Disposition,
};

/// What the stage works with. One at a time: a lock file in the state directory sees to that.
pub struct Installer<'a> {
    /// The device.
    pub system: &'a mut dyn System,
    /// The agent's state directory; the stage keeps to `install/` below it.
    pub state_dir: &'a Path,
    /// Waits for the health check.
    pub clock: &'a mut dyn Clock,
    /// Hears how far it is, for the report and the console.
    pub progress: &'a mut dyn FnMut(Progress, Option<String>),
}

/// Where the payload stage left the artifacts: each under its SHA-256 in hexadecimal.
///
/// An unprivileged user owns this directory, so nothing in it is believed: every artifact is
/// checked against its digest once more while it is read.
#[derive(Debug, Clone)]
pub struct ArtifactDir(pub PathBuf);

/// How an installation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum InstallOutcome {
    /// Everything is in place, healthy and final.
    Managed {
        /// The payload's version.
        version: u64,
    },
    /// Everything is as it was.
    RolledBack {
        /// The version of the payload that did not come to be.
        version: u64,
        /// Why.
        failure: Failure,
    },
    /// Everything that was managed is as it was before the first payload.
    Removed,
}

/// Why an installation was rolled back, as it outlives a power cut.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// Short name, from the set of [`InstallError::kind`].
    pub kind: String,
    /// The reason with its causes, for people.
    pub detail: String,
    /// Whether trying the same payload again can help.
    pub disposition: Disposition,
}

impl Installer<'_> {
    /// Installs a payload.
    ///
    /// # Errors
    /// [`InstallError`] if it was not even begun: nothing has changed. What fails later is an
    /// [`InstallOutcome::RolledBack`], except [`InstallError::Unfinished`]: then the way back was
    /// cut off as well, and [`Self::resume`] has to go on with it before anything else.
    pub fn install(
        &mut self,
        payload: &AcceptedPayload,
        artifacts: &ArtifactDir,
    ) -> Result<InstallOutcome, InstallError> {
        let _ = (payload, artifacts);
        Err(InstallError::Busy)
    }

    /// Brings an installation that was cut off to its end; `None` if there is none. Called at
    /// every start, before anything else.
    pub fn resume(&mut self, artifacts: &ArtifactDir) -> Result<Option<InstallOutcome>, InstallError> {
        let _ = artifacts;
        Err(InstallError::Busy)
    }

    /// Restores everything that was ever managed to what it was before the first payload.
    pub fn uninstall(&mut self) -> Result<InstallOutcome, InstallError> {
        Err(InstallError::Busy)
    }

    /// What is managed, but no longer as the payload says: resource, wanted and found.
    pub fn drift(&self) -> Result<Vec<Change>, InstallError> {
        Err(InstallError::Busy)
    }

    /// Runs the health check of what is installed once, without waiting for it to become good.
    pub fn health_now(&mut self) -> Result<Health, InstallError> {
        Err(InstallError::Busy)
    }
}

/// What is installed on the device now; `None` before the first payload and after a reset.
pub fn installed(state_dir: &Path) -> Result<Option<latest::Installed>, InstallError> {
    let _ = state_dir;
    Err(InstallError::Busy)
}

/// The device at a root: `/` is this machine itself, anything else a sandbox.
pub fn open_system(root: &Path) -> Result<Box<dyn System>, InstallError> {
    let _ = root;
    Err(InstallError::Busy)
}
