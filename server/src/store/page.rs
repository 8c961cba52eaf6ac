//! Lists in parts: each page says where the next one starts.

use super::StoreError;
use std::str::FromStr;

/// Rows of a page if none are asked for.
const DEFAULT_ROWS: u32 = 100;
/// Rows of a page at most.
pub const MAX_ROWS: u32 = 1000;

/// How many rows to list, and where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many; 100 if absent, never more than [`MAX_ROWS`].
    pub size: Option<u32>,
    /// Where the page before ended: its `next`.
    pub after: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page starts; `None` if this was the last.
    pub next: Option<String>,
}

impl PageRequest {
    /// A page that follows `after`.
    #[must_use]
    pub fn following(after: Option<String>) -> Self {
        Self { size: None, after }
    }

    fn rows(&self) -> u32 {
        self.size.unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS)
    }

    /// How many rows to read: one more than the page holds, to know whether there is a next one.
    pub(super) fn limit(&self) -> i64 {
        i64::from(self.rows()) + 1
    }

    /// The key after which the page starts.
    pub(super) fn key<K: FromStr>(&self) -> Result<Option<K>, StoreError> {
        self.after.as_deref().map(K::from_str).transpose().map_err(|_| StoreError::Cursor)
    }

    /// The page out of the rows that were read, whose keys are given by `key`.
    pub(super) fn page<T, K: ToString>(&self, mut items: Vec<T>, key: impl Fn(&T) -> K) -> Page<T> {
        let rows = usize::try_from(self.rows()).unwrap_or(usize::MAX);
        let more = items.len() > rows;
        items.truncate(rows);
        let next = items.last().filter(|_| more).map(|last| key(last).to_string());
        Page { items, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_names_the_next_one_only_if_there_is_one() {
        let request = PageRequest { size: Some(2), after: None };
        assert_eq!(request.limit(), 3);
        assert_eq!(request.page(vec![1, 2, 3], |n| *n).next.as_deref(), Some("2"));
        assert_eq!(request.page(vec![1, 2], |n| *n).next, None);
        assert_eq!(PageRequest { size: Some(0), after: None }.limit(), 2);
        assert_eq!(PageRequest { size: Some(u32::MAX), after: None }.limit(), 1001);
    }

    #[test]
    fn a_cursor_that_was_made_up_is_refused() {
        let request = PageRequest::following(Some("1 OR 1=1".to_owned()));
        assert!(matches!(request.key::<i64>(), Err(StoreError::Cursor)));
    }
}
