//! Artifacts: bytes that payloads name by their digest.

use super::name::Name;
use unbox_common::{digest::Sha256, timestamp::Timestamp};

/// A registered artifact. Its bytes lie in the artifact directory under its digest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Artifact {
    /// The digest of the whole.
    pub sha256: Sha256,
    /// The size in bytes.
    pub size: u64,
    /// What people call it, usually a file name.
    pub name: Name,
    /// When it was registered.
    pub created_at: Timestamp,
}
