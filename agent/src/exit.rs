//! The exit status of the process, for units and scripts.

use crate::failure::Failure;
use std::process::ExitCode;
use unbox_common::refusal::Disposition;

/// The exit codes, as `--help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; after `run --once`, managed.
    Done,
    /// Failed; it will be tried again.
    TryAgain,
    /// An administrator has to do something.
    Administrator,
    /// Failed; trying again cannot help.
    Fatal,
    /// The device's own records are damaged.
    Damaged,
    /// The command line is invalid.
    Usage,
}

/// The section of `--help` about exit codes. Code 2, usage, is the argument parser's.
pub(crate) const HELP: &str = "Exit codes:
  0  done; after `run --once`: managed
  1  failed, and tried again by itself
  2  wrong usage
  3  waits for an administrator: refused, rejected or rolled back
  4  failed, and trying again cannot help
  5  the device's own records are damaged; it enrolls again

The commands of a factory's test station (verify, factory, label, station) are those of unbox-station, which
is a package of its own.";

impl Exit {
    /// Returns the exit status of a process that gives up on this failure.
    #[must_use]
    pub fn from_failure(failure: &Failure) -> Self {
        match failure.disposition() {
            _ if failure.kind() == "ledger_damaged" => Self::Damaged,
            Disposition::Retry => Self::TryAgain,
            Disposition::WaitForAdministrator => Self::Administrator,
            Disposition::Fatal => Self::Fatal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::TryAgain => 1,
            Exit::Usage => 2,
            Exit::Administrator => 3,
            Exit::Fatal => 4,
            Exit::Damaged => 5,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        http::Refusal,
        ledger::{LedgerUnreadable, io::LedgerError},
    };
    use unbox_common::{protocol::problem::Problem, refusal::RefusalKind};

    #[test]
    fn the_exit_code_says_who_has_to_do_something() {
        let refused = |kind| {
            Exit::from_failure(&Failure::from(Refusal {
                problem: Problem::new(kind).into(),
                retry_after: None,
            }))
        };
        assert_eq!(refused(RefusalKind::Busy), Exit::TryAgain);
        assert_eq!(refused(RefusalKind::NotClaimed), Exit::Administrator);
        assert_eq!(refused(RefusalKind::Deprovisioned), Exit::Fatal);
        let damaged = LedgerError::Unreadable {
            path: "ledger.json".into(),
            source: LedgerUnreadable::Damaged(String::new()),
        };
        assert_eq!(Exit::from_failure(&damaged.into()), Exit::Damaged);
    }
}
