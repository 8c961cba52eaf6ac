//! Stage 4, `payload`: verifies a payload, and fetches its artifacts.
//!
//! In: a grant. Out: an `AcceptedPayload`, signed by keys that this device trusts and judged to be for
//! this device, this enrollment and this time, with every artifact on disk. Both sides of the device
//! accept by the same function: the network side before it fetches, and the privileged side again before
//! it installs, because it trusts nothing in the exchange.

mod accept;
mod error;
mod incoming;
pub mod io;

pub use accept::{Requester, accept, version_of};
pub use error::{ArtifactHostError, GrantError, Rejection, StorageError};

#[cfg(test)]
pub(crate) use accept::tests as fixtures;
