//! The Debian packages of the agent, the server and the test station.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::binary::{self, Linkage};
use super::tree::{Tree, gzip};
use super::{Product, Release, VERSION, path};
use crate::host::{self, Program};

/// The differences between the packages.
struct Package {
    product: Product,
    name: &'static str,
    control: &'static str,
    scripts: &'static [(&'static str, &'static str)],
}

const AGENT: Package = Package {
    product: Product::Deb,
    name: "unbox-agent",
    control: include_str!("agent/control"),
    scripts: &[
        ("postinst", include_str!("agent/postinst")),
        ("prerm", include_str!("agent/prerm")),
        ("postrm", include_str!("agent/postrm")),
    ],
};

const SERVER: Package = Package {
    product: Product::Server,
    name: "unbox-server",
    control: include_str!("server/control"),
    scripts: &[
        ("postinst", include_str!("server/postinst")),
        ("prerm", include_str!("server/prerm")),
        ("postrm", include_str!("server/postrm")),
    ],
};

const STATION: Package = Package {
    product: Product::Station,
    name: "unbox-station",
    control: include_str!("station/control"),
    scripts: &[],
};

/// Makes the agent's package.
pub(super) fn agent(release: Release) -> Result<PathBuf> {
    let mut tree = Tree::default();
    tree.copy_all("lib/systemd/system", "systemd/agent", &[".target", ".service", ".path", ".timer"])?;
    tree.copy_all("lib/systemd/system-preset", "systemd/agent", &[".preset"])?;
    tree.copy_all("lib/udev/rules.d", "systemd/agent", &[".rules"])?;
    tree.copy("usr/lib/sysusers.d/unbox.conf", "systemd/agent/sysusers.conf")?;
    tree.copy("usr/lib/tmpfiles.d/unbox.conf", "systemd/agent/tmpfiles.conf")?;
    tree.copy("usr/share/man/man8/unbox-agent.8", "systemd/agent/unbox-agent.8")?;
    tree.directory("etc/unbox/trust");
    AGENT.make(release, tree)
}

/// Makes the server's package.
pub(super) fn server(release: Release) -> Result<PathBuf> {
    let mut tree = Tree::default();
    tree.copy_all("lib/systemd/system", "systemd/server", &[".service"])?;
    tree.copy("usr/lib/sysusers.d/unbox-server.conf", "systemd/server/sysusers.conf")?;
    tree.copy("usr/lib/tmpfiles.d/unbox-server.conf", "systemd/server/tmpfiles.conf")?;
    tree.copy("usr/share/man/man8/unbox-server.8", "systemd/server/unbox-server.8")?;
    SERVER.make(release, tree)
}

/// Makes the package of the test station.
pub(super) fn station(release: Release) -> Result<PathBuf> {
    let mut tree = Tree::default();
    tree.copy("usr/share/man/man8/unbox-station.8", "agent/station/unbox-station.8")?;
    STATION.make(release, tree)
}

impl Package {
    fn make(&self, release: Release, mut tree: Tree) -> Result<PathBuf> {
        let name = self.name;
        let program = binary::build(release, name, Linkage::Dynamic)?;
        let depends = binary::dependencies(release, &program)?;
        tree.add(&format!("usr/bin/{name}"), fs::read(&program)?, 0o755);
        tree.add(&format!("usr/share/doc/{name}/copyright"), include_str!("copyright"), 0o644);
        tree.copy(&format!("usr/share/doc/{name}/README.md"), "README.md")?;

        let control = self
            .control
            .replace("@VERSION@", VERSION)
            .replace("@ARCHITECTURE@", release.machine.debian())
            .replace("@SIZE@", &tree.kibibytes().to_string())
            .replace("@DEPENDS@", &depends);
        let stage = tempfile::tempdir_in(output_directory()?)?;
        let root = stage.path();
        tree.write(root, release.epoch)?;
        gzip(&root.join(format!("usr/share/man/man8/{name}.8")))?;
        let sums = checksums(root)?;

        let mut meta = Tree::default();
        meta.add("DEBIAN/control", control, 0o644);
        meta.add("DEBIAN/md5sums", sums, 0o644);
        for (script, text) in self.scripts {
            meta.add(&format!("DEBIAN/{script}"), *text, 0o755);
        }
        meta.write(root, release.epoch)?;

        let package = path(self.product, release.machine);
        Program::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", "--build"])
            .arg(root)
            .arg(&package)
            .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
            .run()?;
        Ok(package)
    }
}

/// Returns the checksums for `dpkg --verify`.
fn checksums(root: &Path) -> Result<String> {
    let listing =
        Program::new("find").args([".", "-type", "f", "-printf", "%P\n"]).current_dir(root).read()?;
    let mut files: Vec<&str> = listing.lines().collect();
    files.sort_unstable();
    Program::new("md5sum").args(files).current_dir(root).read()
}

/// Returns `target/dist`, and makes it if need be.
pub(super) fn output_directory() -> Result<PathBuf> {
    let directory = host::target_directory().join("dist");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}
