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

/// A token on a removable medium.
#[path = "../../agent/src/boot"]
pub mod boot {
    pub mod fat;
    pub mod token;
}

/// The properties of a device tree.
#[expect(dead_code, reason = "the agent uses more of it than a target does")]
#[path = "../../agent/src/identity/device_tree.rs"]
pub mod device_tree;

/// Certificates of endorsement keys: the server's own files, with the roots without the folder that
/// they come from.
#[path = "../../server/src/tpm"]
pub mod tpm {
    pub mod certificate;
    pub mod path;

    /// Certificates to one of which a TPM's must lead.
    pub struct TpmRoots(pub Vec<Vec<u8>>);

    impl TpmRoots {
        /// The server's own look-up, without its map.
        pub(super) fn with_subject(&self, subject: &[u8]) -> impl Iterator<Item = &[u8]> {
            let issued_as =
                move |der: &&[u8]| certificate::read(der).is_ok_and(|it| it.subject().as_raw() == subject);
            self.0.iter().map(Vec::as_slice).filter(issued_as)
        }
    }
}
