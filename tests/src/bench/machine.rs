//! The circumstances of a measurement: without them, a figure means nothing.

use crate::clock;
use anyhow::{Context as _, Result};
use std::{fs, path::Path};

/// Describes processor, memory, kernel, file system, load, and the date.
///
/// # Errors
/// If the kernel does not provide them.
pub(super) fn circumstances(directory: &Path, how: &str) -> Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("read {path}"));
    let processor =
        field(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "an unnamed processor".into());
    let cores = std::thread::available_parallelism().context("count the cores")?;
    let memory = field(&read("/proc/meminfo")?, "MemTotal");
    let kib: u64 = memory.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0);
    let kernel = read("/proc/sys/kernel/osrelease")?;
    let load = read("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let disk =
        file_system(&read("/proc/self/mounts")?, &fs::canonicalize(directory).context("find the directory")?);
    Ok(format!(
        "Measured on {} on {processor}, {cores} cores, {} GiB, Linux {}, {disk}; load before it {load}; {how}.",
        clock::today()?,
        kib.div_ceil(1 << 20),
        kernel.trim(),
    ))
}

fn field(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the type of the file system that a directory is on: that of the deepest mount above it.
fn file_system(mounts: &str, directory: &Path) -> String {
    let mounted = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (at, kind) = (words.next()?, words.next()?);
        directory.starts_with(at).then(|| (at.len(), kind.to_owned()))
    });
    mounted.max_by_key(|(length, _)| *length).map_or_else(|| "an unknown disk".to_owned(), |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts() {
        let mounts = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/bench")), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/tmpfile")), "ext4");
    }

    #[test]
    fn this_machine_is_described() {
        let said = circumstances(Path::new("."), "a test").unwrap();
        assert!(said.starts_with("Measured on 20") && said.ends_with("; a test."), "{said}");
    }
}
