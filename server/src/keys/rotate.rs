//! Changes keys while devices are in the field: each change is a signing root that they follow.

use super::{
    Change, KeyError, Layout, RootChain, SigningKey,
    authority::to_pem,
    init::{DEVICE_CA, make_authority, make_server_certificate},
    io::{
        former_device_cas, load_authority, load_roots, load_signing_key, make_signing_key, payload_keys,
        root_keys, write_root,
    },
};
use crate::{
    entropy::Entropy,
    files::{self, PRIVATE_FILE, PUBLIC_FILE},
};
use std::path::{Path, PathBuf};
use unbox_common::{timestamp::Timestamp, trust::KeyId};

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
    let chain = load_roots(layout)?;
    let signer = root_signer(layout, &chain, root_key)?;
    let path = layout.payload_key(next_version(&chain));
    // After an interrupted rotation the key exists, but no root names it: it is used now.
    let key = found_or_made(&path, entropy)?;
    extend(layout, &chain, Change::AddPayloadKey(key.public()), &[&signer]).map(|version| Rotated {
        version,
        key: key.public().id(),
        path,
    })
}

/// Retires all payload keys except the newest, and removes their private halves.
pub fn retire_payload_keys(layout: &Layout, root_key: Option<&Path>) -> Result<Rotated, KeyError> {
    let chain = load_roots(layout)?;
    let trusted = &chain.latest().payload_keys;
    let mut keys = payload_keys(layout)?;
    let is_trusted = |(_, key): &(PathBuf, SigningKey)| trusted.key(&key.public().id()).is_some();
    // One behind the newest that is trusted is of a rotation that was interrupted.
    keys.truncate(keys.iter().rposition(is_trusted).map_or(0, |at| at + 1));
    let (path, key) = keys.pop().ok_or_else(|| KeyError::NoPayloadKey(layout.keys()))?;
    let version = if trusted.keys().count() > 1 {
        let signer = root_signer(layout, &chain, root_key)?;
        extend(layout, &chain, Change::RetireOtherPayloadKeys(key.public()), &[&signer])?
    } else if keys.is_empty() {
        return Err(KeyError::NothingToRetire);
    } else {
        // A power cut has left private keys that nobody believes any more.
        chain.latest().version
    };
    for (old, _) in keys {
        files::remove(&old)?;
    }
    Ok(Rotated { version, key: key.public().id(), path })
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
    let chain = load_roots(layout)?;
    let signer = root_signer(layout, &chain, root_key)?;
    let path = match new_key {
        Some(path) => path.to_owned(),
        None => layout.root_key(next_version(&chain)),
    };
    let key = found_or_made(&path, entropy)?;
    extend(layout, &chain, Change::ReplaceRootKeys(key.public()), &[&signer, &key]).map(|version| Rotated {
        version,
        key: key.public().id(),
        path,
    })
}

/// Renews the server's TLS key and certificate with the same authority.
pub fn renew_server(
    layout: &Layout,
    names: &[String],
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), KeyError> {
    make_server_certificate(layout, names, now, entropy)
}

/// Makes a new authority of device certificates. Certificates of the previous one stay accepted until
/// [`retire_device_cas`]; its private key is deleted, so that it issues no more. Devices get a new
/// certificate at their next check-in.
pub fn rotate_device_ca(layout: &Layout, now: Timestamp, entropy: &dyn Entropy) -> Result<(), KeyError> {
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
    if former_device_cas(layout)?.is_empty() {
        return Err(KeyError::NoFormerAuthority);
    }
    Ok(files::remove(&layout.former_device_cas())?)
}

pub(super) fn extend(
    layout: &Layout,
    chain: &RootChain,
    change: Change,
    signers: &[&SigningKey],
) -> Result<u64, KeyError> {
    let next =
        chain.extended(change, signers).map_err(|source| KeyError::Roots { path: layout.roots(), source })?;
    write_root(layout, &next)?;
    Ok(next.latest().version)
}

pub(super) fn root_signer(
    layout: &Layout,
    chain: &RootChain,
    given: Option<&Path>,
) -> Result<SigningKey, KeyError> {
    let candidates = match given {
        Some(path) => vec![(path.to_owned(), load_signing_key(path)?)],
        None => root_keys(layout)?,
    };
    let trusted = &chain.latest().root_keys;
    candidates
        .into_iter()
        .map(|(_, key)| key)
        .find(|key| trusted.key(&key.public().id()).is_some())
        .ok_or_else(|| KeyError::NoRootKey(given.map_or_else(|| layout.keys(), Path::to_owned)))
}

fn found_or_made(path: &Path, entropy: &dyn Entropy) -> Result<SigningKey, KeyError> {
    match load_signing_key(path) {
        Err(KeyError::Missing(_)) => make_signing_key(path, entropy),
        found => found,
    }
}

fn next_version(chain: &RootChain) -> u64 {
    chain.latest().version.saturating_add(1)
}
