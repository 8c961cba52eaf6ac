//! Long-running operations: their progress, and the result of each device.

use super::claim::{PartnerClaim, PartnerUnclaim, UpdateMetadataArguments};
use crate::route::api::wire::{
    detail::Detail,
    enums::wire_enum,
    form::{Form, Schemas},
    message::message,
    status,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use unbox_common::ids::ClaimId;
use utoipa::openapi::{RefOr, Schema, schema::ObjectBuilder};

wire_enum! {
    /// The progress of a batch.
    pub enum ProcessingStatus {
        /// Not specified.
        Unspecified = 0 "BATCH_PROCESS_STATUS_UNSPECIFIED",
        /// It waits.
        Pending = 1 "BATCH_PROCESS_PENDING",
        /// It runs.
        InProgress = 2 "BATCH_PROCESS_IN_PROGRESS",
        /// Every device has its result.
        Processed = 3 "BATCH_PROCESS_PROCESSED",
    }
}

wire_enum! {
    /// The result of one device of a batch.
    pub enum SingleDeviceStatus {
        /// Not specified.
        Unspecified = 0 "SINGLE_DEVICE_STATUS_UNSPECIFIED",
        /// It failed for an unknown reason.
        UnknownError = 1 "SINGLE_DEVICE_STATUS_UNKNOWN_ERROR",
        /// It failed for another reason than those below.
        OtherError = 2 "SINGLE_DEVICE_STATUS_OTHER_ERROR",
        /// It was done.
        Success = 3 "SINGLE_DEVICE_STATUS_SUCCESS",
        /// The caller may not do this.
        PermissionDenied = 4 "SINGLE_DEVICE_STATUS_PERMISSION_DENIED",
        /// The identifiers name no device.
        InvalidDeviceIdentifier = 5 "SINGLE_DEVICE_STATUS_INVALID_DEVICE_IDENTIFIER",
        /// Not a section that a device can be claimed for.
        InvalidSectionType = 6 "SINGLE_DEVICE_STATUS_INVALID_SECTION_TYPE",
        /// Somebody else has claimed it.
        SectionNotYours = 7 "SINGLE_DEVICE_STATUS_SECTION_NOT_YOURS",
        /// The pre-provisioning token is not the customer's.
        InvalidToken = 8 "SINGLE_DEVICE_STATUS_INVALID_TOKEN",
        /// The pre-provisioning token was revoked.
        RevokedToken = 9 "SINGLE_DEVICE_STATUS_REVOKED_TOKEN",
        /// More devices than the customer may have.
        DeviceLimitExceeded = 10 "SINGLE_DEVICE_STATUS_DEVICE_LIMIT_EXCEEDED",
    }
}

message! {
    /// Work that goes on after its request was answered.
    pub struct Operation {
        /// Its name: `operations/{operation}`.
        name: String = "name";
        /// Its progress.
        metadata: Option<OperationMetadata> = "metadata";
        /// True if it has ended.
        done: bool = "done";
        /// Its cancellation; failures are told device by device.
        error: Option<Status> = "error";
        /// Its result, once it has ended.
        response: Option<OperationResponse> = "response";
    }
}

message! {
    /// A page of operations.
    pub struct ListOperationsResponse {
        /// The operations, without their results.
        operations: Vec<Operation> = "operations";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// The reason for a failure (google.rpc.Status).
    pub struct Status {
        /// The number of its google.rpc.Code.
        code: i32 = "code";
        /// The failure, for people.
        message: String = "message";
        /// More about it, for programs.
        details: Vec<Map<String, Value>> = "details";
    }
}

impl From<&status::Status> for Status {
    fn from(status: &status::Status) -> Self {
        Self {
            code: status.code().number(),
            message: status.message().to_owned(),
            details: status.details().iter().map(Detail::object).collect(),
        }
    }
}

message! {
    /// The progress of a batch of devices.
    pub struct DevicesLongRunningOperationMetadata {
        /// The number of its devices.
        devices_count: i32 = "devicesCount";
        /// The progress.
        processing_status: ProcessingStatus = "processingStatus";
        /// The same in per cent; 100 does not mean that it has ended.
        progress: i32 = "progress";
    }
}

message! {
    /// The result of a batch of devices.
    pub struct DevicesLongRunningOperationResponse {
        /// The result of each device, in the order of the request.
        per_device_status: Vec<OperationPerDevice> = "perDeviceStatus";
        /// The number of devices that it was done for.
        success_count: i32 = "successCount";
    }
}

message! {
    /// One device of a batch: the request and its result.
    pub struct OperationPerDevice {
        /// The request, of a batch of claims.
        claim: Option<PartnerClaim> = "claim";
        /// The request, of a batch of releases.
        unclaim: Option<PartnerUnclaim> = "unclaim";
        /// The request, of a batch of notes.
        update_metadata: Option<UpdateMetadataArguments> = "updateMetadata";
        /// Its result.
        result: Option<PerDeviceStatusInBatch> = "result";
    }
}

message! {
    /// The result of one device of a batch.
    pub struct PerDeviceStatusInBatch {
        /// The device, if it was done.
        device_id: Option<ClaimId> = "deviceId";
        /// In a word.
        status: SingleDeviceStatus = "status";
        /// The reason of the failure, in a word that programs compare.
        error_identifier: String = "errorIdentifier";
        /// The reason of the failure, for people.
        error_message: String = "errorMessage";
    }
}

/// The progress of an operation, behind the type of its message (`google.protobuf.Any`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "@type")]
pub enum OperationMetadata {
    /// A batch of devices.
    #[serde(
        rename = "type.googleapis.com/google.android.device.provisioning.v1.DevicesLongRunningOperationMetadata"
    )]
    Devices(DevicesLongRunningOperationMetadata),
}

/// The result of an operation, behind the type of its message (`google.protobuf.Any`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "@type")]
pub enum OperationResponse {
    /// A batch of devices.
    #[serde(
        rename = "type.googleapis.com/google.android.device.provisioning.v1.DevicesLongRunningOperationResponse"
    )]
    Devices(DevicesLongRunningOperationResponse),
}

macro_rules! any {
    ($name:ident, $message:ty) => {
        impl Form for $name {
            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::deserialize(deserializer)
            }

            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.serialize(serializer)
            }

            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().property("@type", <String as Form>::schema()).required("@type").into()
            }

            fn add_schemas(schemas: &mut Schemas) {
                <$message as Form>::add_schemas(schemas);
            }
        }
    };
}

any!(OperationMetadata, DevicesLongRunningOperationMetadata);
any!(OperationResponse, DevicesLongRunningOperationResponse);
