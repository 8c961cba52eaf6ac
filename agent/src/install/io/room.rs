//! The check for enough room, for an installation and its rollback, before it begins.

use super::packages::PackageFiles;
use crate::install::{
    InstallError, Resource, State,
    plan::{Plan, Step},
    resource::{DPC_DIRECTORY, Phase},
};
use nix::sys::statvfs::statvfs;
use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Room to leave free on every file system that is written to, in bytes.
const MARGIN_BYTES: u64 = 4 * 1024 * 1024;
/// Directory of the package system's database.
const DATABASE: &str = "var/lib/dpkg";

/// The room needed, by place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Needs(Vec<(PathBuf, u64)>);

impl Needs {
    /// Computes the room for a plan, including copies of the files that it replaces.
    pub(crate) fn of(
        plan: &Plan,
        root: &Path,
        store: &Path,
        tree_bytes: u64,
        packages: &PackageFiles,
    ) -> Self {
        let mut needs = Self(vec![(store.to_owned(), kept_bytes(plan).saturating_mul(2))]);
        let database_bytes = database_bytes(plan, root);
        needs.0.push((store.to_owned(), database_bytes));
        needs.0.push((root.join(DATABASE), database_bytes));
        for change in plan.changes() {
            match (&change.resource, &change.after) {
                (Resource::Path(path), State::File { size, .. }) => {
                    needs.0.push((path.to_path(root), *size));
                }
                _ if change.phase() == Phase::Unpack => {
                    needs.0.push((root.join(DPC_DIRECTORY.trim_start_matches('/')), tree_bytes));
                }
                _ => (),
            }
        }
        if plan.changes().any(|change| change.phase() == Phase::Package) {
            for package in packages.values() {
                needs.0.push((root.join("usr"), package.installed_bytes));
                needs.0.push((root.join(DATABASE), package.control_bytes));
            }
        }
        needs
    }

    /// Checks that this much room and the margin are free.
    pub(crate) fn check(&self) -> Result<(), InstallError> {
        let mut by_device: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
        for (path, bytes) in &self.0 {
            let (existing, device) = nearest_directory(path).map_err(InstallError::Room)?;
            let (_, sum) = by_device.entry(device).or_insert((existing, MARGIN_BYTES));
            *sum = sum.saturating_add(*bytes);
        }
        for (path, needed) in by_device.into_values() {
            let stat = statvfs(&path).map_err(|errno| InstallError::Room(errno.into()))?;
            let free = stat.blocks_available().saturating_mul(stat.fragment_size());
            if free < needed {
                return Err(InstallError::NoRoom { path, needed, free });
            }
        }
        Ok(())
    }
}

/// Returns the size of all files that a plan replaces or removes, itself or through a package.
pub(crate) fn kept_bytes(plan: &Plan) -> u64 {
    let size = |state: &State| match state {
        State::File { size, .. } => *size,
        _ => 0,
    };
    let changing = plan.changes().map(|change| &change.before);
    changing.chain(plan.put_back.values()).map(size).fold(0, u64::saturating_add)
}

/// Returns the room to rewrite the package system's database, if the plan changes any package.
pub(crate) fn database_bytes(plan: &Plan, root: &Path) -> u64 {
    if !plan.steps.iter().any(Step::is_package_change) {
        return 0;
    }
    let status = root.join(DATABASE).join("status");
    // The new file is written beside the old one.
    status.metadata().map_or(0, |metadata| metadata.len().saturating_mul(2))
}

/// Returns the nearest existing directory, and its file system.
fn nearest_directory(path: &Path) -> io::Result<(PathBuf, u64)> {
    for existing in path.ancestors() {
        match fs::symlink_metadata(existing) {
            Ok(metadata) if metadata.is_dir() => return Ok((existing.to_owned(), metadata.dev())),
            Ok(_) => (),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_the_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("not/there/yet");
        Needs(vec![(path.clone(), 0)]).check().unwrap();
        let refused = Needs(vec![(path, u64::MAX / 2)]).check().unwrap_err();
        assert!(matches!(refused, InstallError::NoRoom { .. }), "{refused}");
    }
}
