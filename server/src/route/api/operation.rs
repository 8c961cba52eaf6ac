//! Long-running operations: `/v1/operations`.

use super::{
    call::{Answer, Call},
    message::{
        common::Empty,
        operation::{
            DevicesLongRunningOperationMetadata, ListOperationsResponse, Operation as Message,
            OperationMetadata, ProcessingStatus,
        },
    },
    streamed_list::{self, StreamedList},
    wire::{
        form::Written,
        name::OperationName,
        status::{Code, Status},
    },
};
use crate::{
    domain::{
        claims::operation::{Operation, OperationKind},
        tenancy::actor::Actor,
    },
    service::{DoneItem, PageRequest, Services},
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use unbox_common::ids::OperationId;

/// The most items to read at once.
const PART_ITEMS: u32 = 500;
/// The type name of an operation's result.
const RESPONSE: &str =
    "type.googleapis.com/google.android.device.provisioning.v1.DevicesLongRunningOperationResponse";

/// `operations.get`
pub(super) async fn get(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id: OperationId = call.id(0, "operation")?;
    let operation = call.services().claims.operation(&call.actor, id).await?;
    if operation.done_at.is_none() || operation.cancelled_at.is_some() {
        return call.answer(&Written(&message(&operation)));
    }
    debug_assert!(call.has_answer::<Message>());
    let (services, by) = (call.services().clone(), call.actor.clone());
    streamed_list::answer(call, Ended { services, by, operation, read: 0 }).await
}

/// `operations.list`
pub(super) async fn list(mut call: Call) -> Answer {
    let size = call.page_size().await?;
    let token = call.own.text("pageToken")?.unwrap_or_default();
    call.no_more_parameters()?;
    let list = ("operations", call.principal.company());
    let after = call.page_after(&list, &token)?;
    let page =
        call.services().claims.list_operations(&call.actor, PageRequest { size: Some(size), after }).await?;
    let operations = page.items.iter().map(message).collect();
    let next_page_token = call.next_page(&list, page.next.as_deref())?;
    call.answer(&Written(&ListOperationsResponse { operations, next_page_token }))
}

/// `operations.cancel`
pub(super) async fn cancel(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id: OperationId = call.id(0, "operation")?;
    call.services().claims.cancel_operation(&call.actor, id).await?;
    call.answer(&Written(&Empty {}))
}

/// `operations.delete`
pub(super) async fn delete(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id: OperationId = call.id(0, "operation")?;
    call.services().claims.delete_operation(&call.actor, id).await?;
    call.answer(&Written(&Empty {}))
}

/// An operation that has ended, with the result of each device. The request is echoed as it was stored: a
/// hundred thousand messages need not be parsed only to be written again.
struct Ended {
    services: Services,
    by: Actor,
    operation: Operation,
    read: u32,
}

impl StreamedList for Ended {
    type Item = PerDevice;
    const PATH: &'static [&'static str] = &["response", "perDeviceStatus"];
    const READ_FOR_REST: bool = false;

    async fn next(&mut self) -> Result<Vec<PerDevice>, Status> {
        let of = &self.operation;
        let part = self.services.claims.operation_results(&self.by, of.id, self.read, PART_ITEMS).await?;
        self.read += u32::try_from(part.len()).unwrap_or(u32::MAX);
        part.into_iter().map(|item| per_device(of.kind, item)).collect()
    }

    fn rest(&self) -> Result<Value, Status> {
        let mut rest =
            serde_json::to_value(Written(&message(&self.operation))).map_err(|_| Status::internal())?;
        if let Some(fields) = rest.as_object_mut() {
            let response = json!({"@type": RESPONSE, "successCount": self.operation.succeeded});
            fields.insert("response".to_owned(), response);
        }
        Ok(rest)
    }
}

/// Writes an operation as a message, with its progress so far.
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
        error: operation.cancelled_at.map(|_| {
            let message = format!("Cancelled after {} of {} devices.", operation.done, operation.items);
            (&Status::new(Code::Cancelled, message)).into()
        }),
        response: None,
    }
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
