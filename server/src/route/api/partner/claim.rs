//! Partners' claims, releases and notes of devices: of one, or of many in an operation.

use super::{
    super::{
        batched_items::collect,
        call::{Answer, Call},
        identifier,
        message::{
            claim::{
                ClaimDeviceRequest, ClaimDeviceResponse, ClaimDevicesRequest, PartnerClaim, PartnerUnclaim,
                UnclaimDeviceRequest, UnclaimDevicesRequest, UpdateDeviceMetadataInBatchRequest,
                UpdateDeviceMetadataRequest, UpdateMetadataArguments,
            },
            common::{DeviceMetadata, Empty},
        },
        operation,
        wire::{
            form::{Form, Written},
            name::PartnerDeviceName,
            status::Status,
        },
    },
    device_error,
    request::{Owners, Refused, claim_error, release},
};
use crate::{
    domain::claims::{
        claim::ClaimSets,
        operation::{Item, OperationKind, Work},
    },
    service::ItemSpool,
};
use axum::body::Body;
use tokio::runtime::Handle;
use unbox_common::ids::ClaimId;

/// `partners.devices.claim`
pub(in crate::route::api) async fn claim(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let partner = call.company()?;
    let asked = PartnerClaim::from(call.message::<ClaimDeviceRequest>()?);
    let new = Owners::default().claim(&call, asked).await?.map_err(|refused| refused.status)?;
    let claim = call.services().claims.register_device(&call.actor, new).await.map_err(claim_error)?;
    let device_name = PartnerDeviceName { partner, device: claim.id }.to_string();
    call.answer(&Written(&ClaimDeviceResponse { device_id: Some(claim.id), device_name }))
}

/// `partners.devices.claimAsync`
pub(in crate::route::api) async fn claim_async(mut call: Call, body: Body) -> Answer {
    call.no_more_parameters()?;
    let (mut owners, runtime) = (Owners::default(), Handle::current());
    let work = move |call: &Call, mut claim: PartnerClaim| {
        let token = std::mem::take(&mut claim.pre_provisioning_token);
        let echo = to_json(&claim)?;
        claim.pre_provisioning_token = token;
        let work = match runtime.block_on(owners.claim(call, claim))? {
            Ok(new) => Work::Claim {
                customer: new.customer,
                configuration: new.configuration,
                sets: ClaimSets::new(new.sets),
                metadata: new.metadata,
                protected: new.protected,
            },
            Err(refused) => Work::Refused(refused.result()),
        };
        Ok(Item { echo, work })
    };
    let (call, items) = collect::<ClaimDevicesRequest, _>(call, body, work).await?;
    start(call, OperationKind::Claim, items).await
}

/// `partners.devices.unclaim`
pub(in crate::route::api) async fn unclaim(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = PartnerUnclaim::from(call.message::<UnclaimDeviceRequest>()?);
    match release(&call, &asked).map_err(|refused| refused.status)? {
        Work::Unclaim { target, until } => {
            let id = call
                .services()
                .claims
                .resolve_claim_target(&call.actor, &target)
                .await
                .map_err(device_error)?;
            match until {
                Some(until) => drop(
                    call.services()
                        .claims
                        .set_vacation(&call.actor, id, Some(until))
                        .await
                        .map_err(device_error)?,
                ),
                None => call.services().claims.unclaim(&call.actor, id).await.map_err(device_error)?,
            }
        }
        _ => return Err(Status::internal()),
    }
    call.answer(&Written(&Empty {}))
}

/// `partners.devices.unclaimAsync`
pub(in crate::route::api) async fn unclaim_async(mut call: Call, body: Body) -> Answer {
    call.no_more_parameters()?;
    let work = |call: &Call, one: PartnerUnclaim| {
        let work = release(call, &one).unwrap_or_else(|refused| Work::Refused(refused.result()));
        Ok(Item { echo: to_json(&one)?, work })
    };
    let (call, items) = collect::<UnclaimDevicesRequest, _>(call, body, work).await?;
    start(call, OperationKind::Unclaim, items).await
}

/// `partners.devices.metadata`
pub(in crate::route::api) async fn metadata(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let device: ClaimId = call.id(1, "device")?;
    let changes = call.message::<UpdateDeviceMetadataRequest>()?.device_metadata.entries;
    let claim =
        call.services().claims.update_metadata(&call.actor, device, changes).await.map_err(device_error)?;
    call.answer(&Written(&DeviceMetadata { entries: claim.metadata.entries().clone() }))
}

/// `partners.devices.updateMetadataAsync`
pub(in crate::route::api) async fn update_metadata_async(mut call: Call, body: Body) -> Answer {
    call.no_more_parameters()?;
    let work = |_: &Call, one: UpdateMetadataArguments| {
        let target = one.target().map_err(Refused::from);
        let target = target.and_then(|target| Ok(identifier::target(target, "")?));
        let echo = to_json(&one)?;
        let work = match target {
            Ok(target) => Work::UpdateMetadata { target, changes: one.device_metadata.entries },
            Err(refused) => Work::Refused(refused.result()),
        };
        Ok(Item { echo, work })
    };
    let (call, items) = collect::<UpdateDeviceMetadataInBatchRequest, _>(call, body, work).await?;
    start(call, OperationKind::UpdateMetadata, items).await
}

async fn start(call: Call, kind: OperationKind, items: ItemSpool) -> Answer {
    let started = call.services().claims.start_operation(&call.actor, kind, items).await?;
    call.answer(&Written(&operation::message(&started)))
}

fn to_json<T: Form>(message: &T) -> Result<String, Status> {
    serde_json::to_string(&Written(message)).map_err(|_| Status::internal())
}
