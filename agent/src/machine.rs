//! The machine that a key and a ledger belong to: a disk may be copied, and then it lies.
//!
//! Pure: what is compared is what the [identity](crate::identity) stage read. A copied disk gives up the
//! key that came with it and enrolls as what it is now; a machine of which parts were replaced stays
//! what it is, and its server decides.

use serde::{Deserialize, Serialize};
use unbox_common::identity::{HardwareIdentity, IdentifierKind, RawIdentifier};

/// The identifiers that each tell a machine from all others, strongest first.
const STRONG: [IdentifierKind; 4] = [
    IdentifierKind::TpmKey,
    IdentifierKind::CertifiedDeviceId,
    IdentifierKind::SerialNumber,
    IdentifierKind::ServiceTag,
];

/// Those of parts that may be replaced: they tell machines apart only where nothing stronger does.
const WEAK: [IdentifierKind; 6] = [
    IdentifierKind::Imei,
    IdentifierKind::Meid,
    IdentifierKind::MacAddress,
    IdentifierKind::SystemUuid,
    IdentifierKind::BoardSerial,
    IdentifierKind::ChassisSerial,
];

/// The most bytes of a machine as a document.
pub const MAX_MACHINE_BYTES: u64 = 256 * 1024;

/// What a machine showed when a key was made on it, or when it last enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    identity: Vec<RawIdentifier>,
}

impl Machine {
    /// The machine that shows this identity.
    #[must_use]
    pub fn of(identity: &HardwareIdentity) -> Self {
        Self { identity: identity.to_raw() }
    }

    /// Whether `now` is shown by another machine than this one.
    ///
    /// One strong identifier that is still the same makes it the same machine, and so does the absence
    /// of everything that could be compared: a source may be silent for a while.
    #[must_use]
    pub fn is_other_than(&self, now: &Self) -> bool {
        let read = |machine: &Self| HardwareIdentity::from_raw(&machine.identity);
        let (Ok(before), Ok(now)) = (read(self), read(now)) else { return false };
        let compared = |kinds: &[IdentifierKind]| -> Vec<bool> {
            kinds.iter().filter_map(|kind| agree(&before, &now, *kind)).collect()
        };
        let strong = compared(&STRONG);
        let counts = if strong.is_empty() { compared(&WEAK) } else { strong };
        !counts.is_empty() && counts.iter().all(|agrees| !agrees)
    }
}

/// Whether both show a value of this kind in common; `None` if one of them shows none.
fn agree(before: &HardwareIdentity, now: &HardwareIdentity, kind: IdentifierKind) -> Option<bool> {
    before.of_kind(kind).next().and(now.of_kind(kind).next())?;
    // Makers number their machines independently.
    let same_maker =
        !kind.needs_maker_and_model() || agree(before, now, IdentifierKind::Manufacturer).unwrap_or(true);
    Some(same_maker && before.of_kind(kind).any(|one| now.shows(one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::identity::Source;

    fn identity(identifiers: &[(IdentifierKind, &str)]) -> HardwareIdentity {
        let raw: Vec<_> = identifiers
            .iter()
            .map(|(kind, value)| RawIdentifier {
                kind: *kind,
                value: (*value).to_owned(),
                source: Source::Smbios,
            })
            .collect();
        HardwareIdentity::from_raw(&raw).unwrap()
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
            assert_eq!(Machine::of(before).is_other_than(&Machine::of(now)), expected, "{what}");
        }
    }
}
