//! Repairs the stage's own records after a disk or a person damaged them.
//!
//! `installed.json` has a copy beside it, because it alone records the state before the first payload. A
//! document of a newer agent is not damaged, and is left alone.

use super::{
    contents::Contents,
    store::{COPY, DIRECTORY, JOURNAL, MAX_RECORD_BYTES, RECORD},
};
use crate::{
    files::{self, FilesError},
    install::{
        InstallError, State, States,
        journal::{Journal, MAX_JOURNAL_BYTES},
        record::{Record, UnusableDocument},
    },
};
use std::{
    io,
    path::{Path, PathBuf},
};

/// A record that is lost; its damaged file was moved aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostRecord {
    /// `installed.json`, and its copy.
    Installed,
    /// `journal.jsonl`.
    Journal,
}

impl LostRecord {
    /// Returns its name, as the beginning of a sentence.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Installed => "The record of what is installed",
            Self::Journal => "The journal of an installation",
        }
    }

    /// Returns the consequence of the loss, as a sentence.
    #[must_use]
    pub const fn consequence(self) -> &'static str {
        match self {
            Self::Installed => {
                "What is on this device now counts as what was there before: a reset will not take it away."
            }
            Self::Journal => {
                "What it had begun is done anew, and cannot be taken back to what was before it."
            }
        }
    }
}

/// The content of a document's file.
enum Found {
    Absent,
    Usable(Vec<u8>),
    Damaged,
    Newer,
}

/// Repairs the records of the stage as far as possible. Returns those that are lost.
///
/// # Errors
/// [`InstallError`] if a file could not be read or written.
pub fn repair(state_dir: &Path) -> Result<Vec<LostRecord>, InstallError> {
    let directory = state_dir.join(DIRECTORY);
    let at = |name| directory.join(name);
    if files::free_directory(&directory).map_err(InstallError::Store)? {
        return Ok(vec![LostRecord::Installed]);
    }
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let mut lost = Vec::new();
    let journal = look(&at(JOURNAL), MAX_JOURNAL_BYTES, |bytes| Journal::parse(bytes).map(drop))?;
    if matches!(journal, Found::Damaged) {
        set_aside(&at(JOURNAL))?;
        lost.push(LostRecord::Journal);
    }
    let is_under_way = matches!(journal, Found::Usable(_) | Found::Newer);
    let record = |name| look(&at(name), MAX_RECORD_BYTES, |bytes| Record::parse(bytes).map(drop));
    match (record(RECORD)?, record(COPY)?) {
        (Found::Damaged, Found::Usable(copy)) => write(&at(RECORD), &copy)?,
        // A removal in progress deletes the record before its copy; without a journal, it was lost.
        (Found::Absent, Found::Usable(copy)) if !is_under_way => write(&at(RECORD), &copy)?,
        (Found::Usable(record), Found::Damaged | Found::Absent) => write(&at(COPY), &record)?,
        (Found::Damaged, _) => {
            set_aside(&at(RECORD))?;
            lost.push(LostRecord::Installed);
        }
        _ => {}
    }
    Ok(lost)
}

/// Finds documents written by a newer agent.
///
/// # Errors
/// [`InstallError`] if a file could not be read.
pub fn newer_records(state_dir: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let directory = state_dir.join(DIRECTORY);
    let mut newer = Vec::new();
    for name in [JOURNAL, RECORD, COPY] {
        let path = directory.join(name);
        let parse = |bytes: &[u8]| match name {
            JOURNAL => Journal::parse(bytes).map(drop),
            _ => Record::parse(bytes).map(drop),
        };
        if matches!(look(&path, MAX_RECORD_BYTES, parse)?, Found::Newer) {
            newer.push(path);
        }
    }
    Ok(newer)
}

/// Drops resources whose baseline cannot be restored, because its copy is lost: they stay as they are.
pub(crate) fn drop_lost_resources(observed: &mut States, record: Option<&Record>, contents: &Contents) {
    let Some(record) = record else { return };
    let is_lost = |state: &State| match state {
        State::File { digest, .. } | State::Installed { deb: Some(digest), .. } => {
            contents.open_any(*digest).and_then(|mut blob| io::copy(&mut blob, &mut io::sink())).is_err()
        }
        _ => false,
    };
    observed.retain(|resource, _| {
        let lost = record.baseline.get(resource).is_some_and(is_lost);
        if lost {
            tracing::error!(%resource, "what was there before is lost, so it stays as it is");
        }
        !lost
    });
}

fn look(
    path: &Path,
    limit: u64,
    parse: impl FnOnce(&[u8]) -> Result<(), UnusableDocument>,
) -> Result<Found, InstallError> {
    let bytes = match files::read(path, limit) {
        Ok(None) => return Ok(Found::Absent),
        Ok(Some(bytes)) => bytes,
        Err(error) if error.is_not_a_document() => return Ok(Found::Damaged),
        Err(FilesError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(Found::Absent);
        }
        Err(error) => return Err(InstallError::Store(error)),
    };
    Ok(match parse(&bytes) {
        Ok(()) => Found::Usable(bytes),
        Err(UnusableDocument::TooNew(_)) => Found::Newer,
        Err(UnusableDocument::Unreadable(_) | UnusableDocument::Incomplete) => Found::Damaged,
    })
}

fn set_aside(path: &Path) -> Result<(), InstallError> {
    let aside = files::set_aside(path, files::DAMAGED).map_err(InstallError::Store)?;
    tracing::error!(moved_to = %aside.display(), "a record of the installation was damaged");
    Ok(())
}

fn write(path: &Path, document: &[u8]) -> Result<(), InstallError> {
    files::replace(path, document, files::PRIVATE_FILE).map_err(InstallError::Store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const RECORDED: &[u8] =
        b"{\"format\":1,\"generation\":1,\"version\":50,\"configuration\":\"1\",\"dpc\":null,\
        \"unit\":null,\"health\":{\"type\":\"none\"},\"extras\":null,\"target\":[],\"baseline\":[]}\n";

    #[test]
    fn a_record_is_repaired_from_its_copy_and_lost_only_with_it() {
        Record::parse(RECORDED).unwrap();
        let state = tempfile::tempdir().unwrap();
        assert_eq!(repair(state.path()).unwrap(), []);
        let at = |name: &str| state.path().join(DIRECTORY).join(name);
        fs::create_dir(state.path().join(DIRECTORY)).unwrap();
        let half = &RECORDED[..RECORDED.len() / 2];
        for damage in [Some(&b""[..]), Some(&[0; 300]), Some(half), None] {
            let damaged = |name: &str| match damage {
                Some(bytes) => write(&at(name), bytes).unwrap(),
                None => files::discard(&at(name)).unwrap(),
            };
            for (name, other) in [(RECORD, COPY), (COPY, RECORD)] {
                write(&at(other), RECORDED).unwrap();
                damaged(name);
                assert_eq!(repair(state.path()).unwrap(), []);
                assert_eq!(fs::read(at(name)).unwrap(), RECORDED, "{name}");
            }
            damaged(RECORD);
            damaged(COPY);
            let lost: &[_] = if damage.is_some() { &[LostRecord::Installed] } else { &[] };
            assert_eq!(repair(state.path()).unwrap(), lost);
            assert_eq!(repair(state.path()).unwrap(), [], "once");
        }
    }

    #[test]
    fn a_damaged_journal_is_put_aside_and_a_newer_document_is_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let at = |name: &str| state.path().join(DIRECTORY).join(name);
        fs::create_dir(state.path().join(DIRECTORY)).unwrap();
        for damage in [&b""[..], &[0; 300], b"{\"format\":1,\"plan\":{\"st"] {
            write(&at(JOURNAL), damage).unwrap();
            assert_eq!(repair(state.path()).unwrap(), [LostRecord::Journal]);
            assert_eq!(fs::read(at("journal.jsonl.damaged")).unwrap(), damage);
            assert!(!at(JOURNAL).exists());
        }
        let newer = b"{\"format\":9}\n";
        for name in [RECORD, JOURNAL] {
            write(&at(name), newer).unwrap();
            assert_eq!(repair(state.path()).unwrap(), []);
            assert_eq!(fs::read(at(name)).unwrap(), newer);
        }
        assert_eq!(newer_records(state.path()).unwrap(), [at(JOURNAL), at(RECORD)]);
    }
}
