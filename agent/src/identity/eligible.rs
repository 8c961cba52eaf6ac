//! The eligibility of a machine for registration by a certified device ID, where the rules apply to it.

use super::Survey;
use serde::Serialize;
use std::collections::BTreeMap;
use unbox_common::{
    eligibility::{Eligibility, Reason, Unit, judge},
    identity::{IdentifierKind, Source},
    models::Models,
};

/// The verdict about a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Eligible {
    /// The verdict itself.
    pub verdict: Verdict,
    /// The reason, unless it is eligible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The advice to the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    /// The identifiers to register, as far as they are known to be correct.
    pub register: BTreeMap<IdentifierKind, String>,
}

/// The eligibility for registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Eligible as it is.
    Eligible,
    /// Not eligible, at all or as it is.
    NotEligible,
    /// Some information is missing.
    Unknown,
}

/// Judges the machine by this table; `None` if it carries no vital product data, and so has no certified
/// device ID.
#[must_use]
pub fn eligibility(survey: &Survey, models: &Models) -> Option<Eligible> {
    let from_vpd = survey.accepted.iter().any(|(one, _)| one.source == Source::Vpd);
    if !from_vpd && survey.facts.brand_code.is_none() {
        return None;
    }
    let values = |kind: IdentifierKind| {
        survey.accepted.iter().map(|(one, _)| &one.identifier).filter(move |one| one.kind() == kind)
    };
    let first = |kind| values(kind).next().map_or("", |one| one.value());
    let listed = values(IdentifierKind::Model).find(|model| models.find(model.value()).is_some());
    let manufactured = survey.facts.manufactured.as_deref().and_then(|day| day.parse().ok());
    let unit = Unit {
        model: listed.map_or_else(|| first(IdentifierKind::Model), |model| model.value()),
        serial_number: first(IdentifierKind::SerialNumber),
        certified_device_id: first(IdentifierKind::CertifiedDeviceId),
        mac_address: first(IdentifierKind::MacAddress),
        manufactured,
        ..Unit::default()
    };
    Some(Eligible::from(judge(models, &unit)))
}

impl From<Eligibility> for Eligible {
    fn from(judged: Eligibility) -> Self {
        let register = judged.register().iter().map(|one| (one.kind(), one.value().to_owned())).collect();
        let (verdict, reason): (_, Option<Reason>) = match judged {
            Eligibility::Eligible { .. } => (Verdict::Eligible, None),
            Eligibility::NotEligible { reason, .. } => (Verdict::NotEligible, Some(reason)),
            Eligibility::Unknown { reason, .. } => (Verdict::Unknown, Some(reason)),
        };
        let advice = reason.as_ref().map(|reason| reason.advice().to_owned());
        Self { verdict, reason: reason.map(|reason| reason.to_string()), advice, register }
    }
}

impl Verdict {
    /// Returns the verdict in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eligible => "eligible",
            Self::NotEligible => "not eligible",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Candidate, Facts};

    fn survey(model: &str, manufactured: Option<&str>, source: Source) -> Survey {
        let candidate =
            |kind, value: &str| Candidate { kind, value: value.to_owned(), source, from: String::new() };
        let candidates = vec![
            candidate(IdentifierKind::SerialNumber, "NXABCDEF001234567890AB"),
            candidate(IdentifierKind::Model, "Board name"),
            candidate(IdentifierKind::Model, model),
        ];
        let facts = Facts { manufactured: manufactured.map(str::to_owned), ..Facts::default() };
        Survey { facts, ..Survey::from_candidates(candidates, Vec::new(), Vec::new()) }
    }

    #[test]
    fn the_day_of_manufacture_decides_where_the_table_says_so() {
        const MODEL: &str = "Chromebase Acer CA24I2";
        for (manufactured, expected) in [
            (Some("2023-04-17"), Verdict::Eligible),
            (Some("2019-04-17"), Verdict::NotEligible),
            (Some("some day"), Verdict::Unknown),
            (None, Verdict::Unknown),
        ] {
            let judged = eligibility(&survey(MODEL, manufactured, Source::Vpd), Models::built_in()).unwrap();
            assert_eq!(judged.verdict, expected, "{manufactured:?}: {judged:?}");
            assert_eq!(judged.reason.is_some(), expected != Verdict::Eligible);
        }
    }

    #[test]
    fn a_machine_of_another_kind_is_not_judged_and_a_new_model_comes_in_as_data() {
        let built_in = Models::built_in();
        assert_eq!(eligibility(&survey("Gateway 3", None, Source::Smbios), built_in), None);
        let new = survey("Gateway 3", None, Source::Vpd);
        assert_eq!(eligibility(&new, built_in).unwrap().verdict, Verdict::Unknown);
        let table = "model,brand,manufactured_from,certified_id,footnote\nGateway 3,Acme,,serial,\n";
        let further = built_in.merge(&Models::parse(table.as_bytes()).unwrap());
        assert_eq!(eligibility(&new, &further).unwrap().verdict, Verdict::Eligible);
    }
}
