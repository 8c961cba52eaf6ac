//! Artifacts: bytes that payloads name by their digest, and uploads that become some.

use super::name::Name;
use unbox_common::{
    digest::Sha256,
    ids::{ArtifactId, CompanyId, UploadId},
    timestamp::Timestamp,
};

/// A registered artifact. Its bytes lie in the artifact directory under its digest, once, whoever has
/// them registered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Artifact {
    /// The registration.
    pub id: ArtifactId,
    /// The digest of the whole.
    pub sha256: Sha256,
    /// The size in bytes.
    pub size: u64,
    /// Whose it is; the operator's, for all customers, if absent.
    pub customer: Option<CompanyId>,
    /// What people call it, usually a file name.
    pub name: Name,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// An upload that is done in several requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// Whose it is.
    pub customer: CompanyId,
    /// What people will call the artifact.
    pub name: Name,
    /// How many bytes it is to have, once that was said.
    pub size: Option<u64>,
    /// The digest that it has to have, if one was said.
    pub expected: Option<Sha256>,
    /// How many bytes are on disk.
    pub received: u64,
    /// The artifact that it became.
    pub finished: Option<Sha256>,
    /// When it was started.
    pub created_at: Timestamp,
    /// When bytes of it arrived last.
    pub touched_at: Timestamp,
}
