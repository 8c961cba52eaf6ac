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
    /// How far a batch is.
    pub enum ProcessingStatus {
        /// Nothing was said.
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
    /// What became of one device of a batch.
    pub enum SingleDeviceStatus {
        /// Nothing was said.
        Unspecified = 0 "SINGLE_DEVICE_STATUS_UNSPECIFIED",
        /// It failed, and nobody knows why.
        UnknownError = 1 "SINGLE_DEVICE_STATUS_UNKNOWN_ERROR",
        /// It failed for another reason than those below.
        OtherError = 2 "SINGLE_DEVICE_STATUS_OTHER_ERROR",
        /// It was done.
        Success = 3 "SINGLE_DEVICE_STATUS_SUCCESS",
        /// Whoever asked may not do this.
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
        /// How far it is.
        metadata: Option<OperationMetadata> = "metadata";
        /// Whether it has ended.
        done: bool = "done";
        /// That it was cancelled; what failed is told device by device.
        error: Option<Status> = "error";
        /// What came of it, once it has ended.
        response: Option<OperationResponse> = "response";
    }
}

message! {
    /// A page of operations.
    pub struct ListOperationsResponse {
        /// The operations, without what came of them.
        operations: Vec<Operation> = "operations";
        /// Where the next page starts; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// Why something failed (google.rpc.Status).
    pub struct Status {
        /// The number of its google.rpc.Code.
        code: i32 = "code";
        /// What happened, for people.
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
    /// How far a batch of devices is.
    pub struct DevicesLongRunningOperationMetadata {
        /// How many devices it has.
        devices_count: i32 = "devicesCount";
        /// How far it is.
        processing_status: ProcessingStatus = "processingStatus";
        /// The same in per cent; 100 does not mean that it has ended.
        progress: i32 = "progress";
    }
}

message! {
    /// What came of a batch of devices.
    pub struct DevicesLongRunningOperationResponse {
        /// What became of each, in the order of the request.
        per_device_status: Vec<OperationPerDevice> = "perDeviceStatus";
        /// For how many it was done.
        success_count: i32 = "successCount";
    }
}

message! {
    /// One device of a batch: what was asked, and what became of it.
    pub struct OperationPerDevice {
        /// What was asked, of a batch of claims.
        claim: Option<PartnerClaim> = "claim";
        /// What was asked, of a batch of releases.
        unclaim: Option<PartnerUnclaim> = "unclaim";
        /// What was asked, of a batch of notes.
        update_metadata: Option<UpdateMetadataArguments> = "updateMetadata";
        /// What became of it.
        result: Option<PerDeviceStatusInBatch> = "result";
    }
}

message! {
    /// What became of one device of a batch.
    pub struct PerDeviceStatusInBatch {
        /// The device, if it was done.
        device_id: Option<ClaimId> = "deviceId";
        /// In a word.
        status: SingleDeviceStatus = "status";
        /// Why it failed, in a word that programs compare.
        error_identifier: String = "errorIdentifier";
        /// Why it failed, for people.
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

            fn referenced(schemas: &mut Schemas) {
                <$message as Form>::referenced(schemas);
            }
        }
    };
}

any!(OperationMetadata, DevicesLongRunningOperationMetadata);
any!(OperationResponse, DevicesLongRunningOperationResponse);
