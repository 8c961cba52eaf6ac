//! The harness's one place that writes files: folders are made on the way.

use anyhow::{Context as _, Result};
use std::path::Path;

/// Writes a file whole.
///
/// # Errors
/// If the folder cannot be made or the file cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    #[expect(clippy::disallowed_methods, reason = "a test's file need not survive a power cut")]
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}
