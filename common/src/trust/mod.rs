//! Trust in documents: signatures over payloads, over signing roots and over handshakes.
//!
//! This is the one place that verifies a signature. A [`Signed`] value cannot be read; its
//! only way out is [`Signed::verify`], and the result, [`Verified`], cannot be made in any
//! other way.

mod device_key;
mod dsse;
mod keys;
mod root;

pub use device_key::{DeviceKeySignature, DevicePublicKey, NotADeviceKey};
pub use dsse::{Envelope, Signable, Signature, Signed, Verified, VerifyError, sign};
pub use keys::{InvalidKeySet, KeyId, KeySet, NotASigningKey, PublicKey, SigningKey};
pub use root::{InvalidTlsAnchors, RootRejected, SigningRoot, TlsAnchors};
