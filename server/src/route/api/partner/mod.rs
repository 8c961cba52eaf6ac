//! The methods of resellers and vendors: `/v1/partners/{partner}`.
//!
//! `company.rs` has their customers and vendors, `claim.rs` their actions on devices, `device.rs` their
//! searches; `request.rs` turns a request about one device into work.

mod claim;
mod company;
mod device;
mod request;

pub(super) use claim::{claim, claim_async, metadata, unclaim, unclaim_async, update_metadata_async};
pub(super) use company::{create_customer, list_customers, list_vendor_customers, list_vendors};
pub(super) use device::{device, find_by_identifier, find_by_owner, sim_lock_state};

use super::wire::{
    detail::Reason,
    status::{Code, Status},
};
use crate::service::ServiceError;

/// Turns the error of a request about one device into a status.
pub(super) fn device_error(error: ServiceError) -> Status {
    match error {
        error @ ServiceError::NotFound { what: "device" | "claim", .. } => {
            Status::new(Code::NotFound, error.to_string()).with_reason(Reason::InvalidDeviceId)
        }
        ServiceError::Invalid { field: "device_identifier", rule } => {
            Status::invalid_field("deviceIdentifier", rule).with_reason(Reason::InvalidIdentifierSet)
        }
        ServiceError::Invalid { field: "device_metadata", rule } => {
            Status::invalid_field("deviceMetadata", rule)
        }
        other => other.into(),
    }
}
