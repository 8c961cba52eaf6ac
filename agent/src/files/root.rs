//! The root of a device's file system, `/` or a sandbox; nothing outside is reachable through it.

use super::{Entry, Faults, FilesError, NoFaults, Operation, open_directory};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, readlinkat},
    sys::stat::{Mode, SFlag, fstatat},
};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use unbox_common::path::SafePath;

/// The most symbolic links in one path (`path_resolution(7)` has the same limit).
const MAX_LINKS: u32 = 40;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// An open root directory, cheap to clone.
#[derive(Clone)]
pub struct Root {
    directory: Arc<OwnedFd>,
    path: PathBuf,
    faults: Arc<dyn Faults>,
}

impl Root {
    /// Opens a root.
    pub fn open(path: &Path) -> Result<Self, FilesError> {
        let directory = open_directory(path)?;
        Ok(Self { directory: Arc::new(directory), path: path.to_owned(), faults: Arc::new(NoFaults) })
    }

    /// Opens another directory, with the same fault hook.
    pub fn open_other(&self, path: &Path) -> Result<Self, FilesError> {
        Ok(Self::open(path)?.with_faults(Arc::clone(&self.faults)))
    }

    /// Returns the same root, with a fault hook.
    #[must_use]
    pub fn with_faults(self, faults: Arc<dyn Faults>) -> Self {
        Self { faults, ..self }
    }

    /// Returns the path of the root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Calls the fault hook, for changes not made through an [`Entry`].
    pub fn check(&self, operation: Operation) -> io::Result<()> {
        self.faults.check(operation)
    }

    /// Returns the entry of a name directly below the root.
    #[must_use]
    pub fn name(&self, name: &str) -> Entry {
        let path = self.path.join(name);
        Entry::new(Arc::clone(&self.directory), name.into(), path, Arc::clone(&self.faults))
    }

    /// Returns the entry of a path whose parents are real directories; `None` if one of them is missing.
    ///
    /// No link is followed: a path is [resolved](Self::resolve) once, while planning, and a link put in
    /// its way afterwards is refused here.
    pub fn entry(&self, path: &SafePath) -> Result<Option<Entry>, FilesError> {
        let shown = path.to_path(&self.path);
        let (parents, name) = path.as_str().rsplit_once('/').unwrap_or_default();
        let mut directory = Arc::clone(&self.directory);
        for part in parents.split('/').skip(1) {
            directory = match openat(&*directory, part, DIRECTORY, Mode::empty()) {
                Ok(next) => Arc::new(next),
                Err(Errno::ENOENT) => return Ok(None),
                Err(Errno::ENOTDIR | Errno::ELOOP) => {
                    let why = "a link or a file is where a directory was";
                    return Err(FilesError::Blocked { path: shown, why });
                }
                Err(errno) => return Err(FilesError::Read { path: shown, source: errno.into() }),
            };
        }
        Ok(Some(Entry::new(directory, name.into(), shown, Arc::clone(&self.faults))))
    }

    /// Resolves the links in the parents of a path; the last component stays as it is.
    ///
    /// Links are followed inside the root, and never from something owned by an ordinary user to
    /// something owned by another: such a link is that user's way to make root write elsewhere.
    pub fn resolve(&self, path: &SafePath) -> Result<SafePath, FilesError> {
        let mut walk = Walk::new(self, path);
        while let Some(part) = walk.left.pop_front() {
            if walk.step(&part)? == Step::Missing {
                break;
            }
        }
        let mut resolved = String::new();
        for part in walk.passed.iter().map(|(name, _)| name).chain(&walk.left) {
            let part = part.to_str().ok_or_else(|| walk.blocked_error("a name on the way is not UTF-8"))?;
            resolved.push('/');
            resolved.push_str(part);
        }
        SafePath::parse(&resolved)
            .map_err(|source| FilesError::Forbidden { path: walk.shown.clone(), source })
    }
}

#[derive(PartialEq, Eq)]
enum Step {
    Taken,
    Missing,
}

/// A walk from the root to a path.
struct Walk<'a> {
    root: &'a Root,
    shown: PathBuf,
    passed: Vec<(OsString, Arc<OwnedFd>)>,
    left: VecDeque<OsString>,
    /// The owner of the last component passed; everything directly below the root is trusted.
    owner: Option<u32>,
    links: u32,
}

impl<'a> Walk<'a> {
    fn new(root: &'a Root, path: &SafePath) -> Self {
        Self {
            root,
            shown: path.to_path(&root.path),
            passed: Vec::new(),
            left: path.as_str().split('/').skip(1).map(OsString::from).collect(),
            owner: None,
            links: 0,
        }
    }

    fn step(&mut self, part: &OsStr) -> Result<Step, FilesError> {
        let last = self.left.is_empty();
        match part.as_bytes() {
            b"" | b"." => return Ok(Step::Taken),
            b".." => {
                self.passed.pop();
                return Ok(Step::Taken);
            }
            _ => (),
        }
        let here = self.passed.last().map_or(&self.root.directory, |(_, directory)| directory);
        let stat = match fstatat(&**here, part, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return self.finish_missing(part),
            Err(errno) => return Err(self.read_error(errno)),
        };
        if !is_safe_transition(self.owner, stat.st_uid) {
            return Err(self.blocked_error("an ordinary user's directory or link leads to it"));
        }
        self.owner = Some(stat.st_uid);
        if last {
            return self.finish_missing(part);
        }
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => {
                let next = openat(&**here, part, DIRECTORY, Mode::empty())
                    .map_err(|errno| self.read_error(errno))?;
                self.passed.push((part.to_owned(), Arc::new(next)));
                Ok(Step::Taken)
            }
            SFlag::S_IFLNK => {
                let target = readlinkat(&**here, part).map_err(|errno| self.read_error(errno))?;
                self.follow(&target)?;
                Ok(Step::Taken)
            }
            _ => Err(self.blocked_error("a file is where a directory should be")),
        }
    }

    fn follow(&mut self, target: &OsStr) -> Result<(), FilesError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(self.blocked_error("too many symbolic links"));
        }
        if target.as_bytes().starts_with(b"/") {
            self.passed.clear();
        }
        let parts = target.as_bytes().split(|byte| *byte == b'/');
        for part in parts.rev() {
            self.left.push_front(OsStr::from_bytes(part).to_owned());
        }
        Ok(())
    }

    /// Handles a missing component: the rest of the path is taken literally.
    fn finish_missing(&mut self, part: &OsStr) -> Result<Step, FilesError> {
        self.left.push_front(part.to_owned());
        let odd = |part: &OsString| matches!(part.as_bytes(), b"" | b"." | b"..");
        if self.left.iter().any(odd) {
            return Err(self.blocked_error("a symbolic link on the way leads nowhere"));
        }
        Ok(Step::Missing)
    }

    fn blocked_error(&self, why: &'static str) -> FilesError {
        FilesError::Blocked { path: self.shown.clone(), why }
    }

    fn read_error(&self, errno: Errno) -> FilesError {
        FilesError::Read { path: self.shown.clone(), source: errno.into() }
    }
}

/// Returns true if a path may lead from an object owned by `from` to one owned by `to`, as in systemd's
/// `CHASE_SAFE`.
fn is_safe_transition(from: Option<u32>, to: u32) -> bool {
    from.is_none_or(|from| from == 0 || from == to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn safe(path: &str) -> SafePath {
        SafePath::parse(path).unwrap()
    }

    fn resolve(root: &Path, path: &str) -> Result<String, FilesError> {
        let resolved = Root::open(root)?.resolve(&safe(path))?;
        Ok(resolved.to_string())
    }

    #[test]
    fn links_are_followed_inside_the_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("usr/lib/x")).unwrap();
        symlink("usr/lib", root.path().join("lib")).unwrap();
        symlink("/usr", root.path().join("absolute")).unwrap();
        symlink("../../../../../usr", root.path().join("up")).unwrap();
        symlink("nowhere/new", root.path().join("dangling")).unwrap();
        for (path, expected) in [
            ("/lib/x/file", "/usr/lib/x/file"),
            ("/absolute/lib/file", "/usr/lib/file"),
            ("/up/file", "/usr/file"),
            ("/lib/new/deep/file", "/usr/lib/new/deep/file"),
            ("/lib", "/lib"),
            ("/dangling/file", "/nowhere/new/file"),
        ] {
            assert_eq!(resolve(root.path(), path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn links_into_forbidden_trees_are_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("var/lib/unbox")).unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        symlink("/var/lib/unbox", root.path().join("etc/foo")).unwrap();
        symlink("foo", root.path().join("etc/bar")).unwrap();
        for path in ["/etc/foo/ledger.json", "/etc/bar/ledger.json", "/etc/foo/new/x"] {
            let refused = resolve(root.path(), path);
            assert!(matches!(refused, Err(FilesError::Forbidden { .. })), "{path}");
        }
    }

    #[test]
    fn loops_and_files_in_the_way_are_refused() {
        let root = tempfile::tempdir().unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        crate::files::replace(&root.path().join("file"), b"", 0o644).unwrap();
        symlink("missing/../etc", root.path().join("odd")).unwrap();
        for path in ["/a/x", "/file/x", "/odd/x"] {
            let refused = resolve(root.path(), path);
            assert!(matches!(refused, Err(FilesError::Blocked { .. })), "{path}");
        }
    }

    #[test]
    fn an_entry_follows_no_link_at_all() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("real")).unwrap();
        symlink("real", root.path().join("link")).unwrap();
        let opened = Root::open(root.path()).unwrap();
        assert!(opened.entry(&safe("/real/x")).unwrap().is_some());
        assert!(opened.entry(&safe("/gone/x")).unwrap().is_none());
        assert!(matches!(opened.entry(&safe("/link/x")), Err(FilesError::Blocked { .. })));
    }

    #[test]
    fn only_root_leads_from_its_own_to_somebody_elses() {
        for (from, to, safe) in [
            (None, 5, true),
            (Some(0), 5, true),
            (Some(5), 5, true),
            (Some(5), 0, false),
            (Some(5), 6, false),
        ] {
            assert_eq!(is_safe_transition(from, to), safe, "{from:?} {to}");
        }
    }

    #[test]
    #[ignore = "needs root: it gives a directory to another user"]
    fn an_ordinary_users_link_does_not_lead_root_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("home/eve")).unwrap();
        fs::create_dir_all(root.path().join("root")).unwrap();
        let eve = root.path().join("home/eve");
        std::os::unix::fs::chown(&eve, Some(1000), Some(1000)).unwrap();
        symlink("/root", eve.join(".ssh")).unwrap();
        std::os::unix::fs::lchown(eve.join(".ssh"), Some(1000), Some(1000)).unwrap();
        let refused = resolve(root.path(), "/home/eve/.ssh/authorized_keys");
        assert!(matches!(refused, Err(FilesError::Blocked { .. })));
    }
}
