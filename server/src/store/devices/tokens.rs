//! Pre-provisioning tokens and reset tickets: digests, never secrets.

use crate::{
    domain::{devices::token::Token, tenancy::actor::Scope},
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::{Row, query},
        error::check_one_row,
        row::{Fields, millis},
    },
};
use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, ConfigurationId, DeviceId, TokenId},
    timestamp::Timestamp,
};

const SELECT: &str = "SELECT id, customer_id, configuration_id, name, created_at, expires_at, revoked_at FROM tokens WHERE 1 = 1";

/// A reset ticket to be stored.
#[derive(Debug, Clone, Copy)]
pub struct ResetTicket {
    /// Digest of the secret.
    pub digest: Sha256,
    /// The device that it is valid for.
    pub device: DeviceId,
    /// The time at which it was minted.
    pub created_at: Timestamp,
    /// The time of its expiry.
    pub expires_at: Timestamp,
}

fn token(row: &Row) -> Result<Token, StoreError> {
    let fields = Fields::of(row, "tokens", "id");
    Ok(Token {
        id: fields.id("id", TokenId::new)?,
        customer: fields.id("customer_id", CompanyId::new)?,
        name: fields.parse("name")?,
        configuration: fields.id_opt("configuration_id", ConfigurationId::new)?,
        created_at: fields.time("created_at")?,
        expires_at: fields.time_opt("expires_at")?,
        revoked_at: fields.time_opt("revoked_at")?,
    })
}

impl Reader {
    /// Returns a token, if it is in the scope.
    pub fn token(&mut self, scope: Scope, id: TokenId) -> Result<Option<Token>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("id =", Some(id.get())).scope("customer_id =", scope);
        let row = sql.query().fetch_optional(self.connection(), "find a token")?;
        row.as_ref().map(token).transpose()
    }

    /// Returns the token with this digest, if it is this customer's.
    pub fn token_by_digest(
        &mut self,
        customer: CompanyId,
        digest: Sha256,
    ) -> Result<Option<Token>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("digest =", Some(digest.to_string())).filter("customer_id =", Some(customer.get()));
        let row = sql.query().fetch_optional(self.connection(), "find a token")?;
        row.as_ref().map(token).transpose()
    }

    /// Lists tokens, oldest first.
    pub fn tokens(
        &mut self,
        scope: Scope,
        customer: Option<CompanyId>,
        page: &PageRequest,
    ) -> Result<Page<Token>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("customer_id =", customer.map(CompanyId::get))
            .filter("id >", page.key::<i64>()?)
            .scope("customer_id =", scope)
            .push(" ORDER BY id LIMIT ")
            .bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list tokens")?;
        let tokens = rows.iter().map(token).collect::<Result<_, _>>()?;
        Ok(page.page(tokens, |one: &Token| one.id))
    }
}

impl Tx {
    /// Adds a token by the digest of its secret.
    pub fn insert_token(&mut self, new: &Token, digest: Sha256) -> Result<(), StoreError> {
        query(
            "INSERT INTO tokens (id, customer_id, configuration_id, digest, name, created_at, expires_at, revoked_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, NULL)",
        )
        .bind(new.id.get())
        .bind(new.customer.get())
        .bind(new.configuration.map(ConfigurationId::get))
        .bind(digest.to_string())
        .bind(new.name.as_str())
        .bind(millis(new.created_at))
        .bind(new.expires_at.map(millis))
        .execute(self.connection(), "add a token")?;
        Ok(())
    }

    /// Revokes a token that is not revoked.
    pub fn revoke_token(&mut self, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
        let done = query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL")
            .bind(id.get())
            .bind(millis(now))
            .execute(self.connection(), "revoke a token")?;
        check_one_row("revoke a token", done)
    }

    /// Adds a reset ticket, and invalidates the device's older ones.
    pub fn insert_reset_ticket(&mut self, new: ResetTicket) -> Result<(), StoreError> {
        const OPERATION: &str = "add a reset ticket";
        query("UPDATE reset_tickets SET used_at = $2 WHERE device_id = $1 AND used_at IS NULL")
            .bind(new.device.get())
            .bind(millis(new.created_at))
            .execute(self.connection(), OPERATION)?;
        query(
            "INSERT INTO reset_tickets (digest, device_id, created_at, expires_at, used_at)
             VALUES ($1, $2, $3, $4, NULL)",
        )
        .bind(new.digest.to_string())
        .bind(new.device.get())
        .bind(millis(new.created_at))
        .bind(millis(new.expires_at))
        .execute(self.connection(), OPERATION)?;
        Ok(())
    }

    /// Uses a reset ticket, once.
    pub fn use_reset_ticket(&mut self, digest: Sha256, now: Timestamp) -> Result<(), StoreError> {
        let done = query("UPDATE reset_tickets SET used_at = $2 WHERE digest = $1 AND used_at IS NULL")
            .bind(digest.to_string())
            .bind(millis(now))
            .execute(self.connection(), "use a reset ticket")?;
        check_one_row("use a reset ticket", done)
    }
}
