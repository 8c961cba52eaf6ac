//! The test station of a factory: predicts, before a unit is shipped, whether it will enroll in the
//! field.
//!
//! In: the survey of a machine, and the data from label, order and claim. Out: a [`Judged`], pass, fail
//! or needs attention, with every mismatch named.
//!
//! * [`verdict`]: the verdict about a unit; [`verify`]: its computation, a pure function; [`machine`]:
//!   the part of a survey that it needs; [`words`]: its wording;
//! * [`label`], [`order`], [`seen`]: the sources for a unit, and against it;
//! * [`check`]: one unit with all its sources; [`units`]: thousands of them; [`shift`]: one after the
//!   other, with a log that survives a power cut; [`bench`]: a station at that work, and [`screen`]: its
//!   full-screen form;
//! * [`office`]: the server's knowledge of units; [`factory`]: a device's key and trust, and its
//!   registration;
//! * [`print`]: the label of a unit; [`printer`]: its output;
//! * [`report`], [`junit`]: the output for people and programs;
//! * [`io`]: the files of all this.
//!
//! To add a reason: its variant in [`Reason`] with its short name, its sentences where it is found, and a
//! row in the tests there.

pub mod bench;
pub mod check;
pub mod factory;
#[cfg(test)]
mod fixture;
pub mod io;
pub mod junit;
pub mod label;
pub mod machine;
pub mod office;
pub mod order;
pub mod print;
pub mod printer;
pub mod report;
pub mod screen;
pub mod seen;
pub mod shift;
pub mod units;
pub mod verdict;
pub mod verify;
pub mod words;

pub use verdict::{Finding, Judged, Reason, Verdict, Witness};
