//! State that packages share: diversions, overridden modes, alternatives. No package lists them, and the
//! scripts of a failing package leave them behind.

use super::{SystemError, database::Database, dpkg::Dpkg};
use crate::{
    files::{self, Entry, FilesError},
    install::{Choices, Diversion},
};
use std::{io, path::Path, time::Duration};

const LIMIT: Duration = Duration::from_mins(1);
/// The largest of these files, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The records of alternatives in dpkg's database.
const ALTERNATIVES: &str = "alternatives";
const LINKS: &str = "etc/alternatives";
/// The list of diversions in dpkg's database: three lines for each.
pub(super) const DIVERSIONS: &str = "diversions";
/// The list of overridden modes in dpkg's database.
pub(super) const OVERRIDES: &str = "statoverride";

/// Reads the current choices.
pub(super) fn read(dpkg: &Dpkg) -> Result<Choices, SystemError> {
    let database = dpkg.database();
    let diversions = text(&database.join(DIVERSIONS))?;
    let (records, incomplete) = split_records(diversions.as_bytes());
    let records = String::from_utf8_lossy(records);
    let lines: Vec<&str> = records.lines().collect();
    let diversions = lines.chunks_exact(3).filter_map(|lines| match lines {
        [from, to, package] => Some(Diversion {
            from: (*from).to_owned(),
            to: (*to).to_owned(),
            package: (*package != ":").then(|| (*package).to_owned()),
        }),
        _ => None,
    });
    let mut choices = Choices {
        diversions: diversions.collect(),
        incomplete_diversion: String::from_utf8_lossy(incomplete).into_owned(),
        overrides: text(&database.join(OVERRIDES))?,
        ..Choices::default()
    };
    for name in names(&database.join(ALTERNATIVES))? {
        let kept = text(&database.join(ALTERNATIVES).join(&name))?;
        choices.alternatives.insert(name, kept);
    }
    let folder = dpkg.path(LINKS);
    for name in names(&folder)? {
        if let Ok(target) = Entry::from_path(&folder.join(&name))?.link_target() {
            choices.links.insert(name, target.to_string_lossy().into_owned());
        }
    }
    Ok(choices)
}

/// Splits the list of diversions into its complete records and the rest.
pub(super) fn split_records(list: &[u8]) -> (&[u8], &[u8]) {
    let ends = list.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    list.split_at(ends.skip(2).step_by(3).last().unwrap_or_default())
}

/// Restores the choices to `after`.
pub(super) fn restore(dpkg: &Dpkg, after: &Choices) -> Result<(), SystemError> {
    Database::read(dpkg)?.mend(dpkg, &[])?;
    let now = read(dpkg)?;
    for made in now.diversions.difference(&after.diversions) {
        if divert(dpkg, made, &["--rename", "--remove"]).is_err() {
            // The file in its place belongs to no package any more, and blocks the one that was moved.
            let place = dpkg.path(made.from.trim_start_matches('/'));
            Entry::from_path(&place)?.remove()?;
            divert(dpkg, made, &["--rename", "--remove"])?;
        }
    }
    for gone in after.diversions.difference(&now.diversions) {
        // If only the record was lost, both files are where they belong.
        divert(dpkg, gone, &["--rename", "--divert", &gone.to, "--add"])
            .or_else(|_| divert(dpkg, gone, &["--no-rename", "--divert", &gone.to, "--add"]))?;
    }
    let database = dpkg.database();
    set(&database.join(OVERRIDES), &now.overrides, &after.overrides)?;
    restore_alternatives(dpkg, &now, after)
}

/// Removes the diversions that a package has left behind.
pub(super) fn remove_diversions(dpkg: &Dpkg, package: &str) -> Result<(), SystemError> {
    Database::read(dpkg)?.mend(dpkg, &[])?;
    let now = read(dpkg)?;
    let is_left = |diversion: &&Diversion| diversion.package.as_deref() == Some(package);
    if !now.diversions.iter().any(|diversion| is_left(&diversion)) {
        return Ok(());
    }
    let rest = now.diversions.iter().filter(|diversion| !is_left(diversion)).cloned().collect();
    restore(dpkg, &Choices { diversions: rest, ..now })
}

fn restore_alternatives(dpkg: &Dpkg, now: &Choices, after: &Choices) -> Result<(), SystemError> {
    for name in now.alternatives.keys().filter(|name| !after.alternatives.contains_key(*name)) {
        if dpkg.program("update-alternatives")?.args(["--remove-all", name]).succeed(LIMIT).is_err() {
            // It cannot read its own record. The link that the record chooses goes below.
            files::discard(&dpkg.database().join(ALTERNATIVES).join(name))?;
        }
    }
    for (name, kept) in &after.alternatives {
        let record = dpkg.database().join(ALTERNATIVES).join(name);
        if now.alternatives.get(name) == Some(kept) {
            continue;
        }
        set(&record, "", kept)?;
        // Restores the links that lead to it from elsewhere; the chosen alternative is set right below.
        let _ = dpkg.program("update-alternatives")?.args(["--auto", name]).run(LIMIT)?;
        set(&record, "", kept)?;
    }
    let directory = dpkg.path(LINKS);
    let links = read(dpkg)?.links;
    for name in links.keys().filter(|name| !after.links.contains_key(*name)) {
        Entry::from_path(&directory.join(name))?.remove()?;
    }
    for (name, target) in after.links.iter().filter(|(name, target)| links.get(*name) != Some(target)) {
        Entry::from_path(&directory.join(name))?.make_symlink(target.as_ref())?;
    }
    Ok(())
}

fn divert(dpkg: &Dpkg, diversion: &Diversion, verb: &[&str]) -> Result<(), SystemError> {
    let program = dpkg.program("dpkg-divert")?;
    let program = match &diversion.package {
        Some(package) => program.args(["--package", package.as_str()]),
        None => program.arg("--local"),
    };
    program.args(verb).arg(&diversion.from).succeed(LIMIT)?;
    Ok(())
}

/// Writes a file if its content changes.
fn set(path: &Path, now: &str, after: &str) -> Result<(), FilesError> {
    if now == after { Ok(()) } else { files::replace(path, after.as_bytes(), files::PUBLIC_FILE) }
}

/// Returns the content of a file. Anything else in its place counts as an empty one.
fn text(path: &Path) -> Result<String, FilesError> {
    let bytes = match files::read(path, MAX_FILE_BYTES) {
        Err(error) if error.is_not_a_document() => None,
        bytes => bytes?,
    };
    Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
}

fn names(directory: &Path) -> Result<Vec<String>, FilesError> {
    let failed = |source| FilesError::Read { path: directory.to_owned(), source };
    let entries = match directory.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_list_of_diversions_is_noticed_and_restored() {
        const LIST: &[u8] = b"/etc/a\n/etc/a.real\n:\n/etc/b\n/etc/b.real\ntool\n";
        let root = tempfile::tempdir().unwrap();
        let dpkg = Dpkg::with_root(root.path().to_owned());
        for directory in [dpkg.database(), dpkg.path("etc")] {
            files::make_directory(&directory, files::PUBLIC_DIRECTORY).unwrap();
        }
        let write = |path: &Path, bytes: &[u8]| files::replace(path, bytes, files::PUBLIC_FILE).unwrap();
        write(&dpkg.database().join("status"), b"");
        for name in ["etc/b", "etc/b.real"] {
            write(&dpkg.path(name), name.as_bytes());
        }
        let list = dpkg.database().join(DIVERSIONS);
        write(&list, LIST);
        let before = read(&dpkg).unwrap();
        assert_eq!((before.diversions.len(), before.incomplete_diversion.as_str()), (2, ""));
        let kept = |bytes: &[u8]| [LIST, bytes].concat();
        for broken in [
            LIST[..LIST.len() - 1].to_vec(),
            LIST[..LIST.len() - 8].to_vec(),
            b"/etc/a".to_vec(),
            kept(b"/etc/c\n"),
            kept(b"\xff"),
            kept(b"/etc/c\n/etc/d\n"),
        ] {
            write(&list, &broken);
            assert_ne!(read(&dpkg).unwrap(), before);
            restore(&dpkg, &before).unwrap();
            assert_eq!(read(&dpkg).unwrap(), before, "{}", String::from_utf8_lossy(&broken));
            for name in ["etc/b", "etc/b.real"] {
                assert_eq!(files::read(&dpkg.path(name), 100).unwrap().unwrap(), name.as_bytes());
            }
        }
    }
}
