//! The pure data and rules of Unbox, on which device, factory station and server must agree.
//!
//! Nothing here reads a file, a clock or a socket, or draws a random number: time and randomness
//! are arguments. The modules follow the way of an enrollment:
//!
//! * [`identity`]: a device's identifiers, and their strength;
//! * [`maker`]: forms that makers give their numbers;
//! * [`label`]: texts from a bar code scanner, and the identifiers in them;
//! * [`models`] and [`eligibility`]: the check whether a unit can be registered by a certified device ID,
//!   and what to register;
//! * [`matching`]: the claim that an identity belongs to;
//! * [`doubt`]: identifiers of a claim that no device will show;
//! * [`machine`]: the check whether a machine is the known one or another;
//! * [`claims_file`]: the files that name devices by the thousand;
//! * [`protocol`]: the messages between device and server, and the handshake's transcript;
//! * [`refusal`]: every reason for a "no", and the device's reaction;
//! * [`payload`]: the software and settings to install;
//! * [`protected`]: the parts of a device that no policy reaches, or only an explicitly privileged one;
//! * [`text`]: the characters that may be shown to people;
//! * [`trust`]: the keys that may sign it, and the verification of their signatures;
//! * [`attestation`]: a TPM's statements about its keys, and their verification.

pub mod attestation;
pub mod bytes;
pub mod claims_file;
pub mod date;
pub mod digest;
pub mod doubt;
pub mod eligibility;
pub mod identity;
pub mod ids;
pub mod label;
pub mod machine;
pub mod maker;
pub mod matching;
pub mod models;
pub mod path;
pub mod payload;
pub mod protected;
pub mod protocol;
pub mod refusal;
pub mod secret;
pub mod text;
pub mod timestamp;
pub mod trust;
