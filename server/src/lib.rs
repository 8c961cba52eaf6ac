//! The Unbox enrollment server: devices ask over HTTPS, administrators over a command line.
//!
//! The way of a request is `route -> service -> domain`, and `service -> store` for what must
//! last. Beside that way stand the [`keys`] that sign and issue, and [`files`], the one place
//! that writes any.

pub mod backup;
pub mod cli;
pub mod clock;
pub mod config;
pub mod disk;
pub mod domain;
pub mod entropy;
pub mod files;
pub mod keys;
pub mod log;
pub mod route;
pub mod serve;
pub mod service;
pub mod store;
pub mod tpm;
