//! Makes all keys of a new server, and the files that devices' images need to trust it.

use super::{
    Authority, KeyError, Layout, RootChain,
    authority::{KeyAndCertificate, check_names},
    io::{
        authority_error, load_authority, make_signing_key, make_ticket_key, random, read_required, write_root,
    },
};
use crate::{
    entropy::Entropy,
    files::{self, PRIVATE_DIRECTORY, PRIVATE_FILE, PUBLIC_DIRECTORY, PUBLIC_FILE},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::path::Path;
use unbox_common::timestamp::Timestamp;

pub(super) const TLS_CA: &str = "Unbox TLS CA";
pub(super) const DEVICE_CA: &str = "Unbox Device CA";

/// The names of a new server.
#[derive(Debug, Clone)]
pub struct Founding {
    /// DNS names and IP addresses at which devices reach it; the first is the main one.
    pub names: Vec<String>,
    /// Its address in devices' settings, such as `https://enroll.example.com:8443`.
    pub url: String,
}

/// Makes all keys and the trust bundle below `layout`.
///
/// # Errors
/// [`KeyError::Occupied`] if any file to be written exists already: keys are never replaced. A failure
/// half-way leaves files that the next attempt will report.
pub fn initialise(
    layout: &Layout,
    founding: &Founding,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), KeyError> {
    for path in [layout.keys(), layout.roots(), layout.trust()] {
        if path.symlink_metadata().is_ok() {
            return Err(KeyError::Occupied(path));
        }
    }
    check_names(&founding.names).map_err(KeyError::Names)?;
    files::make_directory(layout.dir(), PRIVATE_DIRECTORY)?;
    files::make_directory(&layout.keys(), PRIVATE_DIRECTORY)?;
    for path in [layout.roots(), layout.trust()] {
        files::make_directory(&path, PUBLIC_DIRECTORY)?;
    }
    for (path, name) in [(layout.tls_ca(), TLS_CA), (layout.device_ca(), DEVICE_CA)] {
        files::write_new(&path, make_authority(&path, name, now, entropy)?.as_bytes(), PRIVATE_FILE)?;
    }
    make_server_certificate(layout, &founding.names, now, entropy)?;
    make_ticket_key(&layout.ticket_key(), entropy)?;

    let payload_key = make_signing_key(&layout.payload_key(1), entropy)?;
    let root_key = make_signing_key(&layout.root_key(1), entropy)?;
    let chain = RootChain::new_first(&payload_key.public(), &root_key)
        .map_err(|source| KeyError::Roots { path: layout.roots(), source })?;
    write_root(layout, &chain)?;
    write_trust(layout, founding)
}

/// Replaces the server's own TLS key and certificate. The authority stays, so devices notice nothing.
pub(super) fn make_server_certificate(
    layout: &Layout,
    names: &[String],
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(), KeyError> {
    check_names(names).map_err(KeyError::Names)?;
    let path = layout.server_certificate();
    let pem = load_authority(&layout.tls_ca())?
        .issue_server(names, now, &random(entropy)?)
        .map_err(authority_error(&path))?;
    Ok(files::replace(&path, pem.as_bytes(), PRIVATE_FILE)?)
}

/// Makes an authority for `path`.
pub(super) fn make_authority(
    path: &Path,
    name: &str,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<KeyAndCertificate, KeyError> {
    Authority::generate(&authority_name(name, entropy)?, now, &random(entropy)?)
        .map_err(authority_error(path))
}

/// Returns a unique name for an authority, because two with the same name would look alike.
pub(super) fn authority_name(name: &str, entropy: &dyn Entropy) -> Result<String, KeyError> {
    Ok(format!("{name} {:08x}", u32::from_be_bytes(random(entropy)?)))
}

fn write_trust(layout: &Layout, founding: &Founding) -> Result<(), KeyError> {
    let path = layout.tls_ca();
    let anchor = CertificateDer::from_pem_slice(&read_required(&path)?)
        .map_err(|_| KeyError::Malformed { path, expected: "a certificate in PEM" })?;
    let anchor = pem::encode(&pem::Pem::new("CERTIFICATE", anchor.as_ref()));
    files::write_new(&layout.trusted_anchors(), anchor.as_bytes(), PUBLIC_FILE)?;
    let settings = format!(
        "# /etc/unbox/agent.toml of the image; anchors.pem and root.json go to /etc/unbox/trust/.\n\
         server = \"{}\"\n",
        founding.url
    );
    Ok(files::write_new(&layout.agent_settings(), settings.as_bytes(), PUBLIC_FILE)?)
}
