//! The only place that writes files: complete, durable and with their permissions, or not at all.
//!
//! The functions here take plain paths and are for the agent's own files. Files in directories that
//! others can write to go through [`Root`], which never follows a link out of its tree; files captured by
//! a stranger are read through [`Within`].

mod entry;
mod json;
mod root;
mod tree;
mod within;

pub use entry::{Attributes, Entry, Faults, NoFaults, Operation, Owner, Status};
pub use json::{read_json, to_json, to_json_lines, write_json};
pub use root::Root;
pub use tree::{NewTree, clear as clear_tree, remove as remove_tree};
pub use within::Within;

use crate::failure::{Diagnose, diagnose_storage};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, openat},
    sys::stat::{Mode, futimens},
    sys::time::TimeSpec,
};
use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read},
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};
use unbox_common::{path::UnsafePath, refusal::Disposition};

/// Permissions of a file that only its owner can read.
pub const PRIVATE_FILE: u32 = 0o600;
/// Permissions of a file that everybody can read.
pub const PUBLIC_FILE: u32 = 0o644;
/// Permissions of a directory that only its owner can enter.
pub const PRIVATE_DIRECTORY: u32 = 0o700;
/// Permissions of a directory that everybody can list.
pub const PUBLIC_DIRECTORY: u32 = 0o755;

/// The extension of a damaged document that was replaced.
pub const DAMAGED: &str = ".damaged";
/// The extension of a newer agent's document that was discarded.
pub const NEWER: &str = ".newer";

/// A file that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file could not be read or examined.
    #[error("{} could not be read", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// A file could not be written, or not durably.
    #[error("{} could not be written", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// A file is too large for its kind.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The largest size, in bytes.
        limit: u64,
    },
    /// An obstacle on the path cannot be passed safely.
    #[error("{} cannot be reached: {why}", path.display())]
    Blocked {
        /// The file.
        path: PathBuf,
        /// The obstacle.
        why: &'static str,
    },
    /// Links on the path lead into a tree that payloads must leave alone.
    #[error("{} leads to a place that a payload must not touch", path.display())]
    Forbidden {
        /// The path as requested.
        path: PathBuf,
        /// The rule that the link's target violates.
        #[source]
        source: UnsafePath,
    },
}

impl FilesError {
    /// Returns true if the name exists, but not as a readable document: it is a directory, a link, a FIFO,
    /// too large, or not readable by this user.
    #[must_use]
    pub fn is_not_a_document(&self) -> bool {
        match self {
            Self::Blocked { .. } | Self::TooLarge { .. } => true,
            Self::Read { source, .. } => {
                let of = |errno: Errno| source.raw_os_error() == Some(errno as i32);
                [Errno::ELOOP, Errno::EACCES, Errno::EISDIR, Errno::ENXIO].into_iter().any(of)
            }
            Self::Write { .. } | Self::Forbidden { .. } => false,
        }
    }

    /// Returns the operating system's error, if it is one.
    #[must_use]
    pub fn io(&self) -> Option<&io::Error> {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => Some(source),
            Self::TooLarge { .. } | Self::Blocked { .. } | Self::Forbidden { .. } => None,
        }
    }
}

impl Diagnose for FilesError {
    fn kind(&self) -> &'static str {
        diagnose_storage(self.io()).0
    }

    fn disposition(&self) -> Disposition {
        Disposition::WaitForAdministrator
    }

    fn advice(&self) -> &'static str {
        diagnose_storage(self.io()).1
    }
}

/// Writes a file, replacing whatever exists: readers see the old file or the new one.
///
/// There must be no two concurrent writers of one path.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<(), FilesError> {
    let entry = Entry::from_path(path)?;
    entry.make_way()?;
    entry.write(Attributes::with_mode(mode), |file| io::Write::write_all(file, contents))
}

/// Makes a directory and its missing parents. An existing one keeps its permissions.
pub fn make_directory(path: &Path, mode: u32) -> Result<(), FilesError> {
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|source| FilesError::Write { path: path.to_owned(), source })
}

/// Moves whatever is in the place of one of the agent's own directories aside, and returns whether there was
/// anything. A directory and a link to one stay.
pub fn free_directory(path: &Path) -> Result<bool, FilesError> {
    if path.is_dir() || path.symlink_metadata().is_err() {
        return Ok(false);
    }
    let aside = set_aside(path, DAMAGED)?;
    tracing::error!(moved_to = %aside.display(), "something else was in the place of a directory");
    Ok(true)
}

/// Opens a directory from which others are reached; links on the path are followed.
fn open_directory(path: &Path) -> Result<OwnedFd, FilesError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, path, flags, Mode::empty())
        .map_err(|errno| FilesError::Read { path: path.to_owned(), source: errno.into() })
}

/// Reads a whole file of at most `limit` bytes; `None` if it does not exist.
///
/// Only regular files are read, and a link in the last component is not followed.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FilesError> {
    let failed = |source| FilesError::Read { path: path.to_owned(), source };
    // Without O_NONBLOCK, a FIFO in place of the file would block the agent indefinitely.
    let opened =
        OpenOptions::new().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).open(path);
    match opened {
        Ok(file) => read_all(file, path, limit).map(Some),
        // In the place of a directory above it may be something else ([`free_directory`]).
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
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

/// Removes whatever has this name; succeeds if nothing does.
pub fn discard(path: &Path) -> Result<(), FilesError> {
    Entry::from_path(path)?.discard()
}

/// Renames a file by appending this extension, replacing any file with the new name. Returns the new
/// path.
pub fn set_aside(path: &Path, ending: &str) -> Result<PathBuf, FilesError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    let aside = path.with_file_name(name);
    let entry = Entry::from_path(&aside)?;
    entry.discard()?;
    entry.replace_with(path.file_name().unwrap_or_default())?;
    Ok(aside)
}

/// Removes a file durably; succeeds if it does not exist.
pub fn remove(path: &Path) -> Result<(), FilesError> {
    Entry::from_path(path)?.remove()
}

/// Checks that a place that a person chose for a file is free, or holds a regular file. A directory, a device
/// or a link there is somebody's, and must not be replaced.
///
/// # Errors
/// [`FilesError::Blocked`] if it holds anything else.
pub fn check_place(path: &Path) -> Result<(), FilesError> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => Err(FilesError::Blocked {
            path: path.to_owned(),
            why: "it exists and is not a regular file; name another",
        }),
        _ => Ok(()),
    }
}

/// Opens a file to append to, such as an artifact during its download, and returns its length.
///
/// Anything in its place that is not a file is moved away. Appended bytes are durable only after
/// [`publish`].
pub fn open_growing(path: &Path, mode: u32) -> Result<(File, u64), FilesError> {
    let open = || {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(mode)
            // Without O_NONBLOCK, a FIFO in place of the file would block the agent indefinitely.
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(path)?;
        let metadata = file.metadata()?;
        let is_file = metadata.is_file();
        is_file.then_some((file, metadata.len())).ok_or_else(|| io::Error::from(Errno::EISDIR))
    };
    let failed = |source: io::Error| FilesError::Write { path: path.to_owned(), source };
    match open() {
        Err(error)
            if [Errno::ELOOP, Errno::EISDIR, Errno::ENXIO]
                .iter()
                .any(|errno| error.raw_os_error() == Some(*errno as i32)) =>
        {
            discard(path)?;
            open().map_err(failed)
        }
        opened => opened.map_err(failed),
    }
}

/// An exclusive lock among processes, held until dropped.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Takes the lock on a file, which is made if needed; `None` if another process holds it.
    pub fn take(path: &Path) -> Result<Option<Self>, FilesError> {
        let (file, _) = open_growing(path, PRIVATE_FILE)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(FilesError::Write { path: path.to_owned(), source }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would leave the lock with a child that is about to be started. If unlocking
        // fails, the lock ends with the process.
        let _ = self.0.unlock();
    }
}

/// Gives a complete file its final name, durably. Both names are in one directory.
pub fn publish(growing: &Path, path: &Path) -> Result<(), FilesError> {
    let failed = |source| FilesError::Write { path: growing.to_owned(), source };
    File::open(growing).and_then(|file| file.sync_all()).map_err(failed)?;
    let to = Entry::from_path(path)?;
    to.make_way()?;
    let from = growing.file_name().unwrap_or_default();
    to.replace_with(from)
}

/// Sets the time of a file's last change to now; one that is gone stays gone.
pub fn touch(path: &Path) -> Result<(), FilesError> {
    let touched = OpenOptions::new()
        .write(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)
        .and_then(|file| Ok(futimens(&file, &TimeSpec::UTIME_NOW, &TimeSpec::UTIME_NOW)?));
    match touched {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        touched => touched.map_err(|source| FilesError::Write { path: path.to_owned(), source }),
    }
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
    fn a_place_that_holds_anything_but_a_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, free] = ["file", "link", "free"].map(|name| directory.path().join(name));
        replace(&file, b"own", PUBLIC_FILE).unwrap();
        symlink(&file, &link).unwrap();
        for (place, is_good) in [
            (file.as_path(), true),
            (&free, true),
            (&link, false),
            (directory.path(), false),
            (Path::new("/dev/null"), false),
        ] {
            assert_eq!(check_place(place).is_ok(), is_good, "{}", place.display());
        }
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        replace(&path, b"old", PUBLIC_FILE).unwrap();
        let failed = Entry::from_path(&path).unwrap().write(Attributes::with_mode(PUBLIC_FILE), |file| {
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
    fn nothing_that_others_put_in_the_way_of_a_name_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let put = |kind: &str, path: &Path| match kind {
            "empty directory" => std::fs::create_dir(path).unwrap(),
            "directory" => std::fs::create_dir_all(path.join("below/it")).unwrap(),
            "FIFO" => nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap(),
            "link" => symlink("/etc/hostname", path).unwrap(),
            "dangling link" => symlink("/nowhere", path).unwrap(),
            _ => drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
        };
        for kind in ["empty directory", "directory", "FIFO", "link", "dangling link", "socket"] {
            let path = at("grant.json");
            put(kind, &path);
            assert!(read(&path, 9).unwrap_err().is_not_a_document(), "{kind}");
            discard(&path).unwrap();
            assert!(path.symlink_metadata().is_err(), "{kind}");
            // Also in place of the staging name of a new file.
            let staged = at(Entry::from_path(&path).unwrap().staged_name().to_str().unwrap());
            for way in [&path, &staged] {
                put(kind, way);
                replace(&path, b"new", PRIVATE_FILE).unwrap_or_else(|error| panic!("{kind}: {error:?}"));
                assert_eq!(read(&path, 9).unwrap().unwrap(), b"new", "{kind}");
                discard(&path).unwrap();
            }
            put(kind, &path);
            let (file, length) = open_growing(&path, PRIVATE_FILE).unwrap();
            assert!(file.metadata().unwrap().is_file() && length == 0, "{kind}");
            put(kind, &at("grant.json.damaged"));
            let aside = set_aside(&path, DAMAGED).unwrap();
            assert!(aside.is_file() && path.symlink_metadata().is_err(), "{kind}");
            std::fs::remove_file(aside).unwrap();
        }
        discard(&at("nothing")).unwrap();
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
