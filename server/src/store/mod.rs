//! The store: all lasting data, in SQLite or PostgreSQL.
//!
//! A [`Reader`] reads; a [`Tx`] reads and writes inside a write transaction, which only [`Store::write`]
//! opens (`writer.rs`). Each kind of object has a file with the typed methods of both. SQL is one text for
//! both databases: `$1` placeholders, BIGINT, TEXT, and nothing that one of them lacks; the few differences
//! are in `dialect.rs`. Values become types in `row.rs`.
//!
//! To add a table: a migration, listed in `dialect.rs`; a file here; rows in the battery
//! (`server/tests/store`), which runs on both databases.

mod accounts;
mod artifacts;
mod audit;
mod claims;
mod companies;
mod configurations;
mod credentials;
mod devices;
mod dialect;
mod dpcs;
mod dump;
mod enrollment;
mod error;
mod factory;
mod limits;
mod open;
mod operations;
mod page;
#[cfg(test)]
mod query_plans;
mod readers;
mod readiness;
mod reports;
mod requests;
mod reseller_claims;
mod restore;
mod row;
mod sql;
mod tokens;
mod transaction;
mod uploads;
mod write_batch;
mod writer;

pub use accounts::AccountsOf;
pub use artifacts::{ArtifactUse, ArtifactsOf};
pub use audit::AuditFilter;
pub use claims::{
    ClaimCandidate, ClaimFilter, KeyHolder, MAX_CLAIMS_OF_KEY, MAX_CLAIMS_OF_KEY_AND_COMPANY, MAX_NEAR,
};
pub use companies::CompanyFilter;
pub use configurations::Use;
pub use credentials::{ApiKeyUse, KeysOf, SigningAccount};
pub use devices::DeviceFilter;
pub use dialect::newest_version;
pub use dump::{Cell, Dumped};
pub use enrollment::{EnrollmentFacts, ManagedFacts, OtherHolder, ShownSecrets, TokenFacts};
pub use error::{JobError, Outage, StoreError};
pub use factory::FactoryFilter;
pub use limits::ConnectionLimit;
pub use operations::{DoneItem, QueuedItem};
pub use page::{MAX_ROWS, Page, PageRequest};
pub use reports::{REPORTS_KEPT, StoredReport};
pub use reseller_claims::ResellerCursor;
pub use restore::{Occupancy, Rows};
pub use tokens::ResetTicket;
pub use writer::Tx;

use dialect::Dialect;
use error::statement_error;
use futures_util::future::BoxFuture;
use readers::{Lent, Readers};
use sql::Sql;
use sqlx::{AnyConnection, Row as _};
use std::{path::PathBuf, sync::Arc, time::Duration};
use transaction::Transaction;
use unbox_common::timestamp::Timestamp;
use writer::{Reads, Writer};

/// The number of connections that read at the same time. SQLite reads from memory: more than cores gain
/// nothing.
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
/// The longest wait of a request for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// The time for which an unused connection stays open.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// An open database. Cloning is cheap; every clone is the same database.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dialect: Dialect,
    readers: Readers,
    writer: Writer,
    /// The file of an SQLite database.
    file: Option<PathBuf>,
    connections: Option<ConnectionLimit>,
}

impl Store {
    /// Returns a connection that reads.
    pub async fn reader(&self) -> Result<Reader, StoreError> {
        Ok(Reader { held: Held::Lent(self.0.readers.take().await?), dialect: self.0.dialect })
    }

    /// Runs `job` in a write transaction, and returns when it is on disk.
    ///
    /// The job may run more than once, each time from the start and as if it had never run: it must read
    /// everything that it decides by inside the transaction. If it returns an error, none of its changes
    /// are kept.
    ///
    /// # Errors
    /// Those of the job; [`StoreError::Busy`] if more jobs wait than the queue holds.
    pub async fn write<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: JobError,
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        self.0.writer.run(job, Reads::Anything).await
    }

    /// Runs a job like [`Self::write`], if it is of a frequent kind and reads nothing but
    /// [`Tx::enrollment_facts`] or [`Tx::managed_facts`]: its writes at the commit are combined with those
    /// of other jobs.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub async fn write_batched<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: JobError,
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        self.0.writer.run(job, Reads::ItsOwnDevice).await
    }

    /// Runs `job`, which reads nothing, in a write transaction some time soon, or drops it if the database
    /// is busy: for data that is worth storing, but not worth waiting for.
    pub fn write_soon<F>(&self, job: F)
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<(), StoreError>> + Send + 'static,
    {
        self.0.writer.run_soon(job);
    }

    /// Returns the number of writes that wait for their turn.
    #[must_use]
    pub fn waiting_writes(&self) -> usize {
        self.0.writer.count_waiting()
    }

    /// Writes a row that nobody reads, and returns when it is on disk, because only a write shows that the
    /// database accepts writes.
    pub async fn write_probe(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { tx.write_readiness(now).await })).await
    }

    /// Returns the version of the schema.
    pub async fn schema_version(&self) -> Result<i64, StoreError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query("SELECT MAX(version) FROM _sqlx_migrations")
            .fetch_one(reader.connection())
            .await
            .map_err(statement_error("read the schema's version"))?;
        row.try_get(0).map_err(statement_error("read the schema's version"))
    }

    /// Returns the faults that the database itself finds in its files. Reads all of them.
    pub async fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let Some(check) = self.0.dialect.integrity_check() else {
            return Ok(Vec::new());
        };
        let mut reader = self.reader().await?;
        let rows = sqlx::query(check)
            .fetch_all(reader.connection())
            .await
            .map_err(statement_error("check the database's integrity"))?;
        let texts = rows.iter().filter_map(|row| row.try_get::<String, _>(0).ok());
        Ok(texts.filter(|text| text != "ok").collect())
    }

    /// Waits until every accepted job is on disk, accepts no more, and closes the database.
    pub async fn close(&self) {
        self.0.writer.close().await;
        self.0.readers.close().await;
    }
}

/// A connection that reads.
pub struct Reader {
    held: Held,
    dialect: Dialect,
}

enum Held {
    Lent(Lent),
    InTransaction(Transaction),
}

impl Reader {
    /// Returns a statement whose text depends on the request.
    fn sql(&self, text: &'static str) -> Sql {
        Sql::new(self.dialect, text)
    }

    fn connection(&mut self) -> &mut AnyConnection {
        match &mut self.held {
            Held::Lent(connection) => connection,
            Held::InTransaction(transaction) => transaction,
        }
    }
}
