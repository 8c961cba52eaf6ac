//! The Debian that a virtual machine starts from: a root file system as a tar file, and a kernel.
//!
//! A foreign one is set up here all the same: the results of Debian's scripts are the same on every kind of
//! machine. Its programs replace the native ones at the end, so that nothing has to be emulated; dpkg would
//! take minutes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::architecture::Architecture;
use crate::debian::{self, Bootstrap};
use crate::host::{self, Program};
use crate::vm::image::{cache_directory, content_key};

/// The guest's packages besides Debian's essential ones: the agent's dependencies, and a network.
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

/// Files that are not worth their room in the image.
const LEFT_OUT: &[&str] = &["/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*"];

/// Fetches the newest kernel from the archive that the root file system came from. It is never
/// installed: its scripts would build an initrd, which the guest does not need.
const FETCH_KERNEL: &str = r"
apt-get -q download $(apt-cache depends linux-image-cloud-@MACHINE@ | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p' | head -n1)
";

/// Links that foreign programs are unpacked through, as on this machine.
const MERGED_USR: &str =
    r#"for name in bin lib sbin; do mkdir -p "$1/usr/$name"; ln -s "usr/$name" "$1/$name"; done"#;

/// Puts foreign programs and libraries, of the machine `$2` in Debian's words and `$4` in GNU's, from the tar
/// file `$6` in the place of the native ones below `$1`, and informs dpkg.
const EXCHANGE: &str = r#"set -e; cd "$1"
rm -rf lib64 usr/lib64 "usr/lib/$5" etc/ld.so.cache
tar --numeric-owner --keep-directory-symlink -xpf "$6" ./usr
cd var/lib/dpkg
echo "$2" >arch
sed -i "s/^Architecture: $3\$/Architecture: $2/" status
sed -i "s/$5/$4/" info/*.list
for file in info/*:"$3".*; do mv "$file" "${file%%:*}:$2.${file##*.}"; done
"#;

/// A root file system and the kernel that belongs to it, both in the cache.
#[derive(Debug, Clone)]
pub(super) struct Rootfs {
    /// The key of the content.
    pub(super) key: String,
    /// The kind of machine that it boots.
    pub(super) machine: Architecture,
    /// The root file system, for machines of this host's kind.
    pub(super) tar: PathBuf,
    /// The files of the same packages for `machine`, if that is foreign.
    programs: Option<PathBuf>,
    /// The unpacked kernel package: `boot/vmlinuz-*` and `lib/modules/*`.
    kernel: PathBuf,
}

impl Rootfs {
    /// Finds it in the cache, or makes it: that takes half a minute and the Debian archive.
    ///
    /// `UNBOX_DEBIAN_MIRROR` names another archive than mmdebstrap's own choice.
    pub(super) fn find_or_make(machine: Architecture) -> Result<Self> {
        let fetch_kernel = FETCH_KERNEL.replace("@MACHINE@", machine.debian());
        let mirror = debian::mirror();
        let mut recipe = vec![debian::SUITE, &fetch_kernel, mirror.as_deref().unwrap_or("default")];
        recipe.extend(PACKAGES.iter().chain(LEFT_OUT));
        let key = content_key(recipe);
        let tar = cache_directory().join(format!("rootfs-{key}.tar"));
        let kernel = cache_directory().join(format!("kernel-{key}"));
        let is_there = tar.exists() && kernel.exists();
        let failed = || format!("cannot build the root file system of a guest for {}", machine.debian());
        if machine == Architecture::HERE {
            let rootfs = Self { key, machine, tar, programs: None, kernel };
            if !is_there {
                let all = Bootstrap::new("minbase", machine.debian(), &rootfs.downloads()?);
                let all = all.include(PACKAGES).download("customize", &fetch_kernel);
                rootfs.build(all, &rootfs.tar).with_context(failed)?;
            }
            return Ok(rootfs);
        }
        let ours = Self::find_or_make(Architecture::HERE)?;
        let rootfs = Self { key, machine, tar: ours.tar.clone(), programs: Some(tar.clone()), kernel };
        if !is_there {
            let all = Bootstrap::new("extract", machine.debian(), &rootfs.downloads()?);
            let all = all.include(&ours.packages()?).option("setup-hook", MERGED_USR);
            rootfs.build(all.download("extract", &fetch_kernel), &tar).with_context(failed)?;
        }
        Ok(rootfs)
    }

    /// Makes an empty folder for the kernel's package.
    fn downloads(&self) -> Result<PathBuf> {
        let folder = self.kernel.with_extension("new");
        host::remove(&folder)?;
        fs::create_dir_all(folder.join("downloads"))?;
        Ok(folder.join("downloads"))
    }

    fn build(&self, bootstrap: Bootstrap, tar: &Path) -> Result<()> {
        let work = self.kernel.with_extension("new");
        let (new_tar, new_kernel) = (work.join("rootfs.tar"), work.join("kernel"));
        let mut bootstrap = bootstrap;
        for path in LEFT_OUT {
            bootstrap = bootstrap.option("dpkgopt", &format!("path-exclude={path}"));
        }
        bootstrap.make(&new_tar)?;
        debian::unpack(&work.join("downloads"), &new_kernel)?;
        host::rename(&new_tar, tar)?;
        host::remove(&self.kernel)?;
        host::rename(&new_kernel, &self.kernel)?;
        host::remove(&work)
    }

    /// Returns the names of its packages.
    fn packages(&self) -> Result<Vec<String>> {
        let status = Program::new("tar").arg("-xOf").arg(&self.tar).arg("./var/lib/dpkg/status").read()?;
        let names = status.lines().filter_map(|line| line.strip_prefix("Package: "));
        let names: Vec<String> = names.map(str::to_owned).collect();
        ensure!(!names.is_empty(), "{} holds no packages", self.tar.display());
        Ok(names)
    }

    /// Turns the system below `root` into the one that boots the machine; nothing may follow after that.
    pub(super) fn exchange_programs(&self, root: &Path) -> Result<()> {
        let Some(programs) = &self.programs else {
            return Ok(());
        };
        let (there, here) = (self.machine, Architecture::HERE);
        Program::as_root("sh")
            .args(["-c", EXCHANGE, "exchange"])
            .arg(root)
            .args([there.debian(), here.debian(), &there.gnu(), &here.gnu()])
            .arg(programs)
            .run()
    }

    /// Returns the kernel's image.
    pub(super) fn vmlinuz(&self) -> Result<PathBuf> {
        debian::entry(&self.kernel.join("boot"), "vmlinuz-")
    }

    /// Returns the kernel's modules: a directory named after its version.
    pub(super) fn modules(&self) -> Result<PathBuf> {
        debian::entry(&self.kernel.join("lib/modules"), "")
    }
}
