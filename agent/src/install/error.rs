//! Why an installation did not take place, whose fault that is, and what the device does next.

use super::{Resource, io::SystemError};
use crate::files::FilesError;
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
    /// Another installation is at work.
    #[error("another installation is in progress on this device")]
    Busy,
    /// An installation was neither completed nor taken back yet.
    #[error("an earlier installation has to be brought to its end first")]
    Unfinished,
    /// A file of the stage itself could not be read or written.
    #[error("the state of the installation could not be kept")]
    State(#[source] FilesError),
    /// The present state of something could not be found out.
    #[error("the present state of {resource} could not be found out")]
    Look {
        /// What.
        resource: Resource,
        /// The cause.
        #[source]
        source: SystemError,
    },
}

impl InstallError {
    /// The short name that reports carry, from a closed set.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Busy => "install_busy",
            Self::Unfinished => "install_unfinished",
            Self::State(_) => "install_state",
            Self::Look { .. } => "install_look",
        }
    }

    /// What the device does next.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        Fault::Device
    }
}
