//! What keys and certificates there are, for whoever looks after them; nothing private.

use super::{
    KeyError, Layout, RootChain, anchors,
    io::{
        load_authority, load_roots, load_ticket_key, payload_keys, private_directory, required, root_keys,
        server_identity,
    },
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Serialize;
use std::path::{Path, PathBuf};
use unbox_common::{
    timestamp::Timestamp,
    trust::{KeyId, KeySet, SigningKey},
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Every key and certificate of a server.
#[derive(Debug, Clone, Serialize)]
pub struct KeySummary {
    /// The newest signing root.
    pub root_version: u64,
    /// Keys whose payloads devices believe.
    pub payload_keys: Vec<TrustedKey>,
    /// Keys whose roots devices believe.
    pub root_keys: Vec<TrustedKey>,
    /// Authorities, and the server's own certificate.
    pub certificates: Vec<CertificateSummary>,
    /// TLS anchors of devices, oldest first.
    pub anchors: Vec<CertificateSummary>,
}

/// A key that the newest root trusts.
#[derive(Debug, Clone, Serialize)]
pub struct TrustedKey {
    /// Its name.
    pub id: KeyId,
    /// Where its private half lies; nothing if it is not on this machine.
    pub path: Option<PathBuf>,
}

/// A certificate, as people ask about it.
#[derive(Debug, Clone, Serialize)]
pub struct CertificateSummary {
    /// Where it lies.
    pub path: PathBuf,
    /// Its subject.
    pub subject: String,
    /// DNS names and addresses.
    pub names: Vec<String>,
    /// When it ends.
    pub not_after: Timestamp,
}

/// Reads the public side of every key.
///
/// # Errors
/// [`KeyError`] naming the first file that is missing, exposed or malformed.
pub fn survey(layout: &Layout) -> Result<KeySummary, KeyError> {
    let chain = load_roots(layout)?;
    let root = chain.latest();
    let certificates = [layout.server_certificate(), layout.tls_ca(), layout.device_ca()]
        .into_iter()
        // The TLS authority may have been taken off the machine, with its certificate.
        .filter(|path| path.exists())
        .map(certificate)
        .collect::<Result<_, _>>()?;
    Ok(KeySummary {
        root_version: root.version,
        payload_keys: trusted(&root.payload_keys, &payload_keys(layout)?),
        root_keys: trusted(&root.root_keys, &root_keys(layout)?),
        certificates,
        anchors: anchors::present(layout, &chain)?
            .iter()
            .map(|der| summary(der, layout.trusted_anchors()))
            .collect::<Result<_, _>>()?,
    })
}

/// Everything that is wrong with the files of a server: each is looked at by itself.
#[must_use]
pub fn faults(layout: &Layout) -> Vec<KeyError> {
    let own = layout.server_certificate();
    let roots = load_roots(layout);
    let trusted = roots.as_ref().map_or(Ok(()), |chain| newest_is_trusted(layout, chain));
    [
        private_directory(&layout.keys()),
        roots.map(drop),
        payload_keys(layout).map(drop),
        root_keys(layout).map(drop),
        load_authority(&layout.device_ca()).map(drop),
        load_ticket_key(&layout.ticket_key()).map(drop),
        server_identity(&own, &own).map(drop),
        trusted,
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect()
}

/// New images must get the newest root: an interrupted rotation may have left an older one.
fn newest_is_trusted(layout: &Layout, chain: &RootChain) -> Result<(), KeyError> {
    let (trusted, newest) = (layout.trusted_root(), layout.root(chain.latest().version));
    if required(&trusted)? == required(&newest)? {
        Ok(())
    } else {
        Err(KeyError::Outdated { trusted, newest })
    }
}

/// The certificate in a PEM file.
///
/// # Errors
/// [`KeyError`] if the file holds none.
pub fn certificate(path: PathBuf) -> Result<CertificateSummary, KeyError> {
    let der = CertificateDer::from_pem_slice(&required(&path)?);
    summary(&der.map_err(|_| not_a_certificate(&path))?, path)
}

/// A certificate that lies in a file, by itself or among others.
pub(super) fn summary(der: &CertificateDer<'_>, path: PathBuf) -> Result<CertificateSummary, KeyError> {
    let malformed = || not_a_certificate(&path);
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| malformed())?;
    let alternative = parsed.subject_alternative_name().map_err(|_| malformed())?;
    let names = alternative.map(|names| names.value.general_names.iter().map(shown).collect());
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    Ok(CertificateSummary {
        subject: parsed.subject().to_string(),
        names: names.unwrap_or_default(),
        not_after: Timestamp::from_secs(not_after),
        path,
    })
}

fn not_a_certificate(path: &Path) -> KeyError {
    KeyError::Malformed { path: path.to_owned(), expected: "a certificate in PEM" }
}

fn trusted(set: &KeySet, present: &[(PathBuf, SigningKey)]) -> Vec<TrustedKey> {
    let path_of =
        |id: &KeyId| present.iter().find(|(_, key)| key.public().id() == *id).map(|(path, _)| path.clone());
    set.keys().map(|key| TrustedKey { id: key.id(), path: path_of(&key.id()) }).collect()
}

fn shown(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => (*name).to_owned(),
        GeneralName::IPAddress([a, b, c, d]) => std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        GeneralName::IPAddress(octets) => <[u8; 16]>::try_from(*octets)
            .map_or_else(|_| "?".to_owned(), |octets| std::net::Ipv6Addr::from(octets).to_string()),
        other => other.to_string(),
    }
}
