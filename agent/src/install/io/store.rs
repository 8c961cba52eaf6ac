//! The stage's own directory: its lock, its record, its journal, its blobs, and the room reserved for
//! rollback.

use super::contents::Contents;
use crate::{
    files::{self, Lock, Root},
    install::{
        ArtifactDir, InstallError,
        journal::{Entry, Journal, MAX_JOURNAL_BYTES, line},
        record::Record,
    },
};
use std::path::{Path, PathBuf};

pub(super) const DIRECTORY: &str = "install";
const BLOBS: &str = "blobs";
pub(super) const RECORD: &str = "installed.json";
pub(super) const COPY: &str = "installed.copy.json";
pub(super) const JOURNAL: &str = "journal.jsonl";
const RESERVE: &str = "reserve";
const LOCK: &str = "lock";
/// The largest record that is read, in bytes.
pub(super) const MAX_RECORD_BYTES: u64 = 64 * 1024 * 1024;

/// The stage's directory, held by this process alone.
pub(crate) struct Store {
    root: Root,
    _lock: Lock,
}

impl Store {
    /// Opens the directory, making it if needed, and locks it.
    pub(crate) fn open(device: &Root, state_dir: &Path) -> Result<Self, InstallError> {
        let directory = state_dir.join(DIRECTORY);
        for own in [&directory, &directory.join(BLOBS)] {
            files::free_directory(own).map_err(InstallError::Store)?;
            files::make_directory(own, files::PRIVATE_DIRECTORY).map_err(InstallError::Store)?;
        }
        let root = device.open_other(&directory).map_err(InstallError::Store)?;
        let lock = Lock::take(&directory.join(LOCK)).map_err(InstallError::Store)?;
        Ok(Self { root, _lock: lock.ok_or(InstallError::Busy)? })
    }

    /// Returns the blobs' path as seen from inside the device.
    pub(crate) fn blobs_on(&self, device: &Root) -> PathBuf {
        let blobs = self.root.path().join(BLOBS);
        match blobs.strip_prefix(device.path()) {
            Ok(below) => Path::new("/").join(below),
            Err(_) => blobs,
        }
    }

    pub(crate) fn contents(&self, artifacts: Option<&ArtifactDir>) -> Result<Contents, InstallError> {
        let blobs = self.root.open_other(&self.root.path().join(BLOBS)).map_err(InstallError::Store)?;
        Ok(Contents::new(blobs, artifacts.cloned()))
    }

    pub(crate) fn path(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn record(&self) -> Result<Option<Record>, InstallError> {
        let document = self.root.name(RECORD).read(MAX_RECORD_BYTES).map_err(InstallError::Store)?;
        document.map(|document| Record::parse(&document).map_err(InstallError::Record)).transpose()
    }

    /// Replaces the record; `None` if nothing is installed.
    pub(crate) fn set_record(&self, record: Option<&Record>) -> Result<(), InstallError> {
        let (entry, copy) = (self.root.name(RECORD), self.root.name(COPY));
        let Some(record) = record else {
            return entry.remove().and_then(|()| copy.remove()).map_err(InstallError::Store);
        };
        let document = line(record).map_err(InstallError::Serialise)?;
        for entry in [copy, entry] {
            let written = entry.write(files::Attributes::with_mode(files::PRIVATE_FILE), |file| {
                std::io::Write::write_all(file, &document)
            });
            written.map_err(InstallError::Store)?;
        }
        Ok(())
    }

    /// Returns the journal of an unfinished transaction, after cutting off a torn last line.
    pub(crate) fn journal(&self) -> Result<Option<Journal>, InstallError> {
        let entry = self.root.name(JOURNAL);
        let Some(bytes) = entry.read(MAX_JOURNAL_BYTES).map_err(InstallError::Store)? else {
            return Ok(None);
        };
        let journal = Journal::parse(&bytes).map_err(InstallError::Journal)?;
        if journal.durable_bytes < bytes.len() {
            entry.truncate(journal.durable_bytes as u64).map_err(InstallError::Store)?;
        }
        Ok(Some(journal))
    }

    /// Writes the first line of a journal.
    pub(crate) fn begin(&self, head: &[u8]) -> Result<(), InstallError> {
        self.root
            .name(JOURNAL)
            .write(files::Attributes::with_mode(files::PRIVATE_FILE), |file| {
                std::io::Write::write_all(file, head)
            })
            .map_err(InstallError::Store)
    }

    pub(crate) fn append(&self, entry: &Entry) -> Result<(), InstallError> {
        let entry = line(entry).map_err(InstallError::Serialise)?;
        self.root.name(JOURNAL).append(&entry).map_err(InstallError::Store)
    }

    pub(crate) fn end(&self) -> Result<(), InstallError> {
        self.root.name(JOURNAL).remove().map_err(InstallError::Store)
    }

    /// Reserves room for the rollback, in case the disk is full by then.
    pub(crate) fn set_aside(&self, bytes: u64) -> Result<(), InstallError> {
        self.root.name(RESERVE).set_aside(bytes).map_err(InstallError::Store)
    }

    /// Releases the reserved room.
    pub(crate) fn release(&self) -> Result<(), InstallError> {
        self.root.name(RESERVE).discard().map_err(InstallError::Store)
    }
}

/// Reads the record without taking the lock.
pub(crate) fn read_record(state_dir: &Path) -> Result<Option<Record>, InstallError> {
    let path = state_dir.join(DIRECTORY).join(RECORD);
    let document = files::read(&path, MAX_RECORD_BYTES).map_err(InstallError::Store)?;
    document.map(|document| Record::parse(&document).map_err(InstallError::Record)).transpose()
}
