//! Claims from a CSV file: rows of any number in constant memory, each with its own result.
//!
//! A thread that may block reads and checks rows (`rows.rs`, in the words of `unbox_common::claims_file`).
//! Here their names are looked up (`parties.rs`), then they are checked against existing claims and
//! written, one batch in a transaction, while the thread reads on: a reseller's file claims devices
//! (`claim.rs`), a customer's applies configurations to its devices (`apply.rs`).
//!
//! To add a column: its name and meaning in `unbox_common::claims_file`, its rule there or in `rows.rs`,
//! its place in the export (`service/claims/export.rs`), and a row in the tests of each.

mod apply;
mod claim;
mod outcome;
mod parties;
mod rows;

pub use outcome::{ImportSummary, RowOutcome, RowResult};

use super::reseller_claims::OTHER_RESELLER;
use crate::{
    domain::tenancy::{
        actor::{Actor, Scope},
        company::CompanyKind,
    },
    service::{Claims, ServiceError, retry::retry_during_outage},
};
use apply::Wish;
use parties::{Found, Parties};
use rows::{ReadRow, Row, Rows};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::Arc,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use unbox_common::{
    claims_file::{Column, Header, Purpose, UnusableFile},
    ids::{CompanyId, ConfigurationId},
    protocol::latest::ProofKind,
};

/// The number of rows in one transaction; devices that enroll at the same time wait for one at most.
const BATCH_ROWS: usize = 2000;
/// The number of batches that are read ahead.
const BATCHES_AHEAD: usize = 2;

/// Defaults for rows that leave a value out.
#[derive(Debug, Clone, Default)]
pub struct ImportDefaults {
    /// The customer.
    pub customer: Option<CompanyId>,
    /// The reseller that registers the devices.
    pub reseller: Option<CompanyId>,
    /// The configuration; the customer's default if absent.
    pub configuration: Option<ConfigurationId>,
    /// The proof; `identifiers` if absent.
    pub proof: Option<ProofKind>,
}

/// A running import. When dropped, it stops after the batch that is being written.
pub struct Import {
    claims: Claims,
    by: Actor,
    defaults: ImportDefaults,
    work: Work,
    batches: mpsc::Receiver<Vec<ReadRow>>,
    reading: Option<JoinHandle<Result<(), UnusableFile>>>,
    summary: ImportSummary,
    /// The customers of the rows so far, and whether the reseller works for them.
    linked: BTreeMap<CompanyId, bool>,
}

/// The kind of work on rows.
#[derive(Debug, Clone, Copy)]
enum Work {
    Claim,
    /// Applies configurations to devices of this customer.
    Apply(CompanyId),
}

impl Claims {
    /// Imports claims from CSV. Each row's result is passed to `sink` when it is on disk, in the order of
    /// the file.
    ///
    /// # Errors
    /// If the file as a whole is unusable (a bad header, or malformed CSV further down), or the database
    /// fails; rows that were already reported remain imported.
    pub async fn import_claims<R: Read + Send + 'static>(
        &self,
        by: &Actor,
        defaults: ImportDefaults,
        csv: R,
        mut sink: impl FnMut(RowResult) + Send,
    ) -> Result<ImportSummary, ServiceError> {
        let mut import = self.open_import(by, defaults, csv).await?;
        while let Some(results) = import.next_results().await? {
            results.into_iter().for_each(&mut sink);
        }
        Ok(import.summary())
    }

    /// Reads the first line of a file and starts to read its rows. A reseller's file claims devices, a
    /// customer's applies configurations; for the operator it depends on the columns.
    ///
    /// # Errors
    /// If the first line is unusable, or the actor may not import such a file.
    pub async fn open_import<R: Read + Send + 'static>(
        &self,
        by: &Actor,
        defaults: ImportDefaults,
        csv: R,
    ) -> Result<Import, ServiceError> {
        let defaults = match by.scope() {
            Scope::Operator => defaults,
            Scope::Reseller(reseller) => ImportDefaults { reseller: Some(reseller), ..defaults },
            Scope::Customer(customer) => ImportDefaults { customer: Some(customer), ..defaults },
        };
        self.check_defaults(by, &defaults).await?;
        let (to_here, batches) = mpsc::channel(BATCHES_AHEAD);
        let (tell_header, header) = oneshot::channel();
        let models = Arc::clone(&self.core.settings.models);
        let reading = tokio::task::spawn_blocking(move || {
            let rows = Rows::open(csv, models)?;
            match tell_header.send(rows.header().clone()) {
                Ok(()) => read_batches(rows, &to_here),
                Err(_) => Ok(()),
            }
        });
        let Ok(header) = header.await else {
            return Err(finish_reading(reading).await.err().unwrap_or(ServiceError::Busy));
        };
        let work = work(by, &defaults, &header)?;
        let (this, by, summary) = (self.clone(), by.clone(), ImportSummary::default());
        let (reading, linked) = (Some(reading), BTreeMap::new());
        Ok(Import { claims: this, by, defaults, work, batches, reading, summary, linked })
    }

    async fn check_defaults(&self, by: &Actor, defaults: &ImportDefaults) -> Result<(), ServiceError> {
        let (own, defaults) = (by.scope(), defaults.clone());
        self.core
            .read(move |reader| {
                for (id, scope, wanted, is_wanted) in [
                    (
                        defaults.customer,
                        own,
                        "customer",
                        (|kind| kind == CompanyKind::Customer) as fn(_) -> _,
                    ),
                    (defaults.reseller, Scope::Operator, "reseller", CompanyKind::registers_devices),
                ] {
                    if let Some(id) = id
                        && reader.company(scope, id)?.is_none_or(|company| !is_wanted(company.kind))
                    {
                        return Err(ServiceError::not_found(wanted, id));
                    }
                }
                match defaults.configuration {
                    Some(id) if reader.configuration(own, id)?.is_none() => {
                        Err(ServiceError::not_found("configuration", id))
                    }
                    _ => Ok(()),
                }
            })
            .await
    }
}

impl Import {
    /// Returns the results of the next rows, in the order of the file; `None` at its end.
    ///
    /// # Errors
    /// If the CSV is malformed, or the database fails; rows that were already reported remain imported.
    pub async fn next_results(&mut self) -> Result<Option<Vec<RowResult>>, ServiceError> {
        let Some(batch) = self.batches.recv().await else {
            return match self.reading.take() {
                Some(reading) => finish_reading(reading).await.map(|()| None),
                None => Ok(None),
            };
        };
        retry_during_outage(|| self.claims.tenancy.check_still_acts(&self.by)).await?;
        let results = match self.work {
            Work::Claim => self.claim(batch).await?,
            Work::Apply(customer) => self.apply(customer, batch).await?,
        };
        for outcome in results.values() {
            self.summary.count(outcome);
        }
        Ok(Some(results.into_iter().map(|(line, outcome)| RowResult { line, outcome }).collect()))
    }

    /// Returns the totals of all rows reported so far.
    #[must_use]
    pub const fn summary(&self) -> ImportSummary {
        self.summary
    }

    /// Returns the customers of rows whose devices the reseller does not see, because it does not work for
    /// them. Only the operator can import such rows.
    pub fn unlinked_customers(&self) -> impl Iterator<Item = CompanyId> {
        self.linked.iter().filter(|(_, is_linked)| !**is_linked).map(|(customer, _)| *customer)
    }

    async fn note_links(&mut self, customers: BTreeSet<CompanyId>) -> Result<(), ServiceError> {
        let (Scope::Operator, Some(reseller)) = (self.by.scope(), self.defaults.reseller) else {
            return Ok(());
        };
        for customer in customers {
            if !self.linked.contains_key(&customer) {
                let linked =
                    self.claims.core.read(move |reader| reader.works_for(reseller, customer)).await?;
                self.linked.insert(customer, linked);
            }
        }
        Ok(())
    }

    async fn claim(&mut self, batch: Vec<ReadRow>) -> Result<BTreeMap<u64, RowOutcome>, ServiceError> {
        let Self { claims: this, by, defaults, .. } = self;
        let mut parties = Parties::new(this, by, defaults);
        let (mut results, mut claims) = (BTreeMap::new(), Vec::with_capacity(batch.len()));
        for (line, row) in batch {
            let claim = match row {
                Ok(row) => this.claim_of_row(by, defaults, row, &mut parties).await?,
                Err(outcome) => Err(outcome),
            };
            match claim {
                Ok(claim) => claims.push((line, claim)),
                Err(outcome) => drop(results.insert(line, outcome)),
            }
        }
        let customers = claims.iter().map(|(_, claim)| claim.customer).collect();
        results.extend(this.claim_batch(by, claims).await?);
        self.note_links(customers).await?;
        Ok(results)
    }

    async fn apply(
        &self,
        customer: CompanyId,
        batch: Vec<ReadRow>,
    ) -> Result<BTreeMap<u64, RowOutcome>, ServiceError> {
        let Self { claims: this, by, defaults, .. } = self;
        let mut parties = Parties::new(this, by, defaults);
        let (mut results, mut wishes) = (BTreeMap::new(), Vec::with_capacity(batch.len()));
        for (line, row) in batch {
            let wish = match row {
                Ok(row) => wish_of_row(customer, row, &mut parties).await?,
                Err(outcome) => Err(outcome),
            };
            match wish {
                Ok(wish) => wishes.push((line, wish)),
                Err(outcome) => drop(results.insert(line, outcome)),
            }
        }
        results.extend(this.apply_batch(by, customer, wishes).await?);
        Ok(results)
    }
}

async fn wish_of_row(customer: CompanyId, row: Row, parties: &mut Parties<'_>) -> Found<Wish> {
    let configuration = parties.configuration(customer, row.configuration.as_ref()).await?;
    Ok(configuration.map(|configuration| Wish { sets: row.sets, configuration }))
}

/// Returns the work that such a file means for this actor.
fn work(by: &Actor, defaults: &ImportDefaults, header: &Header) -> Result<Work, ServiceError> {
    let refused = |rule: &str| Err(ServiceError::invalid("file", rule));
    match (by.scope(), header.purpose(), defaults.customer) {
        (Scope::Reseller(_), Purpose::Apply, _) => refused(CUSTOMERS_FILE),
        (Scope::Reseller(_), Purpose::Claim, _) if !header.has(Column::Customer) => refused(NO_OWNER),
        (Scope::Customer(_), Purpose::Claim, _) => refused(RESELLERS_FILE),
        (_, Purpose::Apply, Some(customer)) => Ok(Work::Apply(customer)),
        (_, Purpose::Apply, None) => refused(WHOSE_FILE),
        (_, Purpose::Claim, _) => Ok(Work::Claim),
    }
}

const CUSTOMERS_FILE: &str = "it has the column profileid and no owner: that is a customer's file, which \
    applies configurations. A reseller's has the column owner";
const NO_OWNER: &str = "the column owner is missing: it says which customer each device is for";
const RESELLERS_FILE: &str = "expected a customer's file, with the column profileid and without owner: \
    devices are claimed by a reseller";
const WHOSE_FILE: &str = "it has the column profileid and no owner: that is a customer's file. Say whose";

async fn finish_reading(reading: JoinHandle<Result<(), UnusableFile>>) -> Result<(), ServiceError> {
    match reading.await {
        Ok(read) => read.map_err(|error| ServiceError::invalid("file", error)),
        Err(_) => Err(ServiceError::Busy),
    }
}

/// Reads the whole file, batch by batch, until the receiver is gone.
fn read_batches(mut rows: Rows<impl Read>, to: &mpsc::Sender<Vec<ReadRow>>) -> Result<(), UnusableFile> {
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    loop {
        let end = match rows.next_row() {
            Ok(Some(row)) => {
                batch.push(row);
                None
            }
            Ok(None) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        if batch.len() == BATCH_ROWS || (end.is_some() && !batch.is_empty()) {
            let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ROWS));
            if to.blocking_send(full).is_err() {
                return Ok(());
            }
        }
        if let Some(end) = end {
            return end;
        }
    }
}
