//! The driver runs the stages, each alone as units do or all of them in one process, with the same code. It
//! decides which stage comes next, when something is tried again, and the exit status in the end.
//!
//! The privileged side reads and writes the ledger and the device (`apply.rs`). The network side enrolls
//! (`enroll.rs`), fetches (`fetch.rs`), reports and checks in (`round.rs`), by the state of its files
//! (`state.rs`).

mod apply;
mod enroll;
mod error;
mod fetch;
mod lock;
mod ready;
mod reset;
mod round;
mod run;
mod session;
pub(crate) mod stages;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use reset::{Reset, reset};
pub(crate) use round::When;
pub(crate) use run::run as run_all;
pub(crate) use session::Session;
