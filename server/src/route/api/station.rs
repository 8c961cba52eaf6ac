//! The methods of factories' test stations, for a reseller or a customer: devices are looked up and
//! registered before they are shipped.

use super::{
    call::{Answer, Call},
    message::station::{
        BuiltDevice, CheckDevicesRequest, CheckDevicesResponse, DeviceCheck, DeviceRegistration,
        DeviceStanding, HardwareIdentifier, RegisterDevicesRequest, RegisterDevicesResponse,
        RegistrationState,
    },
    wire::{form::Written, status::Status},
};
use crate::service::{Claimed, DeviceStanding as Standing, MAX_STATION_DEVICES, Registration};
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, Observed, Source, UnknownKind},
    matching::Reason,
};

/// `partners.devices.check`, `customers.devices.check`
pub(super) async fn check(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let devices = identities(&call.message::<CheckDevicesRequest>()?.devices)?;
    let good: Vec<HardwareIdentity> = devices.iter().flatten().cloned().collect();
    let mut found = call.services().factory.look_up_factory_devices(&call.actor, &good).await?.into_iter();
    let result = |device: Result<HardwareIdentity, String>| match device {
        Ok(_) => found.next().map(check_message).unwrap_or_default(),
        Err(problem) => DeviceCheck { standing: DeviceStanding::Invalid, problem, ..DeviceCheck::default() },
    };
    let results = devices.into_iter().map(result).collect();
    call.answer(&Written(&CheckDevicesResponse { results }))
}

/// `partners.devices.register`, `customers.devices.register`
pub(super) async fn register(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let devices = identities(&call.message::<RegisterDevicesRequest>()?.devices)?;
    let good: Vec<HardwareIdentity> = devices.iter().flatten().cloned().collect();
    let mut became = call.services().factory.register_factory_devices(&call.actor, good).await?.into_iter();
    let result = |device: Result<HardwareIdentity, String>| match device {
        Ok(_) => became.next().map(registration_message).unwrap_or_default(),
        Err(problem) => refused_registration(problem),
    };
    let results = devices.into_iter().map(result).collect();
    call.answer(&Written(&RegisterDevicesResponse { results }))
}

/// Parses the devices of a request, and checks each against the rules by itself.
fn identities(devices: &[BuiltDevice]) -> Result<Vec<Result<HardwareIdentity, String>>, Status> {
    if devices.is_empty() || devices.len() > MAX_STATION_DEVICES {
        let rule = format!("Expected 1 to {MAX_STATION_DEVICES} devices.");
        return Err(Status::invalid_field("devices", rule));
    }
    Ok(devices.iter().map(identity).collect())
}

fn identity(device: &BuiltDevice) -> Result<HardwareIdentity, String> {
    let parse = |one: &HardwareIdentifier| -> Result<Observed, String> {
        let kind: IdentifierKind = one.kind.parse().map_err(|error: UnknownKind| format!("{error}."))?;
        let identifier = Identifier::parse(kind, &one.value).map_err(|error| format!("{error}."))?;
        // Only the device knows the real source; nothing here depends on it.
        Ok(Observed { identifier, source: Source::Derived })
    };
    let observed: Vec<Observed> = device.identifiers.iter().map(parse).collect::<Result<_, _>>()?;
    HardwareIdentity::new(observed).map_err(|error| format!("{error}."))
}

fn check_message(found: Standing) -> DeviceCheck {
    let duplicate = found.duplicate.map(|kind| kind.name().to_owned()).unwrap_or_default();
    let known = DeviceCheck { record_id: found.record, duplicate, ..DeviceCheck::default() };
    let by = |reason: &Reason, known| DeviceCheck {
        device_id: Some(reason.claim),
        owner_company_id: Some(reason.owner),
        ..known
    };
    match found.claimed {
        Claimed::No => DeviceCheck { standing: DeviceStanding::NotClaimed, ..known },
        Claimed::Ambiguous => DeviceCheck { standing: DeviceStanding::Ambiguous, ..known },
        Claimed::By(reason, members) => DeviceCheck {
            standing: DeviceStanding::Claimed,
            matched: members.iter().map(hardware_identifier).collect(),
            ..by(&reason, known)
        },
        Claimed::Differs(reason, missing) => DeviceCheck {
            standing: DeviceStanding::Differs,
            missing: missing.iter().map(hardware_identifier).collect(),
            ..by(&reason, known)
        },
    }
}

fn registration_message(became: Registration) -> DeviceRegistration {
    let (state, known) = match became {
        Registration::New(known) => (RegistrationState::Registered, known),
        Registration::Updated(known) => (RegistrationState::Updated, known),
        Registration::Already(known) => (RegistrationState::AlreadyRegistered, known),
        Registration::Refused(problem) => return refused_registration(problem),
    };
    DeviceRegistration {
        state,
        record_id: Some(known.record),
        device_id: known.claim,
        problem: known.withheld.unwrap_or_default().to_owned(),
    }
}

fn refused_registration(problem: String) -> DeviceRegistration {
    DeviceRegistration { state: RegistrationState::Refused, problem, ..DeviceRegistration::default() }
}

/// Writes an identifier in the form of these methods.
pub(super) fn hardware_identifier(identifier: &Identifier) -> HardwareIdentifier {
    HardwareIdentifier { kind: identifier.kind().name().to_owned(), value: identifier.value().to_owned() }
}
