//! The databases themselves: a [`Connection`] to SQLite or PostgreSQL, the [`Query`] that runs on it, and the
//! [`Row`]s that it returns. All calls block: they run on the store's own threads (`pool.rs`, `writer.rs`).

mod postgres;
mod sqlite;
mod value;

pub(super) use postgres::Postgres;
pub(super) use sqlite::{Access, Sqlite, escape_path};
pub use value::Value;
pub(super) use value::{Column, Row};

use super::{StoreError, error::statement_error};
use std::borrow::Cow;

/// An error of either database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite's.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL's.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    /// PostgreSQL did not answer in time.
    #[error("no answer in time")]
    Silent,
    /// The program could not prepare to wait for PostgreSQL.
    #[error("no runtime for the connection")]
    Runtime(#[source] std::io::Error),
    /// The URL or the files that it names cannot be used.
    #[error("{0}")]
    Settings(String),
    /// A value in the database is neither a number nor a text.
    #[error("expected a number or a text in the column {0}")]
    Type(String),
}

impl DatabaseError {
    /// Returns the code that the database gives its error: SQLite's extended result code, or the SQLSTATE of
    /// PostgreSQL.
    pub(super) fn code(&self) -> Option<Code<'_>> {
        match self {
            Self::Sqlite(error) => error.sqlite_error().map(|error| Code::Sqlite(error.extended_code)),
            Self::Postgres(error) => error.code().map(|state| Code::Postgres(state.code())),
            Self::Silent | Self::Runtime(_) | Self::Settings(_) | Self::Type(_) => None,
        }
    }

    /// Returns true if the statement would have left a row that refers to another which does not exist.
    pub(super) fn is_foreign_key_violation(&self) -> bool {
        match self.code() {
            Some(Code::Sqlite(code)) => {
                code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY
                    || code == rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER
            }
            Some(Code::Postgres(state)) => state == "23503",
            None => false,
        }
    }

    /// Returns true if the statement names a table that does not exist.
    pub(super) fn is_missing_table(&self) -> bool {
        match self.code() {
            Some(Code::Sqlite(code)) => {
                code == rusqlite::ffi::SQLITE_ERROR && self.to_string().contains("no such table")
            }
            Some(Code::Postgres(state)) => state == "42P01",
            None => false,
        }
    }
}

/// The code of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code<'e> {
    Sqlite(i32),
    Postgres(&'e str),
}

/// A connection to a database.
pub(super) enum Connection {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl Connection {
    /// Runs statements that take and return no values.
    pub(super) fn run(&mut self, statements: &str) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.run(statements),
            Self::Postgres(connection) => connection.run(statements),
        }
    }

    /// Runs a statement, and returns the number of rows that it changed.
    fn execute(&mut self, query: &Query) -> Result<u64, DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.execute(query),
            Self::Postgres(connection) => connection.execute(query),
        }
    }

    /// Passes every row to `take`, until that returns false.
    fn for_each(&mut self, query: &Query, take: &mut dyn FnMut(Row) -> bool) -> Result<(), DatabaseError> {
        match self {
            Self::Sqlite(connection) => connection.for_each(query, take),
            Self::Postgres(connection) => connection.for_each(query, take),
        }
    }

    /// Returns true if an error has shown that the connection, or its server, is out of order. SQLite's reader
    /// keeps its file, whatever the disk does.
    pub(super) const fn is_broken(&self) -> bool {
        match self {
            Self::Sqlite(_) => false,
            Self::Postgres(connection) => connection.is_broken(),
        }
    }

    /// Closes the connection, and returns when it is closed.
    pub(super) fn close(self) {
        match self {
            Self::Sqlite(connection) => drop(connection),
            Self::Postgres(connection) => connection.close(),
        }
    }

    /// Returns true if the connection can still be used. Asks PostgreSQL, which may have been restarted.
    pub(super) fn is_alive(&mut self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            Self::Postgres(connection) => connection.is_alive(),
        }
    }
}

/// A statement with its values.
pub(super) struct Query {
    text: Cow<'static, str>,
    values: Vec<Value>,
    keep: bool,
}

/// Returns a statement whose values are bound in the order of their placeholders: `$1` first.
pub(super) fn query(text: &'static str) -> Query {
    Query::new(Cow::Borrowed(text), Vec::new())
}

impl Query {
    pub(super) fn new(text: Cow<'static, str>, values: Vec<Value>) -> Self {
        Self { text, values, keep: true }
    }

    pub(super) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Keeps the statement prepared on its connection, or not.
    pub(super) fn keep_prepared(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// Runs the statement, and returns the number of rows that it changed. `operation` is for the error: "could
    /// not ...".
    pub(super) fn execute(&self, on: &mut Connection, operation: &'static str) -> Result<u64, StoreError> {
        self.try_execute(on).map_err(statement_error(operation))
    }

    /// Runs the statement; the caller looks at the error.
    pub(super) fn try_execute(&self, on: &mut Connection) -> Result<u64, DatabaseError> {
        on.execute(self)
    }

    /// Returns all rows.
    pub(super) fn fetch_all(
        &self,
        on: &mut Connection,
        operation: &'static str,
    ) -> Result<Vec<Row>, StoreError> {
        self.try_fetch_all(on).map_err(statement_error(operation))
    }

    /// Returns all rows; the caller looks at the error.
    pub(super) fn try_fetch_all(&self, on: &mut Connection) -> Result<Vec<Row>, DatabaseError> {
        let mut rows = Vec::new();
        on.for_each(self, &mut |row| {
            rows.push(row);
            true
        })?;
        Ok(rows)
    }

    /// Returns the first row, if there is any.
    pub(super) fn fetch_optional(
        &self,
        on: &mut Connection,
        operation: &'static str,
    ) -> Result<Option<Row>, StoreError> {
        let mut first = None;
        on.for_each(self, &mut |row| {
            first = Some(row);
            false
        })
        .map_err(statement_error(operation))?;
        Ok(first)
    }

    /// Returns the one row that such a statement always has.
    pub(super) fn fetch_one(&self, on: &mut Connection, operation: &'static str) -> Result<Row, StoreError> {
        self.fetch_optional(on, operation)?.ok_or(StoreError::Touched { operation, expected: 1, touched: 0 })
    }

    /// Passes every row to `take`, until that returns false or an error of its own.
    pub(super) fn for_each_while<E: From<StoreError>>(
        &self,
        on: &mut Connection,
        operation: &'static str,
        mut take: impl FnMut(Row) -> Result<bool, E>,
    ) -> Result<(), E> {
        let mut outcome = Ok(true);
        on.for_each(self, &mut |row| {
            outcome = take(row);
            matches!(outcome, Ok(true))
        })
        .map_err(statement_error(operation))?;
        outcome.map(|_| ())
    }
}
