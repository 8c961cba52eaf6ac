//! The few places where SQLite and PostgreSQL differ.

use super::StoreError;

/// The set-up of every SQLite connection. WAL lets readers read while another connection writes; FULL makes
/// a commit survive a power cut.
const SQLITE_SETUP: &str = "PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA busy_timeout = 10000;
    PRAGMA foreign_keys = ON;
    PRAGMA temp_store = MEMORY;
    PRAGMA journal_size_limit = 67108864;";
/// The further set-up of the writing connection: room for the pages that a large import touches again and
/// again (16 MiB, allocated when needed), and fewer, larger checkpoints.
const SQLITE_WRITER_SETUP: &str = "PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 4000;";

/// The database behind the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    pub(super) fn of(url: &str) -> Result<Self, StoreError> {
        if url.starts_with("sqlite:") {
            Ok(Self::Sqlite)
        } else if url.starts_with("postgres:") || url.starts_with("postgresql:") {
            Ok(Self::Postgres)
        } else {
            Err(StoreError::UnknownDatabase)
        }
    }

    /// Returns the start of a write transaction. SQLite takes the write lock at once, because a transaction
    /// that reads first and writes later fails if another one wrote in between.
    pub(super) const fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN",
        }
    }

    /// Returns the set-up of a writing connection.
    pub(super) const fn writer_setup(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[SQLITE_SETUP, SQLITE_WRITER_SETUP],
            Self::Postgres => &[],
        }
    }

    /// Returns the set-up of a reading connection, which then cannot write.
    pub(super) const fn reader_setup(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[SQLITE_SETUP, "PRAGMA query_only = ON"],
            Self::Postgres => &["SET default_transaction_read_only = on"],
        }
    }

    /// Returns the set-up of a connection that only inspects and leaves the database's files alone.
    pub(super) const fn inspector_setup(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &["PRAGMA busy_timeout = 10000; PRAGMA query_only = ON"],
            Self::Postgres => &["SET default_transaction_read_only = on"],
        }
    }

    /// Returns a statement that fails if there is no database.
    pub(super) const fn existence_check(self) -> &'static str {
        match self {
            Self::Sqlite => "SELECT COUNT(*) FROM sqlite_master",
            Self::Postgres => "SELECT 1",
        }
    }

    /// Returns a query for the connections that the database accepts, and those that are open beside this
    /// one.
    pub(super) const fn connections(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(
                "SELECT LEAST(
                     CAST(current_setting('max_connections') AS BIGINT)
                         - CAST(current_setting('superuser_reserved_connections') AS BIGINT),
                     CASE WHEN d.datconnlimit < 0 THEN NULL ELSE d.datconnlimit END,
                     CASE WHEN r.rolconnlimit < 0 THEN NULL ELSE r.rolconnlimit END) AS allowed,
                     (SELECT COUNT(*) FROM pg_stat_activity
                          WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS used
                 FROM pg_database AS d, pg_roles AS r
                 WHERE d.datname = current_database() AND r.rolname = current_user",
            ),
        }
    }

    /// Returns a query that detects a standby and a database that is set to read-only.
    pub(super) const fn read_only(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(
                "SELECT CAST(CASE WHEN pg_is_in_recovery() OR reset_val = 'on' THEN 1 ELSE 0 END AS BIGINT)
                     AS read_only
                 FROM pg_settings WHERE name = 'default_transaction_read_only'",
            ),
        }
    }

    /// Returns the start of a transaction that reads one moment of the whole database.
    pub(super) const fn begin_snapshot(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    /// Returns a query for the tables that hold data.
    pub(super) const fn tables(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                     AND name <> 'schema_migrations' ORDER BY name"
            }
            Self::Postgres => {
                "SELECT CAST(tablename AS TEXT) AS name FROM pg_tables
                 WHERE schemaname = current_schema() AND tablename <> 'schema_migrations' ORDER BY tablename"
            }
        }
    }

    /// Returns the set-up of a connection that fills a database.
    pub(super) const fn restore_setup(self) -> &'static [&'static str] {
        match self {
            // Foreign keys are checked at the end, all together.
            Self::Sqlite => &["PRAGMA foreign_keys = OFF"],
            Self::Postgres => &[],
        }
    }

    /// Returns a query for the foreign keys that can be checked later.
    pub(super) const fn foreign_keys(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(
                "SELECT CAST(conrelid::regclass AS TEXT) AS of_table, CAST(conname AS TEXT) AS name
                 FROM pg_constraint
                 WHERE contype = 'f' AND connamespace = current_schema()::regnamespace",
            ),
        }
    }

    /// Returns a check of every foreign key: a row for each dangling one, or an error.
    pub(super) const fn check_foreign_keys(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA foreign_key_check",
            Self::Postgres => "SET CONSTRAINTS ALL IMMEDIATE",
        }
    }

    /// Returns a query for the number of other sessions in this database.
    pub(super) const fn sessions(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some(
                "SELECT COUNT(*) AS sessions FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()
                     AND backend_type = 'client backend'",
            ),
        }
    }

    /// Returns the last statement of the writing connection before it closes.
    pub(super) const fn closing_statement(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => Some("PRAGMA wal_checkpoint(TRUNCATE)"),
            Self::Postgres => None,
        }
    }

    /// Writes the placeholder of the `number`th value of a statement whose values are bound in order.
    ///
    /// SQLite looks for the name of every numbered parameter in a list of all of them, which is quadratic:
    /// 30 us for each row of a bulk INSERT. An unnamed one costs nothing.
    pub(super) fn placeholder(self, number: usize, to: &mut String) {
        match self {
            Self::Sqlite => to.push('?'),
            Self::Postgres => {
                to.push('$');
                to.push_str(&number.to_string());
            }
        }
    }

    /// Returns true if a transaction has to lock the rows that it decides by. SQLite never has more than one
    /// writer.
    pub(super) const fn locks_rows(self) -> bool {
        matches!(self, Self::Postgres)
    }

    /// Returns a check of the whole database, with one row of text for each fault.
    pub(super) const fn integrity_check(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => Some("PRAGMA quick_check"),
            Self::Postgres => None,
        }
    }

    /// Returns a statement that keeps other servers from migrating until the transaction ends.
    pub(super) const fn migration_lock(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Postgres => Some("SELECT CAST(pg_advisory_xact_lock(8389754676633367137) AS TEXT)"),
        }
    }

    /// Returns the text of a migration in this dialect.
    pub(super) fn ddl(self, text: &str) -> String {
        match self {
            Self::Sqlite => text
                .replace("BIGINT PRIMARY KEY", "INTEGER PRIMARY KEY")
                .replace("/* WITHOUT ROWID */", "WITHOUT ROWID"),
            Self::Postgres => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_databases_are_spoken() {
        assert_eq!(Dialect::of("sqlite:///var/lib/unbox/unbox.db").unwrap(), Dialect::Sqlite);
        assert_eq!(Dialect::of("postgres://unbox@localhost/unbox").unwrap(), Dialect::Postgres);
        for other in ["", "mysql://x", "unbox.db", "SQLITE:x"] {
            assert!(matches!(Dialect::of(other), Err(StoreError::UnknownDatabase)), "{other}");
        }
    }
}
