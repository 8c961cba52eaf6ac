//! The catalogue of DPCs that customers choose from when they configure over the network.

use crate::domain::name::Name;
use serde::Serialize;
use unbox_common::{
    payload::{Dpc, DpcKind},
    timestamp::Timestamp,
};

/// The largest description of a DPC, in bytes.
pub const MAX_DPC_BYTES: usize = 64 * 1024;

/// A DPC in the catalogue. It has no extras, because they are the customer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CatalogueDpc {
    /// The name that people use for it.
    pub title: Name,
    /// The DPC to install.
    pub dpc: Dpc,
    /// The time at which it was added.
    pub created_at: Timestamp,
    /// The time of its last change.
    pub updated_at: Timestamp,
}

/// A DPC that cannot be in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDpc {
    /// The description is too large.
    #[error("is larger than {MAX_DPC_BYTES} bytes")]
    TooLarge,
    /// The text is not JSON of the right form; the parser's message names line, column and field.
    #[error("is not a DPC: {0}")]
    Unreadable(String),
    /// The description has extras, which belong to configurations.
    #[error("holds `extras`, which belong to the configurations that use it: leave them out here")]
    Extras,
    /// No device of this version can install it.
    #[error("is of kind sysext, which no device installs yet")]
    Unsupported,
}

/// Reads the description of a DPC: the `dpc` part of a configuration document, without extras.
///
/// # Errors
/// Returns [`InvalidDpc`] with the first fault.
pub fn parse(text: &str) -> Result<Dpc, InvalidDpc> {
    if text.len() > MAX_DPC_BYTES {
        return Err(InvalidDpc::TooLarge);
    }
    let dpc: Dpc = serde_json::from_str(text).map_err(|error| InvalidDpc::Unreadable(error.to_string()))?;
    if !dpc.extras.is_empty() {
        return Err(InvalidDpc::Extras);
    }
    if dpc.kind == DpcKind::Sysext { Err(InvalidDpc::Unsupported) } else { Ok(dpc) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DPC: &str = r#"{"name":"acme-dpc","version":"1","kind":"tar","artifact":{"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":1}}"#;

    #[test]
    fn a_dpc_of_the_catalogue_is_the_part_of_a_document_that_all_customers_share() {
        assert_eq!(parse(DPC).unwrap().name.to_string(), "acme-dpc");
        assert_eq!(parse(&DPC.replacen('{', r#"{"extras":{"site":"x"},"#, 1)), Err(InvalidDpc::Extras));
        assert_eq!(parse(&DPC.replace("tar", "sysext")), Err(InvalidDpc::Unsupported));
        assert_eq!(parse(&" ".repeat(MAX_DPC_BYTES + 1)), Err(InvalidDpc::TooLarge));
        assert!(matches!(parse("{}"), Err(InvalidDpc::Unreadable(_))));
    }
}
