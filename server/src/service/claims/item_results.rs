//! Results for devices of an operation that failed, under the names of the Android Device Provisioning
//! Partner API.

use crate::{
    domain::claims::operation::{ItemResult, ItemStatus},
    service::ServiceError,
};
use unbox_common::ids::ClaimId;

/// The name of the error for a missing right.
const AUTHORIZATION_FAIL: &str = "AUTHORIZATION_FAIL";
const ACCOUNT_ENDED: &str = "The account that asked for this was disabled or deleted, or may no longer change anything. Ask again with \
     another account.";

/// Returns the result for the devices left over when the requesting account lost its rights.
pub(super) fn account_ended_result() -> ItemResult {
    ItemResult::failure(ItemStatus::PermissionDenied, AUTHORIZATION_FAIL, ACCOUNT_ENDED)
}

pub(super) fn not_yours_result(message: &str) -> ItemResult {
    ItemResult::failure(ItemStatus::SectionNotYours, "DEVICE_ALREADY_EXISTS", message)
}

pub(super) fn item_result(outcome: Result<ClaimId, ServiceError>) -> Result<ItemResult, ServiceError> {
    outcome.map(ItemResult::success).or_else(refusal_result)
}

/// Turns an error into an item's result if it concerns that item only; every other error undoes the whole
/// part, which is tried again. An item is checked completely before it writes anything.
pub(super) fn refusal_result(error: ServiceError) -> Result<ItemResult, ServiceError> {
    let (status, name) = match &error {
        ServiceError::NotFound { what: "device" | "claim", .. } => {
            (ItemStatus::InvalidDeviceIdentifier, "INVALID_DEVICE_ID")
        }
        ServiceError::NotFound { what: "customer", .. } => {
            (ItemStatus::PermissionDenied, "INVALID_CUSTOMER_ID")
        }
        ServiceError::Invalid { field: "device_identifier" | "sets", .. } => {
            (ItemStatus::InvalidDeviceIdentifier, "INVALID_IDENTIFIER_SET")
        }
        ServiceError::NotFound { .. } | ServiceError::Invalid { .. } => {
            (ItemStatus::OtherError, "INVALID_PARAMETER")
        }
        ServiceError::Conflict(_) => (ItemStatus::OtherError, "INVALID_OPERATION"),
        ServiceError::OperatorOnly | ServiceError::NotYours(_) => {
            (ItemStatus::PermissionDenied, AUTHORIZATION_FAIL)
        }
        _ => return Err(error),
    };
    Ok(ItemResult::failure(status, name, error.to_string()))
}
