//! dpkg's own settings: files that every run of dpkg reads first. They belong to the administrator of the
//! device, and a line in them changes what every later package does, or blocks dpkg altogether.

use super::dpkg::Dpkg;
use crate::files::{self, Entry, FilesError};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// The directory that dpkg reads them from, and the file (dpkg.cfg(5)).
const DIRECTORY: &str = "etc/dpkg/dpkg.cfg.d";
const FILE: &str = "etc/dpkg/dpkg.cfg";
/// The largest file of a snapshot, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Files at one moment; no content for anything but a regular file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snapshot(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Snapshot {
    pub(super) fn of(paths: Vec<PathBuf>) -> Result<Self, FilesError> {
        let mut files = BTreeMap::new();
        for path in paths.into_iter().filter(|path| path.symlink_metadata().is_ok()) {
            let content = match files::read(&path, MAX_FILE_BYTES) {
                Err(error) if !error.is_not_a_document() => return Err(error),
                content => content.ok().flatten(),
            };
            files.insert(path, content);
        }
        Ok(Self(files))
    }

    /// Restores the files, and removes those of `paths` that are new. Returns whether anything had changed.
    pub(super) fn restore(&self, paths: Vec<PathBuf>) -> Result<bool, FilesError> {
        let now = Self::of(paths)?;
        if now == *self {
            return Ok(false);
        }
        for path in now.0.keys().filter(|path| !self.0.contains_key(*path)) {
            Entry::from_path(path)?.discard()?;
        }
        for (path, content) in &self.0 {
            if let Some(content) = content.as_ref().filter(|_| now.0.get(path) != Some(content)) {
                if let Some(parent) = path.parent() {
                    files::make_directory(parent, files::PUBLIC_DIRECTORY)?;
                }
                files::replace(path, content, files::PUBLIC_FILE)?;
            }
        }
        Ok(true)
    }
}

/// dpkg's settings at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settings(Snapshot);

impl Settings {
    pub(super) fn read(dpkg: &Dpkg) -> Result<Self, FilesError> {
        Ok(Self(Snapshot::of(paths(dpkg)?)?))
    }

    /// Restores them. Returns whether anything had changed.
    pub(super) fn restore(&self, dpkg: &Dpkg) -> Result<bool, FilesError> {
        self.0.restore(paths(dpkg)?)
    }
}

fn paths(dpkg: &Dpkg) -> Result<Vec<PathBuf>, FilesError> {
    let directory = dpkg.path(DIRECTORY);
    let mut paths = vec![dpkg.path(FILE)];
    match directory.read_dir() {
        Ok(entries) => paths.extend(entries.flatten().map(|entry| entry.path())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (),
        Err(source) => return Err(FilesError::Read { path: directory, source }),
    }
    Ok(paths)
}

/// Returns the file of dpkg's settings that dpkg, by this complaint, could not read.
pub(super) fn unreadable_file(complaint: &str) -> Option<PathBuf> {
    let rest = complaint.strip_prefix("dpkg: error: configuration error: ")?;
    let path = Path::new(rest.split(':').next()?);
    let top = Path::new("/");
    (path == top.join(FILE) || path.parent() == Some(&top.join(DIRECTORY))).then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_put_back_as_they_were() {
        let root = tempfile::tempdir().unwrap();
        let dpkg = Dpkg::with_root(root.path().to_owned());
        let none = Settings::read(&dpkg).unwrap();
        assert!(!none.restore(&dpkg).unwrap());
        let (file, other) = (dpkg.path(FILE), dpkg.path(DIRECTORY).join("other"));
        files::make_directory(&dpkg.path(DIRECTORY), files::PUBLIC_DIRECTORY).unwrap();
        files::replace(&file, b"no-debsig\n", files::PUBLIC_FILE).unwrap();
        let before = Settings::read(&dpkg).unwrap();
        files::replace(&file, b"nonsense\n", files::PUBLIC_FILE).unwrap();
        files::replace(&other, b"path-exclude=/usr/*\n", files::PUBLIC_FILE).unwrap();
        assert!(before.restore(&dpkg).unwrap());
        assert_eq!(files::read(&file, 100).unwrap().unwrap(), b"no-debsig\n");
        assert!(!other.exists() && !before.restore(&dpkg).unwrap());
        assert!(none.restore(&dpkg).unwrap() && !file.exists());
    }

    #[test]
    fn settings_that_dpkg_cannot_read_are_found_by_its_own_words() {
        let says = |path: &str| format!("dpkg: error: configuration error: {path}:1: unknown option 'x'");
        for path in ["/etc/dpkg/dpkg.cfg", "/etc/dpkg/dpkg.cfg.d/tool"] {
            assert_eq!(unreadable_file(&says(path)), Some(PathBuf::from(path)));
        }
        assert_eq!(unreadable_file(&says("/etc/passwd")), None);
        assert_eq!(unreadable_file(&says("/etc/dpkg/dpkg.cfg.d/../../passwd")), None);
        assert_eq!(unreadable_file(&format!("tool: {}", says("/etc/dpkg/dpkg.cfg"))), None);
    }
}
