//! Who asks: accounts by an API key or an access token, and service accounts that exchange what they
//! signed for an access token.
//!
//! `oauth.rs` is what is said at the token endpoint, `assertion.rs` what is signed; both are pure.

mod assertion;
mod oauth;

pub use oauth::{OAuthError, OAuthRefusal, TokenAnswer, TokenRequest};

use super::{ServiceError, Services, key_file::TOKEN_PATH};
use crate::{
    domain::{
        access::{AccessScopes, Principal},
        actor::{Actor, Scope},
        audit::{Action, Event, Subject},
        company::CompanyKind,
        credential::{
            ACCESS_TOKEN_LIFETIME, ACCESS_TOKEN_PREFIX, AccessToken, ApiKey, CredentialKind,
            ServiceAccountKey,
        },
        token::secret_digest,
    },
    entropy,
    store::SigningAccount,
};
use assertion::{Assertion, Claims};
use serde_json::json;
use std::sync::Arc;
use unbox_common::{digest::Sha256, ids::CompanyId, secret::Secret, timestamp::Timestamp};

impl Services {
    /// Who shows this API key or access token.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`] if it opens nothing, whatever the reason.
    pub async fn authenticate(&self, secret: &Secret) -> Result<Principal, ServiceError> {
        let unknown = ServiceError::Unauthenticated;
        let (Some(kind), Some(digest)) = (CredentialKind::of(secret), secret_digest(secret)) else {
            return Err(unknown);
        };
        let now = self.now();
        let mut reader = self.0.store.reader().await?;
        match kind {
            CredentialKind::AccessToken => reader.access_token_use(digest, now).await?.ok_or(unknown),
            CredentialKind::ApiKey => {
                let used = reader.api_key_use(digest, now).await?.ok_or(unknown)?;
                if !ApiKey::is_use_noted(used.last_used_at, now) {
                    let key = used.key;
                    self.0
                        .store
                        .write_soon(move |tx| Box::pin(async move { tx.note_api_key_use(key, now).await }));
                }
                Ok(used.principal)
            }
        }
    }

    /// A principal as one who acts for a customer: the customer itself, an EMM that works for it, or the
    /// operator.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for everybody else, whether there is such a customer or not.
    pub async fn acting_for(
        &self,
        principal: &Principal,
        customer: CompanyId,
    ) -> Result<Actor, ServiceError> {
        let mut reader = self.0.store.reader().await?;
        let may = match principal.tenant {
            None => true,
            Some((own, CompanyKind::Customer)) => own == customer,
            Some((emm, CompanyKind::Emm)) => reader.works_for(emm, customer).await?,
            Some((_, CompanyKind::Reseller | CompanyKind::Vendor)) => false,
        };
        let found = reader.company(Scope::Operator, customer).await?;
        match found.filter(|found| may && found.kind == CompanyKind::Customer) {
            Some(_) => Ok(principal.actor_for(customer)),
            None => Err(ServiceError::not_found("customer", customer)),
        }
    }

    /// Exchanges what a service account signed for an access token. The same assertion is taken again
    /// as long as it is good: Google's clients send it again when an answer was lost.
    ///
    /// # Errors
    /// [`OAuthError::Refused`] with the code of RFC 6749, and nothing is issued.
    pub async fn exchange_assertion(&self, request: TokenRequest) -> Result<TokenAnswer, OAuthError> {
        let now = self.now();
        let (SigningAccount { key, principal }, claims) = self.verified(&request, now).await?;
        claims.judge(&self.settings().names, now)?;
        let scopes = granted(claims.scope.or(request.scope), &principal)?;
        let end = now.after(ACCESS_TOKEN_LIFETIME);
        let expires_at = key.expires_at.map_or(end, |sooner| sooner.min(end));
        let secret = entropy::credential_text(&*self.0.entropy, ACCESS_TOKEN_PREFIX)?;
        let answer = TokenAnswer::new(secret.clone(), expires_at.since(now).as_secs(), &scopes);
        let digest = Sha256::of(secret.expose().as_bytes());
        let token = AccessToken { digest, key: key.id.clone(), scopes, created_at: now, expires_at };
        let event = signed_in(&principal, &key, now);
        let ids = Arc::clone(&self.0.ids);
        self.0
            .store
            .write(move |tx| {
                let (token, event, id) = (token.clone(), event.clone(), ids.next(now));
                Box::pin(async move {
                    tx.insert_access_token(&token).await?;
                    tx.append(id, event);
                    Ok::<_, ServiceError>(())
                })
            })
            .await?;
        Ok(answer)
    }

    /// Who signed a request, and what.
    async fn verified(
        &self,
        request: &TokenRequest,
        now: Timestamp,
    ) -> Result<(SigningAccount, Claims), OAuthError> {
        let assertion = Assertion::read(request.assertion.expose())?;
        let mut reader = self.0.store.reader().await?;
        let candidates = reader.signing_accounts(&assertion.issuer, assertion.key.as_ref(), now).await?;
        drop(reader);
        let verified = candidates.into_iter().find_map(|candidate| {
            let claims = assertion.verify(candidate.key.public_key.as_ref())?;
            Some((candidate, claims))
        });
        verified.ok_or_else(assertion::unknown)
    }
}

/// The scopes that the account gets of those that it asked for.
fn granted(asked: Option<String>, principal: &Principal) -> Result<AccessScopes, OAuthError> {
    let known = asked.unwrap_or_default().parse::<AccessScopes>();
    let known = known.map_err(|_| OAuthRefusal::InvalidScope.because("A scope is not known here."))?;
    known.within(principal.scopes.clone()).ok_or_else(|| {
        OAuthRefusal::InvalidScope.because("An account of this kind of organisation may not have this scope.")
    })
}

fn signed_in(principal: &Principal, key: &ServiceAccountKey, now: Timestamp) -> Event {
    Event {
        at: now,
        actor: principal.actor().name().to_owned(),
        action: Action::SignedIn,
        subject: Subject::Account(principal.account),
        customer: principal.company(),
        detail: json!({"key": key.id}),
    }
}
