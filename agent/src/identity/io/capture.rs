//! A captured machine in a folder: the content of its sources, so that a survey elsewhere gives the same
//! result, but without secrets.

use super::examine;
use crate::{
    clock,
    files::{self, FilesError},
    identity::{
        State, Survey, Unreadable,
        modem::Modem,
        network::Link,
        smbios::{self, Tables},
        vpd::{self, Partition},
    },
    layout::Layout,
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

/// The folder for records that are not files of the machine.
const FOLDER: &str = "unbox";
const MANIFEST: &str = "capture.json";
const INTERFACES: &str = "interfaces.json";
const LINKS: &str = "links.json";
const MODEMS: &str = "modems.json";
const TPM: &str = "tpm.json";

/// The only format of captures so far.
const FORMAT: u32 = 1;

/// The largest file of [`FOLDER`] that is read back, in bytes.
const MAX_RECORD_BYTES: u64 = 1024 * 1024;

/// The longest kernel release, in bytes.
const MAX_RELEASE_BYTES: u64 = 256;

/// The reason why a machine was not captured. Existing files are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The folder is not empty; capturing into it would mix two machines.
    #[error("{} is not empty: name a folder that does not exist yet", .0.display())]
    NotEmpty(PathBuf),
    /// The folder is unusable.
    #[error("{} cannot be used", path.display())]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// A file of the capture could not be written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// The raw input of a survey.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The answer of netlink.
    pub(super) interfaces: Option<Vec<Link>>,
    /// The answer of `ModemManager`.
    pub(super) modems: Option<Vec<Modem>>,
    /// The digest of the TPM's endorsement key.
    pub(super) tpm: Option<Sha256>,
    /// The files, by path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// The targets of links, by path: recorded as text, so that no copy of a capture loses them.
    pub(super) links: BTreeMap<String, String>,
    /// The sources that could not be read, and are therefore not among the files.
    pub(super) unreadable: Vec<Unreadable>,
}

/// The metadata of a capture.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    /// Version of the agent that made the capture.
    agent: String,
    /// Release of the kernel that it ran on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    /// The time of the capture.
    captured: Timestamp,
    /// The sources that could not be read or stored.
    unreadable: Vec<Unreadable>,
}

/// Captures the machine below `layout`'s root into a new folder that only its owner can enter, and
/// returns its survey.
///
/// # Errors
/// [`CaptureError`].
pub async fn capture(layout: &Layout, folder: &Path) -> Result<Survey, CaptureError> {
    make_room(folder)?;
    let examination = examine(layout).await;
    let release = files::read(&layout.path("/proc/sys/kernel/osrelease"), MAX_RELEASE_BYTES);
    let kernel = release.ok().flatten().map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    let record = examination.record.without_secrets();
    let unreadable = examination
        .survey
        .unreadable
        .iter()
        .filter(|one| !record.files.contains_key(&one.from))
        .cloned()
        .collect();
    let manifest = Manifest {
        format: FORMAT,
        agent: env!("CARGO_PKG_VERSION").to_owned(),
        kernel,
        captured: clock::system(),
        unreadable,
    };
    record.write(folder, &manifest)?;
    Ok(examination.survey)
}

impl Record {
    /// Reads the record of a captured machine; `None` if the root is not a capture.
    pub(super) fn read(layout: &Layout) -> Option<Self> {
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

    /// Returns the error that occurred here when the machine was captured.
    pub(super) fn failure_at(&self, from: &str) -> Option<Unreadable> {
        self.unreadable.iter().find(|one| one.from == from).cloned()
    }

    /// Returns the faults of the capture itself.
    pub(super) fn flaws(&self) -> impl Iterator<Item = &Unreadable> {
        let own = format!("/{FOLDER}/");
        self.unreadable.iter().filter(move |one| one.from.starts_with(&own))
    }

    /// Removes everything from the files that this survey does not need and others must not see. A file
    /// that cannot be parsed cannot be searched for secrets, and is left out.
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
            let kept = bytes.and_then(|bytes| Some(Partition::parse(&bytes).ok()?.encode_only(&wanted)));
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
        write_json(&own.join(LINKS), &self.links)?;
        if let Some(interfaces) = &self.interfaces {
            write_json(&own.join(INTERFACES), interfaces)?;
        }
        if let Some(modems) = &self.modems {
            write_json(&own.join(MODEMS), modems)?;
        }
        if let Some(key) = &self.tpm {
            write_json(&own.join(TPM), key)?;
        }
        // Last, because a folder without it does not count as a capture.
        write_json(&own.join(MANIFEST), manifest)
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

fn write_json(path: &Path, document: &impl Serialize) -> Result<(), CaptureError> {
    write(path, &files::to_json_lines(path, document)?)
}

fn read_back<T: DeserializeOwned>(layout: &Layout, path: &str) -> Result<Option<T>, Unreadable> {
    let invalid = |reason: String| Unreadable { from: path.to_owned(), state: State::Invalid, reason };
    let bytes =
        files::read(&layout.path(path), MAX_RECORD_BYTES).map_err(|error| invalid(error.to_string()))?;
    bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))).transpose()
}
