//! Reads files below a root: records failures, and keeps what it read in case a capture is to be made.

use super::capture::Record;
use crate::{
    files::{FilesError, Within},
    identity::{Place, PlaceResult, State, Unreadable},
};
use std::{
    cell::OnceCell,
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
};

/// The largest file of sysfs, device tree or VPD that is read, in bytes.
pub(super) const MAX_FIELD_BYTES: u64 = 4096;

/// The most entries of a folder that are read; a machine with more interfaces has an identity in its
/// firmware.
pub(super) const MAX_ENTRIES: usize = 1024;

/// The reader of one machine.
pub(super) struct Reader<'a> {
    root: &'a Path,
    /// The directory below which everything is read; `None` if the root does not exist.
    within: Option<Within>,
    /// The real path of the root, for links that lead out of it; resolved at the first such link.
    real: OnceCell<PathBuf>,
    /// Folders that this machine lacks: most machines lack most places, and each place has many files.
    absent: Vec<PathBuf>,
    /// The record, if this root is a captured machine.
    pub(super) captured: Option<Record>,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) looked: Vec<PlaceResult>,
    /// The number of files and answers found in the current place.
    found: usize,
    /// The files read, by path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// The targets of links, by path.
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

    /// Reads a place, and records the result; `absent` is the reason to give if nothing is found.
    pub(super) fn examine<T>(&mut self, place: Place, absent: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let troubles = self.unreadable.len();
        self.found = 0;
        let result = read(self);
        let mine = self.unreadable.get(troubles..).unwrap_or_default();
        self.looked.push(PlaceResult::new(place, self.found, mine, absent));
        result
    }

    /// Counts answers that are not files.
    pub(super) const fn count_found(&mut self, answers: usize) {
        self.found += answers;
    }

    /// Counts these answers alone, and not the files that were searched for them.
    pub(super) const fn set_found(&mut self, answers: usize) {
        self.found = answers;
    }

    /// Records a failure to read or parse something.
    pub(super) fn record_failure(&mut self, from: &str, state: State, reason: &dyn ToString) {
        let reason = reason.to_string();
        self.unreadable.push(Unreadable { from: from.to_owned(), state, reason });
    }

    /// Reads a whole file of at most `limit` bytes.
    pub(super) fn bytes(&mut self, path: &str, limit: u64) -> Option<Vec<u8>> {
        if let Some(noted) = self.captured.as_ref().and_then(|record| record.failure_at(path)) {
            self.unreadable.push(noted);
            return None;
        }
        if let Some(bytes) = self.files.get(path) {
            self.found += 1;
            return Some(bytes.clone());
        }
        let file = relative_path(path);
        if self.absent.iter().any(|folder| file.starts_with(folder)) {
            return None;
        }
        let within = self.within.as_ref()?;
        match within.read(&file, limit) {
            Ok(None) => {
                let above = file.ancestors().skip(1).filter(|folder| *folder != Path::new(""));
                self.absent
                    .extend(above.take_while(|folder| !within.exists(folder)).last().map(Path::to_owned));
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
                    ref other => error_state(other.io()),
                };
                self.record_failure(path, state, &error_reason(&error));
                None
            }
        }
    }

    /// Reads a small text file, without surrounding white space.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        self.bytes(path, MAX_FIELD_BYTES).map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Returns the target of a link, as a path below the root; `None` if it dangles, or leads out of the
    /// root.
    pub(super) fn link(&mut self, path: &str) -> Option<String> {
        let told = self.captured.as_ref().and_then(|record| record.links.get(path)).cloned();
        let target = told.or_else(|| {
            let link = self.root.join(relative_path(path));
            // Cheaper than resolving the whole path of a missing link.
            link.symlink_metadata().ok()?;
            let root =
                self.real.get_or_init(|| self.root.canonicalize().unwrap_or_else(|_| self.root.to_owned()));
            Some(format!("/{}", link.canonicalize().ok()?.strip_prefix(root).ok()?.to_str()?))
        })?;
        self.links.insert(path.to_owned(), target.clone());
        Some(target)
    }

    /// Returns the names in a folder, sorted; none if the folder does not exist.
    pub(super) fn names(&mut self, folder: &str) -> Vec<String> {
        match self.within.as_ref().map(|within| within.names(&relative_path(folder), MAX_ENTRIES)) {
            None => Vec::new(),
            Some(Ok(names)) => names,
            Some(Err(error)) => {
                self.record_failure(folder, error_state(Some(&error)), &error);
                Vec::new()
            }
        }
    }
}

/// Makes a path relative to the root. It is a constant, or built from a name reported by the machine,
/// which is a single component.
fn relative_path(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

fn error_state(error: Option<&io::Error>) -> State {
    match error.map(io::Error::kind) {
        Some(io::ErrorKind::PermissionDenied) => State::NotPermitted,
        _ => State::Failed,
    }
}

/// Returns the operating system's message, or the fault of the file itself.
fn error_reason(error: &FilesError) -> String {
    match error {
        FilesError::TooLarge { limit, .. } => format!("it is larger than {limit} bytes"),
        FilesError::Blocked { why, .. } => (*why).to_owned(),
        other => other.io().map_or_else(|| other.to_string(), ToString::to_string),
    }
}
