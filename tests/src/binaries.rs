//! The programs under test: built beside the harness, or built now.

use crate::process::{command, forget_cargo, run};
use anyhow::{Context as _, Result, ensure};
use std::{
    env,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// Returns the workspace's root.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}

/// Returns the agent's path.
///
/// # Errors
/// If it cannot be built.
pub fn agent() -> Result<PathBuf> {
    build_once("unbox-agent")
}

/// Returns the path of the test station's program.
///
/// # Errors
/// If it cannot be built.
pub fn station() -> Result<PathBuf> {
    build_once("unbox-station")
}

/// Returns the server's path.
///
/// # Errors
/// If it cannot be built.
pub fn server() -> Result<PathBuf> {
    build_once("unbox-server")
}

/// Returns the path of the small DPC of the demo and the tests.
///
/// # Errors
/// If it cannot be built.
pub fn demo_dpc() -> Result<PathBuf> {
    build_once("demo-dpc")
}

/// The shipped programs, each in a package of its name.
const PROGRAMS: [&str; 3] = ["unbox-agent", "unbox-server", "unbox-station"];

/// Builds all programs once for each process, in the profile that the harness itself has.
fn build_once(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    let folder = folder.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(folder.join(name))
}

fn build() -> Result<PathBuf> {
    let own = env::current_exe().context("find the harness itself")?;
    // target/<profile>/demo, or target/<profile>/deps/e2e-0123456789abcdef
    let folder =
        own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).context("find the profile")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = folder.parent().context("find the target directory")?;
    // With the same features as the harness itself: with others, all dependencies would be built twice.
    let is_test = own.parent().is_some_and(|folder| folder.ends_with("deps"));
    let mut build = if is_test {
        command(cargo, &["test", "--quiet", "--workspace", "--tests", "--bins", "--no-run"])
    } else {
        let of = |kind: &str| PROGRAMS.map(|name| format!("--{kind}={name}"));
        let packages = of("package").into_iter().chain(["--package=unbox-tests".to_owned()]);
        let programs = of("bin").into_iter().chain(["--bin=demo-dpc".to_owned()]);
        let mut build = command(cargo, &["build"]);
        build.args(packages).args(programs);
        build
    };
    let profile = folder.file_name().context("find the profile")?;
    if profile != "debug" {
        build.arg("--profile").arg(profile);
    }
    forget_cargo(&mut build);
    build.current_dir(workspace()).env("CARGO_TARGET_DIR", target);
    if is_test {
        run(build)?.success().context("build the programs under test")?;
    } else {
        // Somebody waits for it, and sees how far it is.
        let ended = build.status().context("start cargo")?;
        ensure!(ended.success(), "the programs could not be built: {ended}");
    }
    Ok(folder.to_owned())
}
