//! Disk images that machines start from: Debian, the guest's set-up, and the packages under test, installed
//! for real.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ring::digest::{Context as Digest, SHA256};

use super::rootfs::Rootfs;
use crate::architecture::Architecture;
use crate::dist::{self, Product};
use crate::host::{self, Program};

/// The address at which a guest reaches the ports that
/// [`Machine::guest_forward`](super::Machine::guest_forward) forwards.
pub const SERVER_ADDRESS: &str = "10.0.2.100";

/// A name for [`SERVER_ADDRESS`] that every guest knows.
pub const SERVER_NAME: &str = "server.test";

/// Modules that a QEMU guest needs, as far as its kernel has them as modules; the drivers of disk, ext4, DMI
/// and a PC's TPM are built in.
const MODULES: &[&str] = &[
    "virtio",
    "virtio_ring",
    "virtio_pci",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_net",
    "net_failover",
    "failover",
    "virtio-rng",
    "virtio_anchor",
    "tpm_tis",
    "tpm_tis_core",
    "scsi_common",
    "scsi_mod",
    "sd_mod",
    "virtio_scsi",
    "qemu_fw_cfg",
    "autofs4",
    "efivarfs",
    "overlay",
    "squashfs",
    "loop",
    "dummy",
    "veth",
    "bridge",
    "stp",
    "llc",
    "bonding",
    "tls",
    "garp",
    "mrp",
    "8021q",
    "tun",
    "button",
    "evdev",
    "coreboot_table",
    "vpd-sysfs",
];

/// The guest's own set-up: paths, contents and modes.
const GUEST_FILES: &[(&str, &str, u32)] = &[
    ("etc/fstab", "/dev/nvme0n1 / ext4 rw,noatime 0 1\n", 0o644),
    ("etc/hostname", "device\n", 0o644),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n10.0.2.100 server.test\n", 0o644),
    // Empty: the machine's identity is not part of its image, and this is no "first boot" to systemd.
    ("etc/machine-id", "", 0o444),
    ("etc/systemd/network/10-dhcp.network", include_str!("guest/dhcp.network"), 0o644),
    ("etc/systemd/system/backdoor.service", include_str!("guest/backdoor.service"), 0o644),
    ("usr/local/lib/backdoor", include_str!("guest/backdoor"), 0o644),
];

const ENABLED: &[&str] =
    &["backdoor", "systemd-networkd", "systemd-networkd-wait-online", "systemd-resolved"];

/// Background work that would only add noise.
const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "getty@tty1.service",
    "systemd-pstore.service",
];

/// Room for a test's installations; the file is sparse.
const SIZE: &str = "1G";

/// The version of the way in which images are put together: raise it with every change.
const RECIPE: &str = "2";

/// A bootable disk, shared by all machines and never written to.
#[derive(Debug, Clone)]
pub struct Image {
    /// The raw disk.
    pub disk: PathBuf,
    /// The kernel that boots it.
    pub kernel: PathBuf,
    /// The kind of machine that it boots on.
    pub machine: Architecture,
}

impl Image {
    /// Makes a plain Debian guest, without the agent.
    pub fn base() -> Result<Self> {
        Self::with_packages("base", &[])
    }

    /// Makes the same guest for boards of ARM: plain, because packages can only be installed on the board.
    pub fn arm() -> Result<Self> {
        Self::find_or_make("arm", Architecture::Arm64, &[])
    }

    /// Makes the guest with `unbox-agent` installed from the package that `cargo dist` built.
    pub fn agent() -> Result<Self> {
        Self::with_packages("agent", &[&dist::path(Product::Deb, Architecture::HERE)])
    }

    /// Makes the guest with `unbox-server` installed from the package that `cargo dist` built.
    pub fn server() -> Result<Self> {
        Self::with_packages("server", &[&dist::path(Product::Server, Architecture::HERE)])
    }

    /// Makes the guest with these Debian packages installed. Images of the same `name` replace each other in
    /// the cache.
    pub fn with_packages(name: &str, packages: &[&Path]) -> Result<Self> {
        Self::find_or_make(name, Architecture::HERE, packages)
    }

    fn find_or_make(name: &str, machine: Architecture, packages: &[&Path]) -> Result<Self> {
        let _one_builder_at_a_time = host::lock(&cache_directory().join("lock"))?;
        let rootfs = Rootfs::find_or_make(machine)?;
        let mut recipe: Vec<Vec<u8>> = vec![RECIPE.into(), rootfs.key.clone().into()];
        recipe.extend(GUEST_FILES.iter().map(|file| format!("{file:?}").into_bytes()));
        recipe.push(format!("{MODULES:?} {ENABLED:?} {MASKED:?} {SIZE}").into_bytes());
        for package in packages {
            let bytes = fs::read(package);
            recipe.push(
                bytes.with_context(|| format!("{} is not there: run `cargo dist`", package.display()))?,
            );
        }
        let disk = cache_directory().join(format!("{name}-{}.raw", content_key(recipe)));
        if !disk.exists() {
            forget_older(name)?;
            build(&rootfs, packages, &disk).with_context(|| format!("cannot build the image `{name}`"))?;
        }
        Ok(Self { disk, kernel: rootfs.vmlinuz()?, machine })
    }
}

/// Returns the directory of images, logs and disks.
pub(super) fn cache_directory() -> PathBuf {
    host::target_directory().join("vm")
}

/// Returns a short name for content: equal parts give equal keys.
pub(super) fn content_key<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut digest = Digest::new(&SHA256);
    for part in parts {
        digest.update(&(part.as_ref().len() as u64).to_le_bytes());
        digest.update(part.as_ref());
    }
    hex::encode(digest.finish().as_ref().get(..8).unwrap_or_default())
}

fn forget_older(name: &str) -> Result<()> {
    for entry in fs::read_dir(cache_directory())? {
        let entry = entry?;
        let file = entry.file_name();
        let key =
            file.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".raw"));
        if key.is_some_and(|key| key.len() == 16) {
            host::remove(&entry.path())?;
        }
    }
    Ok(())
}

fn build(rootfs: &Rootfs, packages: &[&Path], disk: &Path) -> Result<()> {
    let work = tempfile::Builder::new().prefix("build-").tempdir_in(cache_directory())?;
    let root = work.path().join("root");
    fs::create_dir(&root)?;
    let filled = fill(rootfs, packages, &root, work.path()).and_then(|()| pack(&root, disk));
    // Its files belong to root, and this process may run as another user.
    let cleaned = Program::as_root("rm").arg("-rf").arg(&root).run();
    filled.and(cleaned)
}

/// Puts the guest's files below `root`.
fn fill(rootfs: &Rootfs, packages: &[&Path], root: &Path, work: &Path) -> Result<()> {
    Program::as_root("tar").arg("-C").arg(root).args(["--numeric-owner", "-xpf"]).arg(&rootfs.tar).run()?;
    let additions = work.join("additions");
    for (path, content, mode) in GUEST_FILES {
        host::write(&additions.join(path), content.as_bytes(), *mode)?;
    }
    symlink("/run/systemd/resolve/stub-resolv.conf", additions.join("etc/resolv.conf"))?;
    let version = add_modules(&rootfs.modules()?, &additions)?;
    Program::as_root("cp")
        .args(["--recursive", "--no-dereference", "--preserve=mode", "--remove-destination"])
        .arg(additions.join("."))
        .arg(root)
        .run()?;
    Program::as_root("chroot").arg(root).args(["depmod", &version]).run()?;
    Program::as_root("chroot").arg(root).args(["systemctl", "--quiet", "enable"]).args(ENABLED).run()?;
    Program::as_root("chroot").arg(root).args(["systemctl", "--quiet", "mask"]).args(MASKED).run()?;
    install(packages, root)?;
    rootfs.exchange_programs(root)
}

/// Adds the few modules that a guest uses, and returns the kernel's version.
fn add_modules(from: &Path, additions: &Path) -> Result<String> {
    let version = from.file_name().context("the kernel has no version")?.to_string_lossy().into_owned();
    let to = additions.join("usr/lib/modules").join(&version);
    let listing = Program::new("find").arg(from).args(["-name", "*.ko", "-printf", "%P\n"]).read()?;
    let mut wanted: Vec<&str> = vec!["modules.order", "modules.builtin", "modules.builtin.modinfo"];
    wanted.extend(listing.lines().filter(|path| {
        let name = Path::new(path).file_stem().unwrap_or_default();
        MODULES.iter().any(|module| name == *module)
    }));
    for path in wanted {
        host::write(&to.join(path), &fs::read(from.join(path))?, 0o644)?;
    }
    Ok(version)
}

/// Installs packages like an image builder: in a chroot with `/proc`, and without a running system manager.
fn install(packages: &[&Path], root: &Path) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let inside = root.join("var/tmp");
    let mut names = Vec::new();
    for package in packages {
        Program::as_root("cp").arg(package).arg(&inside).run()?;
        let name = package.file_name().with_context(|| format!("{} is no file", package.display()))?;
        names.push(Path::new("/var/tmp").join(name));
    }
    Program::as_root("unshare")
        .args(["--mount", "--pid", "--fork"])
        .arg(format!("--mount-proc={}", root.join("proc").display()))
        .arg("chroot")
        .arg(root)
        .args(["env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--install"])
        .args(&names)
        .run()?;
    Program::as_root("chroot").arg(root).arg("rm").args(&names).run()
}

/// Makes an ext4 image of everything below `root`, without mounting anything.
fn pack(root: &Path, disk: &Path) -> Result<()> {
    let new = disk.with_extension("new");
    host::remove(&new)?;
    Program::as_root("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-L", "root", "-m", "0", "-J", "size=16"])
        .args(["-E", "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0", "-d"])
        .arg(root)
        .arg(&new)
        .arg(SIZE)
        .run()?;
    host::rename(&new, disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_where_a_part_ends() {
        assert_eq!(content_key(["ab", "c"]), content_key(["ab", "c"]));
        assert_ne!(content_key(["ab", "c"]), content_key(["a", "bc"]));
    }

    #[test]
    fn every_guest_knows_the_server_by_name() {
        let line = format!("{SERVER_ADDRESS} {SERVER_NAME}\n");
        assert!(GUEST_FILES.iter().any(|(path, content, _)| *path == "etc/hosts" && content.contains(&line)));
    }
}
