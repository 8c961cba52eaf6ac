//! Claims from a CSV file: rows of any number in constant memory, each with its own result.
//!
//! A thread that may block reads and checks rows (`rows.rs`); here they are held against what is
//! claimed already and written, a batch to a transaction, while the thread reads on.

mod rows;

use super::{
    ServiceError, Services,
    claiming::Taken,
    claims::{NO_REGISTERED_KEY, UNDRAWN},
    companies::shown,
};
use crate::{
    domain::{
        actor::Actor,
        audit::{Action, Subject},
        claim::{Claim, ClaimSets, Metadata},
        company::CompanyKind,
    },
    store::Tx,
};
use rows::{ReadRow, Row, Rows, UnusableFile, has_registered_key};
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
    sync::Arc,
};
use tokio::sync::mpsc;
use unbox_common::{
    ids::{ClaimId, CompanyId, ConfigurationId},
    protocol::latest::ProofKind,
    timestamp::Timestamp,
};

/// The columns that a file may have, in any order.
pub const KNOWN_COLUMNS: [&str; 13] = [
    "serial_number",
    "manufacturer",
    "model",
    "service_tag",
    "board_serial",
    "chassis_serial",
    "mac_address",
    "system_uuid",
    "device_key",
    "customer",
    "configuration",
    "proof",
    "order",
];

/// Rows of one transaction: devices that enroll at the same time wait for no longer than it takes.
const BATCH_ROWS: usize = 2000;
/// Batches that are read ahead.
const BATCHES_AHEAD: usize = 2;
/// Names of customers and configurations that are remembered while a file is read.
const MAX_REMEMBERED: usize = 10_000;

/// What rows get that do not say it themselves.
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

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowResult {
    /// The line that the row starts on, from 1; the header is line 1.
    pub line: u64,
    /// What became of it.
    pub outcome: RowOutcome,
}

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOutcome {
    /// It is claimed now.
    Imported(ClaimId),
    /// The same customer has claimed it before; nothing changed.
    AlreadyClaimed(ClaimId),
    /// Another customer has claimed it, perhaps in a row above; nothing changed.
    Conflict,
    /// It cannot be used.
    Invalid {
        /// The column, from 1; `None` if the row as a whole is wrong.
        column: Option<usize>,
        /// The field's name, or `row`.
        field: String,
        /// The rule that it broke.
        rule: String,
    },
}

/// How an import ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportSummary {
    /// Rows that were read.
    pub rows: u64,
    /// Rows that are claims now.
    pub imported: u64,
    /// Rows that were claims before.
    pub already_claimed: u64,
    /// Rows that another customer has claimed.
    pub conflicts: u64,
    /// Rows that could not be used.
    pub invalid: u64,
}

impl ImportSummary {
    fn count(&mut self, outcome: &RowOutcome) {
        self.rows += 1;
        match outcome {
            RowOutcome::Imported(_) => self.imported += 1,
            RowOutcome::AlreadyClaimed(_) => self.already_claimed += 1,
            RowOutcome::Conflict => self.conflicts += 1,
            RowOutcome::Invalid { .. } => self.invalid += 1,
        }
    }
}

impl Services {
    /// Imports claims from CSV. Every row has its result, told to `sink` when it is on disk, in
    /// the order of the file.
    ///
    /// # Errors
    /// If the file as a whole cannot be used (its header, or it stops being CSV), or the database
    /// fails; rows that were told before are imported all the same.
    pub async fn import_claims<R: Read + Send + 'static>(
        &self,
        by: &Actor,
        defaults: ImportDefaults,
        csv: R,
        mut sink: impl FnMut(RowResult) + Send,
    ) -> Result<ImportSummary, ServiceError> {
        self.check_defaults(by, &defaults).await?;
        let (to_here, mut batches) = mpsc::channel(BATCHES_AHEAD);
        let reading = tokio::task::spawn_blocking(move || read_batches(csv, &to_here));
        let mut parties = Parties::new(self, by, &defaults);
        let mut summary = ImportSummary::default();
        while let Some(batch) = batches.recv().await {
            let mut results = BTreeMap::new();
            let mut claims = Vec::with_capacity(batch.len());
            for (line, row) in batch {
                let prepared = match row {
                    Ok(row) => parties.prepare(row).await?,
                    Err(outcome) => Err(outcome),
                };
                match prepared {
                    Ok(claim) => claims.push((line, claim)),
                    Err(outcome) => drop(results.insert(line, outcome)),
                }
            }
            results.extend(self.claim_batch(by, claims).await?);
            for (line, outcome) in results {
                summary.count(&outcome);
                sink(RowResult { line, outcome });
            }
        }
        match reading.await {
            Ok(Ok(())) => Ok(summary),
            Ok(Err(error)) => Err(ServiceError::invalid("file", error)),
            Err(_) => Err(ServiceError::Busy),
        }
    }

    async fn check_defaults(&self, by: &Actor, defaults: &ImportDefaults) -> Result<(), ServiceError> {
        let mut reader = self.0.store.reader().await?;
        for (id, kind, scope) in [
            (defaults.customer, CompanyKind::Customer, by.scope()),
            (defaults.reseller, CompanyKind::Reseller, crate::domain::actor::Scope::Operator),
        ] {
            if let Some(id) = id
                && reader.company(scope, id).await?.is_none_or(|company| company.kind != kind)
            {
                return Err(ServiceError::not_found(kind.name(), id));
            }
        }
        match defaults.configuration {
            Some(id) if reader.configuration(by.scope(), id).await?.is_none() => {
                Err(ServiceError::not_found("configuration", id))
            }
            _ => Ok(()),
        }
    }

    /// Writes the claims that nobody holds yet, and says what became of each.
    async fn claim_batch(
        &self,
        by: &Actor,
        claims: Vec<(u64, Claim)>,
    ) -> Result<Vec<(u64, RowOutcome)>, ServiceError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let (services, by, claims) = (self.clone(), by.clone(), Arc::new(claims));
        self.0
            .store
            .write(move |tx| {
                let (services, by, claims) = (services.clone(), by.clone(), Arc::clone(&claims));
                Box::pin(async move { services.write_batch(tx, &by, &claims).await })
            })
            .await
    }

    async fn write_batch(
        &self,
        tx: &mut Tx,
        by: &Actor,
        claims: &[(u64, Claim)],
    ) -> Result<Vec<(u64, RowOutcome)>, ServiceError> {
        let asked: Vec<Claim> = claims.iter().map(|(_, claim)| claim.clone()).collect();
        let taken = self.take_claims(tx, &asked).await?;
        let mut results = Vec::with_capacity(claims.len());
        let mut fresh: BTreeMap<CompanyId, Vec<ClaimId>> = BTreeMap::new();
        for ((line, claim), became) in claims.iter().zip(taken) {
            results.push((
                *line,
                match became {
                    Taken::New(id) => {
                        fresh.entry(claim.customer).or_default().push(id);
                        RowOutcome::Imported(id)
                    }
                    Taken::Already { claim, .. } => RowOutcome::AlreadyClaimed(claim),
                    Taken::OtherOwner => RowOutcome::Conflict,
                },
            ));
        }
        for (customer, claims) in fresh {
            let detail = json!({"claims": claims.len(), "first": claims.first(), "last": claims.last()});
            let subject = Subject::Company(customer);
            self.note(tx, by, Action::ClaimsImported, subject, Some(customer), detail);
        }
        Ok(results)
    }
}

/// Reads the whole file, batch by batch, until nobody takes them any more.
fn read_batches(csv: impl Read, to: &mpsc::Sender<Vec<ReadRow>>) -> Result<(), UnusableFile> {
    let mut rows = Rows::open(csv)?;
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

/// Who the rows of a file are about: customers and configurations by the names in their cells,
/// each looked up once.
struct Parties<'s> {
    services: &'s Services,
    by: &'s Actor,
    defaults: &'s ImportDefaults,
    now: Timestamp,
    customers: HashMap<String, Option<CompanyId>>,
    configurations: HashMap<(CompanyId, String), Option<ConfigurationId>>,
}

impl<'s> Parties<'s> {
    fn new(services: &'s Services, by: &'s Actor, defaults: &'s ImportDefaults) -> Self {
        let (customers, configurations) = (HashMap::new(), HashMap::new());
        Self { services, by, defaults, now: services.now(), customers, configurations }
    }

    /// The claim that a row asks for, still without its id.
    async fn prepare(&mut self, row: Row) -> Result<Result<Claim, RowOutcome>, ServiceError> {
        let proof = row.proof.or(self.defaults.proof).unwrap_or(ProofKind::Identifiers);
        if proof == ProofKind::RegisteredKey && !has_registered_key(&row.set) {
            return Ok(Err(invalid(None, "proof", NO_REGISTERED_KEY)));
        }
        let customer = match &row.customer {
            Some((column, name)) => match self.customer(name).await? {
                Some(customer) => customer,
                None => {
                    return Ok(Err(invalid(
                        Some(*column),
                        "customer",
                        &format!("{} is no customer", shown(name)),
                    )));
                }
            },
            None => match self.defaults.customer {
                Some(customer) => customer,
                None => return Ok(Err(invalid(None, "customer", "is not said, and no default was given"))),
            },
        };
        let named = match (&row.configuration, self.defaults.configuration) {
            (Some((column, name)), _) => Some((Some(*column), name.clone())),
            (None, Some(id)) => Some((None, id.to_string())),
            (None, None) => None,
        };
        let mut configuration = None;
        if let Some((column, name)) = named {
            configuration = self.configuration(customer, &name).await?;
            if configuration.is_none() {
                let rule = format!("{} is no configuration of this customer", shown(&name));
                return Ok(Err(invalid(column, "configuration", &rule)));
            }
        }
        let window = self.services.settings().activation_window;
        Ok(Ok(Claim {
            id: UNDRAWN,
            customer,
            reseller: self.defaults.reseller,
            configuration,
            configured_at: self.now,
            proof,
            activation_ends_at: self.now.after(window),
            sets: ClaimSets::new(vec![row.set]),
            order: row.order,
            metadata: Metadata::default(),
            vacation: None,
            protected: false,
            created_at: self.now,
            created_by: self.by.name().to_owned(),
            released_at: None,
        }))
    }

    async fn customer(&mut self, name: &str) -> Result<Option<CompanyId>, ServiceError> {
        if let Some(known) = self.customers.get(name) {
            return Ok(*known);
        }
        let found = match self.services.find_company(self.by, CompanyKind::Customer, name).await {
            Ok(company) => Some(company.id),
            Err(ServiceError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        remember(&mut self.customers, name.to_owned(), found);
        Ok(found)
    }

    async fn configuration(
        &mut self,
        customer: CompanyId,
        name: &str,
    ) -> Result<Option<ConfigurationId>, ServiceError> {
        let key = (customer, name.to_owned());
        if let Some(known) = self.configurations.get(&key) {
            return Ok(*known);
        }
        let found = match self.services.find_configuration(self.by, customer, name).await {
            Ok(configuration) => Some(configuration.id),
            Err(ServiceError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        remember(&mut self.configurations, key, found);
        Ok(found)
    }
}

fn remember<K: std::hash::Hash + Eq, V>(known: &mut HashMap<K, V>, key: K, value: V) {
    if known.len() >= MAX_REMEMBERED {
        known.clear();
    }
    known.insert(key, value);
}

fn invalid(column: Option<usize>, field: &str, rule: &str) -> RowOutcome {
    RowOutcome::Invalid { column, field: field.to_owned(), rule: rule.to_owned() }
}
