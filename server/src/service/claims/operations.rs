//! Long-running operations: accepted at once, done a part at a time, and continued after a restart.
//!
//! A part is one transaction: its changes to claims and the result of each item reach the disk together, or
//! not at all. So nothing is done twice, however often the server dies. On PostgreSQL several servers share
//! the work, and a lock on the operation's row keeps them apart.

use super::{
    claim::{NO_REGISTERED_KEY, NewClaim, OTHER_OWNER, check_parties},
    item_results::{account_ended_result, item_result, not_yours_result, refusal_result},
    register_claims::{CROWDED, ClaimOutcome},
    reseller_claims::{OTHER_RESELLER, resolve_target},
};
use crate::{
    domain::{
        claims::{
            claim::Claim,
            operation::{ItemResult, ItemStatus, MAX_ITEMS, Operation, OperationKind, Work, next_turns},
        },
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    service::{Claims, ItemSpool, ServiceError},
    store::{DoneItem, Page, PageRequest, Reader, Tx},
};
use serde_json::json;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use unbox_common::{
    ids::{ClaimId, CompanyId, ConfigurationId, OperationId},
    protocol::latest::ProofKind,
};

/// The number of items in one transaction; devices that enroll at the same time wait for one at most.
const PART_ITEMS: u32 = 500;
/// The approximate number of bytes of items in memory; a single item may have more.
const PART_BYTES: usize = 1024 * 1024;
/// The approximate number of bytes of one item's result.
const RESULT_BYTES: usize = 256;
/// The number of ended operations that are looked up together for deletion.
const FORGOTTEN_AT_ONCE: u32 = 100;
/// The longest sleep of the worker: another server may have died with its work undone.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(5);

impl Claims {
    /// Accepts an operation of a reseller, which [`Self::work_on_operations`] carries out.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] for no or too many items, [`ServiceError::QuotaExceeded`] if too many
    /// operations are waiting; nothing is stored in that case.
    pub async fn start_operation(
        &self,
        by: &Actor,
        kind: OperationKind,
        items: ItemSpool,
    ) -> Result<Operation, ServiceError> {
        let Scope::Reseller(company) = by.scope() else {
            return Err(ServiceError::OperatorOnly);
        };
        if items.is_empty() || items.len() as usize > MAX_ITEMS {
            return Err(ServiceError::invalid("items", format!("expected 1 to {MAX_ITEMS} devices")));
        }
        let now = self.core.now();
        let operation = Operation {
            id: self.core.ids.operation(now),
            company,
            kind,
            created_by: by.name().to_owned(),
            account: by.account(),
            items: items.len(),
            done: 0,
            succeeded: 0,
            created_at: now,
            done_at: None,
            cancelled_at: None,
        };
        let most = self.core.settings.unfinished_operations;
        let (this, by, items) = (self.clone(), by.clone(), Arc::new(Mutex::new(items)));
        let started = self
            .core
            .store
            .write(move |tx| {
                if tx.count_unfinished_operations(company)? >= most {
                    return Err(ServiceError::QuotaExceeded(format!(
                        "There are {most} operations that are not finished. Wait for one, or cancel one."
                    )));
                }
                tx.insert_operation(&operation)?;
                let (mut items, mut position, mut bytes) =
                    (items.lock().unwrap_or_else(PoisonError::into_inner), 0, 0);
                items.rewind()?;
                loop {
                    let part = items.next(PART_ITEMS as usize, PART_BYTES)?;
                    if part.is_empty() {
                        break;
                    }
                    tx.insert_operation_items(operation.id, position, &part)?;
                    position += part.len();
                    bytes +=
                        part.iter().map(|one| one.echo.len() + one.work.len() + RESULT_BYTES).sum::<usize>();
                }
                tx.set_operation_bytes(operation.id, bytes as u64)?;
                this.make_room_for_operation(tx, company)?;
                let detail = json!({"kind": operation.kind, "devices": operation.items});
                let subject = Subject::Operation(operation.id);
                this.core.note(tx, &by, Action::OperationStarted, subject, Some(company), detail);
                Ok::<_, ServiceError>(operation.clone())
            })
            .await?;
        self.operation_waits.notify_one();
        Ok(started)
    }

    /// Keeps a company's operations within its share of the disk by deleting early those that ended first.
    fn make_room_for_operation(&self, tx: &mut Tx, company: CompanyId) -> Result<(), ServiceError> {
        let share = self.core.settings.operations_bytes;
        let mut held = tx.operation_bytes(company)?;
        if held <= share {
            return Ok(());
        }
        for (id, bytes, has_ended) in tx.operation_sizes(company)? {
            if held > share && has_ended {
                tx.delete_operation(id)?;
                held -= bytes;
            }
        }
        if held > share {
            let mib = share / (1024 * 1024);
            return Err(ServiceError::QuotaExceeded(format!(
                "The operations that are not finished take more than {mib} MiB. Wait for one, or cancel one."
            )));
        }
        Ok(())
    }

    /// Returns an operation with its progress.
    pub async fn operation(&self, by: &Actor, id: OperationId) -> Result<Operation, ServiceError> {
        let scope = by.scope();
        let found = self.core.read(move |reader| reader.operation(scope, id)).await?;
        found.ok_or_else(|| ServiceError::not_found("operation", id))
    }

    /// Lists operations, oldest first.
    pub async fn list_operations(
        &self,
        by: &Actor,
        page: PageRequest,
    ) -> Result<Page<Operation>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.operations(scope, &page)).await
    }

    /// Returns a part of an operation's results, in the order of the request: at most `limit` items, and
    /// fewer if they are large.
    pub async fn operation_results(
        &self,
        by: &Actor,
        id: OperationId,
        from: u32,
        limit: u32,
    ) -> Result<Vec<DoneItem>, ServiceError> {
        let scope = by.scope();
        self.core
            .read(move |reader| {
                if reader.operation(scope, id)?.is_none() {
                    return Err(ServiceError::not_found("operation", id));
                }
                Ok(reader.operation_items(id, from, limit, PART_BYTES)?)
            })
            .await
    }

    /// Carries out operations for as long as the server runs.
    pub async fn work_on_operations(&self) {
        loop {
            match self.work_once().await {
                Ok(true) => {}
                Ok(false) => {
                    let woken = self.operation_waits.notified();
                    let _ = tokio::time::timeout(LOOK_AGAIN_AFTER, woken).await;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "an operation could not be gone on with"
                    );
                    tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Does one part of an operation for every company that has one waiting; returns `false` if there was
    /// nothing to do.
    pub async fn work_once(&self) -> Result<bool, ServiceError> {
        let waiting = self.core.read(Reader::unfinished_operations).await?;
        let turns = {
            let mut last = self.operation_turns.lock().unwrap_or_else(PoisonError::into_inner);
            let turns = next_turns(&waiting, &last);
            *last = waiting.iter().filter(|(id, _)| turns.contains(id)).map(|(id, of)| (*of, *id)).collect();
            turns
        };
        let mut worked = false;
        for id in turns {
            let this = self.clone();
            let part = self.core.store.write(move |tx| this.work_on_part(tx, id));
            match part.await {
                Ok(done) => worked |= done,
                // The other operations are not to blame; this one is tried again later.
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(operation = %id, error, "an operation could not be gone on with");
                }
            }
        }
        Ok(worked)
    }

    /// Ends an operation before its last device: finished work stays, and the rest is not begun. An ended
    /// operation does not change.
    pub async fn cancel_operation(&self, by: &Actor, id: OperationId) -> Result<(), ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let found = tx.operation_to_change(by.scope(), id)?;
                let operation = found.ok_or_else(|| ServiceError::not_found("operation", id))?;
                if operation.done_at.is_some() {
                    return Ok(());
                }
                tx.cancel_operation(id, this.core.now())?;
                let detail = json!({"done": operation.done, "devices": operation.items});
                let (action, of) = (Action::OperationCancelled, Some(operation.company));
                this.core.note(tx, &by, action, Subject::Operation(id), of, detail);
                Ok(())
            })
            .await
    }

    /// Deletes the record of an ended operation. Its effects stay.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] if it has not ended.
    pub async fn delete_operation(&self, by: &Actor, id: OperationId) -> Result<(), ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let found = tx.operation_to_change(by.scope(), id)?;
                let operation = found.ok_or_else(|| ServiceError::not_found("operation", id))?;
                if operation.done_at.is_none() {
                    let advice = "The operation has not ended. Wait for its end, or cancel it first.";
                    return Err(ServiceError::Conflict(advice.to_owned()));
                }
                tx.delete_operation(id)?;
                let (action, of) = (Action::OperationDeleted, Some(operation.company));
                this.core.note(tx, &by, action, Subject::Operation(id), of, json!({}));
                Ok(())
            })
            .await
    }

    /// Deletes operations that ended longer ago than the settings keep them, and returns their number.
    pub async fn forget_operations(&self) -> Result<u64, ServiceError> {
        let before = self.core.cutoff(self.core.settings.operations_kept);
        let mut forgotten = 0;
        loop {
            let ended = self
                .core
                .read(move |reader| reader.operations_done_before(before, FORGOTTEN_AT_ONCE))
                .await?;
            if ended.is_empty() {
                return Ok(forgotten);
            }
            for id in ended {
                let deleted =
                    self.core.store.write(move |tx| Ok::<_, ServiceError>(tx.delete_operation(id)?));
                deleted.await?;
                forgotten += 1;
            }
        }
    }

    fn work_on_part(&self, tx: &mut Tx, id: OperationId) -> Result<bool, ServiceError> {
        let Some(operation) = tx.operation_to_do(id)? else {
            return Ok(false);
        };
        let work = tx.operation_work(&operation, PART_ITEMS, PART_BYTES)?;
        if !may_continue(tx, &operation)? {
            let refused = vec![account_ended_result(); work.len()];
            tx.save_results(&operation, &refused, self.core.now())?;
            return Ok(true);
        }
        let by = Actor::of_reseller(&operation.created_by, operation.company);
        let results = match operation.kind {
            OperationKind::Claim => self.claim_part(tx, &by, &operation, work)?,
            OperationKind::Unclaim | OperationKind::UpdateMetadata => {
                let mut results = Vec::with_capacity(work.len());
                for one in work {
                    results.push(self.work_on(tx, &by, one)?);
                }
                results
            }
        };
        tx.save_results(&operation, &results, self.core.now())?;
        Ok(true)
    }

    /// Claims the devices of one part together.
    fn claim_part(
        &self,
        tx: &mut Tx,
        by: &Actor,
        operation: &Operation,
        work: Vec<Work>,
    ) -> Result<Vec<ItemResult>, ServiceError> {
        let mut parties = Parties::default();
        let mut results: Vec<Option<ItemResult>> = Vec::with_capacity(work.len());
        let mut claims: Vec<(usize, Claim)> = Vec::new();
        for (position, one) in work.into_iter().enumerate() {
            match self.prepare(tx, by, operation, one, &mut parties)? {
                Ok(claim) => {
                    claims.push((position, claim));
                    results.push(None);
                }
                Err(refused) => results.push(Some(refused)),
            }
        }
        let asked: Vec<Claim> = claims.iter().map(|(_, claim)| claim.clone()).collect();
        let taken = self.add_claims(tx, &asked)?;
        let mut fresh: Vec<ClaimId> = Vec::new();
        for ((position, claim), became) in claims.into_iter().zip(taken) {
            let result = match became {
                ClaimOutcome::New(id) => {
                    fresh.push(id);
                    ItemResult::success(id)
                }
                ClaimOutcome::Already { claim: id, reseller } if reseller == claim.reseller => {
                    let again = match self.register_again(tx, by, id, &claim) {
                        // The claim that had the device ended a moment ago.
                        Err(ServiceError::NotFound { .. }) => self.register(tx, by, &claim),
                        done => done,
                    };
                    item_result(again.map(|claim| claim.id))?
                }
                ClaimOutcome::Already { .. } => not_yours_result(OTHER_RESELLER),
                ClaimOutcome::OtherOwner => not_yours_result(OTHER_OWNER),
                ClaimOutcome::Crowded => not_yours_result(CROWDED),
                ClaimOutcome::NoKey => item_result(Err(ServiceError::invalid("proof", NO_REGISTERED_KEY)))?,
            };
            if let Some(slot) = results.get_mut(position) {
                *slot = Some(result);
            }
        }
        if !fresh.is_empty() {
            let detail = json!({"claims": fresh.len(), "first": fresh.first(), "last": fresh.last()});
            let subject = Subject::Operation(operation.id);
            self.core.note(tx, by, Action::ClaimsImported, subject, Some(operation.company), detail);
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// Returns the claim that an item requests, or the reason why it is impossible.
    fn prepare(
        &self,
        tx: &mut Tx,
        by: &Actor,
        operation: &Operation,
        work: Work,
        parties: &mut Parties,
    ) -> Result<Result<Claim, ItemResult>, ServiceError> {
        let (customer, configuration, sets, metadata, protected) = match work {
            Work::Claim { customer, configuration, sets, metadata, protected } => {
                (customer, configuration, sets, metadata, protected)
            }
            Work::Refused(result) => return Ok(Err(result)),
            Work::Unclaim { .. } | Work::UpdateMetadata { .. } => {
                return Ok(Err(ItemResult::failure(
                    ItemStatus::OtherError,
                    "INVALID_OPERATION",
                    "It is no claim.",
                )));
            }
        };
        let new = NewClaim {
            customer,
            reseller: Some(operation.company),
            configuration,
            proof: ProofKind::Identifiers,
            sets: sets.usable().to_vec(),
            order: None,
            metadata,
            protected,
        };
        let claim = match self.new_claim(by, new) {
            Ok(claim) => claim,
            Err(error) => return Ok(Err(refusal_result(error)?)),
        };
        let asked = (customer, configuration, protected);
        if let Entry::Vacant(unknown) = parties.0.entry(asked) {
            unknown.insert(match check_parties(tx, by, &claim) {
                Ok(()) => None,
                Err(error) => Some(refusal_result(error)?),
            });
        }
        let checked = parties.0.get(&asked).cloned().flatten();
        Ok(checked.map_or(Ok(claim), Err))
    }

    /// Processes one item that is not a claim.
    fn work_on(&self, tx: &mut Tx, by: &Actor, work: Work) -> Result<ItemResult, ServiceError> {
        let (Work::Unclaim { target, .. } | Work::UpdateMetadata { target, .. }) = &work else {
            return Ok(match work {
                Work::Refused(result) => result,
                _ => ItemResult::failure(ItemStatus::OtherError, "INVALID_OPERATION", "It is a claim."),
            });
        };
        let id = match resolve_target(tx, by, target) {
            Ok(id) => id,
            Err(error) => return refusal_result(error),
        };
        item_result(match work {
            Work::Unclaim { until: Some(until), .. } => {
                self.release_until(tx, by, id, Some(until)).map(|_| id)
            }
            Work::UpdateMetadata { changes, .. } => self.change_metadata(tx, by, id, &changes).map(|_| id),
            _ => self.end_claim(tx, by, id).map(|()| id),
        })
    }
}

/// Returns true if the requesting account may still do what the rest of the operation requires.
fn may_continue(tx: &mut Tx, operation: &Operation) -> Result<bool, ServiceError> {
    let Some(id) = operation.account else { return Ok(true) };
    let account = tx.account(Scope::Operator, id)?;
    Ok(account.is_some_and(|account| account.may_change_for(operation.company)))
}

/// Results of checks of customers and configurations, each made once in a part.
#[derive(Default)]
struct Parties(HashMap<(CompanyId, Option<ConfigurationId>, bool), Option<ItemResult>>);
