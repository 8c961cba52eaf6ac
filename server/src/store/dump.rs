//! The contents of a database as rows independent of SQLite and PostgreSQL, for a backup that either of
//! them can restore (`restore.rs`).
//!
//! Rows are read in one transaction, so that all of them are from one moment, and from the tables that the
//! database lists itself, so that none is forgotten. Both databases hold only numbers and texts.

use super::{Dialect, Reader, Store, StoreError, error::statement_error};
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, AssertSqlSafe, Column as _, Executor as _, Row as _, any::AnyRow};

/// One value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// NULL.
    Null,
    /// An id, a time, a number or a flag.
    Number(i64),
    /// Any text.
    Text(String),
}

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
    Row(Vec<Cell>),
}

impl Store {
    /// Passes every row of every table to `take`, all from one moment. Writers continue meanwhile.
    ///
    /// # Errors
    /// The first error of the database, or of `take`.
    pub async fn dump<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(Dumped) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = self.reader().await?;
        let dialect = reader.dialect;
        let mut snapshot = Snapshot::begin(&mut reader, dialect).await?;
        let outcome = dump_tables(snapshot.connection(), dialect, &mut take).await;
        snapshot.end().await?;
        outcome
    }
}

/// A read-only transaction, on a connection that other readers use afterwards.
struct Snapshot<'r>(&'r mut Reader);

impl<'r> Snapshot<'r> {
    async fn begin(reader: &'r mut Reader, dialect: Dialect) -> Result<Self, StoreError> {
        let begun = reader.connection().execute(dialect.begin_snapshot()).await;
        begun.map_err(statement_error("begin a snapshot"))?;
        Ok(Self(reader))
    }

    fn connection(&mut self) -> &mut AnyConnection {
        self.0.connection()
    }

    async fn end(self) -> Result<(), StoreError> {
        self.0.connection().execute("ROLLBACK").await.map_err(statement_error("end a snapshot"))?;
        Ok(())
    }
}

async fn dump_tables<E: From<StoreError>>(
    connection: &mut AnyConnection,
    dialect: Dialect,
    take: &mut impl FnMut(Dumped) -> Result<(), E>,
) -> Result<(), E> {
    for table in tables(connection, dialect).await? {
        let text = AssertSqlSafe(format!("SELECT * FROM {table}"));
        let mut rows = sqlx::query(text).fetch(&mut *connection);
        let mut is_first = true;
        while let Some(row) = rows.try_next().await.map_err(statement_error("read a table"))? {
            if std::mem::take(&mut is_first) {
                let columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
                take(Dumped::Table { table: table.clone(), columns })?;
            }
            take(Dumped::Row(cells(&row, &table)?))?;
        }
    }
    Ok(())
}

/// Returns the names of all tables except those that belong to the database itself and its migrations.
pub(super) async fn tables(
    connection: &mut AnyConnection,
    dialect: Dialect,
) -> Result<Vec<String>, StoreError> {
    let rows =
        sqlx::query(dialect.tables()).fetch_all(connection).await.map_err(statement_error("list tables"))?;
    let names = rows.iter().map(|row| row.try_get("name")).collect::<Result<Vec<String>, _>>();
    names.map_err(statement_error("list tables"))
}

fn cells(row: &AnyRow, table: &str) -> Result<Vec<Cell>, StoreError> {
    let cell = |at: usize| match row.try_get::<Option<i64>, _>(at) {
        Ok(number) => Ok(number.map_or(Cell::Null, Cell::Number)),
        Err(_) => row.try_get::<Option<String>, _>(at).map(|text| text.map_or(Cell::Null, Cell::Text)),
    };
    let all = (0..row.len()).map(cell).collect::<Result<_, _>>();
    all.map_err(|error| StoreError::Undumpable { table: table.to_owned(), problem: error.to_string() })
}
