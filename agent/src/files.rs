//! The one place that writes files: whole, durable, with their permissions, or not at all.
//!
//! The functions here take plain paths and are for the agent's own files. What lies in
//! directories that others can write into goes through [`Root`], which never follows a link
//! out of the tree that it was given; what a stranger captured is read through [`Within`].

mod entry;
mod root;
mod tree;
mod within;

pub use entry::{Attributes, Entry, Faults, NoFaults, Operation, Owner, Status};
pub use root::Root;
pub use tree::{NewTree, clear as clear_tree, remove as remove_tree};
pub use within::Within;

use nix::{
    fcntl::{AT_FDCWD, OFlag, openat},
    sys::stat::Mode,
};
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};
use unbox_common::path::UnsafePath;

/// Permissions of a file that only its owner reads.
pub const PRIVATE_FILE: u32 = 0o600;
/// Permissions of a file that everybody may read.
pub const PUBLIC_FILE: u32 = 0o644;
/// Permissions of a directory that only its owner enters.
pub const PRIVATE_DIRECTORY: u32 = 0o700;
/// Permissions of a directory that everybody may look into.
pub const PUBLIC_DIRECTORY: u32 = 0o755;

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It could not be read, or not be looked at.
    #[error("{} could not be read", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It could not be written, or not durably.
    #[error("{} could not be written", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is larger than any file of its kind.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size, in bytes.
        limit: u64,
    },
    /// What is in the way to it cannot be passed safely.
    #[error("{} cannot be reached: {why}", path.display())]
    Blocked {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        why: &'static str,
    },
    /// Links on the way lead into a tree that a payload must leave alone.
    #[error("{} leads to a place that a payload must not touch", path.display())]
    Forbidden {
        /// The path as it was asked for.
        path: PathBuf,
        /// Where it leads.
        #[source]
        source: UnsafePath,
    },
}

impl FilesError {
    /// The operating system's error, if it is one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::TooLarge { .. } | Self::Blocked { .. } | Self::Forbidden { .. } => None,
        }
    }
}

/// Writes a file, in place of the one that may be there: readers see the old one or the new one.
///
/// Two writers of the same path must not run at the same time.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<(), FilesError> {
    Entry::of(path)?.write(Attributes::of_mode(mode), |file| io::Write::write_all(file, contents))
}

/// Makes a directory and its missing parents. One that exists keeps its permissions.
pub fn make_directory(path: &Path, mode: u32) -> Result<(), FilesError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| FilesError::Write { path: path.to_owned(), source })
}

/// Opens a directory that others are reached through; links on the way are followed.
fn open_directory(path: &Path) -> Result<OwnedFd, FilesError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, path, flags, Mode::empty())
        .map_err(|errno| FilesError::Read { path: path.to_owned(), source: errno.into() })
}

/// Reads a whole file of at most `limit` bytes; `None` if there is none.
///
/// Only regular files are read, and a link in the last place is not followed.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FilesError> {
    let failed = |source| FilesError::Read { path: path.to_owned(), source };
    // Without O_NONBLOCK, a FIFO in place of the file would hold the agent for ever.
    let opened =
        OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path);
    match opened {
        Ok(file) => read_all(file, path, limit).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

fn read_all(file: File, path: &Path, limit: u64) -> Result<Vec<u8>, FilesError> {
    let failed = |source| FilesError::Read { path: path.to_owned(), source };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(FilesError::Blocked { path: path.to_owned(), why: "it is not a regular file" });
    }
    let mut contents = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut contents).map_err(failed)?;
    if u64::try_from(read).is_ok_and(|read| read <= limit) {
        Ok(contents)
    } else {
        Err(FilesError::TooLarge { path: path.to_owned(), limit })
    }
}

/// Removes a file durably; fine if there is none.
pub fn remove(path: &Path) -> Result<(), FilesError> {
    Entry::of(path)?.remove()
}

/// Opens a file that grows, such as an artifact while it is fetched, and says how long it is.
///
/// What is appended is durable only after [`publish`].
pub fn open_growing(path: &Path, mode: u32) -> Result<(File, u64), FilesError> {
    let open = || {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(mode)
            // Without O_NONBLOCK, a FIFO in place of the file would hold the agent for ever.
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(path)?;
        let length = file.metadata()?.len();
        Ok((file, length))
    };
    open().map_err(|source| FilesError::Write { path: path.to_owned(), source })
}

/// Gives a file that is complete its final name, durably. Both names are in one directory.
pub fn publish(growing: &Path, path: &Path) -> Result<(), FilesError> {
    let failed = |source| FilesError::Write { path: growing.to_owned(), source };
    File::open(growing).and_then(|file| file.sync_all()).map_err(failed)?;
    let to = Entry::of(path)?;
    let from = growing.file_name().unwrap_or_default();
    to.take(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::fs::PermissionsExt as _, os::unix::fs::symlink};

    #[test]
    fn a_replaced_file_has_its_mode_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.json");
        replace(&path, b"one", PRIVATE_FILE).unwrap();
        replace(&path, b"two", PRIVATE_FILE).unwrap();
        assert_eq!(read(&path, 3).unwrap().unwrap(), b"two");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(read(&path, 3).unwrap(), None);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace(&path, b"old", PUBLIC_FILE).unwrap();
        let failed = Entry::of(&path).unwrap().write(Attributes::of_mode(PUBLIC_FILE), |file| {
            io::Write::write_all(file, b"half")?;
            Err(io::Error::other("no more"))
        });
        assert!(matches!(failed, Err(FilesError::Write { .. })));
        assert_eq!(read(&path, 10).unwrap().unwrap(), b"old");
        assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn reading_is_bounded_and_follows_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace(&path, b"12345", PUBLIC_FILE).unwrap();
        assert!(matches!(read(&path, 4), Err(FilesError::TooLarge { limit: 4, .. })));
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(matches!(read(&link, 9), Err(FilesError::Read { .. })));
        let fifo = directory.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert!(matches!(read(&fifo, 9), Err(FilesError::Blocked { .. })));
    }

    #[test]
    fn a_growing_file_is_published_under_its_final_name() {
        let directory = tempfile::tempdir().unwrap();
        let (growing, path) = (directory.path().join("a.part"), directory.path().join("a"));
        for (expected, bytes) in [(0, b"12"), (2, b"34")] {
            let (mut file, length) = open_growing(&growing, PUBLIC_FILE).unwrap();
            assert_eq!(length, expected);
            io::Write::write_all(&mut file, bytes).unwrap();
        }
        publish(&growing, &path).unwrap();
        assert_eq!(read(&path, 4).unwrap().unwrap(), b"1234");
        assert!(!growing.exists());
    }
}
