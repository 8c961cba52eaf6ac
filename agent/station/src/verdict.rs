//! The verdict of a test station about a unit: pass, fail or needs attention, with every reason.

use serde::{Deserialize, Serialize};
use std::{fmt, process::ExitCode};
use unbox_common::identity::IdentifierKind;

/// The result of a check. If several apply, the last in this order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The unit will enroll in the field, as far as can be seen here.
    #[default]
    Pass,
    /// Somebody has to look at the unit before it is shipped.
    NeedsAttention,
    /// The unit could not be checked.
    CouldNotCheck,
    /// The unit will not enroll as it is.
    Fail,
}

impl Verdict {
    /// Every verdict, best first.
    pub const ALL: [Self; 4] = [Self::Pass, Self::NeedsAttention, Self::CouldNotCheck, Self::Fail];

    /// Returns the words for a worker.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::NeedsAttention => "NEEDS ATTENTION",
            Self::CouldNotCheck => "COULD NOT CHECK",
            Self::Fail => "FAIL",
        }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(match verdict {
            Verdict::Pass => 0,
            Verdict::Fail => 1,
            Verdict::NeedsAttention => 2,
            Verdict::CouldNotCheck => 3,
        })
    }
}

/// The source of an expectation about a unit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Witness {
    /// A label, by its position among the scanned ones, from 1.
    Label {
        /// Its position.
        number: usize,
    },
    /// The order file.
    Order {
        /// The line of the row.
        line: u64,
    },
    /// The server.
    Claim,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label { number: 1 } => f.write_str("the label"),
            Self::Label { number } => write!(f, "label {number}"),
            Self::Order { line } => write!(f, "line {line} of the order"),
            Self::Claim => f.write_str("the claim"),
        }
    }
}

/// One reason for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Short name of the reason, from a closed set.
    pub reason: Reason,
    /// The verdict that this reason alone would give.
    pub verdict: Verdict,
    /// The kind of identifier, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<IdentifierKind>,
    /// The values that the machine shows; empty if it shows none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shows: Vec<String>,
    /// The expected values, any one of which is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<String>,
    /// The source of the expectation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
    /// The fault, in one sentence.
    pub problem: String,
    /// The advice, in one sentence.
    pub action: String,
}

/// The reason why a unit did not simply pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The machine shows another value.
    Different,
    /// The machine shows no such value.
    Missing,
    /// The manufacturer never programmed the value.
    Placeholder,
    /// The source that might hold it could not be read.
    Unreadable,
    /// Nothing distinguishes the unit from others of its model.
    NoIdentity,
    /// The label is not a bar code of a device.
    LabelUnreadable,
    /// The order file has no row for it.
    NotInOrder,
    /// The order file has several rows for it.
    TwiceInOrder,
    /// The order file could not be read.
    OrderUnreadable,
    /// Another unit showed the same identifier.
    Duplicate,
    /// No customer has claimed it.
    NotClaimed,
    /// A claim names some of its identifiers, and others that it does not show.
    ClaimDiffers,
    /// Several customers have claimed it.
    Ambiguous,
    /// Its model and date of manufacture rule out the identifier that it shows.
    NotEligible,
    /// The server could not be asked.
    ServerUnavailable,
    /// Its directory could not be used.
    UnitUnusable,
}

impl Reason {
    /// Returns the short name, for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Different => "different",
            Self::Missing => "missing",
            Self::Placeholder => "placeholder",
            Self::Unreadable => "unreadable",
            Self::NoIdentity => "no_identity",
            Self::LabelUnreadable => "label_unreadable",
            Self::NotInOrder => "not_in_order",
            Self::TwiceInOrder => "twice_in_order",
            Self::OrderUnreadable => "order_unreadable",
            Self::Duplicate => "duplicate",
            Self::NotClaimed => "not_claimed",
            Self::ClaimDiffers => "claim_differs",
            Self::Ambiguous => "ambiguous",
            Self::NotEligible => "not_eligible",
            Self::ServerUnavailable => "server_unavailable",
            Self::UnitUnusable => "unit_unusable",
        }
    }
}

impl Finding {
    /// Makes a reason that is not about a single identifier.
    pub fn new(
        reason: Reason,
        verdict: Verdict,
        problem: impl Into<String>,
        action: impl Into<String>,
    ) -> Self {
        Self {
            reason,
            verdict,
            kind: None,
            shows: Vec::new(),
            expected: Vec::new(),
            witness: None,
            problem: problem.into(),
            action: action.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.problem, self.action)
    }
}

/// The result of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict: the worst of the reasons.
    pub verdict: Verdict,
    /// Every reason, worst first.
    pub findings: Vec<Finding>,
}

impl Judgement {
    /// Takes the worst of these reasons as the verdict.
    #[must_use]
    pub fn from_findings(mut findings: Vec<Finding>) -> Self {
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.verdict));
        let verdict = findings.first().map_or(Verdict::Pass, |finding| finding.verdict);
        Self { verdict, findings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_reason_is_the_verdict_and_comes_first() {
        let of = |verdicts: &[Verdict]| {
            let all = verdicts.iter().map(|verdict| Finding::new(Reason::Different, *verdict, "a", "b"));
            Judgement::from_findings(all.collect())
        };
        assert_eq!(of(&[]).verdict, Verdict::Pass);
        let judged = of(&[Verdict::NeedsAttention, Verdict::Fail, Verdict::CouldNotCheck]);
        assert_eq!(judged.verdict, Verdict::Fail);
        let order: Vec<_> = judged.findings.iter().map(|finding| finding.verdict).collect();
        assert_eq!(order, [Verdict::Fail, Verdict::CouldNotCheck, Verdict::NeedsAttention]);
    }
}
