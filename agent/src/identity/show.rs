//! A survey as shown to people and factory stations: found values, refused values with reasons, and the
//! row to register.

use super::{
    Disagreement, Eligible, Facts, PlaceResult, Refused, State, Survey, Unreadable, Verdict, eligibility,
    rank, warnings,
};
use crate::text::plain;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, Observed, Rank, Source},
    matching::IdentifierSet,
    models::Models,
    text::is_invisible,
};

/// A survey for programs.
#[derive(Debug, Serialize)]
pub struct SurveyReport {
    /// Every identifier, ordered by kind.
    pub identifiers: Vec<ReportedIdentifier>,
    /// Every value that was not accepted.
    pub refused: Vec<ReportedRefusal>,
    /// Every file or interface that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Every place that was examined, with the result.
    pub sources: Vec<PlaceResult>,
    /// Pairs of places that disagree.
    pub disagreements: Vec<Disagreement>,
    /// Other facts about the machine.
    pub facts: Facts,
    /// Facts that somebody should know before this machine is registered, in words.
    pub warnings: Vec<String>,
    /// The strongest rank that this machine reaches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<Rank>,
    /// The eligibility for registration by a certified device ID; absent if the machine has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eligibility: Option<Eligible>,
    /// The values to register at the reseller, column by column; absent if this device cannot be
    /// registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register: Option<BTreeMap<IdentifierKind, String>>,
    /// The reason why it cannot be registered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One identifier of a survey.
#[derive(Debug, Serialize)]
pub struct ReportedIdentifier {
    /// Its kind.
    pub kind: IdentifierKind,
    /// Its value.
    pub value: String,
    /// The kind of source.
    pub source: Source,
    /// Its rank on its own; absent for a manufacturer, a model or a SKU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<Rank>,
    /// The file or interface that it was read from; absent if it is derived from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// One value that was not accepted.
#[derive(Debug, Serialize)]
pub struct ReportedRefusal {
    /// The kind of identifier that it would have been.
    pub kind: IdentifierKind,
    /// The value, cut to 64 characters.
    pub value: String,
    /// The file or interface.
    pub from: String,
    /// The rule that it broke, in words.
    pub because: String,
}

impl SurveyReport {
    /// Makes the form for programs, judging eligibility by this table of models.
    #[must_use]
    pub fn new(survey: &Survey, models: &Models) -> Self {
        let identity = survey.identity();
        let derived = identity.iter().flat_map(HardwareIdentity::observations);
        let derived = derived.filter(|one| one.source == Source::Derived).map(|one| (one, None));
        let read = survey.accepted.iter().map(|(one, from)| (one, Some(from.clone())));
        let mut all: Vec<_> = read.chain(derived).collect();
        all.sort();
        let judged = eligibility(survey, models);
        Self {
            identifiers: all.into_iter().map(|(one, from)| ReportedIdentifier::new(one, from)).collect(),
            refused: survey.refused.iter().map(ReportedRefusal::new).collect(),
            unreadable: survey.unreadable.clone(),
            sources: survey.looked.clone(),
            disagreements: survey.disagreements.clone(),
            facts: survey.facts.clone(),
            warnings: warnings(survey),
            register: identity.as_ref().ok().and_then(|identity| recommended_set(identity, judged.as_ref())),
            eligibility: judged,
            rank: identity.as_ref().ok().and_then(rank),
            problem: identity.err().map(|error| error.to_string()),
        }
    }
}

impl ReportedIdentifier {
    fn new(observed: &Observed, from: Option<String>) -> Self {
        let kind = observed.identifier.kind();
        Self {
            kind,
            value: observed.identifier.value().to_owned(),
            source: observed.source,
            rank: kind.rank(),
            from,
        }
    }
}

impl ReportedRefusal {
    fn new(refused: &Refused) -> Self {
        Self {
            kind: refused.candidate.kind,
            value: refused.candidate.value.chars().take(64).collect(),
            from: refused.candidate.from.clone(),
            because: refused.because.to_string(),
        }
    }
}

/// Formats the survey as text, ending with the row to register, or with the reason why this device cannot
/// be registered.
#[must_use]
pub fn survey_text(survey: &Survey, models: &Models) -> String {
    let shown = SurveyReport::new(survey, models);
    let mut text = String::new();
    for one in &shown.identifiers {
        let rank = one.rank.map_or("name", rank_name);
        let from = one.from.as_deref().unwrap_or("(follows from the others)");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:<20} {:<38} {rank:<12} {from}", one.kind.name(), one.value);
    }
    for (name, fact) in facts(survey) {
        let _ = writeln!(text, "{name:<20} {}", plain(fact, 64));
    }
    write_section(&mut text, "Not used", survey.refused.iter());
    write_section(&mut text, "Warnings", shown.warnings.iter());
    write_section(
        &mut text,
        "Sources that were not simply read",
        survey.looked.iter().filter(|looked| looked.state != State::Read),
    );
    if let Some(judged) = &shown.eligibility {
        let verdict = format!("{}.", judged.verdict.name());
        let said = [Some(&verdict), judged.reason.as_ref(), judged.advice.as_ref()];
        let said: Vec<&str> = said.into_iter().flatten().map(String::as_str).collect();
        let _ = writeln!(text, "\nBy a certified device ID: {}", said.join(" "));
        for (kind, value) in &judged.register {
            let _ = writeln!(text, "  {:<20} {value}", kind.name());
        }
    }
    if let Some(rank) = shown.rank {
        let _ = writeln!(text, "\nThe strongest claim on this machine is by {}.", rank_name(rank));
    }
    let _ = match (&shown.problem, shown.register.as_ref().map(header_and_row)) {
        (Some(problem), _) => writeln!(text, "\nThis device cannot be registered: {problem}."),
        (None, Some((header, row))) => {
            writeln!(text, "\nRegister this at the reseller:\n  {header}\n  {row}")
        }
        (None, None) => writeln!(
            text,
            "\nThis device cannot be registered: a serial number needs manufacturer and model beside it."
        ),
    };
    // Whatever the firmware holds: no character of it moves the cursor, or hides or reorders others.
    text.replace(|char| char != '\n' && is_invisible(char), " ")
}

/// Writes a heading and its lines, if there are any.
fn write_section(text: &mut String, heading: &str, lines: impl Iterator<Item = impl Display>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        let _ = writeln!(text, "\n{heading}:");
    }
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
}

/// Returns the facts about the machine apart from identifiers, by name.
fn facts(survey: &Survey) -> Vec<(&'static str, &str)> {
    let Facts { manufactured, brand_code, oem_strings } = &survey.facts;
    let mut facts = Vec::new();
    facts.extend(manufactured.as_deref().map(|day| ("manufactured", day)));
    facts.extend(brand_code.as_deref().map(|code| ("brand_code", code)));
    facts.extend(oem_strings.iter().map(|text| ("oem_string", text.as_str())));
    facts
}

const fn rank_name(rank: Rank) -> &'static str {
    match rank {
        Rank::Key => "key",
        Rank::CertifiedDeviceId => "certified id",
        Rank::Serial => "serial",
        Rank::Modem => "modem",
        Rank::MacAddress => "MAC address",
        Rank::Uuid => "UUID",
    }
}

/// Returns header and row of a claims file for this device.
///
/// `None` if its only identifier is a serial number without maker and model.
#[must_use]
pub fn registration_row(identity: &HardwareIdentity) -> Option<(String, String)> {
    strongest_set(identity).as_ref().map(header_and_row)
}

fn header_and_row(set: &BTreeMap<IdentifierKind, String>) -> (String, String) {
    let joined = |cells: Vec<String>| cells.join(",");
    (
        joined(set.keys().map(|kind| kind.name().to_owned()).collect()),
        joined(set.values().map(|value| csv_cell(value)).collect()),
    )
}

/// Returns the identifiers that make the device eligible by its certified device ID; otherwise the
/// strongest set available.
fn recommended_set(
    identity: &HardwareIdentity,
    judged: Option<&Eligible>,
) -> Option<BTreeMap<IdentifierKind, String>> {
    let certified = judged.filter(|judged| {
        judged.verdict == Verdict::Eligible
            && judged.register.contains_key(&IdentifierKind::CertifiedDeviceId)
    });
    certified.map(|judged| judged.register.clone()).or_else(|| strongest_set(identity))
}

/// Returns the strongest set of identifiers that a claim can register for this device.
fn strongest_set(identity: &HardwareIdentity) -> Option<BTreeMap<IdentifierKind, String>> {
    let first = |kind| identity.of_kind(kind).next();
    let named = first(IdentifierKind::Manufacturer).zip(first(IdentifierKind::Model));
    let strongest = [
        IdentifierKind::ServiceTag,
        IdentifierKind::SerialNumber,
        IdentifierKind::BoardSerial,
        IdentifierKind::ChassisSerial,
        IdentifierKind::Imei,
        IdentifierKind::Meid,
        IdentifierKind::MacAddress,
        IdentifierKind::SystemUuid,
    ]
    .into_iter()
    .filter(|kind| !kind.needs_maker_and_model() || named.is_some())
    .find_map(first)?;
    let mut set: Vec<&Identifier> = vec![strongest];
    if let Some((maker, model)) = named
        && strongest.kind().rank() == Some(Rank::Serial)
    {
        set.extend([maker, model]);
    }
    IdentifierSet::new(set.iter().copied().cloned()).ok()?;
    Some(set.into_iter().map(|one| (one.kind(), one.value().to_owned())).collect())
}

/// Formats one cell of a CSV file (RFC 4180, section 2).
fn csv_cell(value: &str) -> String {
    if value.contains([',', '"']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(identifiers: &[(IdentifierKind, &str)]) -> HardwareIdentity {
        let observed = identifiers.iter().map(|(kind, value)| Observed {
            identifier: Identifier::parse(*kind, value).unwrap(),
            source: Source::Smbios,
        });
        HardwareIdentity::new(observed).unwrap()
    }

    #[test]
    fn the_row_is_the_strongest_set_that_a_claim_can_hold() {
        use IdentifierKind::{MacAddress, Manufacturer, Model, SerialNumber, SystemUuid};
        let acme = [(Manufacturer, "Acme, Inc."), (Model, "Gateway 3")];
        for (identifiers, expected) in [
            (
                vec![(SerialNumber, "AB12"), acme[0], acme[1]],
                Some(("serial_number,manufacturer,model", "AB12,\"Acme, Inc.\",Gateway 3")),
            ),
            (
                vec![(SerialNumber, "7XK9Q13"), (Manufacturer, "Dell Inc."), (Model, "R650")],
                Some(("service_tag,manufacturer,model", "7XK9Q13,Dell Inc.,R650")),
            ),
            (
                vec![(SerialNumber, "AB12"), (MacAddress, "00163e000001")],
                Some(("mac_address", "00:16:3e:00:00:01")),
            ),
            (
                vec![(SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513133")],
                Some(("system_uuid", "4c4c4544-0058-4b10-8039-b7c04f513133")),
            ),
            (vec![(SerialNumber, "AB12")], None),
        ] {
            let row = registration_row(&identity(&identifiers));
            let row = row.as_ref().map(|(header, row)| (header.as_str(), row.as_str()));
            assert_eq!(row, expected);
        }
    }

    #[test]
    fn what_the_firmware_holds_neither_moves_the_cursor_nor_hides_or_reorders_text() {
        let candidates = ["AB\u{202e}12", "AB\u{1b}[2J"].map(|value| crate::identity::Candidate {
            kind: IdentifierKind::SerialNumber,
            value: value.to_owned(),
            source: Source::Smbios,
            from: format!("/sys/{value}"),
        });
        let mut survey = Survey::from_candidates(candidates.to_vec(), Vec::new(), Vec::new());
        survey.facts.oem_strings = vec!["a\u{2066}b\u{9b}".to_owned()];
        let text = survey_text(&survey, Models::built_in());
        assert!(text.contains("/sys/AB 12") && text.contains("a b"), "{text}");
        assert!(!text.chars().any(|char| char != '\n' && is_invisible(char)), "{text:?}");
    }
}
