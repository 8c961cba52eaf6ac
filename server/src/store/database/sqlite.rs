//! A connection to an SQLite file.

use super::{
    DatabaseError, Query, Value,
    value::{Names, Row, ValueRef},
};
use rusqlite::{OpenFlags, Statement, types};
use std::{
    ops::{Deref, DerefMut},
    path::Path,
};

/// The number of statements that stay prepared.
const PREPARED: usize = 256;

/// The purpose for which a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Access {
    /// To read and write it. Its write-ahead log may be made beside it.
    Write,
    /// To read it, and to make no file beside it.
    Read,
    /// To read it while nobody else has it open, which saves SQLite every precaution.
    ReadUnshared,
}

/// A connection to an SQLite file.
pub(in crate::store) struct Sqlite(rusqlite::Connection);

impl Sqlite {
    /// Opens a file that exists.
    pub(in crate::store) fn open(path: &Path, access: Access) -> Result<Self, DatabaseError> {
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let connection = match access {
            Access::Write => {
                rusqlite::Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)
            }
            Access::Read => {
                rusqlite::Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_ONLY)
            }
            Access::ReadUnshared => rusqlite::Connection::open_with_flags(
                format!("file:{}?immutable=1", escape_path(path)),
                flags | OpenFlags::SQLITE_OPEN_READ_ONLY,
            ),
        }?;
        connection.set_prepared_statement_cache_capacity(PREPARED);
        Ok(Self(connection))
    }

    pub(super) fn run(&mut self, statements: &str) -> Result<(), DatabaseError> {
        Ok(self.0.execute_batch(statements)?)
    }

    pub(super) fn execute(&mut self, query: &Query) -> Result<u64, DatabaseError> {
        let mut statement = self.prepare(query)?;
        bind(&mut statement, query)?;
        if statement.column_count() > 0 {
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            return Ok(0);
        }
        let changed = statement.raw_execute()?;
        Ok(u64::try_from(changed).unwrap_or(u64::MAX))
    }

    pub(super) fn for_each(
        &mut self,
        query: &Query,
        take: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), DatabaseError> {
        let mut statement = self.prepare(query)?;
        bind(&mut statement, query)?;
        let names = Names::new(statement.column_names().into_iter());
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(from) = rows.next()? {
            let mut row = Row::new(&names);
            for column in 0..columns {
                match from.get_ref(column)? {
                    types::ValueRef::Null => row.push(ValueRef::Null),
                    types::ValueRef::Integer(number) => row.push(ValueRef::Number(number)),
                    types::ValueRef::Text(text) => match str::from_utf8(text) {
                        Ok(text) => row.push(ValueRef::Text(text)),
                        Err(_) => return Err(row.type_error()),
                    },
                    _ => return Err(row.type_error()),
                }
            }
            if !take(row) {
                break;
            }
        }
        Ok(())
    }

    fn prepare(&self, query: &Query) -> Result<Prepared<'_>, DatabaseError> {
        Ok(if query.keep {
            Prepared::Kept(self.0.prepare_cached(&query.text)?)
        } else {
            Prepared::Once(self.0.prepare(&query.text)?)
        })
    }
}

/// A prepared statement.
enum Prepared<'c> {
    Kept(rusqlite::CachedStatement<'c>),
    Once(Statement<'c>),
}

impl<'c> Deref for Prepared<'c> {
    type Target = Statement<'c>;

    fn deref(&self) -> &Statement<'c> {
        match self {
            Self::Kept(statement) => statement,
            Self::Once(statement) => statement,
        }
    }
}

impl<'c> DerefMut for Prepared<'c> {
    fn deref_mut(&mut self) -> &mut Statement<'c> {
        match self {
            Self::Kept(statement) => statement,
            Self::Once(statement) => statement,
        }
    }
}

/// Binds the values: SQLite numbers placeholders by their first appearance in the text, whatever they are
/// called.
fn bind(statement: &mut Statement<'_>, query: &Query) -> Result<(), DatabaseError> {
    let wrong = || rusqlite::Error::InvalidParameterCount(query.values.len(), 0);
    for place in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(place) {
            Some(name) => name.trim_start_matches('$').parse().map_err(|_| wrong())?,
            None => place,
        };
        match query.values.get(number - 1).ok_or_else(wrong)? {
            Value::Null => statement.raw_bind_parameter(place, types::Null)?,
            Value::Number(number) => statement.raw_bind_parameter(place, number)?,
            Value::Text(text) => statement.raw_bind_parameter(place, text.as_str())?,
        }
    }
    Ok(())
}

/// Returns a path as it stands in a URL, where `%`, `?` and `#` mean something else.
pub(in crate::store) fn escape_path(path: &Path) -> String {
    path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23")
}
