//! Every claim about store and services, held against SQLite and PostgreSQL alike.
//!
//! PostgreSQL is started by the tests themselves (`support/postgres.rs`); those tests are shown
//! as ignored by a plain `cargo test`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test stops at the first surprise, and nobody imports a test program"
)]

#[macro_use]
mod support;

mod service;
mod store;
