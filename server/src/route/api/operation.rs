//! Long-running operations: `/v1/operations`.

use super::{
    call::{Answer, Call},
    message::operation::{
        DevicesLongRunningOperationMetadata, Operation as Message, OperationMetadata, ProcessingStatus,
    },
    wire::{form::Written, name::OperationName, status::Status},
};
use crate::{
    domain::operation::{Operation, OperationKind},
    service::DoneItem,
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use unbox_common::ids::OperationId;

/// Items that are read at once.
const PART_ITEMS: u32 = 1000;

/// `operations.get`
pub(super) async fn get(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id: OperationId = call.id(0, "operation")?;
    let operation = call.services().operation(&call.actor, id).await?;
    if operation.done_at.is_none() {
        return call.answer(&Written(&message(&operation)));
    }
    let mut items = Vec::with_capacity(operation.items as usize);
    while items.len() < operation.items as usize {
        let from = u32::try_from(items.len()).unwrap_or(u32::MAX);
        let part = call.services().operation_results(&call.actor, id, from, PART_ITEMS).await?;
        if part.is_empty() {
            break;
        }
        for item in part {
            items.push(per_device(operation.kind, item)?);
        }
    }
    let response = Response {
        kind: "type.googleapis.com/google.android.device.provisioning.v1.DevicesLongRunningOperationResponse",
        per_device_status: items,
        success_count: operation.succeeded,
    };
    call.answer_as::<Message>(&Ended { operation: Written(&message(&operation)), response })
}

/// An operation, as far as it has come.
pub(super) fn message(operation: &Operation) -> Message {
    let ended = operation.done_at.is_some();
    let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let per_cent = u64::from(operation.done) * 100 / u64::from(operation.items.max(1));
    let metadata = DevicesLongRunningOperationMetadata {
        devices_count: count(operation.items),
        processing_status: match (operation.done, ended) {
            (_, true) => ProcessingStatus::Processed,
            (0, false) => ProcessingStatus::Pending,
            _ => ProcessingStatus::InProgress,
        },
        progress: i32::try_from(per_cent).unwrap_or(100),
    };
    Message {
        name: OperationName { operation: operation.id }.to_string(),
        metadata: Some(OperationMetadata::Devices(metadata)),
        done: ended,
        error: None,
        response: None,
    }
}

/// An operation that has ended, with what came of it. What was asked is echoed as it was kept: a
/// hundred thousand messages need not be read only to be written again.
#[derive(Serialize)]
struct Ended<'a> {
    #[serde(flatten)]
    operation: Written<'a, Message>,
    response: Response,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    #[serde(rename = "@type")]
    kind: &'static str,
    per_device_status: Vec<PerDevice>,
    success_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PerDevice {
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unclaim: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_metadata: Option<Box<RawValue>>,
    result: Value,
}

fn per_device(kind: OperationKind, item: DoneItem) -> Result<PerDevice, Status> {
    let echo = RawValue::from_string(item.echo).map_err(|_| Status::internal())?;
    let result = item.result.map_or(Value::Null, |result| {
        let mut fields = serde_json::Map::new();
        let mut set = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), Value::String(value));
            }
        };
        set("deviceId", result.device.map(|device| device.to_string()));
        set("status", Some(format!("SINGLE_DEVICE_STATUS_{}", result.status)));
        set("errorIdentifier", result.error);
        set("errorMessage", result.message);
        Value::Object(fields)
    });
    let of = |wanted| (kind == wanted).then(|| echo.clone());
    Ok(PerDevice {
        claim: of(OperationKind::Claim),
        unclaim: of(OperationKind::Unclaim),
        update_metadata: of(OperationKind::UpdateMetadata),
        result,
    })
}
