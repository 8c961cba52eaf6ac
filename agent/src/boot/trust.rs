//! The trust of this device: the signing root that follows from the image's by signed steps, and the TLS
//! anchors that this root names, or else the image's.

use rustls::{RootCertStore, pki_types::CertificateDer};
use std::path::PathBuf;
use unbox_common::trust::{Signed, SigningRoot, Verified};

/// The anchors and the signing root of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Anchors that a server's certificate must chain to; never empty.
    pub anchors: Vec<CertificateDer<'static>>,
    /// The signing root in force.
    pub root: Verified<SigningRoot>,
    /// The roots between the image's and the one in force, oldest first.
    pub chain: Vec<Signed<SigningRoot>>,
    /// The folder they were read from.
    pub folder: PathBuf,
}

impl Trust {
    /// Starts from the image's trust. Its root may name anchors other than those in the folder.
    #[must_use]
    pub fn from_image(
        anchors: Vec<CertificateDer<'static>>,
        root: Verified<SigningRoot>,
        folder: PathBuf,
    ) -> Self {
        let mut trust = Self { anchors, root, chain: Vec::new(), folder };
        trust.adopt_anchors();
        trust
    }

    /// Follows the roots in `next` that succeed this one, oldest first.
    ///
    /// A root that does not follow is skipped: everything it would have allowed stays refused.
    #[must_use]
    pub fn with_newer_roots(mut self, next: &[Signed<SigningRoot>]) -> Self {
        for next in next {
            if let Ok(successor) = self.root.successor(next) {
                self.root = successor;
                self.adopt_anchors();
                self.chain.push(next.clone());
            }
        }
        self
    }

    /// Adopts the anchors that the root names. Unusable ones are skipped; if none is usable, the previous
    /// anchors stay.
    fn adopt_anchors(&mut self) {
        let Some(named) = &self.root.tls_anchors else { return };
        let usable = |anchor: &CertificateDer<'_>| RootCertStore::empty().add(anchor.clone()).is_ok();
        let named = named.iter().map(|der| CertificateDer::from(der.to_vec()));
        let named: Vec<_> = named.filter(usable).collect();
        if !named.is_empty() {
            self.anchors = named;
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use unbox_common::{
        bytes::Bytes,
        trust::{KeySet, SigningKey, sign},
    };

    /// Makes a root of `version`, signed by itself and by the one before it, with keys made from seeds.
    pub(crate) fn signed_root(version: u8) -> Signed<SigningRoot> {
        let key = |seed| SigningKey::from_seed(&[seed; 32]);
        let (before, own) = (key(100 + version - 1), key(100 + version));
        let root = SigningRoot {
            version: version.into(),
            payload_keys: KeySet::new(1, [key(version).public()]).unwrap(),
            root_keys: KeySet::new(1, [own.public()]).unwrap(),
            tls_anchors: None,
        };
        sign(&root, &[&before, &own]).unwrap()
    }

    /// Makes the same root, naming TLS anchors.
    fn signed_root_with(version: u8, anchors: &[&[u8]]) -> Signed<SigningRoot> {
        let key = |seed| SigningKey::from_seed(&[seed; 32]);
        let named: Vec<Bytes> = anchors.iter().map(|der| Bytes(der.to_vec())).collect();
        let root: SigningRoot =
            serde_json::from_slice(signed_root(version).envelope().payload.as_ref()).unwrap();
        let root = SigningRoot { tls_anchors: Some(named.try_into().unwrap()), ..root };
        sign(&root, &[&key(100 + version - 1), &key(100 + version)]).unwrap()
    }

    fn certificate(name: &str) -> CertificateDer<'static> {
        rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.into()
    }

    #[test]
    fn anchors_are_those_of_the_newest_root_that_names_any() {
        let (image, old, new) = (certificate("image"), certificate("old"), certificate("new"));
        let image = Trust { anchors: vec![image], ..trust() };
        let both = image.clone().with_newer_roots(&[signed_root_with(2, &[&old, &new])]);
        assert_eq!(both.anchors, [old, new.clone()]);
        let later = both.clone().with_newer_roots(&[signed_root(3)]);
        assert_eq!(later.anchors, both.anchors, "it says nothing about them");
        let new_only = [new.clone()];
        assert_eq!(both.with_newer_roots(&[signed_root_with(3, &[&new])]).anchors, new_only);
        let unusable = image.clone().with_newer_roots(&[signed_root_with(2, &[b"no certificate"])]);
        assert_eq!(
            (unusable.root.version, &unusable.anchors),
            (2, &image.anchors),
            "it keeps a way to its server"
        );
        let in_part = image.clone().with_newer_roots(&[signed_root_with(2, &[b"no certificate", &new])]);
        assert_eq!(in_part.anchors, new_only);
        let root = SigningRoot::from_image(&signed_root_with(1, &[&new])).unwrap();
        assert_eq!(Trust::from_image(image.anchors, root, PathBuf::new()).anchors, [new]);
    }

    /// Returns the key that signs payloads under root `version`.
    pub(crate) fn payload_key(version: u8) -> SigningKey {
        SigningKey::from_seed(&[version; 32])
    }

    /// Returns trust that stands at root 1, with no anchors.
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
        let after = trust().with_newer_roots(&chain);
        assert_eq!((after.root.version, after.chain.as_slice()), (3, &chain[..]));
    }

    #[test]
    fn a_newer_image_takes_only_what_is_newer_than_itself() {
        let newer_image = Trust { root: SigningRoot::from_image(&signed_root(2)).unwrap(), ..trust() };
        let after = newer_image.with_newer_roots(&[signed_root(2), signed_root(3)]);
        assert_eq!((after.root.version, after.chain), (3, vec![signed_root(3)]));
    }

    #[test]
    fn a_root_that_skips_a_version_is_passed_over() {
        let after = trust().with_newer_roots(&[signed_root(3)]);
        assert_eq!((after.root.version, after.chain.len()), (1, 0));
    }
}
