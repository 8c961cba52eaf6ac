//! The TPM: its endorsement key, by which its maker knows it.

use super::Candidate;
use crate::tpm::Endorsement;
use unbox_common::identity::{IdentifierKind, Source};

/// The identifier of a TPM.
pub(super) fn candidate(endorsement: &Endorsement, from: String) -> Candidate {
    Candidate {
        kind: IdentifierKind::TpmKey,
        value: endorsement.digest().to_string(),
        source: Source::Tpm,
        from,
    }
}
