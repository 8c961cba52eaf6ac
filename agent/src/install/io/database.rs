//! The files of dpkg's database that every run of dpkg reads first. One broken line in them, by the script
//! of a package or by a disk, and no package can be installed or removed any more.

use super::{
    SystemError,
    choices::{DIVERSIONS, OVERRIDES, split_records},
    dpkg::{Dpkg, FATAL},
    settings::Snapshot,
};
use crate::{
    files::{self, FilesError},
    install::PackageFile,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::{path::RelativePath, payload::PackageName};

/// Those of a fixed name; `status` is not among them, because every change of a package changes it.
const FILES: [&str; 6] = [DIVERSIONS, OVERRIDES, "arch", "info/format", "triggers/File", "triggers/Unincorp"];
/// Directories whose files are read, too.
const DIRECTORIES: [&str; 2] = ["triggers", "updates"];
/// Directories of files.
const FOLDERS: [&str; 4] = ["info", "updates", "triggers", "alternatives"];
/// Files that dpkg opens whatever they are.
const PLAIN: [&str; 10] = [
    STATUS,
    OLD_STATUS,
    DIVERSIONS,
    OVERRIDES,
    "arch",
    "available",
    "lock",
    "lock-frontend",
    "diversions-old",
    "statoverride-old",
];
/// The packages of the device, and what dpkg keeps of the time before its last change.
const STATUS: &str = "status";
const OLD_STATUS: &str = "status-old";
/// The largest of these files, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The longest line of the list of diversions that dpkg reads, in bytes.
const MAX_DIVERSION_BYTES: usize = 1000;
/// The most repairs in a row: dpkg names one broken file at a time.
const MAX_REPAIRS: usize = 8;
const LIMIT: Duration = Duration::from_mins(5);

/// The database at one moment, as far as dpkg cannot run without it.
pub(super) struct Database(Snapshot);

impl Database {
    pub(super) fn read(dpkg: &Dpkg) -> Result<Self, FilesError> {
        Ok(Self(Snapshot::of(paths(dpkg))?))
    }

    /// Has dpkg read its database, and restores or repairs what it cannot read. Returns whether anything was
    /// broken. With package files, dpkg also reads what it needs only to install them.
    pub(super) fn mend(&self, dpkg: &Dpkg, debs: &[PathBuf]) -> Result<bool, SystemError> {
        let is_straightened = straighten(&dpkg.database())?;
        let first = complaint(dpkg, debs)?;
        if first.is_none() && !is_straightened {
            return Ok(false);
        }
        let restored = self.0.restore(paths(dpkg))?;
        tracing::error!(restored, complaint = first, "dpkg cannot read its database");
        let mut mended = restored || is_straightened;
        for _ in 0..MAX_REPAIRS {
            let Some(complaint) = complaint(dpkg, debs)? else { break };
            if !repair(dpkg, &complaint)? {
                // The caller's own run of dpkg says why.
                break;
            }
            tracing::error!(complaint, "dpkg's database was repaired");
            mended = true;
        }
        Ok(mended)
    }
}

/// Removes anything of another kind from the places where dpkg needs a file or a directory: dpkg would wait for
/// a FIFO for ever, and stop at the rest. Returns true if it removed anything.
pub(super) fn straighten(database: &Path) -> Result<bool, FilesError> {
    let mut is_changed = false;
    if !database.is_dir() {
        return Ok(false);
    }
    for folder in FOLDERS.map(|name| database.join(name)) {
        if !folder.is_dir() {
            is_changed |= folder.symlink_metadata().is_ok();
            files::discard(&folder)?;
            files::make_directory(&folder, files::PUBLIC_DIRECTORY)?;
        }
        let entries =
            folder.read_dir().map_err(|source| FilesError::Read { path: folder.clone(), source })?;
        for entry in entries.flatten() {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if !is_file && !entry.file_name().to_string_lossy().starts_with('.') {
                is_changed |= discard_unless_file(&entry.path())?;
            }
        }
    }
    for name in PLAIN {
        is_changed |= discard_unless_file(&database.join(name))?;
    }
    if is_changed {
        tracing::error!("something else was in the place of files of dpkg's database");
        if !database.join(STATUS).exists() {
            restore_status(database)?;
        }
    }
    Ok(is_changed)
}

fn discard_unless_file(path: &Path) -> Result<bool, FilesError> {
    if path.symlink_metadata().is_err() || path.is_file() {
        return Ok(false);
    }
    files::discard(path)?;
    Ok(true)
}

fn paths(dpkg: &Dpkg) -> Vec<PathBuf> {
    FILES.map(|name| dpkg.database().join(name)).into()
}

/// Returns the reason why dpkg cannot work on packages, in its own words.
fn complaint(dpkg: &Dpkg, debs: &[PathBuf]) -> Result<Option<String>, SystemError> {
    let programs = if debs.is_empty() {
        vec![
            dpkg.program("dpkg-query")?.args(["--search", "/"]),
            dpkg.program("dpkg-statoverride")?.arg("--list"),
        ]
    } else {
        vec![dpkg.dpkg()?.args(["--simulate", "--install"]).args(debs)]
    };
    for program in programs {
        let finished = program.run(LIMIT)?;
        if finished.status.code() == Some(FATAL) {
            return Ok(Some(finished.complaint()));
        }
    }
    Ok(None)
}

/// Repairs the file that dpkg complains about, by its content. Returns whether anything was changed.
fn repair(dpkg: &Dpkg, complaint: &str) -> Result<bool, SystemError> {
    let database = dpkg.database();
    if let Some(path) = named_file(&database, complaint) {
        if path == database.join(STATUS) {
            return Ok(restore_status(&database)?);
        }
        files::discard(&path)?;
        return Ok(true);
    }
    let mut changed = rewrite(&database.join(DIVERSIONS), readable_diversions)?;
    changed |= rewrite(&database.join(OVERRIDES), readable_overrides)?;
    if !changed && complaint.contains("files list file") {
        let lists = database.join("info");
        let entries = lists.read_dir().map_err(|source| FilesError::Read { path: lists, source })?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "list") {
                changed |= rewrite(&path, readable_names)?;
            }
        }
    }
    Ok(changed)
}

/// Returns the file of the database that a complaint names, if it may be replaced as a whole.
fn named_file(database: &Path, complaint: &str) -> Option<PathBuf> {
    let is_replaceable = |path: &&Path| {
        *path == database.join(STATUS)
            || DIRECTORIES.iter().any(|name| path.parent() == Some(&database.join(name)))
    };
    complaint.split('\'').map(Path::new).find(is_replaceable).map(Path::to_owned)
}

/// Takes from the list of a package's files what its package file does not bring: dpkg would remove it with
/// the package, whoever has it.
pub(super) fn correct_list(dpkg: &Dpkg, name: &PackageName, file: &PackageFile) -> Result<(), SystemError> {
    let info = dpkg.database().join("info");
    let entries = info.read_dir().map_err(|source| FilesError::Read { path: info.clone(), source })?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let list = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".list"));
        if list.and_then(|list| list.split(':').next()) != Some(name.as_str()) {
            continue;
        }
        let Some(listed) = files::read(&path, MAX_FILE_BYTES)? else { continue };
        let is_brought = |line: &[u8]| {
            let name = std::str::from_utf8(line).unwrap_or_default().trim_start_matches('/');
            name == "."
                || RelativePath::parse(name)
                    .is_ok_and(|path| file.files.contains(&path) || file.directories.contains(&path))
        };
        let lines = listed.split(|byte| *byte == b'\n').filter(|line| is_brought(line));
        let kept: Vec<u8> = lines.flat_map(|line| [line, b"\n"].concat()).collect();
        if kept != listed {
            tracing::error!(package = %name, "its list of files was changed, and is put right");
            files::replace(&path, &kept, files::PUBLIC_FILE)?;
        }
    }
    Ok(())
}

/// Goes back to the packages before dpkg's last change.
fn restore_status(database: &Path) -> Result<bool, FilesError> {
    let [now, old] =
        [STATUS, OLD_STATUS].map(|name| files::read(&database.join(name), MAX_FILE_BYTES).ok().flatten());
    let Some(old) = old.filter(|old| now.as_ref() != Some(old)) else { return Ok(false) };
    let path = database.join(STATUS);
    if let Some(now) = now {
        let aside = database.join(format!("{STATUS}{}", files::DAMAGED));
        files::replace(&aside, &now, files::PUBLIC_FILE)?;
    }
    files::replace(&path, &old, files::PUBLIC_FILE)?;
    Ok(true)
}

/// Rewrites a file if its content is not what `readable` makes of it. Anything but a file counts as empty.
fn rewrite(path: &Path, readable: fn(&[u8]) -> Vec<u8>) -> Result<bool, FilesError> {
    let content = match files::read(path, MAX_FILE_BYTES) {
        Err(error) if error.is_not_a_document() => None,
        Ok(None) => return Ok(false),
        content => content?,
    };
    let kept = readable(content.as_deref().unwrap_or_default());
    if content.as_ref() == Some(&kept) {
        return Ok(false);
    }
    files::discard(path)?;
    files::replace(path, &kept, files::PUBLIC_FILE)?;
    Ok(true)
}

/// Returns the complete diversions that do not contradict one before them.
fn readable_diversions(list: &[u8]) -> Vec<u8> {
    let (records, _) = split_records(list);
    let lines: Vec<&[u8]> = records.split_inclusive(|byte| *byte == b'\n').collect();
    let mut places = BTreeSet::new();
    let mut kept = Vec::new();
    for record in lines.chunks_exact(3) {
        let is_readable = record.iter().all(|line| is_line(line) && line.len() <= MAX_DIVERSION_BYTES);
        let [from, to, _] = record else { continue };
        if is_readable && !places.contains(from) && !places.contains(to) {
            places.extend([*from, *to]);
            kept.extend(record.concat());
        }
    }
    kept
}

/// Returns the overrides of the form `owner group mode path`, the first for each path.
fn readable_overrides(list: &[u8]) -> Vec<u8> {
    let is_owner = |name: &[u8]| match name.strip_prefix(b"#") {
        Some(id) => !id.is_empty() && id.iter().all(u8::is_ascii_digit),
        None => !name.is_empty(),
    };
    let is_mode =
        |mode: &[u8]| (1..=4).contains(&mode.len()) && mode.iter().all(|digit| (b'0'..=b'7').contains(digit));
    let mut paths = BTreeSet::new();
    let mut kept = Vec::new();
    for line in list.split_inclusive(|byte| *byte == b'\n').filter(|line| is_line(line)) {
        let fields: Vec<&[u8]> = line.splitn(4, |byte| *byte == b' ').collect();
        if let [owner, group, mode, path] = *fields
            && is_owner(owner)
            && is_owner(group)
            && is_mode(mode)
            && path.starts_with(b"/")
            && paths.insert(path)
        {
            kept.extend(line);
        }
    }
    kept
}

/// Returns the names of a package's list of files, each on a line.
fn readable_names(list: &[u8]) -> Vec<u8> {
    let names = list.split(|byte| *byte == b'\n').filter(|name| name.starts_with(b"/"));
    names.flat_map(|name| [name, b"\n"].concat()).collect()
}

/// Returns true if this is a line with a content and an end.
fn is_line(line: &[u8]) -> bool {
    line.strip_suffix(b"\n").is_some_and(|line| !line.is_empty() && !line.contains(&0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install::Packages as _;

    const DIVERTED: &[u8] = b"/etc/a\n/etc/a.real\n:\n";
    const OVERRIDDEN: &[u8] = b"root root 0600 /etc/a b\n";
    const INSTALLED: &[u8] = b"Package: tool\nStatus: install ok installed\nMaintainer: n <n@example.org>\n\
                               Architecture: all\nVersion: 1\nDescription: test\n";

    fn device() -> (tempfile::TempDir, Dpkg) {
        let root = tempfile::tempdir().unwrap();
        let dpkg = Dpkg::with_root(root.path().to_owned());
        for name in ["info", "updates", "triggers"] {
            files::make_directory(&dpkg.database().join(name), files::PUBLIC_DIRECTORY).unwrap();
        }
        for (name, bytes) in [
            (STATUS, INSTALLED),
            (OLD_STATUS, INSTALLED),
            (DIVERSIONS, DIVERTED),
            (OVERRIDES, OVERRIDDEN),
            ("info/tool.list", b"/usr\n"),
        ] {
            files::replace(&dpkg.database().join(name), bytes, files::PUBLIC_FILE).unwrap();
        }
        (root, dpkg)
    }

    /// Lines that stop dpkg, each after what the file held before.
    const BROKEN: [(&str, &[u8]); 14] = [
        (DIVERSIONS, b"/etc/a.real\n/etc/b\n:\n"),
        (DIVERSIONS, b"/etc/a\n/etc/b\n:\n"),
        (DIVERSIONS, b"/etc/c\n"),
        (OVERRIDES, b"nonsense\n"),
        (OVERRIDES, b"\n"),
        (OVERRIDES, b"root root 0600 /etc/c"),
        (OVERRIDES, b"root root 8 /etc/c\n"),
        (OVERRIDES, b"#x root 0600 /etc/c\n"),
        (OVERRIDES, OVERRIDDEN),
        ("triggers/File", b"nonsense\n"),
        ("triggers/Unincorp", b"!!\n"),
        ("updates/0001", b"nonsense\n"),
        (STATUS, b"nonsense\n"),
        ("info/tool.list", b"\n/usr/bin"),
    ];

    #[test]
    fn what_is_no_file_where_dpkg_needs_one_goes_before_dpkg_runs() {
        let make_fifo = |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let make_directory =
            |path: &Path| files::make_directory(&path.join("y"), files::PUBLIC_DIRECTORY).unwrap();
        for make in [&make_fifo as &dyn Fn(&Path), &make_directory] {
            for name in ["updates", "triggers", "info/tool.list", "lock", "lock-frontend", DIVERSIONS, STATUS]
            {
                let is_folder = FOLDERS.contains(&name) || name == "info/tool.list";
                let (_root, dpkg) = device();
                let before = Database::read(&dpkg).unwrap();
                let path = dpkg.database().join(name);
                let _ = files::discard(&path);
                make(&path);
                assert_eq!(dpkg.holder().unwrap(), None, "{name}");
                make_again(&path, make);
                assert_eq!(dpkg.installed().unwrap().len(), 1, "{name}");
                make_again(&path, make);
                before.mend(&dpkg, &[]).unwrap();
                assert_eq!(complaint(&dpkg, &[]).unwrap(), None, "{name}");
                for (name, bytes) in [(DIVERSIONS, DIVERTED), (OVERRIDES, OVERRIDDEN), (STATUS, INSTALLED)] {
                    let now = files::read(&dpkg.database().join(name), 1000).unwrap();
                    assert_eq!(now.as_deref(), Some(bytes), "{name}");
                }
                assert!(is_folder || !path.is_dir(), "{name}");
            }
        }
    }

    fn make_again(path: &Path, make: &dyn Fn(&Path)) {
        let _ = files::discard(path);
        make(path);
    }

    #[test]
    fn a_line_that_stops_dpkg_goes_and_what_was_there_before_stays() {
        for from_before in [false, true] {
            for (name, line) in BROKEN {
                let (_root, dpkg) = device();
                let before = Database::read(&dpkg).unwrap();
                assert!(!before.mend(&dpkg, &[]).unwrap());
                let path = dpkg.database().join(name);
                let old = files::read(&path, 1000).unwrap().unwrap_or_default();
                files::replace(&path, &[&old, line].concat(), files::PUBLIC_FILE).unwrap();
                assert!(complaint(&dpkg, &[]).unwrap().is_some(), "{name} {line:?}");
                let snapshot = if from_before { before } else { Database::read(&dpkg).unwrap() };
                assert!(snapshot.mend(&dpkg, &[]).unwrap(), "{name} {line:?}");
                assert_eq!(complaint(&dpkg, &[]).unwrap(), None, "{name} {line:?}");
                for (name, bytes) in [(DIVERSIONS, DIVERTED), (OVERRIDES, OVERRIDDEN), (STATUS, INSTALLED)] {
                    let now = files::read(&dpkg.database().join(name), 1000).unwrap().unwrap();
                    assert_eq!(now, bytes, "{name} {line:?}");
                }
            }
        }
    }
}
