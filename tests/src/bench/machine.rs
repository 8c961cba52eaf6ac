//! The circumstances of a measurement: without them, a figure means nothing.

use crate::clock;
use anyhow::{Context as _, Result};
use std::{fs, path::Path};
use sysinfo::{CpuRefreshKind, Disks, MemoryRefreshKind, RefreshKind, System};

/// Describes processor, memory, kernel, file system, load, and the date.
///
/// # Errors
/// If the directory is not there, or the kernel says nothing.
pub(super) fn describe_machine(directory: &Path, how: &str) -> Result<String> {
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted).context("read the machine's processor and memory")?;
    let processor = system.cpus().first().map_or("an unnamed processor", |one| one.brand());
    let directory = fs::canonicalize(directory).context("find the directory")?;
    Ok(format!(
        "Measured on {} on {processor}, {} cores, {} GiB, Linux {}, {}; load before it {:.2}; {how}.",
        clock::today()?,
        system.cpus().len(),
        system.total_memory().div_ceil(1 << 30),
        System::kernel_version().context("read the kernel's version")?,
        file_system(&directory)?,
        System::load_average().context("read the load")?.one,
    ))
}

/// Returns the type of the file system that a directory is on: that of the deepest mount above it.
fn file_system(directory: &Path) -> Result<String> {
    let disks = Disks::new_with_refreshed_list().context("list the mounted file systems")?;
    let mounted = disks.iter().filter(|disk| directory.starts_with(disk.mount_point()));
    let deepest = mounted.max_by_key(|disk| disk.mount_point().as_os_str().len());
    Ok(deepest.map_or_else(|| "an unknown disk".to_owned(), |disk| disk.file_system().display().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let said = describe_machine(Path::new("."), "a test").unwrap();
        assert!(said.starts_with("Measured on 20") && said.ends_with("; a test."), "{said}");
        assert!(!said.contains(" 0 GiB") && !said.contains("unnamed"), "{said}");
    }
}
