//! The assertion that a service account signs to get an access token: a JSON web token (RFC 7519, RFC
//! 7523), read, verified and judged. Pure: keys and time are parameters.

use super::oauth::{OAuthError, OAuthRefusal::InvalidGrant};
use crate::{domain::tenancy::credential::KeyId, service::Settings};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    crypto::{CryptoProvider, JwtVerifier, KeyUtils},
    errors::ErrorKind,
    signature::{Error as SignatureError, Verifier},
};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde::Deserialize;
use std::time::Duration;
use unbox_common::timestamp::Timestamp;
use url::Url;
use x509_parser::{prelude::FromDer as _, x509::SubjectPublicKeyInfo};

/// The largest assertion that is examined, in bytes; with a key of 4,096 bits it has about 1,100.
const MAX_ASSERTION_BYTES: usize = 16 * 1024;
/// The longest lifetime of an assertion, as signed by Google's clients and accepted by Google.
const MAX_LIFETIME: Duration = Duration::from_hours(1);
/// The most that a client's clock may be wrong.
const MAX_SKEW: Duration = Duration::from_mins(5);
/// The audience that Google's client libraries name, whatever the key file says.
const GOOGLE_AUDIENCE: &str = "https://oauth2.googleapis.com/token";

/// An assertion that is not verified yet.
pub(super) struct Assertion<'a> {
    text: &'a str,
    /// The key that it claims to be signed with; not all clients name one.
    pub(super) key: Option<KeyId>,
    /// The alleged signer.
    pub(super) issuer: String,
}

/// The contents that a service account has signed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Claims {
    iss: String,
    #[serde(default)]
    sub: Option<String>,
    aud: Audience,
    iat: u64,
    exp: u64,
    #[serde(default)]
    pub(super) scope: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl<'a> Assertion<'a> {
    /// Reads the alleged signer and key.
    pub(super) fn read(text: &'a str) -> Result<Self, OAuthError> {
        let malformed = || {
            InvalidGrant.with_description("The assertion is no JSON web token with iss, aud, iat and exp.")
        };
        if text.len() > MAX_ASSERTION_BYTES {
            return Err(InvalidGrant.with_description("The assertion is larger than 16 KiB."));
        }
        let header = jsonwebtoken::decode_header(text).map_err(|error| match error.kind() {
            // An algorithm that the library does not know, such as `none`.
            ErrorKind::Json(_) => InvalidGrant.with_description("The assertion must be signed with RS256."),
            _ => malformed(),
        })?;
        if header.alg != Algorithm::RS256 || header.crit.is_some() {
            return Err(
                InvalidGrant.with_description("The assertion must be signed with RS256, without extensions.")
            );
        }
        let key = header.kid.as_deref().filter(|id| !id.is_empty()).map(str::parse).transpose();
        let key = key.map_err(|_| unknown_signer())?;
        let claims =
            jsonwebtoken::dangerous::insecure_decode_claims::<Claims>(text).map_err(|_| malformed())?;
        // No account has such a name, and not every database takes one to look for it.
        if claims.iss.contains('\0') {
            return Err(unknown_signer());
        }
        Ok(Self { text, key, issuer: claims.iss })
    }

    /// Returns the contents if they were signed with this key: `SubjectPublicKeyInfo`, DER.
    pub(super) fn verify(&self, public_key: &[u8]) -> Option<Claims> {
        // Takes effect once per process; later calls change nothing.
        let _ = RING.install_default();
        let (_, key) = SubjectPublicKeyInfo::from_der(public_key).ok()?;
        let key = DecodingKey::from_rsa_der(&key.subject_public_key.data);
        let mut validation = Validation::new(Algorithm::RS256);
        // The library would read the system's clock, and cannot match an audience by its host alone.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode(self.text, &key, &validation).ok().map(|verified| verified.claims)
    }
}

impl Claims {
    /// Checks that they are meant for this server, at this time.
    pub(super) fn check(&self, server: &Settings, now: Timestamp) -> Result<(), OAuthError> {
        let (from, until) = (Timestamp::from_secs(self.iat), Timestamp::from_secs(self.exp));
        if until <= from || until.duration_since(from) > MAX_LIFETIME {
            return Err(InvalidGrant
                .with_description("The assertion must expire within an hour after it was signed."));
        }
        if from > now.plus(MAX_SKEW) || until <= now.minus(MAX_SKEW) {
            return Err(InvalidGrant
                .with_description("The assertion is not good now. Check the clock of this machine."));
        }
        if self.sub.as_ref().is_some_and(|sub| *sub != self.iss) {
            return Err(
                InvalidGrant.with_description("A service account cannot act for somebody else (sub).")
            );
        }
        let audiences = match &self.aud {
            Audience::One(one) => std::slice::from_ref(one),
            Audience::Several(several) => several,
        };
        if audiences.iter().any(|audience| is_own_audience(audience, server)) {
            Ok(())
        } else {
            Err(InvalidGrant.with_description("The assertion is for another server (aud)."))
        }
    }
}

/// Returns the same error for an unknown account, an unknown, expired or revoked key, and a wrong
/// signature.
pub(super) fn unknown_signer() -> OAuthError {
    InvalidGrant
        .with_description("The service account or its key is not known here, or the signature is wrong.")
}

/// Returns true if this is a URL of this server's token endpoint. Any port is accepted: a proxy in front may
/// use another one than this server.
fn is_own_audience(audience: &str, server: &Settings) -> bool {
    if audience == GOOGLE_AUDIENCE {
        return true;
    }
    let Ok(url) = audience.parse::<Url>() else { return false };
    url.host_str().is_some_and(|host| server.is_own_host(host)) && url.path() == super::TOKEN_PATH
}

/// The only cryptography for JSON web tokens in this server: RSA with SHA-256, by ring, which also refuses
/// keys below 2,048 bits.
static RING: CryptoProvider = CryptoProvider {
    signer_factory: |_, _| Err(ErrorKind::UnsupportedAlgorithm.into()),
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::RS256 => Ok(Box::new(Rs256(key.clone()))),
        _ => Err(ErrorKind::UnsupportedAlgorithm.into()),
    },
    key_utils: KeyUtils::new_unimplemented(),
};

struct Rs256(DecodingKey);

impl Verifier<Vec<u8>> for Rs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureError> {
        let key = self.0.try_get_as_bytes().map_err(SignatureError::from_source)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
            .verify(message, signature)
            .map_err(|_| SignatureError::new())
    }
}

impl JwtVerifier for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
    use rsa::{RsaPrivateKey, pkcs8::EncodePublicKey as _, traits::PublicKeyParts as _};

    const PRIVATE_KEY: &str = include_str!("../../../../tests/support/service-account.pem");

    fn public_key_der(key: &RsaPrivateKey) -> Vec<u8> {
        key.to_public_key().to_public_key_der().unwrap().into_vec()
    }

    fn own_key() -> RsaPrivateKey {
        rsa::pkcs8::DecodePrivateKey::from_pkcs8_pem(PRIVATE_KEY).unwrap()
    }

    fn signed_assertion() -> String {
        let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let claims = r#"{"iss":"robot@7.unbox.invalid","aud":"a","iat":1,"exp":2}"#;
        let message = format!("{}.{}", part(r#"{"alg":"RS256"}"#), part(claims));
        let key = RsaKeyPair::from_pkcs8(pem::parse(PRIVATE_KEY).unwrap().contents()).unwrap();
        let mut signature = vec![0; key.public().modulus_len()];
        #[expect(clippy::disallowed_methods, reason = "such a signature draws nothing from it")]
        let random = ring::rand::SystemRandom::new();
        key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn no_character_of_an_assertion_can_be_changed() {
        let (text, key) = (signed_assertion(), public_key_der(&own_key()));
        let verified = |text: &str| Assertion::read(text).ok()?.verify(&key);
        assert_eq!(verified(&text).unwrap().iss, "robot@7.unbox.invalid");
        for (at, was) in text.char_indices() {
            for other in ['A', 'Q', '.', '=', '\0'].into_iter().filter(|other| *other != was) {
                let mut changed = text.clone();
                changed.replace_range(at..=at, &other.to_string());
                assert_eq!(verified(&changed), None, "{at}: {changed}");
            }
            assert_eq!(verified(text.get(..at).unwrap()), None, "cut at {at}");
        }
    }

    #[test]
    fn what_is_no_key_verifies_nothing() {
        let (text, key) = (signed_assertion(), own_key());
        let small = RsaPrivateKey::from_components(
            rsa::BigUint::from(3233_u32),
            rsa::BigUint::from(17_u32),
            rsa::BigUint::from(413_u32),
            vec![rsa::BigUint::from(61_u32), rsa::BigUint::from(53_u32)],
        )
        .unwrap();
        assert_eq!(small.n().bits(), 12);
        let assertion = Assertion::read(&text).unwrap();
        for bad in [Vec::new(), vec![0x30; 300], public_key_der(&key).split_off(24), public_key_der(&small)] {
            assert_eq!(assertion.verify(&bad), None);
        }
    }
}
