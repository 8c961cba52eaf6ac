//! The Debian that a virtual machine starts from: a root file system as a tar file, and a kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::host::{self, Program};
use crate::vm::image::{cache_directory, content_key};

const SUITE: &str = "bookworm";

/// What the guest has besides Debian's essential packages: what the agent depends on, and a network.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "dbus",
    "iproute2",
    "kmod",
    "libnss-resolve",
    "systemd",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
];

/// What is not worth its room in the image.
const LEFT_OUT: &[&str] = &["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*"];

/// Fetches the newest kernel from the archive that the root file system came from. It is never
/// installed: its scripts would build an initrd, which our guest does not need.
const FETCH_KERNEL: &str = r#"
cd "$(dirname "$1")"; export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n1)
cd "$KERNEL_DIRECTORY" && apt-get -q download "$package"
"#;

/// A root file system and the kernel that belongs to it, both in the cache.
#[derive(Debug, Clone)]
pub(super) struct Rootfs {
    /// Identifies the content.
    pub(super) key: String,
    /// The root file system.
    pub(super) tar: PathBuf,
    /// The unpacked kernel package: `boot/vmlinuz-*` and `lib/modules/*`.
    kernel: PathBuf,
}

impl Rootfs {
    /// Finds it in the cache, or makes it: half a minute, and needs the Debian archive.
    ///
    /// `UNBOX_DEBIAN_MIRROR` names another archive than mmdebstrap's own choice.
    pub(super) fn cached() -> Result<Self> {
        let mirror = std::env::var("UNBOX_DEBIAN_MIRROR").ok();
        let mut recipe = vec![SUITE, FETCH_KERNEL, mirror.as_deref().unwrap_or("default")];
        recipe.extend(PACKAGES.iter().chain(LEFT_OUT));
        let key = content_key(recipe);
        let rootfs = Self {
            tar: cache_directory().join(format!("rootfs-{key}.tar")),
            kernel: cache_directory().join(format!("kernel-{key}")),
            key,
        };
        if !(rootfs.tar.exists() && rootfs.kernel.exists()) {
            rootfs.build(mirror.as_deref()).context("cannot build the guest's root file system")?;
        }
        Ok(rootfs)
    }

    fn build(&self, mirror: Option<&str>) -> Result<()> {
        let work = self.kernel.with_extension("new");
        host::remove(&work)?;
        let download = work.join("download");
        fs::create_dir_all(&download)?;
        let tar = work.join("rootfs.tar");
        let mut debstrap = Program::as_root("env")
            .arg(format!("KERNEL_DIRECTORY={}", download.display()))
            .args(["mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--architectures=amd64"])
            .arg(format!("--include={}", PACKAGES.join(",")))
            .arg("--aptopt=Acquire::Languages \"none\"")
            .arg(format!("--customize-hook={FETCH_KERNEL}"));
        for path in LEFT_OUT {
            debstrap = debstrap.arg(format!("--dpkgopt=path-exclude={path}"));
        }
        debstrap.arg(SUITE).arg(&tar).args(mirror).limit(Duration::from_mins(20)).run()?;
        let package = only_entry(&download, |_| true)?;
        Program::new("dpkg-deb").arg("-x").arg(&package).arg(work.join("kernel")).run()?;
        host::rename(&tar, &self.tar)?;
        host::remove(&self.kernel)?;
        host::rename(&work.join("kernel"), &self.kernel)?;
        host::remove(&work)
    }

    /// The kernel's image.
    pub(super) fn vmlinuz(&self) -> Result<PathBuf> {
        only_entry(&self.kernel.join("boot"), |name| name.starts_with("vmlinuz-"))
    }

    /// The kernel's modules: a directory named after its version.
    pub(super) fn modules(&self) -> Result<PathBuf> {
        only_entry(&self.kernel.join("lib/modules"), |_| true)
    }
}

fn only_entry(directory: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let failed = || format!("cannot read {}", directory.display());
    for entry in fs::read_dir(directory).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        if wanted(&entry.file_name().to_string_lossy()) {
            return Ok(entry.path());
        }
    }
    anyhow::bail!("{} does not hold what was expected", directory.display())
}
