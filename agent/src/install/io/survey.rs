//! Surveys device and artifacts before anything changes, to find out what a payload means here.

use super::{
    System, SystemError, archive,
    contents::Contents,
    entries,
    packages::{self, PackageFiles},
    paths, reach,
};
use crate::{
    files::{FilesError, Owner, Root, Status},
    install::{
        InstallError, Resource, State, States,
        accounts::Accounts,
        record::Record,
        target::{Means, Target, TargetError, check_nesting, put, target},
    },
};
use std::{io, path::Path};
use unbox_common::{
    path::SafePath,
    payload::{DpcKind, FileContent, Payload, PolicyItem, UnitName},
    protocol::progress::Progress,
};

/// The largest `/etc/passwd` or `/etc/group` that is read, in bytes.
const MAX_ACCOUNTS_BYTES: u64 = 16 * 1024 * 1024;
/// Permissions of a missing parent directory.
const MADE_DIRECTORY_MODE: u32 = 0o755;
/// Allowance on disk for each file of a tree apart from its bytes.
const ENTRY_BYTES: u64 = 4096;

/// The meaning of a payload on this device.
pub(crate) struct Survey {
    /// The intended states, at their real places.
    pub(crate) target: Target,
    /// The room for the DPC's tree, in bytes.
    pub(crate) tree_bytes: u64,
    /// The package files.
    pub(crate) packages: PackageFiles,
}

/// A callback for progress.
pub(crate) type Hears<'a> = &'a mut dyn FnMut(Progress, Option<String>);

/// Surveys everything that a payload touches. Only blobs are written.
pub(crate) fn survey(
    system: &dyn System,
    contents: &Contents,
    blobs: &Path,
    payload: &Payload,
    installed: Option<&Record>,
    hears: Hears<'_>,
) -> Result<Survey, InstallError> {
    let root = system.root();
    let accounts = accounts(root)?;
    let (unit_file, tree_bytes) = inspect_dpc(contents, payload)?;
    reach::check_dpc_unit(payload, unit_file.as_deref())?;
    check_files(contents, payload)?;
    let packages = packages::inspect(system, contents, payload)?;
    let means =
        Means { accounts: &accounts, unit_file: unit_file.as_deref(), blobs: &blobs.to_string_lossy() };
    let mut target = target(payload, &means).map_err(InstallError::Target)?;
    drop_uncovered(system, &mut target, hears);
    check_device(system, payload, &accounts)?;
    target.states = resolve_paths(root, &target.states)?;
    add_parents(root, &mut target.states, installed, accounts.root())?;
    check_nesting(&target.states).map_err(InstallError::Target)?;
    reach::check(root, contents, payload, &target.states)?;
    for text in target.texts.values() {
        contents.keep(text).map_err(InstallError::Store)?;
    }
    Ok(Survey { target, tree_bytes, packages })
}

/// Returns the current state of everything that is or will be managed. Previously managed resources that
/// cannot be reached any more are left out.
pub(crate) fn observe(
    system: &dyn System,
    target: &Target,
    installed: Option<&Record>,
) -> Result<States, InstallError> {
    let settings = target.settings.keys().cloned().map(Resource::UnitSetting);
    let replaced = installed.iter().flat_map(|record| record.replaced.values());
    let replaced = replaced.flat_map(|replaced| replaced.0.keys().cloned());
    let managed = installed.iter().flat_map(|record| record.baseline.keys().cloned()).chain(replaced);
    let mut observed = States::new();
    let mut pending: Vec<Resource> = target.states.keys().cloned().chain(settings).chain(managed).collect();
    while let Some(resource) = pending.pop() {
        if observed.contains_key(&resource) {
            continue;
        }
        if let Resource::UnitSetting(unit) = &resource {
            // A unit's setting decides whether it runs after the next boot, so its activity is observed,
            // too.
            pending.push(Resource::UnitActivity(unit.clone()));
        }
        match look(system, &resource) {
            Ok(state) => drop(observed.insert(resource, state)),
            Err(error) if error.is_obstruction() && !target.states.contains_key(&resource) => {
                // The payload no longer names it, and somebody else has put an obstacle in its place.
                if is_special(system.root(), &resource, installed) {
                    observed.insert(resource, State::Absent);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(observed)
}

/// Returns true if a device, a FIFO or a socket is in the place of a file that a package replaced: its scripts
/// put it there, and the file comes back.
fn is_special(root: &Root, resource: &Resource, installed: Option<&Record>) -> bool {
    let mut replaced = installed.iter().flat_map(|record| record.replaced.values());
    let Resource::Path(path) = resource else { return false };
    let is_replaced = replaced.any(|replaced| replaced.0.contains_key(resource));
    is_replaced && matches!(paths::status(root, path), Ok(Status::Special))
}

/// Returns the current state of one resource.
pub(crate) fn look(system: &dyn System, resource: &Resource) -> Result<State, InstallError> {
    let root = system.root();
    let state = match resource {
        Resource::Path(path) => paths::look(root, path).map_err(SystemError::from),
        Resource::Tree { dpc, digest } => paths::look_tree(root, dpc, *digest).map_err(SystemError::from),
        other => system.look(other),
    };
    state.map_err(|source| InstallError::Look { resource: resource.clone(), source })
}

fn accounts(root: &Root) -> Result<Accounts, InstallError> {
    let read = |path: &str| -> Result<String, FilesError> {
        let safe =
            SafePath::parse(path).map_err(|source| FilesError::Forbidden { path: path.into(), source })?;
        let bytes = match root.entry(&root.resolve(&safe)?)? {
            Some(entry) => entry.read(MAX_ACCOUNTS_BYTES)?.unwrap_or_default(),
            None => Vec::new(),
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let me = nix::unistd::geteuid();
    let only_me = Owner { uid: me.as_raw(), gid: nix::unistd::getegid().as_raw() };
    let passwd = read("/etc/passwd").map_err(InstallError::Path)?;
    let group = read("/etc/group").map_err(InstallError::Path)?;
    Ok(Accounts::parse(&passwd, &group, (!me.is_root()).then_some(only_me)))
}

/// Reads the whole DPC archive, and returns its unit file and the room for its tree.
fn inspect_dpc(contents: &Contents, payload: &Payload) -> Result<(Option<Vec<u8>>, u64), InstallError> {
    let Some(dpc) = payload.dpc.as_ref().filter(|dpc| dpc.kind == DpcKind::Tar) else {
        return Ok((None, 0));
    };
    let (digest, size) = (dpc.artifact.sha256, dpc.artifact.size);
    let mut stream = contents.open(digest, size).map_err(InstallError::Artifact)?;
    let unit = dpc.unit.as_ref().map(UnitName::as_str);
    let inspected = archive::inspect(&mut stream, entries::LIMITS, unit);
    // If the bytes are not the artifact's, that error counts: it says nothing about the payload.
    io::copy(&mut stream, &mut io::sink()).map_err(InstallError::Artifact)?;
    let inspected = inspected.map_err(InstallError::Archive)?;
    let bytes = inspected.bytes.saturating_add(inspected.entries.saturating_mul(ENTRY_BYTES));
    Ok((inspected.unit, bytes))
}

/// Reads every artifact that becomes a file completely, as it will be read when it is written.
fn check_files(contents: &Contents, payload: &Payload) -> Result<(), InstallError> {
    for item in &payload.policy {
        if let PolicyItem::File { content: FileContent::Artifact(artifact), .. } = item {
            let opened = contents.open(artifact.sha256, artifact.size);
            let read = opened.and_then(|mut stream| io::copy(&mut stream, &mut io::sink()));
            read.map_err(InstallError::Artifact)?;
        }
    }
    Ok(())
}

fn drop_uncovered(system: &dyn System, target: &mut Target, hears: Hears<'_>) {
    let mut left_out = Vec::new();
    target.states.retain(|resource, _| {
        let covered = system.covers(resource);
        if !covered {
            left_out.push(resource.to_string());
        }
        covered
    });
    target.settings.retain(|unit, _| {
        let resource = Resource::UnitSetting(unit.clone());
        let covered = system.covers(&resource);
        if !covered {
            left_out.push(resource.to_string());
        }
        covered
    });
    if !left_out.is_empty() {
        let detail = format!("not changed in a sandbox: {}", left_out.join(", "));
        hears(Progress::ConfigWarning, Some(detail));
    }
}

/// Checks facts that only the device knows: its time zones, its home directories, its kernel's
/// parameters.
fn check_device(system: &dyn System, payload: &Payload, accounts: &Accounts) -> Result<(), InstallError> {
    let root = system.root();
    for item in &payload.policy {
        match item {
            PolicyItem::TimeZone { zone } => {
                let file = format!("/usr/share/zoneinfo/{zone}");
                if !matches!(state_at(root, &file)?, State::File { .. } | State::Symlink { .. }) {
                    return Err(InstallError::Target(TargetError::NoTimeZone(zone.to_string())));
                }
            }
            PolicyItem::AuthorizedKeys { user, .. } => {
                let reach = reach::reach_of_login(root, accounts, user)?;
                item.check_reach(reach).map_err(|error| InstallError::Target(error.into()))?;
                let home = accounts.user(user).map_or("", |account| account.home.as_str());
                if !matches!(state_at(root, home)?, State::Directory { .. } | State::Symlink { .. }) {
                    return Err(InstallError::Target(TargetError::NoHome(user.clone())));
                }
            }
            PolicyItem::Sysctl { key, .. } => {
                let resource = Resource::Sysctl(key.clone());
                if system.covers(&resource) && look(system, &resource)? == State::Absent {
                    return Err(InstallError::Target(TargetError::NoSysctl(key.clone())));
                }
            }
            _ => (),
        }
    }
    Ok(())
}

fn state_at(root: &Root, path: &str) -> Result<State, InstallError> {
    let path = SafePath::parse(path).map_err(|error| InstallError::Target(error.into()))?;
    let resolved = root.resolve(&path).map_err(InstallError::Path)?;
    paths::look(root, &resolved).map_err(InstallError::Path)
}

/// Returns the same states, with links in the parents of every path resolved.
fn resolve_paths(root: &Root, states: &States) -> Result<States, InstallError> {
    let mut real = States::new();
    for (resource, state) in states {
        let resource = match resource {
            Resource::Path(path) => Resource::Path(root.resolve(path).map_err(InstallError::Path)?),
            other => other.clone(),
        };
        // Two names for one place contradict each other.
        if real.contains_key(&resource) {
            return Err(InstallError::Target(TargetError::Contradiction(resource)));
        }
        real.insert(resource, state.clone());
    }
    Ok(real)
}

/// Adds missing directories, and those that an earlier payload had made.
fn add_parents(
    root: &Root,
    states: &mut States,
    installed: Option<&Record>,
    owner: Owner,
) -> Result<(), InstallError> {
    let mut inner = Vec::new();
    for resource in states.keys() {
        match resource {
            Resource::Path(path) => inner.push(path.clone()),
            Resource::Tree { dpc, digest } => {
                inner.push(paths::tree_path(root, dpc, *digest).map_err(InstallError::Path)?);
            }
            _ => (),
        }
    }
    for parent in inner.iter().flat_map(SafePath::parents) {
        let resource = Resource::Path(parent);
        let Resource::Path(parent) = &resource else { continue };
        if states.contains_key(&resource) {
            continue;
        }
        let made_before = installed.and_then(|record| record.baseline.get(&resource));
        let missing = paths::look(root, parent).map_err(InstallError::Path)? == State::Absent;
        if missing || made_before == Some(&State::Absent) {
            let state = State::Directory { mode: MADE_DIRECTORY_MODE, owner };
            put(states, resource, state).map_err(InstallError::Target)?;
        }
    }
    Ok(())
}
