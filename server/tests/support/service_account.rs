//! A program that signs in: its assertions, good and bad.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair},
};
use serde_json::{Value, json};
use unbox_common::timestamp::Timestamp;

/// The public half of [`TestKey::own`], as its owner would hand it in.
pub(crate) const PUBLIC_KEY: &str = include_str!("service-account.pub.pem");

/// An RSA key of a test.
pub(crate) struct TestKey(RsaKeyPair);

impl TestKey {
    /// Returns the key whose public half is [`PUBLIC_KEY`].
    pub(crate) fn own() -> Self {
        Self::read(include_str!("service-account.pem"))
    }

    /// Returns a key that no server knows.
    pub(crate) fn strangers() -> Self {
        Self::read(include_str!("strangers-account.pem"))
    }

    /// Reads a key from a key file.
    pub(crate) fn read(pkcs8_pem: &str) -> Self {
        let der = pem::parse(pkcs8_pem).unwrap();
        Self(RsaKeyPair::from_pkcs8(der.contents()).unwrap())
    }

    /// Returns the claims that Google's client libraries sign.
    pub(crate) fn claims(issuer: &str, now: Timestamp) -> Value {
        let now = now.as_secs();
        json!({
            "iss": issuer, "iat": now, "exp": now + 3600, "aud": "https://oauth2.googleapis.com/token",
        })
    }

    /// Signs a good assertion.
    pub(crate) fn assertion(&self, key: &str, claims: &Value) -> String {
        self.sign(&json!({"alg": "RS256", "typ": "JWT", "kid": key}), claims)
    }

    /// Signs as the header says, as far as possible.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; self.0.public().modulus_len()];
        match header["alg"].as_str() {
            Some("none") => signature.clear(),
            Some("HS256") => {
                // The classic attack: the public key, taken for a shared secret.
                let secret = hmac::Key::new(hmac::HMAC_SHA256, PUBLIC_KEY.as_bytes());
                signature = hmac::sign(&secret, message.as_bytes()).as_ref().to_vec();
            }
            Some("RS512") => {
                self.0.sign(&RSA_PKCS1_SHA512, &random(), message.as_bytes(), &mut signature).unwrap();
            }
            _ => self.0.sign(&RSA_PKCS1_SHA256, &random(), message.as_bytes(), &mut signature).unwrap(),
        }
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn random() -> SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "PKCS #1 signatures draw nothing from it")]
    SystemRandom::new()
}
