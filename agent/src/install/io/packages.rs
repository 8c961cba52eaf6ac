//! Checks of packages before anything changes: the effect of installing or removing them on the rest of
//! the device, and the current content of their places.

use super::{
    Packages, System,
    contents::Contents,
    paths,
    reach::{OwnPlaces, place_of},
    survey,
};
use crate::files::Status;
use crate::install::{
    Change, InstallError, Resource, State, States,
    choices::Diversion,
    order::{Ranks, ranks},
    package::{PackageFile, PackagePlaces, Relations, check_together, copies_beside, names_of},
    plan::Plan,
    record::{Record, Replaced},
    target::TargetError,
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};
use unbox_common::{
    digest::Sha256,
    path::{RelativePath, SafePath},
    payload::{DpcKind, PackageName, Payload, PolicyItem},
};

/// The most paths that the packages of one payload may concern: the journal names each.
const MAX_PATHS: usize = 100_000;

/// The package files of a payload, by digest.
pub(crate) type PackageFiles = BTreeMap<Sha256, PackageFile>;

/// Copies every package out of reach of the user who fetched it, and checks that it is the one that the
/// payload names, and that it may be installed here.
pub(crate) fn inspect(
    system: &dyn System,
    contents: &Contents,
    payload: &Payload,
) -> Result<PackageFiles, InstallError> {
    let dpc = payload.dpc.iter().filter(|dpc| dpc.kind == DpcKind::Deb);
    let dpc = dpc.map(|dpc| (dpc.name.as_str(), &dpc.version, &dpc.artifact));
    let items = payload.policy.iter().filter_map(|item| match item {
        PolicyItem::Package { name, version, artifact } => Some((name.as_str(), version, artifact)),
        _ => None,
    });
    let mut files = PackageFiles::new();
    for (name, version, artifact) in dpc.chain(items) {
        contents.keep_artifact(artifact.sha256, artifact.size).map_err(InstallError::Keep)?;
        let file = system.packages().describe(&contents.blob_path(artifact.sha256));
        let file = file.map_err(InstallError::Package)?;
        file.check(name, version.as_str()).map_err(InstallError::Target)?;
        files.insert(artifact.sha256, file);
    }
    if !files.is_empty() {
        let places = Places::of(system)?;
        let resolved: Result<Vec<PackagePlaces>, InstallError> =
            files.values().map(|file| places.resolve_package(file)).collect();
        check_together(&resolved?).map_err(InstallError::Target)?;
    }
    Ok(files)
}

/// Determines the effect of the plan's packages on files that are not theirs, refuses forbidden effects,
/// and adds to the plan what must be restored if it is rolled back. Returns the files that the installed
/// packages will have replaced.
pub(crate) fn predict_effects(
    system: &dyn System,
    contents: &Contents,
    plan: &mut Plan,
    states: &States,
    installed: Option<&Record>,
    files: &PackageFiles,
) -> Result<Replaced, InstallError> {
    let is_kept = |name: &PackageName| states.contains_key(&Resource::Package(name.clone()));
    let mut replaced = installed.map(|record| record.replaced.clone()).unwrap_or_default();
    replaced.retain(|name, _| is_kept(name));
    let changes = package_changes(plan);
    let undone = choice_reversal(system, states, installed)?;
    if changes.is_empty() {
        plan.arrange(undone, Ranks::new());
        return Ok(replaced);
    }
    rehearse(system.packages(), contents, &changes)?;
    let foreign = foreign_lists(system, &changes, states)?;
    let places = Places::of(system)?;
    let managed = managed_paths(plan);
    let (mut concerned, mut relations) = (BTreeSet::new(), BTreeMap::new());
    for (name, before, after) in &changes {
        let had = places.resolve_installed(system.packages(), name, before)?;
        let (new, relation) = places.resolve_change(contents, name, after, files)?;
        relations.insert(name.clone(), relation);
        refuse_foreign_files(name, &new, &had, &foreign)?;
        let brings = new.all();
        let fresh = brings.difference(&had);
        let fresh: BTreeSet<SafePath> =
            fresh.flat_map(|path| copies_beside(path).into_iter().chain([path.clone()])).collect();
        if is_kept(name) {
            let of_package = replaced.entry(name.clone()).or_default();
            for path in fresh.difference(&managed) {
                let (resource, state) = pristine_state(system, path, installed)?;
                if state != State::Absent {
                    of_package.0.entry(resource).or_insert(state);
                }
            }
        }
        concerned.extend(had.union(&brings).cloned());
    }
    refuse_replacement(&foreign, files)?;
    replaced.retain(|_, replaced| !replaced.0.is_empty());
    let beside: Vec<SafePath> = concerned.iter().flat_map(copies_beside).collect();
    concerned.extend(beside);
    if concerned.len() > MAX_PATHS {
        let names: Vec<&str> = changes.iter().map(|(name, ..)| name.as_str()).collect();
        let why = format!("its files are more than {MAX_PATHS}");
        return Err(unfit_error(&names.join(", "), why));
    }
    record_current_states(system, plan, &concerned, &managed)?;
    plan.arrange(undone, ranks(&relations));
    Ok(replaced)
}

/// Returns the change that undoes the choices made by packages of earlier payloads, once there is no
/// package any more. As long as there is one, they may be its own.
fn choice_reversal(
    system: &dyn System,
    states: &States,
    installed: Option<&Record>,
) -> Result<Option<Change>, InstallError> {
    let made = installed.map(|record| record.made.clone()).unwrap_or_default();
    if made.is_empty() || states.keys().any(|resource| matches!(resource, Resource::Package(_))) {
        return Ok(None);
    }
    let before = survey::look(system, &Resource::Choices)?;
    let after = State::ChoicesWithout(Box::new(made));
    Ok(Some(Change { resource: Resource::Choices, before, after }))
}

/// Returns the content of a place before any payload, which is not the current one if an earlier payload
/// changed it.
fn pristine_state(
    system: &dyn System,
    path: &SafePath,
    installed: Option<&Record>,
) -> Result<(Resource, State), InstallError> {
    let resource = Resource::Path(path.clone());
    let known = installed.and_then(|record| record.baseline.get(&resource)).cloned();
    let state = known.map_or_else(|| survey::look(system, &resource), Ok)?;
    Ok((resource, state))
}

/// Records the state of every place that the packages concern, except those that the plan itself changes.
fn record_current_states(
    system: &dyn System,
    plan: &mut Plan,
    concerned: &BTreeSet<SafePath>,
    managed: &BTreeSet<SafePath>,
) -> Result<(), InstallError> {
    for path in concerned.difference(managed) {
        let resource = Resource::Path(path.clone());
        let state = survey::look(system, &resource)?;
        plan.put_back.insert(resource, state);
    }
    plan.put_back.insert(Resource::Choices, survey::look(system, &Resource::Choices)?);
    Ok(())
}

/// Returns the paths of the packages that the payload does not bring and that stay.
fn foreign_lists(
    system: &dyn System,
    changes: &[(PackageName, State, State)],
    states: &States,
) -> Result<BTreeMap<String, Vec<String>>, InstallError> {
    let mut lists = system.packages().lists().map_err(InstallError::Package)?;
    lists.retain(|owner, _| {
        let is_kept = |name: PackageName| states.contains_key(&Resource::Package(name));
        !owner.parse().is_ok_and(is_kept) && !changes.iter().any(|(name, ..)| name.as_str() == owner)
    });
    Ok(lists)
}

/// Refuses to replace files of packages that the payload did not bring, even those that are missing. dpkg
/// itself would do so only if one of the packages declares it (`Replaces`), and would leave the file without
/// an owner once the package is removed.
fn refuse_foreign_files(
    name: &PackageName,
    new: &PackagePlaces,
    had: &BTreeSet<SafePath>,
    foreign: &BTreeMap<String, Vec<String>>,
) -> Result<(), InstallError> {
    let fresh = new.files().iter().filter(|(place, _)| !had.contains(*place));
    let names: BTreeSet<&str> =
        fresh.flat_map(|(place, name)| names_of(place.as_str()).chain([name.as_str()])).collect();
    for (owner, list) in foreign {
        if let Some(path) = list.iter().find(|path| names.contains(path.as_str())) {
            return Err(unfit_error(name.as_str(), format!("it would replace {path} of package {owner}")));
        }
    }
    Ok(())
}

/// Refuses packages that together have every file and directory of another one: dpkg takes them for its
/// replacement, and removes it.
fn refuse_replacement(
    foreign: &BTreeMap<String, Vec<String>>,
    files: &PackageFiles,
) -> Result<(), InstallError> {
    let is_brought = |owner: &str, path: &RelativePath| {
        let mut others = files.values().filter(|file| file.name != owner);
        others.any(|file| file.files.contains(path) || file.directories.contains(path))
    };
    let listed = foreign.iter().map(|(owner, list)| {
        let paths = list.iter().filter_map(|path| RelativePath::parse(path.trim_start_matches('/')).ok());
        (owner, paths.collect())
    });
    let own = files
        .values()
        .map(|file| (&file.name, file.files.union(&file.directories).cloned().collect::<Vec<_>>()));
    let replaced = listed
        .chain(own)
        .find(|(owner, paths)| !paths.is_empty() && paths.iter().all(|path| is_brought(owner, path)));
    let Some((owner, _)) = replaced else { return Ok(()) };
    let names: Vec<&str> =
        files.values().map(|file| file.name.as_str()).filter(|name| name != owner).collect();
    let why = format!("they have everything that package {owner} has, so dpkg would remove that one");
    Err(unfit_error(&names.join(", "), why))
}

/// Has the package system simulate the change, to find packages it would remove and errors it would
/// report.
fn rehearse(
    packages: &dyn Packages,
    contents: &Contents,
    changes: &[(PackageName, State, State)],
) -> Result<(), InstallError> {
    let installs: Vec<(&PackageName, Sha256)> = changes
        .iter()
        .filter_map(|(name, _, after)| match after {
            State::Installed { deb: Some(deb), .. } => Some((name, *deb)),
            _ => None,
        })
        .collect();
    if installs.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = installs.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    let goes = |name: &str| {
        changes.iter().any(|(other, _, after)| other.as_str() == name && *after == State::Absent)
    };
    let debs: Vec<_> = installs.iter().map(|(_, deb)| contents.blob_path(*deb)).collect();
    let after_removals = changes.iter().any(|(.., after)| *after == State::Absent);
    let removed = packages.rehearse(&debs, after_removals).map_err(InstallError::Package)?;
    match removed.into_iter().find(|name| !goes(name)) {
        Some(removed) => Err(unfit_error(&names, format!("it would remove package {removed}"))),
        None => Ok(()),
    }
}

fn describe(packages: &dyn Packages, contents: &Contents, deb: Sha256) -> Result<PackageFile, InstallError> {
    packages.describe(&contents.blob_path(deb)).map_err(InstallError::Package)
}

fn package_changes(plan: &Plan) -> Vec<(PackageName, State, State)> {
    let planned = plan.changes().chain(&plan.cleanup);
    let of_package = |change: &Change| match &change.resource {
        Resource::Package(name) => Some((name.clone(), change.before.clone(), change.after.clone())),
        _ => None,
    };
    planned.filter_map(of_package).collect()
}

/// Returns the paths that the plan itself changes and rolls back.
fn managed_paths(plan: &Plan) -> BTreeSet<SafePath> {
    let path = |change: &Change| match &change.resource {
        Resource::Path(path) => Some(path.clone()),
        _ => None,
    };
    plan.changes().filter_map(path).collect()
}

fn unfit_error(package: &str, why: String) -> InstallError {
    InstallError::Target(TargetError::PackageUnfit { package: package.to_owned(), why })
}

/// The mapping from paths in packages to real places on this device.
struct Places<'a> {
    system: &'a dyn System,
    own: OwnPlaces,
    diverted: BTreeMap<String, Diversion>,
}

impl<'a> Places<'a> {
    fn of(system: &'a dyn System) -> Result<Self, InstallError> {
        let choices = system.packages().choices().map_err(InstallError::Package)?;
        let diverted = choices.diversions.into_iter().map(|diversion| (diversion.from.clone(), diversion));
        Ok(Self { system, own: OwnPlaces::find(system.root()), diverted: diverted.collect() })
    }

    /// Returns the places that a package will have, and its relations: those of the version to install, or
    /// of the one to remove.
    fn resolve_change(
        &self,
        contents: &Contents,
        name: &PackageName,
        after: &State,
        files: &PackageFiles,
    ) -> Result<(PackagePlaces, Relations), InstallError> {
        let packages = self.system.packages();
        let State::Installed { deb: Some(deb), .. } = after else {
            let relations = packages.relations_of(name).map_err(InstallError::Package)?;
            return Ok((PackagePlaces::default(), relations));
        };
        let file = match files.get(deb) {
            Some(file) => Cow::Borrowed(file),
            None => Cow::Owned(describe(packages, contents, *deb)?),
        };
        Ok((self.resolve_package(&file)?, file.relations.clone()))
    }

    /// Returns the places of a package file, each of which must be allowed.
    fn resolve_package(&self, file: &PackageFile) -> Result<PackagePlaces, InstallError> {
        let mut places = PackagePlaces::of(&file.name);
        for path in &file.directories {
            let path = absolute_path(path).map_err(InstallError::Target)?;
            for name in self.diversion_of(&path).into_iter().chain([path]) {
                places.add_directory(place_of(self.system.root(), &self.own, &name)?, name);
            }
        }
        for path in &file.files {
            let (is_exclusive, is_link) = (file.exclusive.contains(path), file.symlinks.contains(path));
            let path = absolute_path(path).map_err(InstallError::Target)?;
            let elsewhere = self.diversion_of(&path);
            if is_exclusive {
                self.refuse_link(&file.name, elsewhere.as_ref().unwrap_or(&path))?;
            }
            for name in elsewhere.into_iter().chain([path]) {
                let place = place_of(self.system.root(), &self.own, &name)?;
                if is_exclusive {
                    places.add_exclusive(place.clone());
                }
                if !is_link {
                    self.refuse_directory(&file.name, &place)?;
                }
                places.add_file(place, name).map_err(InstallError::Target)?;
            }
        }
        Ok(places)
    }

    /// Refuses a configuration file or the target of a hard link whose place is a link on this device: dpkg
    /// would change what it leads to.
    fn refuse_link(&self, package: &str, path: &SafePath) -> Result<(), InstallError> {
        let place = place_of(self.system.root(), &self.own, path)?;
        if matches!(paths::status(self.system.root(), &place), Ok(Status::Symlink)) {
            let why = format!("{place}, a configuration file or a file with hard links, is a link here");
            return Err(unfit_error(package, why));
        }
        Ok(())
    }

    /// Refuses a file whose place is a directory on this device: dpkg would remove it with everything in it.
    fn refuse_directory(&self, package: &str, place: &SafePath) -> Result<(), InstallError> {
        if matches!(paths::status(self.system.root(), place), Ok(Status::Directory(_))) {
            let why = format!("its file {place} is a directory here, whose content would be lost");
            return Err(unfit_error(package, why));
        }
        Ok(())
    }

    /// Returns the places of an installed package. Paths that cannot be named or reached are left out: no
    /// payload has brought them.
    fn resolve_installed(
        &self,
        packages: &dyn Packages,
        name: &PackageName,
        state: &State,
    ) -> Result<BTreeSet<SafePath>, InstallError> {
        if *state == State::Absent {
            return Ok(BTreeSet::new());
        }
        let paths = packages.paths_of(name).map_err(InstallError::Package)?;
        let paths = paths.iter().filter_map(|path| SafePath::parse(path).ok());
        let everywhere = paths.flat_map(|path| [self.diversion_of(&path), Some(path)]).flatten();
        let places = everywhere.filter_map(|path| self.system.root().resolve(&path).ok());
        let can_be_seen = |path: &SafePath| {
            paths::status(self.system.root(), path).is_ok_and(|status| status != Status::Special)
        };
        Ok(places.filter(can_be_seen).collect())
    }

    fn diversion_of(&self, path: &SafePath) -> Option<SafePath> {
        self.diverted.get(path.as_str()).and_then(|diversion| SafePath::parse(&diversion.to).ok())
    }
}

fn absolute_path(path: &RelativePath) -> Result<SafePath, TargetError> {
    Ok(SafePath::parse(&format!("/{path}"))?)
}
