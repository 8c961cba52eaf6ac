//! Organisations, accounts and credentials: who acts, within which scope, and what the audit trail says of it.

pub mod access;
pub mod account;
pub mod actor;
pub mod audit;
pub mod company;
pub mod credential;
