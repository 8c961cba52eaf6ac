//! A TPM 2.0's statements about its keys and the firmware, read and checked without a TPM.
//!
//! Names and layouts are those of the TPM 2.0 Library Specification, parts 1 and 2. A device asks
//! its TPM for exactly the keys that are described here, and a server accepts no others: a TPM's
//! answer is compared with the request, not interpreted.
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
