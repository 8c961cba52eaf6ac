//! The agent for any Linux: one tarball, to be unpacked over a root file system.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::binary::{self, Linkage};
use super::deb::output_directory;
use super::tree::Tree;
use super::{Product, Release, VERSION, path};
use crate::host::Program;

/// Makes the tarball.
pub(super) fn agent(release: Release) -> Result<PathBuf> {
    let program = binary::build(release, "unbox-agent", Linkage::Static)?;
    let headers = binary::headers(release, &program)?;
    ensure!(!headers.contains("NEEDED"), "{} still needs shared libraries", program.display());

    let mut tree = Tree::default();
    tree.add("usr/bin/unbox-agent", fs::read(&program)?, 0o755);
    tree.copy_all("usr/lib/systemd/system", "systemd/agent", &[".target", ".service", ".path", ".timer"])?;
    tree.copy_all("usr/lib/systemd/system-preset", "systemd/agent", &[".preset"])?;
    tree.copy_all("usr/lib/udev/rules.d", "systemd/agent", &[".rules"])?;
    tree.copy("usr/lib/sysusers.d/unbox.conf", "systemd/agent/sysusers.conf")?;
    tree.copy("usr/lib/tmpfiles.d/unbox.conf", "systemd/agent/tmpfiles.conf")?;
    tree.copy("usr/share/man/man8/unbox-agent.8", "systemd/agent/unbox-agent.8")?;
    tree.copy("usr/share/doc/unbox-agent/README.md", "README.md")?;
    tree.copy("usr/share/doc/unbox-agent/LICENSE", "LICENSE")?;

    let stage = tempfile::tempdir_in(output_directory()?)?;
    let name = format!("unbox-agent-{VERSION}");
    tree.write(&stage.path().join(&name), release.epoch)?;
    let tarball = path(Product::Static, release.machine);
    Program::new("tar")
        .arg("-C")
        .arg(stage.path())
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=ustar"])
        .arg(format!("--mtime=@{}", release.epoch))
        .args(["--use-compress-program=gzip -n -9", "-cf"])
        .arg(&tarball)
        .arg(&name)
        .run()?;
    Ok(tarball)
}
