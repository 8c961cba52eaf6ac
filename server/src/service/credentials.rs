//! What accounts sign in with: API keys, and keys of service accounts.

use super::{
    ServiceError, Services,
    accounts::{managed_account, may_manage},
    key_file::{KeyPair, ServiceAccountKeyFile, public_key},
};
use crate::{
    domain::{
        account::{Account, AccountKind},
        actor::Actor,
        audit::{Action, Subject},
        credential::{API_KEY_PREFIX, ApiKey, KeyId, MAX_CREDENTIALS, ServiceAccountKey},
        name::Name,
    },
    entropy,
    store::{Page, PageRequest, Tx},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    ids::{AccountId, ApiKeyId},
    secret::Secret,
    timestamp::Timestamp,
};
use url::Url;

/// The longest time that a replaced API key stays good.
const MAX_OVERLAP: Duration = Duration::from_hours(30 * 24);

/// An API key that is to be created.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Who signs in with it.
    pub account: AccountId,
    /// What people call it.
    pub name: String,
    /// From when on it is worthless.
    pub expires_at: Option<Timestamp>,
}

impl Services {
    /// Creates an API key. The secret is returned here and never again.
    pub async fn create_api_key(&self, by: &Actor, new: NewApiKey) -> Result<(ApiKey, Secret), ServiceError> {
        let name: Name = new.name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        let (now, account) = (self.now(), new.account);
        in_time(new.expires_at, now)?;
        let (key, secret, digest) = self.api_key_of(account, name, new.expires_at)?;
        let (services, by) = (self.clone(), by.clone());
        let key = self
            .0
            .store
            .write(move |tx| {
                let (services, by, key) = (services.clone(), by.clone(), key.clone());
                Box::pin(async move {
                    let account = managed_account(tx, &by, account).await?;
                    room_for_another(tx.count_api_keys(account.id, now).await?, "API keys")?;
                    tx.insert_api_key(&key, digest).await?;
                    services.note_credential(tx, &by, Action::ApiKeyCreated, &account, named(&key));
                    Ok::<_, ServiceError>(key)
                })
            })
            .await?;
        Ok((key, secret))
    }

    /// Lists the API keys of an account, oldest first.
    pub async fn list_api_keys(
        &self,
        by: &Actor,
        account: AccountId,
        page: PageRequest,
    ) -> Result<Page<ApiKey>, ServiceError> {
        let account = self.account(by, account).await?;
        Ok(self.0.store.reader().await?.api_keys(by.scope(), account.id, &page).await?)
    }

    /// Replaces an API key by a new one of the same name and lifetime. The old one stays good for
    /// `overlap`, in which programs change over; with none it is revoked at once.
    pub async fn rotate_api_key(
        &self,
        by: &Actor,
        id: ApiKeyId,
        overlap: Duration,
    ) -> Result<(ApiKey, Secret), ServiceError> {
        if overlap > MAX_OVERLAP {
            return Err(ServiceError::invalid("overlap", "expected at most 30 days"));
        }
        let old = self.0.store.reader().await?.api_key(by.scope(), id).await?;
        let old = old.ok_or_else(|| no_api_key(id))?;
        let now = self.now();
        let expires_at = old.expires_at.map(|end| now.after(end.since(old.created_at)));
        let (new, secret, digest) = self.api_key_of(old.account, old.name, expires_at)?;
        let (services, by) = (self.clone(), by.clone());
        let key = self
            .0
            .store
            .write(move |tx| {
                let (services, by, new) = (services.clone(), by.clone(), new.clone());
                Box::pin(async move {
                    let (account, old) = managed_api_key(tx, &by, id).await?;
                    if old.revoked_at.is_some() || old.expires_at.is_some_and(|end| end <= now) {
                        let advice = "It is not in force any more. Create a new key.";
                        return Err(ServiceError::Conflict(advice.to_owned()));
                    }
                    // The old key makes room for the new one, unless both are good for a while.
                    let others = tx.count_api_keys(account.id, now).await?;
                    room_for_another(others.saturating_sub(overlap.is_zero().into()), "API keys")?;
                    tx.end_api_key(&ended(old, now, overlap)).await?;
                    tx.insert_api_key(&new, digest).await?;
                    let detail = json!({"key": new.id, "name": new.name, "expires_at": new.expires_at, "replaces": id});
                    services.note_credential(tx, &by, Action::ApiKeyRotated, &account, detail);
                    Ok(new)
                })
            })
            .await?;
        Ok((key, secret))
    }

    /// Revokes an API key; it opens nothing from now on. Once more changes nothing.
    pub async fn revoke_api_key(&self, by: &Actor, id: ApiKeyId) -> Result<ApiKey, ServiceError> {
        let now = self.now();
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by) = (services.clone(), by.clone());
                Box::pin(async move {
                    let (account, key) = managed_api_key(tx, &by, id).await?;
                    if key.revoked_at.is_some() {
                        return Ok(key);
                    }
                    let key = ended(key, now, Duration::ZERO);
                    tx.end_api_key(&key).await?;
                    services.note_credential(tx, &by, Action::ApiKeyRevoked, &account, named(&key));
                    Ok(key)
                })
            })
            .await
    }

    /// Makes a key for a service account, and the file with which Google's client libraries sign in at
    /// `base_url`. The private half is in that file and nowhere else.
    pub async fn create_service_account_key(
        &self,
        by: &Actor,
        account: AccountId,
        base_url: &Url,
        expires_at: Option<Timestamp>,
    ) -> Result<(ServiceAccountKey, ServiceAccountKeyFile), ServiceError> {
        // Asked before the work; what counts is asked again when the key is stored.
        let holder = self.account(by, account).await?;
        may_manage(by, holder.role)?;
        signs_in_by_key(&holder)?;
        let now = self.now();
        in_time(expires_at, now)?;
        let in_force = self.0.store.reader().await?.count_service_account_keys(account, now).await?;
        room_for_another(in_force, "keys")?;
        let pair = self.key_pair().await?;
        let key = self.add_key(by, account, pair.public.clone(), expires_at, "made").await?;
        let file = ServiceAccountKeyFile::new(&holder, &key.id, pair.private, base_url);
        Ok((key, file))
    }

    /// Takes the public half of a key that its owner made: `SubjectPublicKeyInfo`, PEM.
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
        Ok(self.0.store.reader().await?.service_account_keys(by.scope(), account.id, &page).await?)
    }

    /// Revokes a key of a service account, and with it every token that it was exchanged for. Once
    /// more changes nothing.
    pub async fn revoke_service_account_key(
        &self,
        by: &Actor,
        id: &KeyId,
    ) -> Result<ServiceAccountKey, ServiceError> {
        let now = self.now();
        let (services, by, id) = (self.clone(), by.clone(), id.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by, id) = (services.clone(), by.clone(), id.clone());
                Box::pin(async move {
                    let (account, key) = managed_key(tx, &by, &id).await?;
                    if key.revoked_at.is_some() {
                        return Ok(key);
                    }
                    tx.revoke_service_account_key(&id, now).await?;
                    let action = Action::ServiceAccountKeyRevoked;
                    services.note_credential(tx, &by, action, &account, json!({"key": id}));
                    Ok(ServiceAccountKey { revoked_at: Some(now), ..key })
                })
            })
            .await
    }

    /// Makes one key at a time: it keeps a processor busy, and whoever asks for many waits for them.
    async fn key_pair(&self) -> Result<KeyPair, ServiceError> {
        let _turn = self.0.key_making.lock().await;
        let entropy = Arc::clone(&self.0.entropy);
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
        let now = self.now();
        in_time(expires_at, now)?;
        let mut id = [0; 20];
        self.0.entropy.fill(&mut id)?;
        let key = ServiceAccountKey {
            id: KeyId::new(id),
            account,
            public_key,
            created_at: now,
            expires_at,
            revoked_at: None,
        };
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by, key) = (services.clone(), by.clone(), key.clone());
                Box::pin(async move {
                    let account = managed_account(tx, &by, account).await?;
                    signs_in_by_key(&account)?;
                    room_for_another(tx.count_service_account_keys(account.id, now).await?, "keys")?;
                    tx.insert_service_account_key(&key).await?;
                    let detail = json!({"key": key.id, "origin": origin, "expires_at": key.expires_at});
                    let action = Action::ServiceAccountKeyCreated;
                    services.note_credential(tx, &by, action, &account, detail);
                    Ok(key)
                })
            })
            .await
    }

    fn api_key_of(
        &self,
        account: AccountId,
        name: Name,
        expires_at: Option<Timestamp>,
    ) -> Result<(ApiKey, Secret, Sha256), ServiceError> {
        let now = self.now();
        let secret = entropy::credential_text(&*self.0.entropy, API_KEY_PREFIX)?;
        let digest = Sha256::of(secret.expose().as_bytes());
        let key = ApiKey {
            id: self.0.ids.api_key(now),
            account,
            name,
            prefix: ApiKey::shown(&secret),
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
        self.note(tx, by, action, Subject::Account(account.id), account.company, detail);
    }
}

/// An API key that the actor may end, and its account, which nobody else changes meanwhile.
async fn managed_api_key(tx: &mut Tx, by: &Actor, id: ApiKeyId) -> Result<(Account, ApiKey), ServiceError> {
    let key = tx.api_key(by.scope(), id).await?.ok_or_else(|| no_api_key(id))?;
    let account = managed_account(tx, by, key.account).await?;
    // Once more: whoever held the lock before may have ended it.
    let key = tx.api_key(by.scope(), id).await?.ok_or_else(|| no_api_key(id))?;
    Ok((account, key))
}

/// The same for a key of a service account.
async fn managed_key(
    tx: &mut Tx,
    by: &Actor,
    id: &KeyId,
) -> Result<(Account, ServiceAccountKey), ServiceError> {
    let gone = || ServiceError::not_found("key", id);
    let key = tx.service_account_key(by.scope(), id).await?.ok_or_else(gone)?;
    let account = managed_account(tx, by, key.account).await?;
    let key = tx.service_account_key(by.scope(), id).await?.ok_or_else(gone)?;
    Ok((account, key))
}

fn named(key: &ApiKey) -> serde_json::Value {
    json!({"key": key.id, "name": key.name, "expires_at": key.expires_at})
}

/// A key that ends after `overlap`, or now.
fn ended(key: ApiKey, now: Timestamp, overlap: Duration) -> ApiKey {
    if overlap.is_zero() {
        return ApiKey { revoked_at: Some(now), ..key };
    }
    let end = now.after(overlap);
    ApiKey { expires_at: Some(key.expires_at.map_or(end, |sooner| sooner.min(end))), ..key }
}

fn in_time(expires_at: Option<Timestamp>, now: Timestamp) -> Result<(), ServiceError> {
    if expires_at.is_some_and(|end| end <= now) {
        return Err(ServiceError::invalid("expires_at", "expected a time to come"));
    }
    Ok(())
}

fn room_for_another(in_force: u64, what: &str) -> Result<(), ServiceError> {
    if in_force < MAX_CREDENTIALS {
        return Ok(());
    }
    Err(ServiceError::Conflict(format!(
        "This account has {MAX_CREDENTIALS} {what} in force, which is the most. Revoke one first."
    )))
}

fn signs_in_by_key(account: &Account) -> Result<(), ServiceError> {
    if account.kind == AccountKind::ServiceAccount {
        return Ok(());
    }
    let advice = "A person has no key file. Create a service account for the program.";
    Err(ServiceError::Conflict(advice.to_owned()))
}

fn no_api_key(id: ApiKeyId) -> ServiceError {
    ServiceError::not_found("API key", id)
}
