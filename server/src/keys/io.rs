//! Reads and writes the files of [`Layout`]; nothing else in this folder touches the disk.

use super::{
    Authority, KeyError, Layout, Loaded, RootChain, SigningKey, TicketKey, authority::AuthorityError, ticket,
};
use crate::{
    entropy::Entropy,
    files::{self, FilesError, Lock, PRIVATE_FILE, PUBLIC_FILE},
    service::TrustBundle,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::{
    bytes::{from_base64, to_base64},
    trust::{Signed, SigningRoot},
};
use zeroize::Zeroizing;

/// The largest key, certificate chain or root that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// The age from which a file during writing belongs to nobody: keys are written in an instant.
const ABANDONED: Duration = Duration::from_mins(1);

/// The right to change keys and roots, which one command has at a time.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    _lock: Lock,
}

impl KeyLock {
    /// Takes the lock, and removes what commands that were cut off have left behind.
    ///
    /// # Errors
    /// [`KeyError::Busy`] if another command has it, and [`KeyError::Missing`] if there are no keys.
    pub fn take(layout: &Layout) -> Result<Self, KeyError> {
        if !layout.keys().exists() {
            return Err(missing_error(&layout.keys()));
        }
        let path = layout.key_lock();
        let lock = match Lock::take(&path) {
            Err(FilesError::InUse(_)) => return Err(KeyError::Busy(layout.keys())),
            taken => taken?,
        };
        for directory in [layout.keys(), layout.roots(), layout.trust()] {
            files::remove_abandoned(&directory, ABANDONED)?;
        }
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // A file that stays is not locked, and harmless.
        let _ = files::remove(&self.path);
    }
}

/// The server's own TLS key and certificate chain.
pub struct Identity {
    /// The certificates, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
}

/// Reads the certificate that the server presents, and its key, from two files or from one with both.
///
/// # Errors
/// [`KeyError`] naming the file.
pub fn server_identity(certificate: &Path, key: &Path) -> Result<Identity, KeyError> {
    let malformed = |path: &Path, expected| KeyError::Malformed { path: path.to_owned(), expected };
    let chain = certificates(certificate)?;
    if chain.is_empty() {
        return Err(malformed(certificate, "certificates in PEM"));
    }
    let key_der = PrivateKeyDer::from_pem_slice(&read_private(key)?)
        .map_err(|_| malformed(key, "a private key in PEM"))?;
    Ok(Identity { chain, key: key_der })
}

/// Reads the certificates in a PEM file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    CertificateDer::pem_slice_iter(&read_required(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| KeyError::Malformed { path: path.to_owned(), expected: "certificates in PEM" })
}

pub(super) fn load(layout: &Layout) -> Result<Loaded, KeyError> {
    let roots = load_roots(layout)?;
    layout.private_files().iter().try_for_each(|path| check_private_file(path))?;
    root_key_files(layout)?.iter().try_for_each(|(_, path)| check_private_file(path))?;
    let (_, payload_key) = payload_keys(layout)?
        .into_iter()
        .rev()
        .find(|(_, key)| roots.latest().payload_keys.key(&key.public().id()).is_some())
        .ok_or_else(|| KeyError::NoPayloadKey(layout.keys()))?;
    Ok(Loaded {
        device_ca: load_authority(&layout.device_ca())?,
        former_device_cas: former_device_cas(layout)?,
        payload_key,
        roots,
        ticket: load_ticket_key(&layout.ticket_key())?,
    })
}

/// Returns the replaced device authorities whose certificates are still accepted.
pub(super) fn former_device_cas(layout: &Layout) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let path = layout.former_device_cas();
    let pem = files::read(&path, MAX_FILE_BYTES)?.unwrap_or_default();
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|_| KeyError::Malformed { path, expected: "certificates in PEM" })
}

pub(super) fn load_authority(path: &Path) -> Result<Authority, KeyError> {
    Authority::from_pem(&read_private(path)?).map_err(authority_error(path))
}

pub(super) fn authority_error(path: &Path) -> impl FnOnce(AuthorityError) -> KeyError + use<> {
    let path = path.to_owned();
    |source| KeyError::Authority { path, source }
}

/// Returns all private payload keys on this machine, oldest first.
pub(super) fn payload_keys(layout: &Layout) -> Result<Vec<(PathBuf, SigningKey)>, KeyError> {
    signing_keys(list_numbered(&layout.keys(), "payload-", ".pem")?)
}

/// Returns all private root keys on this machine, oldest first.
pub(super) fn root_keys(layout: &Layout) -> Result<Vec<(PathBuf, SigningKey)>, KeyError> {
    signing_keys(root_key_files(layout)?)
}

fn root_key_files(layout: &Layout) -> Result<Vec<(u64, PathBuf)>, KeyError> {
    list_numbered(&layout.keys(), "root-", ".pem")
}

fn signing_keys(files: Vec<(u64, PathBuf)>) -> Result<Vec<(PathBuf, SigningKey)>, KeyError> {
    files.into_iter().map(|(_, path)| Ok((path.clone(), load_signing_key(&path)?))).collect()
}

/// Lists the files of a directory that have a number in their names, in its order.
fn list_numbered(dir: &Path, prefix: &str, suffix: &str) -> Result<Vec<(u64, PathBuf)>, KeyError> {
    let unreadable = |source| files::read_error(dir)(source);
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

pub(super) fn load_signing_key(path: &Path) -> Result<SigningKey, KeyError> {
    let malformed =
        || KeyError::Malformed { path: path.to_owned(), expected: "an Ed25519 private key (PKCS#8 in PEM)" };
    let der = PrivatePkcs8KeyDer::from_pem_slice(&read_private(path)?).map_err(|_| malformed())?;
    SigningKey::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| malformed())
}

/// Reads every root. One that is missing is no end of the chain: the next change would fork it, and devices
/// that have followed the true one would follow no more.
pub(super) fn load_roots(layout: &Layout) -> Result<RootChain, KeyError> {
    // It is read before the chain, because a change writes it after.
    let for_images = version_for_images(layout);
    let present = list_numbered(&layout.roots(), "", ".json")?;
    let newest = present.last().map_or(0, |(version, _)| *version).max(for_images);
    if newest == 0 {
        return Err(missing_error(&layout.root(1)));
    }
    let mut roots: Vec<Signed<SigningRoot>> = Vec::new();
    for version in 1..=newest {
        let path = layout.root(version);
        let Some(json) = files::read(&path, MAX_FILE_BYTES)? else {
            return Err(KeyError::RootMissing { path, newest });
        };
        let root = serde_json::from_slice(&json)
            .map_err(|_| KeyError::Malformed { path, expected: "a signed signing root" })?;
        roots.push(root);
    }
    RootChain::accept(roots).map_err(|source| KeyError::Roots { path: layout.roots(), source })
}

/// Returns the version of the root for images; 0 if there is none that can be read.
fn version_for_images(layout: &Layout) -> u64 {
    let json = files::read(&layout.trusted_root(), MAX_FILE_BYTES).ok().flatten();
    let root: Option<Signed<SigningRoot>> = json.and_then(|json| serde_json::from_slice(&json).ok());
    root.and_then(|root| SigningRoot::from_image(&root).ok()).map_or(0, |root| root.version)
}

pub(super) fn load_ticket_key(path: &Path) -> Result<TicketKey, KeyError> {
    let malformed = || KeyError::Malformed { path: path.to_owned(), expected: "32 bytes in base64" };
    let text = read_private(path)?;
    let secret = std::str::from_utf8(&text)
        .ok()
        .and_then(|text| from_base64(text.trim_end()).ok())
        .map(Zeroizing::new)
        .and_then(|secret| <[u8; ticket::SECRET_BYTES]>::try_from(secret.as_slice()).ok())
        .map(Zeroizing::new)
        .ok_or_else(malformed)?;
    Ok(TicketKey::new(&secret))
}

/// Makes an Ed25519 key, in a new file.
pub(super) fn make_signing_key(path: &Path, entropy: &dyn Entropy) -> Result<SigningKey, KeyError> {
    let key = SigningKey::from_seed(&Zeroizing::new(random(entropy)?));
    let text = Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", key.to_pkcs8())));
    files::write_new(path, text.as_bytes(), PRIVATE_FILE)?;
    Ok(key)
}

pub(super) fn make_ticket_key(path: &Path, entropy: &dyn Entropy) -> Result<(), KeyError> {
    let secret: Zeroizing<[u8; ticket::SECRET_BYTES]> = Zeroizing::new(random(entropy)?);
    let text = Zeroizing::new(format!("{}\n", to_base64(&*secret)));
    Ok(files::write_new(path, text.as_bytes(), PRIVATE_FILE)?)
}

/// Writes the newest root: first into the chain, then into the files for new images.
pub(super) fn write_root(layout: &Layout, chain: &RootChain) -> Result<(), KeyError> {
    let Some(root) = chain.latest_signed() else { return Ok(()) };
    let json = root_json(root)?;
    files::write_new(&layout.root(chain.latest().version), json.as_bytes(), PUBLIC_FILE)?;
    publish_root(layout, chain).map(drop)
}

/// Gives new images the newest root. Returns whether they had another one, as after a change of keys that was
/// interrupted.
pub(super) fn publish_root(layout: &Layout, chain: &RootChain) -> Result<bool, KeyError> {
    let is_behind = !is_published(layout, chain)?;
    if is_behind {
        let newest = read_required(&layout.root(chain.latest().version))?;
        files::replace(&layout.trusted_root(), &newest, PUBLIC_FILE)?;
    }
    Ok(is_behind)
}

/// Returns true if new images get the newest root.
pub(super) fn is_published(layout: &Layout, chain: &RootChain) -> Result<bool, KeyError> {
    let newest = read_required(&layout.root(chain.latest().version))?;
    Ok(files::read(&layout.trusted_root(), MAX_FILE_BYTES)?.is_some_and(|trusted| trusted == *newest))
}

/// Returns a root in its file format.
fn root_json(root: &Signed<SigningRoot>) -> Result<String, KeyError> {
    let mut json = serde_json::to_string_pretty(root).map_err(KeyError::Sign)?;
    json.push('\n');
    Ok(json)
}

/// Returns the files that new images trust: the anchors as stored, and the roots in force.
pub(super) fn trust_bundle(layout: &Layout, chain: &RootChain, known: u64) -> Result<TrustBundle, KeyError> {
    let path = layout.trusted_anchors();
    let anchors = String::from_utf8(read_required(&path)?.to_vec())
        .map_err(|_| KeyError::Malformed { path, expected: "certificates in PEM" })?;
    let newest = chain.latest_signed().map(root_json).transpose()?;
    Ok(TrustBundle {
        anchors,
        root: newest.unwrap_or_default(),
        root_version: chain.latest().version,
        newer_roots: chain.all_after(known).map(root_json).collect::<Result<_, _>>()?,
    })
}

pub(super) fn random<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes).map_err(KeyError::Entropy)?;
    Ok(bytes)
}

/// Reads a file that must exist.
pub(super) fn read_required(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    files::read(path, MAX_FILE_BYTES)?.map(Zeroizing::new).ok_or_else(|| missing_error(path))
}

/// Returns the error for a file of a server that is not there: with others beside it, it was lost.
fn missing_error(path: &Path) -> KeyError {
    let beside = path.parent().and_then(|directory| fs::read_dir(directory).ok());
    if beside.is_some_and(|mut entries| entries.next().is_some()) {
        KeyError::Lost(path.to_owned())
    } else {
        KeyError::Missing(path.to_owned())
    }
}

/// Reads a file that must exist, and that nobody else may read.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let contents = read_required(path)?;
    check_private_file(path)?;
    Ok(contents)
}

/// Checks that nobody else may access a directory.
pub(super) fn check_private_directory(path: &Path) -> Result<(), KeyError> {
    check_hidden(path, "0700")
}

/// Checks that nobody else may access a private file, if it exists.
pub(super) fn check_private_file(path: &Path) -> Result<(), KeyError> {
    check_hidden(path, "0600")
}

fn check_hidden(path: &Path, expected: &'static str) -> Result<(), KeyError> {
    match files::mode_open_to_others(path)? {
        None => Ok(()),
        Some(mode) => Err(KeyError::Exposed { path: path.to_owned(), mode, expected }),
    }
}
