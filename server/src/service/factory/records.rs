//! Management of factory records by their organisations: listing, showing and deleting.

use crate::{
    domain::{
        factory::record::{FactoryRecord, Withdrawal},
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    service::{Factory, ServiceError},
    store::{FactoryFilter, Page, PageRequest, Tx},
};
use serde_json::json;
use unbox_common::ids::{ClaimId, FactoryRecordId};

impl Factory {
    /// Lists records of the actor's own organisation, oldest first; the operator sees all.
    pub async fn list_factory_records(
        &self,
        by: &Actor,
        filter: FactoryFilter,
        page: PageRequest,
    ) -> Result<Page<FactoryRecord>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.list_factory_records(scope, &filter, &page)).await
    }

    /// Shows a record.
    pub async fn factory_record(
        &self,
        by: &Actor,
        id: FactoryRecordId,
    ) -> Result<FactoryRecord, ServiceError> {
        let scope = by.scope();
        let found = self.core.read(move |reader| reader.factory_record(scope, id)).await?;
        found.ok_or_else(|| record_not_found(id))
    }

    /// Deletes a record. The claim that received its key loses that key, and is returned.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] if a device enrolled with that key, its claim is in force, and the device
    /// is not deprovisioned.
    pub async fn delete_factory_record(
        &self,
        by: &Actor,
        id: FactoryRecordId,
    ) -> Result<Option<ClaimId>, ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core.store.write(move |tx| this.delete_record(tx, &by, id)).await
    }

    fn delete_record(
        &self,
        tx: &mut Tx,
        by: &Actor,
        id: FactoryRecordId,
    ) -> Result<Option<ClaimId>, ServiceError> {
        let record = record_for_update(tx, by, id)?;
        let claim = match record.claim {
            Some(claim) => self.withdraw_key(tx, by, &record, claim)?,
            None => None,
        };
        tx.delete_factory_record(id)?;
        let detail = json!({"record": id, "key": record.key(), "claim": claim});
        let subject = Subject::Company(record.company);
        self.core.note(tx, by, Action::FactoryRecordDeleted, subject, Some(record.company), detail);
        Ok(claim)
    }

    /// Removes a record's key from the claim that received it. Returns the claim, if it still had the key.
    fn withdraw_key(
        &self,
        tx: &mut Tx,
        by: &Actor,
        record: &FactoryRecord,
        claim: ClaimId,
    ) -> Result<Option<ClaimId>, ServiceError> {
        tx.lock_claim(claim)?;
        // Not in the actor's own scope: a customer's record gives its key to a claim that a reseller made.
        let found = tx.claim(Scope::Operator, claim)?;
        let Some(was) = found.filter(|claim| claim.released_at.is_none()) else { return Ok(None) };
        let device = tx.device_of_claim(claim)?;
        match record.withdraw_from(&was, device.as_ref()) {
            Withdrawal::Nothing => Ok(None),
            Withdrawal::InUse => Err(ServiceError::Conflict(format!(
                "The device of claim {claim} enrolled with the key of this record. End the claim, or \
                 deprovision the device, and delete the record then."
            ))),
            Withdrawal::Key(now) => {
                tx.set_claim_sets(&was, &now)?;
                let detail = json!({"record": record.id, "key": record.key()});
                let subject = Subject::Claim(claim);
                self.core.note(tx, by, Action::ClaimKeyWithdrawn, subject, Some(was.customer), detail);
                Ok(Some(claim))
            }
        }
    }
}

/// Returns a record, locked until the transaction ends: nobody registers it again, and no claim gets its
/// key.
fn record_for_update(tx: &mut Tx, by: &Actor, id: FactoryRecordId) -> Result<FactoryRecord, ServiceError> {
    let mut record = tx.factory_record(by.scope(), id)?.ok_or_else(|| record_not_found(id))?;
    loop {
        let keys: Vec<String> = record.lookup_keys().into_iter().collect();
        tx.hold_keys(&keys)?;
        let now = tx.factory_record(by.scope(), id)?.ok_or_else(|| record_not_found(id))?;
        if now.lookup_keys().into_iter().eq(keys) {
            return Ok(now);
        }
        // It was registered again while this waited.
        record = now;
    }
}

fn record_not_found(id: FactoryRecordId) -> ServiceError {
    ServiceError::not_found("factory record", id)
}
