//! A machine in a folder: what its sources held, so that it can be looked at elsewhere and shows
//! the same, and nothing that is a secret.

use super::look;
use crate::{
    boot::Layout,
    clock,
    files::{self, FilesError},
    identity::{
        State, Survey, Unreadable,
        modem::Modem,
        network::Link,
        smbios::{self, Tables},
        vpd::{self, Partition},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use unbox_common::{digest::Sha256, timestamp::Timestamp};

/// The folder of what is no file of the machine.
const FOLDER: &str = "unbox";
const MANIFEST: &str = "capture.json";
const INTERFACES: &str = "interfaces.json";
const LINKS: &str = "links.json";
const MODEMS: &str = "modems.json";
const TPM: &str = "tpm.json";

/// The one form of captures so far.
const FORMAT: u32 = 1;

/// The largest file of [`FOLDER`] that is read back, in bytes.
const MAX_RECORD_BYTES: u64 = 1024 * 1024;

/// The largest name of a kernel, in bytes.
const MAX_RELEASE_BYTES: u64 = 256;

/// Why a machine was not captured. What there was before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It would mix two machines.
    #[error("{} is not empty: name a folder that does not exist yet", .0.display())]
    NotEmpty(PathBuf),
    /// The place for it cannot be used.
    #[error("{} cannot be used", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file of it could not be written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// What a survey came from.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// What netlink answered.
    pub(super) interfaces: Option<Vec<Link>>,
    /// What `ModemManager` answered.
    pub(super) modems: Option<Vec<Modem>>,
    /// What the TPM's endorsement key is called.
    pub(super) tpm: Option<Sha256>,
    /// The files, by path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// Where links led, by path: told and not made, so that no copy of a capture loses them.
    pub(super) links: BTreeMap<String, String>,
    /// What could not be read, and is therefore not among the files.
    pub(super) unreadable: Vec<Unreadable>,
}

/// What is known of a capture.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// Version of the agent that made it.
    agent: String,
    /// Release of the kernel that it ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    /// When.
    captured: Timestamp,
    /// What could not be read or not be kept.
    unreadable: Vec<Unreadable>,
}

/// Captures what is below `layout`'s root into a new folder that only its owner enters, and
/// returns what the machine shows.
///
/// # Errors
/// [`CaptureError`].
pub async fn capture(layout: &Layout, folder: &Path) -> Result<Survey, CaptureError> {
    make_room(folder)?;
    let look = look(layout).await;
    let release = files::read(&layout.below("/proc/sys/kernel/osrelease"), MAX_RELEASE_BYTES);
    let kernel = release.ok().flatten().map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    let record = look.record.without_secrets();
    let unreadable =
        look.survey.unreadable.iter().filter(|one| !record.files.contains_key(&one.from)).cloned().collect();
    let manifest = Manifest {
        format: FORMAT,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        kernel,
        captured: clock::system(),
        unreadable,
    };
    record.write(folder, &manifest)?;
    Ok(look.survey)
}

impl Record {
    /// Reads what a folder is a capture of; `None` if it is none.
    pub(super) fn of(layout: &Layout) -> Option<Self> {
        if layout.is_running_system() {
            return None;
        }
        let read = |name: &str| format!("/{FOLDER}/{name}");
        let manifest: Manifest = match read_back(layout, &read(MANIFEST)) {
            Ok(manifest) => manifest?,
            Err(flaw) => return Some(Self { unreadable: vec![flaw], ..Self::default() }),
        };
        let mut record = Self { unreadable: manifest.unreadable, ..Self::default() };
        match read_back(layout, &read(INTERFACES)) {
            Ok(interfaces) => record.interfaces = interfaces,
            Err(flaw) => record.unreadable.push(flaw),
        }
        match read_back::<BTreeMap<_, _>>(layout, &read(LINKS)) {
            Ok(links) => record.links = links.unwrap_or_default(),
            Err(flaw) => record.unreadable.push(flaw),
        }
        match read_back(layout, &read(MODEMS)) {
            Ok(modems) => record.modems = modems,
            Err(flaw) => record.unreadable.push(flaw),
        }
        match read_back(layout, &read(TPM)) {
            Ok(key) => record.tpm = key,
            Err(flaw) => record.unreadable.push(flaw),
        }
        Some(record)
    }

    /// What became of reading this, when the machine was captured.
    pub(super) fn unreadable(&self, from: &str) -> Option<Unreadable> {
        self.unreadable.iter().find(|one| one.from == from).cloned()
    }

    /// What is wrong with the capture itself.
    pub(super) fn flaws(&self) -> impl Iterator<Item = &Unreadable> {
        let own = format!("/{FOLDER}/");
        self.unreadable.iter().filter(move |one| one.from.starts_with(&own))
    }

    /// Takes out of the files what this survey does not need and others must not have. A file
    /// that cannot be made sense of cannot be searched for secrets, and is left out.
    fn without_secrets(mut self) -> Self {
        let table = self.files.remove(smbios::TABLE);
        let entry_point = self.files.remove(smbios::ENTRY_POINT);
        if let Some((entry_point, table)) = entry_point.zip(table)
            && Tables::parse(&entry_point, &table).is_some()
        {
            let (entry_point, table) = smbios::without_secrets(&entry_point, &table);
            self.files.insert(smbios::ENTRY_POINT.to_owned(), entry_point);
            self.files.insert(smbios::TABLE.to_owned(), table);
        }
        let wanted: Vec<&str> = vpd::KEYS.iter().map(|key| key.name).collect();
        for section in vpd::SECTIONS {
            let path = vpd::partition_file(section);
            let bytes = self.files.remove(&path);
            let kept = bytes.and_then(|bytes| Some(Partition::parse(&bytes).ok()?.only(&wanted)));
            self.files.extend(kept.map(|kept| (path, kept)));
        }
        self
    }

    fn write(&self, folder: &Path, manifest: &Manifest) -> Result<(), CaptureError> {
        let below = |path: &str| folder.join(path.trim_start_matches('/'));
        for (path, bytes) in &self.files {
            write(&below(path), bytes)?;
        }
        let own = folder.join(FOLDER);
        write(&own.join(LINKS), &json(&self.links))?;
        if let Some(interfaces) = &self.interfaces {
            write(&own.join(INTERFACES), &json(interfaces))?;
        }
        if let Some(modems) = &self.modems {
            write(&own.join(MODEMS), &json(modems))?;
        }
        if let Some(key) = &self.tpm {
            write(&own.join(TPM), &json(key))?;
        }
        // Last, because a folder without it is no capture.
        write(&own.join(MANIFEST), &json(manifest))
    }
}

fn make_room(folder: &Path) -> Result<(), CaptureError> {
    let unusable = |source| CaptureError::Unusable { path: folder.to_owned(), source };
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(CaptureError::NotEmpty(folder.to_owned()));
            }
            let private = Permissions::from_mode(files::PRIVATE_DIRECTORY);
            fs::set_permissions(folder, private).map_err(unusable)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(files::make_directory(folder, files::PRIVATE_DIRECTORY)?)
        }
        Err(error) => Err(unusable(error)),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CaptureError> {
    if let Some(parent) = path.parent() {
        files::make_directory(parent, files::PRIVATE_DIRECTORY)?;
    }
    Ok(files::replace(path, bytes, files::PRIVATE_FILE)?)
}

fn json(document: &impl Serialize) -> Vec<u8> {
    // Maps with string keys and plain values: nothing in them can fail.
    let mut bytes = serde_json::to_vec_pretty(document).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

fn read_back<T: DeserializeOwned>(layout: &Layout, path: &str) -> Result<Option<T>, Unreadable> {
    let invalid = |reason: String| Unreadable { from: path.to_owned(), state: State::Invalid, reason };
    let bytes =
        files::read(&layout.below(path), MAX_RECORD_BYTES).map_err(|error| invalid(error.to_string()))?;
    bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))).transpose()
}
