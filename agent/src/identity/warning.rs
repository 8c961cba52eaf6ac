//! Warnings for people who register this machine by its identifiers.

use super::{RefusedBecause, Survey};
use std::collections::BTreeSet;
use unbox_common::identity::{HardwareIdentity, IdentifierKind, Rank, Rule};

/// Returns the warnings, most serious first, each a sentence or two.
#[must_use]
pub fn warnings(survey: &Survey) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(survey.identity().as_ref().ok().and_then(weakness));
    warnings.extend(placeholder_warning(survey));
    let contradicted = survey.refused.iter().filter(|one| one.because == RefusedBecause::Contradicted);
    warnings.extend(survey.disagreements.iter().map(|one| format!("Two places disagree: {one}.")));
    let shown = |from: &str| survey.disagreements.iter().any(|one| one.other.from == from);
    warnings.extend(
        contradicted
            .filter(|one| !shown(&one.candidate.from))
            .map(|one| format!("Two sources disagree: {one}.")),
    );
    warnings
}

/// Returns the strongest rank that an identity reaches by itself.
#[must_use]
pub fn rank(identity: &HardwareIdentity) -> Option<Rank> {
    let named = [IdentifierKind::Manufacturer, IdentifierKind::Model]
        .iter()
        .all(|kind| identity.of_kind(*kind).next().is_some());
    let kinds = identity.observations().iter().map(|one| one.identifier.kind());
    kinds.filter(|kind| named || !kind.needs_maker_and_model()).filter_map(IdentifierKind::rank).min()
}

/// Returns the reason why this identity is easily lost, or easily mistaken for another.
fn weakness(identity: &HardwareIdentity) -> Option<String> {
    let weak = match rank(identity)? {
        Rank::Uuid => "a UUID, which a new main board or a change in the firmware's set-up replaces",
        Rank::MacAddress => "MAC addresses, which go with the network card or the main board",
        Rank::Modem => "the number of its modem, which goes with the modem",
        Rank::Serial if has_only_part_serials(identity) => {
            "the serial number of a part, which goes with that part"
        }
        Rank::Key | Rank::CertifiedDeviceId | Rank::Serial => return None,
    };
    Some(format!(
        "The strongest that identifies this machine is {weak}. Ask the maker to program a serial number, or \
         register a key."
    ))
}

fn has_only_part_serials(identity: &HardwareIdentity) -> bool {
    let whole = [IdentifierKind::SerialNumber, IdentifierKind::ServiceTag];
    whole.iter().all(|kind| identity.of_kind(*kind).next().is_none())
}

/// Returns a warning about identifiers that the manufacturer left out.
fn placeholder_warning(survey: &Survey) -> Option<String> {
    let refused = survey.refused.iter().filter(|one| {
        matches!(one.because, RefusedBecause::Rule(Rule::Placeholder)) && one.candidate.kind.rank().is_some()
    });
    let has = |kind| survey.accepted.iter().any(|(one, _)| one.identifier.kind() == kind);
    let kinds: BTreeSet<&str> =
        refused.filter(|one| !has(one.candidate.kind)).map(|one| one.candidate.kind.name()).collect();
    let names: Vec<&str> = kinds.into_iter().collect();
    (!names.is_empty()).then(|| {
        format!("The maker left placeholders for {}. Ask the maker to program them.", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Candidate, Disagreement, SourcedValue};
    use unbox_common::identity::Source;

    fn survey(identifiers: &[(IdentifierKind, &str)]) -> Survey {
        let candidates = identifiers.iter().map(|(kind, value)| Candidate {
            kind: *kind,
            value: (*value).to_owned(),
            source: Source::Smbios,
            from: format!("{kind}"),
        });
        Survey::from_candidates(candidates.collect(), Vec::new(), Vec::new())
    }

    #[test]
    fn a_machine_that_is_easily_mistaken_is_warned_of() {
        use IdentifierKind::{BoardSerial, Imei, MacAddress, Manufacturer, Model, SerialNumber, SystemUuid};
        let named = [(Manufacturer, "Acme"), (Model, "Gateway 3")];
        let uuid = (SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513133");
        for (identifiers, rank_expected, warning) in [
            (vec![(SerialNumber, "AB12"), named[0], named[1], uuid], Some(Rank::Serial), None),
            (vec![uuid], Some(Rank::Uuid), Some("a UUID")),
            (vec![(MacAddress, "00163e000001"), uuid], Some(Rank::MacAddress), Some("MAC addresses")),
            (vec![(Imei, "490154203237518")], Some(Rank::Modem), Some("the number of its modem")),
            (vec![(BoardSerial, "B12"), named[0], named[1]], Some(Rank::Serial), Some("of a part")),
            // A serial number that cannot be registered does not raise the rank.
            (vec![(SerialNumber, "AB12"), uuid], Some(Rank::Uuid), Some("a UUID")),
        ] {
            let survey = survey(&identifiers);
            assert_eq!(rank(&survey.identity().unwrap()), rank_expected, "{identifiers:?}");
            let warnings = warnings(&survey);
            match warning {
                None => assert_eq!(warnings, Vec::<String>::new(), "{identifiers:?}"),
                Some(text) => assert!(warnings[0].contains(text), "{warnings:?}"),
            }
        }
    }

    #[test]
    fn placeholders_are_named_unless_another_source_has_the_value() {
        use IdentifierKind::{BoardSerial, MacAddress, SerialNumber};
        let survey = survey(&[
            (SerialNumber, "Default string"),
            (SerialNumber, "AB12"),
            (BoardSerial, "none"),
            (MacAddress, "00163e000001"),
        ]);
        let found = warnings(&survey);
        assert!(
            found.contains(
                &"The maker left placeholders for board_serial. Ask the maker to program them.".to_owned()
            ),
            "{found:?}"
        );
    }

    #[test]
    fn a_disagreement_is_said_once() {
        let mut survey =
            survey(&[(IdentifierKind::SerialNumber, "AAA111"), (IdentifierKind::SerialNumber, "BBB222")]);
        assert_eq!(warnings(&survey).iter().filter(|one| one.contains("disagree")).count(), 1);
        let said = |value: &str, from: &str| SourcedValue { value: value.to_owned(), from: from.to_owned() };
        survey.disagreements.push(Disagreement {
            what: "product_serial".to_owned(),
            counts: said("AAA111", "tables"),
            other: said("BBB222", "serial_number"),
        });
        assert_eq!(warnings(&survey).iter().filter(|one| one.contains("disagree")).count(), 1);
    }
}
