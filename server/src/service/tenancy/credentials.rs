//! Credentials of accounts: API keys, and keys of service accounts.

use super::{
    accounts::{check_may_manage, managed_account},
    key_file::{KeyPair, ServiceAccountKeyFile, public_key},
};
use crate::{
    domain::{
        name::Name,
        tenancy::{
            account::{Account, AccountKind},
            actor::Actor,
            audit::{Action, Subject},
            credential::{API_KEY_PREFIX, ApiKey, KeyId, MAX_CREDENTIALS, ServiceAccountKey},
        },
    },
    entropy,
    service::{ServiceError, Tenancy},
    store::{KeysOf, Page, PageRequest, Tx},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    ids::{AccountId, ApiKeyId, CompanyId},
    secret::Secret,
    timestamp::Timestamp,
};
use url::Url;

/// The longest time for which a replaced key stays valid.
const MAX_OVERLAP: Duration = Duration::from_hours(30 * 24);

/// An API key to create.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// The account that signs in with it.
    pub account: AccountId,
    /// The name that people use for it.
    pub name: String,
    /// The time of its expiry.
    pub expires_at: Option<Timestamp>,
}

impl Tenancy {
    /// Creates an API key. The secret is returned only this once.
    pub async fn create_api_key(&self, by: &Actor, new: NewApiKey) -> Result<(ApiKey, Secret), ServiceError> {
        let name: Name = new.name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        let now = self.core.now();
        check_expiry(new.expires_at, now)?;
        let holder = self.account(by, new.account).await?;
        let (key, secret, digest) =
            self.api_key_of((holder.id, holder.kind, holder.company), name, new.expires_at)?;
        let (this, by) = (self.clone(), by.clone());
        let key = self
            .core
            .store
            .write(move |tx| {
                let account = managed_account(tx, &by, key.account)?;
                check_credential_limit(tx.count_api_keys(account.id, now)?, "API keys")?;
                tx.insert_api_key(&key, digest)?;
                this.note_credential(tx, &by, Action::ApiKeyCreated, &account, api_key_detail(&key));
                Ok::<_, ServiceError>(key.clone())
            })
            .await?;
        Ok((key, secret))
    }

    /// Lists the API keys of an account or of a whole company, oldest first.
    pub async fn list_api_keys(
        &self,
        by: &Actor,
        of: KeysOf,
        page: PageRequest,
    ) -> Result<Page<ApiKey>, ServiceError> {
        if let KeysOf::Account(account) = of {
            self.account(by, account).await?;
        }
        let scope = by.scope();
        self.core.read(move |reader| reader.api_keys(scope, of, &page)).await
    }

    /// Finds an API key by its id.
    pub async fn api_key(&self, by: &Actor, id: ApiKeyId) -> Result<ApiKey, ServiceError> {
        let scope = by.scope();
        let found = self.core.read(move |reader| reader.api_key(scope, id)).await?;
        found.ok_or_else(|| api_key_not_found(id))
    }

    /// Replaces an API key with a new one of the same name and lifetime. The old one stays valid for
    /// `overlap`, while programs switch over; with an overlap of zero it is revoked at once.
    pub async fn rotate_api_key(
        &self,
        by: &Actor,
        id: ApiKeyId,
        overlap: Duration,
    ) -> Result<(ApiKey, Secret), ServiceError> {
        check_overlap(overlap)?;
        let old = self.api_key(by, id).await?;
        let now = self.core.now();
        let expires_at = old.expires_at.map(|end| now.plus(end.duration_since(old.created_at)));
        let holder = (old.account, old.account_kind, old.company);
        let (new, secret, digest) = self.api_key_of(holder, old.name, expires_at)?;
        let (this, by) = (self.clone(), by.clone());
        let key = self
            .core
            .store
            .write(move |tx| {
                let (account, old) = managed_api_key(tx, &by, id)?;
                check_in_force(old.revoked_at, old.expires_at, now)?;
                // The old key makes room for the new one, unless both are valid for a while.
                let others = tx.count_api_keys(account.id, now)?;
                check_credential_limit(others.saturating_sub(overlap.is_zero().into()), "API keys")?;
                let (expires_at, revoked_at) = replaced_key_end(old.expires_at, now, overlap);
                tx.end_api_key(&ApiKey { expires_at, revoked_at, ..old })?;
                tx.insert_api_key(&new, digest)?;
                let detail =
                    json!({"key": new.id, "name": new.name, "expires_at": new.expires_at, "replaces": id});
                this.note_credential(tx, &by, Action::ApiKeyRotated, &account, detail);
                Ok::<_, ServiceError>(new.clone())
            })
            .await?;
        Ok((key, secret))
    }

    /// Revokes an API key. A second call has no effect.
    pub async fn revoke_api_key(&self, by: &Actor, id: ApiKeyId) -> Result<ApiKey, ServiceError> {
        let now = self.core.now();
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let (account, key) = managed_api_key(tx, &by, id)?;
                if key.revoked_at.is_some() {
                    return Ok(key);
                }
                let key = ApiKey { revoked_at: Some(now), ..key };
                tx.end_api_key(&key)?;
                this.note_credential(tx, &by, Action::ApiKeyRevoked, &account, api_key_detail(&key));
                Ok(key.clone())
            })
            .await
    }

    /// Makes a key for a service account, and the file with which Google's client libraries sign in at
    /// `base_url`. That file has the only copy of the private half.
    pub async fn create_service_account_key(
        &self,
        by: &Actor,
        account: AccountId,
        base_url: &Url,
        expires_at: Option<Timestamp>,
    ) -> Result<(ServiceAccountKey, ServiceAccountKeyFile), ServiceError> {
        let now = self.core.now();
        check_expiry(expires_at, now)?;
        let holder = self.key_holder(by, account).await?;
        let in_force = self.core.read(move |reader| reader.count_service_account_keys(account, now)).await?;
        check_credential_limit(in_force, "keys")?;
        let pair = self.key_pair().await?;
        let key = self.add_key(by, account, pair.public.clone(), expires_at, "made").await?;
        let file = ServiceAccountKeyFile::new(&holder, &key.id, pair.private, base_url);
        Ok((key, file))
    }

    /// Replaces a key of a service account with one made here, with the same lifetime. The old one stays
    /// valid for `overlap`, while programs switch over; with an overlap of zero it is revoked at once.
    pub async fn rotate_service_account_key(
        &self,
        by: &Actor,
        id: &KeyId,
        base_url: &Url,
        overlap: Duration,
    ) -> Result<(ServiceAccountKey, ServiceAccountKeyFile), ServiceError> {
        check_overlap(overlap)?;
        let now = self.core.now();
        let old = self.service_account_key(by, id).await?;
        check_in_force(old.revoked_at, old.expires_at, now)?;
        let holder = self.key_holder(by, old.account).await?;
        let expires_at = old.expires_at.map(|end| now.plus(end.duration_since(old.created_at)));
        let pair = self.key_pair().await?;
        let new = self.key_of(holder.id, pair.public.clone(), expires_at)?;
        let (this, by, id) = (self.clone(), by.clone(), id.clone());
        let key = self
            .core
            .store
            .write(move |tx| {
                let (account, old) = managed_key(tx, &by, &id)?;
                check_in_force(old.revoked_at, old.expires_at, now)?;
                let others = tx.count_service_account_keys(account.id, now)?;
                check_credential_limit(others.saturating_sub(overlap.is_zero().into()), "keys")?;
                let (expires_at, revoked_at) = replaced_key_end(old.expires_at, now, overlap);
                tx.end_service_account_key(&ServiceAccountKey { expires_at, revoked_at, ..old })?;
                tx.insert_service_account_key(&new)?;
                let detail = json!({"key": new.id, "expires_at": new.expires_at, "replaces": id});
                let action = Action::ServiceAccountKeyRotated;
                this.note_credential(tx, &by, action, &account, detail);
                Ok::<_, ServiceError>(new.clone())
            })
            .await?;
        let file = ServiceAccountKeyFile::new(&holder, &key.id, pair.private, base_url);
        Ok((key, file))
    }

    /// Returns a key of a service account by its id.
    pub async fn service_account_key(
        &self,
        by: &Actor,
        id: &KeyId,
    ) -> Result<ServiceAccountKey, ServiceError> {
        let (scope, sought) = (by.scope(), id.clone());
        let found = self.core.read(move |reader| reader.service_account_key(scope, &sought)).await?;
        found.ok_or_else(|| key_not_found(id))
    }

    /// Returns the service account that a key is to be made for. This early check saves work; the binding
    /// check happens when the key is stored.
    async fn key_holder(&self, by: &Actor, account: AccountId) -> Result<Account, ServiceError> {
        let holder = self.account(by, account).await?;
        check_may_manage(by, holder.role)?;
        check_signs_in_by_key(&holder)?;
        Ok(holder)
    }

    /// Imports the public half of a key that its owner made: `SubjectPublicKeyInfo`, PEM.
    pub async fn add_service_account_key(
        &self,
        by: &Actor,
        account: AccountId,
        pem: &str,
        expires_at: Option<Timestamp>,
    ) -> Result<ServiceAccountKey, ServiceError> {
        let public = public_key(pem).map_err(|error| ServiceError::invalid("public_key", error))?;
        self.add_key(by, account, public, expires_at, "handed_in").await
    }

    /// Lists the keys of a service account.
    pub async fn list_service_account_keys(
        &self,
        by: &Actor,
        account: AccountId,
        page: PageRequest,
    ) -> Result<Page<ServiceAccountKey>, ServiceError> {
        let account = self.account(by, account).await?;
        let scope = by.scope();
        self.core.read(move |reader| reader.service_account_keys(scope, account.id, &page)).await
    }

    /// Revokes a key of a service account, with every token that it was exchanged for. A second call has no
    /// effect.
    pub async fn revoke_service_account_key(
        &self,
        by: &Actor,
        id: &KeyId,
    ) -> Result<ServiceAccountKey, ServiceError> {
        let now = self.core.now();
        let (this, by, id) = (self.clone(), by.clone(), id.clone());
        self.core
            .store
            .write(move |tx| {
                let (account, key) = managed_key(tx, &by, &id)?;
                if key.revoked_at.is_some() {
                    return Ok(key);
                }
                let key = ServiceAccountKey { revoked_at: Some(now), ..key };
                tx.end_service_account_key(&key)?;
                let action = Action::ServiceAccountKeyRevoked;
                this.note_credential(tx, &by, action, &account, json!({"key": id}));
                Ok(key)
            })
            .await
    }

    /// Makes one key at a time, because each keeps a processor busy: many requests wait for one another.
    async fn key_pair(&self) -> Result<KeyPair, ServiceError> {
        let _turn = self.key_making.lock().await;
        let entropy = Arc::clone(&self.core.entropy);
        let making = tokio::task::spawn_blocking(move || KeyPair::generate(&*entropy));
        making.await.map_err(|_| ServiceError::Busy)?
    }

    async fn add_key(
        &self,
        by: &Actor,
        account: AccountId,
        public_key: Bytes,
        expires_at: Option<Timestamp>,
        origin: &'static str,
    ) -> Result<ServiceAccountKey, ServiceError> {
        let now = self.core.now();
        check_expiry(expires_at, now)?;
        let key = self.key_of(account, public_key, expires_at)?;
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let account = managed_account(tx, &by, account)?;
                check_signs_in_by_key(&account)?;
                check_credential_limit(tx.count_service_account_keys(account.id, now)?, "keys")?;
                tx.insert_service_account_key(&key)?;
                let detail = json!({"key": key.id, "origin": origin, "expires_at": key.expires_at});
                let action = Action::ServiceAccountKeyCreated;
                this.note_credential(tx, &by, action, &account, detail);
                Ok(key.clone())
            })
            .await
    }

    fn key_of(
        &self,
        account: AccountId,
        public_key: Bytes,
        expires_at: Option<Timestamp>,
    ) -> Result<ServiceAccountKey, ServiceError> {
        let mut id = [0; 20];
        self.core.entropy.fill(&mut id)?;
        let (id, created_at) = (KeyId::new(id), self.core.now());
        Ok(ServiceAccountKey { id, account, public_key, created_at, expires_at, revoked_at: None })
    }

    fn api_key_of(
        &self,
        (account, account_kind, company): (AccountId, AccountKind, Option<CompanyId>),
        name: Name,
        expires_at: Option<Timestamp>,
    ) -> Result<(ApiKey, Secret, Sha256), ServiceError> {
        let now = self.core.now();
        let secret = entropy::credential_text(&*self.core.entropy, API_KEY_PREFIX)?;
        let digest = Sha256::of(secret.expose().as_bytes());
        let key = ApiKey {
            id: self.core.ids.api_key(now),
            account,
            account_kind,
            company,
            name,
            prefix: ApiKey::stored_prefix(&secret),
            created_at: now,
            expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        Ok((key, secret, digest))
    }

    fn note_credential(
        &self,
        tx: &mut Tx,
        by: &Actor,
        action: Action,
        account: &Account,
        detail: serde_json::Value,
    ) {
        self.core.note(tx, by, action, Subject::Account(account.id), account.company, detail);
    }
}

/// Returns an API key that the actor may revoke, and its account, locked until the transaction ends.
fn managed_api_key(tx: &mut Tx, by: &Actor, id: ApiKeyId) -> Result<(Account, ApiKey), ServiceError> {
    let key = tx.api_key(by.scope(), id)?.ok_or_else(|| api_key_not_found(id))?;
    let account = managed_account(tx, by, key.account)?;
    // Read again: the previous holder of the lock may have revoked it.
    let key = tx.api_key(by.scope(), id)?.ok_or_else(|| api_key_not_found(id))?;
    Ok((account, key))
}

/// Returns a key of a service account that the actor may revoke, and the account, locked in the same way.
fn managed_key(tx: &mut Tx, by: &Actor, id: &KeyId) -> Result<(Account, ServiceAccountKey), ServiceError> {
    let key = tx.service_account_key(by.scope(), id)?.ok_or_else(|| key_not_found(id))?;
    let account = managed_account(tx, by, key.account)?;
    let key = tx.service_account_key(by.scope(), id)?.ok_or_else(|| key_not_found(id))?;
    Ok((account, key))
}

fn api_key_detail(key: &ApiKey) -> serde_json::Value {
    json!({"key": key.id, "name": key.name, "expires_at": key.expires_at})
}

/// Returns the new expiry and the revocation time of a key that is replaced now and was valid until
/// `expires_at`.
fn replaced_key_end(
    expires_at: Option<Timestamp>,
    now: Timestamp,
    overlap: Duration,
) -> (Option<Timestamp>, Option<Timestamp>) {
    if overlap.is_zero() {
        return (expires_at, Some(now));
    }
    let end = now.plus(overlap);
    (Some(expires_at.map_or(end, |sooner| sooner.min(end))), None)
}

fn check_overlap(overlap: Duration) -> Result<(), ServiceError> {
    if overlap > MAX_OVERLAP {
        return Err(ServiceError::invalid("overlap", "expected at most 30 days"));
    }
    Ok(())
}

fn check_in_force(
    revoked_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), ServiceError> {
    if revoked_at.is_some() || expires_at.is_some_and(|end| end <= now) {
        return Err(ServiceError::Conflict("It is not in force any more. Create a new key.".to_owned()));
    }
    Ok(())
}

fn check_expiry(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), ServiceError> {
    if expires_at.is_some_and(|end| end <= now) {
        return Err(ServiceError::invalid("expires_at", "expected a time to come"));
    }
    Ok(())
}

fn check_credential_limit(in_force: u64, what: &str) -> Result<(), ServiceError> {
    if in_force < MAX_CREDENTIALS {
        return Ok(());
    }
    Err(ServiceError::Conflict(format!(
        "This account has {MAX_CREDENTIALS} {what} in force, which is the most. Revoke one first."
    )))
}

fn check_signs_in_by_key(account: &Account) -> Result<(), ServiceError> {
    if account.kind == AccountKind::ServiceAccount {
        return Ok(());
    }
    let advice = "A person has no key file. Create a service account for the program.";
    Err(ServiceError::Conflict(advice.to_owned()))
}

fn key_not_found(id: &KeyId) -> ServiceError {
    ServiceError::not_found("key", id)
}

fn api_key_not_found(id: ApiKeyId) -> ServiceError {
    ServiceError::not_found("API key", id)
}
