//! The content of a package file, and the reasons why a device refuses it. Pure.
//!
//! Maintainer scripts are code that runs as root, and their effects are not predicted: the signed payload
//! names the package by its digest. Everything else that can be known before the first change is checked
//! then.

use super::TargetError;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use unbox_common::{
    path::{RelativePath, SafePath},
    protected::{self, Reach},
};

/// The description of a package file (deb(5), deb-control(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackageFile {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// True if the package system would refuse to remove it, because it is essential or protected.
    pub is_lasting: bool,
    /// Its size on disk, in bytes: the sum of its files, or the declared size if that is larger.
    pub installed_bytes: u64,
    /// The size of its scripts and control files, which the package system keeps, in bytes.
    pub control_bytes: u64,
    /// Its relations to other packages.
    pub relations: Relations,
    /// A unit file in it that affects a unit of Unbox, if there is one.
    pub conflict: Option<UnitConflict>,
    /// Its files and links.
    pub files: BTreeSet<RelativePath>,
    /// Those of its files that are symbolic links.
    pub symlinks: BTreeSet<RelativePath>,
    /// Those of its files that must be no links on the device and in no other package: configuration files
    /// (deb-conffiles(5)) and the targets of hard links. dpkg would change whatever a link leads to.
    pub exclusive: BTreeSet<RelativePath>,
    /// Its directories.
    pub directories: BTreeSet<RelativePath>,
}

/// The packages that a package needs, and the names that it stands for (deb-control(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relations {
    /// The names in `Depends` and `Pre-Depends`, alternatives together.
    pub needs: BTreeSet<BTreeSet<String>>,
    /// The names in `Provides`.
    pub provides: BTreeSet<String>,
}

/// A unit file that affects not only its own unit, but also one that has to stay as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unit file {file} would replace, stop or hold up {unit}")]
pub struct UnitConflict {
    /// The unit file.
    pub file: String,
    /// The unit of Unbox, or the target that the device boots to.
    pub unit: String,
}

impl UnitConflict {
    /// Searches the text of a unit file.
    #[must_use]
    pub fn find(file: &str, text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        let unit = protected::own_unit_in(&text).or_else(|| protected::replaced_target_in(&text))?;
        Some(Self { file: file.to_owned(), unit })
    }

    /// Checks a link among unit files, which gives a unit another name.
    #[must_use]
    pub fn from_link(file: &str, target: &str) -> Option<Self> {
        let unit = target.rsplit('/').next().unwrap_or_default();
        let is_own = matches!(protected::reach_of_unit(unit), Reach::Never(_));
        is_own.then(|| Self { file: file.to_owned(), unit: unit.to_owned() })
    }
}

impl Relations {
    /// Whether one of these packages, which has this name, is enough.
    pub(crate) fn is_one_of(&self, name: &str, alternatives: &BTreeSet<String>) -> bool {
        alternatives.iter().any(|need| need == name || self.provides.contains(need))
    }

    /// Parses the fields.
    pub(crate) fn parse(needs: &str, provides: &str) -> Self {
        let names = |field: &str, separator: char| -> BTreeSet<String> {
            let each = field.split(separator).map(|relation| {
                let name = relation.trim().split([' ', '\t', '\n', '(', ':', '[', '<']).next();
                name.unwrap_or_default().to_owned()
            });
            each.filter(|name| !name.is_empty()).collect()
        };
        let needs = needs.split(',').map(|alternatives| names(alternatives, '|'));
        Self { needs: needs.filter(|names| !names.is_empty()).collect(), provides: names(provides, ',') }
    }
}

impl PackageFile {
    /// Checks that this is the package that a payload names, and that it can be removed again.
    pub(crate) fn check(&self, name: &str, version: &str) -> Result<(), TargetError> {
        if self.name != name || self.version != version {
            return Err(TargetError::WrongPackage {
                expected: format!("{name} {version}"),
                found: format!("{} {}", self.name, self.version),
            });
        }
        if let Some(conflict) = &self.conflict {
            return Err(conflict.clone().into());
        }
        let is_own = name == "unbox-agent" || name.starts_with("unbox-agent-");
        let why = match () {
            () if is_own => "it is the agent itself, which does not replace itself while it installs",
            () if self.is_lasting => "it is essential or protected, and could not be removed again",
            () => return Ok(()),
        };
        Err(TargetError::PackageUnfit { package: name.to_owned(), why: why.to_owned() })
    }
}

/// The places of a package on a device, each with its name in the package: links on the device may give one
/// place several names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PackagePlaces {
    package: String,
    files: BTreeMap<SafePath, SafePath>,
    directories: BTreeSet<(SafePath, SafePath)>,
    exclusive: BTreeSet<SafePath>,
}

impl PackagePlaces {
    pub(crate) fn of(package: &str) -> Self {
        Self { package: package.to_owned(), ..Self::default() }
    }

    pub(crate) fn add_directory(&mut self, place: SafePath, name: SafePath) {
        self.directories.insert((place, name));
    }

    /// Adds a file, which must not be in the same place as another one.
    pub(crate) fn add_file(&mut self, place: SafePath, name: SafePath) -> Result<(), TargetError> {
        match self.files.entry(place) {
            Entry::Occupied(there) if *there.get() != name => {
                let (other, place) = (there.get(), there.key());
                let why = format!("{other} and {name} are one place on this device, {place}");
                Err(TargetError::PackageUnfit { package: self.package.clone(), why })
            }
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(free) => {
                free.insert(name);
                Ok(())
            }
        }
    }

    /// Adds the place of an exclusive file.
    pub(crate) fn add_exclusive(&mut self, place: SafePath) {
        self.exclusive.insert(place);
    }

    /// Returns the places of its files.
    pub(crate) const fn files(&self) -> &BTreeMap<SafePath, SafePath> {
        &self.files
    }

    /// Returns all its places.
    pub(crate) fn all(&self) -> BTreeSet<SafePath> {
        let directories = self.directories.iter().map(|(place, _)| place);
        self.files.keys().chain(directories).cloned().collect()
    }

    /// Returns the places and names of its files.
    fn file_paths(&self) -> impl Iterator<Item = &SafePath> {
        self.files.iter().flat_map(|(place, name)| [place, name])
    }

    /// Returns all its places and names.
    fn paths(&self) -> impl Iterator<Item = &SafePath> {
        self.file_paths().chain(self.directories.iter().flat_map(|(place, name)| [place, name]))
    }
}

/// Checks that no file of these packages decides about the place or the content of another one.
pub(crate) fn check_together(packages: &[PackagePlaces]) -> Result<(), TargetError> {
    check_nesting(packages)?;
    for package in packages {
        for other in packages.iter().filter(|other| other.package != package.package) {
            if let Some(path) = other.file_paths().find(|path| package.exclusive.contains(path)) {
                let why = format!(
                    "{path} is also in package {}, and one of them has it as a configuration file or with hard \
                     links",
                    other.package
                );
                return Err(TargetError::PackageUnfit { package: package.package.clone(), why });
            }
        }
    }
    Ok(())
}

/// Refuses a path below one that this or another package has as a file or link: once that is installed, the
/// path would lead elsewhere.
fn check_nesting(packages: &[PackagePlaces]) -> Result<(), TargetError> {
    let files: BTreeSet<&str> =
        packages.iter().flat_map(PackagePlaces::file_paths).map(SafePath::as_str).collect();
    for inner in packages.iter().flat_map(PackagePlaces::paths) {
        let path = inner.as_str();
        let mut parents = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        if let Some(outer) = parents.find(|outer| files.contains(outer)) {
            return Err(TargetError::Nested { outer: SafePath::parse(outer)?, inner: inner.clone() });
        }
    }
    Ok(())
}

/// Returns the names by which packages may know a place: on a merged `/usr`, some list `/bin`, others
/// `/usr/bin`.
pub(crate) fn names_of(place: &str) -> impl Iterator<Item = &str> {
    let unmerged = place.strip_prefix("/usr").filter(|rest| {
        ["/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"].iter().any(|top| rest.starts_with(top))
    });
    unmerged.into_iter().chain([place])
}

/// Returns the files beside a configuration file that dpkg makes, or removes together with it: its own copies
/// and those that editors make (dpkg(1), `--force-confold` and `--purge`).
pub(crate) fn copies_beside(path: &SafePath) -> Vec<SafePath> {
    let (folder, name) = path.as_str().rsplit_once('/').unwrap_or_default();
    if !path.as_str().starts_with("/etc/") {
        return Vec::new();
    }
    let endings = [".dpkg-dist", ".dpkg-old", ".dpkg-new", ".dpkg-tmp", "~", ".bak", "%"];
    let copies = endings.iter().map(|ending| format!("{path}{ending}"));
    copies.chain([format!("{folder}/#{name}#")]).filter_map(|copy| SafePath::parse(&copy).ok()).collect()
}

/// Returns the working copies that dpkg makes beside a path, and leaves there if it is killed.
pub(crate) fn working_copies(path: &SafePath) -> impl Iterator<Item = SafePath> {
    ["dpkg-new", "dpkg-tmp"]
        .into_iter()
        .filter_map(move |ending| SafePath::parse(&format!("{path}.{ending}")).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(files: &[&str], directories: &[&str]) -> PackageFile {
        let paths = |paths: &[&str]| paths.iter().map(|path| RelativePath::parse(path).unwrap()).collect();
        PackageFile {
            name: "tool".to_owned(),
            version: "1".to_owned(),
            files: paths(files),
            directories: paths(directories),
            ..PackageFile::default()
        }
    }

    #[test]
    fn a_package_that_could_not_be_removed_again_is_refused() {
        let good = package(&[], &[]);
        assert!(good.check("tool", "1").is_ok());
        assert!(matches!(good.check("tool", "2"), Err(TargetError::WrongPackage { .. })));
        let essential = PackageFile { is_lasting: true, ..good.clone() };
        let agent = PackageFile { name: "unbox-agent".to_owned(), ..good };
        for refused in [essential.check("tool", "1"), agent.check("unbox-agent", "1")] {
            assert!(matches!(refused, Err(TargetError::PackageUnfit { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_package_with_a_unit_file_about_a_unit_of_unbox_is_refused() {
        let conflict =
            UnitConflict::find("/usr/lib/systemd/system/a.service", b"[Unit]\nConflicts=unbox.target\n");
        let tool = PackageFile { conflict, ..package(&[], &[]) };
        assert!(matches!(tool.check("tool", "1"), Err(TargetError::Unit(_))));
        for (target, is_refused) in [
            ("unbox-install.service", true),
            ("../x/unbox.target", true),
            ("b.service", false),
            ("/dev/null", false),
        ] {
            assert_eq!(UnitConflict::from_link("a.service", target).is_some(), is_refused, "{target}");
        }
    }

    /// The places of a package; in `/lib`, they are below `/usr`.
    fn places(package: &str, files: &[&str], directories: &[&str], exclusive: &[&str]) -> PackagePlaces {
        let mut places = PackagePlaces::of(package);
        let parse = |path: &str| SafePath::parse(path).unwrap();
        let place = |path: &str| match path.strip_prefix("/lib/") {
            Some(rest) => parse(&format!("/usr/lib/{rest}")),
            None => parse(path),
        };
        for path in files {
            places.add_file(place(path), parse(path)).unwrap();
        }
        for path in directories {
            places.add_directory(place(path), parse(path));
        }
        for path in exclusive {
            places.add_exclusive(place(path));
        }
        places
    }

    #[test]
    fn no_package_leads_another_through_its_links() {
        let link = places("one", &["/lib/x"], &["/lib"], &[]);
        assert!(check_together(&[link.clone(), places("two", &["/lib/y"], &["/lib"], &[])]).is_ok());
        for through in [
            places("two", &["/lib/x/unbox/root.json"], &["/lib/x"], &[]),
            places("two", &["/usr/lib/x/y"], &[], &[]),
            places("two", &[], &["/usr/lib/x/y"], &[]),
        ] {
            for packages in [[link.clone(), through.clone()], [through, link.clone()]] {
                assert!(matches!(check_together(&packages), Err(TargetError::Nested { .. })));
            }
        }
    }

    #[test]
    fn an_exclusive_file_is_in_no_other_package() {
        let one = places("one", &["/lib/x", "/lib/y"], &[], &["/lib/x"]);
        for (path, is_refused) in [("/lib/x", true), ("/usr/lib/x", true), ("/lib/y", false)] {
            let two = places("two", &[path], &[], &[]);
            for packages in [[one.clone(), two.clone()], [two, one.clone()]] {
                let refused = check_together(&packages);
                assert_eq!(refused.is_err(), is_refused, "{path}: {refused:?}");
            }
        }
        let mut twice = one;
        let [place, name] = ["/usr/lib/x"; 2].map(|path| SafePath::parse(path).unwrap());
        assert!(twice.add_file(place, name).is_err());
    }

    #[test]
    fn a_place_of_a_merged_usr_has_two_names() {
        let names = |place| names_of(place).collect::<Vec<_>>();
        assert_eq!(names("/usr/bin/ls"), ["/bin/ls", "/usr/bin/ls"]);
        assert_eq!(names("/usr/binary"), ["/usr/binary"]);
    }

    #[test]
    fn configuration_may_leave_copies_beside_it() {
        let names = |path: &str| copies_beside(&SafePath::parse(path).unwrap()).len();
        assert_eq!((names("/etc/tool.conf"), names("/usr/bin/tool")), (8, 0));
    }
}
