//! The test station of a factory: whether a unit will enroll in the field, said before it is shipped.
//!
//! In: what a machine shows (a `Survey`), and what label, order and claim say. Out: a [`Judged`], pass,
//! fail or needs attention, with every mismatch named.
//!
//! * [`verdict`]: what is said about a unit; [`verify`]: how it comes about, a pure function; [`machine`]:
//!   what of a survey it needs; [`words`]: in which words;
//! * [`label`], [`order`], [`seen`]: what speaks for a unit, and what against it;
//! * [`check`]: one unit with everything that belongs to it; [`units`]: thousands of them; [`shift`]: one
//!   after the other, with a log that survives a power cut; [`bench`]: a station at that work, and
//!   [`screen`]: its full-screen form;
//! * [`office`]: what the server knows of units; [`factory`]: a device's key and trust, and its record;
//! * [`print`]: the label that a unit gets; [`printer`]: where it goes;
//! * [`report`], [`junit`]: what people and programs read of it;
//! * [`io`]: the files of all this.
//!
//! To add a reason: its variant in [`Reason`] with its short name, its sentences where it is found, and
//! a row in the tests there.

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
