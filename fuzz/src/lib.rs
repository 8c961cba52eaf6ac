//! The agent's parsers of firmware, for the fuzz targets.
//!
//! They are the agent's own files and not its library: those files need nothing, and the library
//! needs a hundred crates, which would all have to be built once more with counters.

/// The SMBIOS tables.
#[path = "../../agent/src/identity/smbios"]
pub mod smbios {
    pub mod scrub;
    pub mod table;
}

/// A partition of vital product data.
#[path = "../../agent/src/identity/vpd/partition.rs"]
pub mod partition;

/// The properties of a device tree.
#[expect(dead_code, reason = "the agent uses more of it than a target does")]
#[path = "../../agent/src/identity/device_tree.rs"]
pub mod device_tree;
