//! Partners' searches for the devices that they have claimed.

use super::{
    super::{
        call::{Answer, Call},
        message::device::{
            FindDevicesByDeviceIdentifierRequest, FindDevicesByDeviceIdentifierResponse,
            FindDevicesByOwnerRequest, FindDevicesByOwnerResponse, GetDeviceSimLockStateRequest,
            GetDeviceSimLockStateResponse, SimLockState,
        },
        view,
        wire::{form::Written, status::Status},
    },
    device_error,
    request::{Owners, check_section},
};
use crate::service::ServiceError;
use unbox_common::ids::ClaimId;

/// The largest page of a search.
const MAX_FOUND: i64 = 100;
/// The most customers that one search names.
const MAX_OWNERS: usize = 1000;

/// `partners.devices.get`
pub(in crate::route::api) async fn device(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id: ClaimId = call.id(1, "device")?;
    let claim = call.services().claims.claim_in_force(&call.actor, id).await.map_err(device_error)?;
    let now = call.services().now();
    call.answer(&Written(&view::partner_device(&claim, call.company()?, now)))
}

/// `partners.devices.findByIdentifier`
pub(in crate::route::api) async fn find_by_identifier(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<FindDevicesByDeviceIdentifierRequest>()?;
    let limit = limit(asked.limit)?;
    let wanted = asked.device_identifier.identifiers("deviceIdentifier")?;
    let partner = call.company()?;
    let list = ("by identifier", partner, wanted.iter().map(ToString::to_string).collect::<Vec<_>>());
    let after = call.app.page_tokens.open(&list, &asked.page_token)?.unwrap_or_default();
    let found =
        call.services().claims.claims_by_identifiers(&call.actor, &wanted).await.map_err(device_error)?;
    let now = call.services().now();
    let rest: Vec<_> = found.iter().filter(|claim| claim.id.get() > after).collect();
    let devices: Vec<_> =
        rest.iter().take(limit as usize).map(|claim| view::partner_device(claim, partner, now)).collect();
    let end = devices.last().and_then(|device| device.device_id);
    let next_page_token = match end {
        Some(end) if rest.len() > devices.len() => call.app.page_tokens.issue(&list, end.get())?,
        _ => String::new(),
    };
    let total_size = i32::try_from(found.len()).unwrap_or(i32::MAX);
    call.answer(&Written(&FindDevicesByDeviceIdentifierResponse { devices, next_page_token, total_size }))
}

/// `partners.devices.findByOwner`
pub(in crate::route::api) async fn find_by_owner(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<FindDevicesByOwnerRequest>()?;
    let limit = limit(asked.limit)?;
    check_section(asked.section_type).map_err(|refused| refused.status)?;
    let partner = call.company()?;
    if asked.customer_id.len() + asked.google_workspace_customer_id.len() > MAX_OWNERS {
        let rule = format!("Expected at most {MAX_OWNERS} customers. Name none for all of them.");
        return Err(Status::invalid_field("customerId", rule));
    }
    let mut customers = asked.customer_id.clone();
    let mut owners = Owners::default();
    for workspace in &asked.google_workspace_customer_id {
        customers.extend(owners.find_by_workspace(&call, workspace).await?);
    }
    customers.sort();
    customers.dedup();
    let list = ("by owner", partner, &asked.customer_id, &asked.google_workspace_customer_id);
    let nobody = customers.is_empty() && !asked.google_workspace_customer_id.is_empty();
    let after = call.app.page_tokens.open(&list, &asked.page_token)?;
    if nobody {
        return call.answer(&Written(&FindDevicesByOwnerResponse::default()));
    }
    let after = after.and_then(|id| ClaimId::new(id).ok());
    let found = call.services().claims.claims_of_reseller(&call.actor, &customers, after, limit).await;
    let found = found.map_err(device_error)?;
    let now = call.services().now();
    let devices = found.claims.iter().map(|claim| view::partner_device(claim, partner, now)).collect();
    let next_page_token = match found.next {
        Some(claim) => call.app.page_tokens.issue(&list, claim.get())?,
        None => String::new(),
    };
    let total_size = i32::try_from(found.total).unwrap_or(i32::MAX);
    call.answer(&Written(&FindDevicesByOwnerResponse { devices, next_page_token, total_size }))
}

/// `partners.devices.getSimLockState`. No device here is ever locked to a network.
pub(in crate::route::api) async fn sim_lock_state(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<GetDeviceSimLockStateRequest>()?;
    let wanted = asked.device_identifier.identifiers("deviceIdentifier")?;
    if call
        .services()
        .claims
        .claims_by_identifiers(&call.actor, &wanted)
        .await
        .map_err(device_error)?
        .is_empty()
    {
        return Err(device_error(ServiceError::not_found("device", "with these identifiers")));
    }
    call.answer(&Written(&GetDeviceSimLockStateResponse { sim_lock_state: SimLockState::Unlocked }))
}

fn limit(asked: i64) -> Result<u32, Status> {
    let limit = Some(asked)
        .filter(|limit| (1..=MAX_FOUND).contains(limit))
        .and_then(|limit| u32::try_from(limit).ok());
    limit.ok_or_else(|| Status::invalid_field("limit", format!("Expected 1 to {MAX_FOUND}.")))
}
