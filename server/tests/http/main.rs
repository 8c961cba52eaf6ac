//! Requests to a real server over real TLS, laid out like the paths: status, exact body, and
//! that nothing else changed.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what a helper cannot do fails the test")]

mod api;
mod artifacts;
#[path = "../support/beside.rs"]
mod beside;
mod claims_file;
mod connections;
mod device;
mod health;
mod log;
mod organisations;
mod packed;
mod retention;
#[path = "../support/service_account.rs"]
mod service_account;
mod support;
mod token;
#[path = "../support/tpm.rs"]
mod tpm;
