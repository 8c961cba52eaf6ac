//! Artifacts: bytes that payloads name by their digest.

use super::{ServiceError, Services};
use crate::{
    domain::{actor::Actor, artifact::Artifact},
    store::{Page, PageRequest},
};
use std::{io::Read, path::PathBuf};
use unbox_common::digest::Sha256;

/// Bytes that are to become an artifact.
pub struct ArtifactUpload<R> {
    /// What people call it, usually the file's name.
    pub name: String,
    /// The bytes; read once, to the end, on a thread that may block.
    pub bytes: R,
}

impl Services {
    /// Streams bytes into the artifact directory, then registers them. The same bytes again are
    /// the same artifact.
    pub async fn add_artifact<R: Read + Send + 'static>(
        &self,
        by: &Actor,
        upload: ArtifactUpload<R>,
    ) -> Result<Artifact, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Lists artifacts, ordered by digest.
    pub async fn list_artifacts(
        &self,
        by: &Actor,
        page: PageRequest,
    ) -> Result<Page<Artifact>, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Deletes an artifact that no configuration uses, and its bytes.
    pub async fn delete_artifact(&self, by: &Actor, sha256: Sha256) -> Result<(), ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Where the bytes of a digest lie, if they are here.
    #[must_use]
    pub fn artifact_path(&self, sha256: Sha256) -> PathBuf {
        self.settings().artifact_directory.join(sha256.to_string())
    }
}
