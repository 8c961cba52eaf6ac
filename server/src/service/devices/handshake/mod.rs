//! The handshake: `hello` is answered by a challenge, `prove` by a grant.
//!
//! The server's state between the two travels with the device (`ticket.rs`).

mod guess;
mod hello;
mod prior_facts;
mod prove;
mod ticket;
mod tpm;

pub use guess::Guess;
pub use hello::{Heard, HelloRequest};
pub use prove::{Origin, Proof};

use crate::service::ServiceError;
use serde::de::DeserializeOwned;
use unbox_common::{protocol::limits::MAX_AGENT_VERSION_BYTES, refusal::RefusalKind};

/// Parses a message of at most `limit` bytes.
pub(super) fn read_message<T: DeserializeOwned>(body: &[u8], limit: usize) -> Result<T, ServiceError> {
    let unsupported =
        |detail: String| Err(ServiceError::refusal_with_detail(RefusalKind::UnsupportedProtocol, detail));
    if body.len() > limit {
        return unsupported(format!("The message is larger than {limit} bytes."));
    }
    // The parser's message may repeat part of the input, such as a token.
    serde_json::from_slice(body).or_else(|error| {
        unsupported(format!(
            "The message cannot be read at line {}, column {}.",
            error.line(),
            error.column()
        ))
    })
}

/// Checks an agent's version, which is stored and shown: it must be short and printable.
pub(super) fn check_agent_version(version: &str) -> Result<(), ServiceError> {
    let printable = version.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if printable && version.len() <= MAX_AGENT_VERSION_BYTES {
        Ok(())
    } else {
        let detail =
            format!("The agent's version is not {MAX_AGENT_VERSION_BYTES} printable characters or less.");
        Err(ServiceError::refusal_with_detail(RefusalKind::UnsupportedProtocol, detail))
    }
}
