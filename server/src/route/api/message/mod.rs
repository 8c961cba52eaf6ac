//! Requests and answers of the management API: the schemas of the Android Device Provisioning
//! Partner API, field by field, and Unbox's additions.
//!
//! Each is a table for [`wire::message`](super::wire::message). Fields that are Unbox's own are
//! optional and say so; clients of that API never see a difference.
//!
//! To add a message: its table in the file of its family, its name in [`schemas`], and a row in the
//! golden file below `server/tests/golden_api`.

pub mod account;
pub mod artifact;
pub mod audit;
pub mod claim;
pub mod common;
pub mod company;
pub mod configuration;
pub mod customer;
pub mod device;
pub mod dpc;
pub mod enrollment;
#[cfg(test)]
mod golden;
mod identifiers;
pub mod operation;
pub mod organisation;
pub mod station;

use super::wire::{
    form::{Form, Schemas},
    status::ErrorDocument,
};

/// Returns the schema of every message and enum, by its name.
#[must_use]
pub fn schemas() -> Schemas {
    macro_rules! all {
        ($($message:ty),+ $(,)?) => {{
            let mut schemas = Schemas::new();
            $(<$message as Form>::add_schemas(&mut schemas);)+
            schemas
        }};
    }
    let mut schemas = all![
        claim::ClaimDeviceRequest,
        claim::ClaimDeviceResponse,
        claim::ClaimDevicesRequest,
        claim::UnclaimDeviceRequest,
        claim::UnclaimDevicesRequest,
        claim::UpdateDeviceMetadataInBatchRequest,
        claim::UpdateDeviceMetadataRequest,
        common::Empty,
        company::CreateCustomerRequest,
        company::ListCustomersResponse,
        company::ListVendorCustomersResponse,
        company::ListVendorsResponse,
        customer::CustomerApplyConfigurationRequest,
        customer::CustomerListConfigurationsResponse,
        customer::CustomerListCustomersResponse,
        customer::CustomerListDevicesResponse,
        customer::CustomerListDpcsResponse,
        customer::CustomerRemoveConfigurationRequest,
        customer::CustomerUnclaimDeviceRequest,
        device::FindDevicesByDeviceIdentifierRequest,
        device::FindDevicesByDeviceIdentifierResponse,
        device::FindDevicesByOwnerRequest,
        device::FindDevicesByOwnerResponse,
        device::GetDeviceSimLockStateRequest,
        device::GetDeviceSimLockStateResponse,
        operation::DevicesLongRunningOperationMetadata,
        operation::DevicesLongRunningOperationResponse,
        operation::ListOperationsResponse,
        operation::Operation,
        artifact::Artifact,
        artifact::ListArtifactsResponse,
        enrollment::CreateResetTicketResponse,
        enrollment::DisableEnrollmentRequest,
        enrollment::EnrollmentDecisionRequest,
        enrollment::EnrollmentRequest,
        enrollment::ListEnrollmentHistoryResponse,
        enrollment::ListEnrollmentsResponse,
        ErrorDocument,
    ];
    schemas.extend(all![
        account::ListApiKeysResponse,
        account::ListServiceAccountKeysResponse,
        account::ListServiceAccountsResponse,
        account::ListUsersResponse,
        account::RotateApiKeyRequest,
        account::RotateServiceAccountKeyRequest,
        audit::ListAuditEntriesResponse,
        organisation::ListLinksResponse,
        organisation::ListOrganisationsResponse,
        station::CheckDevicesRequest,
        station::CheckDevicesResponse,
        station::RegisterDevicesRequest,
        station::FactoryRecord,
        station::ListFactoryRecordsResponse,
        station::RegisterDevicesResponse,
        station::TrustBundle,
    ]);
    schemas.sort_by(|(one, _), (other, _)| one.cmp(other));
    schemas.dedup_by(|(later, _), (first, _)| later == first);
    schemas
}
