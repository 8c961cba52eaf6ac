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
    /// Returns true if one of these packages, by this name, is enough.
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

    /// Returns the places of its exclusive files.
    pub(crate) const fn exclusive(&self) -> &BTreeSet<SafePath> {
        &self.exclusive
    }

    /// Returns the places of its directories.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &SafePath> {
        self.directories.iter().map(|(place, _)| place)
    }

    /// Returns all its places.
    pub(crate) fn all(&self) -> BTreeSet<SafePath> {
        self.files.keys().chain(self.directories()).cloned().collect()
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
    for package in packages {
        let mut others = packages.iter().filter(|other| other.package != package.package);
        others.try_for_each(|other| check_places(package, other))?;
    }
    Ok(())
}

/// Refuses two names for one place, and a directory in the place of another package's file.
fn check_places(package: &PackagePlaces, other: &PackagePlaces) -> Result<(), TargetError> {
    let twice = package.files.iter().find_map(|(place, name)| {
        let other_name = other.files.get(place).filter(|other_name| *other_name != name)?;
        Some((place, name, other_name))
    });
    let directory = other
        .directories
        .iter()
        .find_map(|(place, other_name)| Some((place, package.files.get(place)?, other_name)));
    let Some((place, name, other_name)) = twice.or(directory) else { return Ok(()) };
    let why = format!(
        "{name}, and {other_name} of package {}, are one place on this device, {place}",
        other.package
    );
    Err(TargetError::PackageUnfit { package: package.package.clone(), why })
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

/// Returns the files beside a configuration file that dpkg makes, or removes together with it: its own copies
/// and those that editors make (dpkg(1), `--force-confold` and `--purge`). `beside` are the names in its
/// directory.
pub(crate) fn copies_beside(path: &SafePath, beside: &[String]) -> Vec<SafePath> {
    let (folder, name) = path.as_str().rsplit_once('/').unwrap_or_default();
    let endings = [".dpkg-dist", ".dpkg-old", ".dpkg-new", ".dpkg-tmp", "~", ".bak", "%"];
    let copies = endings.iter().map(|ending| format!("{path}{ending}"));
    let is_numbered = |copy: &&String| {
        let number = copy.strip_prefix(name).and_then(|rest| rest.strip_prefix('~')?.strip_suffix('~'));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let numbered = beside.iter().filter(is_numbered).map(|copy| format!("{folder}/{copy}"));
    let all = copies.chain([format!("{folder}/#{name}#")]).chain(numbered);
    all.filter_map(|copy| SafePath::parse(&copy).ok()).collect()
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
    fn one_place_is_in_one_package() {
        let one = places("one", &["/lib/x"], &[], &[]);
        for (files, directories, is_refused) in [
            (&["/usr/lib/x"][..], &[][..], true),
            (&[], &["/usr/lib/x"], true),
            (&[], &["/lib/x"], true),
            (&["/lib/x"], &["/lib"], false),
        ] {
            let two = places("two", files, directories, &[]);
            for packages in [[one.clone(), two.clone()], [two, one.clone()]] {
                assert_eq!(check_together(&packages).is_err(), is_refused, "{files:?} {directories:?}");
            }
        }
    }

    #[test]
    fn configuration_may_leave_copies_beside_it() {
        let beside = ["a.conf~", "a.conf~~", "a.conf~12~", "a.conf~x~", "b.conf~1~"].map(str::to_owned);
        let copies = copies_beside(&SafePath::parse("/srv/a.conf").unwrap(), &beside);
        let copies: Vec<&str> = copies.iter().map(SafePath::as_str).collect();
        assert_eq!(copies.len(), 10, "{copies:?}");
        assert!(
            ["/srv/a.conf~12~", "/srv/#a.conf#", "/srv/a.conf.bak"].iter().all(|copy| copies.contains(copy))
        );
    }
}
