//! The Unbox enrollment server: devices ask over HTTPS, administrators over a command line.
//!
//! A request goes `route -> service -> domain`, and `service -> store` for everything durable. Beside
//! that way stand the [`keys`] that sign and issue, and [`files`], the one place that writes files.

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
