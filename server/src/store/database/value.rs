//! Values that are bound, and values that are read: numbers and texts, the two types of all columns.

use super::DatabaseError;
use serde::{Deserialize, Serialize};
use std::{ops::Range, sync::Arc};

/// A value of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// NULL.
    Null,
    /// An id, a time, a number or a flag.
    Number(i64),
    /// Any text.
    Text(String),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Number(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A value in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum ValueRef<'r> {
    Null,
    Number(i64),
    Text(&'r str),
}

/// A row of a result, independent of its connection.
#[derive(Debug)]
pub(in crate::store) struct Row {
    names: Arc<Names>,
    cells: Vec<Cell>,
    /// The texts of all cells, one after another.
    text: String,
}

#[derive(Debug)]
enum Cell {
    Null,
    Number(i64),
    Text(Range<usize>),
}

/// The names of a result's columns.
#[derive(Debug, Default)]
pub(super) struct Names {
    text: String,
    ends: Vec<usize>,
}

impl Names {
    pub(super) fn new<'n>(names: impl Iterator<Item = &'n str>) -> Arc<Self> {
        let mut all = Self::default();
        for name in names {
            all.text.push_str(name);
            all.ends.push(all.text.len());
        }
        Arc::new(all)
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let name = self.text.get(start..*end).unwrap_or_default();
            start = *end;
            name
        })
    }
}

impl Row {
    pub(super) fn new(names: &Arc<Names>) -> Self {
        Self { names: Arc::clone(names), cells: Vec::with_capacity(names.ends.len()), text: String::new() }
    }

    /// Appends the next column.
    pub(super) fn push(&mut self, value: ValueRef<'_>) {
        self.cells.push(match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Number(number) => Cell::Number(number),
            ValueRef::Text(text) => {
                let start = self.text.len();
                self.text.push_str(text);
                Cell::Text(start..self.text.len())
            }
        });
    }

    /// Returns the error for a column of any other type, which is the next one.
    pub(super) fn type_error(&self) -> DatabaseError {
        let name = self.names.iter().nth(self.cells.len()).unwrap_or_default();
        DatabaseError::Type(name.to_owned())
    }

    /// Returns the names of the columns.
    pub(in crate::store) fn names(&self) -> Vec<String> {
        self.names.iter().map(str::to_owned).collect()
    }

    /// Returns all values, in the order of their columns.
    pub(in crate::store) fn values(&self) -> Vec<Value> {
        let value = |cell| match self.value(cell) {
            ValueRef::Null => Value::Null,
            ValueRef::Number(number) => Value::Number(number),
            ValueRef::Text(text) => Value::Text(text.to_owned()),
        };
        self.cells.iter().map(value).collect()
    }

    /// Reads a column.
    pub(in crate::store) fn read<'r, T: Column<'r>>(&'r self, column: &str) -> Result<T, ColumnError> {
        let found = self.names.iter().position(|name| name == column);
        let cell = found.and_then(|at| self.cells.get(at)).ok_or(ColumnError::Missing)?;
        T::from_value(self.value(cell)).ok_or(ColumnError::Expected(T::EXPECTED))
    }

    fn value(&self, cell: &Cell) -> ValueRef<'_> {
        match cell {
            Cell::Null => ValueRef::Null,
            Cell::Number(number) => ValueRef::Number(*number),
            Cell::Text(range) => ValueRef::Text(self.text.get(range.clone()).unwrap_or_default()),
        }
    }
}

/// The reason why a column could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum ColumnError {
    #[error("the statement does not read it")]
    Missing,
    #[error("expected {0}")]
    Expected(&'static str),
}

/// A type that a column can be read as.
pub(in crate::store) trait Column<'r>: Sized {
    /// The type, for an error.
    const EXPECTED: &'static str;

    fn from_value(value: ValueRef<'r>) -> Option<Self>;
}

impl Column<'_> for i64 {
    const EXPECTED: &'static str = "a number";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Number(number) => Some(number),
            _ => None,
        }
    }
}

impl<'r> Column<'r> for &'r str {
    const EXPECTED: &'static str = "a text";

    fn from_value(value: ValueRef<'r>) -> Option<Self> {
        match value {
            ValueRef::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Column<'_> for String {
    const EXPECTED: &'static str = "a text";

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Text(text) => Some(text.to_owned()),
            _ => None,
        }
    }
}

impl<'r, T: Column<'r>> Column<'r> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: ValueRef<'r>) -> Option<Self> {
        match value {
            ValueRef::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_read_as_what_it_holds_and_nothing_else() {
        let names = Names::new(["id", "name", "note", "empty"].into_iter());
        let mut row = Row::new(&names);
        row.push(ValueRef::Number(7));
        row.push(ValueRef::Text("Acme"));
        row.push(ValueRef::Null);
        row.push(ValueRef::Text(""));
        assert_eq!(row.read("id"), Ok(7_i64));
        assert_eq!(row.read("name"), Ok("Acme"));
        assert_eq!(row.read("note"), Ok(None::<String>));
        assert_eq!(row.read("empty"), Ok(Some("")));
        assert_eq!(row.read::<&str>("id"), Err(ColumnError::Expected("a text")));
        assert_eq!(row.read::<i64>("note"), Err(ColumnError::Expected("a number")));
        assert_eq!(row.read::<i64>("Id"), Err(ColumnError::Missing));
        assert_eq!(row.names(), ["id", "name", "note", "empty"]);
        let values = [Value::Number(7), "Acme".into(), Value::Null, "".into()];
        assert_eq!(row.values(), values);
    }
}
