//! One unit with all its sources: from a survey, its labels and the order to a verdict.

use super::{
    duplicates::IdentifierIndex,
    label,
    machine::Machine,
    order::{Ordered, Row},
    verdict::{Finding, Judgement, Reason, Verdict, Witness},
    verify::{Expected, Statement, verify},
};
use serde::{Deserialize, Serialize};
use std::error::Error;
use unbox_agent::{
    identity::{Survey, registration_row},
    text::{chain, plain},
};
use unbox_common::{
    date::Date,
    eligibility::{Eligibility, Unit, judge},
    identity::{HardwareIdentity, Identifier, RawIdentifier},
    models::Models,
};

/// The longest problem that quotes outside text, in bytes.
const MAX_PROBLEM_BYTES: usize = 1024;

/// A surveyed unit, before it is compared with the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyedUnit {
    #[serde(flatten)]
    machine: Machine,
    #[serde(flatten)]
    expected: Expected,
    /// The day of manufacture, from its label or the unit itself.
    #[serde(skip)]
    manufactured: Option<Date>,
    /// The reason why the server's answer is missing.
    #[serde(skip)]
    unasked: Option<Unasked>,
}

/// The reason why the server was not asked, or did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unasked {
    reason: String,
    action: &'static str,
}

/// A tested unit.
#[derive(Debug, Clone)]
pub struct TestedUnit {
    /// Its name for people: that of its directory, or the scan.
    pub name: String,
    /// Its verdict with the reasons.
    pub judged: Judgement,
    /// Its identity, if it could be read.
    pub identity: Option<HardwareIdentity>,
}

impl SurveyedUnit {
    /// Takes in the survey of the machine and the text of its labels.
    #[must_use]
    pub fn new(survey: &Survey, labels: &[Vec<u8>]) -> Self {
        let (mut expected, mut manufactured) = (Expected::default(), None);
        for (number, scan) in (1..).zip(labels) {
            match label::read(scan, number) {
                Ok(read) => {
                    expected.said.extend(read.said);
                    manufactured = manufactured.or(read.manufactured);
                }
                Err(finding) => expected.findings.push(*finding),
            }
        }
        let told = survey.facts.manufactured.as_deref().and_then(|day| day.parse().ok());
        let machine = Machine::from(survey);
        Self { machine, expected, manufactured: manufactured.or(told), unasked: None }
    }

    /// Makes a unit that cannot be surveyed.
    #[must_use]
    pub fn new_unusable(problem: &str, action: &str) -> Self {
        let mut looked = Self::new(&Survey::default(), &[]);
        let finding = Finding::new(
            Reason::UnitUnusable,
            Verdict::CouldNotCheck,
            plain(problem, MAX_PROBLEM_BYTES),
            action,
        );
        looked.expected.findings.push(finding);
        looked
    }

    /// Returns the identity of the machine, if it could be read.
    #[must_use]
    pub const fn identity(&self) -> Option<&HardwareIdentity> {
        self.machine.identity.as_ref()
    }

    /// Returns the same unit with its identity, which the log stores separately.
    #[must_use]
    pub fn with_identity(self, identity: HardwareIdentity) -> Self {
        Self { machine: Machine { identity: Some(identity), ..self.machine }, ..self }
    }

    /// Records that the server could not be asked about the unit, with reason and advice.
    pub fn mark_unasked(&mut self, reason: &str, action: &'static str) {
        self.unasked = Some(Unasked { reason: reason.to_owned(), action });
    }

    /// Returns true if the server could not be asked about the unit.
    #[must_use]
    pub const fn is_unasked(&self) -> bool {
        self.unasked.is_some()
    }

    /// Takes in the order's answer; a unit ordered by a certified device ID is checked against the table
    /// of models.
    pub fn add_order(&mut self, answer: Result<Ordered, impl Error>, models: &Models) {
        match answer {
            Ok(Ordered::Row(Row { line, identifiers, listed })) => {
                let all = [identifiers.as_slice(), &listed].concat();
                self.expected.findings.extend(check_eligibility(&all, line, self.manufactured, models));
                let said = |one| Statement::with_one_meaning(Witness::Order { line }, one);
                self.expected.said.extend(identifiers.into_iter().map(said));
            }
            Ok(Ordered::Several(lines)) => self.expected.findings.push(twice_in_order_finding(&lines)),
            Ok(Ordered::None) => self.expected.findings.push(self.not_in_order_finding()),
            Err(error) => self.expected.findings.push(Finding::new(
                Reason::OrderUnreadable,
                Verdict::CouldNotCheck,
                format!("The order could not be read: {}.", plain(&chain(&error), MAX_PROBLEM_BYTES)),
                "Check the file, and start again.",
            )),
        }
    }

    fn not_in_order_finding(&self) -> Finding {
        let row = self.identity().and_then(registration_row);
        let action = match row {
            Some((header, row)) => {
                format!("Put it aside, or add its row to the order; {header}: {row}")
            }
            None => "Put it aside.".to_owned(),
        };
        let problem = "The order has no row for this unit.";
        Finding::new(Reason::NotInOrder, Verdict::Fail, problem, action)
    }

    /// Adds a finding about the unit.
    pub fn add_finding(&mut self, finding: Finding) {
        self.expected.findings.push(finding);
    }

    /// Takes in the identifiers from the server's claim.
    pub fn add_claim(&mut self, said: impl IntoIterator<Item = Identifier>) {
        self.expected
            .said
            .extend(said.into_iter().map(|one| Statement::with_one_meaning(Witness::Claim, one)));
    }

    /// Compares the unit with those before it. `number` distinguishes this unit from the others, and
    /// `named` returns the name of the unit with a given number.
    pub fn compare(&mut self, index: &IdentifierIndex, number: u32, named: impl Fn(u32) -> String) {
        if let Some(identity) = self.identity() {
            let repeated = index.find_duplicates(identity, number).into_iter();
            let findings =
                repeated.map(|(other, one)| super::duplicates::duplicate_finding(&named(other), &one));
            self.expected.findings.extend(findings.collect::<Vec<_>>());
        }
    }

    /// Computes the verdict.
    #[must_use]
    pub fn judge(mut self, name: String) -> TestedUnit {
        self.expected.findings.extend(self.unasked.map(server_unavailable_finding));
        let unusable = self.expected.findings.iter().any(|one| one.reason == Reason::UnitUnusable);
        let judged = if unusable {
            Judgement::from_findings(self.expected.findings)
        } else {
            verify(&self.machine, self.expected)
        };
        TestedUnit { name, judged, identity: self.machine.identity }
    }
}

impl TestedUnit {
    /// Returns its identifiers, in their wire format.
    #[must_use]
    pub fn identifiers(&self) -> Vec<RawIdentifier> {
        self.identity.as_ref().map(HardwareIdentity::to_raw).unwrap_or_default()
    }
}

fn server_unavailable_finding(Unasked { reason, action }: Unasked) -> Finding {
    let problem = format!("The server could not be asked: {reason}.");
    Finding::new(Reason::ServerUnavailable, Verdict::CouldNotCheck, problem, action)
}

/// Checks a certified device ID in a row against the table of models.
fn check_eligibility(
    row: &[Identifier],
    line: u64,
    manufactured: Option<Date>,
    models: &Models,
) -> Option<Finding> {
    let unit = Unit { manufactured, ..Unit::of(row)? };
    let judged = judge(models, &unit);
    let verdict = match judged {
        Eligibility::Eligible { .. } => return None,
        Eligibility::NotEligible { .. } => Verdict::Fail,
        Eligibility::Unknown { .. } => Verdict::NeedsAttention,
    };
    let reason = judged.reason()?;
    let mut finding =
        Finding::new(Reason::NotEligible, verdict, reason.to_string(), reason.advice().to_string());
    finding.expected = judged.register().iter().map(ToString::to_string).collect();
    finding.witness = Some(Witness::Order { line });
    Some(finding)
}

fn twice_in_order_finding(lines: &[u64]) -> Finding {
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    Finding::new(
        Reason::TwiceInOrder,
        Verdict::NeedsAttention,
        format!("The order has several rows for this unit: lines {}.", lines.join(", ")),
        "Ask the office which of them counts.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::gateway;
    use unbox_common::{claims_file::UnusableFile, identity::IdentifierKind};

    #[test]
    fn what_the_order_says_is_held_against_the_machine() {
        let serial = |value| Identifier::parse(IdentifierKind::SerialNumber, value).unwrap();
        let row = |value| Ordered::Row(Row { line: 3, identifiers: vec![serial(value)], listed: Vec::new() });
        for (answer, verdict, reason) in [
            (Ok(row("S1")), Verdict::Pass, None),
            (Ok(row("S2")), Verdict::Fail, Some(Reason::Different)),
            (Ok(Ordered::Several(vec![3, 9])), Verdict::NeedsAttention, Some(Reason::TwiceInOrder)),
            (Ok(Ordered::None), Verdict::Fail, Some(Reason::NotInOrder)),
            (Err(UnusableFile::NoHeader), Verdict::CouldNotCheck, Some(Reason::OrderUnreadable)),
        ] {
            let mut looked = SurveyedUnit::new(&gateway("S1"), &[]);
            looked.add_order(answer, Models::built_in());
            let tested = looked.judge("a".to_owned());
            assert_eq!(tested.judged.verdict, verdict);
            assert_eq!(tested.judged.findings.first().map(|finding| finding.reason), reason);
        }
    }

    #[test]
    fn a_unit_that_cannot_be_looked_at_moves_no_cursor() {
        let tested =
            SurveyedUnit::new_unusable("/a\u{1b}[2J\u{9b}\u{202e} holds no machine.", "Name another.");
        let problem = tested.judge(String::new()).judged.findings.remove(0).problem;
        assert_eq!(problem, "/a [2J holds no machine.");
    }

    #[test]
    fn what_is_ordered_by_a_certified_id_is_held_against_the_table_of_models() {
        use IdentifierKind::{CertifiedDeviceId, Model, SerialNumber};
        let of = |kind, value: &str| Identifier::parse(kind, value).unwrap();
        for (model, verdict) in
            [("Chromebook Acer Spin 311 (R722T)", None), ("Gateway 3", Some(Verdict::NeedsAttention))]
        {
            let row = [of(SerialNumber, "NXABC"), of(Model, model), of(CertifiedDeviceId, "NXABC")];
            let found = check_eligibility(&row, 3, None, Models::built_in());
            assert_eq!(found.map(|one| one.verdict), verdict, "{model}");
        }
        let wrong = [
            of(SerialNumber, "NXABC"),
            of(Model, "Chromebook Acer Spin 311 (R722T)"),
            of(CertifiedDeviceId, "NXABD"),
        ];
        let found = check_eligibility(&wrong, 3, None, Models::built_in()).unwrap();
        assert_eq!(found.verdict, Verdict::Fail);
        assert!(found.expected.iter().any(|one| one.contains("NXABC")), "{found:?}");
    }

    #[test]
    fn a_unit_that_is_not_in_the_order_says_which_row_is_missing() {
        let mut looked = SurveyedUnit::new(&gateway("S1"), &[]);
        looked.add_order(Ok::<_, UnusableFile>(Ordered::None), Models::built_in());
        let action = looked.judge(String::new()).judged.findings.remove(0).action;
        assert!(action.ends_with("serial_number,manufacturer,model: S1,Acme,G3"), "{action}");
    }

    #[test]
    fn a_unit_that_cannot_be_looked_at_is_said_to_be_so_and_nothing_else() {
        let tested = SurveyedUnit::new_unusable("No such directory.", "Name another.").judge(String::new());
        assert_eq!((tested.judged.verdict, tested.judged.findings.len()), (Verdict::CouldNotCheck, 1));
    }
}
