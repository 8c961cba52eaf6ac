//! The messages of the token endpoint: requests and refusals of OAuth 2.0 (RFC 6749), for the only
//! supported grant (RFC 7523).

use crate::{domain::tenancy::access::AccessScopes, service::ServiceError};
use serde::Serialize;
use std::borrow::Cow;
use unbox_common::secret::Secret;

/// The only supported grant: an assertion that the client signed (RFC 7523, section 2.1).
pub(super) const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A request for an access token, read from a form.
#[derive(Debug)]
pub struct TokenRequest {
    /// The signed assertion.
    pub(super) assertion: Secret,
    /// The requested scopes, if they are outside the assertion.
    pub(super) scope: Option<String>,
}

/// An access token, as the client gets it (RFC 6749, section 5.1).
#[derive(Debug, Serialize)]
pub struct TokenAnswer {
    /// The token.
    pub access_token: Secret,
    /// Its type: a bearer token.
    pub token_type: &'static str,
    /// Its lifetime, in seconds.
    pub expires_in: u64,
    /// The granted scopes.
    pub scope: String,
}

/// The reason why no access token is issued.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// The request is refused.
    #[error("{refusal}: {description}")]
    Refused {
        /// The error code.
        refusal: OAuthRefusal,
        /// The explanation for the author of the client.
        description: &'static str,
    },
    /// The server failed; the cause is for the log.
    #[error("the server could not issue an access token")]
    Failed(#[source] ServiceError),
}

/// The error codes of RFC 6749, section 5.2, that this server gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OAuthRefusal {
    /// A parameter is missing, given twice, or malformed.
    InvalidRequest,
    /// The assertion is invalid or expired.
    InvalidGrant,
    /// The grant is not supported.
    UnsupportedGrantType,
    /// A scope that is unknown, or that this account may not have.
    InvalidScope,
}

impl OAuthRefusal {
    /// Returns the code as it is in the answer.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidScope => "invalid_scope",
        }
    }

    /// Returns a refusal with this code and an explanation.
    pub(super) const fn with_description(self, description: &'static str) -> OAuthError {
        OAuthError::Refused { refusal: self, description }
    }
}

impl std::fmt::Display for OAuthRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl<E: Into<ServiceError>> From<E> for OAuthError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl TokenRequest {
    /// Reads a request from `application/x-www-form-urlencoded` bytes. Unknown parameters are ignored;
    /// known ones must not be repeated (RFC 6749, section 3.2).
    ///
    /// # Errors
    /// [`OAuthRefusal::InvalidRequest`] and [`OAuthRefusal::UnsupportedGrantType`].
    pub fn parse(form: &[u8]) -> Result<Self, OAuthError> {
        let (mut grant_type, mut assertion, mut scope) = (None, None, None);
        for (name, value) in url::form_urlencoded::parse(form) {
            let place = match name.as_ref() {
                "grant_type" => &mut grant_type,
                "assertion" => &mut assertion,
                "scope" => &mut scope,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(OAuthRefusal::InvalidRequest.with_description("A parameter is given twice."));
            }
        }
        match grant_type.as_deref() {
            None | Some("") => {
                return Err(
                    OAuthRefusal::InvalidRequest.with_description("The parameter grant_type is missing.")
                );
            }
            Some(JWT_BEARER) => {}
            Some(_) => {
                return Err(OAuthRefusal::UnsupportedGrantType.with_description(
                    "Only urn:ietf:params:oauth:grant-type:jwt-bearer is taken, signed by the key of a service account.",
                ));
            }
        }
        let assertion = assertion.filter(|text| !text.is_empty());
        let assertion = assertion.ok_or_else(|| {
            OAuthRefusal::InvalidRequest.with_description("The parameter assertion is missing.")
        })?;
        Ok(Self { assertion: Secret::new(assertion.into_owned()), scope: scope.map(Cow::into_owned) })
    }
}

impl TokenAnswer {
    pub(super) fn new(access_token: Secret, expires_in: u64, scopes: &AccessScopes) -> Self {
        Self { access_token, token_type: "Bearer", expires_in, scope: scopes.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(form: &str) -> OAuthRefusal {
        match TokenRequest::parse(form.as_bytes()) {
            Err(OAuthError::Refused { refusal, .. }) => refusal,
            other => panic!("{form}: {other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_from_a_form() {
        let form = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=a.b.c&x=1&x=2";
        let request = TokenRequest::parse(form.as_bytes()).unwrap();
        assert_eq!((request.assertion.expose(), request.scope), ("a.b.c", None));
        assert_eq!(
            TokenRequest::parse(format!("{form}&scope=a+b").as_bytes()).unwrap().scope.unwrap(),
            "a b"
        );
    }

    #[test]
    fn a_form_that_is_none_is_refused_by_its_code() {
        use OAuthRefusal::{InvalidRequest, UnsupportedGrantType};
        for (form, expected) in [
            ("", InvalidRequest),
            ("assertion=a.b.c", InvalidRequest),
            ("grant_type=&assertion=a.b.c", InvalidRequest),
            ("grant_type=client_credentials", UnsupportedGrantType),
            ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer", InvalidRequest),
            ("grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=", InvalidRequest),
            (
                "grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=a&assertion=b",
                InvalidRequest,
            ),
            ("{\"grant_type\":\"x\"}", InvalidRequest),
            ("%ff%fe\0", InvalidRequest),
        ] {
            assert_eq!(refusal(form), expected, "{form}");
            assert_eq!(serde_json::to_value(expected).unwrap(), expected.name());
        }
    }
}
