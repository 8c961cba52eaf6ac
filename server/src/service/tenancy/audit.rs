//! The audit trail: entries about actions of administrators and devices, and the way to read them.

use crate::{
    domain::tenancy::{
        actor::Actor,
        audit::{Action, Entry, Subject},
    },
    service::{ServiceError, Tenancy},
    store::{AuditFilter, Page, PageRequest},
};
use serde_json::{Value, json};

impl Tenancy {
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
        self.core.read(move |reader| reader.audit(scope, &filter, &page)).await
    }

    /// Records a command that has changed keys or certificates of the server, with its result.
    pub async fn record_key_change(
        &self,
        by: &Actor,
        command: &str,
        result: &Value,
    ) -> Result<(), ServiceError> {
        let detail = json!({"command": command, "result": result});
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                this.core.note(tx, &by, Action::KeysChanged, Subject::Unknown, None, detail.clone());
                Ok(())
            })
            .await
    }
}
