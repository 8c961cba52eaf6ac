//! The content of a package file, and the reasons why a device refuses it. Pure.
//!
//! Maintainer scripts are code that runs as root, and their effects are not predicted: the signed payload
//! names the package by its digest. Everything else that can be known before the first change is checked
//! then.

use super::TargetError;
use std::collections::BTreeSet;
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
    /// Those of its files that are configuration files (deb-conffiles(5)).
    pub conffiles: BTreeSet<RelativePath>,
    /// Its directories.
    pub directories: BTreeSet<RelativePath>,
}

/// The packages that a package needs, and the names that it stands for (deb-control(5)).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Relations {
    /// The names in `Depends` and `Pre-Depends`, alternatives included.
    pub needs: BTreeSet<String>,
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
    /// Parses the fields.
    pub(crate) fn parse(needs: &str, provides: &str) -> Self {
        let names = |field: &str| {
            let each = field.split([',', '|']).map(|relation| {
                let name = relation.trim().split([' ', '\t', '\n', '(', ':', '[', '<']).next();
                name.unwrap_or_default().to_owned()
            });
            each.filter(|name| !name.is_empty()).collect()
        };
        Self { needs: names(needs), provides: names(provides) }
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

/// Refuses a file below a path that this or another package has as a file or link: once that is
/// installed, the path would lead elsewhere.
pub(crate) fn check_nesting<'a>(
    packages: impl Iterator<Item = &'a PackageFile> + Clone,
) -> Result<(), TargetError> {
    let files: BTreeSet<&str> =
        packages.clone().flat_map(|package| &package.files).map(RelativePath::as_str).collect();
    for path in packages.flat_map(|package| package.files.iter().chain(&package.directories)) {
        let path = path.as_str();
        let mut parents = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        if let Some(outer) = parents.find(|outer| files.contains(outer)) {
            let [outer, inner] = [outer, path].map(|path| SafePath::parse(&format!("/{path}")));
            return Err(TargetError::Nested { outer: outer?, inner: inner? });
        }
    }
    Ok(())
}

/// Returns the files that dpkg leaves beside conffiles that were changed on the device (dpkg(1),
/// `--force-confold`).
pub(crate) fn leftovers(path: &SafePath) -> Vec<SafePath> {
    if !path.as_str().starts_with("/etc/") {
        return Vec::new();
    }
    let endings = ["dpkg-dist", "dpkg-old", "dpkg-new"];
    endings.iter().filter_map(|ending| SafePath::parse(&format!("{path}.{ending}")).ok()).collect()
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

    #[test]
    fn no_package_leads_another_through_its_links() {
        let link = package(&["srv/x"], &["srv"]);
        assert!(check_nesting([&link, &package(&["srv/y"], &["srv"])].into_iter()).is_ok());
        let through = package(&["srv/x/unbox/root.json"], &["srv/x"]);
        for packages in [[&link, &through], [&through, &link]] {
            assert!(matches!(check_nesting(packages.into_iter()), Err(TargetError::Nested { .. })));
        }
    }

    #[test]
    fn configuration_may_leave_copies_beside_it() {
        let names = |path: &str| leftovers(&SafePath::parse(path).unwrap()).len();
        assert_eq!((names("/etc/tool.conf"), names("/usr/bin/tool")), (3, 0));
    }
}
