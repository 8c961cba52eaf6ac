//! The reach of a payload on this device: the lists of `unbox_common::protected` applied again to real
//! paths.

use super::contents::Contents;
use crate::{
    files::{FilesError, Root},
    install::{
        InstallError, Resource, States, accounts::Accounts, package::UnitConflict, target::TargetError,
    },
};
use std::{
    borrow::Cow,
    io::{self, Read as _},
    path::{Path, PathBuf},
};
use unbox_common::{
    path::SafePath,
    payload::{FileContent, Payload, PolicyItem, UserName},
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
        if is_own { Err(reserved_error(path, "Unbox")) } else { Ok(()) }
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
            let reach = reach_of_place(root, &real);
            item.check_reach(reach).map_err(|error| InstallError::Target(error.into()))?;
            if protected::is_unit_file(real.as_str()) {
                let text = text_of(contents, content).map_err(InstallError::Artifact)?;
                item.check_unit_file(&text).map_err(|error| InstallError::Target(error.into()))?;
            }
        }
    }
    Ok(())
}

/// Returns the reach of a real place on this device. A program in `/usr/local` runs in place of the system's
/// own one of the same name, because every search path begins there.
fn reach_of_place(root: &Root, place: &SafePath) -> Reach {
    let local = ["/usr/local/bin/", "/usr/local/sbin/"];
    let program = local.iter().find_map(|directory| place.as_str().strip_prefix(directory));
    let is_there = |program: &str| {
        let directories = ["usr/bin", "usr/sbin", "bin", "sbin"].map(|directory| root.path().join(directory));
        directories.iter().any(|directory| directory.join(program).symlink_metadata().is_ok())
    };
    match protected::reach_of_path(place.as_str()) {
        Reach::Open if program.is_some_and(is_there) => {
            Reach::Privileged("which of two programs of one name runs")
        }
        reach => reach,
    }
}

/// Returns which items may let somebody log in as this user, whatever links lead to the home: into root's it
/// is a login as root, and a home among the system's places is no ordinary one.
pub(crate) fn reach_of_login(
    root: &Root,
    accounts: &Accounts,
    user: &UserName,
) -> Result<Reach, InstallError> {
    let real = |home: &str| -> Result<Option<SafePath>, InstallError> {
        let inside = SafePath::parse(&format!("{home}/.ssh"));
        let inside = root.resolve(&inside.map_err(|error| InstallError::Target(error.into()))?);
        Ok(inside.map_err(InstallError::Path)?.parents().last())
    };
    let as_root = protected::reach_of_login(true);
    let Some(account) = accounts.user(user).filter(|_| !accounts.logs_in_as_root(user)) else {
        return Ok(as_root);
    };
    // A home directly at `/` has no name.
    let Some(home) = real(&account.home)? else { return Ok(as_root) };
    if accounts.root_homes().any(|of_root| real(of_root).is_ok_and(|of_root| of_root.as_ref() == Some(&home)))
    {
        return Ok(as_root);
    }
    Ok(protected::reach_of_path(home.as_str()))
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
    if protected::is_unit_file(real.as_str()) && !protected::is_unit_file(path.as_str()) {
        // Unit files in a package were searched by the names that they have there.
        let why = "a link on this device makes it a unit file, and it was not searched as one";
        return Err(InstallError::Path(FilesError::Blocked { path: path.to_path(root.path()), why }));
    }
    match protected::reach_of_path(real.as_str()) {
        Reach::Never(holder) => Err(InstallError::Target(reserved_error(&real, holder))),
        Reach::Open | Reach::Privileged(_) => Ok(real),
    }
}

fn reserved_error(path: &SafePath, holder: &'static str) -> TargetError {
    TargetError::Reserved { what: path.to_string(), holder }
}
