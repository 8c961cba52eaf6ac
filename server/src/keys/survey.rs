//! A summary of keys and certificates for administrators; nothing private.

use super::{
    KeyError, Layout, RootChain, anchors,
    io::{
        check_private_directory, check_private_file, is_published, load_authority, load_roots,
        load_ticket_key, payload_keys, read_required, root_keys,
    },
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Serialize;
use std::{
    iter,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::{
    timestamp::Timestamp,
    trust::{KeyId, KeySet, SigningKey},
};
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, X509Certificate};

/// Every key and certificate of a server.
#[derive(Debug, Clone, Serialize)]
pub struct KeySummary {
    /// The version of the newest signing root.
    pub root_version: u64,
    /// The keys whose payloads devices trust.
    pub payload_keys: Vec<TrustedKey>,
    /// The keys whose roots devices trust.
    pub root_keys: Vec<TrustedKey>,
    /// The path of the certificate that the server presents.
    pub certificate_in_use: PathBuf,
    /// The certificates of the server, the one in use first, and of its authorities.
    pub certificates: Vec<CertificateSummary>,
    /// TLS anchors of devices, oldest first.
    pub anchors: Vec<CertificateSummary>,
}

/// A key that the newest root trusts.
#[derive(Debug, Clone, Serialize)]
pub struct TrustedKey {
    /// Its name.
    pub id: KeyId,
    /// The path of its private half; `None` if it is not on this machine.
    pub path: Option<PathBuf>,
}

/// A certificate, as administrators need it.
#[derive(Debug, Clone, Serialize)]
pub struct CertificateSummary {
    /// The path of its file.
    pub path: PathBuf,
    /// Its subject.
    pub subject: String,
    /// Its DNS names and addresses.
    pub names: Vec<String>,
    /// The start of its validity.
    pub not_before: Timestamp,
    /// The end of its validity.
    pub not_after: Timestamp,
}

/// The time before its end at which a certificate is renewed; one that lasts less than 180 days is renewed
/// at two thirds of its life.
const RENEWAL: Duration = Duration::from_hours(60 * 24);

/// The remaining life of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Enough is left.
    Good,
    /// The renewal is due.
    Due,
    /// The renewal is overdue.
    Overdue,
    /// The certificate has expired, and nobody accepts it.
    Ended,
}

impl CertificateSummary {
    /// Returns the remaining life at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Standing {
        let life = Duration::from_millis(self.not_after.0.saturating_sub(self.not_before.0));
        let renewal = RENEWAL.min(life / 3);
        if self.not_after <= now {
            Standing::Ended
        } else if self.not_after.minus(renewal / 2) <= now {
            Standing::Overdue
        } else if self.not_after.minus(renewal) <= now {
            Standing::Due
        } else {
            Standing::Good
        }
    }
}

/// Reads the public side of every key; `in_use` is the certificate that the server presents.
///
/// # Errors
/// [`KeyError`] naming the first file that is missing, exposed or malformed.
pub fn survey(layout: &Layout, in_use: &Path) -> Result<KeySummary, KeyError> {
    let chain = load_roots(layout)?;
    let root = chain.latest();
    let others = [layout.server_certificate(), layout.tls_ca(), layout.device_ca()];
    let certificates = iter::once(in_use.to_owned())
        .chain(others.into_iter().filter(|path| path != in_use))
        // The TLS authority may have been taken off the machine, with its certificate.
        .filter(|path| path.exists())
        .map(certificate)
        .collect::<Result<_, _>>()?;
    Ok(KeySummary {
        root_version: root.version,
        certificate_in_use: in_use.to_owned(),
        payload_keys: list_trusted(&root.payload_keys, &payload_keys(layout)?),
        root_keys: list_trusted(&root.root_keys, &root_keys(layout)?),
        certificates,
        anchors: anchors::anchors_in_force(layout, &chain)?
            .iter()
            .map(|der| summary(der, layout.trusted_anchors()))
            .collect::<Result<_, _>>()?,
    })
}

/// Returns all faults of a server's files, each of which is checked by itself.
#[must_use]
pub fn faults(layout: &Layout) -> Vec<KeyError> {
    let roots = load_roots(layout);
    let trusted = roots.as_ref().map_or(Ok(()), |chain| check_newest_is_trusted(layout, chain));
    let next = layout.next_tls_ca();
    let finished = if next.exists() { Err(KeyError::Unfinished(next)) } else { Ok(()) };
    let read_above = [layout.device_ca(), layout.ticket_key()];
    let others = layout.private_files().into_iter().filter(|path| !read_above.contains(path));
    [
        check_private_directory(&layout.keys()),
        roots.map(drop),
        payload_keys(layout).map(drop),
        root_keys(layout).map(drop),
        load_authority(&layout.device_ca()).map(drop),
        load_ticket_key(&layout.ticket_key()).map(drop),
        trusted,
        finished,
    ]
    .into_iter()
    .chain(others.map(|path| check_private_file(&path)))
    .filter_map(Result::err)
    .collect()
}

/// Checks that new images get the newest root, because an interrupted rotation may have left an older one.
fn check_newest_is_trusted(layout: &Layout, chain: &RootChain) -> Result<(), KeyError> {
    let (trusted, newest) = (layout.trusted_root(), layout.root(chain.latest().version));
    if is_published(layout, chain)? { Ok(()) } else { Err(KeyError::Outdated { trusted, newest }) }
}

/// Returns the certificate in a PEM file.
///
/// # Errors
/// [`KeyError`] if the file holds none.
pub fn certificate(path: PathBuf) -> Result<CertificateSummary, KeyError> {
    let der = CertificateDer::from_pem_slice(&read_required(&path)?);
    summary(&der.map_err(|_| certificate_error(&path))?, path)
}

/// Summarises a certificate from a file, which may hold others, too.
///
/// # Errors
/// [`KeyError`] if it is none.
pub fn summary(der: &CertificateDer<'_>, path: PathBuf) -> Result<CertificateSummary, KeyError> {
    let malformed = || certificate_error(&path);
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| malformed())?;
    let alternative = parsed.subject_alternative_name().map_err(|_| malformed())?;
    let names = alternative.map(|names| names.value.general_names.iter().map(describe_name).collect());
    let seconds = |time: ASN1Time| Timestamp::from_secs(u64::try_from(time.timestamp()).unwrap_or_default());
    Ok(CertificateSummary {
        subject: parsed.subject().to_string(),
        names: names.unwrap_or_default(),
        not_before: seconds(parsed.validity().not_before),
        not_after: seconds(parsed.validity().not_after),
        path,
    })
}

fn certificate_error(path: &Path) -> KeyError {
    KeyError::Malformed { path: path.to_owned(), expected: "a certificate in PEM" }
}

fn list_trusted(set: &KeySet, present: &[(PathBuf, SigningKey)]) -> Vec<TrustedKey> {
    let path_of =
        |id: &KeyId| present.iter().find(|(_, key)| key.public().id() == *id).map(|(path, _)| path.clone());
    set.keys().map(|key| TrustedKey { id: key.id(), path: path_of(&key.id()) }).collect()
}

fn describe_name(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => (*name).to_owned(),
        GeneralName::IPAddress([a, b, c, d]) => std::net::Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        GeneralName::IPAddress(octets) => <[u8; 16]>::try_from(*octets)
            .map_or_else(|_| "?".to_owned(), |octets| std::net::Ipv6Addr::from(octets).to_string()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_before_anybody_is_warned() {
        let end = Timestamp::from_secs(1_800_000_000);
        let days = |count: u32| Duration::from_hours(24) * count;
        let standing = |life, left: Timestamp| {
            let certificate = CertificateSummary {
                path: PathBuf::new(),
                subject: String::new(),
                names: Vec::new(),
                not_before: end.minus(days(life)),
                not_after: end,
            };
            certificate.standing(left)
        };
        for (life, left, expected) in [
            (397, days(397), Standing::Good),
            (397, days(61), Standing::Good),
            (397, days(60), Standing::Due),
            (397, days(31), Standing::Due),
            (397, days(30), Standing::Overdue),
            (397, Duration::from_millis(1), Standing::Overdue),
            (397, Duration::ZERO, Standing::Ended),
            (90, days(31), Standing::Good),
            (90, days(30), Standing::Due),
            (90, days(15), Standing::Overdue),
            (6, days(3), Standing::Good),
            (6, days(2), Standing::Due),
        ] {
            assert_eq!(standing(life, end.minus(left)), expected, "{life} days, {left:?} left");
        }
    }
}
