//! The output about units and runs, for people and programs.

use super::{
    check::TestedUnit,
    order::OrderIndex,
    shift::Tally,
    units::Summary,
    verdict::{Finding, Verdict},
};
use serde::Serialize;
use std::{cmp::Reverse, fmt::Write as _};
use unbox_agent::text::{escape_json, plain};
use unbox_common::identity::{HardwareIdentity, Identifier, IdentifierKind, RawIdentifier};

/// The most units that are named in one sentence.
const MAX_NAMES: usize = 3;

/// A unit for programs, on one line.
#[derive(Debug, Serialize)]
pub struct UnitReport<'t> {
    /// Its name for people.
    pub unit: &'t str,
    /// Its verdict.
    pub verdict: Verdict,
    /// The reasons.
    pub findings: &'t [Finding],
    /// Its identity.
    pub identity: Vec<RawIdentifier>,
}

/// The last line of a run for programs.
#[derive(Debug, Serialize)]
pub struct RunReport<'t> {
    /// The summary of the run.
    pub summary: &'t Summary,
    /// The first unusable rows of the order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub order_problems: Vec<super::order::RowProblem>,
    /// The number of all unusable rows.
    pub order_problem_count: u64,
}

impl<'t> From<&'t TestedUnit> for UnitReport<'t> {
    fn from(tested: &'t TestedUnit) -> Self {
        Self {
            unit: &tested.name,
            verdict: tested.judged.verdict,
            findings: &tested.judged.findings,
            identity: tested.identifiers(),
        }
    }
}

impl<'t> RunReport<'t> {
    /// Makes the line from the summary and the index of the order.
    #[must_use]
    pub fn new(summary: &'t Summary, order: Option<&OrderIndex>) -> Self {
        let (problems, count) = order.map(OrderIndex::problems).unwrap_or_default();
        Self { summary, order_problems: problems.to_vec(), order_problem_count: count }
    }
}

/// Serializes a document for programs, on one line that is also safe for a terminal.
///
/// # Errors
/// The serializer's error.
pub fn json_line(document: &impl Serialize) -> serde_json::Result<String> {
    let mut line = escape_json(&serde_json::to_string(document)?);
    line.push('\n');
    Ok(line)
}

/// Formats a unit for people: one line, and two for each reason.
#[must_use]
pub fn unit_text(tested: &TestedUnit) -> String {
    let called = tested.identity.as_ref().and_then(serial).map(Identifier::value).unwrap_or_default();
    let verdict = tested.judged.verdict.text();
    let name = plain(&tested.name, usize::MAX);
    let mut text = format!("{verdict:<16} {name}  {called}").trim_end().to_owned();
    text.push('\n');
    for finding in &tested.judged.findings {
        // Writing to a String cannot fail.
        let [problem, action] = [&finding.problem, &finding.action].map(|text| plain(text, usize::MAX));
        let _ = writeln!(text, "  {problem}\n    {action}");
    }
    text
}

/// Formats a run for people.
#[must_use]
pub fn run_text(summary: &Summary, order: Option<&OrderIndex>) -> String {
    let mut text = String::new();
    let (problems, count) = order.map(OrderIndex::problems).unwrap_or_default();
    if count > 0 {
        let _ = writeln!(text, "\nThe order has {count} rows that cannot be used:");
    }
    for problem in problems {
        let _ = writeln!(text, "  {problem}");
    }
    if count > problems.len() as u64 {
        let _ = writeln!(text, "  and {} more", count - problems.len() as u64);
    }
    let counts: Vec<String> = Verdict::ALL
        .into_iter()
        .filter(|verdict| summary.count(*verdict) > 0)
        .map(|verdict| format!("{} {}", summary.count(verdict), verdict.text().to_lowercase()))
        .collect();
    let _ = writeln!(
        text,
        "\n{} units: {}. {:.1} s, {:.0} units per second.",
        summary.units,
        counts.join(", "),
        summary.seconds,
        summary.units_per_second
    );
    text
}

/// Formats the server's late answers about units that had waited for it, as one sentence; `None` without
/// units.
#[must_use]
pub fn late_answers_text(units: &[TestedUnit]) -> Option<String> {
    let verdict = |unit: &&TestedUnit| unit.judged.verdict;
    let counts: Vec<String> = Verdict::ALL
        .into_iter()
        .map(|one| (units.iter().filter(|unit| verdict(unit) == one).count(), one.text().to_lowercase()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    let mut bad: Vec<&TestedUnit> = units.iter().filter(|unit| verdict(unit) != Verdict::Pass).collect();
    bad.sort_by_key(|unit| Reverse(unit.judged.verdict));
    let names: Vec<&str> = bad.iter().take(MAX_NAMES).map(|unit| unit.name.as_str()).collect();
    let more = bad.len().saturating_sub(MAX_NAMES);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let names = if names.is_empty() { String::new() } else { format!(" ({}{more})", names.join(", ")) };
    let word = if units.len() == 1 { "unit" } else { "units" };
    let text =
        format!("The server was asked again about {} {word}: {}{names}.", units.len(), counts.join(", "));
    (!units.is_empty()).then(|| plain(&text, usize::MAX))
}

/// Formats the counts of a shift, for people.
#[must_use]
pub fn tally_text(tally: &Tally) -> String {
    let of = |verdict| tally.counts.get(&verdict).copied().unwrap_or_default();
    let words = |verdict: Verdict| format!("{} {}", of(verdict), verdict.text().to_lowercase());
    Verdict::ALL.map(words).join(", ")
}

/// Returns the identifier by which people call a unit.
#[must_use]
pub fn serial(identity: &HardwareIdentity) -> Option<&Identifier> {
    let by_kind = |kind| identity.of_kind(kind).next();
    by_kind(IdentifierKind::SerialNumber).or_else(|| {
        identity.observations().iter().map(|one| &one.identifier).find(|one| one.kind().rank().is_some())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Judgement, Reason};

    #[test]
    fn a_unit_reads_well() {
        let finding =
            Finding::new(Reason::NotInOrder, Verdict::Fail, "It is\u{9b}not in the order.", "Put it aside.");
        let tested = TestedUnit {
            name: "bench\u{1b} 4".to_owned(),
            judged: Judgement::from_findings(vec![finding]),
            identity: None,
        };
        assert_eq!(
            unit_text(&tested),
            "FAIL             bench 4\n  It is not in the order.\n    Put it aside.\n"
        );
        let line = json_line(&UnitReport::from(&tested)).unwrap();
        assert_eq!(
            line,
            r#"{"unit":"bench\u001b 4","verdict":"fail","findings":[{"reason":"not_in_order","verdict":"fail","problem":"It is\u009bnot in the order.","action":"Put it aside."}],"identity":[]}
"#
        );
    }

    #[test]
    fn a_run_says_how_many_and_which_rows_are_bad() {
        let order = OrderIndex::read(b"mac_address\nnone\n".as_slice()).unwrap();
        let summary = Summary {
            units: 3,
            verdicts: [(Verdict::Pass, 2), (Verdict::Fail, 1)].into(),
            seconds: 0.5,
            units_per_second: 6.0,
        };
        assert_eq!(
            run_text(&summary, Some(&order)),
            "\nThe order has 1 rows that cannot be used:\n  line 2, column 1: mac_address is a placeholder that \
             the maker never replaced\n\n3 units: 2 pass, 1 fail. 0.5 s, 6 units per second.\n"
        );
    }
}
