//! Pre-provisioning tokens.

use crate::{
    domain::{
        devices::token::{TOKEN_PREFIX, Token, TokenStanding, secret_digest},
        name::Name,
        tenancy::{
            actor::Actor,
            audit::{Action, Subject},
        },
    },
    entropy,
    service::{Devices, ServiceError, catalogue::check_configuration, tenancy::customer_of},
    store::{Page, PageRequest},
};
use serde_json::json;
use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, ConfigurationId, TokenId},
    secret::Secret,
    timestamp::Timestamp,
};

/// A token to create.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The customer whose devices it enrolls.
    pub customer: CompanyId,
    /// The customer's name for it.
    pub name: String,
    /// The configuration of devices whose claim names none.
    pub configuration: Option<ConfigurationId>,
    /// The time of its expiry.
    pub expires_at: Option<Timestamp>,
}

impl Devices {
    /// Creates a token. The secret is returned only this once.
    pub async fn create_token(&self, by: &Actor, new: NewToken) -> Result<(Token, Secret), ServiceError> {
        let name: Name = new.name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        let now = self.core.now();
        if new.expires_at.is_some_and(|end| end <= now) {
            return Err(ServiceError::invalid("expires_at", "expected a time to come"));
        }
        let secret = entropy::token_text(&*self.core.entropy, TOKEN_PREFIX)?;
        let digest = Sha256::of(secret.expose().as_bytes());
        let token = Token {
            id: self.core.ids.token(now),
            customer: new.customer,
            name,
            configuration: new.configuration,
            created_at: now,
            expires_at: new.expires_at,
            revoked_at: None,
        };
        let (this, by) = (self.clone(), by.clone());
        let token = self
            .core
            .store
            .write(move |tx| {
                    customer_of(tx, &by, token.customer)?;
                    check_configuration(tx, token.customer, token.configuration)?;
                    tx.insert_token(&token, digest)?;
                    let detail = json!({"name": token.name, "configuration": token.configuration, "expires_at": token.expires_at});
                    this.core.note(tx, &by, Action::TokenCreated, Subject::Token(token.id), Some(token.customer), detail);
                    Ok::<_, ServiceError>(token.clone())
                })
            .await?;
        Ok((token, secret))
    }

    /// Returns the validity of a customer's token now; `None` if it is not one of theirs.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for a customer that the actor does not see, so that nobody learns the
    /// owner of a token.
    pub async fn token_standing(
        &self,
        by: &Actor,
        customer: CompanyId,
        shown: &Secret,
    ) -> Result<Option<TokenStanding>, ServiceError> {
        let (scope, digest, now) = (by.scope(), secret_digest(shown), self.core.now());
        self.core
            .read(move |reader| {
                if reader.company(scope, customer)?.is_none() {
                    return Err(ServiceError::not_found("customer", customer));
                }
                let Some(digest) = digest else {
                    return Ok(None);
                };
                let found = reader.token_by_digest(customer, digest)?;
                Ok(found.map(|token| token.standing(now)))
            })
            .await
    }

    /// Lists tokens, of one customer or of all, oldest first.
    pub async fn list_tokens(
        &self,
        by: &Actor,
        customer: Option<CompanyId>,
        page: PageRequest,
    ) -> Result<Page<Token>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.tokens(scope, customer, &page)).await
    }

    /// Revokes a token; it enrolls nothing from now on. A second call has no effect.
    pub async fn revoke_token(&self, by: &Actor, id: TokenId) -> Result<Token, ServiceError> {
        let now = self.core.now();
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let token = tx.token(by.scope(), id)?.ok_or_else(|| ServiceError::not_found("token", id))?;
                if token.revoked_at.is_some() {
                    return Ok(token);
                }
                tx.revoke_token(id, now)?;
                let detail = json!({"name": token.name});
                this.core.note(
                    tx,
                    &by,
                    Action::TokenRevoked,
                    Subject::Token(id),
                    Some(token.customer),
                    detail,
                );
                Ok(Token { revoked_at: Some(now), ..token })
            })
            .await
    }
}
