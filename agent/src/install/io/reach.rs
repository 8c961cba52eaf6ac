//! The reach of a payload on this device: the lists of `unbox_common::protected` applied again to real
//! paths.

use super::contents::Contents;
use crate::{
    files::Root,
    install::{InstallError, Resource, States, package::UnitConflict, target::TargetError},
};
use std::{
    borrow::Cow,
    io::{self, Read as _},
    path::{Path, PathBuf},
};
use unbox_common::{
    path::SafePath,
    payload::{FileContent, Payload, PolicyItem},
    protected::{self, MAX_UNIT_FILE_BYTES, Reach},
};

/// Places of Unbox that have another name on this device: directories that are links, and the agent
/// itself.
#[derive(Debug)]
pub(crate) struct OwnPlaces(Vec<PathBuf>);

impl OwnPlaces {
    /// Finds those places.
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
pub(crate) fn check(
    root: &Root,
    contents: &Contents,
    payload: &Payload,
    states: &States,
) -> Result<(), InstallError> {
    let own = OwnPlaces::find(root);
    for resource in states.keys() {
        if let Resource::Path(path) = resource {
            own.check(path).map_err(InstallError::Target)?;
        }
    }
    for item in &payload.policy {
        if let PolicyItem::File { path, content, .. } = item {
            let real = root.resolve(path).map_err(InstallError::Path)?;
            let reach = protected::reach_of_path(real.as_str());
            item.check_reach(reach).map_err(|error| InstallError::Target(error.into()))?;
            if protected::is_unit_file(real.as_str()) {
                let text = text_of(contents, content).map_err(InstallError::Artifact)?;
                item.check_unit_file(&text).map_err(|error| InstallError::Target(error.into()))?;
            }
        }
    }
    Ok(())
}

/// Checks the unit file in a DPC's archive, which becomes one of the device's.
pub(crate) fn check_dpc_unit(payload: &Payload, text: Option<&[u8]>) -> Result<(), InstallError> {
    let unit = payload.dpc.as_ref().and_then(|dpc| dpc.unit.as_ref());
    match unit.zip(text).and_then(|(unit, text)| UnitConflict::find(unit.as_str(), text)) {
        Some(conflict) => Err(InstallError::Target(conflict.into())),
        None => Ok(()),
    }
}

/// Returns the text of a file in the policy; of a file too long for a unit file, one byte more than the
/// limit.
fn text_of<'a>(contents: &Contents, content: &'a FileContent) -> io::Result<Cow<'a, str>> {
    let artifact = match content {
        FileContent::Text(text) => return Ok(Cow::Borrowed(text)),
        FileContent::Base64(bytes) => return Ok(String::from_utf8_lossy(bytes.as_ref())),
        FileContent::Artifact(artifact) => artifact,
    };
    let mut stream = contents.open(artifact.sha256, artifact.size)?;
    let mut text = Vec::new();
    stream.by_ref().take(MAX_UNIT_FILE_BYTES as u64 + 1).read_to_end(&mut text)?;
    // The digest can be checked only at the end of the stream.
    io::copy(&mut stream, &mut io::sink())?;
    Ok(Cow::Owned(String::from_utf8_lossy(&text).into_owned()))
}

/// Resolves a path of a package, and refuses places that belong to Unbox or the package system.
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
