//! Between the identifiers of a message and those that claims register.

use super::{
    message::common::{DeviceIdentifier, DeviceType, Target},
    wire::status::{FieldViolation, Reason},
};
use crate::domain::claim::{Claim, ClaimTarget};
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    matching::IdentifierSet,
};

/// A field that cannot be used, and the API's word for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) violation: FieldViolation,
    pub(super) reason: Reason,
}

impl Unusable {
    pub(super) fn new(field: &str, rule: &str, reason: Reason) -> Self {
        Self { violation: FieldViolation::new(field, rule), reason }
    }
}

/// Every field of the message with the kind that it holds.
const FIELDS: [(&str, IdentifierKind, fn(&mut DeviceIdentifier) -> &mut String); 15] = [
    ("imei", IdentifierKind::Imei, |of| &mut of.imei),
    ("imei2", IdentifierKind::Imei, |of| &mut of.imei2),
    ("meid", IdentifierKind::Meid, |of| &mut of.meid),
    ("meid2", IdentifierKind::Meid, |of| &mut of.meid2),
    ("serialNumber", IdentifierKind::SerialNumber, |of| &mut of.serial_number),
    ("manufacturer", IdentifierKind::Manufacturer, |of| &mut of.manufacturer),
    ("model", IdentifierKind::Model, |of| &mut of.model),
    ("chromeOsAttestedDeviceId", IdentifierKind::CertifiedDeviceId, |of| &mut of.chrome_os_attested_device_id),
    ("serviceTag", IdentifierKind::ServiceTag, |of| &mut of.service_tag),
    ("macAddress", IdentifierKind::MacAddress, |of| &mut of.mac_address),
    ("systemUuid", IdentifierKind::SystemUuid, |of| &mut of.system_uuid),
    ("tpmKeyDigest", IdentifierKind::TpmKey, |of| &mut of.tpm_key_digest),
    ("deviceKeyDigest", IdentifierKind::DeviceKey, |of| &mut of.device_key_digest),
    ("boardSerial", IdentifierKind::BoardSerial, |of| &mut of.board_serial),
    ("chassisSerial", IdentifierKind::ChassisSerial, |of| &mut of.chassis_serial),
];

const fn reason(kind: IdentifierKind) -> Reason {
    match kind {
        IdentifierKind::Imei => Reason::InvalidImei,
        IdentifierKind::Meid => Reason::InvalidMeid,
        IdentifierKind::SerialNumber => Reason::InvalidSerial,
        IdentifierKind::Manufacturer => Reason::InvalidManufacturer,
        IdentifierKind::Model => Reason::InvalidModel,
        _ => Reason::InvalidParameter,
    }
}

/// The identifiers that a message holds.
///
/// # Errors
/// The first that breaks a rule of its kind.
pub(super) fn identifiers(from: &DeviceIdentifier) -> Result<Vec<Identifier>, Unusable> {
    let mut from = from.clone();
    let mut found = Vec::new();
    for (field, kind, value) in FIELDS {
        let value = value(&mut from);
        if !value.is_empty() {
            let parsed = Identifier::parse(kind, value)
                .map_err(|error| Unusable::new(field, &error.to_string(), reason(kind)))?;
            found.push(parsed);
        }
    }
    Ok(found)
}

/// What a claim registers of these identifiers: any one of the sets, whole.
///
/// What the agent reads of the device itself is one set. A modem may be removed, and a certified id
/// is read where nothing else is: each is a set of its own.
///
/// # Errors
/// The rule that the identifiers break together.
pub(super) fn sets(from: &DeviceIdentifier) -> Result<Vec<IdentifierSet>, Unusable> {
    let (own, mut rest): (Vec<Identifier>, Vec<Identifier>) = identifiers(from)?.into_iter().partition(|one| {
        matches!(one.kind(), IdentifierKind::Imei | IdentifierKind::Meid | IdentifierKind::CertifiedDeviceId)
    });
    let only_names = rest
        .iter()
        .all(|one| matches!(one.kind(), IdentifierKind::Manufacturer | IdentifierKind::Model));
    if only_names && !own.is_empty() {
        rest.clear();
    }
    let whole = (!rest.is_empty()).then_some(rest);
    let sets = own.into_iter().map(|one| vec![one]).chain(whole).map(IdentifierSet::new);
    let sets = sets.collect::<Result<Vec<_>, _>>().map_err(|error| insufficient(&error.to_string()))?;
    if sets.is_empty() {
        return Err(insufficient("Expected an IMEI, a MEID, or a serial number with manufacturer and model."));
    }
    if from.device_type == DeviceType::ChromeOs && from.chrome_os_attested_device_id.is_empty() {
        return Err(insufficient(
            "A ChromeOS device is registered by serialNumber, model and chromeOsAttestedDeviceId.",
        ));
    }
    Ok(sets)
}

fn insufficient(rule: &str) -> Unusable {
    Unusable::new("", rule, Reason::InvalidIdentifierSet)
}

/// The claim that a message means.
pub(super) fn target(of: Target<'_>) -> Result<ClaimTarget, Unusable> {
    Ok(match of {
        Target::Id(id) => ClaimTarget::Id(id),
        Target::Identifier(identifier) => {
            ClaimTarget::Identifiers(identifiers(identifier).map_err(|mut unusable| {
                unusable.violation.nest("deviceIdentifier");
                unusable
            })?)
        }
    })
}

/// What a claim registers, as a message.
pub(super) fn message(claim: &Claim) -> DeviceIdentifier {
    let mut to = DeviceIdentifier::default();
    for one in claim.sets.usable().iter().flat_map(IdentifierSet::members) {
        let free = FIELDS.iter().filter(|(_, kind, _)| *kind == one.kind());
        for (_, _, field) in free {
            let field = field(&mut to);
            if field == one.value() {
                break;
            }
            if field.is_empty() {
                one.value().clone_into(field);
                break;
            }
        }
    }
    if !to.chrome_os_attested_device_id.is_empty() {
        to.device_type = DeviceType::ChromeOs;
    }
    to
}
