//! Builds what is preloaded into an agent whose clock is wrong, or whose power is cut at a chosen write.

use crate::host::{self, Program};
use anyhow::{Context as _, Result};
use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

const SOURCE: &str = "src/sandbox/preload.c";

/// Moves the wall clock of a program by so many seconds.
///
/// # Errors
/// If there is no C compiler.
pub(super) fn with_clock(program: Command, offset_s: i64) -> Result<Command> {
    let mut program = preloaded(program)?;
    program.env("UNBOX_CLOCK_OFFSET_S", offset_s.to_string());
    Ok(program)
}

/// Kills a program just before its `at`th change of a file or folder.
///
/// # Errors
/// If there is no C compiler.
pub(super) fn with_cut(program: Command, at: u64) -> Result<Command> {
    let mut program = preloaded(program)?;
    program.env("UNBOX_CUT_AT", at.to_string());
    Ok(program)
}

/// Lets a program add one byte to the file `count` for each change that it makes to files and folders.
///
/// # Errors
/// If there is no C compiler.
pub(super) fn with_count(program: Command, count: &Path) -> Result<Command> {
    let mut program = preloaded(program)?;
    program.env("UNBOX_CUT_COUNT", count);
    Ok(program)
}

fn preloaded(mut program: Command) -> Result<Command> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let library = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    program.env("LD_PRELOAD", library.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?);
    Ok(program)
}

fn build() -> Result<PathBuf> {
    let own = env::current_exe().context("find the test itself")?;
    let folder = own.parent().context("find the test's folder")?;
    let library = folder.join("unbox-preload.so");
    let _lock = host::lock(&folder.join("unbox-preload.lock"))?;
    // Another test may be running with it: it is replaced, and never written to.
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
