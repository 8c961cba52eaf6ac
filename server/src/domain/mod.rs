//! The server's knowledge and rules, without I/O: entities, their states, and decisions.
//!
//! Nothing here reads a clock, a database or a socket: services pass in what the rules need. The heart is
//! [`admission`], which decides who is admitted, who waits and who is refused.

mod closed_set;

pub mod access;
pub mod account;
pub mod actor;
pub mod admission;
pub mod artifact;
pub mod audit;
pub mod chromeos;
pub mod claim;
pub mod company;
pub mod configuration;
pub mod credential;
pub mod device;
pub mod dpc;
pub mod factory;
pub mod ids;
pub mod name;
pub mod network;
pub mod operation;
pub mod registration;
pub mod token;
