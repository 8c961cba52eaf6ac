//! What can go wrong between the store and its database.

use sqlx::migrate::MigrateError;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// More writes wait than the queue takes, or another process holds the database.
    #[error("the database takes no more writes at the moment")]
    Busy,
    /// The store was closed.
    #[error("the database was closed")]
    Closed,
    /// The URL names no database that this server speaks.
    #[error("expected a database URL that starts with sqlite: or postgres:")]
    UnknownDatabase,
    /// The database could not be opened.
    #[error("the database could not be opened")]
    Open(#[source] sqlx::Error),
    /// Its schema could not be brought up to date.
    #[error("the database's schema could not be brought up to date")]
    Migrate(#[source] MigrateError),
    /// A newer server has changed the schema.
    #[error(
        "the database has schema version {found}, this server knows only {known}: install the newer server"
    )]
    TooNew {
        /// The newest migration in the database.
        found: i64,
        /// The newest migration in this program.
        known: i64,
    },
    /// A statement failed.
    #[error("could not {operation}")]
    Statement {
        /// What it was for.
        operation: &'static str,
        /// The cause.
        #[source]
        source: sqlx::Error,
    },
    /// A row holds something that its type does not.
    #[error("table {table}, row {row}, column {column}: {problem}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key, as far as it could be read.
        row: String,
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A statement touched other than the rows that it was for.
    #[error("{operation} touched {touched} rows instead of {expected}")]
    Touched {
        /// What it was for.
        operation: &'static str,
        /// How many rows it should have touched.
        expected: u64,
        /// How many it did.
        touched: u64,
    },
    /// A page was asked for that does not exist.
    #[error("expected the `next` of the page before")]
    Cursor,
}

/// The error of a write job: whatever it is, it may have begun in the store.
pub trait JobError: From<StoreError> + Send + 'static {
    /// The store's error, if that is what it is.
    fn store_error(&self) -> Option<&StoreError>;
}

impl JobError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

/// What a failed statement means to the caller.
pub(super) fn failed(operation: &'static str) -> impl Fn(sqlx::Error) -> StoreError {
    move |source| {
        if is_busy(&source) { StoreError::Busy } else { StoreError::Statement { operation, source } }
    }
}

/// An UPDATE or DELETE that was for exactly one row.
pub(super) fn one_row(operation: &'static str, touched: u64) -> Result<(), StoreError> {
    every_row(operation, 1, touched)
}

/// A statement that was for exactly so many rows.
pub(super) fn every_row(operation: &'static str, rows: usize, touched: u64) -> Result<(), StoreError> {
    let expected = u64::try_from(rows).unwrap_or(u64::MAX);
    if touched == expected { Ok(()) } else { Err(StoreError::Touched { operation, expected, touched }) }
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).map(std::borrow::Cow::into_owned)
}

/// SQLite: another process held the lock for longer than we wait (`SQLITE_BUSY` and kin).
/// PostgreSQL: no connection became free, or the server takes no more of them.
fn is_busy(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::PoolTimedOut)
        || matches!(code(error).as_deref(), Some("5" | "261" | "517" | "53300" | "57P03"))
}

impl StoreError {
    /// Whether the same job may well succeed if it runs again from its start: PostgreSQL found a
    /// conflict with another transaction, or two servers drew the same id.
    pub(super) fn is_conflict(&self) -> bool {
        match self {
            Self::Statement { source, .. } => {
                matches!(code(source).as_deref(), Some("40001" | "40P01" | "23505"))
            }
            _ => false,
        }
    }
}
