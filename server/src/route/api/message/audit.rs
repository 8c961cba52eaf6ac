//! The audit trail: actions, with their actors, subjects and times.

use crate::route::api::wire::message::message;
use serde_json::{Map, Value};
use unbox_common::timestamp::Timestamp;

message! {
    /// One thing that somebody did; what can happen without end is counted, an hour to an entry.
    pub struct AuditEntry {
        /// Its name: `organisations/{organisation}/auditEntries/{auditEntry}`.
        name: String = "name", OUTPUT;
        /// When it happened, the first time if it stands for several.
        first_time: Option<Timestamp> = "firstTime", OUTPUT;
        /// When it happened last.
        last_time: Option<Timestamp> = "lastTime", OUTPUT;
        /// How often it happened.
        count: i64 = "count", OUTPUT;
        /// Who did it, such as `account 42 order-system`.
        actor: String = "actor", OUTPUT;
        /// To which organisation they belong; absent for the operator and for devices.
        actor_organisation: String = "actorOrganisation", OUTPUT;
        /// What was done, such as `claimed`.
        action: String = "action", OUTPUT;
        /// To what, such as `device 42`.
        subject: String = "subject", OUTPUT;
        /// Whose thing that is.
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
        /// Where the next page starts; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}
