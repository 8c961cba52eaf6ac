//! The check whether a machine is the known one or another: a key may be copied with its disk, and parts
//! may be replaced. Device and server use the same rule.

use crate::{
    identity::{HardwareIdentity, Identifier, IdentifierKind},
    matching::ReplacedPart,
};
use std::collections::BTreeSet;

/// The identifiers that each tell a machine from all others, strongest first.
const STRONG: [IdentifierKind; 4] = [
    IdentifierKind::TpmKey,
    IdentifierKind::CertifiedDeviceId,
    IdentifierKind::SerialNumber,
    IdentifierKind::ServiceTag,
];

/// Identifiers of replaceable parts: they tell machines apart only if there is nothing stronger.
const WEAK: [IdentifierKind; 6] = [
    IdentifierKind::Imei,
    IdentifierKind::Meid,
    IdentifierKind::MacAddress,
    IdentifierKind::SystemUuid,
    IdentifierKind::BoardSerial,
    IdentifierKind::ChassisSerial,
];

/// Returns the identifiers that show a machine to be another than the known one; none if it is the same, or
/// if nothing can be compared.
///
/// One strong identifier in common makes it the same machine. An identifier that only one side has means
/// nothing: a source may be silent for a while.
#[must_use]
pub fn contradictions(shown: &HardwareIdentity, known: &[&Identifier]) -> Vec<ReplacedPart> {
    let compare = |kinds: &[IdentifierKind]| -> Vec<(IdentifierKind, bool)> {
        kinds.iter().filter_map(|kind| Some((*kind, agree(shown, known, *kind)?))).collect()
    };
    let strong = compare(&STRONG);
    let compared = if strong.is_empty() { compare(&WEAK) } else { strong };
    if compared.iter().any(|(_, agrees)| *agrees) {
        return Vec::new();
    }
    compared.into_iter().map(|(kind, _)| replaced_part(shown, known, kind)).collect()
}

/// Returns true if both have an identifier of this kind in common; `None` if one of them has none at all.
fn agree(shown: &HardwareIdentity, known: &[&Identifier], kind: IdentifierKind) -> Option<bool> {
    let mut before = of_kind(known, kind).peekable();
    before.peek().and(shown.of_kind(kind).next())?;
    // Makers number their machines independently.
    let same_maker =
        !kind.needs_maker_and_model() || agree(shown, known, IdentifierKind::Manufacturer).unwrap_or(true);
    Some(same_maker && before.any(|one| shown.shows(one)))
}

fn replaced_part(shown: &HardwareIdentity, known: &[&Identifier], kind: IdentifierKind) -> ReplacedPart {
    let was: BTreeSet<String> = of_kind(known, kind).map(|one| one.value().to_owned()).collect();
    let now = shown.of_kind(kind).map(|one| one.value().to_owned()).collect();
    ReplacedPart { kind, was: was.into_iter().collect(), now }
}

fn of_kind<'k>(known: &'k [&Identifier], kind: IdentifierKind) -> impl Iterator<Item = &'k Identifier> {
    known.iter().copied().filter(move |one| one.kind() == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Observed, Source};

    fn identity(identifiers: &[(IdentifierKind, &str)]) -> HardwareIdentity {
        let observed = identifiers.iter().map(|(kind, value)| Observed {
            identifier: Identifier::parse(*kind, value).unwrap(),
            source: Source::Smbios,
        });
        HardwareIdentity::new(observed).unwrap()
    }

    fn contradicting(before: &HardwareIdentity, now: &HardwareIdentity) -> Vec<IdentifierKind> {
        let known: Vec<&Identifier> = before.observations().iter().map(|one| &one.identifier).collect();
        contradictions(now, &known).into_iter().map(|part| part.kind).collect()
    }

    #[test]
    fn a_copied_disk_is_told_from_a_replaced_part() {
        use IdentifierKind::{
            BoardSerial, MacAddress, Manufacturer, Model, SerialNumber, SystemUuid, TpmKey,
        };
        const UUID: [&str; 2] =
            ["4c4c4544-0058-4b10-8039-b7c04f513133", "4c4c4544-0058-4b10-8039-b7c04f513134"];
        const MAC: [&str; 2] = ["00:16:3e:00:00:01", "00:16:3e:00:00:02"];
        let tpm = [
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752",
        ];
        let [one, two] = [0, 1].map(|n| {
            identity(&[
                (TpmKey, tpm[n]),
                (SerialNumber, ["AB12CD34", "AB12CD35"][n]),
                (Manufacturer, "Acme"),
                (Model, "Gateway 3"),
                (BoardSerial, ["B0ARD111", "B0ARD222"][n]),
                (MacAddress, MAC[n]),
                (SystemUuid, UUID[n]),
            ])
        });
        let serial = |value, maker| {
            identity(&[
                (SerialNumber, value),
                (Manufacturer, maker),
                (Model, "Gateway 3"),
                (MacAddress, MAC[0]),
            ])
        };
        let with_tpm = |which: usize, value| {
            identity(&[
                (TpmKey, tpm[which]),
                (SerialNumber, value),
                (Manufacturer, "Acme"),
                (Model, "Gateway 3"),
            ])
        };
        for (what, before, now, expected) in [
            ("the same machine", &one, &one, false),
            ("a copied disk", &one, &two, true),
            ("another serial number", &serial("AB12CD34", "Acme"), &serial("AB12CD35", "Acme"), true),
            ("another maker's number", &serial("AB12CD34", "Acme"), &serial("AB12CD34", "Other"), true),
            ("a replaced board that was given its serial number", &one, &with_tpm(1, "AB12CD34"), false),
            ("a serial number that was put right", &one, &with_tpm(0, "AB12CD99"), false),
            ("a source that is silent", &one, &identity(&[(MacAddress, MAC[0])]), false),
            (
                "nothing to compare",
                &identity(&[(SystemUuid, UUID[0])]),
                &identity(&[(MacAddress, MAC[0])]),
                false,
            ),
            (
                "a card of a machine that has no serial number",
                &identity(&[(MacAddress, MAC[0]), (SystemUuid, UUID[0])]),
                &identity(&[(MacAddress, MAC[1]), (SystemUuid, UUID[0])]),
                false,
            ),
            (
                "a copied disk where there is no serial number",
                &identity(&[(MacAddress, MAC[0]), (SystemUuid, UUID[0])]),
                &identity(&[(MacAddress, MAC[1]), (SystemUuid, UUID[1])]),
                true,
            ),
        ] {
            assert_eq!(!contradicting(before, now).is_empty(), expected, "{what}");
        }
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        use IdentifierKind::{BoardSerial, MacAddress, SerialNumber};
        let before = identity(&[(MacAddress, "00:16:3e:00:00:01"), (BoardSerial, "B0ARD111")]);
        let now = identity(&[(MacAddress, "00:16:3e:00:00:02"), (BoardSerial, "B0ARD222")]);
        assert_eq!(contradicting(&before, &now), [MacAddress, BoardSerial]);
        let known = Identifier::parse(SerialNumber, "AB12CD34").unwrap();
        let shown = identity(&[(SerialNumber, "AB12CD35"), (BoardSerial, "B0ARD111")]);
        let part = ReplacedPart {
            kind: SerialNumber,
            was: vec!["AB12CD34".to_owned()],
            now: vec!["AB12CD35".to_owned()],
        };
        assert_eq!(contradictions(&shown, &[&known, &known]), [part]);
    }
}
