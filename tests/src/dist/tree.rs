//! A tree of files to ship: collected in memory, then written with one owner, one date and fixed modes.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};

use crate::binaries::workspace;
use crate::host::{self, Program};

/// Files by their path below the root; directories follow from them.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, (Vec<u8>, u32)>,
    directories: Vec<String>,
}

impl Tree {
    /// Adds a file.
    pub(super) fn add(&mut self, path: &str, bytes: impl Into<Vec<u8>>, mode: u32) {
        self.files.insert(path.to_owned(), (bytes.into(), mode));
    }

    /// Adds a file of the workspace, readable by everybody.
    pub(super) fn copy(&mut self, path: &str, from: &str) -> Result<()> {
        let bytes = fs::read(workspace().join(from)).with_context(|| format!("cannot read {from}"))?;
        self.add(path, bytes, 0o644);
        Ok(())
    }

    /// Adds all files of a folder of the workspace whose name ends in one of `endings`.
    pub(super) fn copy_all(&mut self, to: &str, from: &str, endings: &[&str]) -> Result<()> {
        let folder = workspace().join(from);
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {from}"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if endings.iter().any(|ending| name.ends_with(ending)) {
                self.copy(&format!("{to}/{name}"), &format!("{from}/{name}"))?;
            }
        }
        Ok(())
    }

    /// Adds an empty directory.
    pub(super) fn directory(&mut self, path: &str) {
        self.directories.push(path.to_owned());
    }

    /// Returns the room that it takes once it is installed, in KiB.
    pub(super) fn kibibytes(&self) -> usize {
        self.files.values().map(|(bytes, _)| bytes.len().div_ceil(1024)).sum()
    }

    /// Writes the tree below `root`, everything dated `epoch`.
    pub(super) fn write(&self, root: &Path, epoch: u64) -> Result<()> {
        for (path, (bytes, mode)) in &self.files {
            host::write(&root.join(path), bytes, *mode)?;
        }
        for path in &self.directories {
            fs::create_dir_all(root.join(path))?;
        }
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
        set_dates_and_modes(root, date)
    }
}

/// Dates everything below `path`, and sets the modes of directories, which the umask may have reduced.
fn set_dates_and_modes(path: &Path, date: SystemTime) -> Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() {
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        for entry in fs::read_dir(path)? {
            set_dates_and_modes(&entry?.path(), date)?;
        }
    }
    File::open(path)?.set_modified(date).with_context(|| format!("cannot date {}", path.display()))
}

/// Compresses for readers that expect gzip, such as `man`, without a date of its own.
pub(super) fn gzip(path: &Path) -> Result<()> {
    Program::new("gzip").args(["-n", "-9", "-f"]).arg(path).run()
}
