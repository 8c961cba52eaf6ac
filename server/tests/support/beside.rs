//! A connection beside the server's store, for statements that the store never runs.

use postgres::SimpleQueryMessage;
use rusqlite::types::Value;
use std::{thread, time::Duration};

/// A connection to either database. It blocks.
pub(crate) enum Beside {
    Sqlite(rusqlite::Connection),
    Postgres(postgres::Client),
}

impl Beside {
    fn connect(url: &str) -> Self {
        match url.strip_prefix("sqlite://") {
            Some(path) => Self::Sqlite(rusqlite::Connection::open(path).unwrap()),
            None => Self::Postgres(postgres::Client::connect(url, postgres::NoTls).unwrap()),
        }
    }

    /// Runs a query, or statements that return nothing. Returns the first row's first column as text.
    pub(crate) fn run(&mut self, text: &str) -> String {
        match self {
            Self::Sqlite(connection) if text.starts_with("SELECT") => {
                match connection.query_row(text, [], |row| row.get(0)).unwrap() {
                    Value::Integer(number) => number.to_string(),
                    Value::Text(text) => text,
                    _ => String::new(),
                }
            }
            Self::Sqlite(connection) => {
                connection.busy_timeout(Duration::from_secs(10)).unwrap();
                connection.execute_batch(text).unwrap();
                String::new()
            }
            Self::Postgres(client) => {
                let messages = client.simple_query(text).unwrap();
                let first = messages.iter().find_map(|message| match message {
                    SimpleQueryMessage::Row(row) => row.get(0),
                    _ => None,
                });
                first.unwrap_or_default().to_owned()
            }
        }
    }
}

/// Works on the database of this URL, on a thread of its own: a client of PostgreSQL may not wait on one of
/// a runtime's.
pub(crate) fn beside<T: Send>(url: &str, work: impl FnOnce(&mut Beside) -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(|| work(&mut Beside::connect(url))).join().unwrap())
}
