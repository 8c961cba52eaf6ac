//! The TPM manufacturers that this server trusts: certificates that the operator put into a file or a
//! folder.

use super::certificate;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The largest file of certificates that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// The maximum number of files in a folder; there are a few hundred manufacturers' certificates in the world.
const MAX_FILES: usize = 4096;

/// Certificates, by their subject, to one of which a TPM's must lead. Each may be a manufacturer's root or
/// an authority below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TpmRoots(Arc<BTreeMap<Vec<u8>, Vec<Vec<u8>>>>);

/// The reason why roots cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// A file or a folder cannot be read.
    #[error("the TPM manufacturers' certificates in {} cannot be read", path.display())]
    Read {
        /// The path of the file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file holds something other than certificates.
    #[error("{} does not hold certificates, in PEM or one in DER, that are understood", _0.display())]
    Certificate(PathBuf),
    /// There is no certificate at all.
    #[error("{} holds no certificate: put the manufacturers' there, or remove `tpm.roots`", _0.display())]
    Empty(PathBuf),
}

impl TpmRoots {
    /// Indexes these certificates, DER.
    ///
    /// # Errors
    /// The position of the first invalid certificate.
    pub fn new(certificates: Vec<Vec<u8>>) -> Result<Self, usize> {
        let mut by_subject: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for (at, der) in certificates.into_iter().enumerate() {
            let subject = certificate::read(&der).map_err(|_| at)?.subject().as_raw().to_vec();
            by_subject.entry(subject).or_default().push(der);
        }
        Ok(Self(Arc::new(by_subject)))
    }

    /// Reads a file, or every file of a folder: `.pem`, `.crt`, `.cer` or `.der`.
    ///
    /// # Errors
    /// [`RootsError`]: a missing root means a refused TPM, so no fault is ignored.
    pub fn load(path: &Path) -> Result<Self, RootsError> {
        let failed = |source| RootsError::Read { path: path.to_owned(), source };
        let mut files = vec![path.to_owned()];
        if path.metadata().map_err(failed)?.is_dir() {
            let entries: Result<Vec<_>, _> = fs::read_dir(path).map_err(failed)?.take(MAX_FILES).collect();
            files = entries.map_err(failed)?.into_iter().map(|entry| entry.path()).collect();
            files.retain(|path| {
                let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
                ["pem", "crt", "cer", "der"].contains(&ending.to_ascii_lowercase().as_str())
            });
            files.sort();
        }
        let mut all = Vec::new();
        for file in files {
            all.extend(certificates_in(&file)?);
        }
        if all.is_empty() {
            return Err(RootsError::Empty(path.to_owned()));
        }
        Self::new(all).map_err(|_| RootsError::Certificate(path.to_owned()))
    }

    /// Returns true if no manufacturer is configured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the certificates whose subject has this encoding, DER.
    pub(super) fn with_subject(&self, subject: &[u8]) -> impl Iterator<Item = &[u8]> {
        self.0.get(subject).into_iter().flatten().map(Vec::as_slice)
    }
}

fn certificates_in(path: &Path) -> Result<Vec<Vec<u8>>, RootsError> {
    let read = crate::files::read(path, MAX_FILE_BYTES)
        .map_err(|error| RootsError::Read { path: path.to_owned(), source: io::Error::other(error) })?;
    let bytes = read.unwrap_or_default();
    let not_certificates = || RootsError::Certificate(path.to_owned());
    let found = if bytes.starts_with(&[0x30]) {
        vec![bytes]
    } else {
        let blocks = pem::parse_many(&bytes).map_err(|_| not_certificates())?;
        blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE").map(pem::Pem::into_contents).collect()
    };
    if found.iter().all(|der| certificate::read(der).is_ok()) { Ok(found) } else { Err(not_certificates()) }
}
