//! Restores the rows of a dump, completely or not at all.
//!
//! On SQLite they fill a new file, which replaces the old one when it is complete; the old one is kept
//! beside it. On PostgreSQL everything happens in one transaction. The schema is that of the dump first,
//! and is then brought up to date.

use super::{
    Dialect, Store, StoreError, Value,
    database::{Connection, query},
    dump::{Dumped, tables},
    error::statement_error,
    migrations::{TABLE, migrate, newest_version, read_version},
    open::{self, Place, blocking, sqlite_path},
    row::Fields,
    sql::Sql,
};
use crate::files::{self, FilesError, PRIVATE_FILE};
use std::{
    iter,
    path::{Path, PathBuf},
};

/// The maximum number of values in one INSERT: SQLite accepts 32,766, PostgreSQL 65,535.
const INSERT_VALUES: usize = 4000;
/// The suffix of the new file of an SQLite database, while it is filled.
const NEW_SUFFIX: &str = ".restoring";
/// The suffix of the old file; a number follows if there is one already.
const OLD_SUFFIX: &str = ".replaced";

/// The present contents of the place that a backup is to be restored to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupancy {
    /// No database, or one without a schema.
    Vacant,
    /// A database with data in it, or something that cannot be read.
    Occupied,
}

/// A sequence of rows; `None` at the end.
pub trait Rows {
    /// The error of their source.
    type Error: From<StoreError>;

    /// Returns the next part.
    fn next(&mut self) -> Result<Option<Dumped>, Self::Error>;
}

impl Store {
    /// Returns the present contents of the database of this URL, and changes nothing.
    ///
    /// # Errors
    /// If PostgreSQL cannot be reached, or somebody uses the database.
    pub async fn occupancy(url: &str) -> Result<Occupancy, StoreError> {
        let dialect = Dialect::of(url)?;
        if let Some(path) = sqlite_path(url)? {
            let is_there = path.metadata().is_ok_and(|file| file.len() > 0);
            return Ok(if is_there { Occupancy::Occupied } else { Occupancy::Vacant });
        }
        let place = Place::of_url(url)?;
        blocking(move || {
            let mut connection = place.open(dialect.inspector_setup())?;
            if count_other_sessions(&mut connection, dialect)? > 0 {
                return Err(StoreError::InUse);
            }
            let version = read_version(&mut connection);
            connection.close();
            match version {
                Ok(None) => Ok(Occupancy::Vacant),
                Ok(Some(_)) | Err(StoreError::TooNew { .. }) => Ok(Occupancy::Occupied),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Returns the files of an SQLite database that exist, and those of the databases that it has replaced.
    #[must_use]
    pub fn files(url: &str) -> Vec<PathBuf> {
        let Some(path) = sqlite_path(url).ok().flatten() else { return Vec::new() };
        let exist = |place: &PathBuf| {
            database_files(place).into_iter().filter(|file| file.exists()).collect::<Vec<_>>()
        };
        let replaced = places_for_old(&path).map(|place| exist(&place)).take_while(|files| !files.is_empty());
        exist(&path).into_iter().chain(replaced.flatten()).collect()
    }

    /// Replaces the database of this URL with these rows, which have the schema of this version.
    ///
    /// # Errors
    /// In case of an error nothing has changed.
    pub async fn restore<R>(url: &str, version: i64, rows: R) -> Result<(), R::Error>
    where
        R: Rows<Error: Send> + Send + 'static,
    {
        let url = url.to_owned();
        blocking(move || restore(&url, version, rows)).await
    }
}

fn restore<R: Rows>(url: &str, version: i64, mut rows: R) -> Result<(), R::Error> {
    let dialect = Dialect::of(url)?;
    let Some(path) = sqlite_path(url)? else {
        return fill(Place::of_url(url)?.open(&[])?, dialect, version, &mut rows);
    };
    let _lock = open::lock(&path)?;
    let new = with_suffix(&path, NEW_SUFFIX);
    for file in database_files(&new) {
        files::remove(&file).map_err(StoreError::Replace)?;
    }
    files::write_new(&new, &[], PRIVATE_FILE).map_err(StoreError::Replace)?;
    let filled = match Place::of_file(&new).open(dialect.writer_setup()) {
        Ok(connection) => fill(connection, dialect, version, &mut rows),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = filled {
        for file in database_files(&new) {
            // The first error explains more.
            let _ = files::remove(&file);
        }
        return Err(error);
    }
    Ok(replace(&path, &new).map_err(StoreError::Replace)?)
}

/// Moves the old database away first, together with its write-ahead log: SQLite would apply that log to any
/// other file at the same path.
fn replace(path: &Path, new: &Path) -> Result<(), FilesError> {
    let old = place_for_old(path);
    for (from, to) in database_files(path).into_iter().zip(database_files(&old)) {
        if from.exists() {
            files::publish(&from, &to)?;
        }
    }
    files::publish(new, path)
}

/// Chooses the place for the old database, where nothing is yet. After a restore that was interrupted only its
/// log may be left, which belongs beside the database that was moved then.
fn place_for_old(path: &Path) -> PathBuf {
    let taken: Vec<PathBuf> = places_for_old(path)
        .take_while(|place| database_files(place).iter().any(|file| file.exists()))
        .collect();
    let goes_beside = |place: &&PathBuf| {
        !path.exists()
            && database_files(path)
                .iter()
                .zip(database_files(place))
                .all(|(from, to)| !(from.exists() && to.exists()))
    };
    let is_torn = database_files(path).iter().any(|file| file.exists());
    match taken.last().filter(|_| is_torn).filter(goes_beside) {
        Some(last) => last.clone(),
        None => places_for_old(path).nth(taken.len()).unwrap_or_else(|| with_suffix(path, OLD_SUFFIX)),
    }
}

/// Returns the places for replaced databases, the first one first.
fn places_for_old(path: &Path) -> impl Iterator<Item = PathBuf> {
    let later = (2_u64..).map(|number| with_suffix(path, &format!("{OLD_SUFFIX}-{number}")));
    iter::once(with_suffix(path, OLD_SUFFIX)).chain(later)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns a database and the files that SQLite keeps beside it.
fn database_files(path: &Path) -> [PathBuf; 3] {
    [path.to_owned(), with_suffix(path, "-wal"), with_suffix(path, "-shm")]
}

/// Fills a database, and closes it.
fn fill<R: Rows>(
    mut connection: Connection,
    dialect: Dialect,
    version: i64,
    rows: &mut R,
) -> Result<(), R::Error> {
    for statement in dialect.restore_setup() {
        run(&mut connection, statement)?;
    }
    run(&mut connection, dialect.begin())?;
    clear(&mut connection, dialect)?;
    migrate(&mut connection, dialect, version)?;
    let constraints = defer_foreign_keys(&mut connection, dialect)?;
    insert(&mut connection, dialect, rows)?;
    restore_foreign_keys(&mut connection, dialect, &constraints)?;
    migrate(&mut connection, dialect, newest_version())?;
    connection.run("COMMIT").map_err(statement_error("commit"))?;
    if let Some(statement) = dialect.closing_statement() {
        connection.run(statement).map_err(statement_error("finish the database"))?;
    }
    connection.close();
    Ok(())
}

/// Counts the other sessions of a PostgreSQL database.
fn count_other_sessions(connection: &mut Connection, dialect: Dialect) -> Result<i64, StoreError> {
    let Some(text) = dialect.sessions() else { return Ok(0) };
    let row = query(text).fetch_one(connection, "count sessions")?;
    Fields::of(&row, "pg_stat_activity", "sessions").read("sessions")
}

/// Drops every table of an earlier database.
fn clear(connection: &mut Connection, dialect: Dialect) -> Result<(), StoreError> {
    if dialect == Dialect::Sqlite {
        return Ok(());
    }
    for table in tables(connection, dialect)? {
        run(connection, &format!("DROP TABLE {table} CASCADE"))?;
    }
    run(connection, &format!("DROP TABLE IF EXISTS {TABLE}"))
}

/// Postpones the check of foreign keys to the end: rows come table by table, and tables refer to each
/// other.
fn defer_foreign_keys(
    connection: &mut Connection,
    dialect: Dialect,
) -> Result<Vec<(String, String)>, StoreError> {
    let Some(text) = dialect.foreign_keys() else { return Ok(Vec::new()) };
    let rows = query(text).fetch_all(connection, "list foreign keys")?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        let fields = Fields::of(row, "pg_constraint", "name");
        let (table, key): (String, String) = (fields.read("of_table")?, fields.read("name")?);
        run(
            connection,
            &format!("ALTER TABLE {table} ALTER CONSTRAINT {key} DEFERRABLE INITIALLY DEFERRED"),
        )?;
        keys.push((table, key));
    }
    Ok(keys)
}

fn restore_foreign_keys(
    connection: &mut Connection,
    dialect: Dialect,
    keys: &[(String, String)],
) -> Result<(), StoreError> {
    if !query(dialect.check_foreign_keys()).fetch_all(connection, "check foreign keys")?.is_empty() {
        return Err(StoreError::Dangling);
    }
    for (table, key) in keys {
        run(connection, &format!("ALTER TABLE {table} ALTER CONSTRAINT {key} NOT DEFERRABLE"))?;
    }
    Ok(())
}

/// Runs a statement composed of literals and of names that the database gave.
fn run(connection: &mut Connection, text: &str) -> Result<(), StoreError> {
    connection.run(text).map_err(statement_error("prepare the database"))
}

/// Writes all rows, many in one statement.
fn insert<R: Rows>(connection: &mut Connection, dialect: Dialect, rows: &mut R) -> Result<(), R::Error> {
    let known = tables(connection, dialect)?;
    let mut head: Option<(String, usize)> = None;
    let mut waiting: Vec<Vec<Value>> = Vec::new();
    while let Some(part) = rows.next()? {
        match part {
            Dumped::Table { table, columns } => {
                flush(connection, dialect, head.as_ref(), &mut waiting)?;
                let plain = |name: &String| {
                    !name.is_empty()
                        && name
                            .bytes()
                            .all(|byte| byte.is_ascii_lowercase() || byte == b'_' || byte.is_ascii_digit())
                };
                if !(known.contains(&table) && columns.iter().all(plain) && !columns.is_empty()) {
                    return Err(StoreError::UnknownTable(table).into());
                }
                run(connection, &format!("DELETE FROM {table}"))?;
                let text = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", "));
                head = Some((text, columns.len()));
            }
            Dumped::Row(row) => {
                let width = head.as_ref().map_or(0, |(_, columns)| *columns);
                if row.len() != width || width == 0 {
                    return Err(StoreError::UnknownTable("of a row".to_owned()).into());
                }
                waiting.push(row);
                if (waiting.len() + 1) * width > INSERT_VALUES {
                    flush(connection, dialect, head.as_ref(), &mut waiting)?;
                }
            }
        }
    }
    Ok(flush(connection, dialect, head.as_ref(), &mut waiting)?)
}

fn flush(
    connection: &mut Connection,
    dialect: Dialect,
    head: Option<&(String, usize)>,
    waiting: &mut Vec<Vec<Value>>,
) -> Result<(), StoreError> {
    let Some((text, _)) = head.filter(|_| !waiting.is_empty()) else { return Ok(()) };
    let mut sql = Sql::from_names(dialect, text.clone());
    sql.push_rows(waiting.drain(..), |to, row| {
        for cell in row {
            match cell {
                Value::Null => to.bind_null(),
                value => to.bind(value),
            };
        }
    });
    sql.query().keep_prepared(false).execute(connection, "restore rows")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::cut;
    use std::fs;
    use tempfile::TempDir;

    const CONTENTS: [(&str, &[u8]); 4] = [
        ("db", b"the old database"),
        ("db-wal", b"its log"),
        ("db-shm", b"the index of its log"),
        ("db.restoring", b"the new database"),
    ];

    fn make_database_to_replace() -> (TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        for (name, contents) in CONTENTS {
            files::replace(&dir.path().join(name), contents, PRIVATE_FILE).unwrap();
        }
        let (path, new) = (dir.path().join("db"), dir.path().join("db.restoring"));
        (dir, path, new)
    }

    fn names(dir: &TempDir) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_replacement_goes_on_wherever_it_was_cut_off() {
        for changes in 1..=4 {
            let (dir, path, new) = make_database_to_replace();
            cut::fail_after(changes, || replace(&path, &new)).unwrap_err();
            if changes < 4 {
                assert!(!path.exists(), "never one with the log of another");
                files::replace(&new, b"the new database", PRIVATE_FILE).unwrap();
                replace(&path, &new).unwrap();
            }
            assert_eq!(names(&dir), ["db", "db.replaced", "db.replaced-shm", "db.replaced-wal"], "{changes}");
            assert_eq!(fs::read(&path).unwrap(), b"the new database");
            assert_eq!(fs::read(dir.path().join("db.replaced")).unwrap(), b"the old database");
            assert_eq!(fs::read(dir.path().join("db.replaced-wal")).unwrap(), b"its log");
        }
    }

    #[test]
    fn a_database_that_was_replaced_earlier_is_kept() {
        let (dir, path, new) = make_database_to_replace();
        for number in 1..=3_u8 {
            files::replace(&new, &[number], PRIVATE_FILE).unwrap();
            replace(&path, &new).unwrap();
        }
        let kept = ["db.replaced", "db.replaced-2", "db.replaced-3"]
            .map(|name| fs::read(dir.path().join(name)).unwrap());
        assert_eq!(kept, [b"the old database".to_vec(), vec![1], vec![2]]);
        assert_eq!(fs::read(&path).unwrap(), [3]);
        // A log without any database is no earlier one's.
        fs::remove_file(&path).unwrap();
        files::replace(&dir.path().join("db-wal"), b"another log", PRIVATE_FILE).unwrap();
        files::replace(&dir.path().join("db.replaced-3-wal"), b"its own log", PRIVATE_FILE).unwrap();
        files::replace(&new, &[4], PRIVATE_FILE).unwrap();
        replace(&path, &new).unwrap();
        assert_eq!(fs::read(dir.path().join("db.replaced-4-wal")).unwrap(), b"another log");
        assert_eq!(fs::read(dir.path().join("db.replaced-3-wal")).unwrap(), b"its own log");
        assert_eq!(Store::files(&Store::sqlite_url(&path)).len(), 8);
    }
}
