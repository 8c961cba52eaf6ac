//! Reads and writes the files of [`Layout`]; nothing else in this folder touches the disk.

use super::{
    Authority, KeyError, Layout, Loaded, RootChain, SigningKey, TicketKey, authority::AuthorityError, ticket,
};
use crate::{
    entropy::Entropy,
    files::{self, FilesError, PRIVATE_FILE, PUBLIC_FILE},
    service::TrustBundle,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use unbox_common::{
    bytes::{from_base64, to_base64},
    trust::{Signed, SigningRoot},
};
use zeroize::Zeroizing;

/// The largest key, certificate chain or root that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// The permission bits that open a file to anyone other than its owner.
const OTHERS: u32 = 0o077;

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
    let key_der =
        PrivateKeyDer::from_pem_slice(&private(key)?).map_err(|_| malformed(key, "a private key in PEM"))?;
    Ok(Identity { chain, key: key_der })
}

/// Reads the certificates in a PEM file.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    CertificateDer::pem_slice_iter(&required(path)?)
        .collect::<Result<_, _>>()
        .map_err(|_| KeyError::Malformed { path: path.to_owned(), expected: "certificates in PEM" })
}

pub(super) fn load(layout: &Layout) -> Result<Loaded, KeyError> {
    let roots = load_roots(layout)?;
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
    Authority::from_pem(&private(path)?).map_err(authority_error(path))
}

pub(super) fn authority_error(path: &Path) -> impl FnOnce(AuthorityError) -> KeyError + use<> {
    let path = path.to_owned();
    |source| KeyError::Authority { path, source }
}

/// Returns all private payload keys on this machine, oldest first.
pub(super) fn payload_keys(layout: &Layout) -> Result<Vec<(PathBuf, SigningKey)>, KeyError> {
    numbered_keys(&layout.keys(), "payload-")
}

/// Returns all private root keys on this machine, oldest first.
pub(super) fn root_keys(layout: &Layout) -> Result<Vec<(PathBuf, SigningKey)>, KeyError> {
    numbered_keys(&layout.keys(), "root-")
}

fn numbered_keys(dir: &Path, prefix: &str) -> Result<Vec<(PathBuf, SigningKey)>, KeyError> {
    let unreadable = |source| FilesError::Read { path: dir.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".pem"));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    found.into_iter().map(|(_, path)| Ok((path.clone(), load_signing_key(&path)?))).collect()
}

pub(super) fn load_signing_key(path: &Path) -> Result<SigningKey, KeyError> {
    let malformed =
        || KeyError::Malformed { path: path.to_owned(), expected: "an Ed25519 private key (PKCS#8 in PEM)" };
    let der = PrivatePkcs8KeyDer::from_pem_slice(&private(path)?).map_err(|_| malformed())?;
    SigningKey::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| malformed())
}

pub(super) fn load_roots(layout: &Layout) -> Result<RootChain, KeyError> {
    let mut roots: Vec<Signed<SigningRoot>> = Vec::new();
    for version in 1.. {
        let path = layout.root(version);
        let Some(json) = files::read(&path, MAX_FILE_BYTES)? else { break };
        let root = serde_json::from_slice(&json)
            .map_err(|_| KeyError::Malformed { path, expected: "a signed signing root" })?;
        roots.push(root);
    }
    if roots.is_empty() {
        return Err(KeyError::Missing(layout.root(1)));
    }
    RootChain::accept(roots).map_err(|source| KeyError::Roots { path: layout.roots(), source })
}

pub(super) fn load_ticket_key(path: &Path) -> Result<TicketKey, KeyError> {
    let malformed = || KeyError::Malformed { path: path.to_owned(), expected: "32 bytes in base64" };
    let text = private(path)?;
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
    Ok(files::replace(&layout.trusted_root(), json.as_bytes(), PUBLIC_FILE)?)
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
    let anchors = files::read(&path, MAX_FILE_BYTES)?.ok_or_else(|| KeyError::Missing(path.clone()))?;
    let anchors = String::from_utf8(anchors)
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
pub(super) fn required(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    files::read(path, MAX_FILE_BYTES)?.map(Zeroizing::new).ok_or_else(|| KeyError::Missing(path.to_owned()))
}

/// Reads a file that must exist, and that nobody else may read.
fn private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let contents = required(path)?;
    hidden(path, "0600")?;
    Ok(contents)
}

/// Checks that nobody else may access a directory.
pub(super) fn private_directory(path: &Path) -> Result<(), KeyError> {
    hidden(path, "0700")
}

fn hidden(path: &Path, expected: &'static str) -> Result<(), KeyError> {
    let mode = fs::metadata(path)
        .map_err(|source| FilesError::Read { path: path.to_owned(), source })?
        .permissions()
        .mode();
    if mode & OTHERS == 0 {
        Ok(())
    } else {
        Err(KeyError::Exposed { path: path.to_owned(), mode: mode & 0o7777, expected })
    }
}
