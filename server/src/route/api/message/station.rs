//! The requests of factories' test stations about the devices in front of them. All of it is Unbox's own.

use crate::route::api::wire::{enums::wire_enum, message::message};
use unbox_common::{
    ids::{ClaimId, CompanyId, FactoryRecordId},
    timestamp::Timestamp,
};

wire_enum! {
    /// The standing of a device with the claims that its organisation may see.
    pub enum DeviceStanding {
        /// Not specified.
        Unspecified = 0 "DEVICE_STANDING_UNSPECIFIED",
        /// No claim names any part of it.
        NotClaimed = 1 "NOT_CLAIMED",
        /// It is claimed, and will enroll.
        Claimed = 2 "CLAIMED",
        /// A claim names parts of it, and others that it does not show: it will not enroll.
        Differs = 3 "DIFFERS",
        /// Different customers have claimed it: it will not enroll.
        Ambiguous = 4 "AMBIGUOUS",
        /// Its identifiers break a rule.
        Invalid = 5 "INVALID",
    }
}

wire_enum! {
    /// The result for a device that was to be registered.
    pub enum RegistrationState {
        /// Not specified.
        Unspecified = 0 "REGISTRATION_STATE_UNSPECIFIED",
        /// It is on record now.
        Registered = 1 "REGISTERED",
        /// It was on record, and the record now has the identifiers that it shows.
        Updated = 2 "UPDATED",
        /// It was on record like this; nothing changed.
        AlreadyRegistered = 3 "ALREADY_REGISTERED",
        /// It cannot be; nothing changed.
        Refused = 4 "REFUSED",
    }
}

message! {
    /// One identifier, by the kind that devices name it with.
    pub struct HardwareIdentifier {
        /// Its kind, such as `serial_number`, `mac_address` or `device_key`.
        kind: String = "kind";
        /// Its value.
        value: String = "value";
    }
}

message! {
    /// A device on the bench: everything that it shows.
    pub struct BuiltDevice {
        /// Its identifiers; among them the SHA-256 of its key, if it has one.
        identifiers: Vec<HardwareIdentifier> = "identifiers";
    }
}

message! {
    /// Looks devices up, before they are shipped.
    pub struct CheckDevicesRequest {
        /// The devices, at most 500.
        devices: Vec<BuiltDevice> = "devices", REQUIRED, ITEMWISE;
    }
}

message! {
    /// The answers about devices.
    pub struct CheckDevicesResponse {
        /// One for each device, in their order.
        results: Vec<DeviceCheck> = "results";
    }
}

message! {
    /// The answer about one device.
    pub struct DeviceCheck {
        /// Its standing.
        standing: DeviceStanding = "standing";
        /// The claim.
        device_id: Option<ClaimId> = "deviceId";
        /// The customer that owns it.
        owner_company_id: Option<CompanyId> = "ownerCompanyId";
        /// The identifiers that decided.
        matched: Vec<HardwareIdentifier> = "matched";
        /// The identifiers that the claim names and the device does not show.
        missing: Vec<HardwareIdentifier> = "missing";
        /// The record, if a station registered this device.
        record_id: Option<FactoryRecordId> = "recordId";
        /// The kind of identifier by which it contradicts another device that a station registered.
        duplicate: String = "duplicate";
        /// The problem.
        problem: String = "problem";
    }
}

message! {
    /// Registers devices and their keys.
    pub struct RegisterDevicesRequest {
        /// The devices, at most 500.
        devices: Vec<BuiltDevice> = "devices", REQUIRED, ITEMWISE;
    }
}

message! {
    /// The results for devices that were to be registered.
    pub struct RegisterDevicesResponse {
        /// One for each device, in their order.
        results: Vec<DeviceRegistration> = "results";
    }
}

message! {
    /// The result for one of them.
    pub struct DeviceRegistration {
        /// The result.
        state: RegistrationState = "state";
        /// The record.
        record_id: Option<FactoryRecordId> = "recordId";
        /// The claim that has the device's key, if there is one.
        device_id: Option<ClaimId> = "deviceId";
        /// The problem and its remedy; of a device on record, the reason why the claim did not get its key.
        problem: String = "problem";
    }
}

message! {
    /// The record of a device that test stations registered.
    pub struct FactoryRecord {
        /// Its name: `partners/{partner}/factoryRecords/{factoryRecord}`, or the same below `customers`.
        name: String = "name";
        /// Its id.
        record_id: Option<FactoryRecordId> = "recordId";
        /// Everything that the device showed, and the SHA-256 of its key.
        identifiers: Vec<HardwareIdentifier> = "identifiers";
        /// The claim that got the device's key from this record.
        device_id: Option<ClaimId> = "deviceId";
        /// The time of its first registration.
        create_time: Option<Timestamp> = "createTime";
    }
}

message! {
    /// The records of an organisation's test stations.
    pub struct ListFactoryRecordsResponse {
        /// The records, oldest first.
        factory_records: Vec<FactoryRecord> = "factoryRecords";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// The files with which a device comes to trust this server: those that images get.
    pub struct TrustBundle {
        /// `anchors.pem`: the TLS authorities, byte for byte.
        anchors: String = "anchors";
        /// `root.json`: the newest signing root, byte for byte.
        root: String = "root";
        /// The version of that root.
        root_version: i64 = "rootVersion";
        /// The signed roots after `knownRootVersion`, oldest first, each as its `root.json`: who knows
        /// that one follows them step by step.
        newer_roots: Vec<String> = "newerRoots";
    }
}
