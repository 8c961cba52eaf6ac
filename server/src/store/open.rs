//! Opens a database: an existing one, a new one, or one for inspection only.
//!
//! Before any pool, one connection looks at the database. A pool retries after every error, and would
//! report a damaged file as a timeout.

use super::{
    ACQUIRE_TIMEOUT, Dialect, IDLE_TIMEOUT, Inner, POSTGRES_CONNECTIONS, Readers, SQLITE_READERS, Store,
    StoreError, Writer,
    error::{is_missing_table, statement_error},
    limits::ConnectionLimit,
    newest_version,
};
use crate::files::{self, FilesError, Lock, PRIVATE_FILE};
use futures_util::FutureExt as _;
use nix::unistd::{AccessFlags, access};
use sqlx::{
    AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Row as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::MigrateError,
    sqlite::SqliteConnectOptions,
};
use std::{
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::Arc,
};

impl Store {
    /// Opens a database by its URL, `sqlite:<path>` or `postgres://...`, and brings its schema up
    /// to date.
    ///
    /// # Errors
    /// [`StoreError::Missing`] or [`StoreError::Empty`] if there is none, because an empty one in its place
    /// would look as if every device had been forgotten; [`StoreError::TooNew`] if a newer server has
    /// changed the schema; and other errors that keep the database from being opened.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(url)?;
        if let Some(path) = sqlite_path(url)? {
            check_exists(&path)?;
            check_writable(&path)?;
        }
        let seen = Seen::look_at(url, dialect, dialect.writer_setup()).await?;
        seen.version.ok_or(StoreError::Empty)?;
        Self::open_pools(url, dialect, seen).await
    }

    /// Opens a database like [`Self::open`], and creates it if it does not exist. An SQLite file is
    /// readable by its owner only.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub async fn create(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(url)?;
        if let Some(path) = sqlite_path(url)? {
            make_private(&path)?;
            check_writable(&path)?;
        }
        let seen = Seen::look_at(url, dialect, dialect.writer_setup()).await?;
        Self::open_pools(url, dialect, seen).await
    }

    async fn open_pools(url: &str, dialect: Dialect, seen: Seen) -> Result<Self, StoreError> {
        let (writers, readers) = match dialect {
            Dialect::Sqlite => (1, SQLITE_READERS),
            Dialect::Postgres => (POSTGRES_CONNECTIONS, POSTGRES_CONNECTIONS),
        };
        let writing = pool(url, dialect, writers, dialect.writer_setup()).await?;
        dialect.migrator().run(&writing).await.map_err(migrate_error)?;
        let reading = pool(url, dialect, readers, dialect.reader_setup()).await?;
        let readers = Readers::new(reading, dialect, readers as usize, ACQUIRE_TIMEOUT);
        let writer = Writer::start(writing, dialect)?;
        let (file, connections) = (sqlite_path(url)?, seen.connections);
        Ok(Self(Arc::new(Inner { dialect, readers, writer, file, connections })))
    }

    /// Opens a database for inspection, and leaves its schema and its files unchanged.
    ///
    /// # Errors
    /// Those of [`Self::open`], and [`StoreError::Outdated`] if its schema is older than this program.
    pub async fn inspect(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(url)?;
        let url = match sqlite_path(url)? {
            Some(path) => {
                check_exists(&path)?;
                read_only_url(&path)
            }
            None => url.to_owned(),
        };
        Self::open_readers(&url, dialect, dialect.inspector_setup()).await
    }

    async fn open_readers(
        url: &str,
        dialect: Dialect,
        setup: &'static [&'static str],
    ) -> Result<Self, StoreError> {
        let seen = Seen::look_at(url, dialect, setup).await?;
        let found = seen.version.ok_or(StoreError::Empty)?;
        if found < newest_version() {
            return Err(StoreError::Outdated { found, known: newest_version() });
        }
        let reading = pool(url, dialect, SQLITE_READERS, setup).await?;
        let readers = Readers::new(reading, dialect, SQLITE_READERS as usize, ACQUIRE_TIMEOUT);
        let (file, connections) = (sqlite_path(url)?, seen.connections);
        Ok(Self(Arc::new(Inner { dialect, readers, writer: Writer::None, file, connections })))
    }

    /// Takes the lock for serving from an SQLite file, which one process has at a time. PostgreSQL allows
    /// any number of servers.
    ///
    /// # Errors
    /// [`StoreError::Served`] if another process has it.
    pub fn lock_for_serving(url: &str) -> Result<Option<Lock>, StoreError> {
        let Some(path) = sqlite_path(url)? else { return Ok(None) };
        check_exists(&path)?;
        check_writable(&path)?;
        lock(&path).map(Some)
    }

    /// Opens a database to read all of it while others write. Its schema stays unchanged.
    ///
    /// # Errors
    /// Those of [`Self::inspect`].
    pub async fn open_for_backup(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let dialect = Dialect::of(url)?;
        if let Some(path) = sqlite_path(url)? {
            check_exists(&path)?;
        }
        Self::open_readers(url, dialect, dialect.reader_setup()).await
    }

    /// Returns the URL of an SQLite database in this file.
    #[must_use]
    pub fn sqlite_url(path: &Path) -> String {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let escaped = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        format!("sqlite://{escaped}")
    }
}

/// The findings of the first connection.
struct Seen {
    /// The schema's version, if there is a schema that this program knows.
    version: Option<i64>,
    connections: Option<ConnectionLimit>,
}

impl Seen {
    async fn look_at(
        url: &str,
        dialect: Dialect,
        setup: &'static [&'static str],
    ) -> Result<Self, StoreError> {
        let mut connection = connect(url, dialect, setup).await?;
        let version = read_version(&mut connection).await;
        let connections = ConnectionLimit::read(&mut connection, dialect).await;
        let _ = connection.close().await;
        Ok(Self { version: version?, connections: connections? })
    }
}

/// Returns the file of an SQLite database.
pub(super) fn sqlite_path(url: &str) -> Result<Option<PathBuf>, StoreError> {
    if Dialect::of(url)? != Dialect::Sqlite {
        return Ok(None);
    }
    let options = SqliteConnectOptions::from_str(url).map_err(StoreError::Open)?;
    Ok(Some(options.get_filename().to_owned()))
}

fn check_exists(path: &Path) -> Result<(), StoreError> {
    match path.metadata() {
        Ok(file) if file.len() == 0 => Err(StoreError::Empty),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(StoreError::Missing(path.to_owned()))
        }
        // The database itself reports other faults better.
        _ => Ok(()),
    }
}

/// Takes the lock for serving from a file, or for replacing it.
pub(super) fn lock(path: &Path) -> Result<Lock, StoreError> {
    let mut lock = path.as_os_str().to_owned();
    lock.push("-serving");
    match Lock::take(Path::new(&lock)) {
        Err(FilesError::InUse(_)) => Err(StoreError::Served(path.to_owned())),
        taken => taken.map_err(StoreError::Lock),
    }
}

/// Checks write permission early: SQLite opens an unwritable file for reading, and fails only when it
/// writes; it needs the directory for its write-ahead log.
pub(super) fn check_writable(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    for place in [path, directory.unwrap_or(Path::new("."))] {
        access(place, AccessFlags::W_OK).map_err(|_| StoreError::ReadOnlyFile(path.to_owned()))?;
    }
    Ok(())
}

/// Returns a URL that reads a file and creates none beside it. While anybody has the database open, its
/// write-ahead log exists, and is read, too. Without that log nobody writes, and SQLite need not prepare
/// for it.
fn read_only_url(path: &Path) -> String {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let unused = if Path::new(&log).exists() { "" } else { "&immutable=true" };
    format!("{}?mode=ro{unused}", Store::sqlite_url(path))
}

fn make_private(path: &Path) -> Result<(), StoreError> {
    match files::write_new(path, &[], PRIVATE_FILE) {
        Ok(()) | Err(FilesError::Exists(_)) => Ok(()),
        Err(error) => Err(StoreError::Open(sqlx::Error::Configuration(error.into()))),
    }
}

pub(super) async fn connect(
    url: &str,
    dialect: Dialect,
    setup: &'static [&'static str],
) -> Result<AnyConnection, StoreError> {
    let opened = |error| match statement_error("open it")(error) {
        StoreError::Statement { source, .. } => StoreError::Open(source),
        other => other,
    };
    let mut connection = options(url)?.connect().await.map_err(opened)?;
    for statement in setup {
        connection.execute(*statement).await.map_err(opened)?;
    }
    // SQLite reads nothing before the first statement.
    connection.execute(dialect.existence_check()).await.map_err(opened)?;
    Ok(connection)
}

pub(super) async fn read_version(connection: &mut AnyConnection) -> Result<Option<i64>, StoreError> {
    let found = match sqlx::query("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(connection).await {
        Ok(row) => row.try_get::<Option<i64>, _>(0).map_err(statement_error("read the schema's version"))?,
        Err(error) if is_missing_table(&error) => None,
        Err(error) => return Err(statement_error("read the schema's version")(error)),
    };
    match found {
        Some(found) if found > newest_version() => Err(StoreError::TooNew { found, known: newest_version() }),
        found => Ok(found),
    }
}

fn options(url: &str) -> Result<AnyConnectOptions, StoreError> {
    Ok(AnyConnectOptions::from_str(url).map_err(StoreError::Open)?.disable_statement_logging())
}

async fn pool(
    url: &str,
    dialect: Dialect,
    connections: u32,
    setup: &'static [&'static str],
) -> Result<AnyPool, StoreError> {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout((connections > 1).then_some(IDLE_TIMEOUT))
        .max_lifetime(None)
        // A file does not go away; a server may, and is tested before each use.
        .test_before_acquire(dialect == Dialect::Postgres)
        .after_connect(move |connection, _| {
            async move {
                for statement in setup {
                    connection.execute(*statement).await?;
                }
                Ok(())
            }
            .boxed()
        })
        .connect_with(options(url)?)
        .await
        .map_err(StoreError::Open)
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::VersionMissing(found) if found > newest_version() => {
            StoreError::TooNew { found, known: newest_version() }
        }
        other => StoreError::Migrate(other),
    }
}
