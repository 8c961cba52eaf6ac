//! One name in one open directory, and every change to it: durable and atomic.

use super::{FilesError, open_directory};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, posix_fallocate, readlinkat, renameat},
    sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, symlinkat, unlinkat},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};
use unbox_common::digest::Sha256;

/// The owner of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The attributes of a file or directory, apart from name and contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, at most `0o7777`.
    pub mode: u32,
    /// The owner; the user of the agent if absent.
    pub owner: Option<Owner>,
}

/// The kind of object under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing.
    Absent,
    /// A regular file of this size in bytes.
    File(Attributes, u64),
    /// A directory.
    Directory(Attributes),
    /// A symbolic link.
    Symlink,
    /// A device, a FIFO or a socket.
    Special,
}

/// A change on disk, after which a power cut must leave either the old state or the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Creates a file, under a staging name.
    Create,
    /// Flushes a file's contents and attributes to the disk.
    Sync,
    /// Gives the file its name.
    Rename,
    /// Creates a symbolic link.
    Symlink,
    /// Creates a directory.
    MakeDirectory,
    /// Changes permissions or owner.
    Attributes,
    /// Removes a name.
    Remove,
    /// Appends bytes to a file.
    Append,
    /// Flushes the names in a directory to the disk.
    SyncDirectory,
}

/// A hook before every [`Operation`], by which tests cut the power or fill the disk.
pub trait Faults: Send + Sync {
    /// Decides whether the operation takes place.
    ///
    /// # Errors
    /// The error that the operation fails with.
    fn check(&self, operation: Operation) -> io::Result<()>;
}

/// A hook that lets every operation take place.
#[derive(Debug, Clone, Copy)]
pub struct NoFaults;

impl Faults for NoFaults {
    fn check(&self, _operation: Operation) -> io::Result<()> {
        Ok(())
    }
}

/// A name in a directory that is held open, so that no later change of the path can redirect it.
pub struct Entry {
    directory: Arc<OwnedFd>,
    name: OsString,
    path: PathBuf,
    faults: Arc<dyn Faults>,
}

impl Attributes {
    /// Returns attributes with these permissions, owned by the agent's user.
    #[must_use]
    pub const fn with_mode(mode: u32) -> Self {
        Self { mode, owner: None }
    }
}

impl Entry {
    /// Opens the directory of a plain path; links on the path are followed, one in the last component is
    /// not.
    pub fn from_path(path: &Path) -> Result<Self, FilesError> {
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let name = path
            .file_name()
            .ok_or_else(|| FilesError::Blocked { path: path.to_owned(), why: "it does not end in a name" })?;
        let directory = open_directory(parent)?;
        Ok(Self::new(Arc::new(directory), name.to_owned(), path.to_owned(), Arc::new(NoFaults)))
    }

    pub(super) const fn new(
        directory: Arc<OwnedFd>,
        name: OsString,
        path: PathBuf,
        faults: Arc<dyn Faults>,
    ) -> Self {
        Self { directory, name, path, faults }
    }

    /// Returns the path, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the kind of object that exists now.
    pub fn status(&self) -> Result<Status, FilesError> {
        match self.stat(&self.name) {
            Ok(stat) => Ok(to_status(&stat)),
            Err(Errno::ENOENT) => Ok(Status::Absent),
            Err(errno) => Err(self.read_error(errno.into())),
        }
    }

    /// Returns the target of the symbolic link.
    pub fn link_target(&self) -> Result<OsString, FilesError> {
        readlinkat(&*self.directory, self.name.as_os_str()).map_err(|errno| self.read_error(errno.into()))
    }

    /// Opens the regular file for reading; `None` if it does not exist.
    pub fn open(&self) -> Result<Option<File>, FilesError> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match openat(&*self.directory, self.name.as_os_str(), flags, Mode::empty()) {
            Ok(fd) => {
                let file = File::from(fd);
                match file.metadata() {
                    Ok(metadata) if metadata.is_file() => Ok(Some(file)),
                    Ok(_) => Err(self.blocked_error("it is not a regular file")),
                    Err(source) => Err(self.read_error(source)),
                }
            }
            Err(Errno::ENOENT) => Ok(None),
            Err(Errno::ELOOP) => Err(self.blocked_error("it is a symbolic link")),
            Err(errno) => Err(self.read_error(errno.into())),
        }
    }

    /// Reads the whole file of at most `limit` bytes; `None` if it does not exist.
    pub fn read(&self, limit: u64) -> Result<Option<Vec<u8>>, FilesError> {
        self.open()?.map(|file| super::read_all(file, &self.path, limit)).transpose()
    }

    /// Writes the file atomically, replacing an existing file or link.
    ///
    /// `contents` writes the bytes; if it fails, nothing has changed.
    pub fn write(
        &self,
        attributes: Attributes,
        contents: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), FilesError> {
        self.clear()?;
        let new_name = self.staged_name();
        let write = || {
            self.faults.check(Operation::Create)?;
            let flags =
                OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let owner_only = Mode::S_IRUSR | Mode::S_IWUSR;
            let mut file = File::from(openat(&*self.directory, new_name.as_os_str(), flags, owner_only)?);
            contents(&mut file)?;
            set_attributes(&file, attributes)?;
            self.faults.check(Operation::Sync)?;
            file.sync_all()
        };
        self.publish_staged(write(), &new_name)
    }

    /// Appends bytes to the file, durably. If that fails, the file keeps its length.
    pub fn append(&self, bytes: &[u8]) -> Result<(), FilesError> {
        let append = || {
            self.faults.check(Operation::Append)?;
            let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let mut file = File::from(openat(&*self.directory, self.name.as_os_str(), flags, Mode::empty())?);
            let length = file.metadata()?.len();
            let appended = file.write_all(bytes).and_then(|()| file.sync_data());
            if appended.is_err() {
                file.set_len(length)?;
            }
            appended
        };
        append().map_err(|source| self.write_error(source))
    }

    /// Makes the name of a new file durable.
    pub fn keep_name(&self) -> Result<(), FilesError> {
        self.sync_directory().map_err(|source| self.write_error(source))
    }

    /// Truncates the file to `length` bytes, durably.
    pub fn truncate(&self, length: u64) -> Result<(), FilesError> {
        let cut = || {
            self.faults.check(Operation::Append)?;
            let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let file = File::from(openat(&*self.directory, self.name.as_os_str(), flags, Mode::empty())?);
            file.set_len(length)?;
            file.sync_data()
        };
        cut().map_err(|source| self.write_error(source))
    }

    /// Makes a file that only reserves room on the disk.
    pub fn set_aside(&self, bytes: u64) -> Result<(), FilesError> {
        self.write(Attributes::with_mode(super::PRIVATE_FILE), |file| {
            let bytes = i64::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
            posix_fallocate(&*file, 0, bytes.max(1)).map_err(io::Error::from)
        })
    }

    /// Makes a symbolic link atomically, replacing an existing file or link.
    pub fn make_symlink(&self, target: &OsStr) -> Result<(), FilesError> {
        self.clear()?;
        let staged = self.staged_name();
        let link = || {
            self.faults.check(Operation::Symlink)?;
            symlinkat(target, &*self.directory, staged.as_os_str()).map_err(io::Error::from)
        };
        self.publish_staged(link(), &staged)
    }

    /// Renames the file `from` of the same directory to this name.
    pub(super) fn replace_with(&self, from: &OsStr) -> Result<(), FilesError> {
        self.rename_from(from).map_err(|source| self.write_error(source))
    }

    /// Makes the directory, or sets the attributes of an existing one.
    pub fn make_directory(&self, attributes: Attributes) -> Result<(), FilesError> {
        let make = || {
            self.faults.check(Operation::MakeDirectory)?;
            match mkdirat(&*self.directory, self.name.as_os_str(), Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => (),
                Err(errno) => return Err(errno.into()),
            }
            self.faults.check(Operation::Attributes)?;
            let made = self.open_directory()?;
            set_attributes(&made, attributes)?;
            fsync(&made)?;
            self.sync_directory()
        };
        make().map_err(|source| self.write_error(source))
    }

    /// Removes the object, durably: a file, a link or an empty directory.
    ///
    /// A directory into which somebody else put or mounted something stays; that is not an error.
    pub fn remove(&self) -> Result<(), FilesError> {
        self.clear()?;
        let flag = match self.status()? {
            Status::Absent => return Ok(()),
            Status::Directory(_) => UnlinkatFlags::RemoveDir,
            Status::File(..) | Status::Symlink | Status::Special => UnlinkatFlags::NoRemoveDir,
        };
        let remove = || {
            self.faults.check(Operation::Remove)?;
            match unlinkat(&*self.directory, self.name.as_os_str(), flag) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EBUSY) => self.sync_directory(),
                Err(errno) => Err(errno.into()),
            }
        };
        remove().map_err(|source| self.write_error(source))
    }

    /// Removes the staging file that an interrupted write left behind.
    pub fn clear(&self) -> Result<(), FilesError> {
        self.remove_or_rename(&self.staged_name())
    }

    /// Removes whatever has this name. A directory that is not empty is renamed instead, so that its size
    /// does not matter.
    pub fn discard(&self) -> Result<(), FilesError> {
        self.clear()?;
        self.remove_or_rename(&self.name)
    }

    /// Discards the object, unless a file can replace it.
    pub(super) fn make_way(&self) -> Result<(), FilesError> {
        match self.status()? {
            Status::Directory(_) => self.discard(),
            Status::Absent | Status::File(..) | Status::Symlink | Status::Special => Ok(()),
        }
    }

    fn remove_or_rename(&self, name: &OsStr) -> Result<(), FilesError> {
        if self.stat(name).is_err() {
            return Ok(());
        }
        let remove = |flag| unlinkat(&*self.directory, name, flag);
        let remove_or_rename = || {
            self.faults.check(Operation::Remove)?;
            match remove(UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::EISDIR) => match remove(UnlinkatFlags::RemoveDir) {
                    Ok(()) | Err(Errno::ENOENT) => {}
                    Err(_) => drop(self.rename_to_a_free_name(name)?),
                },
                Err(errno) => return Err(errno.into()),
            }
            self.sync_directory()
        };
        remove_or_rename().map_err(|source| self.write_error(source))
    }

    /// Renames to an unguessable name, so that the owner of the directory cannot take it beforehand.
    fn rename_to_a_free_name(&self, name: &OsStr) -> io::Result<String> {
        let unguessable = RandomState::new().build_hasher().finish();
        let free = format!(".unbox-discarded-{unguessable:016x}");
        renameat(&*self.directory, name, &*self.directory, free.as_str())?;
        Ok(free)
    }

    /// Renames whatever has this name, and returns its new path.
    pub fn put_aside(&self) -> Result<PathBuf, FilesError> {
        let put = || {
            self.faults.check(Operation::Rename)?;
            let free = self.rename_to_a_free_name(&self.name)?;
            self.sync_directory()?;
            Ok(self.path.with_file_name(free))
        };
        put().map_err(|source| self.write_error(source))
    }

    /// Renames the staged file, or removes it if staging failed.
    fn publish_staged(&self, staging: io::Result<()>, staged: &OsStr) -> Result<(), FilesError> {
        let result = staging.and_then(|()| self.rename_from(staged));
        result.map_err(|source| {
            if self.faults.check(Operation::Remove).is_ok() {
                // The first failure is the one to report; the next write clears the leftovers.
                let _ = unlinkat(&*self.directory, staged, UnlinkatFlags::NoRemoveDir);
            }
            self.write_error(source)
        })
    }

    /// Renames the object to its staging name, which hides it atomically until it is cleared.
    pub(super) fn hide(&self) -> io::Result<()> {
        self.faults.check(Operation::Rename)?;
        renameat(&*self.directory, self.name.as_os_str(), &*self.directory, self.staged_name().as_os_str())?;
        self.sync_directory()
    }

    pub(super) fn check(&self, operation: Operation) -> io::Result<()> {
        self.faults.check(operation)
    }

    pub(super) fn directory(&self) -> &OwnedFd {
        &self.directory
    }

    pub(super) fn rename_from(&self, from: &OsStr) -> io::Result<()> {
        self.faults.check(Operation::Rename)?;
        renameat(&*self.directory, from, &*self.directory, self.name.as_os_str())?;
        self.sync_directory()
    }

    pub(super) fn sync_directory(&self) -> io::Result<()> {
        self.faults.check(Operation::SyncDirectory)?;
        fsync(&*self.directory).map_err(io::Error::from)
    }

    fn open_directory(&self) -> io::Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        openat(&*self.directory, self.name.as_os_str(), flags, Mode::empty()).map_err(io::Error::from)
    }

    fn stat(&self, name: &OsStr) -> nix::Result<FileStat> {
        fstatat(&*self.directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Returns the staging name. It is always the same for one name, so that the next writer finds and
    /// removes leftovers.
    pub(super) fn staged_name(&self) -> OsString {
        let digest = Sha256::of(self.name.as_encoded_bytes()).to_string();
        OsString::from(format!(".unbox-{}", digest.get(..16).unwrap_or_default()))
    }

    fn blocked_error(&self, why: &'static str) -> FilesError {
        FilesError::Blocked { path: self.path.clone(), why }
    }

    fn read_error(&self, source: io::Error) -> FilesError {
        FilesError::Read { path: self.path.clone(), source }
    }

    pub(super) fn write_error(&self, source: io::Error) -> FilesError {
        FilesError::Write { path: self.path.clone(), source }
    }
}

fn to_status(stat: &FileStat) -> Status {
    let attributes =
        Attributes { mode: stat.st_mode & 0o7777, owner: Some(Owner { uid: stat.st_uid, gid: stat.st_gid }) };
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Status::File(attributes, u64::try_from(stat.st_size).unwrap_or(0)),
        SFlag::S_IFDIR => Status::Directory(attributes),
        SFlag::S_IFLNK => Status::Symlink,
        _ => Status::Special,
    }
}

/// Sets the owner first: changing it clears set-id bits that the mode may ask for. A correct owner is
/// left alone, because the units of the network side may not even call `fchown`.
pub(super) fn set_attributes(file: &impl std::os::fd::AsFd, attributes: Attributes) -> io::Result<()> {
    if let Some(Owner { uid, gid }) = attributes.owner {
        let found = fstat(file)?;
        if (found.st_uid, found.st_gid) != (uid, gid) {
            fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
    }
    fchmod(file, Mode::from_bits_truncate(attributes.mode)).map_err(io::Error::from)
}
