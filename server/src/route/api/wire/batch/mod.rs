//! `/batch`: many requests in one, as parts of a `multipart/mixed` body (RFC 2046, section 5.1),
//! each an HTTP/1.1 request of its own, and their answers in the same order.

mod read;
mod write;

pub use read::parse;
pub use write::BatchWriter;

use axum::{body::Bytes, http::Request};

/// The most requests of one batch.
pub const MAX_BATCH_PARTS: usize = 1000;
/// The largest batch, in bytes.
pub const MAX_BATCH_BYTES: usize = 20 * 1024 * 1024;

/// The client's name for one request of a batch, such as `<item1>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentId(String);

/// One request of a batch.
#[derive(Debug)]
pub struct BatchedRequest {
    /// Its name, if the client gave one.
    pub id: Option<ContentId>,
    /// The request; its target is a path and perhaps a query.
    pub request: Request<Bytes>,
}
