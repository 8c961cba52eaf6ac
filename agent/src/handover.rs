//! Files by which one side tells the other something: written by the privileged side, read by
//! the network side, and by nobody else.

use crate::files::{Attributes, Entry, FilesError, Owner};
use nix::unistd::Group;
use serde::Serialize;
use std::{io::Write as _, path::Path};

/// Permissions of such a file.
const MODE: u32 = 0o640;

/// The group of the network side.
const GROUP: &str = "unbox";

/// A file that could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// It could not be written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The document could not be put into words.
    #[error("a document could not be written as JSON")]
    Document(#[source] serde_json::Error),
    /// The group of the network side could not be looked up.
    #[error("the group {GROUP} could not be looked up")]
    Group(#[source] nix::Error),
}

/// Writes a document in one step, `0640 root:unbox`.
///
/// In a sandbox, and where there is no such group, it belongs to whoever runs the agent.
///
/// # Errors
/// [`HandoverError`]; the old document is then still there.
pub fn write(path: &Path, document: &impl Serialize) -> Result<(), HandoverError> {
    let attributes = Attributes { mode: MODE, owner: owner()? };
    let mut json = serde_json::to_vec_pretty(document).map_err(HandoverError::Document)?;
    json.push(b'\n');
    Entry::of(path)?.write(attributes, |file| file.write_all(&json))?;
    Ok(())
}

fn owner() -> Result<Option<Owner>, HandoverError> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let group = Group::from_name(GROUP).map_err(HandoverError::Group)?;
    Ok(group.map(|group| Owner { uid: 0, gid: group.gid.as_raw() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_world_reads_nothing_that_is_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity.json");
        write(&path, &["x"]).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(crate::files::read(&path, 99).unwrap().unwrap(), b"[\n  \"x\"\n]\n");
    }
}
