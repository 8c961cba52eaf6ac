//! Debian's archive: the packages of guests and compilers, for any kind of machine, fetched and unpacked
//! without touching the installed system.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::host::Program;

/// The release that everything comes from, and that the packages are built for.
pub(crate) const SUITE: &str = "bookworm";

/// Returns the archive to use: `UNBOX_DEBIAN_MIRROR`, or mmdebstrap's own choice, with its updates.
pub(crate) fn mirror() -> Option<String> {
    std::env::var("UNBOX_DEBIAN_MIRROR").ok()
}

/// A run of mmdebstrap, with apt's files in a folder of its own.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    program: Program,
}

impl Bootstrap {
    /// Prepares a run that makes mmdebstrap's `variant`, for these kinds of machine in Debian's names.
    /// Further downloads go into `folder`.
    pub(crate) fn new(variant: &str, architectures: &str, folder: &Path) -> Self {
        let program = Program::as_root("env")
            .arg(format!("FOLDER={}", folder.display()))
            .args(["mmdebstrap", "--quiet", "--mode=root"])
            .arg(format!("--variant={variant}"))
            .arg(format!("--architectures={architectures}"))
            .arg("--aptopt=Acquire::Languages \"none\"")
            .limit(Duration::from_mins(20));
        Self { program }
    }

    /// Adds packages with their dependencies.
    pub(crate) fn include(self, packages: &[impl AsRef<str>]) -> Self {
        let names: Vec<&str> = packages.iter().map(AsRef::as_ref).collect();
        self.option("include", &names.join(","))
    }

    /// Runs commands at this stage of the run that download packages into the folder, by the run's own apt.
    pub(crate) fn download(self, stage: &str, commands: &str) -> Self {
        let here = "export APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\"; cd \"$FOLDER\"";
        self.option(&format!("{stage}-hook"), &format!("{here}\n{commands}"))
    }

    /// Adds an option.
    pub(crate) fn option(self, name: &str, value: &str) -> Self {
        Self { program: self.program.arg(format!("--{name}={value}")) }
    }

    /// Runs it, to make a tar file or, with [`NOTHING`], only for its hooks.
    pub(crate) fn make(self, output: &Path) -> Result<()> {
        self.program.arg(SUITE).arg(output).args(mirror()).run()
    }
}

/// The output of a run that serves only its hooks.
pub(crate) const NOTHING: &str = "/dev/null";

/// Unpacks packages below `to`.
pub(crate) fn unpack(packages: &Path, to: &Path) -> Result<()> {
    for package in entries(packages)? {
        Program::new("dpkg-deb").arg("-x").arg(&package).arg(to).run()?;
    }
    Ok(())
}

/// Lists the entries of a folder.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = || format!("cannot read {}", folder.display());
    let listed = fs::read_dir(folder).with_context(failed)?;
    listed.map(|entry| entry.map(|entry| entry.path()).with_context(failed)).collect()
}

/// Returns the one entry of a folder whose name begins like this.
pub(crate) fn entry(folder: &Path, name: &str) -> Result<PathBuf> {
    let is_it = |path: &PathBuf| path.file_name().is_some_and(|it| it.to_string_lossy().starts_with(name));
    let Some(found) = entries(folder)?.into_iter().find(is_it) else {
        bail!("{} holds no {name}*", folder.display());
    };
    Ok(found)
}
