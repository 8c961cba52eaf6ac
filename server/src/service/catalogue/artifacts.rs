//! Artifacts: bytes that payloads name by their digest. Customers have their own, and the operator shares
//! some with all; identical bytes of several owners are one file.
//!
//! Bytes arrive in a file of their own below [`PARTS`], and are renamed to their digest in the transaction
//! that registers them. Under the same lock, the last owner to delete them removes the file.

use super::quota::DiskSpace;
use crate::{
    domain::{
        catalogue::artifact::Artifact,
        name::Name,
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    files::{self, FilesError, PUBLIC_DIRECTORY, PUBLIC_FILE, Part},
    service::{Catalogue, ServiceError, tenancy::customer_of},
    store::{ArtifactUse, ArtifactsOf, Page, PageRequest, Tx},
};
use serde_json::json;
use std::{
    io::{Read, Write as _},
    path::{Path, PathBuf},
};
use tokio::task::spawn_blocking;
use unbox_common::{
    digest::{Hasher, Sha256},
    ids::{CompanyId, UploadId},
    payload::MAX_ARTIFACT_BYTES,
};

/// The directory below that of artifacts for bytes that are not yet registered.
pub(super) const PARTS: &str = ".parts";
/// The prefix of the names of parts that are written in one request. Nobody resumes such a part after a
/// crash.
pub(super) const IN_ONE_GO: &str = "new-";
/// The number of bytes that are read and written together.
const BUFFER_BYTES: usize = 256 * 1024;

/// The bytes of a new artifact.
pub struct ArtifactUpload<R> {
    /// The customer that will own it; absent for the operator's, which all customers share.
    pub customer: Option<CompanyId>,
    /// The name that people use for it, usually the file's name.
    pub name: String,
    /// The expected digest, if known.
    pub expected: Option<Sha256>,
    /// The bytes; read once, to the end, on a thread that may block.
    pub bytes: R,
}

impl<R> ArtifactUpload<R> {
    /// Returns the upload of an artifact for all customers, with no expected digest.
    pub fn for_all_customers(name: &str, bytes: R) -> Self {
        Self { customer: None, name: name.to_owned(), expected: None, bytes }
    }
}

impl Catalogue {
    /// Streams bytes into the artifact directory, then registers them. An owner that sends the same bytes
    /// again gets the same artifact.
    ///
    /// # Errors
    /// In case of an error nothing is registered, and the bytes are deleted.
    pub async fn add_artifact<R: Read + Send + 'static>(
        &self,
        by: &Actor,
        upload: ArtifactUpload<R>,
    ) -> Result<Artifact, ServiceError> {
        let ArtifactUpload { customer, name, expected, bytes } = upload;
        let name: Name = name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        check_owner(by, customer)?;
        let part = self.part_path(&format!("{IN_ONE_GO}{}", self.core.ids.next(self.core.now())));
        let mut space = self.disk_space(customer).await?;
        let written = spawn_blocking(move || {
            let part = Discarded(part);
            let received = receive(&part.0, 0, MAX_ARTIFACT_BYTES, bytes, &mut space)?;
            // The bytes need their disk space until they are registered.
            Ok::<_, FilesError>((part, received, space))
        });
        let (part, received, space) = written.await.map_err(|_| ServiceError::Busy)??;
        match received.end {
            End::Whole => {}
            End::NoRoom(why) => return Err(*why),
            End::Cut => return Err(ServiceError::invalid("", CUT)),
            End::TooLong => return Err(too_large_error()),
        }
        check_digest(expected, received.sha256)?;
        let new = self.new_artifact(customer, name, received.sha256, received.length);
        let id = new.id;
        let registered = self.register(by, new, part.0.clone(), None).await?;
        // Bytes that were registered before need no further disk space.
        if registered.id == id {
            space.commit();
        }
        Ok(registered)
    }

    pub(super) fn new_artifact(
        &self,
        customer: Option<CompanyId>,
        name: Name,
        sha256: Sha256,
        size: u64,
    ) -> Artifact {
        let now = self.core.now();
        Artifact { id: self.core.ids.artifact(now), sha256, size, customer, name, created_at: now }
    }

    /// Renames a part to its digest and registers it; an upload ends with that.
    pub(super) async fn register(
        &self,
        by: &Actor,
        new: Artifact,
        part: PathBuf,
        upload: Option<UploadId>,
    ) -> Result<Artifact, ServiceError> {
        let path = self.artifact_path(new.sha256);
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                tx.lock_artifacts()?;
                if let Some(customer) = new.customer {
                    customer_of(tx, &by, customer)?;
                    let known = tx.artifact(new.sha256, new.customer)?;
                    let has_it = known.is_some_and(|known| known.customer == new.customer);
                    // The bytes of an upload were checked against the quota when they were saved.
                    if upload.is_none() && !has_it {
                        this.check_quota(tx, customer, new.size)?;
                    }
                }
                files::publish(&part, &path)?;
                this.note_artifact(tx, &by, new.clone(), upload)
            })
            .await
    }

    fn note_artifact(
        &self,
        tx: &mut Tx,
        by: &Actor,
        new: Artifact,
        upload: Option<UploadId>,
    ) -> Result<Artifact, ServiceError> {
        if let Some(id) = upload
            && let Some(mut upload) = tx.upload(by.scope(), id)?
        {
            upload.finished = Some(new.sha256);
            upload.touched_at = new.created_at;
            tx.update_upload(&upload)?;
        }
        if !tx.insert_artifact(&new)?
            && let Some(registered) = tx.artifact(new.sha256, new.customer)?
        {
            return Ok(registered);
        }
        let detail = json!({"name": new.name, "size": new.size});
        let subject = Subject::Artifact(new.sha256);
        self.core.note(tx, by, Action::ArtifactRegistered, subject, new.customer, detail);
        Ok(new)
    }

    /// Lists artifacts, oldest registration first.
    pub async fn list_artifacts(
        &self,
        by: &Actor,
        of: ArtifactsOf,
        page: PageRequest,
    ) -> Result<Page<Artifact>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.artifacts(scope, of, &page)).await
    }

    /// Returns an artifact that a customer may name: its own, or a shared one. Without a customer, returns
    /// only shared ones.
    pub async fn artifact(
        &self,
        by: &Actor,
        customer: Option<CompanyId>,
        sha256: Sha256,
    ) -> Result<Artifact, ServiceError> {
        let missing = || ServiceError::not_found("artifact", sha256);
        if !customer.map_or(by.scope() == Scope::Operator, |customer| by.scope().covers(customer)) {
            return Err(missing());
        }
        self.core.read(move |reader| reader.artifact(sha256, customer)).await?.ok_or_else(missing)
    }

    /// Deletes an owner's artifact that nothing uses, and its bytes if nobody else registered them.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] names the objects that use the artifact.
    pub async fn delete_artifact(
        &self,
        by: &Actor,
        customer: Option<CompanyId>,
        sha256: Sha256,
    ) -> Result<(), ServiceError> {
        check_owner(by, customer)?;
        let (this, by) = (self.clone(), by.clone());
        let was_last = self
            .core
            .store
            .write(move |tx| {
                tx.lock_artifacts()?;
                let was = tx.artifact(sha256, customer)?;
                let was = was.ok_or_else(|| ServiceError::not_found("artifact", sha256))?;
                if was.customer != customer {
                    return Err(ServiceError::OperatorOnly);
                }
                let uses = tx.artifact_uses(&was)?;
                if !uses.is_empty() {
                    return Err(in_use_error(&uses));
                }
                let was_last = tx.delete_artifact(&was)?;
                let detail = json!({"name": was.name});
                let subject = Subject::Artifact(sha256);
                this.core.note(tx, &by, Action::ArtifactDeleted, subject, customer, detail);
                Ok(was_last)
            })
            .await?;
        if was_last { self.remove_bytes(sha256).await } else { Ok(()) }
    }

    /// Removes bytes that nobody has registered any more. This is a transaction of its own, because the
    /// deletion of the registration must be on disk before the bytes are removed.
    async fn remove_bytes(&self, sha256: Sha256) -> Result<(), ServiceError> {
        let path = self.artifact_path(sha256);
        self.core
            .store
            .write(move |tx| {
                tx.lock_artifacts()?;
                if tx.artifact_is_registered(sha256)? {
                    return Ok(());
                }
                Ok(files::remove(&path)?)
            })
            .await
    }

    /// Returns true if anybody has registered these bytes, here or at another server.
    pub async fn is_artifact_registered(&self, sha256: Sha256) -> Result<bool, ServiceError> {
        self.core.read(move |reader| reader.artifact_is_registered(sha256)).await
    }

    /// Returns the path of the bytes with a digest, whether or not they exist.
    #[must_use]
    pub fn artifact_path(&self, sha256: Sha256) -> PathBuf {
        self.core.settings.artifact_directory.join(sha256.to_string())
    }

    /// Returns the path of bytes that are not yet an artifact.
    pub(super) fn part_path(&self, name: &str) -> PathBuf {
        self.core.settings.artifact_directory.join(PARTS).join(name)
    }
}

/// Checks that the actor may change artifacts of this owner. Those without an owner are shared by all
/// customers, so only the operator changes them.
fn check_owner(by: &Actor, customer: Option<CompanyId>) -> Result<(), ServiceError> {
    match customer {
        None if by.scope() != Scope::Operator => Err(ServiceError::OperatorOnly),
        Some(customer) if !by.scope().covers(customer) => Err(ServiceError::not_found("customer", customer)),
        _ => Ok(()),
    }
}

fn in_use_error(by: &[ArtifactUse]) -> ServiceError {
    let name = |one: &ArtifactUse| match one {
        ArtifactUse::Configuration(id, name) => format!("configuration {id} \"{name}\""),
        ArtifactUse::Dpc(name) => format!("DPC {name} of the catalogue"),
    };
    let (first, rest) = by.split_at_checked(3).unwrap_or((by, &[]));
    let names = first.iter().map(name).collect::<Vec<_>>().join(", ");
    let more = if rest.is_empty() { "" } else { " and more" };
    ServiceError::Conflict(format!(
        "The artifact cannot be deleted, because it is used: {names}{more}. Change that first."
    ))
}

/// The rule broken by bytes that end too early.
pub(super) const CUT: &str = "expected bytes up to the end that was announced. Send them again";

/// Returns the error for more bytes than an artifact may have.
pub(super) fn too_large_error() -> ServiceError {
    ServiceError::TooLarge(MAX_ARTIFACT_BYTES)
}

/// Checks bytes against their expected digest.
pub(super) fn check_digest(expected: Option<Sha256>, found: Sha256) -> Result<(), ServiceError> {
    match expected {
        Some(expected) if expected != found => Err(ServiceError::invalid(
            "sha256",
            format!("expected the digest of the bytes that arrived, which is {found}. Nothing was kept"),
        )),
        _ => Ok(()),
    }
}

/// Runs blocking work on another thread.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesError> + Send + 'static,
) -> Result<T, ServiceError> {
    Ok(spawn_blocking(work).await.map_err(|_| ServiceError::Busy)??)
}

/// A part that is removed on drop; a published part has been renamed by then.
struct Discarded(PathBuf);

impl Drop for Discarded {
    fn drop(&mut self) {
        if let Err(error) = files::remove(&self.0) {
            tracing::warn!(%error, "a part of an upload could not be removed");
        }
    }
}

/// The way in which a stream of bytes ended.
#[derive(Debug)]
pub(super) enum End {
    /// The stream was complete.
    Whole,
    /// The stream ended with an error; earlier bytes are kept.
    Cut,
    /// The stream exceeded its limit; nothing is kept.
    TooLong,
    /// The disk or the quota was full; earlier bytes are kept.
    NoRoom(Box<ServiceError>),
}

/// The state of a part after bytes were added.
pub(super) struct Received {
    /// The length of the whole part, in bytes.
    pub(super) length: u64,
    /// The digest of the added bytes.
    pub(super) sha256: Sha256,
    /// The way in which the stream ended.
    pub(super) end: End,
}

/// Appends at most `limit` bytes to a part of length `at`, and returns when they are on disk.
pub(super) fn receive(
    path: &Path,
    at: u64,
    limit: u64,
    mut bytes: impl Read,
    space: &mut DiskSpace,
) -> Result<Received, FilesError> {
    if let Some(directory) = path.parent() {
        files::make_directory(directory, PUBLIC_DIRECTORY)?;
    }
    let (mut part, found) = Part::open(path, at, PUBLIC_FILE)?;
    if found < at {
        // Some bytes were lost, with the disk or the directory: the client has to resume earlier.
        return Ok(Received { length: found, sha256: Hasher::new().finish(), end: End::Cut });
    }
    let (mut hasher, mut buffer, mut added) = (Hasher::new(), vec![0; BUFFER_BYTES], 0);
    let end = loop {
        let read = match bytes.read(&mut buffer) {
            Ok(0) => break End::Whole,
            Ok(read) => buffer.get(..read).unwrap_or_default(),
            Err(_) => break End::Cut,
        };
        if let Err(why) = space.reserve(read.len() as u64) {
            break End::NoRoom(Box::new(why));
        }
        added += read.len() as u64;
        if added > limit {
            part.cut(at)?;
            added = 0;
            break End::TooLong;
        }
        part.write_all(read).map_err(|source| FilesError::Write { path: path.to_owned(), source })?;
        hasher.update(read);
    };
    part.sync()?;
    Ok(Received { length: at + added, sha256: hasher.finish(), end })
}

/// Computes the digest of a whole part, which has `length` bytes.
pub(super) fn digest(path: &Path, length: u64) -> Result<Sha256, FilesError> {
    let failed = |source| FilesError::Read { path: path.to_owned(), source };
    let (mut part, _) = Part::open(path, length, PUBLIC_FILE)?;
    let mut contents = part.contents()?;
    let (mut hasher, mut buffer) = (Hasher::new(), vec![0; BUFFER_BYTES]);
    loop {
        match contents.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}
