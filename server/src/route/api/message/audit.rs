//! The audit trail: actions, with their actors, subjects and times.

use crate::route::api::wire::message::message;
use serde_json::{Map, Value};
use unbox_common::timestamp::Timestamp;

message! {
    /// One action. Actions that can happen without end are counted, an hour to an entry.
    pub struct AuditEntry {
        /// Its name: `organisations/{organisation}/auditEntries/{auditEntry}`.
        name: String = "name", OUTPUT;
        /// The time of the action, or of the first if the entry stands for several.
        first_time: Option<Timestamp> = "firstTime", OUTPUT;
        /// The time of the last one.
        last_time: Option<Timestamp> = "lastTime", OUTPUT;
        /// The number of times.
        count: i64 = "count", OUTPUT;
        /// The actor, such as `account 42 order-system`.
        actor: String = "actor", OUTPUT;
        /// The organisation of the actor; absent for the operator and for devices.
        actor_organisation: String = "actorOrganisation", OUTPUT;
        /// The action, such as `claimed`.
        action: String = "action", OUTPUT;
        /// The subject, such as `device 42`.
        subject: String = "subject", OUTPUT;
        /// The organisation that owns the subject.
        organisation: String = "organisation", OUTPUT;
        /// More about it; of the last time if it stands for several.
        detail: Map<String, Value> = "detail", OUTPUT;
    }
}

message! {
    /// An organisation's audit trail, newest first.
    pub struct ListAuditEntriesResponse {
        /// The entries.
        audit_entries: Vec<AuditEntry> = "auditEntries";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}
