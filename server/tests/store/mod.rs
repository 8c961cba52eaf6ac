//! The battery of the store.

mod accounts;
mod audit;
mod claims;
mod companies;
mod devices;
mod opening;
mod writer;
