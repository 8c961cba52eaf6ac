//! The shared helpers of the tests of the store and of the services.

#[macro_use]
mod database;
mod beside;
mod changed;
mod device;
mod postgres;
mod service_account;
mod signer;
mod tpm;
mod world;

pub(crate) use beside::beside;
pub(crate) use changed::change;
pub use database::TestDatabase;
pub use device::{TestDevice, certificate, check_in, report};
pub use postgres::Cluster;
pub(crate) use service_account::{PUBLIC_KEY, TestKey};
pub use signer::TestSigner;
pub(crate) use tpm::introduction;
pub use world::{MINIMAL_DOCUMENT, START, World, new_claim, refusal, serial_set};
