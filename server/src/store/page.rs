//! Lists in pages, each of which gives the start of the next.

use super::StoreError;
use std::str::FromStr;

/// The default number of rows in a page.
const DEFAULT_ROWS: u32 = 100;
/// The largest number of rows in a page.
pub const MAX_ROWS: u32 = 1000;

/// A request for one page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// The number of rows at most; 100 if absent, never more than [`MAX_ROWS`].
    pub size: Option<u32>,
    /// The `next` of the previous page.
    pub after: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// The start of the next page; `None` if this was the last.
    pub next: Option<String>,
}

impl PageRequest {
    /// Returns a request for the page that follows `after`.
    #[must_use]
    pub fn from_cursor(after: Option<String>) -> Self {
        Self { size: None, after }
    }

    fn rows(&self) -> u32 {
        self.size.unwrap_or(DEFAULT_ROWS).clamp(1, MAX_ROWS)
    }

    /// Returns the number of rows to read: one more than the page holds, which shows whether there is a
    /// next one.
    pub(super) fn limit(&self) -> i64 {
        i64::from(self.rows()) + 1
    }

    /// Returns the key after which the page starts.
    pub(super) fn key<K: FromStr>(&self) -> Result<Option<K>, StoreError> {
        self.after.as_deref().map(K::from_str).transpose().map_err(|_| StoreError::Cursor)
    }

    /// Builds the page from the rows that were read, whose keys `key` gives.
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
        let request = PageRequest::from_cursor(Some("1 OR 1=1".to_owned()));
        assert!(matches!(request.key::<i64>(), Err(StoreError::Cursor)));
    }
}
