//! The meaning of a scanned label, and the finding about an unreadable one.

use super::verdict::{Finding, Reason, Verdict, Witness};
use super::verify::Statement;
use unbox_common::{date::Date, label};

const SCAN_AGAIN: &str =
    "Scan the code of the serial number or of the service tag, and keep the scanner straight.";

/// A parsed label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The identifiers on it, with their possible meanings.
    pub said: Vec<Statement>,
    /// The day of manufacture, if the label has it.
    pub manufactured: Option<Date>,
}

/// Parses one scan. `number` is its position among the labels of the unit, from 1.
///
/// # Errors
/// The finding, if the scan does not identify a unit.
pub fn read(scan: &[u8], number: usize) -> Result<Label, Box<Finding>> {
    let witness = Witness::Label { number };
    let unreadable = |problem: String| {
        let mut finding = Finding::new(Reason::LabelUnreadable, Verdict::NeedsAttention, problem, SCAN_AGAIN);
        finding.witness = Some(witness.clone());
        Box::new(finding)
    };
    let scan =
        label::parse(scan).map_err(|error| unreadable(format!("The label could not be read: {error}.")))?;
    let readings = scan.identifiers();
    if let Some(refused) = readings.iter().find_map(|reading| reading.refused.as_ref()) {
        let (kind, rule) = (super::wording::kind_name(refused.kind), &refused.rule);
        return Err(unreadable(format!("The {kind} {:?} on {witness} {rule}.", refused.value)));
    }
    let said: Vec<Statement> = readings
        .iter()
        .filter(|reading| !reading.ways.is_empty())
        .map(|reading| Statement { witness: witness.clone(), ways: reading.ways.clone() })
        .collect();
    let names = |one: &Statement| one.ways.iter().flatten().any(|one| one.kind().rank().is_some());
    if said.iter().any(names) {
        Ok(Label { said, manufactured: scan.manufacture_date() })
    } else {
        Err(unreadable("The label names no unit: it may be that of a part, or of the box.".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_what_the_unit_must_show_or_what_is_wrong_with_it() {
        let ways = read(b"PF0ABCDE", 1).unwrap().said.remove(0).ways;
        assert!(ways.iter().flatten().any(|one| one.value() == "PF0ABCDE"));
        for (scan, problem) in [
            (b"".as_slice(), "The label could not be read: the scan is empty."),
            (b"\xff\xfe", "The label could not be read: the scan holds characters that no label carries."),
            (
                b"Default string",
                "The serial number \"Default string\" on the label is a placeholder that the maker never replaced.",
            ),
        ] {
            let refused = read(scan, 1).unwrap_err();
            assert_eq!((refused.problem.as_str(), refused.verdict), (problem, Verdict::NeedsAttention));
        }
    }
}
