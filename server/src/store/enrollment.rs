//! What a handshake, a report and a check-in need to know, each in one statement.

use super::{
    StoreError, Tx,
    claims::{claim, claim_columns},
    devices::{device, device_columns},
    error::failed,
    requests::{request, request_columns},
    row::{Fields, millis, number},
    sql::Sql,
};
use crate::domain::{
    claim::Claim,
    device::{ApprovalRequest, Device},
    name::Name,
};
use sqlx::any::AnyRow;
use unbox_common::{
    digest::Sha256,
    ids::{ClaimId, ConfigurationId, DeviceId, Generation, TokenId},
    timestamp::Timestamp,
};

/// Digests of what a device showed in a handshake.
#[derive(Debug, Clone, Copy)]
pub struct ShownSecrets {
    /// Of its key.
    pub key: Sha256,
    /// Of its pre-provisioning token.
    pub token: Option<Sha256>,
    /// Of its reset ticket.
    pub reset_ticket: Option<Sha256>,
}

/// What is known about an enrollment that is to be decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentFacts {
    /// The claim, in force.
    pub claim: Claim,
    /// Its customer's name.
    pub customer_name: Name,
    /// What its customer's claims get that name no configuration of their own, and since when.
    pub default_configuration: Option<(ConfigurationId, Timestamp)>,
    /// Its device, if that was seen.
    pub device: Option<Device>,
    /// What was asked with this key before.
    pub request: Option<ApprovalRequest>,
    /// Whether the reset ticket is good for this device.
    pub reset_ticket: bool,
    /// The token that was shown, if it is one of this customer's.
    pub token: Option<TokenFacts>,
}

/// What a token that was shown is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenFacts {
    /// The token.
    pub id: TokenId,
    /// What it gives devices whose claim names no configuration.
    pub configuration: Option<ConfigurationId>,
    /// From when on it is worthless.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What is known about a device that reports or checks in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedFacts {
    /// The device.
    pub device: Device,
    /// Its claim, in force or ended.
    pub claim: Claim,
    /// Its customer's name.
    pub customer_name: Name,
    /// What its customer's claims get that name no configuration of their own, and since when.
    pub default_configuration: Option<(ConfigurationId, Timestamp)>,
    /// The highest sequence that is stored of this generation.
    pub sequence: u64,
}

fn default_configuration(row: &AnyRow) -> Result<Option<(ConfigurationId, Timestamp)>, StoreError> {
    let fields = Fields::of(row, "companies", "claim_customer_id");
    let set_at = fields.time("default_set_at")?;
    Ok(fields.id_opt("default_configuration_id", ConfigurationId::new)?.map(|id| (id, set_at)))
}

fn customer_name(row: &AnyRow) -> Result<Name, StoreError> {
    Fields::of(row, "companies", "claim_customer_id").parse("customer_name")
}

/// What a LEFT JOIN found, if it found something: `column` is never NULL in a row that is there.
fn joined<T>(
    row: &AnyRow,
    table: &'static str,
    column: &'static str,
    read: fn(&AnyRow) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let found: Option<i64> = Fields::of(row, table, "claim_id").read(column)?;
    found.map(|_| read(row)).transpose()
}

fn token(row: &AnyRow) -> Result<TokenFacts, StoreError> {
    let fields = Fields::of(row, "tokens", "token_id");
    Ok(TokenFacts {
        id: fields.id("token_id", TokenId::new)?,
        configuration: fields.id_opt("token_configuration_id", ConfigurationId::new)?,
        expires_at: fields.time_opt("token_expires_at")?,
        revoked_at: fields.time_opt("token_revoked_at")?,
    })
}

impl Tx {
    /// Everything by which an enrollment is decided; nobody else may enroll by this claim until
    /// the transaction ends. `None` if the claim is no longer in force.
    pub async fn enrollment_facts(
        &mut self,
        id: ClaimId,
        shown: ShownSecrets,
        now: Timestamp,
    ) -> Result<Option<EnrollmentFacts>, StoreError> {
        self.lock_claim(id).await?;
        let mut sql = Sql::new(concat!(
            "SELECT ",
            claim_columns!(),
            ", ",
            device_columns!(),
            ", ",
            request_columns!(),
            ", o.name AS customer_name, o.default_configuration_id, o.default_set_at,
               r.device_id AS reset_device_id, t.id AS token_id, t.configuration_id AS token_configuration_id,
               t.expires_at AS token_expires_at, t.revoked_at AS token_revoked_at
             FROM claims AS c JOIN companies AS o ON o.id = c.customer_id
             LEFT JOIN devices AS d ON d.claim_id = c.id
             LEFT JOIN approval_requests AS a ON a.device_id = d.id AND a.key_digest = "
        ));
        sql.bind(shown.key.to_string())
            .push(" LEFT JOIN reset_tickets AS r ON r.device_id = d.id AND r.used_at IS NULL AND r.digest = ")
            .bind(shown.reset_ticket.map(|digest| digest.to_string()))
            .push(" AND r.expires_at > ")
            .bind(millis(now))
            .push(" LEFT JOIN tokens AS t ON t.customer_id = c.customer_id AND t.digest = ")
            .bind(shown.token.map(|digest| digest.to_string()))
            .push(" WHERE c.released_at IS NULL AND c.id = ")
            .bind(id.get());
        let row = sql
            .query()
            .fetch_optional(self.connection())
            .await
            .map_err(failed("read what an enrollment is decided by"))?;
        let Some(row) = &row else {
            return Ok(None);
        };
        Ok(Some(EnrollmentFacts {
            claim: claim(row)?,
            customer_name: customer_name(row)?,
            default_configuration: default_configuration(row)?,
            device: joined(row, "devices", "device_id", device)?,
            request: joined(row, "approval_requests", "request_device_id", request)?,
            reset_ticket: joined(row, "reset_tickets", "reset_device_id", |_| Ok(()))?.is_some(),
            token: joined(row, "tokens", "token_id", token)?,
        }))
    }

    /// What a device's request is answered by; nobody else may change the device until the
    /// transaction ends.
    pub async fn managed_facts(
        &mut self,
        id: DeviceId,
        generation: Generation,
    ) -> Result<Option<ManagedFacts>, StoreError> {
        self.lock_device(id).await?;
        let mut sql = Sql::new(concat!(
            "SELECT ",
            claim_columns!(),
            ", ",
            device_columns!(),
            ", o.name AS customer_name, o.default_configuration_id, o.default_set_at,
               (SELECT MAX(r.sequence) FROM reports AS r WHERE r.device_id = d.id AND r.generation = "
        ));
        sql.bind(number(generation.0))
            .push(
                ") AS sequence FROM devices AS d JOIN claims AS c ON c.id = d.claim_id
                 JOIN companies AS o ON o.id = d.customer_id WHERE d.id = ",
            )
            .bind(id.get());
        let row = sql
            .query()
            .fetch_optional(self.connection())
            .await
            .map_err(failed("read what a device is answered by"))?;
        let Some(row) = &row else {
            return Ok(None);
        };
        Ok(Some(ManagedFacts {
            device: device(row)?,
            claim: claim(row)?,
            customer_name: customer_name(row)?,
            default_configuration: default_configuration(row)?,
            sequence: Fields::of(row, "reports", "device_id").count_opt("sequence")?.unwrap_or_default(),
        }))
    }
}
