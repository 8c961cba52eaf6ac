//! What we ship, made from this workspace: Debian packages and the static tarball, in `target/dist/`.

use std::path::PathBuf;

use anyhow::Result;

use crate::host;

/// Where the agent's Debian package is, or will be once `cargo dist` has run.
pub fn agent_package() -> Result<PathBuf> {
    Ok(host::target_directory().join("dist/unbox-agent.deb"))
}
