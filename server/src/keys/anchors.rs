//! The TLS anchors of devices: the certificates that the server's own certificate must lead to.
//!
//! An image has the first ones; a signing root names others. Every replacement of an anchor starts with a
//! root that names both the old and the new one.

use super::{
    Authority, Change, KeyError, Layout, RootChain,
    authority::{check_names, to_pem},
    init::{TLS_CA, authority_name, make_server_certificate},
    io::{
        KeyLock, authority_error, certificates, is_published, load_authority, load_roots, publish_root,
        random, write_root,
    },
    rotate::{extend_chain, root_signer},
    survey::{CertificateSummary, summary},
};
use crate::{
    entropy::Entropy,
    files::{self, PRIVATE_FILE, PUBLIC_FILE},
};
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::ring,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};
use std::{path::Path, time::Duration};
use unbox_common::{bytes::Bytes, timestamp::Timestamp, trust::TlsAnchors};
use x509_parser::parse_x509_certificate;

/// The anchors after a change.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Anchored {
    /// The version of the signing root that names them.
    pub version: u64,
    /// Their certificates, oldest first.
    pub anchors: Vec<CertificateSummary>,
}

/// The server from the point of view of devices: its certificate and its names.
#[derive(Debug, Clone, Copy)]
pub struct Reached<'a> {
    /// The file of its certificate, with the certificates that lead from it to an anchor.
    pub certificate: &'a Path,
    /// Its names, the main one first.
    pub names: &'a [String],
}

/// Makes a new TLS authority, which is trusted beside the one before it, and has it issue the server's
/// certificate. A device that still knows only the old one accepts that certificate, too, until [`retire`].
///
/// # Errors
/// [`KeyError`]; also if the old authority's key is stored elsewhere.
pub fn rotate(
    layout: &Layout,
    names: &[String],
    root_key: Option<&Path>,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Anchored, KeyError> {
    let _lock = KeyLock::take(layout)?;
    check_names(names).map_err(KeyError::Names)?;
    let (path, next) = (layout.tls_ca(), layout.next_tls_ca());
    let is_begun = next.exists();
    let new = if is_begun { load_authority(&next)? } else { successor(&path, now, entropy)? };
    let chain = load_roots(layout)?;
    let plan = Plan::with_added(layout, chain, &[new.certificate().clone()], root_key)?;
    let own = new.issue_server(names, now, &random(entropy)?).map_err(authority_error(&next))?;
    // First the authority, so that the same command can go on from wherever it is cut off; it has its name
    // once everything else is done.
    if !is_begun {
        files::write_new(&next, new.to_pem().as_bytes(), PRIVATE_FILE)?;
    }
    let anchored = plan.carry_out(layout)?;
    files::replace(&layout.server_certificate(), own.as_bytes(), PRIVATE_FILE)?;
    files::publish(&next, &path)?;
    Ok(anchored)
}

/// Makes the authority that follows the one in this file.
fn successor(path: &Path, now: Timestamp, entropy: &dyn Entropy) -> Result<Authority, KeyError> {
    let former = load_authority(path)?;
    let name = authority_name(TLS_CA, entropy)?;
    let serials = [&random(entropy)?, &random(entropy)?];
    let pem = former.generate_successor(&name, now, serials).map_err(authority_error(path))?;
    Authority::from_pem(pem.as_bytes()).map_err(authority_error(path))
}

/// Adds the certificates of a file as anchors, such as those of an authority that will issue the server's
/// certificate from now on.
///
/// # Errors
/// [`KeyError`] if the file holds something else, or more than a root can name.
pub fn add(layout: &Layout, file: &Path, root_key: Option<&Path>) -> Result<Anchored, KeyError> {
    let _lock = KeyLock::take(layout)?;
    let new = certificates(file).map_err(KeyError::with_advice_for_given_path)?;
    let unusable = new.iter().any(|anchor| RootCertStore::empty().add(anchor.clone()).is_err());
    if new.is_empty() || unusable {
        return Err(KeyError::Malformed {
            path: file.to_owned(),
            expected: "certificates of authorities in PEM",
        });
    }
    Plan::with_added(layout, load_roots(layout)?, &new, root_key)?.carry_out(layout)
}

/// Retires all anchors except those that the server's certificate leads to by itself.
///
/// # Errors
/// [`KeyError::NotAnchored`] if there is none, [`KeyError::NoFormerAnchor`] if all are needed, and
/// [`KeyError::Unfinished`] after a [`rotate`] that was interrupted.
pub fn retire(
    layout: &Layout,
    reached: Reached<'_>,
    root_key: Option<&Path>,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Anchored, KeyError> {
    let _lock = KeyLock::take(layout)?;
    let Retirement { chain, kept, .. } = Retirement::plan(layout, reached.certificate, now)?;
    let anchored = Plan::with_anchors(layout, chain, kept, root_key)?.carry_out(layout)?;
    let path = layout.tls_ca();
    if path.exists() {
        let own = load_authority(&path)?;
        files::replace(&path, own.without_former().as_bytes(), PRIVATE_FILE)?;
        if reached.certificate == layout.server_certificate() {
            make_server_certificate(layout, reached.names, now, entropy)?;
        }
    }
    Ok(anchored)
}

/// Returns the anchors that [`retire`] retires; none if it only has to be finished.
///
/// # Errors
/// Those of [`retire`].
pub fn find_retirable(
    layout: &Layout,
    certificate: &Path,
    now: Timestamp,
) -> Result<Vec<CertificateSummary>, KeyError> {
    let Retirement { retired, .. } = Retirement::plan(layout, certificate, now)?;
    retired.iter().map(|der| summary(der, layout.trusted_anchors())).collect()
}

/// A retirement of anchors, begun or not.
struct Retirement {
    chain: RootChain,
    kept: Vec<CertificateDer<'static>>,
    retired: Vec<CertificateDer<'static>>,
}

impl Retirement {
    fn plan(layout: &Layout, certificate: &Path, now: Timestamp) -> Result<Self, KeyError> {
        let (chain, next) = (load_roots(layout)?, layout.next_tls_ca());
        let (present, all) = (anchors_in_force(layout, &chain)?, certificates(certificate)?);
        // The next authority's may be the only anchor that is kept, and the present one would issue the
        // server's certificate.
        if next.exists() && present.contains(load_authority(&next)?.certificate()) {
            return Err(KeyError::Unfinished(next));
        }
        // The cross-certificates from a newer anchor to an older one are to be retired as well.
        let is_crossing = |shown: &&_| present.iter().any(|anchor| public_key(anchor) == public_key(shown));
        let (crossing, shown): (Vec<_>, Vec<_>) = all.iter().partition(is_crossing);
        let shown: Vec<_> = shown.into_iter().cloned().collect();
        let is_kept = |anchor: &CertificateDer<'static>| leads_to(&shown, anchor, now);
        let (kept, retired): (Vec<_>, Vec<_>) = present.iter().cloned().partition(is_kept);
        if kept.is_empty() {
            return Err(KeyError::NotAnchored(certificate.to_owned()));
        }
        let is_own = certificate == layout.server_certificate() && layout.tls_ca().exists();
        let is_done = crossing.is_empty() || !is_own;
        if retired.is_empty() && is_done && are_published(layout, &chain, &kept)? {
            return Err(KeyError::NoFormerAnchor);
        }
        Ok(Self { chain, kept, retired })
    }
}

/// Returns true if nothing on this machine is behind the roots, as after a change of anchors that was
/// interrupted.
fn are_published(
    layout: &Layout,
    chain: &RootChain,
    anchors: &[CertificateDer<'static>],
) -> Result<bool, KeyError> {
    let own = layout.tls_ca();
    Ok(chain.latest().tls_anchors.is_none()
        || (is_published(layout, chain)?
            && certificates(&layout.trusted_anchors()).is_ok_and(|written| written == anchors)
            && !(own.exists() && load_authority(&own)?.has_former())))
}

/// Returns true if devices accept the server's certificate at that time, as far as its authority is concerned.
///
/// # Errors
/// [`KeyError`] if roots, anchors or certificate cannot be read.
pub fn devices_accept_file(layout: &Layout, certificate: &Path, at: Timestamp) -> Result<bool, KeyError> {
    devices_accept(layout, &certificates(certificate)?, at)
}

/// Returns true if devices accept a certificate, with the others that lead to its authority, at that time.
///
/// # Errors
/// [`KeyError`] if roots or anchors cannot be read.
pub fn devices_accept(
    layout: &Layout,
    shown: &[CertificateDer<'static>],
    at: Timestamp,
) -> Result<bool, KeyError> {
    let anchors = anchors_in_force(layout, &load_roots(layout)?)?;
    Ok(anchors.iter().any(|anchor| leads_to(shown, anchor, at)))
}

/// Returns true if devices accept an authority other than the server's own.
///
/// # Errors
/// [`KeyError`] if roots, anchors or the own authority cannot be read.
pub fn name_another_authority(layout: &Layout) -> Result<bool, KeyError> {
    let own = layout.tls_ca();
    let own = if own.exists() { certificates(&own)? } else { Vec::new() };
    Ok(anchors_in_force(layout, &load_roots(layout)?)?.iter().any(|anchor| !own.contains(anchor)))
}

/// Returns the anchors in force, oldest first.
pub(super) fn anchors_in_force(
    layout: &Layout,
    chain: &RootChain,
) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    match &chain.latest().tls_anchors {
        Some(named) => Ok(named.iter().map(|der| CertificateDer::from(der.to_vec())).collect()),
        None => certificates(&layout.trusted_anchors()),
    }
}

/// The anchors to be, and the chain of roots that names them.
struct Plan {
    anchors: Vec<CertificateDer<'static>>,
    chain: RootChain,
    /// True if the last root is yet to be written.
    is_new: bool,
}

impl Plan {
    fn with_added(
        layout: &Layout,
        chain: RootChain,
        new: &[CertificateDer<'static>],
        root_key: Option<&Path>,
    ) -> Result<Self, KeyError> {
        let mut anchors = anchors_in_force(layout, &chain)?;
        for anchor in new {
            if !anchors.contains(anchor) {
                anchors.push(anchor.clone());
            }
        }
        Self::with_anchors(layout, chain, anchors, root_key)
    }

    fn with_anchors(
        layout: &Layout,
        chain: RootChain,
        anchors: Vec<CertificateDer<'static>>,
        root_key: Option<&Path>,
    ) -> Result<Self, KeyError> {
        let named: Vec<Bytes> = anchors.iter().map(|der| Bytes(der.to_vec())).collect();
        let named = TlsAnchors::try_from(named).map_err(KeyError::Anchors)?;
        if chain.latest().tls_anchors.as_ref() == Some(&named) {
            return Ok(Self { anchors, chain, is_new: false });
        }
        let signer = root_signer(layout, &chain, root_key)?;
        let chain = extend_chain(layout, &chain, Change::SetTlsAnchors(named), &[&signer])?;
        Ok(Self { anchors, chain, is_new: true })
    }

    /// Writes the root, and the files for new images.
    fn carry_out(self, layout: &Layout) -> Result<Anchored, KeyError> {
        let Self { anchors, chain, is_new } = self;
        if is_new {
            write_root(layout, &chain)?;
        } else {
            publish_root(layout, &chain)?;
        }
        let path = layout.trusted_anchors();
        files::replace(&path, to_pem(&anchors).as_bytes(), PUBLIC_FILE)?;
        let anchors = anchors.iter().map(|der| summary(der, path.clone())).collect::<Result<_, _>>()?;
        Ok(Anchored { version: chain.latest().version, anchors })
    }
}

/// Returns the public key of a certificate, DER.
fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    parse_x509_certificate(certificate).ok().map(|(_, certificate)| certificate.public_key().raw.to_vec())
}

/// Returns true if the first certificate leads to an anchor through the others, judged as by a device.
fn leads_to(shown: &[CertificateDer<'static>], anchor: &CertificateDer<'static>, now: Timestamp) -> bool {
    let Some((own, others)) = shown.split_first() else { return false };
    let mut anchors = RootCertStore::empty();
    let Ok(own) = ParsedCertificate::try_from(own) else { return false };
    let algorithms = ring::default_provider().signature_verification_algorithms.all;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(now.0));
    anchors.add(anchor.clone()).is_ok()
        && verify_server_cert_signed_by_trust_anchor(&own, &anchors, others, now, algorithms).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entropy::SystemEntropy,
        keys::{Founding, initialise},
    };
    use std::fs;
    use tempfile::TempDir;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn names() -> Vec<String> {
        vec!["enroll.example.com".to_owned()]
    }

    fn make_server() -> (TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("server"));
        let founding = Founding { names: names(), url: "https://enroll.example.com".to_owned() };
        initialise(&layout, &founding, NOW, &SystemEntropy::new()).unwrap();
        (dir, layout)
    }

    fn anchors(layout: &Layout) -> Vec<CertificateDer<'static>> {
        anchors_in_force(layout, &load_roots(layout).unwrap()).unwrap()
    }

    fn is_accepted_by(layout: &Layout, anchor: &CertificateDer<'static>) -> bool {
        leads_to(&certificates(&layout.server_certificate()).unwrap(), anchor, NOW)
    }

    fn retire_now(layout: &Layout) -> Result<Anchored, KeyError> {
        let (certificate, names) = (layout.server_certificate(), names());
        let reached = Reached { certificate: &certificate, names: &names };
        retire(layout, reached, None, NOW, &SystemEntropy::new())
    }

    #[test]
    fn a_new_authority_counts_beside_the_old_one_until_that_is_retired() {
        let (_dir, layout) = make_server();
        let [old] = anchors(&layout).try_into().unwrap();
        let anchored = rotate(&layout, &names(), None, NOW, &SystemEntropy::new()).unwrap();
        assert_eq!((anchored.version, anchored.anchors.len()), (2, 2));
        let [first, new] = anchors(&layout).try_into().unwrap();
        assert_eq!(first, old);
        assert_eq!(certificates(&layout.trusted_anchors()).unwrap(), [old.clone(), new.clone()]);
        assert!(is_accepted_by(&layout, &old), "a device that was switched off all the time");
        assert!(is_accepted_by(&layout, &new));

        assert_eq!(retire_now(&layout).unwrap().version, 3);
        assert!(is_accepted_by(&layout, &new) && !is_accepted_by(&layout, &old));
        let after = (fs::read(layout.tls_ca()).unwrap(), vec![new]);
        assert_eq!(anchors(&layout), after.1);
        assert!(matches!(retire_now(&layout), Err(KeyError::NoFormerAnchor)));
        assert_eq!((fs::read(layout.tls_ca()).unwrap(), anchors(&layout)), after);
        make_server_certificate(&layout, &names(), NOW, &SystemEntropy::new()).unwrap();
        assert_eq!(certificates(&layout.server_certificate()).unwrap().len(), 1);
    }

    #[test]
    fn an_authority_elsewhere_takes_over_once_it_has_issued_the_servers_certificate() {
        let (dir, layout) = make_server();
        let (_other_dir, other) = make_server();
        let before = anchors(&layout);
        let anchored = add(&layout, &other.trusted_anchors(), None).unwrap();
        assert_eq!((anchored.version, anchors(&layout).len()), (2, 2));
        let names = names();
        let reached = |certificate| Reached { certificate, names: &names };
        let (own, others) = (layout.server_certificate(), other.server_certificate());
        assert!(devices_accept_file(&layout, &others, NOW).unwrap());
        let entropy = SystemEntropy::new();
        assert_eq!(retire(&layout, reached(&others), None, NOW, &entropy).unwrap().version, 3);
        assert_eq!(anchors(&layout), anchors(&other));
        assert_ne!(anchors(&layout), before);
        assert!(!devices_accept_file(&layout, &own, NOW).unwrap(), "its own certificate leads nowhere now");
        let refused = retire(&layout, reached(&own), None, NOW, &entropy);
        assert!(matches!(refused, Err(KeyError::NotAnchored(_))), "{refused:?}");

        let nothing = dir.path().join("nothing.pem");
        files::write_new(&nothing, b"", PUBLIC_FILE).unwrap();
        for bad in [&nothing, &layout.settings(), &layout.root(1)] {
            assert!(add(&layout, bad, None).is_err(), "{}", bad.display());
        }
        assert_eq!(load_roots(&layout).unwrap().latest().version, 3);
    }

    #[test]
    fn a_root_does_not_name_more_anchors_than_it_can() {
        let (_dir, layout) = make_server();
        let first = anchors(&layout).remove(0);
        for _ in 1..4 {
            rotate(&layout, &names(), None, NOW, &SystemEntropy::new()).unwrap();
            assert!(is_accepted_by(&layout, &first), "a device that was switched off all the time");
        }
        assert!(anchors(&layout).iter().all(|anchor| is_accepted_by(&layout, anchor)));
        let before = (anchors(&layout), fs::read(layout.tls_ca()).unwrap());
        let refused = rotate(&layout, &names(), None, NOW, &SystemEntropy::new());
        assert!(matches!(refused, Err(KeyError::Anchors(_))), "{refused:?}");
        assert_eq!((anchors(&layout), fs::read(layout.tls_ca()).unwrap()), before);
        assert_eq!(retire_now(&layout).unwrap().anchors.len(), 1);
    }
}
