//! Package files, read with suspicion: their control fields, and every name in them.

use super::{
    SystemError,
    archive::{ArchiveError, Item, LIMITS, Visitor, walk_tar},
};
use crate::{
    install::package::PackageFile,
    programs::{Finished, Program, ProgramError},
};
use std::{collections::BTreeSet, path::Path, time::Duration};
use tar::EntryType;
use unbox_common::path::RelativePath;

/// How long reading the control fields may take.
const FIELDS_LIMIT: Duration = Duration::from_mins(1);
/// How long unpacking all of it may take on a slow device.
const LIST_LIMIT: Duration = Duration::from_mins(15);
/// What one file takes on disk beside its bytes.
const ENTRY_BYTES: u64 = 4096;

/// Reads a package file to its end.
pub(super) fn describe(deb: &Path) -> Result<PackageFile, SystemError> {
    let fields = Program::new("dpkg-deb")
        .arg("--field")
        .arg(deb)
        .args(["Package", "Version", "Installed-Size", "Essential", "Protected", "Important"])
        .succeed(FIELDS_LIMIT)?;
    let mut package = package_file(&String::from_utf8_lossy(&fields.stdout));
    let mut listing = Listing::default();
    let (finished, walked) = Program::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .run_into(LIST_LIMIT, |tar| walk_tar(tar, LIMITS, &mut listing))?;
    // A name that is refused says more than that nobody read on.
    let (entries, bytes) = match walked {
        Err(ArchiveError::Unreadable(_)) if !finished.status.success() => return Err(failed(&finished)),
        walked => walked?,
    };
    if !finished.status.success() {
        return Err(failed(&finished));
    }
    let unpacked = bytes.saturating_add(entries.saturating_mul(ENTRY_BYTES));
    package.installed_bytes = package.installed_bytes.max(unpacked);
    (package.files, package.directories) = (listing.files, listing.directories);
    Ok(package)
}

fn failed(finished: &Finished) -> SystemError {
    let complaint = finished.complaint();
    ProgramError::Failed { program: "dpkg-deb".to_owned(), status: finished.status, complaint }.into()
}

fn package_file(control: &str) -> PackageFile {
    let field = |name: &str| {
        let value = control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    };
    // In KiB (Debian Policy, section 5.6.20).
    let kib: u64 = field("Installed-Size").parse().unwrap_or(0);
    // `Important` is what `Protected` was called before (deb-control(5)).
    let is_lasting =
        ["Essential", "Protected", "Important"].iter().any(|name| field(name).eq_ignore_ascii_case("yes"));
    PackageFile {
        name: field("Package"),
        version: field("Version"),
        is_lasting,
        installed_bytes: kib.saturating_mul(1024),
        ..PackageFile::default()
    }
}

/// The names in a package.
#[derive(Default)]
struct Listing {
    files: BTreeSet<RelativePath>,
    directories: BTreeSet<RelativePath>,
}

impl Visitor for Listing {
    fn visit(&mut self, item: Item<'_>) -> Result<(), ArchiveError> {
        let path = RelativePath::parse(&item.name).map_err(ArchiveError::Name)?;
        let what = match item.kind {
            EntryType::Directory => {
                self.directories.insert(path);
                return Ok(());
            }
            EntryType::Regular | EntryType::Continuous | EntryType::Link if item.mode & 0o6000 != 0 => {
                "set-id"
            }
            EntryType::Regular | EntryType::Continuous | EntryType::Link | EntryType::Symlink => {
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

    #[test]
    fn a_control_file_is_read_field_by_field() {
        let file = package_file("Package: dpc\nVersion: 1.0\nInstalled-Size: 3\n");
        assert_eq!((file.name.as_str(), file.version.as_str()), ("dpc", "1.0"));
        assert_eq!((file.installed_bytes, file.is_lasting), (3072, false));
        assert_eq!(package_file("").installed_bytes, 0);
        for lasting in ["Essential: yes", "Protected: yes", "Important: Yes"] {
            assert!(package_file(&format!("Package: a\n{lasting}\n")).is_lasting, "{lasting}");
        }
    }
}
