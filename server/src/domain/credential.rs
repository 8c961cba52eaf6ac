//! What accounts sign in with: API keys, keys of service accounts, and the access tokens that those
//! are exchanged for. Of secrets only digests are kept.

use super::{access::AccessScopes, account::AccountKind, name::Name};
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr, time::Duration};
use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    ids::{AccountId, ApiKeyId, CompanyId},
    secret::Secret,
    timestamp::Timestamp,
};

/// Starts every API key, so that scanners recognise a leaked one.
pub const API_KEY_PREFIX: &str = "uak";
/// Starts every access token.
pub const ACCESS_TOKEN_PREFIX: &str = "uat";
/// How long an access token opens anything.
pub const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_hours(1);
/// Credentials of one kind that one account may have in force; Google's service accounts have as many.
pub const MAX_CREDENTIALS: u64 = 10;
/// How often the use of an API key is written down, at most.
pub const NOTE_USE_EVERY: Duration = Duration::from_hours(1);
/// Characters of an API key that are kept and shown: enough to tell two of them apart, and 32 of its
/// 256 bits.
const SHOWN_CHARS: usize = API_KEY_PREFIX.len() + 1 + 8;

/// An API key, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Who signs in with it.
    pub account: AccountId,
    /// Whether that is a person or a program.
    pub account_kind: AccountKind,
    /// Whose account that is; `None` if it is the operator's.
    pub company: Option<CompanyId>,
    /// What people call it.
    pub name: Name,
    /// The first characters of the secret.
    pub prefix: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// From when on it is worthless.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, to the hour.
    pub last_used_at: Option<Timestamp>,
}

/// A key of a service account: its public half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceAccountKey {
    /// Its id.
    pub id: KeyId,
    /// Who signs in with it.
    pub account: AccountId,
    /// An RSA key: `SubjectPublicKeyInfo` in DER (RFC 5280, section 4.1).
    pub public_key: Bytes,
    /// When it was made here, or handed in.
    pub created_at: Timestamp,
    /// From when on it is worthless.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The name of a service account's key, `kid` in what it signs: 40 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

/// The text cannot be the name of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the id of a key: 40 lower-case hexadecimal digits")]
pub struct NotAKeyId;

/// An access token that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// Digest of the secret.
    pub digest: Sha256,
    /// The key that it was exchanged for: its account asks with the token, and revoked it takes the
    /// token along.
    pub key: KeyId,
    /// Which parts of the API it opens.
    pub scopes: AccessScopes,
    /// When it was issued.
    pub created_at: Timestamp,
    /// From when on it is worthless.
    pub expires_at: Timestamp,
}

/// Which kind of credential a secret is, by its first characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key.
    ApiKey,
    /// An access token.
    AccessToken,
}

impl CredentialKind {
    /// The kind, unless it is none that opens the API.
    #[must_use]
    pub fn of(secret: &Secret) -> Option<Self> {
        match secret.expose().split_once('_')? {
            (API_KEY_PREFIX, _) => Some(Self::ApiKey),
            (ACCESS_TOKEN_PREFIX, _) => Some(Self::AccessToken),
            _ => None,
        }
    }
}

impl ApiKey {
    /// The part of a secret that is kept and shown.
    #[must_use]
    pub fn shown(secret: &Secret) -> String {
        secret.expose().chars().take(SHOWN_CHARS).collect()
    }

    /// Whether its use at `now` is worth writing down.
    #[must_use]
    pub fn is_use_noted(last_used_at: Option<Timestamp>, now: Timestamp) -> bool {
        last_used_at.is_some_and(|last| now.since(last) < NOTE_USE_EVERY)
    }
}

impl KeyId {
    /// The name made of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 20]) -> Self {
        Self(bytes.map(|byte| format!("{byte:02x}")).concat())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if text.len() == 40 && digits { Ok(Self(text.to_owned())) } else { Err(NotAKeyId) }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_forty_digits() {
        let id = KeyId::new([0xa7; 20]);
        assert_eq!(id.to_string().parse(), Ok(id.clone()));
        for bad in ["", "a7", &id.as_str().to_uppercase(), &id.as_str().replace('a', "g"), &format!("{id}0")]
        {
            assert_eq!(bad.parse::<KeyId>(), Err(NotAKeyId), "{bad}");
        }
    }

    #[test]
    fn a_secret_says_what_it_is_and_shows_little_of_itself() {
        let secret = |text: &str| Secret::new(text.to_owned());
        for (text, kind) in [
            ("uak_00", Some(CredentialKind::ApiKey)),
            ("uat_00", Some(CredentialKind::AccessToken)),
            ("ppt_00", None),
            ("uak", None),
            ("", None),
        ] {
            assert_eq!(CredentialKind::of(&secret(text)), kind, "{text}");
        }
        assert_eq!(ApiKey::shown(&secret("uak_0123456789abcdef")), "uak_01234567");
    }

    #[test]
    fn use_is_noted_once_an_hour() {
        let (now, hour) = (Timestamp(10_000_000), NOTE_USE_EVERY);
        for (last, noted) in
            [(None, false), (Some(now.before(hour)), false), (Some(now.before(hour / 2)), true)]
        {
            assert_eq!(ApiKey::is_use_noted(last, now), noted, "{last:?}");
        }
        assert!(ApiKey::is_use_noted(Some(now.after(hour)), now), "the clock ran backwards");
    }
}
