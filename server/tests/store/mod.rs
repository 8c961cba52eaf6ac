//! The battery of the store.

mod accounts;
mod audit;
mod backup;
mod claims;
mod companies;
mod devices;
mod factory;
mod opening;
mod outage;
mod writer;
