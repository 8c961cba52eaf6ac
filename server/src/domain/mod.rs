//! What the server knows and decides, without I/O: entities, their states, and the rules.
//!
//! Nothing here reads a clock, a database or a socket: services hand in what the rules need.
//! The heart is [`admission`]: who gets in, who waits, who is refused, and why.

mod words;

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
