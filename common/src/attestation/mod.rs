//! What a TPM 2.0 says of its keys and of the firmware, read and checked without one.
//!
//! Names and layouts are those of the TPM 2.0 Library Specification, parts 1 and 2. A device asks
//! its TPM for exactly the keys that are described here, and a server takes no others: what a TPM
//! sends is compared with what it was asked for, not interpreted.
//!
//! * [`TpmPublic`]: the public half of an attestation key or a device key, with its attributes;
//! * [`verify_quote`]: the attestation key vouches for the firmware's measurements, now;
//! * [`verify_certification`]: it vouches that the device key lives in the same TPM.

mod public;
mod reader;
mod statement;

pub use public::{KeyRole, MAX_PUBLIC_BYTES, NotATpmKey, TpmPublic};
pub use statement::{
    MAX_STATEMENT_BYTES, NotAttested, QUOTED_PCRS, Qualification, verify_certification, verify_quote,
};
