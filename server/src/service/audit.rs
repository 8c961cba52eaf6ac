//! The audit trail: how it is written by administrators' actions, and how they read it.

use super::{ServiceError, Services};
use crate::{
    domain::{
        actor::Actor,
        audit::{Action, Entry, Event, Subject},
    },
    store::{AuditFilter, Page, PageRequest, Tx},
};
use serde_json::Value;
use unbox_common::ids::CompanyId;

impl Services {
    /// Lists the audit trail, newest first.
    pub async fn list_audit(
        &self,
        by: &Actor,
        filter: AuditFilter,
        page: PageRequest,
    ) -> Result<Page<Entry>, ServiceError> {
        Ok(self.0.store.reader().await?.audit(by.scope(), &filter, &page).await?)
    }

    /// Adds what an administrator did, in the transaction that did it.
    pub(super) async fn note(
        &self,
        tx: &mut Tx,
        by: &Actor,
        action: Action,
        subject: Subject,
        customer: Option<CompanyId>,
        detail: Value,
    ) -> Result<(), ServiceError> {
        let at = self.now();
        let event = Event { at, actor: by.name().to_owned(), action, subject, customer, detail };
        Ok(tx.append(self.0.ids.next(at), &event).await?)
    }
}
