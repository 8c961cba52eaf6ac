//! Pure data and rules of Unbox: what device, factory station and server must agree on.
//!
//! Nothing here reads a file, a clock or a socket, or makes a random number: time and
//! randomness are arguments. The way through it is the way of an enrollment:
//!
//! * [`identity`]: what a device says it is, and which identifiers are worth anything;
//! * [`maker`]: forms that makers give their numbers;
//! * [`label`]: what a bar code scanner typed, and what of it names a device;
//! * [`models`] and [`eligibility`]: whether a unit can be registered by a certified device ID, and what
//!   to register;
//! * [`matching`]: which claim that identity belongs to;
//! * [`doubt`]: what of a claim no device will show;
//! * [`machine`]: whether a machine is the known one or another;
//! * [`claims_file`]: the files in which devices are named by the thousand;
//! * [`protocol`]: the messages between device and server, and the handshake's transcript;
//! * [`refusal`]: every reason for a "no", and what a device then does;
//! * [`payload`]: what is to be installed;
//! * [`protected`]: what of a device no policy reaches, or only with an explicit word;
//! * [`text`]: which characters people can be shown;
//! * [`trust`]: who may say so;
//! * [`attestation`]: what a TPM says of its keys, and whether it is so.

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
