//! The store: all lasting data, in SQLite or PostgreSQL.
//!
//! A [`Reader`] reads; a [`Tx`] reads and writes inside a write transaction, which only [`Store::write`]
//! opens (`writer.rs`). Each kind of object has a file with the typed methods of both, in the folder of its
//! context. SQL is one text for both databases: `$1` placeholders, BIGINT, TEXT, and nothing that one of them
//! lacks; the few differences are in `dialect.rs`. Values become types in `row.rs`.
//!
//! To add a table: a migration, listed in `migrations.rs`; a file in its context; rows in the battery
//! (`server/tests/store`), which runs on both databases.

mod catalogue;
mod claims;
mod database;
mod devices;
mod dialect;
mod dump;
mod error;
mod factory;
mod limits;
mod migrations;
mod open;
mod page;
mod pool;
#[cfg(test)]
mod query_plans;
mod readiness;
mod restore;
mod row;
mod sql;
mod tenancy;
mod writer;

pub use catalogue::{ArtifactUse, ArtifactsOf, Use};
pub use claims::{
    ClaimCandidate, ClaimFilter, DoneItem, KeyHolder, MAX_CLAIMS_OF_KEY, MAX_CLAIMS_OF_KEY_AND_COMPANY,
    MAX_NEAR, QueuedItem, ResellerCursor,
};
pub use database::{DatabaseError, Value};
pub use devices::{
    DeviceFilter, EnrollmentFacts, ManagedFacts, OtherHolder, REPORTS_KEPT, ResetTicket, ShownSecrets,
    StoredReport, TokenFacts,
};
pub use dump::Dumped;
pub use error::{JobError, Outage, StoreError};
pub use factory::FactoryFilter;
pub use limits::ConnectionLimit;
pub use migrations::newest_version;
pub use page::{MAX_ROWS, Page, PageRequest};
pub use restore::{Occupancy, Rows};
pub use tenancy::{AccountsOf, ApiKeyUse, AuditFilter, CompanyFilter, KeysOf, SigningAccount};
pub use writer::Tx;

use database::{Connection, query};
use dialect::Dialect;
use pool::Pool;
use row::Fields;
use sql::Sql;
use std::{path::PathBuf, sync::Arc, time::Duration};
use unbox_common::timestamp::Timestamp;
use writer::Writer;

/// The number of connections that read at the same time. SQLite reads from memory: more than cores gain
/// nothing.
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 16;
/// The longest wait of a request for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// An open database. Cloning is cheap; every clone is the same database.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    dialect: Dialect,
    readers: Pool,
    writer: Writer,
    /// The file of an SQLite database.
    file: Option<PathBuf>,
    connections: Option<ConnectionLimit>,
}

impl Store {
    /// Runs `job` with a connection that reads, on a thread that may wait for the database.
    ///
    /// # Errors
    /// Those of the job; [`StoreError::Busy`] if no connection becomes free in time.
    pub async fn read<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Reader) -> Result<T, E> + Send + 'static,
    {
        let dialect = self.0.dialect;
        self.0
            .readers
            .run(move |connections| {
                let mut reader = Reader { connection: connections.take()?, dialect };
                let outcome = job(&mut reader);
                connections.give_back(reader.connection);
                outcome
            })
            .await
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
        F: Fn(&mut Tx) -> Result<T, E> + Send + 'static,
    {
        self.0.writer.run(job).await
    }

    /// Runs `job` in a write transaction some time soon, or drops it if the database
    /// is busy: for data that is worth storing, but not worth waiting for.
    pub fn write_soon<F>(&self, job: F)
    where
        F: Fn(&mut Tx) -> Result<(), StoreError> + Send + 'static,
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
        self.write(move |tx| tx.write_readiness(now)).await
    }

    /// Returns the version of the schema.
    pub async fn schema_version(&self) -> Result<i64, StoreError> {
        let version = self.read(|reader| migrations::read_version(reader.connection())).await?;
        version.ok_or(StoreError::Empty)
    }

    /// Returns the faults that the database itself finds in its files. Reads all of them.
    pub async fn integrity(&self) -> Result<Vec<String>, StoreError> {
        let Some(check) = self.0.dialect.integrity_check() else {
            return Ok(Vec::new());
        };
        let found = self.read(move |reader| {
            let rows = query(check).fetch_all(reader.connection(), "check the database's integrity")?;
            rows.iter().map(|row| Fields::of(row, "quick_check", "quick_check").read("quick_check")).collect()
        });
        let found: Vec<String> = found.await?;
        Ok(found.into_iter().filter(|text| text != "ok").collect())
    }

    /// Waits until every accepted job is on disk, accepts no more, and closes the database.
    pub async fn close(&self) {
        self.0.writer.close().await;
        self.0.readers.close().await;
    }
}

/// A connection that reads.
pub struct Reader {
    connection: Connection,
    dialect: Dialect,
}

impl Reader {
    /// Returns a statement whose text depends on the request.
    fn sql(&self, text: &'static str) -> Sql {
        Sql::new(self.dialect, text)
    }

    fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }
}
