//! The one place that writes files: whole, durable and with the right permissions, or not at all.
//!
//! Files that root writes get the owner of their directory: an administrator's command leaves nothing
//! behind that the server, which does not run as root, could not read.

use nix::sys::statvfs::statvfs;
use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek as _, SeekFrom, Write},
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown, fchown,
    },
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::{NamedTempFile, SpooledTempFile};

/// Permissions of a file that only its owner can read.
pub const PRIVATE_FILE: u32 = 0o600;
/// Permissions of a file that everybody can read.
pub const PUBLIC_FILE: u32 = 0o644;
/// Permissions of a directory that only its owner can enter.
pub const PRIVATE_DIRECTORY: u32 = 0o700;
/// Permissions of a directory that everybody can list.
pub const PUBLIC_DIRECTORY: u32 = 0o755;

/// The start of the name of a file during writing.
const STAGED_PREFIX: &str = ".new-";
/// The permission bits that open a file to anyone other than its owner.
const OTHERS: u32 = 0o077;

/// The reason why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The file exists already; it is never replaced.
    #[error("{0} exists already, and is left as it is")]
    Exists(PathBuf),
    /// The file could not be written, or not durably.
    #[error("{} could not be written", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file could not be read.
    #[error("{} could not be read", path.display())]
    Read {
        /// The file that could not be read.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file may not be read by the user who runs the program.
    #[error(
        "{} cannot be read by this user: run the command as the user that the server runs as, or as root",
        path.display()
    )]
    Denied {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another program, or another request, is writing it.
    #[error("{0} is being written by somebody else")]
    InUse(PathBuf),
    /// The file was begun in another directory: that of another server, or of a disk that is not mounted.
    #[error("{} is not in this directory", _0.display())]
    Elsewhere(PathBuf),
    /// The file is larger than any of its kind.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file that is too large.
        path: PathBuf,
        /// The largest size, in bytes.
        limit: u64,
    },
}

/// A file during writing, under a name that no reader looks for. It is removed when dropped.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    path: PathBuf,
    mode: u32,
}

impl Staged {
    /// Makes an empty file that will become `path`.
    pub fn new(path: &Path, mode: u32) -> Result<Self, FilesError> {
        let file = tempfile::Builder::new()
            .prefix(STAGED_PREFIX)
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(directory_of(path))
            .map_err(write_error(path))?;
        Ok(Self { file, path: path.to_owned(), mode })
    }

    /// Moves the file to its path, replacing a file that may be there: readers see the old one or the
    /// new one.
    pub fn replace(self) -> Result<(), FilesError> {
        let path = self.path.clone();
        self.into_finished_file()?.persist(&path).map_err(|error| write_error(&path)(error.error))?;
        sync_directory(&path)
    }

    /// Moves the file to its path, where nothing may exist yet.
    pub fn create(self) -> Result<(), FilesError> {
        let path = self.path.clone();
        self.into_finished_file()?.persist_noclobber(&path).map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => FilesError::Exists(path.clone()),
            _ => write_error(&path)(error.error),
        })?;
        sync_directory(&path)
    }

    fn write_contents(mut self, contents: &mut impl Read) -> Result<Self, FilesError> {
        io::copy(contents, &mut self.file).map_err(write_error(&self.path))?;
        Ok(self)
    }

    /// Returns the file with its contents on disk.
    fn into_finished_file(self) -> Result<NamedTempFile, FilesError> {
        finish(self.file.as_file(), &self.path, self.mode)?;
        Ok(self.file)
    }
}

/// Gives a file its permissions and its owner, and syncs it to disk.
fn finish(file: &File, path: &Path, mode: u32) -> Result<(), FilesError> {
    // The umask may have removed permissions that a public file needs.
    file.set_permissions(Permissions::from_mode(mode))
        .and_then(|()| match intended_owner(path)? {
            Some((user, group)) => fchown(file, Some(user), Some(group)),
            None => Ok(()),
        })
        .and_then(|()| file.sync_all())
        .map_err(write_error(path))
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that is written in several sessions, and published once it is whole. While it is open, nobody
/// else can open it this way.
#[derive(Debug)]
pub struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    /// Opens or makes the file, to continue after its first `at` bytes: the rest is cut off. Returns the
    /// length that it really has, which is less if some bytes were lost.
    ///
    /// # Errors
    /// [`FilesError::InUse`] if it is open elsewhere; [`FilesError::Elsewhere`] if it was begun, but not in
    /// this directory.
    pub fn open(path: &Path, at: u64, mode: u32) -> Result<(Self, u64), FilesError> {
        let is_new = !path.exists();
        if is_new && at > 0 {
            return Err(FilesError::Elsewhere(path.to_owned()));
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(write_error(path))?;
        try_lock(&file, path)?;
        // Published in the meantime, it is an artifact in use.
        if !is_at(&file, path).map_err(write_error(path))? {
            return Err(FilesError::InUse(path.to_owned()));
        }
        let mut part = Self { file, path: path.to_owned() };
        if is_new {
            finish(&part.file, path, mode)?;
            sync_directory(path)?;
        }
        let length = part.file.metadata().map_err(write_error(path))?.len().min(at);
        part.cut(length)?;
        Ok((part, length))
    }

    /// Cuts the file off at this length; writing continues there.
    pub fn cut(&mut self, length: u64) -> Result<(), FilesError> {
        let seek = |mut file: &File| file.seek(SeekFrom::Start(length));
        self.file.set_len(length).and_then(|()| seek(&self.file)).map_err(write_error(&self.path))?;
        Ok(())
    }

    /// Waits until everything that was written is on disk.
    pub fn sync(&self) -> Result<(), FilesError> {
        self.file.sync_all().map_err(write_error(&self.path))
    }

    /// Returns a reader of the file, from its start.
    pub fn contents(&mut self) -> Result<impl Read + '_, FilesError> {
        self.file.rewind().map_err(write_error(&self.path))?;
        Ok(&self.file)
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// An exclusive right among processes: held until it is dropped, or until the process ends, in whatever
/// way.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, in an empty file that stays behind.
    ///
    /// # Errors
    /// [`FilesError::InUse`] if another process holds it.
    pub fn take(path: &Path) -> Result<Self, FilesError> {
        loop {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(PRIVATE_FILE)
                .open(path)
                .map_err(write_error(path))?;
            try_lock(&file, path)?;
            if is_at(&file, path).map_err(write_error(path))? {
                give_to_owner(path).map_err(write_error(path))?;
                return Ok(Self { _file: file });
            }
        }
    }
}

/// Returns true if the open file is still the one of this name: it may have been removed or renamed between its
/// opening and its locking.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match path.metadata() {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn try_lock(file: &File, path: &Path) -> Result<(), FilesError> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => FilesError::InUse(path.to_owned()),
        TryLockError::Error(source) => write_error(path)(source),
    })
}

/// Gives a whole file its final name, durably. Repeating it is harmless.
pub fn publish(part: &Path, path: &Path) -> Result<(), FilesError> {
    #[expect(clippy::disallowed_methods, reason = "this is the module that writes files")]
    match std::fs::rename(part, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.exists() => Ok(()),
        Err(error) => Err(write_error(path)(error)),
        Ok(()) => sync_directory(path),
    }
}

/// Removes the files that writers left in a directory when they were cut off. Those of writers that may still
/// be at work are younger than `age`.
pub fn remove_abandoned(directory: &Path, age: Duration) -> Result<(), FilesError> {
    let names = list_older_than(directory, age)?;
    names
        .iter()
        .filter(|name| name.starts_with(STAGED_PREFIX))
        .try_for_each(|name| remove(&directory.join(name)))
}

/// Lists a directory's files that were last written at least this long ago; none if there is no such
/// directory.
pub fn list_older_than(directory: &Path, age: Duration) -> Result<Vec<String>, FilesError> {
    let failed = |source| read_error(directory)(source);
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        let is_old = written.is_ok_and(|written| written.elapsed().is_ok_and(|since| since >= age));
        names.extend(entry.file_name().into_string().ok().filter(|_| is_old));
    }
    Ok(names)
}

/// Writes a file that must not exist yet.
///
/// # Errors
/// [`FilesError::Exists`] if it does; then nothing has changed.
pub fn write_new(path: &Path, contents: &[u8], mode: u32) -> Result<(), FilesError> {
    Staged::new(path, mode)?.write_contents(&mut &*contents)?.create()
}

/// Writes a file, in place of the one that may be there.
pub fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<(), FilesError> {
    Staged::new(path, mode)?.write_contents(&mut &*contents)?.replace()
}

/// Makes an empty file without a name, on the disk of this directory: it never leaves anything behind.
pub fn unnamed_file(directory: &Path) -> Result<File, FilesError> {
    tempfile::tempfile_in(directory).map_err(write_error(directory))
}

/// Makes a nameless file that stays in memory until it has more than this many bytes.
#[must_use]
pub fn spooled_file(directory: &Path, memory_bytes: usize) -> SpooledTempFile {
    tempfile::spooled_tempfile_in(memory_bytes, directory)
}

/// Appends to a file, durably; it is made if it does not exist.
pub fn append(path: &Path, contents: &[u8], mode: u32) -> Result<(), FilesError> {
    let mut file =
        OpenOptions::new().append(true).create(true).mode(mode).open(path).map_err(write_error(path))?;
    file.write_all(contents).and_then(|()| file.sync_all()).map_err(write_error(path))?;
    sync_directory(path)
}

/// Returns the free bytes on the disk of this directory, for users other than root.
pub fn free_bytes(directory: &Path) -> io::Result<u64> {
    let disk = statvfs(directory)?;
    // The types of both differ between platforms.
    let free = u128::from(disk.blocks_available()) * u128::from(disk.fragment_size());
    Ok(u64::try_from(free).unwrap_or(u64::MAX))
}

/// Removes a file, durably; a missing one is not an error.
pub fn remove(path: &Path) -> Result<(), FilesError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(write_error(path)(error)),
        Ok(()) => sync_directory(path),
    }
}

/// Makes a directory and its missing parents. An existing one keeps its permissions.
pub fn make_directory(path: &Path, mode: u32) -> Result<(), FilesError> {
    let missing = path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    let missing: Vec<&Path> = missing.collect();
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(write_error(path))?;
    missing.into_iter().rev().try_for_each(|made| give_to_owner(made).map_err(write_error(made)))
}

/// Gives a file that root has made to the owner of its directory.
fn give_to_owner(path: &Path) -> io::Result<()> {
    match intended_owner(path)? {
        Some((user, group)) => chown(path, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// Returns the owner of a file that root writes at this path; `None` for other users.
fn intended_owner(path: &Path) -> io::Result<Option<(u32, u32)>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let directory = directory_of(path).metadata()?;
    Ok(Some((directory.uid(), directory.gid())))
}

/// Returns the permissions of a file that anyone other than its owner may use; `None` if nobody else may, or
/// if there is no such file.
pub fn mode_open_to_others(path: &Path) -> Result<Option<u32>, FilesError> {
    match path.metadata() {
        Ok(file) => Ok(Some(file.permissions().mode() & 0o7777).filter(|mode| mode & OTHERS != 0)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(read_error(path)(error)),
    }
}

/// Reads a whole file of at most `limit` bytes; `None` if there is none.
pub fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FilesError> {
    let failed = |source| read_error(path)(source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut contents = Vec::new();
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut contents).map_err(failed)?;
    if u64::try_from(read).is_ok_and(|read| read <= limit) {
        Ok(Some(contents))
    } else {
        Err(FilesError::TooLarge { path: path.to_owned(), limit })
    }
}

/// Ends every change of a directory.
fn sync_directory(path: &Path) -> Result<(), FilesError> {
    #[cfg(test)]
    cut::fail_if_cut().map_err(write_error(path))?;
    File::open(directory_of(path)).and_then(|directory| directory.sync_all()).map_err(write_error(path))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> FilesError + use<> {
    let path = path.to_owned();
    |source| FilesError::Write { path, source }
}

/// Returns the error for a file or a directory that could not be read.
pub(crate) fn read_error(path: &Path) -> impl FnOnce(io::Error) -> FilesError + use<> {
    let path = path.to_owned();
    |source| match source.kind() {
        io::ErrorKind::PermissionDenied => FilesError::Denied { path, source },
        _ => FilesError::Read { path, source },
    }
}

/// Cuts commands off between their changes, as a power cut does.
#[cfg(test)]
pub(crate) mod cut {
    use std::{cell::Cell, io};

    thread_local!(static LEFT: Cell<Option<u32>> = const { Cell::new(None) });

    /// Runs `command`, which makes this many changes of files and fails.
    pub(crate) fn fail_after<T>(changes: u32, command: impl FnOnce() -> T) -> T {
        LEFT.set(Some(changes));
        let result = command();
        LEFT.set(None);
        result
    }

    pub(super) fn fail_if_cut() -> io::Result<()> {
        match LEFT.get() {
            Some(1) => Err(io::Error::other("cut off")),
            left => {
                LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_file_is_whole_private_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_new(&path, b"first", PRIVATE_FILE).unwrap();
        assert!(matches!(write_new(&path, b"second", PRIVATE_FILE), Err(FilesError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no staged file stays behind");
    }

    #[test]
    fn a_replaced_file_has_the_permissions_that_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trust");
        replace(&path, b"first", PRIVATE_FILE).unwrap();
        replace(&path, b"second", PUBLIC_FILE).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"second".to_vec(), 0o644));
    }

    #[test]
    fn a_part_goes_on_where_it_was_left_and_is_one_writers_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (path, whole) = (dir.path().join("part"), dir.path().join("whole"));
        let (mut part, at) = Part::open(&path, 0, PUBLIC_FILE).unwrap();
        assert_eq!((at, mode(&path)), (0, 0o644));
        part.write_all(b"12345").unwrap();
        assert!(matches!(Part::open(&path, 5, PUBLIC_FILE), Err(FilesError::InUse(_))));
        drop(part);
        let elsewhere = dir.path().join("elsewhere");
        assert!(matches!(Part::open(&elsewhere, 5, PUBLIC_FILE), Err(FilesError::Elsewhere(_))));
        assert!(!elsewhere.exists(), "an empty file would look like the beginning");
        let (mut part, at) = Part::open(&path, 3, PUBLIC_FILE).unwrap();
        assert_eq!(at, 3);
        part.write_all(b"xyz").unwrap();
        let mut read = String::new();
        part.contents().unwrap().read_to_string(&mut read).unwrap();
        assert_eq!(read, "123xyz");
        for _ in 0..2 {
            publish(&path, &whole).unwrap();
        }
        assert_eq!((fs::read(&whole).unwrap().as_slice(), path.exists()), (b"123xyz".as_slice(), false));
        assert!(publish(&path, &dir.path().join("other")).is_err());
        for _ in 0..2 {
            remove(&whole).unwrap();
        }
        remove(&dir.path().join("no/such/directory")).unwrap();
    }

    #[test]
    fn a_lock_is_one_holders_alone_also_after_its_file_was_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap();
        assert!(matches!(Lock::take(&path), Err(FilesError::InUse(_))));
        assert_eq!(mode(&path), 0o600);
        remove(&path).unwrap();
        let second = Lock::take(&path).unwrap();
        drop(first);
        assert!(matches!(Lock::take(&path), Err(FilesError::InUse(_))));
        drop(second);
        Lock::take(&path).unwrap();
    }

    #[test]
    fn only_old_files_are_found() {
        let dir = tempfile::tempdir().unwrap();
        replace(&dir.path().join("new"), b"", PUBLIC_FILE).unwrap();
        assert_eq!(list_older_than(dir.path(), Duration::from_hours(1)).unwrap(), Vec::<String>::new());
        assert_eq!(list_older_than(dir.path(), Duration::ZERO).unwrap(), ["new"]);
        assert_eq!(list_older_than(&dir.path().join("none"), Duration::ZERO).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn only_what_a_writer_left_behind_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let [left, staged, file] = [".new-left", ".new-staged", "file"].map(|name| dir.path().join(name));
        for path in [&left, &staged, &file] {
            replace(path, b"", PRIVATE_FILE).unwrap();
        }
        let age = Duration::from_mins(1);
        for path in [&left, &file] {
            let written = path.metadata().unwrap().modified().unwrap() - 2 * age;
            File::options().write(true).open(path).unwrap().set_modified(written).unwrap();
        }
        remove_abandoned(dir.path(), age).unwrap();
        assert!(!left.exists() && staged.exists() && file.exists());
        remove_abandoned(&dir.path().join("none"), age).unwrap();
    }

    #[test]
    fn a_user_who_may_not_read_a_file_is_told_who_may() {
        let told = read_error(Path::new("key"))(io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(told.contains("as root"), "{told}");
        let told = read_error(Path::new("key"))(io::ErrorKind::IsADirectory.into()).to_string();
        assert!(!told.contains("as root"), "{told}");
    }

    #[test]
    fn reading_stops_at_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert_eq!(read(&path, 4).unwrap(), None);
        replace(&path, b"1234", PUBLIC_FILE).unwrap();
        assert_eq!(read(&path, 4).unwrap().unwrap(), b"1234");
        assert!(matches!(read(&path, 3), Err(FilesError::TooLarge { limit: 3, .. })));
    }
}
