//! Downloads of artifacts: streamed to disk in constant memory, checked on the way, resumed after an
//! interruption.
//!
//! Socket and disk do not wait for each other: one task reads and decrypts, a thread hashes and writes,
//! and a few buffers travel between them.

use super::{
    ArtifactHostError, GrantError, Rejection, StorageError,
    incoming::{Announced, AnswerError, Incoming},
};
use crate::{
    boot::{Layout, Server},
    failure::Failure,
    files::{self, FilesError},
    http::{Client, Misbehaviour, Refusal, transport_error},
};
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_RANGE, HeaderValue},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};
use tokio::{sync::mpsc, task};
use unbox_common::{
    digest::Sha256,
    payload::{Artifact, Payload},
    protocol::{
        latest::{ARTIFACT_PATH, Grant},
        limits::MAX_GRANT_BYTES,
    },
};
use url::Url;

/// The size of one buffer between socket and disk, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;
/// The number of buffers in the channel: with those in use, 2 MiB, whatever the artifact's size.
const BUFFERS: usize = 6;
/// The largest grant that is read back, in bytes.
const MAX_STORED_GRANT_BYTES: u64 = 2 * MAX_GRANT_BYTES as u64;
/// Room left free on the disk for the device itself, in bytes.
const RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// Fetches all missing artifacts of a payload, and reports bytes received and total bytes to `progress`.
///
/// # Errors
/// [`Failure`]; bytes already received stay, and the next try resumes there.
pub async fn fetch_all(
    layout: &Layout,
    server: &Server,
    client: &Client,
    payload: &Payload,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<(), Failure> {
    let folder = layout.artifacts();
    for part in folder.ancestors().take_while(|part| *part != layout.exchange()) {
        if part.symlink_metadata().is_ok_and(|found| !found.is_dir()) {
            files::discard(part)?;
        }
    }
    files::make_directory(&folder, files::PRIVATE_DIRECTORY)?;
    let artifacts = payload.artifacts();
    let total: u64 = artifacts.iter().map(|artifact| artifact.size).sum();
    check_room(&folder, &artifacts)?;
    let mut done = 0;
    for artifact in artifacts {
        let source = Source::of(server, artifact);
        let mut so_far = |received| progress(done + received, total);
        fetch(&folder, client, &source, artifact, &mut so_far).await?;
        done += artifact.size;
    }
    Ok(())
}

/// A grant stored on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGrant {
    /// The grant. Nothing in it is verified.
    pub grant: Grant,
    /// Digest of the file.
    pub digest: Sha256,
}

/// Reads a grant; `None` if there is none.
///
/// # Errors
/// [`GrantError::Damaged`] if the file is not a grant.
pub fn read_grant(path: &Path) -> Result<Option<StoredGrant>, GrantError> {
    let bytes = match files::read(path, MAX_STORED_GRANT_BYTES) {
        Ok(None) => return Ok(None),
        Ok(Some(bytes)) => bytes,
        Err(error) if error.is_not_a_document() => return Err(GrantError::Damaged),
        Err(error) => return Err(error.into()),
    };
    match serde_json::from_slice(&bytes) {
        Ok(grant) => Ok(Some(StoredGrant { grant, digest: Sha256::of(&bytes) })),
        Err(_) => Err(GrantError::Damaged),
    }
}

/// Stores a grant.
///
/// # Errors
/// [`FilesError`].
pub fn store_grant(path: &Path, grant: &Grant) -> Result<(), FilesError> {
    files::write_json(path, grant)
}

/// Removes artifacts that none of these payloads names.
///
/// # Errors
/// [`FilesError`]; nothing else depends on it.
pub fn clean(layout: &Layout, keep: &[&Payload]) -> Result<(), FilesError> {
    let folder = layout.artifacts();
    let named: BTreeSet<String> = keep
        .iter()
        .flat_map(|payload| payload.artifacts())
        .map(|artifact| artifact.sha256.to_string())
        .collect();
    let Ok(entries) = fs::read_dir(&folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let digest = name.strip_suffix(PART).unwrap_or(&name);
        if !named.contains(digest) {
            files::discard(&entry.path())?;
        }
    }
    Ok(())
}

/// The extension of an incomplete artifact.
const PART: &str = ".part";

fn part_path(folder: &Path, artifact: &Artifact) -> PathBuf {
    folder.join(format!("{}{PART}", artifact.sha256))
}

/// The source of an artifact.
struct Source {
    url: Url,
    /// True if the URL is the enrollment server's: no other host speaks for the device's owner.
    is_server: bool,
}

impl Source {
    fn of(server: &Server, artifact: &Artifact) -> Self {
        let own = server.endpoint(&format!("{ARTIFACT_PATH}/{}", artifact.sha256));
        match &artifact.url {
            None => Self { url: own, is_server: true },
            Some(named) => Self { url: named.url().clone(), is_server: named.url().origin() == own.origin() },
        }
    }

    /// Requests the bytes of an artifact, starting at `from`.
    async fn open(&self, client: &Client, artifact: &Artifact, from: u64) -> Result<Response, Failure> {
        let answered = client.fetch(self.url.clone(), from, artifact.size - from).await;
        answered.map_err(|error| match error.cause::<Refusal>() {
            Some(refusal) if !self.is_server => {
                ArtifactHostError::Status { digest: artifact.sha256, status: refusal.problem.status }.into()
            }
            _ => error,
        })
    }
}

/// Fails before the first byte is fetched, if there is no room for the last one.
fn check_room(folder: &Path, artifacts: &[&Artifact]) -> Result<(), StorageError> {
    let missing = artifacts.iter().map(|artifact| {
        let length = |path: PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
        let there = length(folder.join(artifact.sha256.to_string()));
        let there = there.max(length(part_path(folder, artifact)));
        artifact.size.saturating_sub(there)
    });
    let missing: u64 = missing.sum();
    if missing == 0 {
        return Ok(());
    }
    let needed = missing.saturating_add(RESERVE_BYTES);
    let disk = nix::sys::statvfs::statvfs(folder).map_err(|errno| StorageError::Artifact(errno.into()))?;
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    if free < needed {
        return Err(StorageError::DiskFull { needed, free });
    }
    Ok(())
}

/// Fetches one artifact, unless it is present.
async fn fetch(
    folder: &Path,
    client: &Client,
    source: &Source,
    artifact: &Artifact,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), Failure> {
    let (whole, part) = (folder.join(artifact.sha256.to_string()), part_path(folder, artifact));
    if is_present(&whole, artifact).await? {
        return Ok(());
    }
    let growing = Growing::open(&part, artifact).await?;
    let resumed = growing.incoming.received_bytes() > 0;
    let tried = download(client, source, artifact, growing, progress).await;
    let tried = match tried {
        // The bytes kept from an earlier try were wrong: fetch once more, from the beginning.
        Err(error) if resumed && matches!(error.cause(), Some(Rejection::ArtifactDigest { .. })) => {
            files::remove(&part)?;
            let growing = Growing::open(&part, artifact).await?;
            download(client, source, artifact, growing, progress).await
        }
        tried => tried,
    };
    if tried.as_ref().is_err_and(|error| error.cause::<Rejection>().is_some()) {
        files::remove(&part)?;
    }
    tried?;
    let publish = move || files::publish(&part, &whole);
    Ok(run_blocking(publish).await??)
}

/// Returns true if a complete file is the artifact. A wrong one is removed: the disk has damaged it.
async fn is_present(path: &Path, artifact: &Artifact) -> Result<bool, Failure> {
    if !path.exists() {
        return Ok(false);
    }
    let growing = Growing::open(path, artifact).await?;
    if growing.incoming.finish().is_ok() {
        return Ok(true);
    }
    files::remove(path)?;
    Ok(false)
}

/// A growing file, with the checks of its bytes.
struct Growing {
    file: File,
    incoming: Incoming,
}

impl Growing {
    /// Opens the file and hashes its content; a file longer than the artifact is started over.
    async fn open(path: &Path, artifact: &Artifact) -> Result<Self, Failure> {
        let (path, artifact) = (path.to_owned(), artifact.clone());
        run_blocking(move || -> Result<Self, Failure> {
            let (file, length) = files::open_growing(&path, files::PRIVATE_FILE)?;
            let mut growing = Self { file, incoming: Incoming::new(&artifact) };
            if length > artifact.size {
                growing.restart().map_err(StorageError::Artifact)?;
            } else if length > 0 {
                growing.hash(&path, length).map_err(StorageError::Artifact)?;
            }
            Ok(growing)
        })
        .await?
    }

    /// Hashes the existing bytes, up to `length`.
    fn hash(&mut self, path: &Path, length: u64) -> io::Result<()> {
        let mut reader = File::open(path)?.take(length);
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let read = reader.read(&mut buffer)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            // The length was checked: it does not exceed the artifact's.
            self.incoming.push(bytes).map_err(io::Error::other)?;
        }
    }

    /// Checks and stores the next bytes.
    fn store(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.incoming.push(bytes)?;
        self.file.write_all(bytes).map_err(|error| StorageError::Artifact(error).into())
    }

    /// Discards the bytes received.
    fn restart(&mut self) -> io::Result<()> {
        self.incoming.reset();
        self.file.set_len(0)
    }
}

/// Reads the missing bytes off the network while a thread hashes and stores them.
async fn download(
    client: &Client,
    source: &Source,
    artifact: &Artifact,
    mut growing: Growing,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), Failure> {
    if growing.incoming.is_complete() {
        return Ok(growing.incoming.finish()?);
    }
    let from = growing.incoming.received_bytes();
    let response = match source.open(client, artifact, from).await {
        Err(error) if status_of(&error) == Some(StatusCode::NOT_FOUND.as_u16()) => {
            return Err(Rejection::ArtifactMissing(artifact.sha256).into());
        }
        Err(error) if status_of(&error) == Some(StatusCode::RANGE_NOT_SATISFIABLE.as_u16()) => {
            return Err(ArtifactHostError::WrongRange.into());
        }
        answered => answered?,
    };
    let start = start_of(&response, &growing.incoming, from)?;
    if start == 0 && from > 0 {
        growing.restart().map_err(StorageError::Artifact)?;
    }
    let (buffers, mut arriving) = mpsc::channel::<Vec<u8>>(BUFFERS);
    let stored = task::spawn_blocking(move || -> Result<Growing, Failure> {
        while let Some(buffer) = arriving.blocking_recv() {
            growing.store(&buffer)?;
        }
        Ok(growing)
    });
    let received = receive(response, &buffers, start, progress).await;
    drop(buffers);
    // A failure to store also explains why receiving stopped, so it comes first.
    let growing = stored.await.map_err(|_| worker_error())??;
    received?;
    Ok(growing.incoming.finish()?)
}

/// Passes the body on in buffers, until the receiver is gone.
async fn receive(
    mut response: Response,
    buffers: &mpsc::Sender<Vec<u8>>,
    start: u64,
    progress: &mut (dyn FnMut(u64) + Send),
) -> Result<(), Failure> {
    let mut received = start;
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let ended = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk),
            Ok(None) => break Ok(()),
            Err(error) => break Err(transport_error(error)),
        }
        if buffer.len() >= BUFFER_BYTES / 2 {
            received += buffer.len() as u64;
            let full = std::mem::replace(&mut buffer, Vec::with_capacity(BUFFER_BYTES));
            if buffers.send(full).await.is_err() {
                return Ok(());
            }
            progress(received);
        }
    };
    // Even if the connection was cut, the bytes received so far are stored.
    if !buffer.is_empty() {
        let _ = buffers.send(buffer).await;
    }
    Ok(ended?)
}

fn start_of(response: &Response, incoming: &Incoming, from: u64) -> Result<u64, Failure> {
    let content_range = response.headers().get(CONTENT_RANGE);
    let answer = Announced {
        is_part: response.status() == StatusCode::PARTIAL_CONTENT,
        content_range: content_range.map(HeaderValue::to_str).and_then(Result::ok),
        length: response.content_length(),
    };
    incoming.check_start(from, answer).map_err(|error| match error {
        AnswerError::Host(error) => error.into(),
        AnswerError::Rejected(error) => error.into(),
    })
}

fn status_of(error: &Failure) -> Option<u16> {
    if let Some(Misbehaviour::UnexpectedStatus { status, .. }) = error.cause() {
        Some(*status)
    } else if let Some(ArtifactHostError::Status { status, .. }) = error.cause() {
        Some(*status)
    } else {
        error.cause().map(|refusal: &Refusal| refusal.problem.status)
    }
}

async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StorageError> {
    task::spawn_blocking(work).await.map_err(|_| worker_error())
}

fn worker_error() -> StorageError {
    StorageError::Artifact(io::Error::other("the thread that stores artifacts ended"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        payload::accept::tests::payload,
        test_server::{NOW, Reply, Request, TestServer, Then},
    };
    use unbox_common::{
        protocol::problem::{self, Problem},
        refusal::{Disposition, RefusalKind},
    };

    /// Returns 800 kB without repetition.
    fn bytes() -> Vec<u8> {
        (0u32..200_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
    }

    fn artifact_of(bytes: &[u8]) -> Artifact {
        Artifact { sha256: Sha256::of(bytes), size: bytes.len() as u64, url: None }
    }

    /// Answers like an honest server: everything, or the requested part.
    fn honest(request: &Request, bytes: &[u8]) -> Reply {
        let from = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
        match from {
            None => Reply::with("200 OK", &[], bytes),
            Some(from) => {
                let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
                Reply::with("206 Partial Content", &[("content-range", &range)], &bytes[from..])
            }
        }
    }

    struct Device {
        _root: tempfile::TempDir,
        layout: Layout,
        server: TestServer,
    }

    impl Device {
        fn at(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
            let root = tempfile::tempdir().unwrap();
            Self { layout: Layout::new(root.path()), server: TestServer::start(answer), _root: root }
        }

        async fn fetch(&self, artifact: &Artifact) -> Result<(), Failure> {
            let context = self.server.context(self.layout.clone());
            let client = TestServer::client(&context, NOW);
            let payload = payload(1, std::slice::from_ref(artifact));
            let server = context.server().unwrap();
            fetch_all(&self.layout, server, &client, &payload, &mut |_, _| {}).await
        }

        fn stored(&self, artifact: &Artifact) -> Option<Vec<u8>> {
            files::read(&self.layout.artifact(artifact.sha256), 1 << 24).unwrap()
        }

        fn ranges(&self) -> Vec<Option<String>> {
            let range = |request: Request| request.header("range").map(str::to_owned);
            self.server.requests().into_iter().map(range).collect()
        }
    }

    #[tokio::test]
    async fn an_artifact_is_fetched_once_and_kept() {
        let (whole, artifact) = (bytes(), artifact_of(&bytes()));
        let device = Device::at(move |request| honest(request, &whole));
        device.fetch(&artifact).await.unwrap();
        assert_eq!(device.stored(&artifact), Some(bytes()));
        device.fetch(&artifact).await.unwrap();
        let requests = device.server.requests();
        assert_eq!(requests.len(), 1);
        let path = format!("GET /artifacts/sha256/{} HTTP/1.1", artifact.sha256);
        assert_eq!(requests[0].line, path);
    }

    #[tokio::test]
    async fn a_cut_fetch_goes_on_where_it_was() {
        let (whole, artifact) = (bytes(), artifact_of(&bytes()));
        let cut_at = 500_000;
        let device = Device::at(move |request| match request.header("range") {
            None => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", whole.len());
                let cut = [head.as_bytes(), &whole[..cut_at]].concat();
                Reply::raw(cut).then(Then::Cut)
            }
            Some(_) => honest(request, &whole),
        });
        let cut = device.fetch(&artifact).await.unwrap_err();
        assert_eq!(cut.kind(), "connection_cut");
        assert_eq!(device.stored(&artifact), None);
        device.fetch(&artifact).await.unwrap();
        assert_eq!(device.stored(&artifact), Some(bytes()));
        assert_eq!(device.ranges(), [None, Some(format!("bytes={cut_at}-"))]);
    }

    #[tokio::test]
    async fn a_host_that_drips_is_given_up_in_time_and_the_next_try_goes_on() {
        // All bytes are the same, so that whatever trickles in is right.
        let (whole, begun) = (vec![b'x'; 4000], 1000);
        let artifact = artifact_of(&whole);
        let device = Device::at(move |request| match request.header("range") {
            None => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", whole.len());
                Reply::raw([head.as_bytes(), &whole[..begun]].concat()).then(Then::Drip)
            }
            Some(_) => honest(request, &whole),
        });
        let slow = device.fetch(&artifact).await.unwrap_err();
        assert_eq!((slow.kind(), slow.disposition()), ("timed_out", Disposition::Retry));
        assert_eq!(device.stored(&artifact), None);
        let kept = part_path(&device.layout.artifacts(), &artifact).metadata().unwrap().len();
        assert!((begun as u64..4000).contains(&kept), "{kept}");
        device.fetch(&artifact).await.unwrap();
        assert_eq!(device.stored(&artifact), Some(vec![b'x'; 4000]));
        assert_eq!(device.ranges(), [None, Some(format!("bytes={kept}-"))]);
    }

    #[tokio::test]
    async fn a_server_without_ranges_sends_it_whole() {
        let (whole, artifact) = (bytes(), artifact_of(&bytes()));
        let device = Device::at(move |_| Reply::with("200 OK", &[], &whole));
        files::make_directory(&device.layout.artifacts(), 0o700).unwrap();
        files::replace(&part_path(&device.layout.artifacts(), &artifact), &bytes()[..999], 0o600).unwrap();
        device.fetch(&artifact).await.unwrap();
        assert_eq!(device.stored(&artifact), Some(bytes()));
    }

    #[tokio::test]
    async fn a_damaged_beginning_is_fetched_again() {
        let artifact = artifact_of(&bytes());
        for kept in [vec![0; 4096], vec![0; bytes().len()], vec![0; bytes().len() + 1]] {
            let whole = bytes();
            let device = Device::at(move |request| honest(request, &whole));
            files::make_directory(&device.layout.artifacts(), 0o700).unwrap();
            files::replace(&part_path(&device.layout.artifacts(), &artifact), &kept, 0o600).unwrap();
            device.fetch(&artifact).await.unwrap();
            assert_eq!(device.stored(&artifact), Some(bytes()));
        }
        let whole = bytes();
        let device = Device::at(move |request| honest(request, &whole));
        files::make_directory(&device.layout.artifacts(), 0o700).unwrap();
        files::replace(&device.layout.artifact(artifact.sha256), b"half", 0o600).unwrap();
        device.fetch(&artifact).await.unwrap();
        assert_eq!(device.stored(&artifact), Some(bytes()));
    }

    #[tokio::test]
    async fn bytes_that_were_not_announced_are_refused_and_not_kept() {
        let artifact = artifact_of(&bytes());
        let mut other = bytes();
        other[7] ^= 1;
        let longer = [bytes(), vec![1]].concat();
        let endless = b"HTTP/1.1 200 OK\r\n\r\nx".to_vec();
        for (reply, expected) in [
            (Reply::with("200 OK", &[], &other), "artifact_digest"),
            (Reply::with("200 OK", &[], &longer), "artifact_size"),
            (Reply::with("200 OK", &[], &bytes()[1..]), "artifact_size"),
            (Reply::raw(endless).then(Then::Endless), "artifact_size"),
            (Reply::with("404 Not Found", &[], b""), "artifact_missing"),
            (
                Reply::with("206 Partial Content", &[("content-range", "bytes 5-9/10")], b"56789"),
                "wrong_range",
            ),
            (Reply::with("302 Found", &[("location", "http://elsewhere.example/")], b""), "redirected"),
        ] {
            let device = Device::at(move |_| reply.clone());
            let refused = device.fetch(&artifact).await.unwrap_err();
            assert_eq!(refused.kind(), expected);
            assert_eq!(device.stored(&artifact), None);
            let left =
                part_path(&device.layout.artifacts(), &artifact).metadata().map_or(0, |left| left.len());
            assert_eq!(left, 0, "{expected}");
        }
    }

    #[tokio::test]
    async fn a_full_disk_is_found_before_the_first_byte() {
        let device = Device::at(|_| Reply::with("200 OK", &[], b""));
        let huge = Artifact { size: u64::MAX / 2, ..artifact_of(b"") };
        let full = device.fetch(&huge).await.unwrap_err();
        assert_eq!(full.kind(), "disk_full");
        assert!(device.server.requests().is_empty());
    }

    #[tokio::test]
    async fn only_the_enrollment_server_refuses_for_the_owner() {
        let gone = Problem::new(RefusalKind::Deprovisioned);
        let problem = serde_json::to_vec(&gone).unwrap();
        let reply = Reply::with("410 Gone", &[("content-type", problem::CONTENT_TYPE)], &problem);
        let (host, device) = (reply.clone(), Device::at(move |_| reply.clone()));
        let elsewhere = TestServer::start(move |_| host.clone());
        let place = elsewhere.context(device.layout.clone()).server().unwrap().endpoint("/dpc.tar");
        let artifact = artifact_of(b"x");
        let refused = device.fetch(&artifact).await.unwrap_err();
        assert_eq!(refused.disposition(), Disposition::Fatal, "the server itself may say so");
        let mut context = device.server.context(device.layout.clone());
        context.trust.anchors.extend(elsewhere.context(device.layout.clone()).trust.anchors);
        let (server, client) = (context.server().unwrap(), TestServer::client(&context, NOW));
        let payload = payload(1, &[Artifact { url: Some(place.to_string().parse().unwrap()), ..artifact }]);
        let failed = fetch_all(&device.layout, server, &client, &payload, &mut |_, _| {}).await.unwrap_err();
        assert_eq!((failed.kind(), failed.disposition()), ("artifact_host", Disposition::Retry));
        assert_eq!(failed.hint(), None, "a stranger does not say how long to wait");
    }

    #[test]
    fn what_no_payload_names_is_cleaned_away() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        clean(&layout, &[]).unwrap();
        files::make_directory(&layout.artifacts(), 0o700).unwrap();
        let (kept, old) = (artifact_of(b"kept"), artifact_of(b"old"));
        for artifact in [&kept, &old] {
            files::replace(&layout.artifact(artifact.sha256), b"", 0o600).unwrap();
            files::replace(&part_path(&layout.artifacts(), artifact), b"", 0o600).unwrap();
        }
        clean(&layout, &[&payload(1, std::slice::from_ref(&kept))]).unwrap();
        let mut left: Vec<_> =
            layout.artifacts().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        left.sort();
        assert_eq!(left, [layout.artifact(kept.sha256), part_path(&layout.artifacts(), &kept)]);
    }
}
