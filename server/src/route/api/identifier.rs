//! From the identifiers of a message to the sets that claims register, and to the claim that is meant.

use super::{
    message::common::{DeviceIdentifier, DeviceType, Target},
    wire::{detail::Reason, status::Status},
};
use crate::domain::claims::{
    chromeos,
    claim::{Claim, ClaimTarget},
    registration::registered_sets,
};
use unbox_common::{
    date::Date,
    eligibility::{Part, Unit},
    identity::Identifier,
    matching::IdentifierSet,
    models::Models,
};

/// Returns the sets that a claim registers for these identifiers, of a device that was made on this day: a
/// device must match any one of them as a whole.
///
/// # Errors
/// The rule that an identifier breaks, or all of them together.
pub(super) fn sets(
    models: &Models,
    from: &DeviceIdentifier,
    within: &str,
    manufactured: Option<Date>,
) -> Result<Vec<IdentifierSet>, Status> {
    let insufficient =
        |rule: String| Status::invalid_field(within, rule).with_reason(Reason::InvalidIdentifierSet);
    if from.is_chrome_os() {
        let unit = Unit {
            serial_number: &from.serial_number,
            model: &from.model,
            certified_device_id: &from.chrome_os_attested_device_id,
            mac_address: &from.mac_address,
            manufactured,
            ..Unit::default()
        };
        chromeos::check(models, &unit).map_err(|invalid| {
            let (field, reason) = match invalid.part {
                Part::SerialNumber => ("serialNumber", Reason::InvalidSerial),
                Part::Model => ("model", Reason::InvalidModel),
                Part::CertifiedId | Part::Manufactured => {
                    ("chromeOsAttestedDeviceId", Reason::InvalidIdentifierSet)
                }
            };
            Status::invalid_field(format!("{within}.{field}"), invalid.rule).with_reason(reason)
        })?;
    }
    match registered_sets(from.identifiers(within)?) {
        Ok(sets) if sets.is_empty() => Err(insufficient(
            "Expected an IMEI, a MEID, or a serial number with manufacturer and model.".to_owned(),
        )),
        Ok(sets) => Ok(sets),
        Err(error) => Err(insufficient(format!("{error}."))),
    }
}

/// Returns the claim that a message means; `within` is the path of its device.
///
/// # Errors
/// The rule that an identifier breaks.
pub(super) fn target(of: Target<'_>, within: &str) -> Result<ClaimTarget, Status> {
    Ok(match of {
        Target::Id(id) => ClaimTarget::Id(id),
        Target::Identifier(identifier) => {
            let dot = if within.is_empty() { "" } else { "." };
            ClaimTarget::Identifiers(identifier.identifiers(&format!("{within}{dot}deviceIdentifier"))?)
        }
    })
}

/// Returns the identifiers that a claim registers, as a message.
pub(super) fn message(claim: &Claim) -> DeviceIdentifier {
    let mut identifiers: Vec<&Identifier> =
        claim.sets.usable().iter().flat_map(IdentifierSet::members).collect();
    identifiers.sort();
    identifiers.dedup();
    let mut message = DeviceIdentifier::of(identifiers);
    if !message.chrome_os_attested_device_id.is_empty() {
        message.device_type = DeviceType::ChromeOs;
    }
    message
}
