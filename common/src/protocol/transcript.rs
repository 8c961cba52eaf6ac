//! The bytes that a device signs to prove that it took part in this handshake, and in no other.

use super::v1::ProofKind;
use crate::{bytes::Nonce, digest::Sha256};

/// The start of every transcript: a signature made here means nothing anywhere else.
const DOMAIN: &[u8] = b"unbox handshake v1\0";

/// Returns the bytes that the device key signs, and the server checks.
///
/// They bind the exact `hello` as it was sent (identity, key, nonce of the device), the exact
/// ticket, the nonce of the server, and the required proof. Every part has a fixed length, so no two
/// handshakes share a transcript.
#[must_use]
pub fn transcript(hello: Sha256, ticket: &[u8], server_nonce: &Nonce, proof: ProofKind) -> Vec<u8> {
    let proof = Sha256::of(proof.name().as_bytes());
    [DOMAIN, &hello.0, &Sha256::of(ticket).0, server_nonce.as_ref(), &proof.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::FixedBytes;

    #[test]
    fn every_part_changes_the_transcript() {
        let hello = Sha256::of(b"hello");
        let base = transcript(hello, b"ticket", &FixedBytes([1; 32]), ProofKind::Identifiers);
        for other in [
            transcript(Sha256::of(b"hullo"), b"ticket", &FixedBytes([1; 32]), ProofKind::Identifiers),
            transcript(hello, b"tickets", &FixedBytes([1; 32]), ProofKind::Identifiers),
            transcript(hello, b"ticket", &FixedBytes([2; 32]), ProofKind::Identifiers),
            transcript(hello, b"ticket", &FixedBytes([1; 32]), ProofKind::Token),
        ] {
            assert_ne!(base, other);
            assert_eq!(base.len(), other.len());
        }
    }
}
