//! The audit trail: how what administrators and devices do gets into it, and how it is read.

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
use std::{future::ready, sync::Arc};
use unbox_common::{
    ids::{CompanyId, DeviceId},
    timestamp::Timestamp,
};

/// Who acts when a device asks that has not proved which one it is.
pub(super) const A_DEVICE: &str = "device";

impl Services {
    /// Lists the audit trail, newest first.
    pub async fn list_audit(
        &self,
        by: &Actor,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<Page<Entry>, ServiceError> {
        // A whole trail is read page by page, and takes its time.
        self.check_still_acts(by).await?;
        Ok(self.0.store.reader().await?.audit(by.scope(), &filter, &page).await?)
    }

    /// Adds what an administrator did, in the transaction that did it.
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

    /// Counts a refusal in the audit trail, soon. Nobody waits for it, and under load it is the
    /// first thing to be left out: whoever knocks must not be able to make others wait.
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
            Box::pin(ready(Ok(())))
        });
    }
}

/// The event of a refusal.
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

/// The event of something that a device did.
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
