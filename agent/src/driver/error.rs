//! The driver's own reasons to stop or to wait, each with its meaning for the device.

use crate::failure::{Diagnose, advice};
use std::path::PathBuf;
use unbox_common::refusal::Disposition;

/// A failure between the stages.
#[derive(Debug, thiserror::Error)]
pub(super) enum DriverError {
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
    /// The installation succeeded, and there is no record of it.
    #[error("the record of what is installed is damaged")]
    NoRecord,
}

impl Diagnose for DriverError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Busy => "busy_here",
            Self::NotOwner(_) => "not_owner",
            Self::RolledBack => "rolled_back",
            Self::ResetFailed { .. } => "reset_failed",
            Self::NoTicket => "no_ticket",
            Self::NotConfirmed => "not_confirmed",
            Self::NoExchange(_) | Self::NoRecord => "state_damaged",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::NoTicket | Self::NotConfirmed | Self::NotOwner(_) => Disposition::Fatal,
            Self::NoExchange(_) | Self::NoRecord => Disposition::WaitForAdministrator,
            Self::Busy | Self::RolledBack | Self::ResetFailed { .. } => Disposition::Retry,
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Busy => advice::BUSY,
            Self::NotConfirmed => "Nothing was changed.",
            _ => advice::STATE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{failure::Failure, install::InstallError};

    #[test]
    fn nobody_is_called_because_two_processes_meet() {
        for failure in [Failure::from(DriverError::Busy), Failure::from(InstallError::Busy)] {
            assert_eq!(failure.disposition(), Disposition::Retry);
            assert!(failure.advice().contains("Wait until it is done"));
        }
    }
}
