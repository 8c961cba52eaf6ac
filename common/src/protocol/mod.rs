//! The messages between device and server. `PROTOCOL.md` shows them, byte for byte.
//!
//! Version 1 is the only one, and the latest. To add a version: a module beside `v1.rs`, its
//! golden files, `latest` moved, and the old module left as it is for as long as devices in the
//! field speak it. To add a message to a version: its type, its size limit in [`limits`], its
//! golden file, and its place in `PROTOCOL.md`.

pub mod limits;
pub mod problem;
pub mod progress;
pub mod transcript;
pub mod v1;

pub use v1 as latest;
