//! Builds the preloaded library of an agent whose clock is wrong, or whose power is cut at a chosen write.

use crate::host::{self, Program};
use anyhow::{Context as _, Result};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const SOURCE: &str = "src/sandbox/preload.c";

/// The trouble of a sandbox.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trouble<'a> {
    /// The offset of its clock from this machine's, in seconds.
    pub clock_offset_s: i64,
    /// The number of the change to a file or folder before which its power is cut; 0 for never.
    pub cut_before_change: u64,
    /// A file that gets one byte for each such change.
    pub count_changes_in: Option<&'a Path>,
}

impl Trouble<'_> {
    /// Preloads the trouble into a program.
    ///
    /// # Errors
    /// If there is no C compiler.
    pub(super) fn preload_into(&self, mut program: Command) -> Result<Command> {
        program.env("LD_PRELOAD", library()?);
        program.env("UNBOX_CLOCK_OFFSET_S", self.clock_offset_s.to_string());
        program.env("UNBOX_CUT_AT", self.cut_before_change.to_string());
        if let Some(file) = self.count_changes_in {
            program.env("UNBOX_CUT_COUNT", file);
        }
        Ok(program)
    }
}

/// Returns the preloaded library; built once for each process.
fn library() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let library = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    library.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    let own = env::current_exe().context("find the test itself")?;
    let folder = own.parent().context("find the test's folder")?;
    let library = folder.join("unbox-preload.so");
    let _lock = host::lock(&folder.join("unbox-preload.lock"))?;
    // Another test may be using it: it is replaced, and never overwritten.
    let new = folder.join("unbox-preload.so.new");
    Program::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-Wno-unused-result", "-o"])
        .arg(&new)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE))
        .arg("-ldl")
        .run()
        .context("build what is preloaded into the agent")?;
    host::rename(&new, &library)?;
    Ok(library)
}
