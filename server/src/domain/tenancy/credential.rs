//! Credentials of accounts: API keys, keys of service accounts, and the access tokens that those keys are
//! exchanged for. Only digests of secrets are stored.

use super::{access::AccessScopes, account::AccountKind};
use crate::domain::name::Name;
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr, time::Duration};
use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    ids::{AccountId, ApiKeyId, CompanyId},
    secret::Secret,
    timestamp::Timestamp,
};

/// The prefix of every API key, so that scanners recognise a leaked one.
pub const API_KEY_PREFIX: &str = "uak";
/// The prefix of every access token.
pub const ACCESS_TOKEN_PREFIX: &str = "uat";
/// The lifetime of an access token.
pub const ACCESS_TOKEN_LIFETIME: Duration = Duration::from_hours(1);
/// The maximum number of valid credentials of one kind for one account, as for Google's service accounts.
pub const MAX_CREDENTIALS: u64 = 10;
/// The shortest interval between two records of the use of an API key.
pub const NOTE_USE_EVERY: Duration = Duration::from_hours(1);
/// The number of characters of an API key that are stored and shown: enough to tell two keys apart, and 32
/// of its 256 bits.
const SHOWN_CHARS: usize = API_KEY_PREFIX.len() + 1 + 8;

/// An API key, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// The account that signs in with it.
    pub account: AccountId,
    /// The kind of that account.
    pub account_kind: AccountKind,
    /// The company of that account; `None` for the operator's.
    pub company: Option<CompanyId>,
    /// The name that people use for it.
    pub name: Name,
    /// The first characters of the secret.
    pub prefix: String,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// The time of its expiry.
    pub expires_at: Option<Timestamp>,
    /// The time of its revocation.
    pub revoked_at: Option<Timestamp>,
    /// The time of its last use, to the hour.
    pub last_used_at: Option<Timestamp>,
}

/// The public half of a service account's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceAccountKey {
    /// Its id.
    pub id: KeyId,
    /// The account that signs in with it.
    pub account: AccountId,
    /// An RSA key: `SubjectPublicKeyInfo` in DER (RFC 5280, section 4.1).
    pub public_key: Bytes,
    /// The time at which it was made here, or imported.
    pub created_at: Timestamp,
    /// The time of its expiry.
    pub expires_at: Option<Timestamp>,
    /// The time of its revocation.
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
    /// The key that it was exchanged for. Its account is the principal, and revoking the key also revokes
    /// the token.
    pub key: KeyId,
    /// The parts of the API that it opens.
    pub scopes: AccessScopes,
    /// The time of its issue.
    pub created_at: Timestamp,
    /// The time of its expiry.
    pub expires_at: Timestamp,
}

/// The kind of a credential, recognised by its first characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key.
    ApiKey,
    /// An access token.
    AccessToken,
}

impl CredentialKind {
    /// Returns the kind of this secret; `None` if it does not open the API.
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
    /// Returns the part of a secret that is stored and shown.
    #[must_use]
    pub fn stored_prefix(secret: &Secret) -> String {
        secret.expose().chars().take(SHOWN_CHARS).collect()
    }

    /// Returns true if the last use is recent enough that a use at `now` need not be recorded.
    #[must_use]
    pub fn is_use_noted(last_used_at: Option<Timestamp>, now: Timestamp) -> bool {
        last_used_at.is_some_and(|last| now.duration_since(last) < NOTE_USE_EVERY)
    }
}

impl KeyId {
    /// Builds the name from these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 20]) -> Self {
        Self(bytes.map(|byte| format!("{byte:02x}")).concat())
    }

    /// Returns the name as text.
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
        assert_eq!(ApiKey::stored_prefix(&secret("uak_0123456789abcdef")), "uak_01234567");
    }

    #[test]
    fn use_is_noted_once_an_hour() {
        let (now, hour) = (Timestamp(10_000_000), NOTE_USE_EVERY);
        for (last, noted) in
            [(None, false), (Some(now.minus(hour)), false), (Some(now.minus(hour / 2)), true)]
        {
            assert_eq!(ApiKey::is_use_noted(last, now), noted, "{last:?}");
        }
        assert!(ApiKey::is_use_noted(Some(now.plus(hour)), now), "the clock ran backwards");
    }
}
