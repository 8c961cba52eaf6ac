//! The signing root: the keys that may sign payloads, and the keys that may change those.
//!
//! A device's image carries one. A newer one is believed only if the keys of the one before
//! it, and its own, have signed it, one version at a time (as in TUF 1.0, section 5.3).

use super::{KeySet, Signable, Signed, Verified, VerifyError};
use crate::bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The most TLS anchors that a root names.
const MAX_ANCHORS: usize = 4;
/// The largest TLS anchor, in bytes of DER: all of them fit into a root.
const MAX_ANCHOR_BYTES: usize = 2048;

/// The document that anchors trust in payloads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningRoot {
    /// 1 for the first, then one more at each change.
    pub version: u64,
    /// Keys that sign payloads.
    pub payload_keys: KeySet,
    /// Keys that sign the next root. Kept offline.
    pub root_keys: KeySet,
    /// The authorities of servers' certificates from now on; `None` keeps the present ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_anchors: Option<TlsAnchors>,
}

/// The TLS authorities, DER, oldest first: a server's certificate must lead to one of them. There is at
/// least one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Bytes>", into = "Vec<Bytes>")]
pub struct TlsAnchors(Vec<Bytes>);

/// Certificates that a root cannot name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {MAX_ANCHORS} certificates of at most {MAX_ANCHOR_BYTES} bytes each")]
pub struct InvalidTlsAnchors;

impl TlsAnchors {
    /// Returns the certificates, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl TryFrom<Vec<Bytes>> for TlsAnchors {
    type Error = InvalidTlsAnchors;

    fn try_from(certificates: Vec<Bytes>) -> Result<Self, InvalidTlsAnchors> {
        let fits = |der: &Bytes| (1..=MAX_ANCHOR_BYTES).contains(&der.0.len());
        if (1..=MAX_ANCHORS).contains(&certificates.len()) && certificates.iter().all(fits) {
            Ok(Self(certificates))
        } else {
            Err(InvalidTlsAnchors)
        }
    }
}

impl From<TlsAnchors> for Vec<Bytes> {
    fn from(anchors: TlsAnchors) -> Self {
        anchors.0
    }
}

impl Signable for SigningRoot {
    const PAYLOAD_TYPE: &'static str = "application/vnd.unbox.signing-root.v1+json";
    const MAX_BYTES: usize = 16 * 1024;
}

/// The reason why a signing root is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootRejected {
    /// The keys of the present root did not sign it.
    #[error("the present root's keys did not sign the new root")]
    NotByPresentRoot(#[source] VerifyError),
    /// Its own keys did not sign it.
    #[error("the new root's own keys did not sign it")]
    NotByItself(#[source] VerifyError),
    /// It does not follow the present one.
    #[error("expected root version {expected}, found {found}")]
    WrongVersion {
        /// The present version plus one.
        expected: u64,
        /// The version in the document.
        found: u64,
    },
}

impl SigningRoot {
    /// Reads the first root from a place that is trusted by itself: the device's image.
    ///
    /// # Errors
    /// [`RootRejected::NotByItself`] if its own root keys did not sign it: such a file is
    /// damaged, no matter who put it there.
    pub fn from_image(signed: &Signed<Self>) -> Result<Verified<Self>, RootRejected> {
        // The keys that check the document are inside it: peek at them, then verify for real.
        let peeked: Self = serde_json::from_slice(signed.envelope().payload.as_ref())
            .map_err(|error| RootRejected::NotByItself(VerifyError::Unreadable(error.to_string())))?;
        signed.verify(&peeked.root_keys).map_err(RootRejected::NotByItself)
    }
}

impl Verified<SigningRoot> {
    /// Accepts the root that follows this one.
    ///
    /// # Errors
    /// [`RootRejected`]; this root stays in force.
    pub fn successor(&self, next: &Signed<SigningRoot>) -> Result<Self, RootRejected> {
        let verified = next.verify(&self.root_keys).map_err(RootRejected::NotByPresentRoot)?;
        let expected = self.version.saturating_add(1);
        if verified.version != expected {
            return Err(RootRejected::WrongVersion { expected, found: verified.version });
        }
        next.verify(&verified.root_keys).map_err(RootRejected::NotByItself)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{SigningKey, sign};

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed(&[byte; 32])
    }

    fn root(version: u64, payload: &SigningKey, root: &SigningKey) -> SigningRoot {
        SigningRoot {
            version,
            payload_keys: KeySet::new(1, [payload.public()]).unwrap(),
            root_keys: KeySet::new(1, [root.public()]).unwrap(),
            tls_anchors: None,
        }
    }

    #[test]
    fn a_root_is_followed_one_version_at_a_time() {
        let (payload, newer, old, new) = (key(1), key(2), key(3), key(4));
        let first = SigningRoot::from_image(&sign(&root(1, &payload, &old), &[&old]).unwrap()).unwrap();

        let second = sign(&root(2, &newer, &new), &[&old, &new]).unwrap();
        assert_eq!(first.successor(&second).unwrap().version, 2);

        let skipped = sign(&root(3, &newer, &new), &[&old, &new]).unwrap();
        assert_eq!(first.successor(&skipped), Err(RootRejected::WrongVersion { expected: 2, found: 3 }));
        let replayed = sign(&root(1, &payload, &old), &[&old]).unwrap();
        assert_eq!(first.successor(&replayed), Err(RootRejected::WrongVersion { expected: 2, found: 1 }));
    }

    #[test]
    fn a_root_names_few_anchors_that_fit_into_it() {
        let anchors = |count, bytes| TlsAnchors::try_from(vec![Bytes(vec![0x30; bytes]); count]);
        for (count, bytes) in [(0, 1), (MAX_ANCHORS + 1, 1), (1, 0), (1, MAX_ANCHOR_BYTES + 1)] {
            assert_eq!(anchors(count, bytes), Err(InvalidTlsAnchors), "{count} of {bytes} bytes");
        }
        let (payload, old) = (key(1), key(3));
        let largest = anchors(MAX_ANCHORS, MAX_ANCHOR_BYTES).unwrap();
        let largest = SigningRoot { tls_anchors: Some(largest), ..root(1, &payload, &old) };
        let signed = sign(&largest, &[&old]).unwrap();
        assert_eq!(*SigningRoot::from_image(&signed).unwrap(), largest);
        let none = serde_json::to_value(root(1, &payload, &old)).unwrap();
        assert_eq!(none.get("tls_anchors"), None);
    }

    #[test]
    fn a_root_needs_the_old_keys_and_its_own() {
        let (payload, old, new) = (key(1), key(3), key(4));
        let first = SigningRoot::from_image(&sign(&root(1, &payload, &old), &[&old]).unwrap()).unwrap();
        let by_itself = sign(&root(2, &payload, &new), &[&new]).unwrap();
        assert!(matches!(first.successor(&by_itself), Err(RootRejected::NotByPresentRoot(_))));
        let by_old_alone = sign(&root(2, &payload, &new), &[&old]).unwrap();
        assert!(matches!(first.successor(&by_old_alone), Err(RootRejected::NotByItself(_))));
        let damaged = sign(&root(1, &payload, &old), &[&new]).unwrap();
        assert!(matches!(SigningRoot::from_image(&damaged), Err(RootRejected::NotByItself(_))));
    }
}
