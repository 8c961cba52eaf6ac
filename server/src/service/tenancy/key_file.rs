//! Keys of service accounts: making them, importing those that owners made, and the file that Google's
//! client libraries read.

use crate::{
    domain::tenancy::{account::Account, credential::KeyId},
    entropy::Entropy,
    service::{ServiceError, SignerError},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use rsa::{
    RsaPrivateKey, RsaPublicKey,
    pkcs8::{DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding},
    traits::PublicKeyParts as _,
};
use serde::Serialize;
use unbox_common::{bytes::Bytes, secret::Secret};
use url::Url;
use zeroize::Zeroizing;

/// The size of keys made here.
const KEY_BITS: usize = 2048;
/// The smallest imported key. The largest has 4,096 bits, the parser's limit.
const MIN_KEY_BITS: usize = 2048;
/// The longest text of such a key.
const MAX_PEM_BYTES: usize = 4096;
/// A value without meaning here, which the libraries expect.
const PROJECT: &str = "unbox";
/// The value that the libraries expect; any other would be another vendor's cloud to them.
const UNIVERSE: &str = "googleapis.com";

/// The path at which assertions are exchanged for access tokens.
pub(super) const TOKEN_PATH: &str = "/token";

/// Both halves of a new key.
pub(super) struct KeyPair {
    /// `SubjectPublicKeyInfo`, DER.
    pub(super) public: Bytes,
    /// PKCS#8, PEM.
    pub(super) private: Secret,
}

/// The credentials of a service account, as Google's client libraries read them from a file.
#[derive(Debug, Serialize)]
pub struct ServiceAccountKeyFile {
    r#type: &'static str,
    project_id: &'static str,
    private_key_id: KeyId,
    private_key: Secret,
    client_email: String,
    client_id: String,
    auth_uri: String,
    token_uri: String,
    auth_provider_x509_cert_url: String,
    client_x509_cert_url: String,
    universe_domain: &'static str,
}

/// The text has no public key that could verify a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an RSA public key of 2048 to 4096 bits, PEM, that starts with -----BEGIN PUBLIC KEY-----")]
pub(super) struct NotAPublicKey;

impl KeyPair {
    /// Makes a new key. Takes a second or so, on a thread that may block.
    pub(super) fn generate(entropy: &dyn Entropy) -> Result<Self, ServiceError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| ServiceError::from(SignerError(error));
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(&mut *seed)?;
        let mut random = ChaCha20Rng::from_seed(*seed);
        let private = RsaPrivateKey::new(&mut random, KEY_BITS).map_err(|error| failed(error.into()))?;
        let public = private.to_public_key().to_public_key_der().map_err(|error| failed(error.into()))?;
        let pem = private.to_pkcs8_pem(LineEnding::LF).map_err(|error| failed(error.into()))?;
        Ok(Self { public: Bytes(public.into_vec()), private: Secret::new(pem.to_string()) })
    }
}

/// Reads a public key that its owner made.
pub(super) fn public_key(pem: &str) -> Result<Bytes, NotAPublicKey> {
    if pem.len() > MAX_PEM_BYTES {
        return Err(NotAPublicKey);
    }
    let key = RsaPublicKey::from_public_key_pem(pem.trim()).map_err(|_| NotAPublicKey)?;
    if key.n().bits() < MIN_KEY_BITS {
        return Err(NotAPublicKey);
    }
    let der = key.to_public_key_der().map_err(|_| NotAPublicKey)?;
    Ok(Bytes(der.into_vec()))
}

impl ServiceAccountKeyFile {
    /// Returns the URL at which clients exchange assertions.
    #[must_use]
    pub fn token_uri(&self) -> &str {
        &self.token_uri
    }

    /// Returns the file for a key of `account`, to sign in at `base_url`.
    pub(super) fn new(account: &Account, key: &KeyId, private_key: Secret, base_url: &Url) -> Self {
        let base = base_url.as_str().trim_end_matches('/');
        Self {
            r#type: "service_account",
            project_id: PROJECT,
            private_key_id: key.clone(),
            private_key,
            client_email: account.email.to_string(),
            client_id: account.id.to_string(),
            token_uri: format!("{base}{TOKEN_PATH}"),
            // Libraries require these fields, but do not use them when a service account signs in.
            auth_uri: base.to_owned(),
            auth_provider_x509_cert_url: base.to_owned(),
            client_x509_cert_url: base.to_owned(),
            universe_domain: UNIVERSE,
        }
    }
}

/// Parses the URL below which the API is served. Plain HTTP is accepted for this machine only, because the
/// transmitted credentials open the API.
///
/// # Errors
/// The expected form.
pub fn base_url(text: &str) -> Result<Url, &'static str> {
    let expected = "expected a URL such as https://enroll.example.com, or http:// for this machine only";
    let url: Url = text.parse().map_err(|_| expected)?;
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return Err(expected),
    };
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let safe = url.scheme() == "https" || (url.scheme() == "http" && local);
    if plain && safe { Ok(url) } else { Err(expected) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use rsa::pkcs8::DecodePrivateKey as _;

    #[test]
    fn both_halves_of_a_key_fit() {
        let pair = KeyPair::generate(&SeededEntropy::new(1)).unwrap();
        let private = RsaPrivateKey::from_pkcs8_pem(pair.private.expose()).unwrap();
        private.validate().unwrap();
        assert_eq!(private.size() * 8, KEY_BITS);
        let public = RsaPublicKey::from_public_key_der(pair.public.as_ref()).unwrap();
        assert_eq!(public, private.to_public_key());
        let pem = public.to_public_key_pem(LineEnding::CRLF).unwrap();
        assert_eq!(public_key(&format!("\n{pem}\n")), Ok(pair.public));
        for bad in
            ["", "-----BEGIN PUBLIC KEY-----", pair.private.expose(), &pem.replace('A', "B"), &pem.repeat(20)]
        {
            assert_eq!(public_key(bad), Err(NotAPublicKey), "{bad}");
        }
    }

    #[test]
    fn a_key_that_is_too_small_is_refused() {
        let small = RsaPrivateKey::new(&mut ChaCha20Rng::from_seed([1; 32]), 1024).unwrap();
        let pem = small.to_public_key().to_public_key_pem(LineEnding::LF).unwrap();
        assert_eq!(public_key(&pem), Err(NotAPublicKey));
    }

    #[test]
    fn keys_are_sent_to_nobody_who_cannot_prove_who_they_are() {
        for good in
            ["https://x.example", "https://x.example:8443/", "http://127.0.0.1:8080", "http://[::1]:80"]
        {
            assert!(base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "x.example",
            "http://x.example",
            "https://u:p@x.example",
            "https://x.example/?q",
            "ftp://localhost",
        ] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
    }
}
