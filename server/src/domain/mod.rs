//! The server's knowledge and rules, without I/O: entities, their states, and decisions, in one folder for each
//! context of `service`.
//!
//! Nothing here reads a clock, a database or a socket: services pass in what the rules need. The heart is
//! [`devices::admission`], which decides who is admitted, who waits and who is refused.

mod closed_set;

pub mod catalogue;
pub mod claims;
pub mod devices;
pub mod factory;
pub mod ids;
pub mod name;
pub mod tenancy;
