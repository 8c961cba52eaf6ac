//! The TLS anchors of devices: the certificates that the server's own certificate must lead to.
//!
//! An image has the first ones; a signing root names others. Every replacement of an anchor starts with a
//! root that names both the old and the new one.

use super::{
    Authority, Change, KeyError, Layout, RootChain,
    authority::to_pem,
    init::{TLS_CA, authority_name, make_server_certificate},
    io::{authority_error, certificates, load_authority, load_roots, random},
    rotate::{extend, root_signer},
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
    let path = layout.tls_ca();
    let former = load_authority(&path)?;
    let name = authority_name(TLS_CA, entropy)?;
    let serials = [&random(entropy)?, &random(entropy)?];
    let successor = former.generate_successor(&name, now, serials).map_err(authority_error(&path))?;
    let new = Authority::from_pem(successor.as_bytes()).map_err(authority_error(&path))?;
    // First the root: if the process stops here, devices trust an authority that does not exist, and
    // nothing worse.
    let anchored = add_all(layout, &[new.certificate().clone()], root_key)?;
    files::replace(&path, successor.as_bytes(), PRIVATE_FILE)?;
    make_server_certificate(layout, names, now, entropy)?;
    Ok(anchored)
}

/// Adds the certificates of a file as anchors, such as those of an authority that will issue the server's
/// certificate from now on.
///
/// # Errors
/// [`KeyError`] if the file holds something else, or more than a root can name.
pub fn add(layout: &Layout, file: &Path, root_key: Option<&Path>) -> Result<Anchored, KeyError> {
    let new = certificates(file)?;
    let unusable = new.iter().any(|anchor| RootCertStore::empty().add(anchor.clone()).is_err());
    if new.is_empty() || unusable {
        return Err(KeyError::Malformed {
            path: file.to_owned(),
            expected: "certificates of authorities in PEM",
        });
    }
    add_all(layout, &new, root_key)
}

/// Retires all anchors except those that the server's certificate leads to by itself.
///
/// # Errors
/// [`KeyError::NotAnchored`] if there is none, and [`KeyError::NoFormerAnchor`] if all are needed.
pub fn retire(
    layout: &Layout,
    reached: Reached<'_>,
    root_key: Option<&Path>,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Anchored, KeyError> {
    let chain = load_roots(layout)?;
    let (present, mut shown) = (present(layout, &chain)?, certificates(reached.certificate)?);
    // The cross-certificates from a newer anchor to an older one are to be retired as well.
    shown.retain(|shown| !present.iter().any(|anchor| public_key(anchor) == public_key(shown)));
    let leads = |anchor: &CertificateDer<'static>| leads_to(&shown, anchor, now);
    let kept: Vec<_> = present.iter().filter(|anchor| leads(anchor)).cloned().collect();
    if kept.is_empty() {
        return Err(KeyError::NotAnchored(reached.certificate.to_owned()));
    }
    if kept.len() == present.len() {
        return Err(KeyError::NoFormerAnchor);
    }
    let anchored = set(layout, &chain, &kept, root_key)?;
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

/// Whether devices accept the server's certificate at that time, as far as its authority is concerned.
///
/// # Errors
/// [`KeyError`] if roots, anchors or certificate cannot be read.
pub fn accepted(layout: &Layout, certificate: &Path, at: Timestamp) -> Result<bool, KeyError> {
    let shown = certificates(certificate)?;
    let anchors = present(layout, &load_roots(layout)?)?;
    Ok(anchors.iter().any(|anchor| leads_to(&shown, anchor, at)))
}

/// Whether devices accept an authority other than the server's own.
///
/// # Errors
/// [`KeyError`] if roots, anchors or the own authority cannot be read.
pub fn name_another_authority(layout: &Layout) -> Result<bool, KeyError> {
    let own = layout.tls_ca();
    let own = if own.exists() { certificates(&own)? } else { Vec::new() };
    Ok(present(layout, &load_roots(layout)?)?.iter().any(|anchor| !own.contains(anchor)))
}

/// Returns the anchors in force, oldest first.
pub(super) fn present(layout: &Layout, chain: &RootChain) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    match &chain.latest().tls_anchors {
        Some(named) => Ok(named.iter().map(|der| CertificateDer::from(der.to_vec())).collect()),
        None => certificates(&layout.trusted_anchors()),
    }
}

fn add_all(
    layout: &Layout,
    new: &[CertificateDer<'static>],
    root_key: Option<&Path>,
) -> Result<Anchored, KeyError> {
    let chain = load_roots(layout)?;
    let mut anchors = present(layout, &chain)?;
    for anchor in new {
        if !anchors.contains(anchor) {
            anchors.push(anchor.clone());
        }
    }
    set(layout, &chain, &anchors, root_key)
}

/// Writes the root that names these anchors, and the file with them for new images.
fn set(
    layout: &Layout,
    chain: &RootChain,
    anchors: &[CertificateDer<'static>],
    root_key: Option<&Path>,
) -> Result<Anchored, KeyError> {
    let path = layout.trusted_anchors();
    let named: Vec<Bytes> = anchors.iter().map(|der| Bytes(der.to_vec())).collect();
    let named = TlsAnchors::try_from(named).map_err(KeyError::Anchors)?;
    let signer = root_signer(layout, chain, root_key)?;
    let version = extend(layout, chain, Change::SetTlsAnchors(named), &[&signer])?;
    files::replace(&path, to_pem(anchors).as_bytes(), PUBLIC_FILE)?;
    let anchors = anchors.iter().map(|der| summary(der, path.clone())).collect::<Result<_, _>>()?;
    Ok(Anchored { version, anchors })
}

/// Returns the public key of a certificate, DER.
fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    parse_x509_certificate(certificate).ok().map(|(_, certificate)| certificate.public_key().raw.to_vec())
}

/// Whether the first certificate leads to an anchor through the others, judged as by a device.
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

    fn founded() -> (TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("server"));
        let founding = Founding { names: names(), url: "https://enroll.example.com".to_owned() };
        initialise(&layout, &founding, NOW, &SystemEntropy::new()).unwrap();
        (dir, layout)
    }

    fn anchors(layout: &Layout) -> Vec<CertificateDer<'static>> {
        present(layout, &load_roots(layout).unwrap()).unwrap()
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
        let (_dir, layout) = founded();
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
        let (dir, layout) = founded();
        let (_other_dir, other) = founded();
        let before = anchors(&layout);
        let anchored = add(&layout, &other.trusted_anchors(), None).unwrap();
        assert_eq!((anchored.version, anchors(&layout).len()), (2, 2));
        let names = names();
        let reached = |certificate| Reached { certificate, names: &names };
        let (own, others) = (layout.server_certificate(), other.server_certificate());
        assert!(accepted(&layout, &others, NOW).unwrap());
        let entropy = SystemEntropy::new();
        assert_eq!(retire(&layout, reached(&others), None, NOW, &entropy).unwrap().version, 3);
        assert_eq!(anchors(&layout), anchors(&other));
        assert_ne!(anchors(&layout), before);
        assert!(!accepted(&layout, &own, NOW).unwrap(), "its own certificate leads nowhere now");
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
        let (_dir, layout) = founded();
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
