//! Clients that others wrote, against the real server's sandbox: Google's for Python and for Node, and
//! Schemathesis. What they do stands in `tests/clients`; `tests/run` installs what they need below the
//! target directory.

use anyhow::{Context as _, Result, ensure};
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;
use unbox_tests::{
    api::ApiSandbox,
    binaries::workspace,
    host::{Program, target_directory},
};

/// Ample time for a suite.
const SUITE_LIMIT: Duration = Duration::from_mins(8);

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
    let sandbox = ApiSandbox::start(folder.path())?;
    let client = client.env("UNBOX_SANDBOX", sandbox.keys()).limit(SUITE_LIMIT);
    client.run().with_context(|| sandbox.output())?;
    sandbox.stop()
}
