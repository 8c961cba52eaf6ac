//! The TPM's identifier, from its endorsement key, by which its manufacturer knows it.

use super::Candidate;
use unbox_common::{
    digest::Sha256,
    identity::{IdentifierKind, Source},
};

/// Makes the identifier of a TPM: the digest of its endorsement key.
pub(super) fn candidate(endorsement_key: Sha256, from: String) -> Candidate {
    Candidate { kind: IdentifierKind::TpmKey, value: endorsement_key.to_string(), source: Source::Tpm, from }
}
