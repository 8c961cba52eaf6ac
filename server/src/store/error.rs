//! Errors between the store and its database.

use super::database::{Code, DatabaseError};
use crate::files::FilesError;
use std::{error::Error as _, path::PathBuf};

/// The reason why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// More writes wait than the queue holds, or another process holds the database.
    #[error("the database takes no more writes at the moment")]
    Busy,
    /// The store was closed.
    #[error("the database was closed")]
    Closed,
    /// The URL names no database that this server supports.
    #[error("expected a database URL that starts with sqlite: or postgres:")]
    UnknownDatabase,
    /// The file does not exist.
    #[error(
        "there is no database {}: check `database` in server.toml, or bring it back with \
         `unbox-server restore FILE`. Only `unbox-server init` makes a new one", _0.display()
    )]
    Missing(PathBuf),
    /// The database exists, but holds nothing of an Unbox server.
    #[error(
        "the database is empty: check `database` in server.toml, or bring back what it held with \
         `unbox-server restore FILE`. If it is meant to be new, run `unbox-server migrate --create`"
    )]
    Empty,
    /// The file, or the directory that it is in, is read-only.
    #[error(
        "{} can only be read: let this user write to it and to its directory, and see whether the file \
         system is mounted read-only", _0.display()
    )]
    ReadOnlyFile(PathBuf),
    /// Another process serves from this file.
    #[error(
        "another `unbox-server serve` uses {}: stop it first. Several servers need a PostgreSQL \
         database", _0.display()
    )]
    Served(PathBuf),
    /// Somebody is connected to a database that is to be replaced.
    #[error("somebody uses the database: stop every server of it first")]
    InUse,
    /// A table holds something other than numbers and texts.
    #[error("table {table} cannot be backed up: {problem}")]
    Undumpable {
        /// The table.
        table: String,
        /// The reason.
        problem: String,
    },
    /// A backup names a table or a column that its schema does not have.
    #[error("the backup has a table {0:?} that does not belong to its schema version")]
    UnknownTable(String),
    /// A backup has rows that refer to rows missing from it.
    #[error("the backup is not complete: some of its rows refer to others that are missing")]
    Dangling,
    /// The files of a restored database could not be put in place.
    #[error("the database could not be replaced")]
    Replace(#[source] FilesError),
    /// The lock for serving could not be taken.
    #[error("the database cannot be locked")]
    Lock(#[source] FilesError),
    /// The file of a new database could not be made.
    #[error("the database could not be made: check `database` in server.toml")]
    Create(#[source] FilesError),
    /// The database could not be opened.
    #[error("the database could not be opened: check `database` in server.toml")]
    Open(#[source] DatabaseError),
    /// The thread that writes could not be started.
    #[error("the store's thread could not be started")]
    Thread(#[source] std::io::Error),
    /// The database is in no state to do anything.
    #[error("could not {operation}: {}", .outage.advice())]
    Unavailable {
        /// The operation that was to be done.
        operation: &'static str,
        /// The reason.
        outage: Outage,
        /// The cause.
        #[source]
        source: DatabaseError,
    },
    /// A migration that the database has is not the one that this program has under the same version.
    #[error("the database was made by another build of this server: its migration {0} is not this program's")]
    AlteredMigration(&'static str),
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
    /// The schema is an older server's, and read-only access does not change it.
    #[error(
        "the database has schema version {found}, this server brings it to {known} when it starts, or by \
         `unbox-server migrate`"
    )]
    Outdated {
        /// The newest migration in the database.
        found: i64,
        /// The newest migration in this program.
        known: i64,
    },
    /// A statement failed.
    #[error("could not {operation}")]
    Statement {
        /// The operation that it was part of.
        operation: &'static str,
        /// The cause.
        #[source]
        source: DatabaseError,
    },
    /// A row holds a value that its type does not allow.
    #[error("table {table}, row {row}, column {column}: {problem}")]
    Row {
        /// The table.
        table: &'static str,
        /// The row's key, if it could be read.
        row: String,
        /// The column.
        column: &'static str,
        /// The problem with the value.
        problem: String,
    },
    /// A statement changed another number of rows than it should have.
    #[error("{operation} touched {touched} rows instead of {expected}")]
    Touched {
        /// The operation that it was part of.
        operation: &'static str,
        /// The number of rows that it should have changed.
        expected: u64,
        /// The number of rows that it did change.
        touched: u64,
    },
    /// The requested page does not exist.
    #[error("expected the `next` of the page before")]
    Cursor,
}

/// The reason why a database refuses all work, although the request was valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// It cannot be reached, or it closed the connection: it restarts, or another one takes over.
    Unreachable,
    /// It has no room left.
    Full,
    /// Its disk reports errors, or its file system was made read-only because of them.
    Failing,
    /// It is read-only: a read-only file, or a standby.
    ReadOnly,
    /// Its files are damaged.
    Damaged,
}

impl Outage {
    /// Returns the problem and its remedy.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => "The database cannot be reached at the moment. Try again in a moment.",
            Self::Full => {
                "The database's disk is full. Try again when the operator of this server has made room."
            }
            Self::Failing => {
                "The database's disk reports errors. Try again when the operator of this server has repaired it: the \
                 log of the system says what is wrong with it."
            }
            Self::ReadOnly => {
                "The database can only be read at the moment. Try again when the operator of this server has made it \
                 writable."
            }
            Self::Damaged => {
                "The database is damaged. The operator of this server has to restore it from a backup."
            }
        }
    }

    /// Returns true if it may pass by itself, as a restart does.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::Unreachable | Self::ReadOnly)
    }
}

/// The error of a write job, which may originate in the store.
pub trait JobError: From<StoreError> + Send + 'static {
    /// Returns the store's error, if it is one.
    fn store_error(&self) -> Option<&StoreError>;
}

impl JobError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}

/// Returns a function that turns a failed statement into the error for the caller.
pub(super) fn statement_error(operation: &'static str) -> impl Fn(DatabaseError) -> StoreError {
    move |source| match Meaning::of(&source) {
        Meaning::Busy => StoreError::Busy,
        Meaning::Outage(outage) => StoreError::Unavailable { operation, outage, source },
        Meaning::Other => StoreError::Statement { operation, source },
    }
}

/// Returns the error for a connection that could not be made to a database that was reached before: whatever the
/// reason, it is not the request's.
pub(super) fn connect_error(source: DatabaseError) -> StoreError {
    const OPERATION: &str = "connect to the database";
    match Meaning::of(&source) {
        Meaning::Other => {
            let outage = Outage::Unreachable;
            StoreError::Unavailable { operation: OPERATION, outage, source }
        }
        _ => statement_error(OPERATION)(source),
    }
}

/// Returns true if the database is out of order, and not the statement.
pub(super) fn is_outage(error: &DatabaseError) -> bool {
    matches!(Meaning::of(error), Meaning::Outage(_))
}

/// Checks an UPDATE or DELETE that was for exactly one row.
pub(super) fn check_one_row(operation: &'static str, touched: u64) -> Result<(), StoreError> {
    check_every_row(operation, 1, touched)
}

/// Checks a statement that was for exactly this many rows.
pub(super) fn check_every_row(operation: &'static str, rows: usize, touched: u64) -> Result<(), StoreError> {
    let expected = u64::try_from(rows).unwrap_or(u64::MAX);
    if touched == expected { Ok(()) } else { Err(StoreError::Touched { operation, expected, touched }) }
}

/// The meaning of a database error.
enum Meaning {
    Busy,
    Outage(Outage),
    Other,
}

impl Meaning {
    fn of(error: &DatabaseError) -> Self {
        match (error.code(), error) {
            (Some(code), _) => Self::of_code(code),
            // The connection ended, or there is none.
            (None, DatabaseError::Postgres(error)) if is_of_the_network(error) => {
                Self::Outage(Outage::Unreachable)
            }
            (None, DatabaseError::Silent) => Self::Outage(Outage::Unreachable),
            _ => Self::Other,
        }
    }

    fn of_code(code: Code<'_>) -> Self {
        match code {
            Code::Sqlite(code) => Self::of_sqlite(code),
            Code::Postgres(state) => Self::of_postgres(state),
        }
    }

    /// Classifies a result code of SQLite (<https://sqlite.org/rescode.html>): the low byte gives the
    /// error, the rest the place.
    fn of_sqlite(code: i32) -> Self {
        const SHARED_MEMORY_CANNOT_GROW: i32 = 4874;
        match (code & 0xff, code) {
            (5 | 6, _) => Self::Busy,
            (13, _) | (_, SHARED_MEMORY_CANNOT_GROW) => Self::Outage(Outage::Full),
            (8, _) => Self::Outage(Outage::ReadOnly),
            (10, _) => Self::Outage(Outage::Failing),
            (14, _) => Self::Outage(Outage::Unreachable),
            (11 | 26, _) => Self::Outage(Outage::Damaged),
            _ => Self::Other,
        }
    }

    /// Classifies an error code of PostgreSQL (appendix A of its manual).
    fn of_postgres(code: &str) -> Self {
        match code {
            "53300" | "57P03" => Self::Busy,
            "53100" => Self::Outage(Outage::Full),
            "25006" => Self::Outage(Outage::ReadOnly),
            "XX001" | "XX002" => Self::Outage(Outage::Damaged),
            // A time limit of the database (57014, 55P03, 25P03, 25P04), its shutdown (57P..), its memory
            // or disk (53..., 58...), or the connection (08...).
            "57014" | "55P03" | "25P03" | "25P04" => Self::Outage(Outage::Unreachable),
            _ if ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)) => {
                Self::Outage(Outage::Unreachable)
            }
            _ => Self::Other,
        }
    }
}

/// Returns true if PostgreSQL could not be reached, or if the connection ended.
fn is_of_the_network(error: &tokio_postgres::Error) -> bool {
    let mut cause = error.source();
    while let Some(one) = cause {
        if one.is::<std::io::Error>() {
            return true;
        }
        cause = one.source();
    }
    error.is_closed()
}

impl StoreError {
    /// Returns true if the same job may succeed when it runs again from its start: PostgreSQL found a conflict with
    /// another transaction, or two servers drew the same id.
    pub(super) fn is_conflict(&self) -> bool {
        match self {
            Self::Statement { source, .. } => {
                matches!(source.code(), Some(Code::Postgres("40001" | "40P01" | "23505")))
            }
            _ => false,
        }
    }

    /// Returns true if it is a conflict caused merely by many simultaneous writes.
    pub(super) fn is_contention(&self) -> bool {
        match self {
            Self::Statement { source, .. } => {
                matches!(source.code(), Some(Code::Postgres("40001" | "40P01")))
            }
            _ => false,
        }
    }

    /// Returns the outage behind the error, if there is one.
    #[must_use]
    pub const fn outage(&self) -> Option<Outage> {
        match self {
            Self::Unavailable { outage, .. } => Some(*outage),
            Self::ReadOnlyFile(_) => Some(Outage::ReadOnly),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Code<'_> {
        // A state of five characters is PostgreSQL's, even if all of them are digits.
        match text.parse() {
            Ok(number) if text.len() < 5 => Code::Sqlite(number),
            _ => Code::Postgres(text),
        }
    }

    fn outage_of_code(text: &str) -> Option<Outage> {
        match Meaning::of_code(code(text)) {
            Meaning::Outage(outage) => Some(outage),
            _ => None,
        }
    }

    #[test]
    fn a_database_that_is_out_of_order_is_told_from_a_statement_that_is_wrong() {
        for (code, outage) in [
            ("13", Outage::Full),
            ("4874", Outage::Full),
            ("1032", Outage::ReadOnly),
            ("778", Outage::Failing),
            ("1034", Outage::Failing),
            ("14", Outage::Unreachable),
            ("267", Outage::Damaged),
            ("26", Outage::Damaged),
            ("53100", Outage::Full),
            ("25006", Outage::ReadOnly),
            ("57P01", Outage::Unreachable),
            ("57014", Outage::Unreachable),
            ("08006", Outage::Unreachable),
            ("58030", Outage::Unreachable),
            ("XX001", Outage::Damaged),
        ] {
            assert_eq!(outage_of_code(code), Some(outage), "{code}");
        }
        for text in ["1", "19", "2067", "23505", "42P01", "40001", "22P02", "10000"] {
            assert!(matches!(Meaning::of_code(code(text)), Meaning::Other), "{text}");
        }
        for text in ["5", "261", "517", "53300", "57P03"] {
            assert!(matches!(Meaning::of_code(code(text)), Meaning::Busy), "{text}");
        }
    }

    #[test]
    fn only_what_a_restart_or_a_failover_explains_is_waited_out() {
        assert!(Outage::Unreachable.is_passing() && Outage::ReadOnly.is_passing());
        let lasting = [Outage::Full, Outage::Failing, Outage::Damaged];
        assert!(lasting.iter().all(|outage| !outage.is_passing()));
    }
}
