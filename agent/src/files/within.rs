//! Reads below a directory that a stranger may have made, such as a captured machine: whatever links it
//! holds, nothing outside is read.

use super::{FilesError, open_directory, read_all};
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2},
    sys::stat::Mode,
};
use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// An open directory that is the root of every path, as after `chroot(2)`.
#[derive(Debug)]
pub struct Within {
    directory: OwnedFd,
    path: PathBuf,
}

impl Within {
    /// Opens a directory.
    ///
    /// # Errors
    /// [`FilesError::Read`].
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        Ok(Self { directory: open_directory(path)?, path: path.to_owned() })
    }

    /// Reads a whole file of at most `limit` bytes; `None` if it does not exist.
    ///
    /// Only regular files are read, and a link in the last component is not followed.
    ///
    /// # Errors
    /// [`FilesError`]
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FilesError> {
        let shown = self.path.join(path.strip_prefix("/").unwrap_or(path));
        // Without O_NONBLOCK, a FIFO in place of the file would block the agent indefinitely.
        match self.open_path(path, OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK) {
            Ok(file) => read_all(File::from(file), &shown, limit).map(Some),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(FilesError::Read { path: shown, source: errno.into() }),
        }
    }

    /// Returns true if such a folder or file exists, or an obstacle keeps us from finding out.
    #[must_use]
    pub fn exists(&self, path: &Path) -> bool {
        !matches!(self.open_path(path, OFlag::O_PATH), Err(Errno::ENOENT))
    }

    /// Returns up to `most` names in a folder, sorted; none if the folder does not exist.
    ///
    /// # Errors
    /// If the folder exists but cannot be listed.
    pub fn names(&self, folder: &Path, most: usize) -> io::Result<Vec<String>> {
        let opened = match self.open_path(folder, OFlag::O_DIRECTORY) {
            Ok(opened) => opened,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno.into()),
        };
        let entries = Dir::from_fd(opened)?.into_iter().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
        let mut names: Vec<String> =
            names.filter(|name| !matches!(name.as_str(), "." | "..")).take(most).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Resolves links as if the directory were the root (`openat2(2)`, since Linux 5.6). In the system's
    /// own root they resolve like that anyway, and that is the root our units read: systemd makes the
    /// kernel return ENOSYS for openat2 in any unit with `RestrictSUIDSGID=`, because seccomp filters
    /// cannot inspect its arguments.
    fn open_path(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | flags;
        if self.path == Path::new("/") {
            let below = path.strip_prefix("/").unwrap_or(path);
            return openat(&self.directory, below, flags, Mode::empty());
        }
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.directory, path, how)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_leads_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        files::make_directory(&at("unit/etc"), files::PUBLIC_DIRECTORY).unwrap();
        files::make_directory(&at("other"), files::PUBLIC_DIRECTORY).unwrap();
        files::replace(&at("other/serial"), b"of another", files::PUBLIC_FILE).unwrap();
        files::replace(&at("unit/etc/serial"), b"its own", files::PUBLIC_FILE).unwrap();
        for (link, to) in [
            ("unit/up", "../other"),
            ("unit/out", at("other").to_str().unwrap()),
            ("unit/inside", "/etc"),
            ("unit/round", "round"),
            ("unit/process", "/proc/self/cwd"),
        ] {
            symlink(to, at(link)).unwrap();
        }
        symlink("serial", at("unit/etc/linked")).unwrap();
        let unit = Within::open(&at("unit")).unwrap();
        let read = |path: &str| {
            unit.read(path.as_ref(), 64).map(|read| read.map(|bytes| String::from_utf8(bytes).unwrap()))
        };
        for path in ["/etc/serial", "etc/serial", "/inside/serial", "/../etc/serial"] {
            assert_eq!(read(path).unwrap().as_deref(), Some("its own"), "{path}");
        }
        for path in ["/up/serial", "/out/serial", "/process/serial", "/../other/serial", "/nothing"] {
            assert_eq!(read(path).unwrap(), None, "{path}");
        }
        for path in ["/etc/linked", "/round/serial", "/etc"] {
            assert!(read(path).is_err(), "{path}");
        }
        for (path, there) in
            [("/etc", true), ("/inside", true), ("/round", true), ("/up", false), ("/a/b", false)]
        {
            assert_eq!(unit.exists(path.as_ref()), there, "{path}");
        }
        assert_eq!(unit.names("/inside".as_ref(), 8).unwrap(), ["linked", "serial"]);
        assert_eq!(unit.names("/inside".as_ref(), 1).unwrap().len(), 1);
        for folder in ["/up", "/out", "/etc/serial", "/nothing"] {
            assert!(unit.names(folder.as_ref(), 8).unwrap().is_empty(), "{folder}");
        }
        assert!(matches!(unit.read("/etc/serial".as_ref(), 3), Err(FilesError::TooLarge { .. })));
        assert!(Within::open(&at("nothing")).is_err());
    }

    #[test]
    fn the_systems_own_root_is_read_like_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        files::make_directory(&at("etc"), files::PUBLIC_DIRECTORY).unwrap();
        files::replace(&at("etc/serial"), b"its own", files::PUBLIC_FILE).unwrap();
        symlink("serial", at("etc/linked")).unwrap();
        symlink("etc", at("inside")).unwrap();
        let system = Within::open(Path::new("/")).unwrap();
        for path in [at("etc/serial"), at("inside/serial")] {
            assert_eq!(system.read(&path, 64).unwrap().as_deref(), Some(&b"its own"[..]), "{path:?}");
            assert_eq!(system.read(path.strip_prefix("/").unwrap(), 64).unwrap().unwrap(), b"its own");
        }
        assert!(system.read(&at("etc/linked"), 64).is_err());
        assert_eq!(system.read(&at("etc/nothing"), 64).unwrap(), None);
        assert_eq!(system.names(&at("inside"), 8).unwrap(), ["linked", "serial"]);
        assert!(system.names(&at("nothing"), 8).unwrap().is_empty());
    }
}
