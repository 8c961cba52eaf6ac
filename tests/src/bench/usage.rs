//! The resources that a process has used so far, by the kernel's accounting (proc(5)).

use anyhow::{Context as _, Result};
use std::{fs, time::Duration};

/// CPU time and memory of one process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Resident memory now, in KiB.
    pub resident_kib: u32,
    /// The most resident memory so far, in KiB.
    pub peak_kib: u32,
}

impl Usage {
    /// Reads the usage of a running process.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn of(process: u32) -> Result<Self> {
        // schedstat counts nanoseconds, where stat counts ticks of 10 ms. It forgets threads that have
        // ended; the server has none of those while it is measured.
        let mut cpu = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{process}/task")).context("list the threads")? {
            let path = task.context("list the threads")?.path().join("schedstat");
            let schedstat = fs::read_to_string(path).unwrap_or_default();
            let spent = schedstat.split_ascii_whitespace().next().and_then(|text| text.parse().ok());
            cpu += Duration::from_nanos(spent.unwrap_or(0));
        }
        let status = fs::read_to_string(format!("/proc/{process}/status")).context("read the status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
        };
        Ok(Self { cpu, resident_kib: field("VmRSS:"), peak_kib: field("VmHWM:") })
    }

    /// Returns the resident memory now, in MiB.
    #[must_use]
    pub fn resident_mib(&self) -> f64 {
        f64::from(self.resident_kib) / 1024.0
    }

    /// Returns the peak resident memory so far, in MiB.
    #[must_use]
    pub fn peak_mib(&self) -> f64 {
        f64::from(self.peak_kib) / 1024.0
    }
}
