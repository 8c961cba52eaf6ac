//! Reads the inputs of `boot`: configuration, credentials, removable media, trust and the ledger's time.

mod media;

pub use media::read_medium;

use super::{
    BootContext, Fragment, Inputs, InvalidFragment, InvalidSettings, Layout, Medium, Origin, Settings,
    StartingPoint, Token, Trust, command_line, medium, token,
};
use crate::{
    failure::{Diagnose, advice},
    files::{self, FilesError, Within},
    ledger::{self, io::LedgerError},
    tpm::TpmUse,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::{
    io,
    path::{Path, PathBuf},
};
use unbox_common::{
    refusal::Disposition,
    secret::Secret,
    trust::{RootRejected, Signed, SigningRoot},
};

const MAX_CONFIG_BYTES: u64 = 64 * 1024;
const MAX_COMMAND_LINE_BYTES: u64 = 64 * 1024;
const MAX_ANCHORS_BYTES: u64 = 1024 * 1024;
const MAX_ROOT_BYTES: u64 = 64 * 1024;
/// The largest file of signing roots: it holds every root that a device ever accepted, each below 1 KiB.
const MAX_STORED_ROOTS_BYTES: u64 = 1024 * 1024;

/// The reason why the device cannot start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file exists but cannot be read.
    #[error(transparent)]
    Read(#[from] FilesError),
    /// A configuration file is not valid.
    #[error("{} is not a valid configuration", path.display())]
    Config {
        /// The file with the error.
        path: PathBuf,
        /// The line with the error.
        #[source]
        source: InvalidFragment,
    },
    /// A value in a configuration file is invalid.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// The file that should hold the token does not exist. Its path is not quoted: it may be the token itself.
    #[error(
        "`token_file` in {0} cannot be used: expected the path of a file that exists and holds the token"
    )]
    NoTokenFile(Origin),
    /// No source names a server.
    #[error(
        "no server is configured: set `server` in /etc/unbox/agent.toml, or unbox.server= on the kernel command line"
    )]
    NoServer,
    /// Neither trust folder holds anchors.
    #[error(
        "no trust anchors: put anchors.pem and root.json of the server into /etc/unbox/trust or /usr/lib/unbox/trust"
    )]
    NoTrust,
    /// A trust file has the wrong content.
    #[error("{path} does not hold {expected}")]
    TrustUnreadable {
        /// The file with the wrong content.
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
    },
    /// The image's signing root is damaged.
    #[error("{path} is not a signing root")]
    RootRejected {
        /// The file of the root.
        path: PathBuf,
        /// The reason for the rejection.
        #[source]
        source: RootRejected,
    },
    /// The ledger was written by a newer agent, or cannot be read at all.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Diagnose for BootError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NoServer => "no_server",
            Self::NoTrust => "no_trust",
            Self::Ledger(error) => error.kind(),
            _ => "configuration",
        }
    }

    fn disposition(&self) -> Disposition {
        Disposition::Fatal
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::Ledger(error) if error.is_newer() => advice::NEWER,
            _ => advice::IMAGE,
        }
    }
}

/// Reads everything that `boot` passes on to later stages.
///
/// # Errors
/// [`BootError`]. A damaged ledger is not an error: the time then comes from the floor.
pub fn start(from: &StartingPoint) -> Result<BootContext, BootError> {
    let layout = Layout::new(&from.root);
    let (settings, _) = read_settings(from)?;
    let trust = trust(&layout)?;
    let verified_time = ledger::io::verified_time(&layout)?;
    Ok(BootContext { layout, settings, trust, verified_time })
}

/// Reads the settings of this device, and the removable media that contribute to them.
///
/// # Errors
/// [`BootError`]; an unusable medium is not an error.
pub fn read_settings(from: &StartingPoint) -> Result<(Settings, Vec<Medium>), BootError> {
    let layout = Layout::new(&from.root);
    let inputs = inputs(from, &layout)?;
    let token = inputs.token_file().map(|(path, from)| token_file(&layout, path, from)).transpose()?;
    let (media, medium) = media_and_token(&layout, &inputs);
    Ok((Settings::parse(inputs, token, medium)?, media))
}

/// Returns the removable media that are present and the token they give, for callers that wait for one.
/// Configuration errors are ignored here: [`start`] reports them.
#[must_use]
pub fn media(from: &StartingPoint) -> (Vec<Medium>, Option<Token>) {
    let layout = Layout::new(&from.root);
    let inputs = inputs(from, &layout).unwrap_or_default();
    media_and_token(&layout, &inputs)
}

fn media_and_token(layout: &Layout, inputs: &Inputs) -> (Vec<Medium>, Option<Token>) {
    let mut media = media::present_media(layout, inputs.token_folder());
    let token = medium::choose_token(&mut media);
    (media, token)
}

fn inputs(from: &StartingPoint, layout: &Layout) -> Result<Inputs, BootError> {
    let local = from.config.clone().unwrap_or_else(|| layout.local_config());
    let mut fragments = Vec::new();
    if let Some(folder) = &from.credentials {
        fragments.push((credentials(folder)?, Origin::Credential));
    }
    if let Some(line) = files::read(&layout.path("/proc/cmdline"), MAX_COMMAND_LINE_BYTES)? {
        let line = String::from_utf8_lossy(&line);
        fragments.push((command_line::fragment(&line), Origin::KernelCommandLine));
    }
    for path in [local, layout.image_config()] {
        if let Some(fragment) = configuration(&path)? {
            fragments.push((fragment, Origin::File(path)));
        }
    }
    Ok(Inputs::merge(fragments))
}

/// Returns the configured use of the TPM. An unreadable file counts as absent: [`start`] reports it.
#[must_use]
pub fn tpm_use(layout: &Layout) -> TpmUse {
    let said = |path: PathBuf| configuration(&path).ok().flatten().and_then(|fragment| fragment.tpm);
    said(layout.local_config()).or_else(|| said(layout.image_config())).unwrap_or_default()
}

fn credentials(folder: &Path) -> Result<Fragment, BootError> {
    let text = |name| -> Result<Option<String>, BootError> {
        let bytes = files::read(&folder.join(name), MAX_CONFIG_BYTES)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    Ok(Fragment {
        server: text("unbox.server")?,
        token: text("unbox.token")?.map(Secret::new),
        ..Fragment::default()
    })
}

fn configuration(path: &Path) -> Result<Option<Fragment>, BootError> {
    let Some(bytes) = files::read(path, MAX_CONFIG_BYTES)? else {
        return Ok(None);
    };
    let invalid = |source| BootError::Config { path: path.to_owned(), source };
    Fragment::parse(&bytes).map(Some).map_err(invalid)
}

fn token_file(layout: &Layout, path: &Path, from: &Origin) -> Result<Token, BootError> {
    let origin = layout.path(path);
    let bytes = match Within::open(layout.root())?.read(path, token::MAX_FILE_BYTES) {
        // A token may be longer than any name.
        Err(error) if error.io().is_some_and(|error| error.kind() == io::ErrorKind::InvalidFilename) => None,
        read => read?,
    };
    let bytes = bytes.ok_or_else(|| BootError::NoTokenFile(from.clone()))?;
    Ok(Token {
        secret: Secret::new(String::from_utf8_lossy(&bytes).into_owned()),
        origin: Origin::File(origin),
    })
}

/// Reads anchors and signing root, and follows the newer roots that were stored.
///
/// # Errors
/// [`BootError`] if there are none, or if they are damaged.
pub fn trust(layout: &Layout) -> Result<Trust, BootError> {
    for folder in layout.trust() {
        match read_trust(&folder) {
            Err(BootError::NoTrust) => {}
            found => return follow_stored_roots(layout, found?),
        }
    }
    Err(BootError::NoTrust)
}

/// Reads the anchors and the signing root from one trust folder.
///
/// # Errors
/// [`BootError::NoTrust`] if there are no anchors, and others if they are damaged.
pub fn read_trust(folder: &Path) -> Result<Trust, BootError> {
    let path = folder.join("anchors.pem");
    let pem = files::read(&path, MAX_ANCHORS_BYTES)?.ok_or(BootError::NoTrust)?;
    let anchors = parse_anchors(&path, &pem)?;
    Ok(Trust::from_image(anchors, image_root(&folder.join("root.json"))?, folder.to_owned()))
}

fn parse_anchors(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BootError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(anchors) if !anchors.is_empty() => Ok(anchors),
        _ => Err(BootError::TrustUnreadable { path: path.to_owned(), expected: "certificates in PEM" }),
    }
}

fn image_root(path: &Path) -> Result<unbox_common::trust::Verified<SigningRoot>, BootError> {
    let unreadable =
        || BootError::TrustUnreadable { path: path.to_owned(), expected: "a signed root in JSON" };
    let bytes = files::read(path, MAX_ROOT_BYTES)?.ok_or_else(unreadable)?;
    let signed: Signed<SigningRoot> = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
    SigningRoot::from_image(&signed)
        .map_err(|source| BootError::RootRejected { path: path.to_owned(), source })
}

/// Follows the newer roots that either side stored. It does not matter which side: each root is signed by
/// the one before it. A damaged file counts as empty: an older root is then in force, and the server
/// sends the newer ones again.
fn follow_stored_roots(layout: &Layout, mut trust: Trust) -> Result<Trust, BootError> {
    for path in [layout.signing_roots(), layout.fetched_roots()] {
        let kept: Option<Vec<Signed<SigningRoot>>> = files::read_json(&path, MAX_STORED_ROOTS_BYTES)?;
        trust = trust.with_newer_roots(&kept.unwrap_or_default());
    }
    Ok(trust)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_path_of_a_configuration_file_leaves_the_root() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        files::make_directory(&root.join("etc/unbox"), files::PUBLIC_DIRECTORY).unwrap();
        for (path, token) in [("secret", "of the host"), ("root/secret", "inside")] {
            files::replace(&folder.path().join(path), token.as_bytes(), files::PRIVATE_FILE).unwrap();
        }
        for (path, token) in [("unbox-token", "outside"), ("root/unbox-token", "within")] {
            files::replace(&folder.path().join(path), token.as_bytes(), files::PRIVATE_FILE).unwrap();
        }
        symlink(folder.path(), root.join("out")).unwrap();
        let layout = Layout::new(&root);
        for path in ["/secret", "secret", "/../secret", "../../secret", "/etc/../../secret"] {
            let token = token_file(&layout, Path::new(path), &Origin::Credential).unwrap();
            assert_eq!(token.secret.expose(), "inside", "{path}");
            assert_eq!(token.origin, Origin::File(root.join("secret")), "{path}");
        }
        for absent in ["/out/secret", &"x".repeat(300)] {
            let refused = token_file(&layout, Path::new(absent), &Origin::Credential).unwrap_err();
            assert!(matches!(refused, BootError::NoTokenFile(_)), "{refused}");
            assert!(!refused.to_string().contains(absent), "{refused}");
        }
        for folder in ["/", "..", "/../..", "/etc/../.."] {
            let media = media::present_media(&layout, Some(&folder));
            let [Medium { found: super::super::Found::Token(token), .. }] = media.as_slice() else {
                panic!("{folder}: {media:?}");
            };
            assert_eq!(token.expose(), "within", "{folder}");
        }
        assert_eq!(media::present_media(&layout, Some(&"/out")), []);
    }
}
