//! Artifacts: bytes that payloads name by their digest, and the uploads that create them.

use crate::domain::name::Name;
use unbox_common::{
    digest::Sha256,
    ids::{ArtifactId, CompanyId, UploadId},
    timestamp::Timestamp,
};

/// A registered artifact. Its bytes are stored once in the artifact directory, under their digest, however
/// many customers registered them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Artifact {
    /// The id of the registration.
    pub id: ArtifactId,
    /// The digest of all bytes.
    pub sha256: Sha256,
    /// The size in bytes.
    pub size: u64,
    /// The customer that owns it; `None` for the operator's artifacts, which all customers may use.
    pub customer: Option<CompanyId>,
    /// The name that people use for it, usually a file name.
    pub name: Name,
    /// The time of its registration.
    pub created_at: Timestamp,
}

/// An upload in several requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its id.
    pub id: UploadId,
    /// The customer that owns it.
    pub customer: CompanyId,
    /// The name that the artifact will have.
    pub name: Name,
    /// The announced size in bytes, if any.
    pub size: Option<u64>,
    /// The announced digest, if any.
    pub expected: Option<Sha256>,
    /// The number of bytes on disk.
    pub received: u64,
    /// The digest of the finished artifact.
    pub finished: Option<Sha256>,
    /// The time at which it was started.
    pub created_at: Timestamp,
    /// The time at which bytes last arrived.
    pub touched_at: Timestamp,
}
