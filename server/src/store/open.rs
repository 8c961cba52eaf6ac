//! Opens a database: an existing one, a new one, or one for inspection only.
//!
//! The first connection looks at the database, and brings its schema up to date. All others are opened when they
//! are needed.

use super::{
    ACQUIRE_TIMEOUT, Dialect, Inner, POSTGRES_CONNECTIONS, Pool, SQLITE_READERS, Store, StoreError, Writer,
    database::{Access, Connection, DatabaseError, Postgres, Sqlite, escape_path, query},
    error::statement_error,
    limits::ConnectionLimit,
    migrations::{migrate, newest_version, read_version},
};
use crate::files::{self, FilesError, Lock, PRIVATE_FILE};
use nix::unistd::{AccessFlags, access};
use std::{
    panic,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::task;

/// The longest wait for one answer while a database is opened, migrated or restored: an index over all of its
/// rows takes a while.
const LONG_DEADLINE: Duration = Duration::from_hours(1);

/// The place of a database.
#[derive(Clone)]
pub(super) enum Place {
    /// An SQLite file.
    File(PathBuf, Access),
    /// The URL of a PostgreSQL database, which may hold a password.
    Server(Arc<str>),
}

impl Place {
    pub(super) fn of_url(url: &str) -> Result<Self, StoreError> {
        Ok(match sqlite_path(url)? {
            Some(path) => Self::of_file(&path),
            None => Self::Server(url.into()),
        })
    }

    pub(super) fn of_file(path: &Path) -> Self {
        Self::File(path.to_owned(), Access::Write)
    }

    const fn dialect(&self) -> Dialect {
        match self {
            Self::File(..) => Dialect::Sqlite,
            Self::Server(_) => Dialect::Postgres,
        }
    }

    /// Returns the file of an SQLite database.
    fn file(&self) -> Option<PathBuf> {
        match self {
            Self::File(path, _) => Some(path.clone()),
            Self::Server(_) => None,
        }
    }

    /// Opens a connection, and sets it up.
    pub(super) fn connect(
        &self,
        setup: &'static [&'static str],
        deadline: Duration,
    ) -> Result<Connection, DatabaseError> {
        let mut connection = match self {
            Self::File(path, access) => Connection::Sqlite(Sqlite::open(path, *access)?),
            Self::Server(url) => Connection::Postgres(Box::new(Postgres::connect(url, deadline)?)),
        };
        for statement in setup {
            connection.run(statement)?;
        }
        Ok(connection)
    }

    /// Opens the first connection, which shows whether there is a database at all.
    pub(super) fn open(&self, setup: &'static [&'static str]) -> Result<Connection, StoreError> {
        let opened = |error| match statement_error("open it")(error) {
            StoreError::Statement { source, .. } => StoreError::Open(source),
            other => other,
        };
        let mut connection = self.connect(setup, LONG_DEADLINE).map_err(opened)?;
        // SQLite reads nothing before the first statement.
        query(self.dialect().existence_check()).try_execute(&mut connection).map_err(opened)?;
        Ok(connection)
    }
}

/// Runs work that blocks on a thread that may be blocked.
pub(super) async fn blocking<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) if error.is_panic() => panic::resume_unwind(error.into_panic()),
        Err(_) => Err(StoreError::Closed.into()),
    }
}

impl Store {
    /// Opens a database by its URL, `sqlite:<path>` or `postgres://...`, and brings its schema up
    /// to date.
    ///
    /// # Errors
    /// [`StoreError::Missing`] or [`StoreError::Empty`] if there is none, because an empty one in its place
    /// would look as if every device had been forgotten; [`StoreError::TooNew`] if a newer server has
    /// changed the schema; and other errors that keep the database from being opened.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        if let Some(path) = sqlite_path(url)? {
            check_exists(&path)?;
            check_writable(&path)?;
        }
        Self::open_at(Place::of_url(url)?, false).await
    }

    /// Opens a database like [`Self::open`], and creates it if it does not exist. An SQLite file is
    /// readable by its owner only.
    ///
    /// # Errors
    /// Those of [`Self::open`].
    pub async fn create(url: &str) -> Result<Self, StoreError> {
        if let Some(path) = sqlite_path(url)? {
            make_private(&path)?;
            check_writable(&path)?;
        }
        Self::open_at(Place::of_url(url)?, true).await
    }

    async fn open_at(place: Place, create: bool) -> Result<Self, StoreError> {
        blocking(move || {
            let dialect = place.dialect();
            let mut connection = place.open(dialect.writer_setup())?;
            let version = read_version(&mut connection)?;
            let limit = ConnectionLimit::read(&mut connection, dialect)?;
            if version.is_none() && !create {
                return Err(StoreError::Empty);
            }
            if version != Some(newest_version()) {
                connection.run(dialect.begin()).map_err(statement_error("begin a transaction"))?;
                migrate(&mut connection, dialect, newest_version())?;
                connection.run("COMMIT").map_err(statement_error("commit"))?;
            }
            connection.close();
            let readers = match dialect {
                Dialect::Sqlite => SQLITE_READERS,
                Dialect::Postgres => POSTGRES_CONNECTIONS,
            };
            let readers = Pool::new(place.clone(), dialect.reader_setup(), readers, ACQUIRE_TIMEOUT);
            let writer = Writer::start(place.clone(), dialect)?;
            Ok(Self(Arc::new(Inner { dialect, readers, writer, file: place.file(), connections: limit })))
        })
        .await
    }

    /// Opens a database for inspection, and leaves its schema and its files unchanged.
    ///
    /// # Errors
    /// Those of [`Self::open`], and [`StoreError::Outdated`] if its schema is older than this program.
    pub async fn inspect(url: &str) -> Result<Self, StoreError> {
        let place = match sqlite_path(url)? {
            Some(path) => {
                check_exists(&path)?;
                let access = read_only_access(&path);
                Place::File(path, access)
            }
            None => Place::of_url(url)?,
        };
        let setup = place.dialect().inspector_setup();
        Self::open_readers(place, setup).await
    }

    async fn open_readers(place: Place, setup: &'static [&'static str]) -> Result<Self, StoreError> {
        blocking(move || {
            let dialect = place.dialect();
            let mut connection = place.open(setup)?;
            let found = read_version(&mut connection)?.ok_or(StoreError::Empty)?;
            if found < newest_version() {
                return Err(StoreError::Outdated { found, known: newest_version() });
            }
            let limit = ConnectionLimit::read(&mut connection, dialect)?;
            connection.close();
            let file = place.file();
            let readers = Pool::new(place, setup, SQLITE_READERS, ACQUIRE_TIMEOUT);
            Ok(Self(Arc::new(Inner { dialect, readers, writer: Writer::None, file, connections: limit })))
        })
        .await
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
        if let Some(path) = sqlite_path(url)? {
            check_exists(&path)?;
        }
        let place = Place::of_url(url)?;
        let setup = place.dialect().reader_setup();
        Self::open_readers(place, setup).await
    }

    /// Returns the URL of an SQLite database in this file.
    #[must_use]
    pub fn sqlite_url(path: &Path) -> String {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        format!("sqlite://{}", escape_path(&path))
    }
}

/// Returns the file of an SQLite database.
pub(super) fn sqlite_path(url: &str) -> Result<Option<PathBuf>, StoreError> {
    if Dialect::of(url)? != Dialect::Sqlite {
        return Ok(None);
    }
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let path = percent_encoding::percent_decode_str(path).decode_utf8();
    let path = path.map_err(|error| StoreError::Open(DatabaseError::Settings(error.to_string())))?;
    Ok(Some(PathBuf::from(path.as_ref())))
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

/// Chooses how a file is read without creating one beside it. While anybody has the database open, its
/// write-ahead log exists, and is read, too. Without that log nobody writes, and SQLite need not prepare
/// for it.
fn read_only_access(path: &Path) -> Access {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if Path::new(&log).exists() { Access::Read } else { Access::ReadUnshared }
}

fn make_private(path: &Path) -> Result<(), StoreError> {
    match files::write_new(path, &[], PRIVATE_FILE) {
        Ok(()) | Err(FilesError::Exists(_)) => Ok(()),
        Err(error) => Err(StoreError::Create(error)),
    }
}
