//! Whom this device trusts: the TLS anchors of its image, and the signing root that follows
//! from the image's by signed steps.

use rustls::pki_types::CertificateDer;
use std::path::PathBuf;
use unbox_common::trust::{Signed, SigningRoot, Verified};

/// The anchors of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Certificates that a server's certificate must lead to; never empty.
    pub anchors: Vec<CertificateDer<'static>>,
    /// The signing root in force.
    pub root: Verified<SigningRoot>,
    /// The roots that led from the image's to the one in force, oldest first.
    pub chain: Vec<Signed<SigningRoot>>,
    /// The folder that they came from.
    pub folder: PathBuf,
}

impl Trust {
    /// This trust after the roots of `next` that follow from it, oldest first.
    ///
    /// A root that does not follow is passed over: what it would have allowed stays refused.
    #[must_use]
    pub fn advanced(mut self, next: &[Signed<SigningRoot>]) -> Self {
        for next in next {
            if let Ok(successor) = self.root.successor(next) {
                self.root = successor;
                self.chain.push(next.clone());
            }
        }
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use unbox_common::trust::{KeySet, SigningKey, sign};

    /// A root of `version`, signed by itself and by the one before it, both made of seeds.
    pub(crate) fn signed_root(version: u8) -> Signed<SigningRoot> {
        let key = |seed| SigningKey::from_seed(&[seed; 32]);
        let (before, own) = (key(100 + version - 1), key(100 + version));
        let root = SigningRoot {
            version: version.into(),
            payload_keys: KeySet::new(1, [key(version).public()]).unwrap(),
            root_keys: KeySet::new(1, [own.public()]).unwrap(),
        };
        sign(&root, &[&before, &own]).unwrap()
    }

    /// The key that signs payloads under root `version`.
    pub(crate) fn payload_key(version: u8) -> SigningKey {
        SigningKey::from_seed(&[version; 32])
    }

    /// Trust that stands at root 1, with no anchors.
    pub(crate) fn trust() -> Trust {
        Trust {
            anchors: Vec::new(),
            root: SigningRoot::from_image(&signed_root(1)).unwrap(),
            chain: Vec::new(),
            folder: PathBuf::new(),
        }
    }

    #[test]
    fn roots_are_followed_step_by_step() {
        let chain = [signed_root(2), signed_root(3)];
        let after = trust().advanced(&chain);
        assert_eq!((after.root.version, after.chain.as_slice()), (3, &chain[..]));
    }

    #[test]
    fn a_newer_image_takes_only_what_is_newer_than_itself() {
        let newer_image = Trust { root: SigningRoot::from_image(&signed_root(2)).unwrap(), ..trust() };
        let after = newer_image.advanced(&[signed_root(2), signed_root(3)]);
        assert_eq!((after.root.version, after.chain), (3, vec![signed_root(3)]));
    }

    #[test]
    fn a_root_that_skips_a_version_is_passed_over() {
        let after = trust().advanced(&[signed_root(3)]);
        assert_eq!((after.root.version, after.chain.len()), (1, 0));
    }
}
