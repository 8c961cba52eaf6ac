//! An artifact during its download: the offset to resume at, and the checks of size and digest.

use super::{ArtifactHostError, Rejection};
use unbox_common::{
    digest::{Hasher, Sha256},
    payload::Artifact,
};

/// The bytes received so far of one artifact, checked against its size and, in the end, its digest.
#[derive(Clone)]
pub(super) struct Incoming {
    digest: Sha256,
    size: u64,
    received: u64,
    hasher: Hasher,
}

impl Incoming {
    /// Begins with no bytes.
    pub(super) fn new(artifact: &Artifact) -> Self {
        Self { digest: artifact.sha256, size: artifact.size, received: 0, hasher: Hasher::new() }
    }

    /// Returns the number of bytes received.
    pub(super) const fn received_bytes(&self) -> u64 {
        self.received
    }

    /// Returns true if all bytes were received.
    pub(super) const fn is_complete(&self) -> bool {
        self.received == self.size
    }

    /// Discards the bytes received.
    pub(super) fn reset(&mut self) {
        self.received = 0;
        self.hasher = Hasher::new();
    }

    /// Takes the next bytes; one byte too many is refused before it is stored.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Rejection> {
        let received = self.received.saturating_add(bytes.len() as u64);
        if received > self.size {
            return Err(self.wrong_size());
        }
        self.hasher.update(bytes);
        self.received = received;
        Ok(())
    }

    /// Checks the complete artifact.
    pub(super) fn finish(self) -> Result<(), Rejection> {
        if !self.is_complete() {
            return Err(self.wrong_size());
        }
        let found = self.hasher.finish();
        if found == self.digest {
            Ok(())
        } else {
            Err(Rejection::ArtifactDigest { expected: self.digest, found })
        }
    }

    /// Checks the headers of an answer before its first byte is read. `from` is the requested offset;
    /// returns the actual one: `from`, or the beginning.
    pub(super) fn check_start(&self, from: u64, answer: Announced<'_>) -> Result<u64, AnswerError> {
        let start = match answer {
            Announced { is_part: false, .. } => 0,
            Announced { content_range: Some(range), .. }
                if range == format!("bytes {from}-{}/{}", self.size.saturating_sub(1), self.size) =>
            {
                from
            }
            _ => return Err(AnswerError::Host(ArtifactHostError::WrongRange)),
        };
        match answer.length {
            Some(length) if length != self.size - start => Err(AnswerError::Rejected(self.wrong_size())),
            _ => Ok(start),
        }
    }

    const fn wrong_size(&self) -> Rejection {
        Rejection::ArtifactSize { digest: self.digest, size: self.size }
    }
}

/// The headers of an answer that describe its body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Announced<'a> {
    /// True if the status is 206.
    pub(super) is_part: bool,
    /// `Content-Range`.
    pub(super) content_range: Option<&'a str>,
    /// `Content-Length`.
    pub(super) length: Option<u64>,
}

/// The reason not to read an answer.
#[derive(Debug)]
pub(super) enum AnswerError {
    Host(ArtifactHostError),
    Rejected(Rejection),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(bytes: &[u8]) -> Artifact {
        Artifact { sha256: Sha256::of(bytes), size: bytes.len() as u64, url: None }
    }

    #[test]
    fn only_the_announced_bytes_are_the_artifact() {
        let take = |chunks: &[&[u8]]| {
            let mut incoming = Incoming::new(&artifact(b"0123456789"));
            chunks.iter().try_for_each(|chunk| incoming.push(chunk))?;
            incoming.finish()
        };
        assert!(take(&[b"01234", b"", b"56789"]).is_ok());
        assert!(matches!(take(&[b"01234"]), Err(Rejection::ArtifactSize { .. })));
        assert!(matches!(take(&[b"01234", b"567890"]), Err(Rejection::ArtifactSize { .. })));
        assert!(matches!(take(&[b"01234", b"56780"]), Err(Rejection::ArtifactDigest { .. })));
    }

    #[test]
    fn an_answer_says_where_it_starts() {
        let incoming = Incoming::new(&artifact(b"0123456789"));
        let at = |from, is_part, content_range, length| {
            let answer = Announced { is_part, content_range, length };
            incoming.check_start(from, answer).ok()
        };
        assert_eq!(at(4, true, Some("bytes 4-9/10"), Some(6)), Some(4));
        assert_eq!(at(4, false, None, Some(10)), Some(0), "the server sends it whole");
        assert_eq!(at(0, false, None, None), Some(0));
        assert_eq!(at(4, true, Some("bytes 3-9/10"), Some(7)), None);
        assert_eq!(at(4, true, Some("bytes 4-9/*"), Some(6)), None);
        assert_eq!(at(4, true, None, Some(6)), None);
        assert_eq!(at(4, true, Some("bytes 4-9/10"), Some(7)), None);
        assert_eq!(at(0, false, None, Some(11)), None);
    }
}
