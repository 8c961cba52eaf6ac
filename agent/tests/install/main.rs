//! The install stage as a whole: on a model that can lose power at any instant, and in real
//! sandbox roots with real archives and packages.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "what a test needs and does not get ends it, in helpers as well; what it prepares need not be atomic"
)]

mod aftermath;
mod cuts;
mod device;
mod faults;
mod kills;
mod owners;
mod packages;
mod payloads;
mod property;
mod refusals;
mod sandbox;
mod swapped;
mod unfit;
mod unit_files;
