//! Reads what lies below a root: remembers what it could not read, and keeps what it read if a
//! capture is to be made of it.

use super::capture::Record;
use crate::{
    files::{FilesError, Within},
    identity::{Looked, Place, State, Unreadable},
};
use std::{
    cell::OnceCell,
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
};

/// The largest file of sysfs, device tree or VPD that is read, in bytes.
pub(super) const MAX_FIELD_BYTES: u64 = 4096;

/// The most entries of a folder that are looked at; a machine with more interfaces has its
/// identity in its firmware.
pub(super) const MAX_ENTRIES: usize = 1024;

/// One look at a machine.
pub(super) struct Reader<'a> {
    root: &'a Path,
    /// Everything is read below it; `None` if there is no such root.
    within: Option<Within>,
    /// Where the root really is, for links that lead out of it; looked up when the first one is met.
    real: OnceCell<PathBuf>,
    /// Folders that this machine has not: most machines lack most places, and each has many files.
    absent: Vec<PathBuf>,
    /// What this root is a capture of, if it is one.
    pub(super) captured: Option<Record>,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) looked: Vec<Looked>,
    /// Files and answers that the place brought which is being looked at.
    found: usize,
    /// What was read, by its path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Where links led, by their paths.
    pub(super) links: BTreeMap<String, String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(root: &'a Path, captured: Option<Record>) -> Self {
        Self {
            root,
            within: Within::open(root).ok(),
            real: OnceCell::new(),
            absent: Vec::new(),
            unreadable: captured.iter().flat_map(Record::flaws).cloned().collect(),
            captured,
            looked: Vec::new(),
            found: 0,
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    /// Looks at a place, and notes what became of it; `absent` is why there may be nothing.
    pub(super) fn look<T>(&mut self, place: Place, absent: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let troubles = self.unreadable.len();
        self.found = 0;
        let result = read(self);
        let mine = self.unreadable.get(troubles..).unwrap_or_default();
        self.looked.push(Looked::of(place, self.found, mine, absent));
        result
    }

    /// Counts an answer that is no file.
    pub(super) const fn found(&mut self, answers: usize) {
        self.found += answers;
    }

    /// Counts these answers alone, and not the files that they were looked for in.
    pub(super) const fn found_only(&mut self, answers: usize) {
        self.found = answers;
    }

    /// Notes what cannot be read or made sense of.
    pub(super) fn note(&mut self, from: &str, state: State, reason: &dyn ToString) {
        let reason = reason.to_string();
        self.unreadable.push(Unreadable { from: from.to_owned(), state, reason });
    }

    /// A whole file of at most `limit` bytes.
    pub(super) fn bytes(&mut self, path: &str, limit: u64) -> Option<Vec<u8>> {
        if let Some(noted) = self.captured.as_ref().and_then(|record| record.unreadable(path)) {
            self.unreadable.push(noted);
            return None;
        }
        if let Some(bytes) = self.files.get(path) {
            self.found += 1;
            return Some(bytes.clone());
        }
        let file = plain(path);
        if self.absent.iter().any(|folder| file.starts_with(folder)) {
            return None;
        }
        let within = self.within.as_ref()?;
        match within.read(&file, limit) {
            Ok(None) => {
                let above = file.ancestors().skip(1).filter(|folder| *folder != Path::new(""));
                self.absent.extend(above.take_while(|folder| !within.has(folder)).last().map(Path::to_owned));
                None
            }
            Ok(Some(bytes)) => {
                self.found += 1;
                self.files.insert(path.to_owned(), bytes.clone());
                Some(bytes)
            }
            Err(error) => {
                let state = match error {
                    FilesError::TooLarge { .. } | FilesError::Blocked { .. } => State::Invalid,
                    ref other => state_of(other.io()),
                };
                self.note(path, state, &reason_of(&error));
                None
            }
        }
    }

    /// A small file of text, without the white space around it.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        self.bytes(path, MAX_FIELD_BYTES).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Where a link leads, as a path below the root; `None` if it leads nowhere, or out of it.
    pub(super) fn link(&mut self, path: &str) -> Option<String> {
        let told = self.captured.as_ref().and_then(|record| record.links.get(path)).cloned();
        let target = told.or_else(|| {
            let link = self.root.join(plain(path));
            // Cheaper than to follow everything on the way to what is not there.
            link.symlink_metadata().ok()?;
            let root =
                self.real.get_or_init(|| self.root.canonicalize().unwrap_or_else(|_| self.root.to_owned()));
            Some(format!("/{}", link.canonicalize().ok()?.strip_prefix(root).ok()?.to_str()?))
        })?;
        self.links.insert(path.to_owned(), target.clone());
        Some(target)
    }

    /// The names in a folder, in order; none if there is no such folder.
    pub(super) fn names(&mut self, folder: &str) -> Vec<String> {
        match self.within.as_ref().map(|within| within.names(&plain(folder), MAX_ENTRIES)) {
            None => Vec::new(),
            Some(Ok(names)) => names,
            Some(Err(error)) => {
                self.note(folder, state_of(Some(&error)), &error);
                Vec::new()
            }
        }
    }
}

/// A path below the root: it is ours, or made of a name that the machine told, and such a name has one part.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

fn state_of(error: Option<&io::Error>) -> State {
    match error.map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => State::NotPermitted,
        _ => State::Failed,
    }
}

/// The operating system's words, or what is wrong with the file itself.
fn reason_of(error: &FilesError) -> String {
    match error {
        FilesError::TooLarge { limit, .. } => format!("it is larger than {limit} bytes"),
        FilesError::Blocked { why, .. } => (*why).to_owned(),
        other => other.io().map_or_else(|| other.to_string(), ToString::to_string),
    }
}
