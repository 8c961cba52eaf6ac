//! The places of packages on this device, by whatever names the packages know them.

use super::{
    Packages, System, SystemError,
    contents::Contents,
    packages::{PackageFiles, unfit_error},
    paths,
    reach::{OwnPlaces, place_of},
};
use crate::{
    files::Status,
    install::{
        InstallError, State,
        choices::Diversion,
        package::{PackageFile, PackagePlaces, Relations, copies_beside},
        target::TargetError,
    },
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};
use unbox_common::{
    digest::Sha256,
    path::{RelativePath, SafePath},
    payload::PackageName,
};

/// The places that the change of a package concerns.
pub(super) struct Effect {
    pub(super) name: PackageName,
    /// True if the package goes.
    pub(super) goes: bool,
    /// Its places so far.
    pub(super) had: BTreeSet<SafePath>,
    /// Its places from now on.
    pub(super) new: PackagePlaces,
    /// The places beside its configuration files so far.
    pub(super) had_beside: BTreeSet<SafePath>,
    /// The places beside its configuration files from now on.
    pub(super) new_beside: BTreeSet<SafePath>,
    pub(super) relations: Relations,
}

impl Effect {
    /// Returns all these places.
    pub(super) fn places(&self) -> BTreeSet<SafePath> {
        let beside = self.had_beside.union(&self.new_beside);
        self.new.all().iter().chain(&self.had).chain(beside).cloned().collect()
    }

    /// Returns the places that it did not have so far.
    pub(super) fn fresh(&self) -> BTreeSet<SafePath> {
        let beside = self.new_beside.difference(&self.had_beside);
        self.new.all().iter().chain(beside).filter(|place| !self.had.contains(*place)).cloned().collect()
    }
}

/// The mapping from paths in packages to real places on this device.
pub(super) struct Places<'a> {
    system: &'a dyn System,
    own: OwnPlaces,
    diverted: BTreeMap<String, Diversion>,
}

impl<'a> Places<'a> {
    pub(super) fn of(system: &'a dyn System) -> Result<Self, InstallError> {
        let choices = system.packages().choices().map_err(InstallError::Package)?;
        let diverted = choices.diversions.into_iter().map(|diversion| (diversion.from.clone(), diversion));
        Ok(Self { system, own: OwnPlaces::find(system.root()), diverted: diverted.collect() })
    }

    /// Returns the places that a change concerns.
    pub(super) fn predict(
        &self,
        contents: &Contents,
        (name, before, after): &(PackageName, State, State),
        files: &PackageFiles,
    ) -> Result<Effect, InstallError> {
        let packages = self.system.packages();
        let had = self.resolve_installed(before, || packages.paths_of(name))?;
        let had_conffiles = self.resolve_installed(before, || packages.conffiles_of(name))?;
        let (new, relations) = self.resolve_change(contents, name, after, files)?;
        let (had_beside, new_beside) = (self.beside(&had_conffiles), self.beside(new.exclusive()));
        Ok(Effect {
            name: name.clone(),
            goes: *after == State::Absent,
            had,
            new,
            had_beside,
            new_beside,
            relations,
        })
    }

    /// Returns the places beside configuration files.
    fn beside(&self, conffiles: &BTreeSet<SafePath>) -> BTreeSet<SafePath> {
        let mut names: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut beside = BTreeSet::new();
        for conffile in conffiles {
            let (folder, _) = conffile.as_str().rsplit_once('/').unwrap_or_default();
            let names = names.entry(folder).or_insert_with(|| {
                let entries = self.system.root().path().join(folder.trim_start_matches('/')).read_dir();
                let entries = entries.into_iter().flatten().flatten();
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            });
            beside.extend(copies_beside(conffile, names));
        }
        beside.retain(|path| self.can_be_seen(path));
        beside
    }

    fn can_be_seen(&self, path: &SafePath) -> bool {
        paths::status(self.system.root(), path).is_ok_and(|status| status != Status::Special)
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
    pub(super) fn resolve_package(&self, file: &PackageFile) -> Result<PackagePlaces, InstallError> {
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
        state: &State,
        paths: impl FnOnce() -> Result<Vec<String>, SystemError>,
    ) -> Result<BTreeSet<SafePath>, InstallError> {
        if *state == State::Absent {
            return Ok(BTreeSet::new());
        }
        let paths = paths().map_err(InstallError::Package)?;
        let paths = paths.iter().filter_map(|path| SafePath::parse(path).ok());
        let everywhere = paths.flat_map(|path| [self.diversion_of(&path), Some(path)]).flatten();
        let places = everywhere.filter_map(|path| self.system.root().resolve(&path).ok());
        Ok(places.filter(|path| self.can_be_seen(path)).collect())
    }

    /// Returns the other name of a diverted file.
    pub(super) fn other_name(&self, name: &str) -> Option<String> {
        self.diverted.get(name).map(|diversion| diversion.to.clone())
    }

    fn diversion_of(&self, path: &SafePath) -> Option<SafePath> {
        self.diverted.get(path.as_str()).and_then(|diversion| SafePath::parse(&diversion.to).ok())
    }
}

fn absolute_path(path: &RelativePath) -> Result<SafePath, TargetError> {
    Ok(SafePath::parse(&format!("/{path}"))?)
}

fn describe(packages: &dyn Packages, contents: &Contents, deb: Sha256) -> Result<PackageFile, InstallError> {
    packages.describe(&contents.blob_path(deb)).map_err(InstallError::Package)
}
