//! The test station of a factory: predicts, before a unit is shipped, whether it will enroll in the
//! field.
//!
//! In: the survey of a machine, and the data from label, order and claim. Out: a [`Judgement`], pass, fail
//! or needs attention, with every mismatch named.
//!
//! * [`verdict`]: the verdict about a unit; [`verify`]: its computation, a pure function; [`machine`]:
//!   the part of a survey that it needs; [`wording`]: the names and values in its messages;
//! * [`label`], [`order`], [`duplicates`]: the sources for a unit, and against it;
//! * [`check`]: one unit with all its sources; [`units`]: thousands of them; [`shift`]: one after the
//!   other, with a log that survives a power cut; [`test_station`]: a station at that work, and
//!   [`screen`]: its full-screen form;
//! * [`server_client`]: the server's knowledge of units; [`factory`]: a device's key and trust, and its
//!   registration;
//! * [`print`]: the label of a unit; [`printer`]: its output;
//! * [`report`], [`junit`]: the output for people and programs;
//! * [`io`]: the files of all this; [`cli`]: the command line.
//!
//! To add a reason: its variant in [`Reason`] with its short name, its sentences where it is found, and a
//! row in the tests there.

pub mod check;
pub mod cli;
pub mod duplicates;
pub mod factory;
#[cfg(test)]
mod fixture;
pub mod io;
pub mod junit;
pub mod label;
pub mod machine;
pub mod order;
pub mod print;
pub mod printer;
pub mod report;
pub mod screen;
pub mod server_client;
pub mod shift;
pub mod test_station;
pub mod units;
pub mod verdict;
pub mod verify;
pub mod wording;

pub use verdict::{Finding, Judgement, Reason, Verdict, Witness};
