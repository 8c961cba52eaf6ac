//! Clients that others wrote, against the real server's sandbox: Google's for Python and for Node, and
//! Schemathesis. What they do stands in `tests/clients`; `tests/run` installs what they need below the
//! target directory.

use anyhow::{Context as _, Result, ensure};
use std::{fs, path::PathBuf, time::Duration};
use tempfile::TempDir;
use unbox_tests::{
    binaries::{self, workspace},
    host::{Program, target_directory},
    process::{Running, command, wait_for},
};

/// Ample time for a start on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(1);
/// Ample time for a suite.
const SUITE_LIMIT: Duration = Duration::from_mins(8);
/// Ample time to stop.
const STOP_LIMIT: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs Google's Python client: run tests/run"]
fn googles_python_client_calls_every_method() -> Result<()> {
    python("test_methods.py")
}

#[test]
#[ignore = "needs Schemathesis: run tests/run"]
fn every_answer_is_as_the_api_describes_it() -> Result<()> {
    python("test_description.py")
}

#[test]
#[ignore = "needs Google's Node client: run tests/run"]
fn googles_node_client_serves_a_reseller() -> Result<()> {
    let modules = installed("node/node_modules")?;
    let script = workspace().join("tests/clients/node/reseller.cjs");
    with_sandbox(Program::new("node").env("NODE_PATH", modules).arg(script))
}

fn python(suite: &str) -> Result<()> {
    let python = installed("python/bin/python")?;
    let folder = workspace().join("tests/clients/python");
    // Its own folder stays as it is in the repository.
    let pytest =
        ["-B", "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-p", "no:schemathesis"];
    with_sandbox(Program::new(python).args(pytest).arg(suite).current_dir(&folder))
}

fn installed(path: &str) -> Result<PathBuf> {
    let path = target_directory().join("clients").join(path);
    ensure!(path.exists(), "{} is not there: tests/run installs it", path.display());
    Ok(path)
}

/// Runs a client's program beside a sandbox, which then stops and leaves no data behind.
fn with_sandbox(client: Program) -> Result<()> {
    let folder = TempDir::new().context("make a directory for the sandbox")?;
    let (keys, data) = (folder.path().join("keys"), folder.path().join("data"));
    fs::create_dir(&data).context("make a directory for its data")?;
    let mut sandbox = command(binaries::server()?, &["sandbox", "--listen", "127.0.0.1:0", "--out"]);
    sandbox.arg(&keys).env("TMPDIR", &data);
    let mut sandbox = Running::start(sandbox, &folder.path().join("log"))?;
    wait_for(START_LIMIT, "the sandbox to be ready", || {
        ensure!(sandbox.is_running(), "the sandbox ended: {}", sandbox.output());
        Ok(keys.join("env.json").exists().then_some(()))
    })?;
    client.env("UNBOX_SANDBOX", &keys).limit(SUITE_LIMIT).run().with_context(|| sandbox.output())?;
    ensure!(sandbox.terminate(STOP_LIMIT)?.success(), "the sandbox failed: {}", sandbox.output());
    let left: Vec<_> = fs::read_dir(&data).context("look what is left of its data")?.collect();
    ensure!(left.is_empty(), "the sandbox left its data behind: {left:?}");
    Ok(())
}
