//! Artifacts: bytes that payloads name by their digest.

use super::{ServiceError, Services};
use crate::{
    domain::{
        actor::{Actor, Scope},
        artifact::Artifact,
        audit::{Action, Subject},
        name::Name,
    },
    files::{self, FilesError, PUBLIC_DIRECTORY, PUBLIC_FILE},
    store::{Page, PageRequest},
};
use serde_json::json;
use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};
use unbox_common::{
    digest::{Hasher, Sha256},
    payload::MAX_ARTIFACT_BYTES,
};

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
        operator_only(by)?;
        let name: Name = upload.name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        let directory = self.settings().artifact_directory.clone();
        let placing = tokio::task::spawn_blocking(move || place(&directory, upload.bytes));
        let (sha256, size) = placing.await.map_err(|_| ServiceError::Busy)??;
        let artifact = Artifact { sha256, size, name, created_at: self.now() };
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by, artifact) = (services.clone(), by.clone(), artifact.clone());
                Box::pin(async move {
                    if !tx.insert_artifact(&artifact).await?
                        && let Some(registered) = tx.artifact(sha256).await?
                    {
                        return Ok(registered);
                    }
                    let detail = json!({"name": artifact.name, "size": size});
                    services.note(
                        tx,
                        &by,
                        Action::ArtifactRegistered,
                        Subject::Artifact(sha256),
                        None,
                        detail,
                    );
                    Ok(artifact)
                })
            })
            .await
    }

    /// Lists artifacts, ordered by digest.
    pub async fn list_artifacts(
        &self,
        by: &Actor,
        page: PageRequest,
    ) -> Result<Page<Artifact>, ServiceError> {
        operator_only(by)?;
        Ok(self.0.store.reader().await?.artifacts(&page).await?)
    }

    /// Deletes an artifact that no configuration uses, and its bytes.
    pub async fn delete_artifact(&self, by: &Actor, sha256: Sha256) -> Result<(), ServiceError> {
        operator_only(by)?;
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by) = (services.clone(), by.clone());
                Box::pin(async move {
                    let was = tx.artifact(sha256).await?.ok_or_else(|| ServiceError::not_found("artifact", sha256))?;
                    let uses = tx.artifact_uses(sha256).await?;
                    if uses > 0 {
                        return Err(ServiceError::Conflict(format!(
                            "The artifact cannot be deleted, because {uses} configurations use it. Change those first."
                        )));
                    }
                    tx.delete_artifact(sha256).await?;
                    let detail = json!({"name": was.name});
                    services.note(tx, &by, Action::ArtifactDeleted, Subject::Artifact(sha256), None, detail);
 Ok(())
                })
            })
            .await?;
        // Bytes that nobody names any more do no harm if this fails.
        Ok(files::remove(&self.artifact_path(sha256))?)
    }

    /// Where the bytes of a digest lie, if they are here.
    #[must_use]
    pub fn artifact_path(&self, sha256: Sha256) -> PathBuf {
        self.settings().artifact_directory.join(sha256.to_string())
    }
}

/// Artifacts are shared by all customers, so only the operator changes them.
fn operator_only(by: &Actor) -> Result<(), ServiceError> {
    if by.scope() == Scope::Operator { Ok(()) } else { Err(ServiceError::OperatorOnly) }
}

fn place(directory: &Path, bytes: impl Read) -> Result<(Sha256, u64), FilesError> {
    files::make_directory(directory, PUBLIC_DIRECTORY)?;
    let mut bytes = Digesting { inner: bytes, hasher: Hasher::new(), size: 0 };
    let digest = |read: &Digesting<_>| read.hasher.clone().finish();
    files::stream_into(directory, &mut bytes, PUBLIC_FILE, |read| digest(read).to_string())?;
    Ok((digest(&bytes), bytes.size))
}

/// A stream that knows the digest of what passed, and ends in an error when that is too much.
struct Digesting<R> {
    inner: R,
    hasher: Hasher,
    size: u64,
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(to)?;
        self.hasher.update(to.get(..read).unwrap_or_default());
        self.size = self.size.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if self.size > MAX_ARTIFACT_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than any artifact may be"));
        }
        Ok(read)
    }
}
