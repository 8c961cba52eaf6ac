//! Payloads, their artifacts, and how they come to be accepted.

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};
use unbox_agent::install::ArtifactDir;
use unbox_common::{
    digest::Sha256,
    ids::{DeviceId, Generation},
    payload::{AcceptedPayload, Expectation, Payload, judge},
    timestamp::Timestamp,
    trust::{KeySet, SigningKey, sign},
};

/// Artifacts as the payload stage leaves them.
pub(crate) struct Artifacts {
    pub(crate) directory: PathBuf,
}

impl Artifacts {
    pub(crate) fn new(directory: PathBuf) -> Self {
        std::fs::create_dir_all(&directory).unwrap();
        Self { directory }
    }

    /// Adds an artifact, and describes it as a payload does.
    pub(crate) fn add(&self, bytes: &[u8]) -> Value {
        let digest = Sha256::of(bytes);
        std::fs::write(self.directory.join(digest.to_string()), bytes).unwrap();
        json!({ "sha256": digest, "size": bytes.len() })
    }

    pub(crate) fn dir(&self) -> ArtifactDir {
        ArtifactDir(self.directory.clone())
    }

    /// Replaces an artifact's bytes by others of the same length.
    pub(crate) fn corrupt(&self, artifact: &Value) {
        let path = self.directory.join(artifact["sha256"].as_str().unwrap());
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::write(path, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
    }
}

/// A payload with this DPC and this policy, accepted as the payload stage does.
pub(crate) fn accept(version: u64, dpc: &Value, policy: &Value) -> AcceptedPayload {
    let payload = json!({
        "device": "7", "generation": 1, "key_digest": Sha256::of(b"key"), "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "version": version, "issued_at": 1000, "expires_at": 9000,
        "configuration": { "id": "3", "name": "test" },
        "dpc": dpc, "policy": policy,
    });
    let payload: Payload = serde_json::from_value(payload).unwrap();
    let key = SigningKey::from_seed(&[1; 32]);
    let trusted = KeySet::new(1, [key.public()]).unwrap();
    let verified = sign(&payload, &[&key]).unwrap().verify(&trusted).unwrap();
    let expected = Expectation {
        device: DeviceId::new(7).unwrap(),
        generation: Generation(1),
        key_digest: None,
        nonce: None,
        installed_version: None,
        now: Timestamp(2000),
    };
    judge(verified, &expected).unwrap()
}

/// One entry of a tar archive, as hostile as it has to be.
pub(crate) struct Entry<'a> {
    pub(crate) kind: EntryType,
    pub(crate) name: &'a str,
    pub(crate) link: &'a str,
    pub(crate) mode: u32,
    pub(crate) bytes: &'a [u8],
}

pub(crate) const fn file<'a>(name: &'a str, mode: u32, bytes: &'a [u8]) -> Entry<'a> {
    Entry { kind: EntryType::Regular, name, link: "", mode, bytes }
}

pub(crate) const fn link<'a>(kind: EntryType, name: &'a str, link: &'a str) -> Entry<'a> {
    Entry { kind, name, link, mode: 0o777, bytes: b"" }
}

/// A tar archive whose names are written as they are: the crate would refuse to write some.
pub(crate) fn tar(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_mode(entry.mode);
        header.set_size(entry.bytes.len() as u64);
        let old = header.as_old_mut();
        old.name[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        old.linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_cksum();
        tar.append(&header, entry.bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

/// Everything below a directory, but what the agent keeps for itself: what a person would see.
pub(crate) fn snapshot(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(root).unwrap();
            if below.starts_with("var/lib/unbox") || below.starts_with("run") {
                continue;
            }
            lines.push(format!("{} {}", below.display(), describe(&path)));
            if path.symlink_metadata().unwrap().is_dir() {
                pending.push(path);
            }
        }
    }
    lines.sort();
    lines
}

fn describe(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = path.symlink_metadata().unwrap();
    let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
    if metadata.is_symlink() {
        format!("-> {}", path.read_link().unwrap().display())
    } else if metadata.is_dir() {
        format!("directory {mode:o} {uid}:{gid}")
    } else if !metadata.is_file() {
        "neither".to_owned()
    } else {
        let bytes = std::fs::read(path).unwrap();
        format!("file {mode:o} {uid}:{gid} {} {}", bytes.len(), Sha256::of(&bytes))
    }
}
