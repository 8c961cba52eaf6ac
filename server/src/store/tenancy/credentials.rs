//! Credentials of accounts: digests and public keys, never secrets.

use super::accounts::accounts_within;
use crate::{
    domain::tenancy::{
        access::{AccessScopes, Principal},
        actor::Scope,
        company::CompanyKind,
        credential::{AccessToken, ApiKey, KeyId, MAX_CREDENTIALS, NOTE_USE_EVERY, ServiceAccountKey},
    },
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::{Row, query},
        error::check_one_row,
        row::{Fields, millis},
    },
};
use unbox_common::{
    bytes::{Bytes, from_base64, to_base64},
    digest::Sha256,
    ids::{AccountId, ApiKeyId, CompanyId},
    timestamp::Timestamp,
};

const SELECT_API_KEY: &str = "SELECT k.id, k.account_id, k.name, k.prefix, k.created_at, k.expires_at,
    k.revoked_at, k.last_used_at, a.company_id, a.kind AS account_kind FROM api_keys AS k JOIN accounts AS a ON a.id = k.account_id WHERE 1 = 1";

/// The columns of a service account's key, named `k` in its statement.
macro_rules! key_columns {
    () => {
        "k.id AS key_id, k.account_id AS key_account_id, k.public_key, k.created_at AS key_created_at,
         k.expires_at AS key_expires_at, k.revoked_at AS key_revoked_at"
    };
}

/// The columns of a principal, in a statement that joins accounts `a` and companies `c`.
macro_rules! principal_columns {
    () => {
        "a.id AS account_id, a.name AS account_name, a.role AS account_role, c.id AS company_id,
         c.kind AS company_kind"
    };
}

/// The API keys to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysOf {
    /// The keys of one account.
    Account(AccountId),
    /// The keys of all accounts of a company.
    Company(CompanyId),
}

/// The principal behind an API key, and the last use of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyUse {
    /// The principal.
    pub principal: Principal,
    /// The key.
    pub key: ApiKeyId,
    /// The last recorded use.
    pub last_used_at: Option<Timestamp>,
}

/// A key with which a service account may have signed, and the principal behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningAccount {
    /// The key.
    pub key: ServiceAccountKey,
    /// The principal, with all scopes that it may request.
    pub principal: Principal,
}

fn api_key(row: &Row) -> Result<ApiKey, StoreError> {
    let fields = Fields::of(row, "api_keys", "id");
    Ok(ApiKey {
        id: fields.id("id", ApiKeyId::new)?,
        account: fields.id("account_id", AccountId::new)?,
        account_kind: fields.parse("account_kind")?,
        company: fields.id_opt("company_id", CompanyId::new)?,
        name: fields.parse("name")?,
        prefix: fields.read("prefix")?,
        created_at: fields.time("created_at")?,
        expires_at: fields.time_opt("expires_at")?,
        revoked_at: fields.time_opt("revoked_at")?,
        last_used_at: fields.time_opt("last_used_at")?,
    })
}

fn service_account_key(row: &Row) -> Result<ServiceAccountKey, StoreError> {
    let fields = Fields::of(row, "service_account_keys", "key_id");
    let public_key = from_base64(fields.read("public_key")?);
    Ok(ServiceAccountKey {
        id: fields.parse("key_id")?,
        account: fields.id("key_account_id", AccountId::new)?,
        public_key: public_key.map(Bytes).map_err(|error| fields.wrong_value("public_key", error))?,
        created_at: fields.time("key_created_at")?,
        expires_at: fields.time_opt("key_expires_at")?,
        revoked_at: fields.time_opt("key_revoked_at")?,
    })
}

/// Reads a principal from a row with [`principal_columns`], with all scopes that it may have.
fn principal(row: &Row) -> Result<Principal, StoreError> {
    let account = Fields::of(row, "accounts", "account_id");
    let company = Fields::of(row, "companies", "company_id");
    let kind: Option<CompanyKind> = company.parse_opt("company_kind")?;
    Ok(Principal {
        account: account.id("account_id", AccountId::new)?,
        name: account.parse("account_name")?,
        tenant: company.id_opt("company_id", CompanyId::new)?.zip(kind),
        role: account.parse("account_role")?,
        scopes: AccessScopes::of(kind),
    })
}

impl Reader {
    /// Returns the principal behind the API key with this digest, if it is valid at `now`.
    pub fn api_key_use(&mut self, digest: Sha256, now: Timestamp) -> Result<Option<ApiKeyUse>, StoreError> {
        let row = query(concat!(
            "SELECT ",
            principal_columns!(),
            ", k.id AS key_id, k.last_used_at
             FROM api_keys AS k JOIN accounts AS a ON a.id = k.account_id
             LEFT JOIN companies AS c ON c.id = a.company_id
             WHERE k.digest = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > $2)
                 AND a.disabled_at IS NULL",
        ))
        .bind(digest.to_string())
        .bind(millis(now))
        .fetch_optional(self.connection(), "look up an API key")?;
        let Some(row) = row else { return Ok(None) };
        let fields = Fields::of(&row, "api_keys", "key_id");
        Ok(Some(ApiKeyUse {
            principal: principal(&row)?,
            key: fields.id("key_id", ApiKeyId::new)?,
            last_used_at: fields.time_opt("last_used_at")?,
        }))
    }

    /// Returns the principal behind the access token with this digest, if it is valid at `now`.
    pub fn access_token_use(
        &mut self,
        digest: Sha256,
        now: Timestamp,
    ) -> Result<Option<Principal>, StoreError> {
        let row = query(concat!(
            "SELECT ",
            principal_columns!(),
            ", t.digest, t.scopes
             FROM access_tokens AS t JOIN service_account_keys AS k ON k.id = t.key_id
             JOIN accounts AS a ON a.id = k.account_id LEFT JOIN companies AS c ON c.id = a.company_id
             WHERE t.digest = $1 AND t.expires_at > $2 AND k.revoked_at IS NULL
                 AND (k.expires_at IS NULL OR k.expires_at > $2) AND a.disabled_at IS NULL",
        ))
        .bind(digest.to_string())
        .bind(millis(now))
        .fetch_optional(self.connection(), "look up an access token")?;
        let Some(row) = row else { return Ok(None) };
        let scopes = Fields::of(&row, "access_tokens", "digest").parse("scopes")?;
        Ok(Some(Principal { scopes, ..principal(&row)? }))
    }

    /// Returns the keys with which this service account may sign at `now`, or only the named one.
    pub fn signing_accounts(
        &mut self,
        email: &str,
        key: Option<&KeyId>,
        now: Timestamp,
    ) -> Result<Vec<SigningAccount>, StoreError> {
        let mut sql = self.sql(concat!(
            "SELECT ",
            principal_columns!(),
            ", ",
            key_columns!(),
            " FROM accounts AS a JOIN service_account_keys AS k ON k.account_id = a.id
             LEFT JOIN companies AS c ON c.id = a.company_id
             WHERE a.disabled_at IS NULL AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > ",
        ));
        sql.bind(millis(now))
            .push(")")
            .filter("a.email =", Some(email.to_owned()))
            .filter("k.id =", key.map(|key| key.as_str().to_owned()))
            .push(" ORDER BY k.created_at DESC LIMIT ")
            .bind(i64::try_from(MAX_CREDENTIALS).unwrap_or(i64::MAX));
        let rows = sql.query().fetch_all(self.connection(), "look up signing keys")?;
        let signing =
            |row: &Row| Ok(SigningAccount { key: service_account_key(row)?, principal: principal(row)? });
        rows.iter().map(signing).collect()
    }

    /// Returns an API key, if its account is in the scope.
    pub fn api_key(&mut self, scope: Scope, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        let mut sql = self.sql(SELECT_API_KEY);
        sql.filter("k.id =", Some(id.get()));
        accounts_within(&mut sql, scope);
        let row = sql.query().fetch_optional(self.connection(), "find an API key")?;
        row.as_ref().map(api_key).transpose()
    }

    /// Lists the API keys of an account or of a whole company, oldest first.
    pub fn api_keys(
        &mut self,
        scope: Scope,
        of: KeysOf,
        page: &PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        let mut sql = self.sql(SELECT_API_KEY);
        match of {
            KeysOf::Account(account) => sql.filter("k.account_id =", Some(account.get())),
            KeysOf::Company(company) => sql.filter("a.company_id =", Some(company.get())),
        };
        sql.filter("k.id >", page.key::<i64>()?);
        accounts_within(&mut sql, scope);
        sql.push(" ORDER BY k.id LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list API keys")?;
        let keys = rows.iter().map(api_key).collect::<Result<_, _>>()?;
        Ok(page.page(keys, |one: &ApiKey| one.id))
    }

    /// Returns a key of a service account, if the account is in the scope.
    pub fn service_account_key(
        &mut self,
        scope: Scope,
        id: &KeyId,
    ) -> Result<Option<ServiceAccountKey>, StoreError> {
        let mut sql = self.service_account_keys_sql();
        sql.filter("k.id =", Some(id.as_str().to_owned()));
        accounts_within(&mut sql, scope);
        let row = sql.query().fetch_optional(self.connection(), "find a key")?;
        row.as_ref().map(service_account_key).transpose()
    }

    /// Lists the keys of a service account, by their ids.
    pub fn service_account_keys(
        &mut self,
        scope: Scope,
        account: AccountId,
        page: &PageRequest,
    ) -> Result<Page<ServiceAccountKey>, StoreError> {
        let mut sql = self.service_account_keys_sql();
        let after = page.key::<KeyId>()?.map(|key| key.to_string());
        sql.filter("k.account_id =", Some(account.get())).filter("k.id >", after);
        accounts_within(&mut sql, scope);
        sql.push(" ORDER BY k.id LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list keys")?;
        let keys = rows.iter().map(service_account_key).collect::<Result<_, _>>()?;
        Ok(page.page(keys, |one: &ServiceAccountKey| one.id.clone()))
    }

    fn service_account_keys_sql(&self) -> crate::store::sql::Sql {
        self.sql(concat!(
            "SELECT ",
            key_columns!(),
            " FROM service_account_keys AS k JOIN accounts AS a ON a.id = k.account_id WHERE 1 = 1"
        ))
    }

    /// Counts the API keys of an account that are valid at `now`.
    pub fn count_api_keys(&mut self, account: AccountId, now: Timestamp) -> Result<u64, StoreError> {
        let counted = "SELECT COUNT(*) AS credentials FROM api_keys WHERE account_id = $1
            AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
        self.count_credentials(counted, account, now)
    }

    /// Counts the keys that a service account can sign with at `now`.
    pub fn count_service_account_keys(
        &mut self,
        account: AccountId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let counted = "SELECT COUNT(*) AS credentials FROM service_account_keys WHERE account_id = $1
            AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)";
        self.count_credentials(counted, account, now)
    }

    fn count_credentials(
        &mut self,
        statement: &'static str,
        account: AccountId,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let row = query(statement)
            .bind(account.get())
            .bind(millis(now))
            .fetch_one(self.connection(), "count what an account signs in with")?;
        Fields::of(&row, "accounts", "credentials").count("credentials")
    }
}

impl Tx {
    /// Adds an API key by the digest of its secret.
    pub fn insert_api_key(&mut self, new: &ApiKey, digest: Sha256) -> Result<(), StoreError> {
        query(
            "INSERT INTO api_keys (id, account_id, name, digest, prefix, created_at, expires_at, revoked_at,
                 last_used_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, NULL)",
        )
        .bind(new.id.get())
        .bind(new.account.get())
        .bind(new.name.as_str())
        .bind(digest.to_string())
        .bind(new.prefix.as_str())
        .bind(millis(new.created_at))
        .bind(new.expires_at.map(millis))
        .execute(self.connection(), "add an API key")?;
        Ok(())
    }

    /// Changes the expiry of an API key, or revokes it.
    pub fn end_api_key(&mut self, key: &ApiKey) -> Result<(), StoreError> {
        let done = query(
            "UPDATE api_keys SET expires_at = $2, revoked_at = $3 WHERE id = $1 AND revoked_at IS NULL",
        )
        .bind(key.id.get())
        .bind(key.expires_at.map(millis))
        .bind(key.revoked_at.map(millis))
        .execute(self.connection(), "end an API key")?;
        check_one_row("end an API key", done)
    }

    /// Records the use of an API key, unless another server did so within the hour or the key is gone.
    pub fn note_api_key_use(&mut self, id: ApiKeyId, now: Timestamp) -> Result<(), StoreError> {
        query(
            "UPDATE api_keys SET last_used_at = $2
             WHERE id = $1 AND (last_used_at IS NULL OR last_used_at <= $3)",
        )
        .bind(id.get())
        .bind(millis(now))
        .bind(millis(now.minus(NOTE_USE_EVERY)))
        .execute(self.connection(), "note the use of an API key")?;
        Ok(())
    }

    /// Adds a key of a service account.
    pub fn insert_service_account_key(&mut self, new: &ServiceAccountKey) -> Result<(), StoreError> {
        query(
            "INSERT INTO service_account_keys (id, account_id, public_key, created_at, expires_at, revoked_at)
             VALUES ($1, $2, $3, $4, $5, NULL)",
        )
        .bind(new.id.as_str())
        .bind(new.account.get())
        .bind(to_base64(new.public_key.as_ref()))
        .bind(millis(new.created_at))
        .bind(new.expires_at.map(millis))
        .execute(self.connection(), "add a key")?;
        Ok(())
    }

    /// Changes the expiry of a service account's key, or revokes it along with the tokens that it was
    /// exchanged for.
    pub fn end_service_account_key(&mut self, key: &ServiceAccountKey) -> Result<(), StoreError> {
        let done = query(
            "UPDATE service_account_keys SET expires_at = $2, revoked_at = $3
             WHERE id = $1 AND revoked_at IS NULL",
        )
        .bind(key.id.as_str())
        .bind(key.expires_at.map(millis))
        .bind(key.revoked_at.map(millis))
        .execute(self.connection(), "end a key")?;
        check_one_row("end a key", done)
    }

    /// Adds an access token, and deletes expired ones.
    pub fn insert_access_token(&mut self, new: &AccessToken) -> Result<(), StoreError> {
        const OPERATION: &str = "add an access token";
        query("DELETE FROM access_tokens WHERE expires_at <= $1")
            .bind(millis(new.created_at))
            .execute(self.connection(), OPERATION)?;
        query(
            "INSERT INTO access_tokens (digest, key_id, scopes, created_at, expires_at)
             VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(new.digest.to_string())
        .bind(new.key.as_str())
        .bind(new.scopes.to_string())
        .bind(millis(new.created_at))
        .bind(millis(new.expires_at))
        .execute(self.connection(), OPERATION)?;
        Ok(())
    }
}
