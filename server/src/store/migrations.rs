//! The schema, and its way from one version to the next.
//!
//! Migrations run in the transaction of their caller, so that a restore is one transaction as well: first the
//! schema of the backup, then its rows, then the way to the present schema.

use super::{
    StoreError,
    database::{Connection, query},
    dialect::Dialect,
    error::statement_error,
};
use unbox_common::digest::Sha256;

/// The table of the migrations that a database has.
pub(super) const TABLE: &str = "schema_migrations";

/// A step from one version of the schema to the next.
struct Migration {
    version: i64,
    name: &'static str,
    text: &'static str,
}

macro_rules! migrations {
    ($($version:literal $name:literal),+ $(,)?) => {
        [$(Migration {
            version: $version,
            name: $name,
            text: include_str!(concat!("../../migrations/", $name, ".sql")),
        }),+]
    };
}

const MIGRATIONS: [Migration; 12] = migrations![
    1 "0001_initial",
    2 "0002_accounts",
    5 "0005_organisations",
    6 "0006_factory_claims",
    10 "0010_matching",
    11 "0011_rights",
    12 "0012_load",
    13 "0013_store",
    16 "0016_versions",
    17 "0017_retention",
    18 "0018_operations",
    19 "0019_version_lead",
];

/// Returns the newest schema version that this program knows.
#[must_use]
pub fn newest_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// Returns the version of a database's schema; `None` if it has none.
///
/// # Errors
/// [`StoreError::TooNew`] if this program does not know it.
pub(super) fn read_version(connection: &mut Connection) -> Result<Option<i64>, StoreError> {
    const OPERATION: &str = "read the schema's version";
    let found = query("SELECT MAX(version) AS version FROM schema_migrations").try_fetch_all(connection);
    let version = match found {
        Ok(rows) => rows.first().and_then(|row| row.read::<Option<i64>>("version").ok()).flatten(),
        Err(error) if error.is_missing_table() => None,
        Err(error) => return Err(statement_error(OPERATION)(error)),
    };
    match version {
        Some(found) if found > newest_version() => Err(StoreError::TooNew { found, known: newest_version() }),
        version => Ok(version),
    }
}

/// Brings the schema to this version, inside a transaction.
pub(super) fn migrate(connection: &mut Connection, dialect: Dialect, to: i64) -> Result<(), StoreError> {
    const OPERATION: &str = "bring the schema up to date";
    if let Some(lock) = dialect.migration_lock() {
        query(lock).execute(connection, OPERATION)?;
    }
    query(
        "CREATE TABLE IF NOT EXISTS schema_migrations
             (version BIGINT PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL)",
    )
    .execute(connection, OPERATION)?;
    let rows = query("SELECT version, digest FROM schema_migrations").fetch_all(connection, OPERATION)?;
    for migration in MIGRATIONS.iter().filter(|migration| migration.version <= to) {
        let digest = Sha256::of(migration.text.as_bytes()).to_string();
        let applied = rows.iter().find(|row| row.read("version") == Ok(migration.version));
        match applied.map(|row| row.read("digest") == Ok(digest.as_str())) {
            Some(true) => {}
            Some(false) => return Err(StoreError::AlteredMigration(migration.name)),
            None => {
                connection.run(&dialect.ddl(migration.text)).map_err(statement_error(OPERATION))?;
                query("INSERT INTO schema_migrations (version, name, digest) VALUES ($1, $2, $3)")
                    .bind(migration.version)
                    .bind(migration.name)
                    .bind(digest)
                    .execute(connection, OPERATION)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_differs_only_where_it_must() {
        for Migration { name, text, .. } in MIGRATIONS {
            let sqlite = Dialect::Sqlite.ddl(text);
            assert_eq!(Dialect::Postgres.ddl(text), text);
            assert_eq!(sqlite.lines().count(), text.lines().count());
            for banned in ["BOOLEAN", "TIMESTAMP", "JSONB", "NUMERIC", "UUID", "SERIAL", "BYTEA", "BLOB"] {
                assert!(!text.contains(banned), "{name}, {banned}: columns are numbers and texts");
            }
        }
    }

    #[test]
    fn versions_rise_and_are_in_the_names_of_their_files() {
        let versions = MIGRATIONS.map(|migration| migration.version);
        assert!(versions.is_sorted());
        for Migration { version, name, .. } in MIGRATIONS {
            assert!(name.starts_with(&format!("{version:04}_")), "{name}");
        }
    }
}
