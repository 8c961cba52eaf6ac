//! The part of a survey that a verdict depends on: small enough to be logged until the server can be
//! asked.

use super::wording::make_printable;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use unbox_agent::identity::{RefusedBecause, State, Survey, Unreadable};
use unbox_common::identity::{HardwareIdentity, IdentifierKind, Rule};

/// A machine as surveyed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its identity, if it could be read. The log stores it separately.
    #[serde(skip)]
    pub identity: Option<HardwareIdentity>,
    /// Placeholders found in place of identifiers, safe for a terminal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub placeholders: BTreeMap<IdentifierKind, String>,
    /// An unreadable source that might hold the missing identifiers. Malformed content does not count:
    /// that is the machine's own fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<Unreadable>,
}

impl From<&Survey> for Machine {
    fn from(survey: &Survey) -> Self {
        let mut placeholders = BTreeMap::new();
        for one in &survey.refused {
            let blank = matches!(one.because, RefusedBecause::Rule(Rule::Placeholder | Rule::Empty));
            if blank && !one.candidate.value.trim().is_empty() {
                placeholders
                    .entry(one.candidate.kind)
                    .or_insert_with(|| make_printable(&one.candidate.value));
            }
        }
        let unread =
            |one: &&Unreadable| matches!(one.state, State::NotPermitted | State::TimedOut | State::Failed);
        let unread = survey.unreadable.iter().find(unread).cloned();
        Self { identity: survey.identity().ok(), placeholders, unread }
    }
}
