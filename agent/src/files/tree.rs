//! A directory tree that appears atomically: written under a staging name, made durable, renamed.

use super::{Attributes, Entry, FilesError, Operation, Owner, Status, entry::set_attributes};
use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    sys::stat::{Mode, mkdirat},
    unistd::{symlinkat, syncfs},
};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
};
use unbox_common::path::RelativePath;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
const NEW_FILE: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// A tree that is not visible yet. If dropped without [`publish`](Self::publish), it is cleared by the
/// next write or removal of the same tree.
pub struct NewTree<'a> {
    entry: &'a Entry,
    top: OwnedFd,
    owner: Option<Owner>,
}

impl<'a> NewTree<'a> {
    /// Begins a tree that will be at `entry`, after clearing what an interrupted attempt left.
    pub fn begin(entry: &'a Entry, owner: Option<Owner>) -> Result<Self, FilesError> {
        clear(entry)?;
        let begin = || {
            entry.check(Operation::MakeDirectory)?;
            let staged = entry.staged_name();
            mkdirat(entry.directory(), staged.as_os_str(), Mode::S_IRWXU)?;
            openat(entry.directory(), staged.as_os_str(), DIRECTORY, Mode::empty()).map_err(io::Error::from)
        };
        let top = begin().map_err(|source| entry.write_error(source))?;
        Ok(Self { entry, top, owner })
    }

    /// Makes a directory and its parents.
    pub fn make_directory(&self, path: &RelativePath, mode: u32) -> io::Result<()> {
        self.entry.check(Operation::MakeDirectory)?;
        let directory = self.enter(path.as_str().split('/'))?;
        set_attributes(&directory, self.attributes(mode))
    }

    /// Writes a regular file that must not exist yet.
    pub fn write_file(&self, path: &RelativePath, mode: u32, contents: &mut impl Read) -> io::Result<()> {
        self.entry.check(Operation::Create)?;
        let (parent, name) = self.parent(path)?;
        let private = Mode::S_IRUSR | Mode::S_IWUSR;
        let mut file = File::from(openat(&parent, name, NEW_FILE, private)?);
        io::copy(contents, &mut file)?;
        set_attributes(&file, self.attributes(mode))
    }

    /// Makes a symbolic link that must not exist yet.
    pub fn make_symlink(&self, path: &RelativePath, target: &str) -> io::Result<()> {
        self.entry.check(Operation::Symlink)?;
        let (parent, name) = self.parent(path)?;
        symlinkat(target, &parent, name).map_err(io::Error::from)
    }

    /// Makes the whole tree durable, and gives it its name.
    pub fn publish(self) -> Result<(), FilesError> {
        let publish = || {
            set_attributes(&self.top, self.attributes(super::PUBLIC_DIRECTORY))?;
            self.entry.check(Operation::Sync)?;
            syncfs(&self.top)?;
            self.entry.rename_from(&self.entry.staged_name())
        };
        publish().map_err(|source| self.entry.write_error(source))
    }

    fn parent<'p>(&self, path: &'p RelativePath) -> io::Result<(OwnedFd, &'p str)> {
        match path.as_str().rsplit_once('/') {
            Some((parents, name)) => Ok((self.enter(parents.split('/'))?, name)),
            None => Ok((self.top.try_clone()?, path.as_str())),
        }
    }

    /// Opens a directory, making missing ones. The kernel refuses links on the path.
    fn enter<'p>(&self, parts: impl Iterator<Item = &'p str>) -> io::Result<OwnedFd> {
        let mut here = self.top.try_clone()?;
        for part in parts {
            match mkdirat(&here, part, Mode::from_bits_truncate(super::PUBLIC_DIRECTORY)) {
                Ok(()) => here = openat(&here, part, DIRECTORY, Mode::empty())?,
                Err(Errno::EEXIST) => {
                    here = openat(&here, part, DIRECTORY, Mode::empty())?;
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            }
            set_attributes(&here, self.attributes(super::PUBLIC_DIRECTORY))?;
        }
        Ok(here)
    }

    const fn attributes(&self, mode: u32) -> Attributes {
        Attributes { mode, owner: self.owner }
    }
}

/// Removes a tree: hides it atomically, then deletes it.
pub fn remove(entry: &Entry) -> Result<(), FilesError> {
    clear(entry)?;
    if matches!(entry.status()?, Status::Directory(_)) {
        entry.hide().map_err(|source| entry.write_error(source))?;
        clear(entry)?;
    }
    Ok(())
}

/// Clears the leftovers of an interrupted [`NewTree`] or [`remove`].
pub fn clear(entry: &Entry) -> Result<(), FilesError> {
    let remove = || {
        let staged = entry.path().with_file_name(entry.staged_name());
        if staged.symlink_metadata().is_err() {
            return Ok(());
        }
        entry.check(Operation::Remove)?;
        std::fs::remove_dir_all(&staged)?;
        entry.sync_directory()
    };
    remove().map_err(|source| entry.write_error(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn path(path: &str) -> RelativePath {
        RelativePath::parse(path).unwrap()
    }

    fn names(directory: &Path) -> usize {
        directory.read_dir().unwrap().count()
    }

    #[test]
    fn a_tree_appears_whole_and_goes_whole() {
        let directory = tempfile::tempdir().unwrap();
        let entry = Entry::from_path(&directory.path().join("tree")).unwrap();
        let tree = NewTree::begin(&entry, None).unwrap();
        tree.write_file(&path("bin/dpc"), 0o755, &mut &b"#!"[..]).unwrap();
        tree.make_directory(&path("bin"), 0o750).unwrap();
        tree.make_symlink(&path("dpc"), "bin/dpc").unwrap();
        assert!(!directory.path().join("tree").exists());
        tree.publish().unwrap();
        assert_eq!(std::fs::read(directory.path().join("tree/dpc")).unwrap(), b"#!");
        assert_eq!(names(directory.path()), 1);
        remove(&entry).unwrap();
        assert_eq!(names(directory.path()), 0);
    }

    #[test]
    fn an_abandoned_tree_is_cleared_by_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let entry = Entry::from_path(&directory.path().join("tree")).unwrap();
        let first = NewTree::begin(&entry, None).unwrap();
        first.write_file(&path("old"), 0o644, &mut &b""[..]).unwrap();
        drop(first);
        NewTree::begin(&entry, None).unwrap().publish().unwrap();
        assert_eq!(names(&directory.path().join("tree")), 0);
    }

    #[test]
    fn nothing_is_written_through_a_link_or_twice() {
        let directory = tempfile::tempdir().unwrap();
        let entry = Entry::from_path(&directory.path().join("tree")).unwrap();
        let tree = NewTree::begin(&entry, None).unwrap();
        tree.make_symlink(&path("link"), "/etc").unwrap();
        assert!(tree.write_file(&path("link/passwd"), 0o644, &mut &b""[..]).is_err());
        assert!(tree.write_file(&path("link"), 0o644, &mut &b""[..]).is_err());
        tree.write_file(&path("a"), 0o644, &mut &b""[..]).unwrap();
        assert!(tree.write_file(&path("a"), 0o644, &mut &b""[..]).is_err());
        assert!(tree.write_file(&path("a/b"), 0o644, &mut &b""[..]).is_err());
    }
}
