//! Results of an operation's devices that failed, under the names of the Android Device Provisioning
//! Partner API.

use super::ServiceError;
use crate::domain::operation::{ItemResult, ItemStatus};
use unbox_common::ids::ClaimId;

/// The name of the error of whoever has no right to what an item asks for.
const AUTHORIZATION_FAIL: &str = "AUTHORIZATION_FAIL";
const ACCOUNT_ENDED: &str = "The account that asked for this was disabled or deleted, or may no longer change anything. Ask again with \
     another account.";

/// The result of a device that is left over when the account that asked has ended.
pub(super) fn account_ended() -> ItemResult {
    ItemResult::failure(ItemStatus::PermissionDenied, AUTHORIZATION_FAIL, ACCOUNT_ENDED)
}

pub(super) fn not_yours(message: &str) -> ItemResult {
    ItemResult::failure(ItemStatus::SectionNotYours, "DEVICE_ALREADY_EXISTS", message)
}

pub(super) fn as_result(outcome: Result<ClaimId, ServiceError>) -> Result<ItemResult, ServiceError> {
    outcome.map(ItemResult::success).or_else(refusal)
}

/// An error that concerns one item only; every other undoes the whole part, which is tried again.
/// Whatever an item is refused for is found out before it writes.
pub(super) fn refusal(error: ServiceError) -> Result<ItemResult, ServiceError> {
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
