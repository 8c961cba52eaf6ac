//! Claims, the rules by which devices are registered, and operations on many of them.

pub mod chromeos;
pub mod claim;
pub mod operation;
pub mod registration;
