//! Harness of Unbox's tests, benchmark and demo: the only place that sees both sides.

pub mod api;
pub mod architecture;
pub mod bench;
pub mod binaries;
pub mod chaos;
pub mod clock;
pub mod copied_identity;
mod debian;
pub mod dist;
pub mod dpc;
pub mod files;
pub mod fleet;
pub mod host;
pub mod process;
pub mod sandbox;
pub mod scene;
pub mod seed;
pub mod server;
pub mod swtpm;
pub mod vm;
pub mod world;
