//! Resellers' requests: to claim, to release, to note something about devices, one or many at once.

use super::{
    common::{DeviceIdentifier, DeviceMetadata, SectionType, names_a_device},
    device::AdditionalService,
};
use crate::route::api::wire::message::message;
use unbox_common::{
    ids::{ClaimId, CompanyId, ConfigurationId},
    secret::Secret,
    timestamp::Timestamp,
};

/// The most devices of one request.
pub const MAX_BATCH_DEVICES: usize = 100_000;

message! {
    /// One claim of a batch.
    pub struct PartnerClaim {
        /// The device.
        device_identifier: DeviceIdentifier = "deviceIdentifier", REQUIRED;
        /// The section that it is claimed for.
        section_type: SectionType = "sectionType", REQUIRED;
        /// The customer that gets it.
        customer_id: Option<CompanyId> = "customerId";
        /// The customer that gets it, by its Google Workspace id.
        google_workspace_customer_id: String = "googleWorkspaceCustomerId";
        /// The notes about it.
        device_metadata: DeviceMetadata = "deviceMetadata";
        /// The configuration that it gets; the customer's default if absent.
        configuration_id: Option<ConfigurationId> = "configurationId";
        /// Proof that the customer expects it.
        pre_provisioning_token: Secret = "preProvisioningToken";
        /// The lock of its SIM.
        simlock_profile_id: i64 = "simlockProfileId";
        /// Unbox's own: an additional service that it is claimed for.
        additional_service: AdditionalService = "additionalService";
    }
}

message! {
    /// Claims one device for a customer.
    pub struct ClaimDeviceRequest {
        /// The device.
        device_identifier: DeviceIdentifier = "deviceIdentifier", REQUIRED;
        /// The section that it is claimed for.
        section_type: SectionType = "sectionType", REQUIRED;
        /// The customer that gets it.
        customer_id: Option<CompanyId> = "customerId";
        /// The customer that gets it, by its Google Workspace id.
        google_workspace_customer_id: String = "googleWorkspaceCustomerId";
        /// The notes about it.
        device_metadata: DeviceMetadata = "deviceMetadata";
        /// The configuration that it gets; the customer's default if absent.
        configuration_id: Option<ConfigurationId> = "configurationId";
        /// Proof that the customer expects it.
        pre_provisioning_token: Secret = "preProvisioningToken";
        /// The lock of its SIM.
        simlock_profile_id: i64 = "simlockProfileId";
        /// Unbox's own: an additional service that it is claimed for.
        additional_service: AdditionalService = "additionalService";
    }
}

/// A single claim is a batch of one.
impl From<ClaimDeviceRequest> for PartnerClaim {
    fn from(one: ClaimDeviceRequest) -> Self {
        Self {
            device_identifier: one.device_identifier,
            section_type: one.section_type,
            customer_id: one.customer_id,
            google_workspace_customer_id: one.google_workspace_customer_id,
            device_metadata: one.device_metadata,
            configuration_id: one.configuration_id,
            pre_provisioning_token: one.pre_provisioning_token,
            simlock_profile_id: one.simlock_profile_id,
            additional_service: one.additional_service,
        }
    }
}

message! {
    /// The device that was claimed.
    pub struct ClaimDeviceResponse {
        /// Its id.
        device_id: Option<ClaimId> = "deviceId";
        /// Its name: `partners/{partner}/devices/{device}`.
        device_name: String = "deviceName";
    }
}

message! {
    /// Claims many devices, each for a customer of its own.
    pub struct ClaimDevicesRequest {
        /// The claims, at most 100,000.
        claims: Vec<PartnerClaim> = "claims", REQUIRED, ITEMWISE;
    }
}

message! {
    /// One release of a batch: for good, or for a time.
    pub struct PartnerUnclaim {
        /// The device's id; or its identifier.
        device_id: Option<ClaimId> = "deviceId";
        /// The device's identifier; or its id.
        device_identifier: Option<DeviceIdentifier> = "deviceIdentifier";
        /// The section that it was claimed for.
        section_type: SectionType = "sectionType", REQUIRED;
        /// The number of days of 24 hours after which it comes back.
        vacation_mode_days: i32 = "vacationModeDays";
        /// The time at which it comes back.
        vacation_mode_expire_time: Option<Timestamp> = "vacationModeExpireTime";
    }
}

message! {
    /// Releases one device: for good, or for a time.
    pub struct UnclaimDeviceRequest {
        /// The device's id; or its identifier.
        device_id: Option<ClaimId> = "deviceId";
        /// The device's identifier; or its id.
        device_identifier: Option<DeviceIdentifier> = "deviceIdentifier";
        /// The section that it was claimed for.
        section_type: SectionType = "sectionType", REQUIRED;
        /// The number of days of 24 hours after which it comes back.
        vacation_mode_days: i32 = "vacationModeDays";
        /// The time at which it comes back.
        vacation_mode_expire_time: Option<Timestamp> = "vacationModeExpireTime";
    }
}

/// A single release is a batch of one.
impl From<UnclaimDeviceRequest> for PartnerUnclaim {
    fn from(one: UnclaimDeviceRequest) -> Self {
        Self {
            device_id: one.device_id,
            device_identifier: one.device_identifier,
            section_type: one.section_type,
            vacation_mode_days: one.vacation_mode_days,
            vacation_mode_expire_time: one.vacation_mode_expire_time,
        }
    }
}

message! {
    /// Releases many devices.
    pub struct UnclaimDevicesRequest {
        /// The releases, at most 100,000.
        unclaims: Vec<PartnerUnclaim> = "unclaims", REQUIRED, ITEMWISE;
    }
}

message! {
    /// One note of a batch.
    pub struct UpdateMetadataArguments {
        /// The device's id; or its identifier.
        device_id: Option<ClaimId> = "deviceId";
        /// The device's identifier; or its id.
        device_identifier: Option<DeviceIdentifier> = "deviceIdentifier";
        /// The notes.
        device_metadata: DeviceMetadata = "deviceMetadata", REQUIRED;
    }
}

message! {
    /// Notes something about many devices.
    pub struct UpdateDeviceMetadataInBatchRequest {
        /// The notes, at most 100,000.
        updates: Vec<UpdateMetadataArguments> = "updates", REQUIRED, ITEMWISE;
    }
}

message! {
    /// Notes something about one device.
    pub struct UpdateDeviceMetadataRequest {
        /// The notes.
        device_metadata: DeviceMetadata = "deviceMetadata", REQUIRED;
    }
}

names_a_device!(PartnerUnclaim, UnclaimDeviceRequest, UpdateMetadataArguments);
