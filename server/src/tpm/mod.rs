//! Proofs of devices with a TPM, checked without one.
//!
//! `certificate.rs` reads the certificates of endorsement keys, `path.rs` traces them to the manufacturers'
//! roots, `roots.rs` holds those, and `credential.rs` seals a secret that only one TPM can open
//! (`TPM2_MakeCredential`). A TPM's statements are read and checked in `unbox_common::attestation`.

mod certificate;
mod credential;
mod introduction;
mod path;
mod roots;

pub use certificate::{EndorsementCertificate, InvalidEkCertificate, Untraceable};
pub use credential::{EndorsementKey, NotAnEndorsementKey, SealError};
pub use introduction::{Introduction, NotIntroduced};
pub use roots::{RootsError, TpmRoots};
