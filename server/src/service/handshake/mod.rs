//! The handshake: `hello` is answered by a challenge, `prove` by a grant.
//!
//! What the server must remember in between travels with the device (`ticket.rs`).

mod guess;
mod hello;
mod prior;
mod prove;
mod ticket;
mod tpm;

pub use guess::Guess;
pub use hello::{Heard, HelloRequest};
pub use prove::{Origin, Proof};

use super::ServiceError;
use serde::de::DeserializeOwned;
use unbox_common::{protocol::limits::MAX_AGENT_VERSION_BYTES, refusal::RefusalKind};

/// Parses a message of at most `limit` bytes.
pub(super) fn read_message<T: DeserializeOwned>(body: &[u8], limit: usize) -> Result<T, ServiceError> {
    let unsupported =
        |detail: String| Err(ServiceError::refused_because(RefusalKind::UnsupportedProtocol, detail));
    if body.len() > limit {
        return unsupported(format!("The message is larger than {limit} bytes."));
    }
    // The parser's message may repeat a part of the input, and a token is a part of it.
    serde_json::from_slice(body).or_else(|error| {
        unsupported(format!(
            "The message cannot be read at line {}, column {}.",
            error.line(),
            error.column()
        ))
    })
}

/// An agent's version is kept and shown: one short printable word or two.
pub(super) fn check_agent_version(version: &str) -> Result<(), ServiceError> {
    let printable = version.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if printable && version.len() <= MAX_AGENT_VERSION_BYTES {
        Ok(())
    } else {
        let detail =
            format!("The agent's version is not {MAX_AGENT_VERSION_BYTES} printable characters or less.");
        Err(ServiceError::refused_because(RefusalKind::UnsupportedProtocol, detail))
    }
}
