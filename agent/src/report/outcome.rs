//! How an installation ended, as the privileged side tells the network side.

use serde::{Deserialize, Serialize};
use unbox_common::{
    digest::Sha256,
    ids::Generation,
    protocol::{latest::Outcome, progress::Progress},
    timestamp::Timestamp,
};

/// The largest outcome file that is read, in bytes.
pub(super) const MAX_OUTCOME_BYTES: u64 = 512 * 1024;

/// The most progress entries that one installation notes.
const MAX_ENTRIES: usize = 256;

/// One thing that happened, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted {
    /// When, by the device's clock.
    pub at: Timestamp,
    /// What.
    pub progress: Progress,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// `outcome.json`: the last word about one grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeFile {
    /// The enrollment.
    pub generation: Generation,
    /// Digest of the grant that it is about.
    pub grant: Sha256,
    /// What happened on the way, oldest first.
    pub entries: Vec<Noted>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the privileged side tries the same grant again, because the reason may pass.
    #[serde(default)]
    pub tries_again: bool,
}

impl OutcomeFile {
    /// The last word about a grant; of very many entries, the last ones.
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

    /// What tells this outcome from every other, also of the same grant.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}
