//! DSSE envelopes (Dead Simple Signing Envelope, protocol version 1.0.2) over typed documents.

use super::{KeyId, KeySet, SigningKey};
use crate::bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{collections::BTreeSet, marker::PhantomData, ops::Deref};

/// The most signatures that an envelope may carry.
const MAX_SIGNATURES: usize = 16;

/// A document that can be signed.
pub trait Signable: Serialize + DeserializeOwned {
    /// Its DSSE payload type: a signature over one type is never one over another.
    const PAYLOAD_TYPE: &'static str;
    /// The largest document that is parsed, in bytes.
    const MAX_BYTES: usize;
}

/// The envelope as it travels. Nothing in it is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// The serialised document.
    pub payload: Bytes,
    /// The type of the document.
    pub payload_type: String,
    /// Signatures over payload type and payload.
    pub signatures: Vec<Signature>,
}

/// One signature in an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The key that signed: a hint for the look-up, not a statement.
    pub keyid: KeyId,
    /// The Ed25519 signature, 64 bytes.
    pub sig: Bytes,
}

/// An envelope that says it holds a `T`; it cannot be read before it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Signed<T> {
    envelope: Envelope,
    #[serde(skip)]
    document: PhantomData<fn() -> T>,
}

/// A document that enough trusted keys have signed. Only [`Signed::verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T> {
    document: T,
    signers: BTreeSet<KeyId>,
}

/// The reason why an envelope is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The envelope holds another kind of document.
    #[error("expected a document of type {expected}, found {found:?}")]
    WrongType {
        /// The type that was asked for.
        expected: &'static str,
        /// The type in the envelope, cut to 64 characters.
        found: String,
    },
    /// The document is larger than its kind may be.
    #[error("the signed document is larger than {0} bytes")]
    TooLarge(usize),
    /// More signatures than anybody needs.
    #[error("expected at most {MAX_SIGNATURES} signatures, found {0}")]
    TooManySignatures(usize),
    /// Not enough different trusted keys signed.
    #[error("{valid} of the {threshold} signatures that are needed are valid")]
    TooFewSignatures {
        /// Different trusted keys whose signature is valid.
        valid: usize,
        /// The number of signatures that are needed.
        threshold: usize,
    },
    /// The signature is right, but this agent cannot read the document: it is never half-read.
    #[error("the signed document cannot be read: {0}")]
    Unreadable(String),
}

/// Returns the bytes that are signed (DSSE 1.0.2, "PAE").
fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Signs a document with every one of `keys`.
///
/// # Errors
/// `serde_json`'s error if the document cannot be serialised.
pub fn sign<T: Signable>(document: &T, keys: &[&SigningKey]) -> Result<Signed<T>, serde_json::Error> {
    let payload = serde_json::to_vec(document)?;
    let message = pre_authentication_encoding(T::PAYLOAD_TYPE, &payload);
    let signatures = keys
        .iter()
        .map(|key| Signature { keyid: key.public().id(), sig: Bytes(key.sign(&message)) })
        .collect();
    Ok(Signed::new(Envelope {
        payload: Bytes(payload),
        payload_type: T::PAYLOAD_TYPE.to_owned(),
        signatures,
    }))
}

impl<T: Signable> Signed<T> {
    /// Takes an envelope that claims to hold a `T`.
    #[must_use]
    pub const fn new(envelope: Envelope) -> Self {
        Self { envelope, document: PhantomData }
    }

    /// Returns the envelope, to be passed on or stored.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Reads the document, if enough different keys of `trusted` signed it.
    ///
    /// Two signatures by one key count once. Signatures by unknown keys, and wrong ones, are
    /// ignored: they neither help nor harm.
    ///
    /// # Errors
    /// [`VerifyError`]; nothing of the document is parsed before the signatures are counted.
    pub fn verify(&self, trusted: &KeySet) -> Result<Verified<T>, VerifyError> {
        let Envelope { payload, payload_type, signatures } = &self.envelope;
        if payload_type != T::PAYLOAD_TYPE {
            let found = payload_type.chars().take(64).collect();
            return Err(VerifyError::WrongType { expected: T::PAYLOAD_TYPE, found });
        }
        if payload.0.len() > T::MAX_BYTES {
            return Err(VerifyError::TooLarge(T::MAX_BYTES));
        }
        if signatures.len() > MAX_SIGNATURES {
            return Err(VerifyError::TooManySignatures(signatures.len()));
        }
        let message = pre_authentication_encoding(payload_type, &payload.0);
        let valid = |one: &&Signature| {
            trusted.key(&one.keyid).is_some_and(|key| key.verifies(&message, one.sig.as_ref()))
        };
        let signers: BTreeSet<KeyId> = signatures.iter().filter(valid).map(|one| one.keyid).collect();
        if signers.len() < trusted.threshold() {
            return Err(VerifyError::TooFewSignatures {
                valid: signers.len(),
                threshold: trusted.threshold(),
            });
        }
        let document =
            serde_json::from_slice(&payload.0).map_err(|error| VerifyError::Unreadable(error.to_string()))?;
        Ok(Verified { document, signers })
    }
}

impl<T> Verified<T> {
    /// Returns the keys that signed it.
    #[must_use]
    pub const fn signers(&self) -> &BTreeSet<KeyId> {
        &self.signers
    }

    /// Returns the document itself; its holder has to keep its origin in mind.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.document
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Note {
        text: String,
    }

    impl Signable for Note {
        const PAYLOAD_TYPE: &'static str = "application/vnd.unbox.test-note+json";
        const MAX_BYTES: usize = 64;
    }

    fn key(byte: u8) -> SigningKey {
        SigningKey::from_seed(&[byte; 32])
    }

    fn note(text: &str) -> Note {
        Note { text: text.to_owned() }
    }

    #[test]
    fn the_encoding_is_the_published_example() {
        let encoded = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(encoded, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    #[test]
    fn enough_different_keys_must_have_signed() {
        let (a, b, stranger) = (key(1), key(2), key(3));
        let both = KeySet::new(2, [a.public(), b.public()]).unwrap();
        let read =
            |keys: &[&SigningKey]| sign(&note("x"), keys).unwrap().verify(&both).map(Verified::into_inner);
        assert_eq!(read(&[&a, &b]), Ok(note("x")));
        assert_eq!(read(&[&a, &a]), Err(VerifyError::TooFewSignatures { valid: 1, threshold: 2 }));
        assert_eq!(read(&[&a, &stranger]), Err(VerifyError::TooFewSignatures { valid: 1, threshold: 2 }));
        assert_eq!(read(&[]), Err(VerifyError::TooFewSignatures { valid: 0, threshold: 2 }));
        assert_eq!(read(&[&stranger, &b, &a]), Ok(note("x")));
    }

    #[test]
    fn a_key_that_borrows_a_trusted_name_is_not_believed() {
        let (trusted, stranger) = (key(1), key(3));
        let set = KeySet::new(1, [trusted.public()]).unwrap();
        let mut signed = sign(&note("x"), &[&stranger]).unwrap();
        signed.envelope.signatures[0].keyid = trusted.public().id();
        assert_eq!(signed.verify(&set), Err(VerifyError::TooFewSignatures { valid: 0, threshold: 1 }));
    }

    #[test]
    fn a_changed_document_type_or_size_is_not_believed() {
        let a = key(1);
        let set = KeySet::new(1, [a.public()]).unwrap();
        let good = sign(&note("x"), &[&a]).unwrap();

        let mut tampered = good.clone();
        tampered.envelope.payload.0[10] ^= 1;
        assert!(matches!(tampered.verify(&set), Err(VerifyError::TooFewSignatures { .. })));

        let mut retyped = good;
        retyped.envelope.payload_type = "application/json".to_owned();
        assert!(matches!(retyped.verify(&set), Err(VerifyError::WrongType { .. })));

        let large = sign(&note(&"x".repeat(64)), &[&a]).unwrap();
        assert_eq!(large.verify(&set), Err(VerifyError::TooLarge(64)));

        let many = sign(&note("x"), &[&a; 17]).unwrap();
        assert_eq!(many.verify(&set), Err(VerifyError::TooManySignatures(17)));
    }
}
