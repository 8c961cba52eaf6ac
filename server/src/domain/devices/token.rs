//! Pre-provisioning tokens and reset tickets: secrets of which only the digest is stored.

use crate::domain::name::Name;
use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, ConfigurationId, TokenId},
    protocol::limits::MAX_TOKEN_BYTES,
    secret::Secret,
    timestamp::Timestamp,
};

/// The prefix of every pre-provisioning token, so that scanners recognise a leaked one.
pub const TOKEN_PREFIX: &str = "ppt";
/// The prefix of every reset ticket.
pub const RESET_TICKET_PREFIX: &str = "rst";

/// A pre-provisioning token, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// The customer whose devices it enrolls.
    pub customer: CompanyId,
    /// The customer's name for it.
    pub name: Name,
    /// The configuration of devices that it enrolls, if their claims name none.
    pub configuration: Option<ConfigurationId>,
    /// The time of its creation.
    pub created_at: Timestamp,
    /// The time of its expiry.
    pub expires_at: Option<Timestamp>,
    /// The time of its revocation.
    pub revoked_at: Option<Timestamp>,
}

/// The validity of a token at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStanding {
    /// The token enrolls devices of its customer.
    Valid,
    /// The token has expired.
    Expired,
    /// The token was revoked.
    Revoked,
}

impl Token {
    /// Returns the validity of the token at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> TokenStanding {
        standing(self.expires_at, self.revoked_at, now)
    }
}

/// Returns the validity at `now` of a token with these times.
#[must_use]
pub fn standing(
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    now: Timestamp,
) -> TokenStanding {
    if revoked_at.is_some() {
        TokenStanding::Revoked
    } else if expires_at.is_some_and(|end| now >= end) {
        TokenStanding::Expired
    } else {
        TokenStanding::Valid
    }
}

/// Returns the digest by which a secret is stored and looked up. An index reveals nothing about a secret of
/// 160 random bits, so the look-up needs no constant-time comparison. `None` if the text is longer than any
/// secret of this server.
#[must_use]
pub fn secret_digest(secret: &Secret) -> Option<Sha256> {
    let text = secret.expose();
    (text.len() <= MAX_TOKEN_BYTES).then(|| Sha256::of(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_worth_something_until_it_expires_or_is_revoked() {
        let now = Timestamp(100);
        for (expires, revoked, expected) in [
            (None, None, TokenStanding::Valid),
            (Some(101), None, TokenStanding::Valid),
            (Some(100), None, TokenStanding::Expired),
            (Some(101), Some(5), TokenStanding::Revoked),
            (Some(1), Some(5), TokenStanding::Revoked),
        ] {
            assert_eq!(standing(expires.map(Timestamp), revoked.map(Timestamp), now), expected);
        }
    }
}
