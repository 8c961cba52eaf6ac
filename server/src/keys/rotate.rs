//! Changes keys while devices are in the field: each change is a signing root that they follow.

use super::{
    Change, KeyError, Layout, RootChain, SigningKey,
    authority::to_pem,
    init::{DEVICE_CA, make_authority, make_server_certificate},
    io::{
        KeyLock, former_device_cas, is_published, load_authority, load_roots, load_signing_key,
        make_signing_key, payload_keys, publish_root, root_keys, write_root,
    },
    survey::{CertificateSummary, summary},
};
use crate::{
    entropy::Entropy,
    files::{self, PRIVATE_FILE, PUBLIC_FILE},
};
use std::path::{Path, PathBuf};
use unbox_common::{
    timestamp::Timestamp,
    trust::{KeyId, KeySet},
};

/// The result of a rotation.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Rotated {
    /// The version of the new signing root.
    pub version: u64,
    /// The new or remaining key.
    pub key: KeyId,
    /// The path of its private half.
    pub path: PathBuf,
}

/// Makes a new payload key. The running server signs with it as soon as it reads its keys again; the old
/// one stays trusted until [`retire_payload_keys`].
///
/// `root_key` is the file of the key that signs roots, if it is not in the server's directory.
pub fn rotate_payload_key(
    layout: &Layout,
    root_key: Option<&Path>,
    entropy: &dyn Entropy,
) -> Result<Rotated, KeyError> {
    let _lock = KeyLock::take(layout)?;
    let chain = load_roots(layout)?;
    let newest = layout.payload_key(chain.latest().version);
    if let Some(rotated) = finish_interrupted(layout, &chain, newest, &chain.latest().payload_keys)? {
        return Ok(rotated);
    }
    let signer = root_signer(layout, &chain, root_key)?;
    let path = layout.payload_key(next_version(&chain));
    // After an interrupted rotation the key exists, but no root names it: it is used now.
    let key = load_or_make(&path, entropy)?;
    write_extended(layout, &chain, Change::AddPayloadKey(key.public()), &[&signer]).map(|version| Rotated {
        version,
        key: key.public().id(),
        path,
    })
}

/// Retires all payload keys except the newest, and removes their private halves.
pub fn retire_payload_keys(layout: &Layout, root_key: Option<&Path>) -> Result<Rotated, KeyError> {
    let _lock = KeyLock::take(layout)?;
    let Retirement { chain, path, key, old } = Retirement::plan(layout)?;
    let version = if chain.latest().payload_keys.keys().count() > 1 {
        let signer = root_signer(layout, &chain, root_key)?;
        write_extended(layout, &chain, Change::RetireOtherPayloadKeys(key.public()), &[&signer])?
    } else {
        // A retirement was interrupted after its root was written.
        publish_root(layout, &chain)?;
        chain.latest().version
    };
    for old in old {
        files::remove(&old)?;
    }
    Ok(Rotated { version, key: key.public().id(), path })
}

/// Returns the key that [`retire_payload_keys`] keeps, and the number of keys that it retires.
///
/// # Errors
/// [`KeyError::NothingToRetire`] if there is only the one.
pub fn retirable_payload_keys(layout: &Layout) -> Result<(KeyId, usize), KeyError> {
    let Retirement { chain, key, old, .. } = Retirement::plan(layout)?;
    Ok((key.public().id(), old.len().max(chain.latest().payload_keys.keys().count() - 1)))
}

/// A retirement of payload keys, begun or not.
struct Retirement {
    chain: RootChain,
    /// The key that is kept, and its path.
    path: PathBuf,
    key: SigningKey,
    /// The files of older keys.
    old: Vec<PathBuf>,
}

impl Retirement {
    fn plan(layout: &Layout) -> Result<Self, KeyError> {
        let chain = load_roots(layout)?;
        let trusted = &chain.latest().payload_keys;
        let mut keys = payload_keys(layout)?;
        let is_trusted = |(_, key): &(PathBuf, SigningKey)| trusted.key(&key.public().id()).is_some();
        // One behind the newest that is trusted is of a rotation that was interrupted.
        keys.truncate(keys.iter().rposition(is_trusted).map_or(0, |at| at + 1));
        let (path, key) = keys.pop().ok_or_else(|| KeyError::NoPayloadKey(layout.keys()))?;
        let is_done = trusted.keys().count() == 1 && keys.is_empty() && is_published(layout, &chain)?;
        if is_done {
            return Err(KeyError::NothingToRetire);
        }
        Ok(Self { path, key, old: keys.into_iter().map(|(path, _)| path).collect(), chain })
    }
}

/// Makes a new root key. The old one signs the change, as does the new one, and is useless from then on;
/// its file stays for its keeper to destroy.
///
/// `new_key` is the path of the new private key; in the server's directory if `None`.
pub fn rotate_root_key(
    layout: &Layout,
    root_key: Option<&Path>,
    new_key: Option<&Path>,
    entropy: &dyn Entropy,
) -> Result<Rotated, KeyError> {
    let _lock = KeyLock::take(layout)?;
    let chain = load_roots(layout)?;
    let path = |version| new_key.map_or_else(|| layout.root_key(version), Path::to_owned);
    let newest = path(chain.latest().version);
    if let Some(rotated) = finish_interrupted(layout, &chain, newest, &chain.latest().root_keys)? {
        return Ok(rotated);
    }
    let signer = root_signer(layout, &chain, root_key)?;
    let path = path(next_version(&chain));
    let key = load_or_make(&path, entropy)?;
    write_extended(layout, &chain, Change::ReplaceRootKeys(key.public()), &[&signer, &key])
        .map(|version| Rotated { version, key: key.public().id(), path })
}

/// Renews the server's TLS key and certificate with the same authority.
pub fn renew_server(
    layout: &Layout,
    names: &[String],
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), KeyError> {
    let _lock = KeyLock::take(layout)?;
    load_roots(layout)?;
    make_server_certificate(layout, names, now, entropy)
}

/// Makes a new authority of device certificates. Certificates of the previous one stay accepted until
/// [`retire_device_cas`]; its private key is deleted, so that it issues no more. Devices get a new
/// certificate at their next check-in.
pub fn rotate_device_ca(layout: &Layout, now: Timestamp, entropy: &dyn Entropy) -> Result<(), KeyError> {
    let _lock = KeyLock::take(layout)?;
    load_roots(layout)?;
    let present = load_authority(&layout.device_ca())?;
    let mut former = former_device_cas(layout)?;
    // After an interrupted rotation it is in the list already.
    if !former.contains(present.certificate()) {
        former.push(present.certificate().clone());
    }
    files::replace(&layout.former_device_cas(), to_pem(&former).as_bytes(), PUBLIC_FILE)?;
    let path = layout.device_ca();
    Ok(files::replace(&path, make_authority(&path, DEVICE_CA, now, entropy)?.as_bytes(), PRIVATE_FILE)?)
}

/// Retires all authorities of device certificates except the present one. A device without a certificate by
/// that one enrolls again.
pub fn retire_device_cas(layout: &Layout) -> Result<(), KeyError> {
    let _lock = KeyLock::take(layout)?;
    retirable_device_cas(layout)?;
    Ok(files::remove(&layout.former_device_cas())?)
}

/// Returns the authorities that [`retire_device_cas`] retires.
///
/// # Errors
/// [`KeyError::NoFormerAuthority`] if there is none.
pub fn retirable_device_cas(layout: &Layout) -> Result<Vec<CertificateSummary>, KeyError> {
    load_roots(layout)?;
    match former_device_cas(layout)?.as_slice() {
        [] => Err(KeyError::NoFormerAuthority),
        former => former.iter().map(|der| summary(der, layout.former_device_cas())).collect(),
    }
}

/// Finishes a rotation that was interrupted after its root was written, if there was one: then the newest root
/// trusts the key at this path, but new images do not get that root.
fn finish_interrupted(
    layout: &Layout,
    chain: &RootChain,
    path: PathBuf,
    trusted: &KeySet,
) -> Result<Option<Rotated>, KeyError> {
    if is_published(layout, chain)? || !path.exists() {
        return Ok(None);
    }
    let key = load_signing_key(&path)?.public().id();
    if trusted.key(&key).is_none() {
        return Ok(None);
    }
    publish_root(layout, chain)?;
    Ok(Some(Rotated { version: chain.latest().version, key, path }))
}

fn write_extended(
    layout: &Layout,
    chain: &RootChain,
    change: Change,
    signers: &[&SigningKey],
) -> Result<u64, KeyError> {
    let next = extend_chain(layout, chain, change, signers)?;
    write_root(layout, &next)?;
    Ok(next.latest().version)
}

/// Returns the chain with one more root, which is not written yet.
pub(super) fn extend_chain(
    layout: &Layout,
    chain: &RootChain,
    change: Change,
    signers: &[&SigningKey],
) -> Result<RootChain, KeyError> {
    chain.with_next_root(change, signers).map_err(|source| KeyError::Roots { path: layout.roots(), source })
}

pub(super) fn root_signer(
    layout: &Layout,
    chain: &RootChain,
    given: Option<&Path>,
) -> Result<SigningKey, KeyError> {
    let candidates = match given {
        Some(path) => {
            let key = load_signing_key(path).map_err(KeyError::with_advice_for_given_path)?;
            vec![(path.to_owned(), key)]
        }
        None => root_keys(layout)?,
    };
    let trusted = &chain.latest().root_keys;
    candidates
        .into_iter()
        .map(|(_, key)| key)
        .find(|key| trusted.key(&key.public().id()).is_some())
        .ok_or_else(|| KeyError::NoRootKey(given.map_or_else(|| layout.keys(), Path::to_owned)))
}

fn load_or_make(path: &Path, entropy: &dyn Entropy) -> Result<SigningKey, KeyError> {
    if path.exists() { load_signing_key(path) } else { make_signing_key(path, entropy) }
}

fn next_version(chain: &RootChain) -> u64 {
    chain.latest().version.saturating_add(1)
}
