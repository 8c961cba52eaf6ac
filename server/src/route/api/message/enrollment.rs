//! Enrollments: the state of claimed devices, and their owners' decisions. Unbox's own.

use super::common::{DeviceIdentifier, DeviceReference};
use crate::route::api::wire::{enums::wire_enum, message::message};
use serde_json::{Map, Value};
use unbox_common::{ids::DeviceId, secret::Secret, timestamp::Timestamp};

wire_enum! {
    /// How far a device is.
    pub enum EnrollmentState {
        /// Nothing was said.
        Unspecified = 0 "ENROLLMENT_STATE_UNSPECIFIED",
        /// Known, and never enrolled.
        Claimed = 1 "CLAIMED",
        /// Granted, and not yet managed.
        Enrolling = 2 "ENROLLING",
        /// It runs its payload.
        Managed = 3 "MANAGED",
        /// It never enrolled, and asked too late to be enrolled unseen.
        PendingApproval = 4 "PENDING_APPROVAL",
        /// Parts of it were replaced, and somebody has to approve that.
        HardwareChanged = 5 "HARDWARE_CHANGED",
        /// Its owner disabled it.
        Disabled = 6 "DISABLED",
        /// Its owner released it for good.
        Deprovisioned = 7 "DEPROVISIONED",
    }
}

wire_enum! {
    /// How an installation ended.
    pub enum InstallResult {
        /// Nothing was said.
        Unspecified = 0 "INSTALL_RESULT_UNSPECIFIED",
        /// Installed and healthy.
        Managed = 1 "MANAGED",
        /// Undone: the device is exactly as it was.
        RolledBack = 2 "ROLLED_BACK",
        /// Not even begun.
        Rejected = 3 "REJECTED",
    }
}

message! {
    /// What became of one claimed device.
    pub struct Enrollment {
        /// Its name: `customers/{customer}/enrollments/{enrollment}`.
        name: String = "name", OUTPUT;
        /// Its id: the device's own, which also its certificates name.
        enrollment_id: Option<DeviceId> = "enrollmentId", OUTPUT;
        /// The claim that it enrolls by: `customers/{customer}/devices/{device}`.
        device: String = "device", OUTPUT;
        /// How far it is.
        state: EnrollmentState = "state", OUTPUT;
        /// Since when.
        state_time: Option<Timestamp> = "stateTime", OUTPUT;
        /// What whoever holds it reads, while it is disabled.
        message: String = "message", OUTPUT;
        /// What it showed when it was granted last.
        device_identifier: Option<DeviceIdentifier> = "deviceIdentifier", OUTPUT;
        /// How often it was granted; every grant is a generation.
        generation: i64 = "generation", OUTPUT;
        /// The generation that was complete last.
        active_generation: i64 = "activeGeneration", OUTPUT;
        /// SHA-256 of the key of the latest generation, 64 hexadecimal digits.
        key_digest: String = "keyDigest", OUTPUT;
        /// Since when it is asked to enroll again; until it has.
        reenroll_request_time: Option<Timestamp> = "reenrollRequestTime", OUTPUT;
        /// When it was known first.
        create_time: Option<Timestamp> = "createTime", OUTPUT;
        /// When it was heard last.
        last_seen_time: Option<Timestamp> = "lastSeenTime", OUTPUT;
        /// The version of its agent.
        agent_version: String = "agentVersion", OUTPUT;
        /// Whether its DPC passes its health check.
        healthy: Option<bool> = "healthy", OUTPUT;
        /// What it runs.
        installed: Option<InstalledPayload> = "installed", OUTPUT;
        /// The payload that failed there.
        failed_version: i64 = "failedVersion", OUTPUT;
        /// How the last installation ended.
        outcome: Option<InstallOutcome> = "outcome", OUTPUT;
        /// What waits for approval, or was approved and not used yet; not in lists.
        approval_requests: Vec<ApprovalRequest> = "approvalRequests", OUTPUT;
        /// What it reported last; not in lists.
        last_report: Option<EnrollmentReport> = "lastReport", OUTPUT;
    }
}

message! {
    /// What a device runs.
    pub struct InstalledPayload {
        /// The configuration: `customers/{customer}/configurations/{configuration}`.
        configuration: String = "configuration";
        /// The version of the payload.
        version: i64 = "version";
        /// The name of the DPC.
        dpc_name: String = "dpcName";
        /// The version of the DPC.
        dpc_version: String = "dpcVersion";
    }
}

message! {
    /// How an installation ended.
    pub struct InstallOutcome {
        /// How.
        result: InstallResult = "result";
        /// The version of the payload.
        version: i64 = "version";
        /// The reason in a word, if it did not succeed.
        reason: String = "reason";
        /// The reason, for people.
        detail: String = "detail";
    }
}

message! {
    /// A key, or hardware, with which somebody asked to be this device.
    pub struct ApprovalRequest {
        /// SHA-256 of the key, 64 hexadecimal digits.
        key_digest: String = "keyDigest";
        /// What was shown with it.
        device_identifier: Option<DeviceIdentifier> = "deviceIdentifier";
        /// What is not as it was when the device enrolled last.
        replaced_parts: Vec<ReplacedPart> = "replacedParts";
        /// When it was asked first.
        first_time: Option<Timestamp> = "firstTime";
        /// When it was asked last.
        last_time: Option<Timestamp> = "lastTime";
        /// How often it was asked.
        count: i64 = "count";
        /// When it was approved.
        approve_time: Option<Timestamp> = "approveTime";
        /// The network that it was asked from last: an IPv4 address, or an IPv6 network of 64 bits.
        source_network: String = "sourceNetwork";
        /// What ties whoever asked to the device, beside its identifiers: `proof` (its own key,
        /// certificate or TPM), `network` (the one from which its own key was last heard) or `none`.
        tie: String = "tie";
    }
}

message! {
    /// A part of a device that was replaced.
    pub struct ReplacedPart {
        /// The kind of identifier that changed, such as `board_serial`.
        kind: String = "kind";
        /// What it was when the device enrolled last.
        was: Vec<String> = "was";
        /// What it is now; nothing if it is gone.
        now: Vec<String> = "now";
    }
}

message! {
    /// What a device reported.
    pub struct EnrollmentReport {
        /// Its generation.
        generation: i64 = "generation";
        /// Its place among the reports of the generation.
        sequence: i64 = "sequence";
        /// What was going on: a progress type of RFC 8572, such as `bootstrap-complete`.
        progress: String = "progress";
        /// More about it.
        detail: String = "detail";
        /// When it happened, by the device's own clock.
        time: Option<Timestamp> = "time";
    }
}

message! {
    /// Something that happened to a device: an entry of the audit trail, or a report of its own.
    pub struct EnrollmentEvent {
        /// When it happened, the first time if it stands for several.
        time: Option<Timestamp> = "time";
        /// When it happened last.
        last_time: Option<Timestamp> = "lastTime";
        /// How often.
        count: i64 = "count";
        /// What was done, such as `granted` or `request_approved`; nothing for a report.
        action: String = "action";
        /// Who did it. EMMs are told of devices and of their own people.
        actor: String = "actor";
        /// More about it.
        detail: Option<Map<String, Value>> = "detail";
        /// What the device reported.
        report: Option<EnrollmentReport> = "report";
    }
}

message! {
    /// The enrollments of a customer.
    pub struct ListEnrollmentsResponse {
        /// The enrollments.
        enrollments: Vec<Enrollment> = "enrollments";
        /// Where the next page starts; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// How many there are in all.
        total_size: i32 = "totalSize";
    }
}

message! {
    /// What happened to a device.
    pub struct ListEnrollmentHistoryResponse {
        /// What happened, the newest first.
        events: Vec<EnrollmentEvent> = "events";
        /// Where the next page starts; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// Does something about one device.
    pub struct EnrollmentRequest {
        /// Which: `customers/{customer}/enrollments/{enrollment}`.
        enrollment: String = "enrollment";
        /// Or by its claim.
        device: Option<DeviceReference> = "device";
    }
}

message! {
    /// Approves or refuses a key, and the hardware that it was shown with.
    pub struct EnrollmentDecisionRequest {
        /// Which: `customers/{customer}/enrollments/{enrollment}`.
        enrollment: String = "enrollment";
        /// Or by its claim.
        device: Option<DeviceReference> = "device";
        /// SHA-256 of the key; only needed if several wait.
        key_digest: String = "keyDigest";
    }
}

message! {
    /// Disables a device, also before it was ever seen.
    pub struct DisableEnrollmentRequest {
        /// Which: `customers/{customer}/enrollments/{enrollment}`.
        enrollment: String = "enrollment";
        /// Or by its claim.
        device: Option<DeviceReference> = "device";
        /// What whoever holds it is to read.
        message: String = "message";
    }
}

message! {
    /// A ticket with which the device may enroll once with a new key, after a factory reset.
    pub struct CreateResetTicketResponse {
        /// The ticket. It is not shown again.
        reset_ticket: Option<Secret> = "resetTicket";
        /// Until when it is good.
        expire_time: Option<Timestamp> = "expireTime";
    }
}
