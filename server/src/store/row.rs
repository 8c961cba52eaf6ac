//! Turns rows into types; a value that does not fit is reported with its table, row and column.

use super::{
    StoreError,
    database::{Column, Row},
};
use serde::de::DeserializeOwned;
use std::{fmt::Display, str::FromStr};
use unbox_common::{ids::NotAnId, timestamp::Timestamp};

/// The columns of one row that come from one table.
#[derive(Clone, Copy)]
pub(super) struct Fields<'r> {
    row: &'r Row,
    table: &'static str,
    key: &'static str,
}

impl<'r> Fields<'r> {
    /// Returns the columns of `table`, whose rows are identified by the column `key`.
    pub(super) const fn of(row: &'r Row, table: &'static str, key: &'static str) -> Self {
        Self { row, table, key }
    }

    /// Reads a raw value.
    pub(super) fn read<T: Column<'r>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.row.read(column).map_err(|error| self.wrong_value(column, error))
    }

    /// Reads a text and parses it.
    pub(super) fn parse<T: FromStr<Err: Display>>(&self, column: &'static str) -> Result<T, StoreError> {
        self.read::<&str>(column)?.parse().map_err(|error| self.wrong_value(column, error))
    }

    /// Reads a text and parses it, or returns `None` for NULL.
    pub(super) fn parse_opt<T: FromStr<Err: Display>>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.read(column)?;
        text.map(str::parse).transpose().map_err(|error| self.wrong_value(column, error))
    }

    /// Reads a JSON document.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, StoreError> {
        serde_json::from_str(self.read(column)?).map_err(|error| self.wrong_value(column, error))
    }

    /// Reads a JSON document, or returns `None` for NULL.
    pub(super) fn json_opt<T: DeserializeOwned>(
        &self,
        column: &'static str,
    ) -> Result<Option<T>, StoreError> {
        let text: Option<&str> = self.read(column)?;
        text.map(serde_json::from_str).transpose().map_err(|error| self.wrong_value(column, error))
    }

    /// Reads an id.
    pub(super) fn id<T>(
        &self,
        column: &'static str,
        new: fn(i64) -> Result<T, NotAnId>,
    ) -> Result<T, StoreError> {
        new(self.read(column)?).map_err(|error| self.wrong_value(column, error))
    }

    /// Reads an id, or returns `None` for NULL.
    pub(super) fn id_opt<T>(
        &self,
        column: &'static str,
        new: fn(i64) -> Result<T, NotAnId>,
    ) -> Result<Option<T>, StoreError> {
        let id: Option<i64> = self.read(column)?;
        id.map(new).transpose().map_err(|error| self.wrong_value(column, error))
    }

    /// Reads a number that is never negative.
    pub(super) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        u64::try_from(self.read::<i64>(column)?).map_err(|error| self.wrong_value(column, error))
    }

    /// Reads a number that is never negative, or returns `None` for NULL.
    pub(super) fn count_opt(&self, column: &'static str) -> Result<Option<u64>, StoreError> {
        let number: Option<i64> = self.read(column)?;
        number.map(u64::try_from).transpose().map_err(|error| self.wrong_value(column, error))
    }

    /// Reads a time.
    pub(super) fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.count(column).map(Timestamp)
    }

    /// Reads a time, or returns `None` for NULL.
    pub(super) fn time_opt(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.count_opt(column)?.map(Timestamp))
    }

    /// Returns the error for a value that does not fit.
    pub(super) fn wrong_value(&self, column: &'static str, problem: impl Display) -> StoreError {
        let row = match (self.row.read::<i64>(self.key), self.row.read::<&str>(self.key)) {
            (Ok(id), _) => id.to_string(),
            (_, Ok(text)) => text.to_owned(),
            _ => "of unknown key".to_owned(),
        };
        StoreError::Row { table: self.table, row, column, problem: problem.to_string() }
    }
}

/// Converts a number for the database; larger ones than it can hold become its largest.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Converts a time for the database.
pub(super) fn millis(time: Timestamp) -> i64 {
    number(time.0)
}

/// Serializes a document for the database.
pub(super) fn document(value: &impl serde::Serialize) -> String {
    // Serialization could only fail for maps whose keys are not texts, and our own types have none.
    serde_json::to_string(value).unwrap_or_default()
}
