//! Limits of the database itself: the connections that it accepts, and read-only access.

use super::{
    Dialect, POSTGRES_CONNECTIONS, Store, StoreError,
    database::{Connection, query},
    open,
    row::Fields,
};

/// The connections that a PostgreSQL server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimit {
    /// The maximum number for this database and role at once.
    pub allowed: u64,
    /// The number that was open already.
    pub used: u64,
}

impl ConnectionLimit {
    /// The maximum number of connections of one `serve`: half to read, half to write.
    pub const NEEDED: u64 = 2 * POSTGRES_CONNECTIONS as u64;

    /// Returns the number that is left.
    #[must_use]
    pub const fn free(self) -> u64 {
        self.allowed.saturating_sub(self.used)
    }

    pub(super) fn read(connection: &mut Connection, dialect: Dialect) -> Result<Option<Self>, StoreError> {
        let Some(text) = dialect.connections() else { return Ok(None) };
        let row = query(text).fetch_one(connection, "count connections")?;
        let fields = Fields::of(&row, "pg_database", "allowed");
        Ok(Some(Self { allowed: fields.count("allowed")?, used: fields.count("used")? }))
    }
}

impl Store {
    /// Returns the connections that the database accepted when it was opened; `None` if it does not count
    /// them.
    #[must_use]
    pub fn connections(&self) -> Option<ConnectionLimit> {
        self.0.connections
    }

    /// Returns true if several servers can use this database at once.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.0.dialect == Dialect::Postgres
    }

    /// Returns true if the database is read-only: a file without write permission, a standby, or a setting.
    pub async fn is_read_only(&self) -> Result<bool, StoreError> {
        if let Some(path) = &self.0.file {
            return Ok(open::check_writable(path).is_err());
        }
        let Some(text) = self.0.dialect.read_only() else { return Ok(false) };
        self.read(move |reader| {
            let row = query(text).fetch_one(reader.connection(), "see whether the database is read-only")?;
            Ok(Fields::of(&row, "pg_settings", "read_only").read::<i64>("read_only")? != 0)
        })
        .await
    }
}
