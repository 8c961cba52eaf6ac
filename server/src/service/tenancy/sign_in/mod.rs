//! Authentication: accounts by an API key or an access token, and service accounts that exchange a signed
//! assertion for an access token.
//!
//! `oauth.rs` has the messages of the token endpoint, `assertion.rs` the assertions; both are pure.

mod assertion;
mod oauth;

pub use oauth::{OAuthError, OAuthRefusal, TokenAnswer, TokenRequest};

use super::key_file::TOKEN_PATH;
use crate::{
    domain::{
        devices::token::secret_digest,
        tenancy::{
            access::{AccessScopes, Principal},
            actor::{Actor, Scope},
            audit::{Action, Event, Subject},
            company::CompanyKind,
            credential::{
                ACCESS_TOKEN_LIFETIME, ACCESS_TOKEN_PREFIX, AccessToken, ApiKey, CredentialKind,
                ServiceAccountKey,
            },
        },
    },
    entropy,
    service::{ServiceError, Tenancy},
    store::{SigningAccount, StoreError},
};
use assertion::{Assertion, Claims};
use serde_json::json;
use std::sync::Arc;
use unbox_common::{
    digest::Sha256,
    ids::{AccountId, CompanyId},
    secret::Secret,
    timestamp::Timestamp,
};

/// A service account that has proved its identity, and the scopes that it gets. Only
/// [`Tenancy::verify_assertion`] makes one.
#[derive(Debug)]
pub struct SignIn {
    by: SigningAccount,
    scopes: AccessScopes,
    at: Timestamp,
}

impl SignIn {
    /// Returns the account that signs in, for rate limits.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.by.principal.account
    }
}

impl Tenancy {
    /// Returns the principal behind this API key or access token.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`] if it is not valid, whatever the reason.
    pub async fn authenticate(&self, secret: &Secret) -> Result<Principal, ServiceError> {
        let unknown = ServiceError::Unauthenticated;
        let (Some(kind), Some(digest)) = (CredentialKind::of(secret), secret_digest(secret)) else {
            return Err(unknown);
        };
        let now = self.core.now();
        match kind {
            CredentialKind::AccessToken => {
                self.core.read(move |reader| reader.access_token_use(digest, now)).await?.ok_or(unknown)
            }
            CredentialKind::ApiKey => {
                let used =
                    self.core.read(move |reader| reader.api_key_use(digest, now)).await?.ok_or(unknown)?;
                if !ApiKey::is_use_noted(used.last_used_at, now) {
                    let key = used.key;
                    self.core.store.write_soon(move |tx| tx.note_api_key_use(key, now));
                }
                Ok(used.principal)
            }
        }
    }

    /// Returns a principal as an actor for a customer: the customer itself, an EMM that works for it, or
    /// the operator.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for everybody else, whether or not the customer exists.
    pub async fn actor_for_customer(
        &self,
        principal: &Principal,
        customer: CompanyId,
    ) -> Result<Actor, ServiceError> {
        let tenant = principal.tenant;
        let found = self.core.read(move |reader| {
            let may = match tenant {
                None => true,
                Some((own, CompanyKind::Customer)) => own == customer,
                Some((emm, CompanyKind::Emm)) => reader.works_for(emm, customer)?,
                Some((_, CompanyKind::Reseller | CompanyKind::Vendor)) => false,
            };
            Ok::<_, StoreError>((may, reader.company(Scope::Operator, customer)?))
        });
        let (may, found) = found.await?;
        match found.filter(|found| may && found.kind == CompanyKind::Customer) {
            Some(_) => Ok(principal.actor_for(customer)),
            None => Err(ServiceError::not_found("customer", customer)),
        }
    }

    /// Checks that an actor may continue a long task: its account is unchanged, and an EMM still works for
    /// the customer. It does not matter if a token has expired since the start.
    ///
    /// # Errors
    /// [`ServiceError::Unauthenticated`] if not.
    pub(in crate::service) async fn check_still_acts(&self, by: &Actor) -> Result<(), ServiceError> {
        let Some(id) = by.account() else { return Ok(()) };
        let (own, scope) = (by.company(), by.scope());
        let found = self.core.read(move |reader| {
            let works = match (own, scope) {
                (Some(own), Scope::Customer(customer)) if own != customer => {
                    reader.works_for(own, customer)?
                }
                _ => true,
            };
            Ok::<_, StoreError>((works, reader.account(Scope::Operator, id)?))
        });
        let (works, account) = found.await?;
        let stands = account.is_some_and(|account| {
            account.disabled_at.is_none() && account.role == by.role() && account.company == by.company()
        });
        if stands && works { Ok(()) } else { Err(ServiceError::Unauthenticated) }
    }

    /// Returns the signer of a request for an access token, and the scopes granted. Nothing is issued yet.
    ///
    /// # Errors
    /// [`OAuthError::Refused`] with the code of RFC 6749.
    pub async fn verify_assertion(&self, request: TokenRequest) -> Result<SignIn, OAuthError> {
        let now = self.core.now();
        let (by, claims) = self.verify_signer(&request, now).await?;
        claims.check(&self.core.settings, now)?;
        let scopes = grant_scopes(claims.scope.or(request.scope), &by.principal)?;
        Ok(SignIn { by, scopes, at: now })
    }

    /// Issues an access token for a verified sign-in. The same assertion is accepted again while it is
    /// valid: Google's clients send it again when an answer was lost.
    pub async fn issue_token(&self, sign_in: SignIn) -> Result<TokenAnswer, OAuthError> {
        let SignIn { by: SigningAccount { key, principal }, scopes, at } = sign_in;
        let end = at.plus(ACCESS_TOKEN_LIFETIME);
        let expires_at = key.expires_at.map_or(end, |sooner| sooner.min(end));
        let secret = entropy::credential_text(&*self.core.entropy, ACCESS_TOKEN_PREFIX)?;
        let digest = Sha256::of(secret.expose().as_bytes());
        let answer = TokenAnswer::new(secret, expires_at.duration_since(at).as_secs(), &scopes);
        let event = sign_in_event(&principal, &key, at);
        let token = AccessToken { digest, key: key.id, scopes, created_at: at, expires_at };
        let ids = Arc::clone(&self.core.ids);
        self.core
            .store
            .write(move |tx| {
                tx.insert_access_token(&token)?;
                tx.append(ids.next(at), event.clone());
                Ok::<_, ServiceError>(())
            })
            .await?;
        Ok(answer)
    }

    /// Verifies the signature of a request, and returns its signer and contents.
    async fn verify_signer(
        &self,
        request: &TokenRequest,
        now: Timestamp,
    ) -> Result<(SigningAccount, Claims), OAuthError> {
        let assertion = Assertion::read(request.assertion.expose())?;
        let (issuer, key) = (assertion.issuer.clone(), assertion.key.clone());
        let candidates =
            self.core.read(move |reader| reader.signing_accounts(&issuer, key.as_ref(), now)).await?;
        let verified = candidates.into_iter().find_map(|candidate| {
            let claims = assertion.verify(candidate.key.public_key.as_ref())?;
            Some((candidate, claims))
        });
        verified.ok_or_else(assertion::unknown_signer)
    }
}

/// Returns the scopes that the account gets of those that it requested.
fn grant_scopes(asked: Option<String>, principal: &Principal) -> Result<AccessScopes, OAuthError> {
    let known = asked.unwrap_or_default().parse::<AccessScopes>();
    let known =
        known.map_err(|_| OAuthRefusal::InvalidScope.with_description("A scope is not known here."))?;
    known.restrict_to(principal.scopes.clone()).ok_or_else(|| {
        OAuthRefusal::InvalidScope
            .with_description("An account of this kind of organisation may not have this scope.")
    })
}

fn sign_in_event(principal: &Principal, key: &ServiceAccountKey, now: Timestamp) -> Event {
    Event {
        at: now,
        actor: principal.actor().name().to_owned(),
        company: principal.company(),
        action: Action::SignedIn,
        subject: Subject::Account(principal.account),
        customer: principal.company(),
        detail: json!({"key": key.id}),
    }
}
