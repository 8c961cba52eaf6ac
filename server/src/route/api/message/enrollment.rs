//! Enrollments: the state of claimed devices, and their owners' decisions. Unbox's own.

use super::common::{DeviceIdentifier, DeviceReference};
use crate::route::api::wire::{enums::wire_enum, message::message};
use serde_json::{Map, Value};
use unbox_common::{ids::DeviceId, secret::Secret, timestamp::Timestamp};

wire_enum! {
    /// The state of a device.
    pub enum EnrollmentState {
        /// Not specified.
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
    /// The result of an installation.
    pub enum InstallResult {
        /// Not specified.
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
    /// The enrollment of one claimed device.
    pub struct Enrollment {
        /// Its name: `customers/{customer}/enrollments/{enrollment}`.
        name: String = "name", OUTPUT;
        /// Its id: the device's own, which its certificates name, too.
        enrollment_id: Option<DeviceId> = "enrollmentId", OUTPUT;
        /// The claim that it enrolls by: `customers/{customer}/devices/{device}`.
        device: String = "device", OUTPUT;
        /// Its state.
        state: EnrollmentState = "state", OUTPUT;
        /// The time from which it has been in this state.
        state_time: Option<Timestamp> = "stateTime", OUTPUT;
        /// The message to the person who holds it, while it is disabled.
        message: String = "message", OUTPUT;
        /// The identifiers that it showed at its last grant.
        device_identifier: Option<DeviceIdentifier> = "deviceIdentifier", OUTPUT;
        /// The number of grants; each is a generation.
        generation: i64 = "generation", OUTPUT;
        /// The generation that was complete last.
        active_generation: i64 = "activeGeneration", OUTPUT;
        /// SHA-256 of the key of the latest generation, 64 hexadecimal digits.
        key_digest: String = "keyDigest", OUTPUT;
        /// The time at which it was asked to enroll again; absent once it has.
        reenroll_request_time: Option<Timestamp> = "reenrollRequestTime", OUTPUT;
        /// The time when it was first known.
        create_time: Option<Timestamp> = "createTime", OUTPUT;
        /// The time when it was last heard.
        last_seen_time: Option<Timestamp> = "lastSeenTime", OUTPUT;
        /// The version of its agent.
        agent_version: String = "agentVersion", OUTPUT;
        /// True if its DPC passes its health check.
        healthy: Option<bool> = "healthy", OUTPUT;
        /// The payload that it runs.
        installed: Option<InstalledPayload> = "installed", OUTPUT;
        /// The payload that failed there.
        failed_version: i64 = "failedVersion", OUTPUT;
        /// The result of the last installation.
        outcome: Option<InstallOutcome> = "outcome", OUTPUT;
        /// Requests that wait for approval, or were approved and not used yet; not in lists.
        approval_requests: Vec<ApprovalRequest> = "approvalRequests", OUTPUT;
        /// Its last reports; not in lists.
        last_report: Option<EnrollmentReport> = "lastReport", OUTPUT;
    }
}

message! {
    /// The payload that a device runs.
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
    /// The result of an installation.
    pub struct InstallOutcome {
        /// The kind of result.
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
        /// The identifiers that were shown with it.
        device_identifier: Option<DeviceIdentifier> = "deviceIdentifier";
        /// The parts that have changed since the device last enrolled.
        replaced_parts: Vec<ReplacedPart> = "replacedParts";
        /// The time of the first request.
        first_time: Option<Timestamp> = "firstTime";
        /// The time of the last request.
        last_time: Option<Timestamp> = "lastTime";
        /// The number of requests.
        count: i64 = "count";
        /// The time of the approval.
        approve_time: Option<Timestamp> = "approveTime";
        /// The network that it was asked from last: an IPv4 address, or an IPv6 network of 64 bits.
        source_network: String = "sourceNetwork";
        /// The tie of the requester to the device, beside its identifiers: `proof` (its own key,
        /// certificate or TPM), `network` (the one from which its own key was last heard) or `none`.
        tie: String = "tie";
    }
}

message! {
    /// A part of a device that was replaced.
    pub struct ReplacedPart {
        /// The kind of identifier that changed, such as `board_serial`.
        kind: String = "kind";
        /// The part when the device last enrolled.
        was: Vec<String> = "was";
        /// The part now; nothing if it is gone.
        now: Vec<String> = "now";
    }
}

message! {
    /// One report of a device.
    pub struct EnrollmentReport {
        /// Its generation.
        generation: i64 = "generation";
        /// Its place among the reports of the generation.
        sequence: i64 = "sequence";
        /// The progress: a type of RFC 8572, such as `bootstrap-complete`.
        progress: String = "progress";
        /// More about it.
        detail: String = "detail";
        /// The time by the device's own clock.
        time: Option<Timestamp> = "time";
    }
}

message! {
    /// Something that happened to a device: an entry of the audit trail, or a report of its own.
    pub struct EnrollmentEvent {
        /// The time of the action, or of the first if the entry stands for several.
        time: Option<Timestamp> = "time";
        /// The time of the last one.
        last_time: Option<Timestamp> = "lastTime";
        /// The number of times.
        count: i64 = "count";
        /// The action, such as `granted` or `request_approved`; nothing for a report.
        action: String = "action";
        /// The actor. EMMs are told of devices and of their own people.
        actor: String = "actor";
        /// More about it.
        detail: Option<Map<String, Value>> = "detail";
        /// The device's report.
        report: Option<EnrollmentReport> = "report";
    }
}

message! {
    /// The enrollments of a customer.
    pub struct ListEnrollmentsResponse {
        /// The enrollments.
        enrollments: Vec<Enrollment> = "enrollments";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// The total number.
        total_size: i32 = "totalSize";
    }
}

message! {
    /// The history of a device.
    pub struct ListEnrollmentHistoryResponse {
        /// Its events, the newest first.
        events: Vec<EnrollmentEvent> = "events";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// Does something about one device.
    pub struct EnrollmentRequest {
        /// Its name: `customers/{customer}/enrollments/{enrollment}`.
        enrollment: String = "enrollment";
        /// Or by its claim.
        device: Option<DeviceReference> = "device";
    }
}

message! {
    /// Approves or refuses a key, and the hardware that it was shown with.
    pub struct EnrollmentDecisionRequest {
        /// Its name: `customers/{customer}/enrollments/{enrollment}`.
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
        /// Its name: `customers/{customer}/enrollments/{enrollment}`.
        enrollment: String = "enrollment";
        /// Or by its claim.
        device: Option<DeviceReference> = "device";
        /// The message to the person who holds it.
        message: String = "message";
    }
}

message! {
    /// A ticket with which the device may enroll once with a new key, after a factory reset.
    pub struct CreateResetTicketResponse {
        /// The ticket. It is not shown again.
        reset_ticket: Option<Secret> = "resetTicket";
        /// The time of its expiry.
        expire_time: Option<Timestamp> = "expireTime";
    }
}
