//! The packages on the device and what is theirs, by real places: links on the device may give one place
//! several names. Packages that no payload brought are foreign: nothing of theirs is replaced, and none of
//! them disappears.

use super::{System, packages::PackageFiles, paths};
use crate::{
    files::{Root, Status},
    install::{InstallError, package::PackagePlaces},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fs,
};
use unbox_common::{
    path::{RelativePath, SafePath},
    payload::PackageName,
};

/// The owners of the places in question, and everybody's lists.
pub(super) struct Owners<'a> {
    root: &'a Root,
    lists: BTreeMap<String, Vec<String>>,
    /// The names of packages that payloads bring.
    own: BTreeSet<String>,
    /// Package and listed name, by place.
    by_place: BTreeMap<String, Vec<(String, String)>>,
}

impl<'a> Owners<'a> {
    /// Finds the owners of these places. `diverted` is the other name of a file.
    pub(super) fn find(
        system: &'a dyn System,
        own: BTreeSet<String>,
        places: &BTreeSet<&str>,
        diverted: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, InstallError> {
        let lists = system.packages().lists().map_err(InstallError::Package)?;
        let root = system.root();
        let mut directories = Directories { root, real: HashMap::new() };
        let mut by_place: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (owner, list) in &lists {
            for name in list {
                for place in [Some(name.clone()), diverted(name)].into_iter().flatten() {
                    let place = directories.place_of(&place);
                    if places.contains(place.as_str()) {
                        by_place.entry(place).or_default().push((owner.clone(), name.clone()));
                    }
                }
            }
        }
        Ok(Self { root, lists, own, by_place })
    }

    /// Returns the foreign package that has a place, and its name there.
    pub(super) fn foreign_owner(&self, place: &SafePath) -> Option<(&str, &str)> {
        let (owner, name) = self.owners(place).find(|(owner, _)| !self.own.contains(*owner))?;
        Some((owner, name))
    }

    /// Returns the packages that have a place, each with its name there.
    pub(super) fn owners(&self, place: &SafePath) -> impl Iterator<Item = (&str, &str)> {
        let owners = self.by_place.get(place.as_str()).into_iter().flatten();
        owners.map(|(owner, name)| (owner.as_str(), name.as_str()))
    }

    /// Returns why a package must not be installed: it would replace files of foreign packages, even missing
    /// ones, or put a directory in the place of something else. dpkg itself would leave a file that it
    /// replaced without an owner once the package is removed.
    pub(super) fn objection(&self, new: &PackagePlaces, had: &BTreeSet<SafePath>) -> Option<String> {
        let words = |(owner, name)| format!("it would replace {name} of package {owner}");
        let mut fresh = new.files().keys().filter(|place| !had.contains(*place));
        let taken = fresh.find_map(|place| self.foreign_owner(place));
        if let Some(taken) = taken {
            return Some(words(taken));
        }
        for place in new.directories().filter(|place| !had.contains(*place)) {
            let foreign = self.foreign_owner(place);
            let is_directory = match paths::status(self.root, place) {
                Ok(Status::Absent) => foreign.is_none_or(|(_, name)| self.is_directory(name)),
                Ok(Status::Directory(_)) => true,
                Ok(Status::Symlink) => {
                    fs::metadata(place.to_path(self.root.path())).is_ok_and(|found| found.is_dir())
                }
                _ => false,
            };
            if !is_directory {
                let unowned = || format!("its directory {place} is something else here, which would be lost");
                return Some(foreign.map_or_else(unowned, words));
            }
        }
        None
    }

    /// Returns true if any package has something below this name.
    fn is_directory(&self, name: &str) -> bool {
        let is_below = |path: &String| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/'));
        self.lists.values().flatten().any(is_below)
    }

    /// Finds a package that would disappear: dpkg takes one for replaced, and removes it, if everything that
    /// it has is in the packages that are installed, or in others as well.
    pub(super) fn find_replaced<'f>(&'f self, files: &'f PackageFiles) -> Option<&'f str> {
        let mut holders: HashMap<&str, (&str, bool)> = HashMap::new();
        for (owner, name) in
            self.lists.iter().flat_map(|(owner, list)| list.iter().map(move |name| (owner, name)))
        {
            let held = holders.entry(name.trim_start_matches('/')).or_insert((owner, false));
            held.1 |= held.0 != owner;
        }
        let paths_of = |name: &str| -> HashSet<&str> {
            let of_name = files.values().filter(|file| file.name == name);
            of_name.flat_map(|file| file.files.union(&file.directories)).map(RelativePath::as_str).collect()
        };
        let brought: Vec<(&str, HashSet<&str>)> =
            files.values().map(|file| (file.name.as_str(), paths_of(&file.name))).collect();
        let foreign =
            self.lists.iter().filter(|(owner, _)| !self.own.contains(*owner)).map(|(owner, list)| {
                let paths = list.iter().map(|path| path.trim_start_matches('/'));
                (owner.as_str(), paths.filter(|path| !matches!(*path, "" | ".")).collect())
            });
        let goes = |(owner, paths): &(&str, HashSet<&str>)| {
            let is_brought =
                |path: &&str| brought.iter().any(|(other, paths)| other != owner && paths.contains(path));
            let is_shared = |path: &&str| {
                holders.get(path).is_some_and(|(holder, is_shared)| holder != owner || *is_shared)
            };
            paths.iter().any(is_brought) && paths.iter().all(|path| is_brought(path) || is_shared(path))
        };
        foreign.chain(brought.iter().cloned()).find(goes).map(|(owner, _)| owner)
    }

    /// Returns true if a package stays as it is that has this place.
    pub(super) fn stays(&self, place: &SafePath, changing: &[&PackageName]) -> bool {
        self.owners(place).any(|(owner, _)| !changing.iter().any(|name| name.as_str() == owner))
    }
}

/// The real paths of directories in lists, each looked up once.
struct Directories<'a> {
    root: &'a Root,
    real: HashMap<String, String>,
}

impl Directories<'_> {
    /// Returns the place of a listed name. One that cannot be reached is a place of its own.
    fn place_of(&mut self, name: &str) -> String {
        let (directory, last) = name.rsplit_once('/').unwrap_or_default();
        if !self.real.contains_key(directory) {
            let inside = SafePath::parse(&format!("{directory}/.unbox")).ok();
            let inside = inside.and_then(|inside| self.root.resolve(&inside).ok());
            let real = inside.as_ref().and_then(|inside| inside.as_str().strip_suffix("/.unbox"));
            self.real.insert(directory.to_owned(), real.unwrap_or(directory).to_owned());
        }
        let real = self.real.get(directory).map_or(directory, String::as_str);
        format!("{real}/{last}")
    }
}
