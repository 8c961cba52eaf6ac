//! Pre-provisioning tokens and reset tickets: secrets that only their digest remains of.

use super::name::Name;
use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, ConfigurationId, TokenId},
    protocol::limits::MAX_TOKEN_BYTES,
    secret::Secret,
    timestamp::Timestamp,
};

/// Starts every pre-provisioning token, so that scanners recognise a leaked one.
pub const TOKEN_PREFIX: &str = "ppt";
/// Starts every reset ticket.
pub const RESET_TICKET_PREFIX: &str = "rst";

/// A pre-provisioning token, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// Whose devices it enrolls.
    pub customer: CompanyId,
    /// What the customer calls it.
    pub name: Name,
    /// What a device gets that it enrolls, if its claim names no configuration.
    pub configuration: Option<ConfigurationId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// From when on it is worthless.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What a token is worth at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenStanding {
    /// It enrolls devices of its customer.
    Valid,
    /// Its time is over.
    Expired,
    /// Somebody revoked it.
    Revoked,
}

impl Token {
    /// What it is worth at `now`.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> TokenStanding {
        standing(self.expires_at, self.revoked_at, now)
    }
}

/// What a token with these times is worth at `now`.
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

/// The digest by which a secret is stored and looked up: an index tells nothing about a secret
/// of 160 random bits, so the look-up needs no other constant-time comparison. `None` if no
/// secret of ours is that long.
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
