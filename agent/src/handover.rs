//! Files from the privileged side to the network side: written by the one, read by the other, and by
//! nobody else.

use crate::{
    files::{self, Attributes, Entry, FilesError, Owner, Status},
    layout::Layout,
};
use serde::Serialize;
use std::{io::Write as _, path::Path};

/// Permissions of a handed-over file.
const MODE: u32 = 0o640;

/// The group of the network side.
const GROUP: &str = "unbox";

/// The largest `/etc/group` that is read, in bytes.
const MAX_GROUPS_BYTES: u64 = 1024 * 1024;

/// Writes a document in one step, `0640 root:unbox`.
///
/// In a sandbox, and where the group does not exist, the file belongs to the agent's user.
///
/// # Errors
/// [`FilesError`]; the old document then still exists.
pub fn write(layout: &Layout, path: &Path, document: &impl Serialize) -> Result<(), FilesError> {
    let attributes = attributes(layout)?;
    let json = files::to_json_lines(path, document)?;
    let entry = Entry::from_path(path)?;
    if matches!(entry.status()?, Status::Directory(_)) {
        entry.discard()?;
    }
    entry.write(attributes, |file| file.write_all(&json))
}

/// Returns true if a file exists with the owner and the permissions that [`write()`] sets: with others, the
/// network side cannot read it, or can do more than read it.
///
/// # Errors
/// [`FilesError`] if the file cannot be examined.
pub fn is_readable_by_its_reader(layout: &Layout, path: &Path) -> Result<bool, FilesError> {
    let expected = attributes(layout)?;
    Ok(match Entry::from_path(path)?.status()? {
        Status::File(found, _) => {
            found.mode == expected.mode && (expected.owner.is_none() || found.owner == expected.owner)
        }
        _ => false,
    })
}

fn attributes(layout: &Layout) -> Result<Attributes, FilesError> {
    Ok(Attributes { mode: MODE, owner: owner(layout)? })
}

fn owner(layout: &Layout) -> Result<Option<Owner>, FilesError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    // Parsed here and not by libc: a static build must not load name service modules.
    let groups = files::read(&layout.path("/etc/group"), MAX_GROUPS_BYTES)?.unwrap_or_default();
    let gid = group_id(&String::from_utf8_lossy(&groups));
    Ok(gid.map(|gid| Owner { uid: 0, gid }))
}

/// Returns the id of the network side's group (group(5)).
fn group_id(groups: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let (name, rest) = line.split_once(':')?;
        let gid = rest.split(':').nth(1)?;
        (name == GROUP).then_some(gid)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_world_reads_nothing_that_is_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        write(&Layout::new(folder.path()), &path, &["x"]).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(files::read(&path, 99).unwrap().unwrap(), b"[\n  \"x\"\n]\n");
    }

    #[test]
    fn the_group_is_the_roots_own() {
        for (groups, expected) in [
            ("root:x:0:\nunbox:x:998:\n", Some(998)),
            ("unboxed:x:5:\n#unbox:x:6:\n", None),
            ("unbox:x\n", None),
            ("", None),
        ] {
            assert_eq!(group_id(groups), expected, "{groups:?}");
        }
    }
}
