//! Pure data and rules of Unbox: what device, factory station and server must agree on.
//!
//! Nothing here reads a file, a clock or a socket, or makes a random number: time and
//! randomness are arguments. The way through it is the way of an enrollment:
//!
//! * [`identity`]: what a device says it is, and which identifiers are worth anything;
//! * [`matching`]: which claim that identity belongs to;
//! * [`protocol`]: the messages between device and server, and the handshake's transcript;
//! * [`refusal`]: every reason for a "no", and what a device then does;
//! * [`payload`]: what is to be installed;
//! * [`trust`]: who may say so;
//! * [`attestation`]: what a TPM says of its keys, and whether it is so.

pub mod attestation;
pub mod bytes;
pub mod digest;
pub mod identity;
pub mod ids;
pub mod matching;
pub mod path;
pub mod payload;
pub mod protocol;
pub mod refusal;
pub mod secret;
pub mod timestamp;
pub mod trust;
