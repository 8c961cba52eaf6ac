//! `factory register`: gives a device its key and trust bundle, and registers it with its organisation.
//!
//! The order makes a power cut safe at any time: first the key is durable, then the trust bundle, then
//! the device is registered. A second run uses the existing key, and the server knows it.
//!
//! A device follows newer signing roots by itself when it enrolls and when it checks in. An old folder
//! costs it extra steps, and a very old one several tries; so it gets the newest root here.

use super::server_client::{Registration, ServerClient, ServerClientError};
use serde::Serialize;
use std::path::{Path, PathBuf};
use unbox_agent::{
    boot::{BootError, Layout, Trust, io::read_trust},
    entropy::Entropy,
    files::{self, FilesError},
    handshake::{
        KeyError,
        key_file::{bind_to_machine, device_key},
    },
    identity::Survey,
};
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind, IdentityError, InvalidIdentifier, Source},
    trust::{Signed, SigningRoot},
};

const ANCHORS: &str = "anchors.pem";
const ROOT: &str = "root.json";
/// The largest bundle file that is copied, in bytes.
const MAX_BUNDLE_FILE_BYTES: u64 = 1024 * 1024;

/// The reason why a device was not registered.
#[derive(Debug, thiserror::Error)]
pub enum FactoryError {
    /// The device shows nothing that identifies it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The device's key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key's digest is not a valid identifier.
    #[error(transparent)]
    KeyName(#[from] InvalidIdentifier),
    /// The trust bundle is unusable.
    #[error(transparent)]
    Bundle(#[from] BootError),
    /// A file of the trust bundle does not exist.
    #[error("{} does not exist", .0.display())]
    NoBundle(PathBuf),
    /// The device could not follow to the server's roots.
    #[error(
        "the server's newer signing roots do not follow from {}: copy the folder `trust` of the server again",
        .0.display()
    )]
    OtherRoots(PathBuf),
    /// The newest root could not be written as JSON.
    #[error("the signing root could not be written as JSON")]
    Root(#[source] serde_json::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The server could not be asked, or refused the request as a whole.
    #[error(transparent)]
    Server(#[from] ServerClientError),
}

/// The trust bundle of a device, by which it verifies the server.
#[derive(Debug)]
pub struct Bundle {
    trust: Trust,
    anchors: Vec<u8>,
    root: Vec<u8>,
}

/// A device that is ready to be registered: key and trust are on its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    identity: HardwareIdentity,
    key: String,
}

/// The result for a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// SHA-256 of its public key, in the form used by claims.
    pub device_key: String,
    /// The server's answer.
    #[serde(flatten)]
    pub registration: Registration,
}

impl Bundle {
    /// Reads the bundle in a folder. An unusable bundle fails here, before the device has a key.
    ///
    /// # Errors
    /// [`FactoryError::Bundle`] if it is unusable, and others if it cannot be read.
    pub fn read(folder: &Path) -> Result<Self, FactoryError> {
        let file = |name| {
            let path = folder.join(name);
            files::read(&path, MAX_BUNDLE_FILE_BYTES)?.ok_or(FactoryError::NoBundle(path))
        };
        let trust = read_trust(folder)?;
        Ok(Self { trust, anchors: file(ANCHORS)?, root: file(ROOT)? })
    }

    /// Returns the version of its signing root.
    #[must_use]
    pub fn root_version(&self) -> u64 {
        self.trust.root.version
    }

    /// Returns the bundle with the last of these newer roots, which a device would follow step by step.
    /// The devices take anchors from such roots alone: the bundle's anchors file stays the one that the
    /// server was verified with.
    ///
    /// # Errors
    /// [`FactoryError::OtherRoots`] if one does not follow: a device could not follow it either.
    pub fn with_newer_roots(self, newer: &[Signed<SigningRoot>]) -> Result<Self, FactoryError> {
        let trust = self.trust.with_newer_roots(newer);
        if trust.chain.len() < newer.len() {
            return Err(FactoryError::OtherRoots(trust.folder.join(ROOT)));
        }
        let root = match trust.chain.last() {
            Some(newest) => serde_json::to_vec(newest).map_err(FactoryError::Root)?,
            None => self.root,
        };
        Ok(Self { trust, root, ..self })
    }
}

/// Makes the device's key, unless it exists, and writes the trust bundle to the device.
///
/// # Errors
/// [`FactoryError`]; the next try reuses everything written so far.
pub fn prepare(
    layout: &Layout,
    survey: &Survey,
    bundle: &Bundle,
    entropy: &Entropy,
) -> Result<Prepared, FactoryError> {
    let identity = survey.identity()?;
    // An image that was booted elsewhere brings that machine's key along.
    bind_to_machine(layout, &identity)?;
    let key = device_key(layout, entropy)?.public().digest().to_string();
    let [folder, _] = layout.trust();
    files::make_directory(&folder, files::PUBLIC_DIRECTORY)?;
    for (name, bytes) in [(ANCHORS, &bundle.anchors), (ROOT, &bundle.root)] {
        let to = folder.join(name);
        if files::read(&to, MAX_BUNDLE_FILE_BYTES)?.as_ref() != Some(bytes) {
            files::replace(&to, bytes, files::PUBLIC_FILE)?;
        }
    }
    let identifier = Identifier::parse(IdentifierKind::DeviceKey, &key)?;
    Ok(Prepared { identity: identity.with_identifier(identifier, Source::Key)?, key })
}

/// Registers a prepared device. Repeating it changes nothing.
///
/// # Errors
/// [`FactoryError::Server`].
pub fn register(server: &ServerClient, device: Prepared) -> Result<Outcome, FactoryError> {
    let results = server.register(std::slice::from_ref(&device.identity))?;
    Ok(Outcome { device_key: device.key, registration: results.into_iter().next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::signed_root;
    use unbox_agent::identity::Candidate;

    fn bundle(folder: &Path) {
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        files::replace(&folder.join("anchors.pem"), certificate.cert.pem().as_bytes(), files::PUBLIC_FILE)
            .unwrap();
        let root = serde_json::to_vec(&signed_root(1)).unwrap();
        files::replace(&folder.join("root.json"), &root, files::PUBLIC_FILE).unwrap();
    }

    fn survey() -> Survey {
        let candidate = Candidate {
            kind: IdentifierKind::MacAddress,
            value: "00:16:3e:00:00:01".to_owned(),
            source: Source::Network,
            from: "eth0".to_owned(),
        };
        Survey::from_candidates(vec![candidate], Vec::new(), Vec::new())
    }

    /// Returns the version of the root as the device reads it.
    fn root_version(layout: &Layout) -> u64 {
        unbox_agent::boot::io::trust(layout).unwrap().root.version
    }

    #[test]
    fn a_device_that_is_prepared_again_keeps_its_key() {
        let (root, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        bundle(trust.path());
        let layout = Layout::new(root.path());
        let entropy = Entropy::system();
        let prepared = || {
            let bundle = Bundle::read(trust.path()).unwrap();
            prepare(&layout, &survey(), &bundle, &entropy).unwrap()
        };
        let (first, again) = (prepared(), prepared());
        assert_eq!(first, again);
        assert_eq!(first.identity.of_kind(IdentifierKind::DeviceKey).count(), 1);
        assert_eq!(root_version(&layout), 1, "the device can use what it was given");
    }

    #[test]
    fn a_bundle_or_a_device_that_cannot_be_used_leaves_the_device_as_it_was() {
        let (root, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let layout = Layout::new(root.path());
        assert!(matches!(Bundle::read(trust.path()), Err(FactoryError::Bundle(_))));
        bundle(trust.path());
        let good = Bundle::read(trust.path()).unwrap();
        let refused = prepare(&layout, &Survey::default(), &good, &Entropy::system());
        assert!(matches!(refused, Err(FactoryError::Identity(_))), "{refused:?}");
        files::replace(&trust.path().join("root.json"), b"{}", files::PUBLIC_FILE).unwrap();
        assert!(Bundle::read(trust.path()).is_err());
        assert_eq!(root.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn an_old_bundle_gives_the_device_the_newest_root_that_follows_from_it() {
        let (root, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        bundle(trust.path());
        let layout = Layout::new(root.path());
        let old = || Bundle::read(trust.path()).unwrap();
        assert_eq!(old().root_version(), 1);
        for other in [&[signed_root(3)][..], &[signed_root(2), signed_root(4)], &[signed_root(1)]] {
            let refused = old().with_newer_roots(other).err();
            assert!(matches!(refused, Some(FactoryError::OtherRoots(_))), "{refused:?}");
        }
        let before = files::read(&trust.path().join("root.json"), 1 << 20).unwrap();
        for (newer, version) in [(vec![], 1), (vec![signed_root(2), signed_root(3)], 3)] {
            let bundle = old().with_newer_roots(&newer).unwrap();
            prepare(&layout, &survey(), &bundle, &Entropy::system()).unwrap();
            assert_eq!(root_version(&layout), version);
        }
        assert_eq!(files::read(&trust.path().join("root.json"), 1 << 20).unwrap(), before);
    }
}
