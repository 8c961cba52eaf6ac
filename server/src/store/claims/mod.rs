//! Claims, and the long-running operations on them.

pub(super) mod claim;
mod operations;
mod reseller_claims;

pub use claim::{
    ClaimCandidate, ClaimFilter, KeyHolder, MAX_CLAIMS_OF_KEY, MAX_CLAIMS_OF_KEY_AND_COMPANY, MAX_NEAR,
};
pub use operations::{DoneItem, QueuedItem};
pub use reseller_claims::ResellerCursor;
