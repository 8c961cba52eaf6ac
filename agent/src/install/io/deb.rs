//! Package files, treated as hostile: their control fields, and every name in them.

use super::{
    SystemError,
    archive::{ArchiveError, Item, LIMITS, Limits, Visitor, walk_tar},
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
/// Allowance on disk for each file apart from its bytes.
const ENTRY_BYTES: u64 = 4096;

/// The limits of scripts and control files: dpkg unpacks them whole to read a single field.
const CONTROL_LIMITS: Limits = Limits { entries: 4096, bytes: 64 * 1024 * 1024 };

/// Reads a whole package file.
pub(super) fn describe(deb: &Path) -> Result<PackageFile, SystemError> {
    let control_bytes = walk("--ctrl-tarfile", deb, CONTROL_LIMITS, &mut Uninteresting)?;
    let fields = Program::new("dpkg-deb")
        .arg("--field")
        .arg(deb)
        .args(["Package", "Version", "Installed-Size", "Essential", "Protected", "Important"])
        .args(["Depends", "Pre-Depends", "Provides"])
        .succeed(FIELDS_LIMIT)?;
    let mut package = package_file(&String::from_utf8_lossy(&fields.stdout));
    let mut listing = Listing::default();
    let unpacked = walk("--fsys-tarfile", deb, LIMITS, &mut listing)?;
    package.installed_bytes = package.installed_bytes.max(unpacked);
    package.control_bytes = control_bytes;
    (package.files, package.directories) = (listing.files, listing.directories);
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

/// A visitor of entries that only count.
struct Uninteresting;

impl Visitor for Uninteresting {
    fn visit(&mut self, _item: Item<'_>) -> Result<(), ArchiveError> {
        Ok(())
    }
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
    directories: BTreeSet<RelativePath>,
}

impl Listing {
    /// Searches a unit file. A hard link is refused, because its bytes came with the first name and
    /// cannot be searched.
    fn search(&mut self, path: &RelativePath, place: &str, item: &mut Item<'_>) -> Result<(), ArchiveError> {
        let forbidden = |what| Err(ArchiveError::Forbidden { path: path.clone(), what });
        let found = match item.kind {
            EntryType::Regular | EntryType::Continuous => {
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
        let path = RelativePath::parse(&item.name).map_err(ArchiveError::Name)?;
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
            EntryType::Regular | EntryType::Continuous | EntryType::Link if item.mode & 0o6000 != 0 => {
                "set-id"
            }
            EntryType::Regular | EntryType::Continuous | EntryType::Link | EntryType::Symlink => {
                if self.files.contains(&path) || self.directories.contains(&path) {
                    return Err(ArchiveError::Twice { path });
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
        let relations = Relations::parse("one, two, three, four", "five");
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
        let refused = walk("--ctrl-tarfile", &deb, small, &mut Uninteresting).unwrap_err();
        assert!(matches!(&refused, SystemError::Archive(ArchiveError::TooLarge { .. })), "{refused:?}");
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
