//! The device side of Unbox: from power-on to managed, and then out of the way.
//!
//! A folder is a stage, and each hands the next one type that only it can make:
//!
//! ```text
//! boot -> identity -> handshake -> payload -> install -> report
//! BootContext -> HardwareIdentity -> Grant -> AcceptedPayload -> StagedInstall -> Outcome
//! ```
//!
//! Each stage is its contract (`mod.rs`), pure files, and one `io.rs`. What they share lies
//! beside them: the ledger, the clock, randomness, files, programs, and the console. Beside
//! the way of a device stands the [`station`], which tests it before it is shipped.

pub mod boot;
pub mod cli;
pub mod clock;
pub mod console;
pub mod entropy;
pub mod failure;
pub mod files;
pub mod handover;
pub mod handshake;
pub mod identity;
pub mod install;
pub mod ledger;
pub mod machine;
pub mod models;
pub mod pacer;
pub mod payload;
pub mod programs;
pub mod report;
pub mod retry;
pub mod station;
pub mod tpm;

#[cfg(test)]
mod test_server;
