//! What devices with a TPM prove, checked without one.
//!
//! `certificate.rs` reads the certificates of endorsement keys, `path.rs` follows them to the
//! manufacturers' roots, `roots.rs` holds those, and `credential.rs` seals a secret that one TPM alone can open
//! (`TPM2_MakeCredential`). What a TPM states is read and checked in `unbox_common::attestation`.

mod certificate;
mod credential;
mod introduction;
mod path;
mod roots;

pub use certificate::{EndorsementCertificate, InvalidEkCertificate, Untraceable};
pub use credential::{EndorsementKey, NotAnEndorsementKey, SealError};
pub use introduction::{Introduction, NotIntroduced};
pub use roots::{RootsError, TpmRoots};
