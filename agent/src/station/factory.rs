//! `factory register`: a device gets its key and whom it trusts, and its organisation hears of it.
//!
//! The order makes it safe to cut the power at any time: first the key is durable, then the trust bundle,
//! then the server is asked. Whoever starts again uses the key that is there, and the server knows it.

use super::office::{Office, OfficeError, Registration};
use crate::{
    boot::{BootError, Layout, io::trust_in},
    entropy::Entropy,
    files::{self, FilesError},
    handshake::{KeyError, key_file::device_key},
    identity::Survey,
};
use serde::Serialize;
use std::path::{Path, PathBuf};
use unbox_common::identity::{
    HardwareIdentity, Identifier, IdentifierKind, IdentityError, InvalidIdentifier, Source,
};

/// What a trust bundle consists of, each with the largest size that is copied, in bytes.
const BUNDLE: [(&str, u64); 2] = [("anchors.pem", 1024 * 1024), ("root.json", 64 * 1024)];

/// Why a device was not registered.
#[derive(Debug, thiserror::Error)]
pub enum FactoryError {
    /// It shows nothing that identifies it.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key has no name.
    #[error(transparent)]
    KeyName(#[from] InvalidIdentifier),
    /// The trust bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] BootError),
    /// A file of it is not there.
    #[error("{} does not exist", .0.display())]
    NoBundle(PathBuf),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The server could not be asked, or refused the request as a whole.
    #[error(transparent)]
    Office(#[from] OfficeError),
}

/// A device that is ready to be registered: key and trust are on its disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    identity: HardwareIdentity,
    key: String,
}

/// What became of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// SHA-256 of its public key, as claims name it.
    pub device_key: String,
    /// What the server says.
    #[serde(flatten)]
    pub registration: Registration,
}

/// Makes the device's key, unless there is one, and gives it the trust bundle.
///
/// # Errors
/// [`FactoryError`]; what was written until then is used by the next try.
pub fn prepare(
    layout: &Layout,
    survey: &Survey,
    bundle: &Path,
    entropy: &Entropy,
) -> Result<Prepared, FactoryError> {
    let identity = survey.identity()?;
    // Whatever the device could not use stops here, before it has a key.
    trust_in(bundle)?;
    let key = device_key(layout, entropy)?.public().digest().to_string();
    let [folder, _] = layout.trust();
    files::make_directory(&folder, files::PUBLIC_DIRECTORY)?;
    for (name, limit) in BUNDLE {
        let from = bundle.join(name);
        let bytes = files::read(&from, limit)?.ok_or(FactoryError::NoBundle(from))?;
        let to = folder.join(name);
        if files::read(&to, limit)?.as_deref() != Some(bytes.as_slice()) {
            files::replace(&to, &bytes, files::PUBLIC_FILE)?;
        }
    }
    let identifier = Identifier::parse(IdentifierKind::DeviceKey, &key)?;
    Ok(Prepared { identity: identity.with(identifier, Source::Key)?, key })
}

/// Registers a device that was prepared. The same again is the same.
///
/// # Errors
/// [`FactoryError::Office`].
pub fn register(office: &Office, device: Prepared) -> Result<Outcome, FactoryError> {
    let results = office.register(std::slice::from_ref(&device.identity))?;
    Ok(Outcome { device_key: device.key, registration: results.into_iter().next().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{boot::trust_fixtures, identity::Candidate};

    fn bundle(folder: &Path) {
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        files::replace(&folder.join("anchors.pem"), certificate.cert.pem().as_bytes(), files::PUBLIC_FILE)
            .unwrap();
        let root = serde_json::to_vec(&trust_fixtures::signed_root(1)).unwrap();
        files::replace(&folder.join("root.json"), &root, files::PUBLIC_FILE).unwrap();
    }

    fn survey() -> Survey {
        let candidate = Candidate {
            kind: IdentifierKind::MacAddress,
            value: "00:16:3e:00:00:01".to_owned(),
            source: Source::Network,
            from: "eth0".to_owned(),
        };
        Survey::of(vec![candidate], Vec::new(), Vec::new())
    }

    #[test]
    fn a_device_that_is_prepared_again_keeps_its_key() {
        let (root, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        bundle(trust.path());
        let layout = Layout::new(root.path());
        let entropy = Entropy::system();
        let first = prepare(&layout, &survey(), trust.path(), &entropy).unwrap();
        let again = prepare(&layout, &survey(), trust.path(), &entropy).unwrap();
        assert_eq!(first, again);
        assert_eq!(first.identity.of_kind(IdentifierKind::DeviceKey).count(), 1);
        assert!(crate::boot::io::trust(&layout).is_ok(), "the device can use what it was given");
    }

    #[test]
    fn a_bundle_or_a_device_that_cannot_be_used_leaves_the_device_as_it_was() {
        let (root, trust) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let layout = Layout::new(root.path());
        let entropy = Entropy::system();
        let refused = prepare(&layout, &survey(), trust.path(), &entropy);
        assert!(matches!(refused, Err(FactoryError::Bundle(_))), "{refused:?}");
        bundle(trust.path());
        let refused = prepare(&layout, &Survey::default(), trust.path(), &entropy);
        assert!(matches!(refused, Err(FactoryError::Identity(_))), "{refused:?}");
        files::replace(&trust.path().join("root.json"), b"{}", files::PUBLIC_FILE).unwrap();
        assert!(prepare(&layout, &survey(), trust.path(), &entropy).is_err());
        assert_eq!(root.path().read_dir().unwrap().count(), 0);
    }
}
