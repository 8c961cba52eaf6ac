//! Backup files: the database's rows at one moment, and optionally the keys, in one private file of lines
//! that either database can restore.
//!
//! ```text
//! {"unbox_backup":1,"schema_version":13,"made_at":...,"keys":false}
//! {"file":"keys/device-ca.pem","mode":384,"contents":"<base64>"}        with keys only
//! {"table":"companies","columns":["id",...]}
//! [1,"Acme AG",null]
//! {"end":{"rows":1,"sha256":"<of all lines before>"}}
//! ```
//!
//! The format is Unbox's own, neither a copy of SQLite's file nor a dump by `pg_dump`. So a backup of one
//! database restores to the other, no installed program has to fit the database's version, and one test
//! covers both. The last line exposes a file that was cut off or changed before anything is restored.

use crate::{
    files::{self, FilesError, PRIVATE_DIRECTORY, PRIVATE_FILE, Staged},
    keys::Layout,
    store::{Dumped, Rows, Store, StoreError, newest_version},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, BufWriter, Write as _},
    path::{Component, Path, PathBuf},
};
use unbox_common::{
    bytes::{from_base64, to_base64},
    digest::{Hasher, Sha256},
    timestamp::Timestamp,
};

/// The version of the format.
const FORMAT: u32 = 1;
/// The longest line, in bytes: rows are far shorter.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;
/// The largest file of keys or settings, in bytes.
const MAX_KEY_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// The name of the settings file in a server's directory.
const SETTINGS: &str = "server.toml";

/// The reason why a backup could not be made or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file failed.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The backup could not be written.
    #[error("the backup could not be written")]
    Write(#[source] io::Error),
    /// The backup could not be read.
    #[error("the backup could not be read")]
    Read(#[source] io::Error),
    /// The file is not a backup, or damaged.
    #[error("line {line} of the file is not that of a backup: {problem}. Take another one")]
    Malformed {
        /// The line, from 1.
        line: u64,
        /// The reason.
        problem: String,
    },
    /// The end is missing, or its digest does not match.
    #[error("the backup is not whole: it was cut off or changed. Take another one")]
    NotWhole,
    /// A newer server made it.
    #[error(
        "the backup has schema version {found}, this server knows only {known}: install the newer server"
    )]
    TooNew {
        /// The backup's schema.
        found: i64,
        /// The server's schema.
        known: i64,
    },
    /// A file in it would be written outside of the server's directory.
    #[error("the backup holds a file {0:?} that does not belong into a server's directory")]
    Escapes(String),
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    unbox_backup: u32,
    /// The schema of the rows.
    pub schema_version: i64,
    /// The time of the backup.
    pub made_at: Timestamp,
    /// True if it includes settings and keys.
    pub keys: bool,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    rows: u64,
    sha256: Sha256,
}

/// A file of keys or settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeyFile {
    file: String,
    mode: u32,
    contents: String,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    End { end: End },
    File(KeyFile),
    Rows(Dumped),
}

/// The contents of a backup, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The first line.
    #[serde(flatten)]
    pub head: Head,
    /// Rows of all tables.
    pub rows: u64,
    /// Files of keys and settings.
    pub files: u64,
}

/// Writes a backup, mode 0600, of a database that may be in use.
///
/// # Errors
/// Any [`BackupError`]; there is no new file then.
pub async fn write(
    store: &Store,
    keys: Option<&Layout>,
    to: &Path,
    now: Timestamp,
    overwrite: bool,
) -> Result<Summary, BackupError> {
    let head =
        Head { unbox_backup: FORMAT, schema_version: newest_version(), made_at: now, keys: keys.is_some() };
    let mut lines = Lines::new(Staged::new(to, PRIVATE_FILE)?);
    lines.add(&head)?;
    let mut files = 0;
    for file in keys.map(key_files).transpose()?.into_iter().flatten() {
        lines.add(&file)?;
        files += 1;
    }
    let dumped = store.dump((lines, 0), |(lines, rows): &mut (Lines, u64), part| {
        *rows += u64::from(matches!(part, Dumped::Row(_)));
        lines.add(&part)
    });
    let (lines, rows) = dumped.await?;
    let staged = lines.end(rows)?;
    if overwrite {
        staged.replace()?;
    } else {
        staged.create()?;
    }
    Ok(Summary { head, rows, files })
}

/// Reads the files that a server needs beside its database, with their names below its directory.
fn key_files(layout: &Layout) -> Result<Vec<KeyFile>, BackupError> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut paths = vec![layout.settings()];
    for folder in [layout.keys(), layout.roots(), layout.trust()] {
        let failed = |source| FilesError::Read { path: folder.clone(), source };
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            paths.push(entry.map_err(failed)?.path());
        }
    }
    let is_hidden =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    // Hidden files are a lock, or were being written.
    paths.retain(|path| path.is_file() && !is_hidden(path));
    paths.sort();
    let mut found = Vec::with_capacity(paths.len());
    for path in paths {
        let failed = |source| FilesError::Read { path: path.clone(), source };
        let mode = path.metadata().map_err(failed)?.permissions().mode() & 0o777;
        let contents = files::read(&path, MAX_KEY_FILE_BYTES)?.unwrap_or_default();
        let name = path.strip_prefix(layout.dir()).unwrap_or(&path).to_string_lossy().into_owned();
        found.push(KeyFile { file: name, mode, contents: to_base64(&contents) });
    }
    Ok(found)
}

/// The lines of a backup during writing, and their digest.
struct Lines {
    to: BufWriter<Staged>,
    hasher: Hasher,
}

impl Lines {
    fn new(to: Staged) -> Self {
        Self { to: BufWriter::new(to), hasher: Hasher::new() }
    }

    fn add(&mut self, line: &impl Serialize) -> Result<(), BackupError> {
        let mut text = serde_json::to_vec(line).map_err(|error| BackupError::Write(error.into()))?;
        text.push(b'\n');
        self.hasher.update(&text);
        self.to.write_all(&text).map_err(BackupError::Write)
    }

    fn end(mut self, rows: u64) -> Result<Staged, BackupError> {
        let sha256 = std::mem::take(&mut self.hasher).finish();
        self.add(&Line::End { end: End { rows, sha256 } })?;
        self.to.into_inner().map_err(|error| BackupError::Write(error.into_error()))
    }
}

/// A backup file that was checked to be whole.
pub struct Backup {
    path: PathBuf,
    summary: Summary,
}

impl Backup {
    /// Reads all of a file to check it, without keeping it in memory.
    ///
    /// # Errors
    /// If it is not a whole backup that this server understands.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let mut parts = Parts::open(path)?;
        let head = parts.head.clone();
        let (mut rows, mut files) = (0, 0);
        while let Some(part) = parts.next_part()? {
            match part {
                Part::File(file) => {
                    check_name(&file.file)?;
                    files += 1;
                }
                Part::Rows(part) => rows += u64::from(matches!(part, Dumped::Row(_))),
            }
        }
        Ok(Self { path: path.to_owned(), summary: Summary { head, rows, files } })
    }

    /// Returns the counts of its contents.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Returns the settings file in it, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read any more.
    pub fn settings(&self) -> Result<Option<Vec<u8>>, BackupError> {
        let mut found = None;
        self.for_each_file(|name, contents, _| {
            if name == Path::new(SETTINGS) {
                found = Some(contents.to_owned());
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Lists the files in it that differ from those in this directory; missing ones are not listed.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn conflicts(&self, layout: &Layout) -> Result<Vec<PathBuf>, BackupError> {
        let mut found = Vec::new();
        self.for_each_file(|name, contents, _| {
            let path = layout.dir().join(name);
            if files::read(&path, MAX_KEY_FILE_BYTES)?.is_some_and(|here| here != contents) {
                found.push(path);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Puts the files in it into this directory.
    ///
    /// # Errors
    /// If one of them cannot be written; the ones before it are.
    pub fn restore_files(&self, layout: &Layout) -> Result<(), BackupError> {
        self.for_each_file(|name, contents, mode| {
            let path = layout.dir().join(name);
            if let Some(folder) = path.parent() {
                files::make_directory(folder, PRIVATE_DIRECTORY)?;
            }
            Ok(files::replace(&path, contents, mode)?)
        })
    }

    fn for_each_file(
        &self,
        mut each: impl FnMut(&Path, &[u8], u32) -> Result<(), BackupError>,
    ) -> Result<(), BackupError> {
        let mut parts = Parts::open(&self.path)?;
        while let Some(part) = parts.next_part()? {
            if let Part::File(file) = part {
                let wrong = |error: &dyn std::fmt::Display| parts.malformed(error);
                let contents = from_base64(&file.contents).map_err(|error| wrong(&error))?;
                each(check_name(&file.file)?, &contents, file.mode)?;
            }
        }
        Ok(())
    }

    /// Replaces the rows of a database by those of the backup.
    ///
    /// # Errors
    /// Any [`BackupError`]; the database is unchanged then.
    pub async fn restore_rows(&self, url: &str) -> Result<(), BackupError> {
        let parts = Parts::open(&self.path)?;
        Store::restore(url, self.summary.head.schema_version, parts).await
    }
}

/// Checks a name below a server's directory.
fn check_name(name: &str) -> Result<&Path, BackupError> {
    let path = Path::new(name);
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let known =
        name == SETTINGS || ["keys/", "roots/", "trust/"].iter().any(|folder| name.starts_with(folder));
    if plain && known { Ok(path) } else { Err(BackupError::Escapes(name.to_owned())) }
}

/// The parts of a backup, read one after another and checked at the end.
struct Parts {
    from: BufReader<File>,
    hasher: Hasher,
    head: Head,
    line: u64,
    rows: u64,
    ended: bool,
}

enum Part {
    File(KeyFile),
    Rows(Dumped),
}

impl Parts {
    fn open(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(BackupError::Read)?;
        let head = Head { unbox_backup: FORMAT, schema_version: 0, made_at: Timestamp(0), keys: false };
        let mut parts =
            Self { from: BufReader::new(file), hasher: Hasher::new(), head, line: 0, rows: 0, ended: false };
        let text = parts.next_line()?;
        parts.hasher.update(&text);
        parts.head = serde_json::from_slice(&text).map_err(|error| parts.malformed(&error))?;
        if parts.head.unbox_backup != FORMAT {
            return Err(parts.malformed(&"another version of the format"));
        }
        if parts.head.schema_version > newest_version() {
            return Err(BackupError::TooNew { found: parts.head.schema_version, known: newest_version() });
        }
        Ok(parts)
    }

    fn next_line(&mut self) -> Result<Vec<u8>, BackupError> {
        use std::io::Read as _;
        let mut text = Vec::new();
        self.line += 1;
        (&mut self.from).take(MAX_LINE_BYTES).read_until(b'\n', &mut text).map_err(BackupError::Read)?;
        if text.last() == Some(&b'\n') { Ok(text) } else { Err(BackupError::NotWhole) }
    }

    /// Reads the next part; `None` at an end that matches everything before it.
    fn next_part(&mut self) -> Result<Option<Part>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let text = self.next_line()?;
        let line = serde_json::from_slice(&text).map_err(|error| self.malformed(&error))?;
        let part = match line {
            Line::End { end } => {
                let sha256 = std::mem::take(&mut self.hasher).finish();
                let behind = self.from.fill_buf().map_err(BackupError::Read)?;
                if end != (End { rows: self.rows, sha256 }) || !behind.is_empty() {
                    return Err(BackupError::NotWhole);
                }
                self.ended = true;
                return Ok(None);
            }
            Line::File(file) => Part::File(file),
            Line::Rows(part) => {
                self.rows += u64::from(matches!(part, Dumped::Row(_)));
                Part::Rows(part)
            }
        };
        self.hasher.update(&text);
        Ok(Some(part))
    }

    fn malformed(&self, problem: &dyn std::fmt::Display) -> BackupError {
        BackupError::Malformed { line: self.line, problem: problem.to_string() }
    }
}

impl Rows for Parts {
    type Error = BackupError;

    fn next(&mut self) -> Result<Option<Dumped>, BackupError> {
        loop {
            match self.next_part()? {
                Some(Part::Rows(part)) => return Ok(Some(part)),
                Some(Part::File(_)) => {}
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_a_backup_stays_below_the_server_s_directory() {
        for name in ["server.toml", "keys/device-ca.pem", "roots/1.json", "trust/anchors.pem"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "/etc/passwd", "keys/../../x", "../server.toml", "unbox.db", "artifacts/x", "keys"] {
            assert!(matches!(check_name(name), Err(BackupError::Escapes(_))), "{name}");
        }
    }
}
