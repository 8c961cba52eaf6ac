//! Uploads in several requests, which continue after a lost connection or a restart of the server.
//!
//! The length of an upload is in the database, and is updated only once the bytes are on disk. One request
//! at a time works on an upload: a client that reconnects takes over from a hanging connection.

use super::{
    artifacts::{End, IN_ONE_GO, Received, check_digest, digest, receive, run_blocking, too_large_error},
    quota::DiskSpace,
};
use crate::{
    domain::{
        catalogue::artifact::{Artifact, Upload},
        name::Name,
        tenancy::actor::{Actor, Scope},
    },
    files::{self, FilesError, Lock, PUBLIC_DIRECTORY},
    service::{Catalogue, ServiceError, tenancy::customer_of},
};
use std::{
    collections::HashMap,
    io::{self, Read},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedMutexGuard, watch},
    time::{sleep, timeout},
};
use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, UploadId},
    payload::MAX_ARTIFACT_BYTES,
};

/// The maximum number of unfinished uploads of one customer.
pub const MAX_OPEN_UPLOADS: u64 = 16;
/// The time for which an upload waits for its next bytes.
pub const UPLOAD_KEPT: Duration = Duration::from_hours(7 * 24);
/// The longest wait for the previous request to end.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval at which a request checks whether another process has released the lock.
const TURN_POLL: Duration = Duration::from_millis(100);
/// The suffix of the name of an upload's lock, beside its part.
const LOCK_SUFFIX: &str = ".lock";
/// The age at which a part written in one request counts as abandoned.
const LEFT_BEHIND: Duration = Duration::from_hours(24);

/// An upload to start.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// The customer that will own the artifact.
    pub customer: CompanyId,
    /// The name that the artifact will have.
    pub name: String,
    /// The size in bytes, if known.
    pub size: Option<u64>,
    /// The expected digest, if known.
    pub expected: Option<Sha256>,
}

/// The position of the bytes that one request adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadPart {
    /// The offset of the first byte.
    pub from: u64,
    /// The number of bytes; up to the end if absent.
    pub length: Option<u64>,
    /// The size of the whole, in bytes, if known.
    pub total: Option<u64>,
}

/// The progress of an upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadProgress {
    /// This many bytes are on disk.
    Open(u64),
    /// The artifact is finished.
    Done(Box<Artifact>),
}

/// The right to work on an upload, until another request takes it over.
pub struct UploadTurn {
    upload: Upload,
    _held: OwnedMutexGuard<()>,
    /// Excludes other processes with the same artifact directory.
    _lock: Lock,
    later: watch::Receiver<u64>,
}

impl UploadTurn {
    /// Returns the number of bytes on disk.
    #[must_use]
    pub fn received_bytes(&self) -> u64 {
        self.upload.received
    }

    /// Waits until another request takes over, which then waits for this one to end.
    pub fn wait_for_takeover(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut later = self.later.clone();
        async move {
            // Without a sender, no request can take over.
            if later.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// The turns of requests in this process, by upload.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<UploadId, Arc<Turn>>>);

#[derive(Default)]
struct Turn {
    held: Arc<tokio::sync::Mutex<()>>,
    comers: watch::Sender<u64>,
}

impl Turns {
    /// Takes the turn from the present holder.
    async fn take(&self, id: UploadId) -> Result<(OwnedMutexGuard<()>, watch::Receiver<u64>), ServiceError> {
        let turn = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, turn| Arc::strong_count(turn) > 1 || Arc::strong_count(&turn.held) > 1);
            Arc::clone(all.entry(id).or_default())
        };
        turn.comers.send_modify(|comers| *comers += 1);
        let held = timeout(TURN_TIMEOUT, Arc::clone(&turn.held).lock_owned()).await;
        Ok((held.map_err(|_| ServiceError::Busy)?, turn.comers.subscribe()))
    }
}

impl Catalogue {
    /// Starts an upload.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] if the customer has too many unfinished ones.
    pub async fn start_upload(&self, by: &Actor, new: NewUpload) -> Result<Upload, ServiceError> {
        let name: Name = new.name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        if new.size.is_some_and(|size| size > MAX_ARTIFACT_BYTES) {
            return Err(too_large_error());
        }
        self.disk_space(Some(new.customer)).await?.check(new.size.unwrap_or_default())?;
        let now = self.core.now();
        let upload = Upload {
            id: self.core.ids.upload(now),
            customer: new.customer,
            name,
            size: new.size,
            expected: new.expected,
            received: 0,
            finished: None,
            created_at: now,
            touched_at: now,
        };
        let by = by.clone();
        self.core
            .store
            .write(move |tx| {
                    tx.lock_artifacts()?;
                    customer_of(tx, &by, upload.customer)?;
                    if tx.open_uploads(upload.customer)? >= MAX_OPEN_UPLOADS {
                        return Err(ServiceError::Conflict(format!(
                            "There are {MAX_OPEN_UPLOADS} uploads that are not finished. Finish or cancel one first."
                        )));
                    }
                    tx.insert_upload(&upload)?;
                    Ok(upload.clone())
                })
            .await
    }

    /// Takes the turn to work on a customer's upload.
    pub async fn upload_turn(
        &self,
        by: &Actor,
        customer: CompanyId,
        id: UploadId,
    ) -> Result<UploadTurn, ServiceError> {
        let find = async || {
            let scope = by.scope();
            let found = self.core.read(move |reader| reader.upload(scope, id)).await?;
            let own = found.filter(|upload| upload.customer == customer);
            own.ok_or_else(|| ServiceError::not_found("upload", id))
        };
        find().await?;
        let (held, later) = self.turns.take(id).await?;
        let lock = timeout(TURN_TIMEOUT, self.upload_lock(id)).await.map_err(|_| ServiceError::Busy)??;
        Ok(UploadTurn { upload: find().await?, _held: held, _lock: lock, later })
    }

    /// Waits until no other process works on the upload.
    async fn upload_lock(&self, id: UploadId) -> Result<Lock, ServiceError> {
        let (directory, path) = (self.part_path(""), self.lock_path(id));
        run_blocking(move || files::make_directory(&directory, PUBLIC_DIRECTORY)).await?;
        loop {
            match Lock::take(&path) {
                Err(FilesError::InUse(_)) => sleep(TURN_POLL).await,
                taken => return Ok(taken?),
            }
        }
    }

    fn lock_path(&self, id: UploadId) -> PathBuf {
        self.part_path(&format!("{id}{LOCK_SUFFIX}"))
    }

    /// Adds bytes to an upload, and registers the artifact when it is complete. Runs to its end even if the
    /// client is gone: the bytes that arrived are kept.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] if the bytes contradict the announcement. If their digest is wrong, the
    /// upload ends and nothing is kept.
    pub async fn continue_upload<R: Read + Send + 'static>(
        &self,
        by: &Actor,
        turn: UploadTurn,
        part: UploadPart,
        bytes: R,
    ) -> Result<UploadProgress, ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        let work = tokio::spawn(async move { this.add_part(&by, &turn, part, bytes).await });
        work.await.map_err(|_| ServiceError::Busy)?
    }

    async fn add_part<R: Read + Send + 'static>(
        &self,
        by: &Actor,
        turn: &UploadTurn,
        part: UploadPart,
        bytes: R,
    ) -> Result<UploadProgress, ServiceError> {
        let mut upload = turn.upload.clone();
        if let Some(sha256) = upload.finished {
            let artifact = self.artifact(by, Some(upload.customer), sha256).await?;
            return Ok(UploadProgress::Done(Box::new(artifact)));
        }
        upload.size = agreed_size(&upload, part)?;
        if part.from > upload.received {
            return Ok(UploadProgress::Open(upload.received));
        }
        let from_start = upload.received == 0;
        let (received, space) = self.write_part(turn, &upload, part, bytes).await?;
        if matches!(received.end, End::TooLong) {
            return Err(match (upload.size, part.length) {
                (None, None) => too_large_error(),
                _ => ServiceError::invalid("content_range", "expected no more bytes than were announced"),
            });
        }
        upload.received = received.length;
        upload.touched_at = self.core.now();
        if matches!(received.end, End::Whole) && part.length.is_none() {
            upload.size = upload.size.or(Some(upload.received));
        }
        self.save_upload(&upload).await?;
        space.commit();
        if let End::NoRoom(why) = received.end {
            return Err(*why);
        }
        if upload.size != Some(upload.received) {
            return Ok(UploadProgress::Open(upload.received));
        }
        self.finish_upload(by, &upload, from_start.then_some(received.sha256)).await
    }

    /// Writes the new bytes of a part.
    async fn write_part<R: Read + Send + 'static>(
        &self,
        turn: &UploadTurn,
        upload: &Upload,
        part: UploadPart,
        bytes: R,
    ) -> Result<(Received, DiskSpace), ServiceError> {
        let (path, at) = (self.part_path(&upload.id.to_string()), upload.received);
        let known = at - part.from;
        let rest = upload.size.unwrap_or(MAX_ARTIFACT_BYTES) - at;
        let limit = part.length.map_or(rest, |length| length.saturating_sub(known).min(rest));
        let later = turn.later.clone();
        let mut space = self.disk_space(Some(upload.customer)).await?;
        run_blocking(move || {
            let mut bytes = Interrupted { bytes, later };
            // A client may send bytes again that are already here.
            let skipped = io::copy(&mut (&mut bytes).take(known), &mut io::sink());
            let received = if skipped.is_ok_and(|skipped| skipped == known) {
                receive(&path, at, limit, bytes, &mut space)?
            } else {
                let nothing = receive(&path, at, 0, io::empty(), &mut space)?;
                Received { end: End::Cut, ..nothing }
            };
            // The bytes need their disk space until they are saved.
            Ok((received, space))
        })
        .await
    }

    async fn save_upload(&self, upload: &Upload) -> Result<(), ServiceError> {
        let (this, upload) = (self.clone(), upload.clone());
        self.core
            .store
            .write(move |tx| {
                tx.lock_artifacts()?;
                let saved = tx.upload(Scope::Operator, upload.id)?;
                let more = upload.received.saturating_sub(saved.map_or(0, |saved| saved.received));
                if more > 0 {
                    this.check_quota(tx, upload.customer, more)?;
                }
                Ok(tx.update_upload(&upload)?)
            })
            .await
    }

    async fn finish_upload(
        &self,
        by: &Actor,
        upload: &Upload,
        known: Option<Sha256>,
    ) -> Result<UploadProgress, ServiceError> {
        let (path, length) = (self.part_path(&upload.id.to_string()), upload.received);
        let sha256 = if let Some(known) = known {
            known
        } else {
            let path = path.clone();
            run_blocking(move || digest(&path, length)).await?
        };
        if let Err(error) = check_digest(upload.expected, sha256) {
            self.forget_upload(upload.id, path).await?;
            return Err(error);
        }
        let new = self.new_artifact(Some(upload.customer), upload.name.clone(), sha256, length);
        let registered = self.register(by, new, path, Some(upload.id)).await?;
        let lock = self.lock_path(upload.id);
        run_blocking(move || files::remove(&lock)).await?;
        Ok(UploadProgress::Done(Box::new(registered)))
    }

    /// Cancels an unfinished upload. A finished one is merely forgotten; its artifact stays.
    pub async fn cancel_upload(&self, turn: UploadTurn) -> Result<(), ServiceError> {
        let id = turn.upload.id;
        self.forget_upload(id, self.part_path(&id.to_string())).await
    }

    async fn forget_upload(&self, id: UploadId, part: PathBuf) -> Result<(), ServiceError> {
        self.core.store.write(move |tx| Ok::<_, ServiceError>(tx.delete_upload(id)?)).await?;
        let lock = self.lock_path(id);
        run_blocking(move || files::remove(&part).and_then(|()| files::remove(&lock))).await
    }

    /// Deletes abandoned uploads, and parts without an upload. Called from time to time.
    ///
    /// Returns the number of deleted uploads.
    pub async fn sweep_uploads(&self) -> Result<u64, ServiceError> {
        let before = self.core.cutoff(UPLOAD_KEPT);
        let abandoned = self.core.read(move |reader| reader.uploads_untouched_since(before)).await?;
        for upload in &abandoned {
            self.forget_upload(upload.id, self.part_path(&upload.id.to_string())).await?;
        }
        let directory = self.part_path("");
        for name in run_blocking(move || files::list_older_than(&directory, LEFT_BEHIND)).await? {
            let belongs = match name.trim_end_matches(LOCK_SUFFIX).parse::<UploadId>() {
                Ok(id) => self.core.read(move |reader| reader.upload(Scope::Operator, id)).await?.is_some(),
                Err(_) => !name.starts_with(IN_ONE_GO),
            };
            if !belongs {
                let part = self.part_path(&name);
                run_blocking(move || files::remove(&part)).await?;
            }
        }
        Ok(abandoned.len() as u64)
    }
}

/// Returns the size of the whole, if the start of the upload and this part agree on it.
fn agreed_size(upload: &Upload, part: UploadPart) -> Result<Option<u64>, ServiceError> {
    let size = match (upload.size, part.total) {
        (Some(size), Some(total)) if size != total => {
            let rule = format!("expected {size} bytes in all, as was announced before");
            return Err(ServiceError::invalid("content_range", rule));
        }
        (size, total) => size.or(total),
    };
    if size.is_some_and(|size| size > MAX_ARTIFACT_BYTES) {
        return Err(too_large_error());
    }
    let end = part.length.map_or(part.from, |length| part.from.saturating_add(length));
    if size.is_some_and(|size| size < upload.received.max(end)) {
        let rule = "expected a size that is not less than what has arrived";
        return Err(ServiceError::invalid("content_range", rule));
    }
    Ok(size)
}

/// A stream that fails once another request takes over.
struct Interrupted<R> {
    bytes: R,
    later: watch::Receiver<u64>,
}

impl<R: Read> Read for Interrupted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(to);
        if self.later.has_changed().unwrap_or(false) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the upload goes on elsewhere"));
        }
        read
    }
}
