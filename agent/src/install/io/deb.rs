//! Package files, treated as hostile: their control fields, and every name in them.

use super::{
    SystemError,
    archive::ArchiveError,
    entries::{Item, LIMITS, Limits, Visitor, walk_tar},
};
use crate::{
    install::package::{PackageFile, Relations, UnitConflict},
    programs::{Finished, Program, ProgramError},
};
use std::{collections::BTreeSet, io::Read, path::Path, time::Duration};
use tar::EntryType;
use unbox_common::{
    path::RelativePath,
    protected::{self, MAX_UNIT_FILE_BYTES},
};

/// Time limit for reading the control fields.
const FIELDS_LIMIT: Duration = Duration::from_mins(1);
/// Time limit for unpacking the whole package on a slow device.
const LIST_LIMIT: Duration = Duration::from_mins(15);
/// The largest list of configuration files, in bytes.
const MAX_CONFFILES_BYTES: u64 = 256 * 1024;
/// Allowance on disk for each file apart from its bytes.
const ENTRY_BYTES: u64 = 4096;

/// The endings of the names that dpkg gives to copies beside a file while it works: what a package brings
/// there would take the place of the file, or dpkg would set mode and owner through it.
const WORKING_NAMES: [&str; 4] = [".dpkg-new", ".dpkg-tmp", ".dpkg-old", ".dpkg-dist"];

/// The limits of scripts and control files: dpkg unpacks them whole to read a single field.
const CONTROL_LIMITS: Limits = Limits { entries: 4096, bytes: 64 * 1024 * 1024 };

/// Reads a whole package file.
pub(super) fn describe(deb: &Path) -> Result<PackageFile, SystemError> {
    let mut control = Control::default();
    let control_bytes = walk("--ctrl-tarfile", deb, CONTROL_LIMITS, &mut control)?;
    let fields = Program::new("dpkg-deb")
        .arg("--field")
        .arg(deb)
        .args(["Package", "Version", "Installed-Size", "Essential", "Protected", "Important"])
        .args(["Depends", "Pre-Depends", "Provides"])
        .succeed(FIELDS_LIMIT)?;
    if fields.is_cut() {
        let why = "they are too long".to_owned();
        return Err(SystemError::Unsupported { what: "reading the control fields".to_owned(), why });
    }
    let mut package = package_file(&String::from_utf8_lossy(&fields.stdout));
    let mut listing = Listing::default();
    let unpacked = walk("--fsys-tarfile", deb, LIMITS, &mut listing)?;
    package.installed_bytes = package.installed_bytes.max(unpacked);
    package.control_bytes = control_bytes;
    package.exclusive = parse_conffiles(control.conffiles.as_deref().unwrap_or_default(), &listing)?;
    package.exclusive.append(&mut listing.link_targets);
    (package.files, package.directories) = (listing.files, listing.directories);
    package.symlinks = listing.symlinks;
    package.conflict = listing.conflict;
    Ok(package)
}

/// Reads one of the two archives in a package file, and returns its size on disk.
fn walk(archive: &str, deb: &Path, limits: Limits, visitor: &mut dyn Visitor) -> Result<u64, SystemError> {
    let (finished, walked) = Program::new("dpkg-deb")
        .arg(archive)
        .arg(deb)
        .run_into(LIST_LIMIT, |tar| walk_tar(tar, limits, visitor))?;
    // A refused name is a better message than the broken pipe that follows from it.
    let (entries, bytes) = match walked {
        Err(ArchiveError::Unreadable(_)) if !finished.status.success() => {
            return Err(program_error(&finished));
        }
        walked => walked?,
    };
    if !finished.status.success() {
        return Err(program_error(&finished));
    }
    Ok(bytes.saturating_add(entries.saturating_mul(ENTRY_BYTES)))
}

/// Returns the path of an entry.
fn path_of(item: &Item<'_>) -> Result<RelativePath, ArchiveError> {
    if item.is_extended {
        return Err(ArchiveError::Ambiguous { why: "dpkg does not read the extended header of an entry" });
    }
    RelativePath::parse(&item.name).map_err(ArchiveError::Name)
}

/// The list of configuration files among the scripts and control files of a package.
#[derive(Default)]
struct Control {
    conffiles: Option<Vec<u8>>,
}

impl Visitor for Control {
    /// Refuses a link, because dpkg would read the file that it leads to.
    fn visit(&mut self, item: Item<'_>) -> Result<(), ArchiveError> {
        let path = path_of(&item)?;
        match item.kind {
            EntryType::Regular if !item.name.ends_with('/') => (),
            _ => {
                return Err(ArchiveError::Forbidden { path, what: "no plain file among the control files" });
            }
        }
        if path.as_str() != "conffiles" {
            return Ok(());
        }
        let mut list = Vec::new();
        let mut contents = item.contents.take(MAX_CONFFILES_BYTES + 1);
        contents.read_to_end(&mut list).map_err(ArchiveError::Unreadable)?;
        if list.len() as u64 > MAX_CONFFILES_BYTES {
            let what = "bytes in its list of configuration files";
            return Err(ArchiveError::TooLarge { what, limit: MAX_CONFFILES_BYTES });
        }
        match self.conffiles.replace(list) {
            Some(_) => Err(ArchiveError::Twice { path }),
            None => Ok(()),
        }
    }
}

/// Parses the list of configuration files (deb-conffiles(5)), each of which must be a file in the package.
fn parse_conffiles(list: &[u8], listing: &Listing) -> Result<BTreeSet<RelativePath>, ArchiveError> {
    let list = std::str::from_utf8(list).map_err(|_| ArchiveError::NotText)?;
    let lines = list.split('\n').map(|line| line.trim_end_matches(|char: char| char.is_ascii_whitespace()));
    let parse = |line: &str| {
        let why = match line.strip_prefix('/') {
            Some(name) => match RelativePath::parse(name) {
                Ok(path) if path.as_str() == name && listing.has_regular_file(&path) => return Ok(path),
                _ => "the package does not bring this file",
            },
            None if line.starts_with("remove-on-upgrade") => {
                "with this flag, dpkg takes a file away from whoever has it"
            }
            None => "it is not an absolute path",
        };
        Err(ArchiveError::Conffile { line: line.chars().take(128).collect(), why })
    };
    lines.filter(|line| !line.is_empty()).map(parse).collect()
}

fn program_error(finished: &Finished) -> SystemError {
    let complaint = finished.complaint();
    ProgramError::Failed { program: "dpkg-deb".to_owned(), status: finished.status, complaint }.into()
}

fn package_file(control: &str) -> PackageFile {
    let field = |name: &str| {
        let mut lines = control.lines();
        let first = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let folded = lines.take_while(|line| line.starts_with([' ', '\t']));
        let value: Vec<&str> = first.into_iter().chain(folded).collect();
        value.join("\n").trim().to_owned()
    };
    let needs = format!("{}, {}", field("Depends"), field("Pre-Depends"));
    // In KiB (Debian Policy, section 5.6.20).
    let kib: u64 = field("Installed-Size").parse().unwrap_or(0);
    // `Important` is the former name of `Protected` (deb-control(5)).
    let is_lasting =
        ["Essential", "Protected", "Important"].iter().any(|name| field(name).eq_ignore_ascii_case("yes"));
    PackageFile {
        name: field("Package"),
        version: field("Version"),
        is_lasting,
        installed_bytes: kib.saturating_mul(1024),
        relations: Relations::parse(&needs, &field("Provides")),
        ..PackageFile::default()
    }
}

/// The names in a package, and the first conflict found in its unit files.
#[derive(Default)]
struct Listing {
    conflict: Option<UnitConflict>,
    files: BTreeSet<RelativePath>,
    /// Those of the files that are links of either kind.
    links: BTreeSet<RelativePath>,
    /// Those of the links that are symbolic.
    symlinks: BTreeSet<RelativePath>,
    /// Those of the files that hard links lead to.
    link_targets: BTreeSet<RelativePath>,
    directories: BTreeSet<RelativePath>,
}

impl Listing {
    fn has_regular_file(&self, path: &RelativePath) -> bool {
        self.files.contains(path) && !self.links.contains(path)
    }

    /// Returns the target of a hard link: a regular file that came before it. To anything else on the device,
    /// the link would give the mode and owner that the package says.
    fn link_target(&self, link: &[u8]) -> Option<RelativePath> {
        let name = std::str::from_utf8(link).ok().filter(|link| !link.ends_with('/'))?;
        RelativePath::parse(name).ok().filter(|target| self.has_regular_file(target))
    }

    /// Searches a unit file. A hard link is refused, because its bytes came with the first name and
    /// cannot be searched.
    fn search(&mut self, path: &RelativePath, place: &str, item: &mut Item<'_>) -> Result<(), ArchiveError> {
        let forbidden = |what| Err(ArchiveError::Forbidden { path: path.clone(), what });
        let found = match item.kind {
            EntryType::Regular => {
                let mut text = Vec::new();
                let mut contents = Read::take(&mut *item.contents, MAX_UNIT_FILE_BYTES as u64 + 1);
                contents.read_to_end(&mut text).map_err(ArchiveError::Unreadable)?;
                if text.len() > MAX_UNIT_FILE_BYTES {
                    return forbidden("a unit file of more than 64 KiB");
                }
                UnitConflict::find(place, &text)
            }
            EntryType::Symlink => UnitConflict::from_link(place, &String::from_utf8_lossy(&item.link)),
            EntryType::Link => return forbidden("a hard link among unit files"),
            _ => None,
        };
        self.conflict = self.conflict.take().or(found);
        Ok(())
    }
}

impl Visitor for Listing {
    fn visit(&mut self, mut item: Item<'_>) -> Result<(), ArchiveError> {
        let path = path_of(&item)?;
        if path.as_str().split('/').any(|part| WORKING_NAMES.iter().any(|ending| part.ends_with(ending))) {
            return Err(ArchiveError::Forbidden { path, what: "named like a working copy of dpkg" });
        }
        let place = format!("/{path}");
        if protected::is_unit_file(&place) {
            self.search(&path, &place, &mut item)?;
        }
        let what = match item.kind {
            EntryType::Directory if self.files.contains(&path) => return Err(ArchiveError::Twice { path }),
            EntryType::Directory => {
                self.directories.insert(path);
                return Ok(());
            }
            EntryType::Regular | EntryType::Link if item.mode & 0o6000 != 0 => "set-id",
            EntryType::Regular | EntryType::Link | EntryType::Symlink if item.name.ends_with('/') => {
                "a file with the name of a directory"
            }
            EntryType::Symlink if item.link.is_empty() => "a link to nothing",
            EntryType::Link if self.link_target(&item.link).is_none() => {
                "a hard link to something else than a file before it"
            }
            EntryType::Regular | EntryType::Link | EntryType::Symlink => {
                if self.files.contains(&path) || self.directories.contains(&path) {
                    return Err(ArchiveError::Twice { path });
                }
                if item.kind == EntryType::Link {
                    self.link_targets.extend(self.link_target(&item.link));
                }
                if item.kind == EntryType::Symlink {
                    self.symlinks.insert(path.clone());
                }
                if matches!(item.kind, EntryType::Link | EntryType::Symlink) {
                    self.links.insert(path.clone());
                }
                self.files.insert(path);
                return Ok(());
            }
            EntryType::Char | EntryType::Block => "a device",
            EntryType::Fifo => "a FIFO",
            _ => "of an unknown type",
        };
        Err(ArchiveError::Forbidden { path, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use std::path::PathBuf;
    use tempfile::TempDir;

    #[test]
    fn a_control_file_is_read_field_by_field() {
        let file = package_file("Package: dpc\nVersion: 1.0\nInstalled-Size: 3\n");
        assert_eq!((file.name.as_str(), file.version.as_str()), ("dpc", "1.0"));
        assert_eq!((file.installed_bytes, file.is_lasting), (3072, false));
        assert_eq!(package_file("").installed_bytes, 0);
        let folded =
            package_file("Depends: one (>= 1),\n two | three:any\nPre-Depends: four\nProvides: five\n");
        let relations = Relations::parse("one, two | three, four", "five");
        assert_eq!(folded.relations, relations);
        for lasting in ["Essential: yes", "Protected: yes", "Important: Yes"] {
            assert!(package_file(&format!("Package: a\n{lasting}\n")).is_lasting, "{lasting}");
        }
    }

    /// Builds a package of these files and links that declares an installed size of this many KiB.
    fn build(kib: u64, files: &[(&str, &[u8])], link: Option<(&str, &str)>) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (tree, deb) = (folder.path().join("tree"), folder.path().join("tool.deb"));
        let control = format!(
            "Package: tool\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example.org>\n\
             Installed-Size: {kib}\nDescription: test\n"
        );
        for (path, bytes) in [("DEBIAN/control", control.as_bytes())].iter().chain(files) {
            let path = tree.join(path);
            files::make_directory(path.parent().unwrap(), 0o755).unwrap();
            files::replace(&path, bytes, 0o644).unwrap();
        }
        if let Some((path, target)) = link {
            files::make_directory(tree.join(path).parent().unwrap(), 0o755).unwrap();
            std::os::unix::fs::symlink(target, tree.join(path)).unwrap();
        }
        let built = Program::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&tree).arg(&deb);
        built.succeed(FIELDS_LIMIT).unwrap();
        (folder, deb)
    }

    #[test]
    fn the_larger_of_what_a_package_says_and_holds_counts() {
        let held = vec![7; 1024 * 1024];
        for (says_kib, expected) in [(0, None), (4, None), (64 * 1024, Some(64 * 1024 * 1024))] {
            let (_build, deb) = build(says_kib, &[("usr/share/tool/data", &held)], None);
            let found = describe(&deb).unwrap().installed_bytes;
            match expected {
                Some(said) => assert_eq!(found, said),
                // The file, and five entries of at most a block each.
                None => assert!((1 << 20..(1 << 20) + 8 * ENTRY_BYTES).contains(&found), "{found}"),
            }
        }
    }

    #[test]
    fn scripts_and_control_files_count_and_are_bounded() {
        let templates = vec![b'#'; 1024 * 1024];
        let (_build, deb) = build(0, &[("DEBIAN/templates", &templates)], None);
        let found = describe(&deb).unwrap();
        assert!((1 << 20..(1 << 20) + 4 * ENTRY_BYTES).contains(&found.control_bytes), "{found:?}");
        assert!(found.installed_bytes < 1 << 20, "{found:?}");
        let small = Limits { bytes: 1024, ..CONTROL_LIMITS };
        let refused = walk("--ctrl-tarfile", &deb, small, &mut Control::default()).unwrap_err();
        assert!(matches!(&refused, SystemError::Archive(ArchiveError::TooLarge { .. })), "{refused:?}");
    }

    #[test]
    fn only_files_that_a_package_brings_are_its_configuration_files() {
        let mut listing = Listing::default();
        for name in ["etc/tool.conf", "etc/link.conf"] {
            listing.files.insert(RelativePath::parse(name).unwrap());
        }
        listing.links.insert(RelativePath::parse("etc/link.conf").unwrap());
        let found = parse_conffiles(b"\n/etc/tool.conf \t\r\n\n", &listing).unwrap();
        assert_eq!(found, BTreeSet::from([RelativePath::parse("etc/tool.conf").unwrap()]));
        for line in [
            "remove-on-upgrade /etc/tool.conf",
            "other-flag /etc/tool.conf",
            " /etc/tool.conf",
            "etc/tool.conf",
            "/./etc/tool.conf",
            "//etc/tool.conf",
            "/etc/tool.conf/",
            "/etc/tool.conf\u{a0}",
            "/etc/link.conf",
            "/etc/unbox/agent.toml",
        ] {
            let refused = parse_conffiles(format!("/etc/tool.conf\n{line}\n").as_bytes(), &listing);
            assert!(matches!(refused, Err(ArchiveError::Conffile { .. })), "{line:?}: {refused:?}");
        }
        assert!(matches!(parse_conffiles(b"/\xff\n", &listing), Err(ArchiveError::NotText)));
    }

    #[test]
    fn the_list_of_configuration_files_is_one_plain_file_of_bounded_size() {
        let walked = |kind: EntryType, lists: &[&[u8]]| {
            let mut tar = tar::Builder::new(Vec::new());
            for list in lists {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(kind);
                header.set_mode(0o644);
                header.set_size(list.len() as u64);
                tar.append_data(&mut header, "./conffiles", *list).unwrap();
            }
            let archive = tar.into_inner().unwrap();
            let mut control = Control::default();
            walk_tar(&mut &archive[..], CONTROL_LIMITS, &mut control).map(|_| control.conffiles)
        };
        let long = vec![b'\n'; usize::try_from(MAX_CONFFILES_BYTES).unwrap() + 1];
        assert_eq!(walked(EntryType::Regular, &[&long[1..]]).unwrap().as_deref(), Some(&long[1..]));
        let too_long = walked(EntryType::Regular, &[&long]);
        assert!(matches!(too_long, Err(ArchiveError::TooLarge { .. })), "{too_long:?}");
        let twice = walked(EntryType::Regular, &[b"", b""]);
        assert!(matches!(twice, Err(ArchiveError::Twice { .. })), "{twice:?}");
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo] {
            let refused = walked(kind, &[b""]);
            assert!(matches!(refused, Err(ArchiveError::Forbidden { .. })), "{refused:?}");
        }
    }

    #[test]
    fn a_unit_file_about_a_unit_of_unbox_is_found_in_a_package() {
        let about = b"[Unit]\nConflicts=\\\n  unbox-report.timer\n".as_slice();
        let found = |files: &[(&str, &[u8])], link| describe(&build(1, files, link).1).unwrap().conflict;
        for directory in ["etc/systemd/system", "lib/systemd/system", "usr/lib/systemd/system/a.service.d"] {
            let file = format!("{directory}/tool.conf");
            let conflict = found(&[(&file, about)], None).unwrap();
            assert_eq!((conflict.file, conflict.unit.as_str()), (format!("/{file}"), "unbox-report.timer"));
        }
        let link = Some(("usr/lib/systemd/system/tool.service", "unbox-install.service"));
        assert!(found(&[], link).is_some());
        assert_eq!(found(&[("usr/share/doc/tool/example.service", about)], None), None);
        let good = [("usr/lib/systemd/system/tool.service", b"[Service]\nExecStart=/bin/true\n".as_slice())];
        assert_eq!(found(&good, Some(("etc/systemd/system/other.service", "/dev/null"))), None);
    }

    #[test]
    fn a_unit_file_that_cannot_be_searched_is_refused() {
        let long = vec![b'#'; MAX_UNIT_FILE_BYTES + 1];
        let (_build, deb) = build(1, &[("usr/lib/systemd/system/tool.service", &long)], None);
        let refused = describe(&deb).unwrap_err();
        assert!(matches!(&refused, SystemError::Archive(ArchiveError::Forbidden { .. })), "{refused:?}");
    }
}
