//! The contents of a database as rows independent of SQLite and PostgreSQL, for a backup that either of
//! them can restore (`restore.rs`).
//!
//! Rows are read in one transaction, so that all of them are from one moment, and from the tables that the
//! database lists itself, so that none is forgotten. Both databases hold only numbers and texts.

use super::{
    Dialect, Reader, Store, StoreError, Value,
    database::{Connection, Query, query},
    error::statement_error,
    row::Fields,
};
use serde::{Deserialize, Serialize};

/// A part of a dump.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dumped {
    /// The table of the rows that follow, and its columns in order.
    Table {
        /// Its name.
        table: String,
        /// The names of its columns.
        columns: Vec<String>,
    },
    /// A row of the latest table.
    Row(Vec<Value>),
}

impl Store {
    /// Passes every row of every table to `take`, all from one moment, and returns what `take` made of `with`.
    /// Writers continue meanwhile.
    ///
    /// # Errors
    /// The first error of the database, or of `take`.
    pub async fn dump<T, E>(
        &self,
        mut with: T,
        mut take: impl FnMut(&mut T, Dumped) -> Result<(), E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.read(move |reader| {
            dump(reader, &mut |part| take(&mut with, part))?;
            Ok(with)
        })
        .await
    }
}

/// Reads everything in one read-only transaction, on a connection that other readers use afterwards.
fn dump<E: From<StoreError>>(
    reader: &mut Reader,
    take: &mut impl FnMut(Dumped) -> Result<(), E>,
) -> Result<(), E> {
    let dialect = reader.dialect;
    let connection = reader.connection();
    connection.run(dialect.begin_snapshot()).map_err(statement_error("begin a snapshot"))?;
    let outcome = dump_tables(connection, dialect, take);
    connection.run("ROLLBACK").map_err(statement_error("end a snapshot"))?;
    outcome
}

fn dump_tables<E: From<StoreError>>(
    connection: &mut Connection,
    dialect: Dialect,
    take: &mut impl FnMut(Dumped) -> Result<(), E>,
) -> Result<(), E> {
    for table in tables(connection, dialect)? {
        let all = Query::new(format!("SELECT * FROM {table}").into(), Vec::new()).keep_prepared(false);
        let mut is_first = true;
        all.for_each_while(connection, "read a table", |row| {
            if std::mem::take(&mut is_first) {
                take(Dumped::Table { table: table.clone(), columns: row.names() })?;
            }
            take(Dumped::Row(row.values()))?;
            Ok::<_, E>(true)
        })?;
    }
    Ok(())
}

/// Returns the names of all tables except those that belong to the database itself and its migrations.
pub(super) fn tables(connection: &mut Connection, dialect: Dialect) -> Result<Vec<String>, StoreError> {
    let rows = query(dialect.tables()).fetch_all(connection, "list tables")?;
    let name = |row| Fields::of(row, "tables", "name").read("name");
    rows.iter().map(name).collect()
}
