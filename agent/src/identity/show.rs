//! A survey as people read it: what was found, what was refused and why, and the row to register.

use super::Survey;
use std::fmt::Write as _;
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, Rank},
    matching::IdentifierSet,
};

/// The survey as text, ending with what to register, or with why this device cannot be.
#[must_use]
pub fn shown(survey: &Survey) -> String {
    let mut text = String::new();
    for (observed, from) in &survey.accepted {
        let identifier = &observed.identifier;
        let rank = identifier.kind().rank().map_or("name", rank_name);
        line(&mut text, identifier.kind().name(), identifier.value(), rank, from);
    }
    if !survey.refused.is_empty() {
        text.push_str("\nNot used:\n");
    }
    for refused in &survey.refused {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {refused}");
    }
    if !survey.unreadable.is_empty() {
        text.push_str("\nCould not be read (root sees more):\n");
    }
    for unreadable in &survey.unreadable {
        let _ = writeln!(text, "  {}: {}", unreadable.from, unreadable.reason);
    }
    match survey.identity() {
        Ok(identity) => {
            text.push_str("\nRegister this at the reseller:\n");
            let _ = match registration_row(&identity) {
                Some((header, row)) => writeln!(text, "  {header}\n  {row}"),
                None => {
                    writeln!(text, "  (nothing: the serial number needs manufacturer and model beside it)")
                }
            };
        }
        Err(error) => {
            let _ = writeln!(text, "\nThis device cannot be registered: {error}.");
        }
    }
    text
}

fn line(text: &mut String, kind: &str, value: &str, rank: &str, from: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{kind:<15} {value:<38} {rank:<12} {from}");
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

/// Header and row of a claims file for this device: its strongest set of identifiers.
///
/// `None` if its only identifier is a serial number without maker and model.
#[must_use]
pub fn registration_row(identity: &HardwareIdentity) -> Option<(String, String)> {
    let first = |kind| identity.of_kind(kind).next();
    let named = first(IdentifierKind::Manufacturer).zip(first(IdentifierKind::Model));
    let strongest = [
        IdentifierKind::ServiceTag,
        IdentifierKind::SerialNumber,
        IdentifierKind::BoardSerial,
        IdentifierKind::ChassisSerial,
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
    let joined = |cells: Vec<String>| cells.join(",");
    Some((
        joined(set.iter().map(|one| one.kind().name().to_owned()).collect()),
        joined(set.iter().map(|one| cell(one.value())).collect()),
    ))
}

/// One cell of a CSV file (RFC 4180, section 2).
fn cell(value: &str) -> String {
    if value.contains([',', '"']) { format!("\"{}\"", value.replace('"', "\"\"")) } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::identity::Source;

    fn identity(identifiers: &[(IdentifierKind, &str)]) -> HardwareIdentity {
        let observed = identifiers.iter().map(|(kind, value)| unbox_common::identity::Observed {
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
}
