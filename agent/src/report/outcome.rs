//! The outcome of an installation, from the privileged side to the network side.

use serde::{Deserialize, Serialize};
use unbox_common::{
    digest::Sha256,
    ids::Generation,
    protocol::{latest::Outcome, progress::Progress},
    timestamp::Timestamp,
};

/// The largest outcome file that is read, in bytes.
pub(super) const MAX_OUTCOME_BYTES: u64 = 512 * 1024;

/// The most progress entries of one installation.
const MAX_ENTRIES: usize = 256;

/// One progress entry with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// The time, by the device's clock.
    pub at: Timestamp,
    /// The progress.
    pub progress: Progress,
    /// Details, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `outcome.json`: the last word about one grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeFile {
    /// The generation of the enrollment.
    pub generation: Generation,
    /// Digest of the grant.
    pub grant: Sha256,
    /// The progress entries, oldest first.
    pub entries: Vec<Noted>,
    /// The outcome.
    pub outcome: Outcome,
    /// True if the privileged side tries the same grant again, because the reason may be temporary.
    #[serde(default)]
    pub tries_again: bool,
}

impl OutcomeFile {
    /// Makes the last word about a grant; excess entries are dropped, oldest first.
    #[must_use]
    pub fn new(
        generation: Generation,
        grant: Sha256,
        mut entries: Vec<Noted>,
        outcome: Outcome,
        tries_again: bool,
    ) -> Self {
        entries.drain(..entries.len().saturating_sub(MAX_ENTRIES));
        Self { generation, grant, entries, outcome, tries_again }
    }

    /// Returns the digest, which distinguishes this outcome from all others, even of the same grant.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}
