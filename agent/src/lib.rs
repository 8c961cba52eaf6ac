//! The device side of Unbox: from power-on to managed, and then out of the way.
//!
//! Each folder is a stage, and passes the next one a type that only it can make:
//!
//! ```text
//! boot -> identity -> handshake -> payload -> install -> report
//! BootContext -> HardwareIdentity -> Grant -> AcceptedPayload -> InstallOutcome -> Report
//! ```
//!
//! Each stage consists of its contract (`mod.rs`), pure files, and one `io.rs`. Shared modules are beside
//! them: the ledger, the clock, randomness, files, programs, and the console. The driver runs the stages,
//! alone or all in one process. The test station of a factory is a crate of its own (`station`), which uses
//! this one.

pub mod boot;
pub mod cli;
pub mod clock;
pub mod console;
mod driver;
pub mod entropy;
pub mod exit;
pub mod failure;
pub mod files;
pub mod handover;
pub mod handshake;
pub mod http;
pub mod identity;
pub mod install;
pub mod layout;
pub mod ledger;
pub mod machine;
pub mod models;
pub mod pacer;
pub mod payload;
pub mod programs;
pub mod report;
pub mod retry;
pub mod text;
pub mod tpm;

#[cfg(test)]
mod test_server;

/// The version of the agent, as the server and the records of the device hear it.
pub const AGENT_VERSION: &str = env!("CARGO_PKG_VERSION");
