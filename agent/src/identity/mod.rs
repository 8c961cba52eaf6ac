//! Stage 2, `identity`: reads the hardware identifiers of this device.
//!
//! In: any root directory, so that a captured machine is a fixture. Out: a [`Survey`]: the identifiers
//! that passed the rules (a `HardwareIdentity`, if one of them identifies the device), and, just as
//! visible, every refused value and every unreadable source.
//!
//! To add a source: a pure file that turns its content into [`Candidate`]s, a place in `io.rs` that reads
//! it, and a fixture directory with its row in `tests/identity_fixtures.rs`.

mod cpu;
pub mod device_tree;
mod eligible;
pub mod io;
mod modem;
mod network;
mod show;
pub mod smbios;
mod source;
mod tpm;
pub mod vpd;
mod warning;

pub use eligible::{Eligible, Verdict, eligibility};
pub use show::{ReportedIdentifier, ReportedRefusal, SurveyReport, registration_row, survey_text};
pub use source::{Place, PlaceResult, State, Unreadable};
pub use warning::{rank, warnings};

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};
use unbox_common::identity::{
    HardwareIdentity, Identifier, IdentifierKind, IdentityError, InvalidIdentifier, Observed, RawIdentifier,
    Rule, Source,
};

/// The largest survey that is read back, in bytes.
pub const MAX_SURVEY_BYTES: u64 = 256 * 1024;

/// A raw value from a source, before any rule is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The kind of identifier that it would be.
    pub kind: IdentifierKind,
    /// The value as it was read.
    pub value: String,
    /// The kind of source.
    pub source: Source,
    /// The file or interface itself.
    pub from: String,
}

/// A value that was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The value.
    pub candidate: Candidate,
    /// The reason.
    pub because: RefusedBecause,
}

/// The reason why a value was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefusedBecause {
    /// It broke a rule of its kind.
    Rule(Rule),
    /// The driver made the address up: it changes with every boot.
    RandomAddress,
    /// The hardware can be unplugged, and then identifies another device.
    Removable,
    /// The hardware is on USB, and nothing marks it as built in.
    PerhapsRemovable,
    /// A stronger source has another value.
    Contradicted,
    /// A device shows at most this many identifiers of this kind.
    TooMany(usize),
}

/// A value and its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourcedValue {
    /// The value; empty if there is none.
    pub value: String,
    /// The file.
    pub from: String,
}

/// Two places that should hold the same value, but do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// The field or key.
    pub what: String,
    /// The value that is used.
    pub counts: SourcedValue,
    /// The value from the other place.
    pub other: SourcedValue,
}

/// Facts about the machine that are not identifiers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The day of manufacture, in the manufacturer's notation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufactured: Option<String>,
    /// The brand code of a ChromeOS device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brand_code: Option<String>,
    /// The free strings of its SMBIOS tables, except those that may be secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub oem_strings: Vec<String>,
}

/// The complete result of one look at the hardware.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Identifiers that passed the rules, each with its file or interface.
    pub accepted: Vec<(Observed, String)>,
    /// Values that were not accepted.
    pub refused: Vec<Refused>,
    /// Sources that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Every place that was examined.
    pub looked: Vec<PlaceResult>,
    /// Pairs of places that disagree.
    pub disagreements: Vec<Disagreement>,
    /// Other facts about the machine.
    pub facts: Facts,
}

impl Survey {
    /// Checks candidates against the rules; they come in the order of their sources, strongest first.
    #[must_use]
    pub fn from_candidates(
        candidates: Vec<Candidate>,
        mut refused: Vec<Refused>,
        unreadable: Vec<Unreadable>,
    ) -> Self {
        let mut accepted: Vec<(Observed, String)> = Vec::new();
        for candidate in candidates {
            let because = match candidate.parse() {
                Err(InvalidIdentifier { rule, .. }) => RefusedBecause::Rule(rule),
                Ok(identifier) if accepted.iter().any(|(one, _)| one.identifier == identifier) => continue,
                Ok(identifier) if is_complete(&accepted, identifier.kind()) => {
                    match identifier.kind().max_shown_values() {
                        1 => RefusedBecause::Contradicted,
                        most => RefusedBecause::TooMany(most),
                    }
                }
                Ok(identifier) => {
                    let source = candidate.source;
                    accepted.push((Observed { identifier, source }, candidate.from));
                    continue;
                }
            };
            refused.push(Refused { candidate, because });
        }
        accepted.sort();
        Self { accepted, refused, unreadable, ..Self::default() }
    }

    /// Returns the identity, if the accepted values identify a device.
    ///
    /// # Errors
    /// [`IdentityError::NothingIdentifying`].
    pub fn identity(&self) -> Result<HardwareIdentity, IdentityError> {
        HardwareIdentity::new(self.accepted.iter().map(|(observed, _)| observed.clone()))
    }
}

/// Returns true if the maximum of shown identifiers of this kind is reached.
fn is_complete(accepted: &[(Observed, String)], kind: IdentifierKind) -> bool {
    accepted.iter().filter(|(one, _)| one.identifier.kind() == kind).count() >= kind.max_shown_values()
}

impl Candidate {
    fn parse(&self) -> Result<Identifier, InvalidIdentifier> {
        Identifier::parse(self.kind, &self.value)
    }
}

impl fmt::Display for RefusedBecause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::RandomAddress => f.write_str("is an address that the driver made up at boot"),
            Self::Removable => f.write_str("belongs to an interface that can be unplugged"),
            Self::PerhapsRemovable => {
                f.write_str("belongs to an interface on USB of which nothing says that it is built in")
            }
            Self::Contradicted => f.write_str("differs from what a stronger source says"),
            Self::TooMany(most) => write!(f, "is one more than the {most} that a device shows"),
        }
    }
}

impl SourcedValue {
    /// Returns true if both values are the same, apart from white space and case.
    fn agrees_with(&self, other: &Self) -> bool {
        self.value.trim().eq_ignore_ascii_case(other.value.trim())
    }
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |value: &str| value.trim().chars().take(64).collect::<String>();
        let Self { what, counts, other } = self;
        write!(
            f,
            "{what} is {:?} in {}, and {:?} in {}",
            short(&counts.value),
            counts.from,
            short(&other.value),
            other.from
        )
    }
}

/// A survey in the form of `/run/unbox/identity.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SurveyFile {
    /// Identifiers that passed the rules; the rules are applied again when the file is read.
    pub identity: Vec<RawIdentifier>,
    /// Values that were not accepted, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<String>,
    /// Sources that could not be read, with the reasons.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreadable: BTreeMap<String, String>,
}

impl From<&Survey> for SurveyFile {
    fn from(survey: &Survey) -> Self {
        // The whole identity, including derived identifiers; empty if there is none.
        let identity = survey.identity().map(|identity| identity.to_raw());
        Self {
            identity: identity.unwrap_or_default(),
            refused: survey.refused.iter().map(ToString::to_string).collect(),
            unreadable: survey.unreadable.iter().map(|one| (one.from.clone(), one.reason.clone())).collect(),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Candidate { kind, value, from, .. } = &self.candidate;
        let value: String = value.chars().take(64).collect();
        write!(f, "{kind} {value:?} from {from} {}", self.because)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(kind: IdentifierKind, value: &str, source: Source) -> Candidate {
        Candidate { kind, value: value.to_owned(), source, from: format!("{source:?}") }
    }

    #[test]
    fn what_is_refused_is_listed_with_its_rule() {
        let survey = Survey::from_candidates(
            vec![
                candidate(IdentifierKind::SerialNumber, "Default string", Source::Smbios),
                candidate(IdentifierKind::MacAddress, "00:16:3e:00:00:01", Source::Network),
            ],
            Vec::new(),
            Vec::new(),
        );
        assert_eq!(
            survey.refused[0].to_string(),
            "serial_number \"Default string\" from Smbios is a placeholder that the maker never replaced"
        );
        assert_eq!(survey.identity().unwrap().observations().len(), 1);
    }

    #[test]
    fn the_stronger_source_wins_and_the_other_is_shown() {
        let survey = Survey::from_candidates(
            vec![
                candidate(IdentifierKind::SerialNumber, "AAA111", Source::Smbios),
                candidate(IdentifierKind::SerialNumber, "aaa111", Source::Vpd),
                candidate(IdentifierKind::SerialNumber, "BBB222", Source::DeviceTree),
                candidate(IdentifierKind::Model, "One", Source::Smbios),
                candidate(IdentifierKind::Model, "Two", Source::Smbios),
            ],
            Vec::new(),
            Vec::new(),
        );
        assert_eq!(survey.accepted.len(), 3);
        assert_eq!(survey.refused.len(), 1);
        assert_eq!(survey.refused[0].because, RefusedBecause::Contradicted);
    }

    #[test]
    fn a_machine_that_has_more_than_a_device_shows_still_has_an_identity() {
        use IdentifierKind::{Imei, MacAddress, Manufacturer, Model, SerialNumber};
        let mut candidates = vec![candidate(SerialNumber, "AAA111", Source::Smbios)];
        candidates.extend(
            (0..200).map(|n| candidate(MacAddress, &format!("00:16:3e:00:00:{n:02x}"), Source::Network)),
        );
        candidates.extend((10..15).map(|n| candidate(Imei, &format!("490154203237{n}"), Source::Modem)));
        candidates.extend((10..17).map(|n| candidate(Model, &format!("Name {n}"), Source::Smbios)));
        candidates.extend((10..17).map(|n| candidate(Manufacturer, &format!("Maker {n}"), Source::Smbios)));
        let survey = Survey::from_candidates(candidates, Vec::new(), Vec::new());
        let identity = survey.identity().unwrap();
        for (kind, most) in [(SerialNumber, 1), (MacAddress, 16), (Imei, 2), (Model, 4), (Manufacturer, 4)] {
            assert_eq!(identity.of_kind(kind).count(), most, "{kind}");
        }
        assert_eq!(survey.refused.len(), 1 + 200 + 5 + 7 + 7 - (1 + 16 + 2 + 4 + 4));
        assert!(
            survey
                .refused
                .iter()
                .any(|one| one.to_string().ends_with("more than the 16 that a device shows"))
        );
    }

    #[test]
    fn nothing_is_no_identity_and_says_so() {
        let survey = Survey::default();
        assert_eq!(survey.identity(), Err(IdentityError::NothingIdentifying));
        assert_eq!(SurveyFile::from(&survey).identity, []);
    }
}
