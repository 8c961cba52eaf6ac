//! How far a payload reaches on this device: the lists of `unbox_common::protected` once more, where links lead.

use crate::{
    files::Root,
    install::{InstallError, Resource, States, target::TargetError},
};
use std::path::{Path, PathBuf};
use unbox_common::{
    path::SafePath,
    payload::{Payload, PolicyItem},
    protected::{self, Reach},
};

/// The places of Unbox that have another name on this device: directories that are links, and the agent itself.
#[derive(Debug)]
pub(crate) struct OwnPlaces(Vec<PathBuf>);

impl OwnPlaces {
    /// Finds them.
    pub(crate) fn find(root: &Root) -> Self {
        let top = root.path().canonicalize().unwrap_or_else(|_| root.path().to_owned());
        let mut places: Vec<PathBuf> =
            protected::own_directories().map(|path| top.join(&path[1..])).collect();
        for directory in protected::unit_directories() {
            let entries = top.join(&directory[1..]).read_dir();
            let units = entries.into_iter().flatten().flatten();
            let own = units.filter(|unit| {
                let name = unit.file_name();
                matches!(protected::reach_of_unit(&name.to_string_lossy()), Reach::Never(_))
            });
            places.extend(own.map(|unit| unit.path()));
        }
        if root.path() == Path::new("/") {
            places.extend(std::env::current_exe());
        }
        let real = places.iter().filter_map(|place| place.canonicalize().ok());
        Self(real.filter_map(|place| Some(Path::new("/").join(place.strip_prefix(&top).ok()?))).collect())
    }

    /// Refuses a path inside one of them.
    pub(crate) fn check(&self, path: &SafePath) -> Result<(), TargetError> {
        let is_own = self.0.iter().any(|place| Path::new(path.as_str()).starts_with(place));
        if is_own { Err(reserved(path, "Unbox")) } else { Ok(()) }
    }
}

/// Checks everything that a payload writes, at its real places.
pub(crate) fn check(root: &Root, payload: &Payload, states: &States) -> Result<(), InstallError> {
    let own = OwnPlaces::find(root);
    for resource in states.keys() {
        if let Resource::Path(path) = resource {
            own.check(path).map_err(InstallError::Target)?;
        }
    }
    for item in &payload.policy {
        if let PolicyItem::File { path, .. } = item {
            let real = root.resolve(path).map_err(InstallError::Path)?;
            let reach = protected::reach_of_path(real.as_str());
            item.check_reach(reach).map_err(|error| InstallError::Target(error.into()))?;
        }
    }
    Ok(())
}

/// Finds the real place of a path of a package, and refuses one that is Unbox's or the package system's own.
pub(crate) fn place_of(root: &Root, own: &OwnPlaces, path: &SafePath) -> Result<SafePath, InstallError> {
    let real = root.resolve(path).map_err(InstallError::Path)?;
    own.check(&real).map_err(InstallError::Target)?;
    match protected::reach_of_path(real.as_str()) {
        Reach::Never(holder) => Err(InstallError::Target(reserved(&real, holder))),
        Reach::Open | Reach::Privileged(_) => Ok(real),
    }
}

fn reserved(path: &SafePath, holder: &'static str) -> TargetError {
    TargetError::Reserved { what: path.to_string(), holder }
}
