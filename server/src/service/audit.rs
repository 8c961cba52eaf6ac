//! The audit trail: entries about actions of administrators and devices, and the way to read them.

use super::{ServiceError, Services};
use crate::{
    domain::{
        actor::Actor,
        admission::Refusal,
        audit::{Action, Entry, Event, Subject},
        device::Device,
    },
    store::{AuditFilter, Page, PageRequest, Tx},
};
use serde_json::{Value, json};
use std::sync::Arc;
use unbox_common::{
    ids::{CompanyId, DeviceId},
    timestamp::Timestamp,
};

/// The actor in entries about devices that have not proved their identity.
pub(super) const A_DEVICE: &str = "device";

impl Services {
    /// Lists the audit trail, newest first.
    pub async fn list_audit(
        &self,
        by: &Actor,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<Page<Entry>, ServiceError> {
        // Reading a whole trail page by page takes long enough for an account to be disabled.
        self.check_still_acts(by).await?;
        let scope = by.scope();
        self.read(move |reader| reader.audit(scope, &filter, &page)).await
    }

    /// Records an administrator's action, in the transaction that performs it.
    pub(super) fn note(
        &self,
        tx: &mut Tx,
        by: &Actor,
        action: Action,
        subject: Subject,
        customer: Option<CompanyId>,
        detail: Value,
    ) {
        let at = self.now();
        let event = Event {
            at,
            actor: by.name().to_owned(),
            company: by.company(),
            action,
            subject,
            customer,
            detail,
        };
        tx.append(self.0.ids.next(at), event);
    }

    /// Records a command that has changed keys or certificates of the server, with its result.
    pub async fn record_key_change(
        &self,
        by: &Actor,
        command: &str,
        result: &Value,
    ) -> Result<(), ServiceError> {
        let detail = json!({"command": command, "result": result});
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                services.note(tx, &by, Action::KeysChanged, Subject::Unknown, None, detail.clone());
                Ok(())
            })
            .await
    }

    /// Counts a refusal in the audit trail, in the background. Nobody waits for it, and under load it is
    /// the first thing to be dropped: an unknown client must not be able to make others wait.
    pub(super) fn note_refusal(
        &self,
        now: Timestamp,
        subject: Subject,
        customer: Option<CompanyId>,
        refusal: &Refusal,
        detail: Value,
    ) {
        let event = refusal_event(now, subject, customer, refusal, detail);
        let ids = Arc::clone(&self.0.ids);
        self.0.store.write_soon(move |tx| {
            tx.append(ids.next(now), event.clone());
            Ok(())
        });
    }
}

/// Builds the event of a refusal.
pub(super) fn refusal_event(
    at: Timestamp,
    subject: Subject,
    customer: Option<CompanyId>,
    refusal: &Refusal,
    detail: Value,
) -> Event {
    let mut detail = detail;
    if let Value::Object(fields) = &mut detail {
        fields.insert("kind".to_owned(), json!(refusal.kind));
        if let Some(said) = &refusal.detail {
            fields.insert("detail".to_owned(), json!(said));
        }
    }
    let (actor, action) = (A_DEVICE.to_owned(), Action::Refused);
    Event { at, actor, company: None, action, subject, customer, detail }
}

/// Builds the event of a device's action.
pub(super) fn device_event(
    at: Timestamp,
    action: Action,
    id: DeviceId,
    device: &Device,
    detail: Value,
) -> Event {
    Event {
        at,
        actor: format!("{A_DEVICE} {id}"),
        company: None,
        action,
        subject: Subject::Device(id),
        customer: Some(device.customer),
        detail,
    }
}
