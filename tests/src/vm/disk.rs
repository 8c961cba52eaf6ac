//! The disk of one machine: its factory state, and the machine's writes since.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::image::Image;
use crate::host::{self, Program};

/// A file that a test puts into the factory's image, owned by root.
#[derive(Debug, Clone)]
pub(super) struct FactoryFile {
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
}

/// A factory image and, over it, an overlay that takes every write.
#[derive(Debug)]
pub(super) struct Disk {
    factory: PathBuf,
    overlay: PathBuf,
}

impl Disk {
    /// Makes a new disk in `directory`: the image, with these files added.
    pub(super) fn new(image: &Image, files: &[FactoryFile], directory: &Path) -> Result<Self> {
        let overlay = directory.join("disk.qcow2");
        let factory = if files.is_empty() {
            image.disk.clone()
        } else {
            let copy = directory.join("factory.raw");
            Program::new("cp")
                .args(["--sparse=always", "--no-preserve=mode"])
                .arg(&image.disk)
                .arg(&copy)
                .run()?;
            for file in files {
                let scratch = tempfile::tempdir_in(directory)?;
                inject(&copy, file, scratch.path())?;
            }
            copy
        };
        let disk = Self { factory, overlay };
        disk.reset()?;
        Ok(disk)
    }

    /// Discards everything that the machine has written.
    pub(super) fn reset(&self) -> Result<()> {
        host::remove(&self.overlay)?;
        Program::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(&self.factory)
            .arg(&self.overlay)
            .run()
    }

    /// Returns the file that QEMU opens.
    pub(super) fn path(&self) -> &Path {
        &self.overlay
    }

    /// Releases the room; the machine must be off.
    pub(super) fn discard(&self) -> Result<()> {
        host::remove(&self.overlay)?;
        if self.factory.parent() == self.overlay.parent() {
            host::remove(&self.factory)?;
        }
        Ok(())
    }
}

/// Writes a file into an ext4 image, without mounting it and without root.
fn inject(disk: &Path, file: &FactoryFile, scratch: &Path) -> Result<()> {
    let path = &file.path;
    ensure!(path.starts_with('/') && !path.contains(['"', '\n']), "{path:?} cannot be put into an image");
    let (content, script, found) = (scratch.join("content"), scratch.join("script"), scratch.join("found"));
    host::write(&content, &file.bytes, 0o600)?;
    host::write(&script, commands(file, &content).as_bytes(), 0o600)?;
    // debugfs reports no failure by its exit status, and complains of existing directories: check the result.
    Program::new("debugfs").arg("-w").arg("-f").arg(&script).arg(disk).run()?;
    let dump = format!("dump \"{path}\" \"{}\"", found.display());
    Program::new("debugfs").arg("-R").arg(dump).arg(disk).run()?;
    let written = std::fs::read(&found).with_context(|| format!("{path} did not get into the image"))?;
    ensure!(written == file.bytes, "{path} did not get into the image whole");
    Ok(())
}

fn commands(file: &FactoryFile, content: &Path) -> String {
    let path = &file.path;
    let mut lines = Vec::new();
    for (at, _) in path.match_indices('/').skip(1) {
        lines.push(format!("mkdir \"{}\"", path.get(..at).unwrap_or_default()));
    }
    lines.push(format!("rm \"{path}\""));
    lines.push(format!("write \"{}\" \"{path}\"", content.display()));
    lines.push(format!("set_inode_field \"{path}\" mode 0100{:o}", file.mode));
    lines.push(format!("set_inode_field \"{path}\" uid 0"));
    lines.push(format!("set_inode_field \"{path}\" gid 0"));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_with_its_directories_and_its_mode() {
        let file = FactoryFile { path: "/etc/unbox/agent.toml".to_owned(), bytes: Vec::new(), mode: 0o640 };
        let script = commands(&file, Path::new("/tmp/x"));
        let lines: Vec<&str> = script.lines().collect();
        assert_eq!(lines.first(), Some(&"mkdir \"/etc\""));
        assert_eq!(lines.get(1), Some(&"mkdir \"/etc/unbox\""));
        assert!(lines.contains(&"set_inode_field \"/etc/unbox/agent.toml\" mode 0100640"));
    }
}
