//! What a verdict needs of a survey: little enough to lie in a log until a server that is away can be asked.

use super::words::shown;
use crate::identity::{RefusedBecause, State, Survey, Unreadable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use unbox_common::identity::{HardwareIdentity, IdentifierKind, Rule};

/// A machine as it was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// What it is, if that could be read. The log has it already.
    #[serde(skip)]
    pub identity: Option<HardwareIdentity>,
    /// Placeholders that stand where identifiers should be, fit for a terminal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub placeholders: BTreeMap<IdentifierKind, String>,
    /// A source that might hold what is missing, and that nobody could read. What is there and makes no
    /// sense is the machine's own fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unread: Option<Unreadable>,
}

impl From<&Survey> for Machine {
    fn from(survey: &Survey) -> Self {
        let mut placeholders = BTreeMap::new();
        for one in &survey.refused {
            let blank = matches!(one.because, RefusedBecause::Rule(Rule::Placeholder | Rule::Empty));
            if blank && !one.candidate.value.trim().is_empty() {
                placeholders.entry(one.candidate.kind).or_insert_with(|| shown(&one.candidate.value));
            }
        }
        let unread =
            |one: &&Unreadable| matches!(one.state, State::NotPermitted | State::TimedOut | State::Failed);
        let unread = survey.unreadable.iter().find(unread).cloned();
        Self { identity: survey.identity().ok(), placeholders, unread }
    }
}
