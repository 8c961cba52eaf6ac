//! A connection beside the server's store, for statements that the store never runs.

use std::thread;

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

    /// Runs statements that return nothing.
    pub(crate) fn run(&mut self, statements: &str) {
        match self {
            Self::Sqlite(connection) => {
                connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
                connection.execute_batch(statements).unwrap();
            }
            Self::Postgres(client) => client.batch_execute(statements).unwrap(),
        }
    }

    /// Returns the one number that a query gives.
    pub(crate) fn number(&mut self, query: &str) -> i64 {
        match self {
            Self::Sqlite(connection) => connection.query_row(query, [], |row| row.get(0)).unwrap(),
            Self::Postgres(client) => client.query_one(query, &[]).unwrap().get(0),
        }
    }

    /// Returns the one text that a query gives.
    pub(crate) fn text(&mut self, query: &str) -> String {
        match self {
            Self::Sqlite(connection) => connection.query_row(query, [], |row| row.get(0)).unwrap(),
            Self::Postgres(client) => client.query_one(query, &[]).unwrap().get(0),
        }
    }
}

/// Works on the database of this URL, on a thread of its own: a client of PostgreSQL may not wait on one of
/// a runtime's.
pub(crate) fn beside<T: Send>(url: &str, work: impl FnOnce(&mut Beside) -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(|| work(&mut Beside::connect(url))).join().unwrap())
}
