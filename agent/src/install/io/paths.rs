//! Files, links, directories and trees: reading and changing their states.

use super::{SystemError, archive, contents::Contents, entries};
use crate::{
    files::{self, Attributes, FilesError, NewTree, Owner, Root, Status},
    install::{Resource, State, package::working_copies, resource::DPC_DIRECTORY},
    programs::Program,
};
use std::{io, path::PathBuf, time::Duration};
use unbox_common::{
    digest::{Hasher, Sha256},
    path::SafePath,
    payload::DpcName,
};

/// The most files for one run of a program, and its time limit.
const MAX_UNLOCKED: usize = 1000;
const UNLOCK_LIMIT: Duration = Duration::from_mins(1);

/// Returns the kind of object at a path, without reading it.
pub(crate) fn status(root: &Root, path: &SafePath) -> Result<Status, FilesError> {
    root.entry(path)?.map_or(Ok(Status::Absent), |entry| entry.status())
}

/// Returns the state of a path.
pub(crate) fn look(root: &Root, path: &SafePath) -> Result<State, FilesError> {
    let Some(entry) = root.entry(path)? else {
        return Ok(State::Absent);
    };
    let blocked = |why| FilesError::Blocked { path: entry.path().to_owned(), why };
    match entry.status()? {
        Status::Absent => Ok(State::Absent),
        Status::File(Attributes { mode, owner }, _) => {
            let owner = owner.ok_or_else(|| blocked("its owner is not known"))?;
            let Some(mut file) = entry.open()? else { return Ok(State::Absent) };
            let mut hashing = Hashing { hasher: Hasher::new(), size: 0 };
            io::copy(&mut file, &mut hashing)
                .map_err(|source| FilesError::Read { path: entry.path().to_owned(), source })?;
            let Hashing { hasher, size } = hashing;
            Ok(State::File { digest: hasher.finish(), size, mode, owner })
        }
        Status::Directory(Attributes { mode, owner }) => {
            let owner = owner.ok_or_else(|| blocked("its owner is not known"))?;
            Ok(State::Directory { mode, owner })
        }
        Status::Symlink => {
            let target = entry.link_target()?.into_string();
            let target = target.map_err(|_| blocked("it is a link whose target is not UTF-8"))?;
            Ok(State::Symlink { target })
        }
        Status::Special => Err(blocked("it is a device, a FIFO or a socket")),
    }
}

/// Changes a path to a state, atomically.
pub(crate) fn change(
    root: &Root,
    path: &SafePath,
    after: &State,
    contents: &Contents,
) -> Result<(), SystemError> {
    let Some(entry) = root.entry(path)? else {
        let why = "the directory that it should be in is missing";
        return match after {
            State::Absent => Ok(()),
            _ => Err(FilesError::Blocked { path: path.to_path(root.path()), why }.into()),
        };
    };
    match after {
        State::Absent => entry.remove()?,
        State::File { digest, size, mode, owner } => {
            entry.write(Attributes { mode: *mode, owner: Some(*owner) }, |file| {
                io::copy(&mut contents.open(*digest, *size)?, file).map(drop)
            })?;
        }
        State::Symlink { target } => entry.make_symlink(target.as_ref())?,
        State::Directory { mode, owner } => {
            entry.make_directory(Attributes { mode: *mode, owner: Some(*owner) })?;
        }
        other => return Err(mismatch(&Resource::Path(path.clone()), other)),
    }
    Ok(())
}

/// Removes the leftovers of an interrupted step beside a path.
pub(crate) fn clear(root: &Root, resource: &Resource) -> Result<(), FilesError> {
    match resource {
        Resource::Path(path) => match root.entry(path)? {
            Some(entry) => entry.clear(),
            None => Ok(()),
        },
        Resource::Tree { dpc, digest } => match root.entry(&tree_path(root, dpc, *digest)?)? {
            Some(entry) => files::clear_tree(&entry),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Takes the attributes from files and directories that not even root can change or remove (chattr(1)). The
/// program does it, because the system call is not safe. Where it is missing, they stay.
pub(crate) fn unlock(paths: &[PathBuf]) {
    let is_plain =
        |path: &&PathBuf| path.symlink_metadata().is_ok_and(|found| found.is_file() || found.is_dir());
    let plain: Vec<&PathBuf> = paths.iter().filter(is_plain).collect();
    for some in plain.chunks(MAX_UNLOCKED) {
        if let Err(error) = Program::new("chattr").args(["-f", "-ia", "--"]).args(some).run(UNLOCK_LIMIT) {
            tracing::warn!(%error, "attributes of files could not be changed");
        }
    }
}

/// Puts aside what no file, link or directory of this state could replace.
pub(crate) fn make_way(root: &Root, path: &SafePath, after: &State) -> Result<(), FilesError> {
    let Ok(Some(entry)) = root.entry(path) else { return Ok(()) };
    let is_in_the_way = matches!(
        (entry.status()?, after),
        (Status::Directory(_), State::File { .. } | State::Symlink { .. })
            | (Status::File(..) | Status::Symlink, State::Directory { .. })
            | (Status::Special, _)
    );
    if !is_in_the_way {
        return Ok(());
    }
    let aside = entry.put_aside()?;
    tracing::error!(%path, moved_to = %aside.display(), "something else was in the place of what is put back");
    Ok(())
}

/// Removes the working copies that a killed dpkg left beside a path. A directory among them is what was there
/// before, and stays.
pub(crate) fn clear_working_copies(root: &Root, path: &SafePath) -> Result<(), FilesError> {
    for copy in working_copies(path) {
        if let Some(entry) = root.entry(&copy)?
            && matches!(entry.status()?, Status::File(..) | Status::Symlink)
        {
            entry.remove()?;
        }
    }
    Ok(())
}

/// Copies the file that is about to change into the blobs.
pub(crate) fn keep(
    root: &Root,
    path: &SafePath,
    found: &State,
    contents: &Contents,
) -> Result<(), FilesError> {
    let State::File { digest, size, .. } = found else { return Ok(()) };
    if contents.has(*digest)? {
        return Ok(());
    }
    let file = match root.entry(path)? {
        Some(entry) => entry.open()?,
        None => None,
    };
    let gone = || FilesError::Blocked {
        path: path.to_path(root.path()),
        why: "it went away while the installation was being prepared",
    };
    contents.keep_from(file.ok_or_else(gone)?, *digest, *size)
}

/// Returns the path of a tree. `/opt` may be a link made by the image.
pub(crate) fn tree_path(root: &Root, dpc: &DpcName, digest: Sha256) -> Result<SafePath, FilesError> {
    let path = format!("{DPC_DIRECTORY}/{dpc}/{digest}");
    let path = SafePath::parse(&path)
        .map_err(|source| FilesError::Forbidden { path: root.path().join(&path), source })?;
    root.resolve(&path)
}

/// Returns true if a tree exists. It appears and disappears atomically, so checking its name is enough.
pub(crate) fn look_tree(root: &Root, dpc: &DpcName, digest: Sha256) -> Result<State, FilesError> {
    let status = match root.entry(&tree_path(root, dpc, digest)?)? {
        Some(entry) => entry.status()?,
        None => Status::Absent,
    };
    Ok(if matches!(status, Status::Directory(_)) { State::Unpacked } else { State::Absent })
}

/// Unpacks or removes a tree.
pub(crate) fn change_tree(
    root: &Root,
    dpc: &DpcName,
    digest: Sha256,
    after: &State,
    contents: &Contents,
) -> Result<(), SystemError> {
    let path = tree_path(root, dpc, digest)?;
    let Some(entry) = root.entry(&path)? else {
        return change(root, &path, after, contents);
    };
    match after {
        State::Absent => files::remove_tree(&entry)?,
        State::Unpacked => {
            let archive = contents
                .open_any(digest)
                .map_err(|source| FilesError::Read { path: entry.path().to_owned(), source })?;
            let tree = NewTree::begin(&entry, tree_owner())?;
            archive::unpack(archive, entries::LIMITS, &tree)?;
            tree.publish()?;
        }
        other => return Err(mismatch(&Resource::Tree { dpc: dpc.clone(), digest }, other)),
    }
    Ok(())
}

/// Returns the owner of trees: root, or the only possible owner in a sandbox without root.
fn tree_owner() -> Option<Owner> {
    nix::unistd::geteuid().is_root().then_some(Owner { uid: 0, gid: 0 })
}

/// Returns the error for a state that such a resource cannot have, in a journal that this agent did not
/// write.
pub(crate) fn mismatch(resource: &Resource, state: &State) -> SystemError {
    SystemError::Unsupported {
        what: format!("{resource} as {state}"),
        why: "a thing of this kind has no such state".to_owned(),
    }
}

/// A writer that computes digest and size.
struct Hashing {
    hasher: Hasher,
    size: u64,
}

impl io::Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
