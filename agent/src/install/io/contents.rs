//! Bytes addressed by digest: the fetched artifacts, and the stage's own blobs.
//!
//! Blobs belong to root. They hold everything that has to outlive the artifacts: replaced files, the
//! texts of a policy, packages to go back to, a DPC's extras.

use crate::{
    files::{self, Attributes, Entry, FilesError, Root},
    install::ArtifactDir,
};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::PathBuf,
};
use unbox_common::digest::{Hasher, Sha256};

/// The sources of bytes: blobs first, then artifacts.
pub(crate) struct Contents {
    blobs: Root,
    artifacts: Option<ArtifactDir>,
}

/// An artifact is missing, or was changed since it was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// The artifact does not exist.
    #[error("artifact {0} is not on this device")]
    Missing(Sha256),
    /// The artifact's bytes have another digest or size.
    #[error("artifact {0} is not what its digest says")]
    Changed(Sha256),
}

/// A stream that fails at its end, or as soon as it is too long, unless it has the expected digest and
/// size.
pub(crate) struct Checked<R> {
    inner: R,
    hasher: Option<Hasher>,
    left: u64,
    digest: Sha256,
}

impl ArtifactError {
    /// Extracts this error from an I/O error.
    pub(crate) fn find_in(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref()).copied()
    }
}

impl From<ArtifactError> for io::Error {
    fn from(error: ArtifactError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl Contents {
    pub(crate) const fn new(blobs: Root, artifacts: Option<ArtifactDir>) -> Self {
        Self { blobs, artifacts }
    }

    /// Opens the bytes with this digest and size, from either source.
    pub(crate) fn open(&self, digest: Sha256, size: u64) -> io::Result<Checked<File>> {
        let file = self.find(digest)?;
        if file.metadata()?.len() != size {
            return Err(ArtifactError::Changed(digest).into());
        }
        Ok(Checked::new(file, digest, size))
    }

    /// Opens the bytes with this digest, whatever their size.
    pub(crate) fn open_any(&self, digest: Sha256) -> io::Result<Checked<File>> {
        let file = self.find(digest)?;
        let size = file.metadata()?.len();
        Ok(Checked::new(file, digest, size))
    }

    fn find(&self, digest: Sha256) -> io::Result<File> {
        if let Some(blob) = self.blob(digest).open().map_err(io::Error::other)? {
            return Ok(blob);
        }
        let missing = ArtifactError::Missing(digest).into();
        let Some(ArtifactDir(directory)) = &self.artifacts else { return Err(missing) };
        match Entry::from_path(&directory.join(digest.to_string())).and_then(|entry| entry.open()) {
            Ok(found) => found.ok_or(missing),
            // A link or a FIFO in place of the artifact.
            Err(FilesError::Blocked { .. }) => Err(ArtifactError::Changed(digest).into()),
            Err(FilesError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Err(missing),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Returns true if the blob exists.
    pub(crate) fn has(&self, digest: Sha256) -> Result<bool, FilesError> {
        self.blob(digest).open().map(|blob| blob.is_some())
    }

    /// Stores bytes as a blob.
    pub(crate) fn keep(&self, bytes: &[u8]) -> Result<(), FilesError> {
        let digest = Sha256::of(bytes);
        self.keep_from(bytes, digest, bytes.len() as u64)
    }

    /// Stores a stream as a blob, if it has the expected digest and size.
    pub(crate) fn keep_from(&self, stream: impl Read, digest: Sha256, size: u64) -> Result<(), FilesError> {
        if self.has(digest)? {
            return Ok(());
        }
        self.blob(digest).write(Attributes::with_mode(files::PRIVATE_FILE), |file| {
            io::copy(&mut Checked::new(stream, digest, size), file).map(drop)
        })
    }

    /// Stores an artifact as a blob, out of reach of the user who fetched it.
    pub(crate) fn keep_artifact(&self, digest: Sha256, size: u64) -> Result<(), FilesError> {
        if self.has(digest)? {
            return Ok(());
        }
        let stream = self
            .open(digest, size)
            .map_err(|source| FilesError::Read { path: self.blob_path(digest), source })?;
        self.keep_from(stream.inner, digest, size)
    }

    /// Removes every blob that is not in `named`.
    pub(crate) fn keep_only(&self, named: &BTreeSet<Sha256>) -> Result<(), FilesError> {
        let failed = |source| FilesError::Read { path: self.blobs.path().to_owned(), source };
        for found in self.blobs.path().read_dir().map_err(failed)? {
            let name = found.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.parse().is_ok_and(|digest| named.contains(&digest)) {
                continue;
            }
            self.blobs.name(name).remove()?;
        }
        Ok(())
    }

    /// Returns the path of a blob.
    pub(crate) fn blob_path(&self, digest: Sha256) -> PathBuf {
        self.blobs.path().join(digest.to_string())
    }

    fn blob(&self, digest: Sha256) -> Entry {
        self.blobs.name(&digest.to_string())
    }
}

impl<R: Read> Checked<R> {
    pub(crate) fn new(inner: R, digest: Sha256, size: u64) -> Self {
        Self { inner, hasher: Some(Hasher::new()), left: size, digest }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.inner.read(buffer)?;
        let changed = || io::Error::from(ArtifactError::Changed(self.digest));
        if read == 0 {
            let intact =
                self.hasher.take().is_none_or(|hasher| self.left == 0 && hasher.finish() == self.digest);
            return if intact { Ok(0) } else { Err(changed()) };
        }
        self.left = self.left.checked_sub(read as u64).ok_or_else(changed)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..read).unwrap_or_default());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: &[u8]) -> io::Result<u64> {
        let mut checked = Checked::new(bytes, Sha256::of(expected), expected.len() as u64);
        io::copy(&mut checked, &mut io::sink())
    }

    #[test]
    fn a_stream_is_believed_only_at_its_end() {
        assert_eq!(check(b"right", b"right").unwrap(), 5);
        assert_eq!(check(b"", b"").unwrap(), 0);
        for wrong in [&b"wrong"[..], b"righ", b"rightt", b""] {
            let error = check(wrong, b"right").unwrap_err();
            assert!(matches!(ArtifactError::find_in(&error), Some(ArtifactError::Changed(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_changed_artifact_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let (blobs, artifacts) = (directory.path().join("blobs"), directory.path().join("artifacts"));
        for made in [&blobs, &artifacts] {
            files::make_directory(made, files::PRIVATE_DIRECTORY).unwrap();
        }
        let digest = Sha256::of(b"right");
        files::replace(&artifacts.join(digest.to_string()), b"wrong", files::PUBLIC_FILE).unwrap();
        let contents = Contents::new(Root::open(&blobs).unwrap(), Some(ArtifactDir(artifacts.clone())));
        assert!(contents.keep_artifact(digest, 5).is_err());
        assert_eq!(blobs.read_dir().unwrap().count(), 0);
        files::replace(&artifacts.join(digest.to_string()), b"right", files::PUBLIC_FILE).unwrap();
        contents.keep_artifact(digest, 5).unwrap();
        contents.keep(b"other").unwrap();
        contents.keep_only(&BTreeSet::from([digest])).unwrap();
        assert_eq!(blobs.read_dir().unwrap().count(), 1);
        assert!(matches!(
            ArtifactError::find_in(&contents.open(Sha256::of(b"gone"), 4).err().unwrap()),
            Some(ArtifactError::Missing(_))
        ));
    }
}
