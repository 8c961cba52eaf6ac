//! Stage 3, `handshake`: proves to the server which device this is.
//!
//! In: `BootContext` and `HardwareIdentity`. Out: [`Granted`], which only the last state makes. The
//! states consume themselves, so that no message can be sent twice or out of order:
//!
//! ```text
//! Start --hello--> AwaitChallenge --challenge--> Prove --prove--> AwaitGrant --grant--> Granted
//! ```
//!
//! Nothing of it is stored: after a power cut, the exchange starts again with a new nonce. It takes two
//! round trips on one connection. [`key_file`] is the file of the device's key, and [`io`] one attempt.

mod certificate;
mod exchange;
pub mod io;
mod key;
pub mod key_file;

pub use certificate::{CertificateChain, InvalidCertificate};
pub use exchange::{AwaitChallenge, AwaitGrant, ExchangeError, Granted, Prove, Start};
pub use key::{DeviceKey, KeyError};

#[cfg(test)]
pub(crate) use certificate::tests::{certificate as certificate_of, certificate_of_spki};
