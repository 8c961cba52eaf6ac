//! Devices: the known facts about them, and searches for them.

use super::common::{DeviceIdentifier, DeviceMetadata, SectionType};
use crate::route::api::wire::{enums::wire_enum, message::message};
use unbox_common::{
    ids::{ClaimId, CompanyId},
    timestamp::Timestamp,
};

wire_enum! {
    /// A service that a device is claimed for besides enrollment.
    pub enum AdditionalService {
        /// None.
        Unspecified = 0 "ADDITIONAL_SERVICE_UNSPECIFIED",
        /// Device protection.
        DeviceProtection = 1 "DEVICE_PROTECTION",
    }
}

wire_enum! {
    /// The lock of a device to a network.
    pub enum SimLockState {
        /// Nothing is known.
        Unspecified = 0 "SIM_LOCK_STATE_UNSPECIFIED",
        /// It is not locked.
        Unlocked = 1 "UNLOCKED",
        /// It is locked by the partner that asks.
        LockedToPartner = 2 "LOCKED_TO_PARTNER",
        /// It is locked by another partner.
        LockedToOtherPartner = 3 "LOCKED_TO_OTHER_PARTNER",
    }
}

message! {
    /// A device that was claimed.
    pub struct Device {
        /// Its name: `customers/{customer}/devices/{device}`, or `partners/{partner}/devices/{device}`.
        name: String = "name", OUTPUT;
        /// Its id.
        device_id: Option<ClaimId> = "deviceId", OUTPUT;
        /// The names that its maker gave it.
        device_identifier: Option<DeviceIdentifier> = "deviceIdentifier";
        /// Its configuration: `customers/{customer}/configurations/{configuration}`.
        configuration: String = "configuration";
        /// The claims on it.
        claims: Vec<DeviceClaim> = "claims", OUTPUT;
        /// The reseller's notes about it.
        device_metadata: Option<DeviceMetadata> = "deviceMetadata";
        /// Unbox's own: the last time that it matched claims of other owners, too; absent if it did not,
        /// or has enrolled since without that.
        collision: Option<DeviceCollision> = "collision", OUTPUT;
    }
}

message! {
    /// A device that claims of several owners name. Until all but one are ended, it enrolls only with
    /// the one that it has enrolled with before.
    pub struct DeviceCollision {
        /// The last time that it showed itself.
        time: Option<Timestamp> = "time";
        /// The identifiers by which it matched this claim, such as `serial_number PF0ABCDE`.
        identifiers: Vec<String> = "identifiers";
        /// The kinds of identifier by which it matched claims of others, such as `imei`.
        other_kinds: Vec<String> = "otherKinds";
    }
}

message! {
    /// A claim on a device.
    pub struct DeviceClaim {
        /// The customer that owns it.
        owner_company_id: Option<CompanyId> = "ownerCompanyId";
        /// The reseller that claimed it.
        reseller_id: Option<CompanyId> = "resellerId";
        /// The section that it is claimed for.
        section_type: SectionType = "sectionType", OUTPUT;
        /// An additional service.
        additional_service: AdditionalService = "additionalService";
        /// The Google Workspace account that owns it.
        google_workspace_customer_id: String = "googleWorkspaceCustomerId";
        /// The start of its temporary release; present only during one.
        vacation_mode_start_time: Option<Timestamp> = "vacationModeStartTime";
        /// The end of its temporary release; present only during one.
        vacation_mode_expire_time: Option<Timestamp> = "vacationModeExpireTime";
    }
}

message! {
    /// Finds devices by the names that their maker gave them.
    pub struct FindDevicesByDeviceIdentifierRequest {
        /// The identifiers to look for.
        device_identifier: DeviceIdentifier = "deviceIdentifier", REQUIRED;
        /// The most devices in the answer, from 1 to 100.
        limit: i64 = "limit", REQUIRED;
        /// The nextPageToken of the page before.
        page_token: String = "pageToken";
    }
}

message! {
    /// Devices that were found by their identifiers.
    pub struct FindDevicesByDeviceIdentifierResponse {
        /// The devices.
        devices: Vec<Device> = "devices";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// The total number.
        total_size: i32 = "totalSize";
    }
}

message! {
    /// Finds devices by their owners.
    pub struct FindDevicesByOwnerRequest {
        /// The customers.
        customer_id: Vec<CompanyId> = "customerId";
        /// The Google Workspace accounts.
        google_workspace_customer_id: Vec<String> = "googleWorkspaceCustomerId";
        /// The section that they were claimed for.
        section_type: SectionType = "sectionType", REQUIRED;
        /// The most devices in the answer, from 1 to 100.
        limit: i64 = "limit", REQUIRED;
        /// The nextPageToken of the page before.
        page_token: String = "pageToken";
    }
}

message! {
    /// Devices that were found by their owners.
    pub struct FindDevicesByOwnerResponse {
        /// The devices.
        devices: Vec<Device> = "devices";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// The total number.
        total_size: i32 = "totalSize";
    }
}

message! {
    /// Asks whether a device is locked to a network.
    pub struct GetDeviceSimLockStateRequest {
        /// The device.
        device_identifier: DeviceIdentifier = "deviceIdentifier", REQUIRED;
    }
}

message! {
    /// The lock of a device to a network.
    pub struct GetDeviceSimLockStateResponse {
        /// The state of the lock.
        sim_lock_state: SimLockState = "simLockState";
    }
}
