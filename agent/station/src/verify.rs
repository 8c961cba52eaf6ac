//! The comparison of a unit with its label, its order and its claim: a pure function.

use super::{
    machine::Machine,
    verdict::{Finding, Judgement, Reason, Verdict, Witness},
    wording::{describe_difference, kind_name, make_printable, sentence_start},
};
use serde::{Deserialize, Serialize};
use unbox_agent::identity::{State, Unreadable, registration_row};
use unbox_common::identity::{HardwareIdentity, Identifier, IdentifierKind};

/// One statement of a source about a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "LoggedStatement", into = "LoggedStatement")]
pub struct Statement {
    /// The source.
    pub witness: Witness,
    /// Its possible meanings: a bare number on a label may have several, and one that fits is enough. All
    /// identifiers of one meaning belong together, and a meaning without any says that it may be about
    /// something else, such as a part.
    pub ways: Vec<Vec<Identifier>>,
}

/// The same in the format of the log.
#[derive(Serialize, Deserialize)]
struct LoggedStatement {
    witness: Witness,
    ways: Vec<Vec<(IdentifierKind, String)>>,
}

/// Everything known about a unit apart from the machine itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// The statements of labels, order and claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub said: Vec<Statement>,
    /// Faults found before: an unreadable label, an order without the unit, another unit with the same
    /// identifier.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// Checks a machine against everything that was said about it.
#[must_use]
pub fn verify(machine: &Machine, expected: Expected) -> Judgement {
    let Expected { said, mut findings } = expected;
    let identity = machine.identity.as_ref();
    let (mut identified, mut labelled, mut doubtful) = (false, false, None);
    for one in &said {
        match identity {
            Some(identity) if one.fits(identity) => {
                let mut all = one.ways.iter().flatten();
                let ranked = all.any(|reading| reading.kind().rank().is_some());
                identified |= ranked;
                labelled |= ranked && matches!(one.witness, Witness::Label { .. });
            }
            Some(_) if one.ways.iter().any(Vec::is_empty) => doubtful = doubtful.or(Some(one)),
            _ => findings.extend(find_mismatches(machine, one)),
        }
    }
    // A number that may be a part's counts against a unit only if no label identifies the unit.
    findings.extend(doubtful.filter(|_| !labelled).map(part_number_finding));
    match identity {
        None => findings.push(no_identity_finding(machine)),
        Some(identity) if registration_row(identity).is_none() => findings.push(Finding::new(
            Reason::NoIdentity,
            Verdict::Fail,
            "The serial number has no manufacturer and model beside it, so this unit cannot be registered.",
            "Have manufacturer and model programmed into the firmware.",
        )),
        Some(identity) if !identified => findings.extend(placeholder_findings(machine, identity)),
        Some(_) => {}
    }
    Judgement::from_findings(findings)
}

/// Makes the finding about a machine without an identity, which may only be due to an unreadable source.
fn no_identity_finding(machine: &Machine) -> Finding {
    if let Some(unread) = &machine.unread {
        return Finding::new(
            Reason::Unreadable,
            Verdict::CouldNotCheck,
            format!(
                "{} could not be read: {}.",
                make_printable(&unread.from),
                make_printable(&unread.reason)
            ),
            unread_advice(unread),
        );
    }
    Finding::new(
        Reason::NoIdentity,
        Verdict::Fail,
        "Nothing in this unit tells it from others of its model.",
        "Have a serial number programmed into the firmware.",
    )
}

impl From<Statement> for LoggedStatement {
    fn from(said: Statement) -> Self {
        let way =
            |way: &Vec<Identifier>| way.iter().map(|one| (one.kind(), one.value().to_owned())).collect();
        Self { ways: said.ways.iter().map(way).collect(), witness: said.witness }
    }
}

impl From<LoggedStatement> for Statement {
    /// Drops meanings that the current rules refuse.
    fn from(said: LoggedStatement) -> Self {
        let way = |way: Vec<(IdentifierKind, String)>| {
            way.iter().map(|(kind, value)| Identifier::parse(*kind, value).ok()).collect()
        };
        Self { ways: said.ways.into_iter().filter_map(way).collect(), witness: said.witness }
    }
}

impl Statement {
    /// Makes a statement with a single meaning.
    #[must_use]
    pub fn with_one_meaning(witness: Witness, identifier: Identifier) -> Self {
        Self { witness, ways: vec![vec![identifier]] }
    }

    fn fits(&self, identity: &HardwareIdentity) -> bool {
        self.ways.iter().any(|way| !way.is_empty() && way.iter().all(|one| identity.shows(one)))
    }
}

/// Returns everything in the likeliest meaning that the machine does not show. The likeliest meaning is
/// the one that the machine shows most of, or at least something of the same kinds.
fn find_mismatches(machine: &Machine, said: &Statement) -> Vec<Finding> {
    let identity = machine.identity.as_ref();
    let agreement = |way: &&Vec<Identifier>| {
        let shows = |one: &&Identifier| identity.is_some_and(|identity| identity.shows(one));
        let answers = |one: &&Identifier| {
            identity.is_some_and(|identity| identity.of_kind(one.kind()).next().is_some())
        };
        (way.iter().filter(shows).count(), way.iter().filter(answers).count())
    };
    // The first of equals: the likeliest comes first.
    let meant = said.ways.iter().rev().max_by_key(agreement);
    let missing = meant.into_iter().flatten();
    let missing = missing.filter(|one| !identity.is_some_and(|identity| identity.shows(one)));
    missing.map(|one| mismatch_finding(machine, &said.witness, one)).collect()
}

fn part_number_finding(said: &Statement) -> Finding {
    let value = said.ways.iter().flatten().next().map_or("", Identifier::value);
    let mut finding = Finding::new(
        Reason::LabelUnreadable,
        Verdict::NeedsAttention,
        format!(
            "The machine shows no {} of {}, which may be the number of a part.",
            make_printable(value),
            said.witness
        ),
        "Scan the code of the unit's serial number or service tag.",
    );
    finding.witness = Some(said.witness.clone());
    finding
}

fn mismatch_finding(machine: &Machine, witness: &Witness, meant: &Identifier) -> Finding {
    let kind = meant.kind();
    let shows: Vec<String> = machine
        .identity
        .iter()
        .flat_map(|identity| identity.of_kind(kind))
        .map(|one| one.value().to_owned())
        .collect();
    let name = kind_name(kind);
    let (reason, verdict, problem, action) = if let Some(own) = shows.first() {
        let problem = format!(
            "The {name} is {} in the machine and {} on {witness}{}.",
            make_printable(own),
            make_printable(meant.value()),
            describe_difference(own, meant.value())
        );
        (Reason::Different, Verdict::Fail, problem, mismatch_advice(witness))
    } else if let Some(value) = machine.placeholders.get(&kind) {
        let problem = format!(
            "{} says {name} {}, and the machine holds the placeholder {value:?}.",
            sentence_start(witness),
            make_printable(meant.value())
        );
        (Reason::Placeholder, Verdict::Fail, problem, "Program it into the firmware, and check again.")
    } else if let Some(unread) = &machine.unread {
        let problem = format!(
            "The {name} of the machine was not found, and {} could not be read: {}.",
            make_printable(&unread.from),
            make_printable(&unread.reason)
        );
        (Reason::Unreadable, Verdict::CouldNotCheck, problem, unread_advice(unread))
    } else {
        let problem =
            format!("The machine shows no {name}; {witness} says {}.", make_printable(meant.value()));
        (Reason::Missing, Verdict::Fail, problem, "Look whether the part is there, and program it if it is.")
    };
    Finding {
        reason,
        verdict,
        kind: Some(kind),
        shows,
        expected: vec![meant.value().to_owned()],
        witness: Some(witness.clone()),
        problem,
        action: action.to_owned(),
    }
}

const fn unread_advice(unread: &Unreadable) -> &'static str {
    match unread.state {
        State::NotPermitted => "Run the check as root.",
        _ => "Check it again; if that does not help, look at the machine.",
    }
}

/// Returns the advice about a differing value, by source.
const fn mismatch_advice(witness: &Witness) -> &'static str {
    match witness {
        Witness::Label { .. } => {
            "Look whether the label belongs to this unit, and print a new one if it does."
        }
        Witness::Order { .. } => {
            "Look whether this unit belongs to the order, and correct the row if it does."
        }
        Witness::Claim => {
            "Have the reseller correct the claim, or look whether parts of this unit were swapped."
        }
    }
}

/// Returns findings about placeholders in place of the usual identifiers. They matter only while no
/// better identifier was recognised.
fn placeholder_findings(machine: &Machine, identity: &HardwareIdentity) -> Vec<Finding> {
    let missing = |kind: &IdentifierKind| identity.of_kind(*kind).next().is_none();
    let usual = [IdentifierKind::SerialNumber, IdentifierKind::SystemUuid];
    let of_kind = |kind: IdentifierKind| {
        let value = machine.placeholders.get(&kind)?;
        let mut finding = Finding::new(
            Reason::Placeholder,
            Verdict::NeedsAttention,
            format!("The {} is the placeholder {value:?}.", kind_name(kind)),
            "Program it into the firmware, or register this unit by what `unbox-agent identity` names.",
        );
        finding.kind = Some(kind);
        Some(finding)
    };
    usual.into_iter().filter(missing).filter_map(of_kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::survey as machine;
    use IdentifierKind::{
        BoardSerial, ChassisSerial, MacAddress, Manufacturer, Model, SerialNumber, ServiceTag, SystemUuid,
    };
    use unbox_agent::identity::Survey;

    const LABEL: Witness = Witness::Label { number: 1 };
    const ORDER: Witness = Witness::Order { line: 7 };

    const UNIT: &[(IdentifierKind, &str)] = &[
        (SerialNumber, "PF0ABCDE"),
        (Manufacturer, "LENOVO"),
        (Model, "20QES0XX00"),
        (BoardSerial, "L1HF123"),
        (MacAddress, "00:16:3e:00:00:01"),
    ];

    fn statement(witness: &Witness, readings: &[(IdentifierKind, &str)]) -> Statement {
        let parse = |(kind, value): &(IdentifierKind, &str)| Identifier::parse(*kind, value).unwrap();
        Statement { witness: witness.clone(), ways: readings.iter().map(|one| vec![parse(one)]).collect() }
    }

    fn unreadable(from: &str, reason: &str) -> Unreadable {
        Unreadable { from: from.to_owned(), state: State::NotPermitted, reason: reason.to_owned() }
    }

    fn judge(machine: &Survey, said: Vec<Statement>) -> Judgement {
        verify(&Machine::from(machine), Expected { said, findings: Vec::new() })
    }

    #[test]
    fn a_unit_that_is_what_everybody_says_passes() {
        let all = vec![
            statement(&LABEL, &[(SerialNumber, "pf0abcde")]),
            statement(&ORDER, &[(Manufacturer, "Lenovo")]),
            statement(&ORDER, &[(MacAddress, "00163E000001")]),
            // A bare number may be any of these; one that fits is enough.
            statement(&LABEL, &[(ChassisSerial, "L1HF123"), (BoardSerial, "L1HF123")]),
        ];
        assert_eq!(judge(&machine(UNIT), all), Judgement::default());
        assert_eq!(judge(&machine(UNIT), vec![]), Judgement::default());
    }

    #[test]
    fn each_mismatch_is_named_with_both_sides_and_what_to_do() {
        use Verdict::{CouldNotCheck, Fail};
        let mut guarded = machine(&[(MacAddress, "00:16:3e:00:00:01")]);
        guarded.unreadable.push(unreadable("/sys/serial", "Permission denied"));
        let blank = machine(&[(MacAddress, "00:16:3e:00:00:01"), (SerialNumber, "Default string")]);
        for (machine, said, reason, verdict, problem) in [
            (
                machine(UNIT),
                statement(&LABEL, &[(SerialNumber, "PF0ABCDF")]),
                Reason::Different,
                Fail,
                "The serial number is PF0ABCDE in the machine and PF0ABCDF on the label.",
            ),
            (
                machine(UNIT),
                statement(&LABEL, &[(SerialNumber, "PF0ABCD")]),
                Reason::Different,
                Fail,
                "The serial number is PF0ABCDE in the machine and PF0ABCD on the label, where characters are \
                 missing.",
            ),
            (
                machine(UNIT),
                statement(&ORDER, &[(SerialNumber, "PFOABCDE")]),
                Reason::Different,
                Fail,
                "The serial number is PF0ABCDE in the machine and PFOABCDE on line 7 of the order, which only \
                 looks alike.",
            ),
            (
                machine(UNIT),
                statement(&Witness::Claim, &[(SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513133")]),
                Reason::Missing,
                Fail,
                "The machine shows no UUID; the claim says 4c4c4544-0058-4b10-8039-b7c04f513133.",
            ),
            (
                blank,
                statement(&LABEL, &[(SerialNumber, "PF0ABCDE")]),
                Reason::Placeholder,
                Fail,
                "The label says serial number PF0ABCDE, and the machine holds the placeholder \"Default string\".",
            ),
            (
                guarded,
                statement(&LABEL, &[(SerialNumber, "PF0ABCDE")]),
                Reason::Unreadable,
                CouldNotCheck,
                "The serial number of the machine was not found, and /sys/serial could not be read: Permission \
                 denied.",
            ),
            (
                machine(UNIT),
                statement(&LABEL, &[(ServiceTag, "7XK9Q13"), (SerialNumber, "7XK9Q13")]),
                Reason::Different,
                Fail,
                "The serial number is PF0ABCDE in the machine and 7XK9Q13 on the label.",
            ),
        ] {
            let judged = judge(&machine, vec![said]);
            let finding = judged.findings.iter().find(|finding| finding.reason == reason).unwrap();
            assert_eq!((judged.verdict, finding.problem.as_str()), (verdict, problem));
            assert!(finding.action.ends_with('.') && finding.witness.is_some());
        }
    }

    #[test]
    fn a_number_that_may_be_that_of_a_part_counts_only_where_no_label_names_the_unit() {
        let part = || {
            let mut part = statement(&LABEL, &[(SerialNumber, "5B20Z12345")]);
            part.ways.push(Vec::new());
            part
        };
        let alone = judge(&machine(UNIT), vec![part()]);
        assert_eq!(
            (alone.verdict, alone.findings[0].reason),
            (Verdict::NeedsAttention, Reason::LabelUnreadable)
        );
        let named = statement(&Witness::Label { number: 2 }, &[(SerialNumber, "PF0ABCDE")]);
        assert_eq!(judge(&machine(UNIT), vec![part(), named]).verdict, Verdict::Pass);
        let wrong = statement(&Witness::Label { number: 2 }, &[(SerialNumber, "PF0ABCDF")]);
        assert_eq!(judge(&machine(UNIT), vec![part(), wrong]).verdict, Verdict::Fail);
    }

    #[test]
    fn a_unit_without_an_identity_fails_and_one_that_nobody_could_read_does_not() {
        let blank = machine(&[(SerialNumber, "To Be Filled By O.E.M."), (Manufacturer, "Acme")]);
        assert_eq!(judge(&blank, vec![]).verdict, Verdict::Fail);
        let nameless = machine(&[(SerialNumber, "S1")]);
        let judged_nameless = judge(&nameless, vec![]);
        assert_eq!(judged_nameless.findings[0].reason, Reason::NoIdentity);
        let guarded = Survey { unreadable: vec![unreadable("a", "b")], ..Survey::default() };
        assert_eq!(judge(&guarded, vec![]).verdict, Verdict::CouldNotCheck);
    }

    #[test]
    fn a_placeholder_needs_attention_unless_something_better_was_recognised() {
        let white_box = machine(&[(SerialNumber, "Default string"), (MacAddress, "00:16:3e:00:00:01")]);
        let alone = judge(&white_box, vec![]);
        assert_eq!((alone.verdict, alone.findings.len()), (Verdict::NeedsAttention, 1));
        let ordered = vec![statement(&ORDER, &[(MacAddress, "00:16:3e:00:00:01")])];
        assert_eq!(judge(&white_box, ordered).verdict, Verdict::Pass);
        let by_name = vec![statement(&ORDER, &[(Manufacturer, "Acme")])];
        assert_eq!(judge(&white_box, by_name).verdict, Verdict::Fail, "a name identifies nothing");
    }

    #[test]
    fn nothing_that_a_machine_or_a_label_says_moves_a_cursor() {
        let mut hostile = Survey::default();
        hostile.unreadable.push(unreadable("\u{1b}[2J", "\r\n"));
        let finding = judge(&hostile, vec![]).findings.remove(0);
        assert!(!finding.to_string().contains(char::is_control), "{finding}");
    }
}
