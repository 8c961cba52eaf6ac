//! The address of an artifact on another server: checked once, here, both for the server that takes a
//! configuration and for the device that fetches.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use url::Url;

/// The longest address, in bytes.
pub const MAX_ARTIFACT_URL_BYTES: usize = 2048;

/// The address from which a device fetches an artifact: over HTTPS, without a user name or password.
///
/// An artifact is identified by its digest, so TLS keeps it confidential but is not needed for its
/// integrity. Credentials in the address would end up in every payload, and in the logs of every proxy on
/// the way.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtifactUrl(Url);

/// The reason why a text cannot be the address of an artifact. It never repeats the text, which may hold a
/// password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidArtifactUrl {
    /// The text is not a URL.
    #[error("expected the URL of an artifact, such as https://cdn.example/dpc.tar")]
    NotAUrl,
    /// Longer than [`MAX_ARTIFACT_URL_BYTES`].
    #[error("expected the URL of an artifact to have at most {MAX_ARTIFACT_URL_BYTES} bytes")]
    TooLong,
    /// The URL has another scheme.
    #[error(
        "expected the URL of an artifact to begin with https://, because devices fetch from nowhere else"
    )]
    NotHttps,
    /// The URL has a user name or a password.
    #[error(
        "expected the URL of an artifact without a user name and password, which every device would hold"
    )]
    Credentials,
}

impl ArtifactUrl {
    /// Returns the URL.
    #[must_use]
    pub const fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for ArtifactUrl {
    type Err = InvalidArtifactUrl;

    fn from_str(text: &str) -> Result<Self, InvalidArtifactUrl> {
        if text.len() > MAX_ARTIFACT_URL_BYTES {
            return Err(InvalidArtifactUrl::TooLong);
        }
        let url: Url = text.parse().map_err(|_| InvalidArtifactUrl::NotAUrl)?;
        if url.scheme() != "https" {
            return Err(InvalidArtifactUrl::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidArtifactUrl::Credentials);
        }
        Ok(Self(url))
    }
}

impl TryFrom<String> for ArtifactUrl {
    type Error = InvalidArtifactUrl;

    fn try_from(text: String) -> Result<Self, InvalidArtifactUrl> {
        text.parse()
    }
}

impl From<ArtifactUrl> for String {
    fn from(url: ArtifactUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Display for ArtifactUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ArtifactUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_fetched_over_https_and_without_signing_in() {
        use InvalidArtifactUrl::{Credentials, NotAUrl, NotHttps, TooLong};
        let long = format!("https://cdn.example/{}", "x".repeat(MAX_ARTIFACT_URL_BYTES));
        for (text, wrong) in [
            ("", NotAUrl),
            ("/dpc.tar", NotAUrl),
            ("https://", NotAUrl),
            ("file:///etc/shadow", NotHttps),
            ("http://cdn.example/x", NotHttps),
            ("data:,x", NotHttps),
            ("ftp://cdn.example/x", NotHttps),
            ("unix:/run/x", NotHttps),
            ("https://ann:secret@cdn.example/x", Credentials),
            ("https://ann@cdn.example/x", Credentials),
            ("https://:secret@cdn.example/x", Credentials),
            (long.as_str(), TooLong),
        ] {
            let error = text.parse::<ArtifactUrl>().unwrap_err();
            assert_eq!(error, wrong, "{text}");
            assert!(!error.to_string().contains("secret"));
        }
        for good in
            ["https://cdn.example/dpc.tar", "https://cdn.example:8443/a?b=c", "https://[2001:db8::7]/x"]
        {
            let url: ArtifactUrl = good.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.url().scheme()), (good, "https"));
            let json = serde_json::to_string(&url).unwrap();
            assert_eq!(serde_json::from_str::<ArtifactUrl>(&json).unwrap(), url);
        }
        assert!(serde_json::from_str::<ArtifactUrl>("\"http://cdn.example/x\"").is_err());
    }
}
