//! The facts for a handshake, a report and a check-in, each read in one statement.

use super::{
    device::{device, device_columns},
    requests::{request, request_columns},
};
use crate::{
    domain::{
        catalogue::configuration::Assigned,
        claims::claim::Claim,
        devices::device::{ApprovalRequest, Device},
        name::Name,
        tenancy::company::Terms,
    },
    store::{
        StoreError, Tx,
        claims::claim::{claim, claim_columns},
        database::{Row, query},
        row::{Fields, millis, number},
    },
};
use unbox_common::{
    bytes::to_base64,
    digest::Sha256,
    identity::IdentifierKind,
    ids::{ClaimId, ConfigurationId, DeviceId, Generation, TokenId},
    timestamp::Timestamp,
    trust::DevicePublicKey,
};

/// Digests of the secrets that a device showed in a handshake.
#[derive(Debug, Clone, Copy)]
pub struct ShownSecrets {
    /// The digest of its key.
    pub key: Sha256,
    /// The digest of its pre-provisioning token.
    pub token: Option<Sha256>,
    /// The digest of its reset ticket.
    pub reset_ticket: Option<Sha256>,
}

/// The known facts for a decision on enrollment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrollmentFacts {
    /// The claim, which is in force.
    pub claim: Claim,
    /// The name of its customer.
    pub customer_name: Name,
    /// Its customer's answer to the terms of service.
    pub terms: Terms,
    /// The claim's own configuration, or its customer's default.
    pub assigned: Option<Assigned>,
    /// The device of the claim, if it was ever seen.
    pub device: Option<Device>,
    /// The earlier request with this key.
    pub request: Option<ApprovalRequest>,
    /// True if the reset ticket is valid for this device.
    pub reset_ticket: bool,
    /// The token that was shown, if it is one of this customer's.
    pub token: Option<TokenFacts>,
    /// True if devices of other claims have or had the key, or other claims register it.
    pub key_is_elsewhere: bool,
}

/// Another claim in force that knows a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherHolder {
    /// The claim.
    pub claim: Claim,
    /// Its device, if it was ever seen.
    pub device: Option<Device>,
}

/// The facts about the token that a device sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenFacts {
    /// The token.
    pub id: TokenId,
    /// The configuration that it gives devices whose claim names none, and the time of that configuration's
    /// last change.
    pub configuration: Option<(ConfigurationId, Timestamp)>,
    /// The time of its expiry.
    pub expires_at: Option<Timestamp>,
    /// The time of its revocation.
    pub revoked_at: Option<Timestamp>,
}

/// The known facts about a device that reports or checks in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedFacts {
    /// The device.
    pub device: Device,
    /// Its claim.
    pub claim: Claim,
    /// The name of its customer.
    pub customer_name: Name,
    /// The claim's own configuration, or its customer's default.
    pub assigned: Option<Assigned>,
    /// The highest stored sequence number of this generation.
    pub sequence: u64,
    /// True if keys of the device wait for approval, or were approved.
    pub requests: bool,
}

/// The columns of a claim's assignment: its own configuration, or its customer's default.
macro_rules! assigned_columns {
    () => {
        "o.name AS customer_name, o.terms, o.default_set_at, k.id AS assigned_configuration_id,
         k.updated_at AS configuration_updated_at"
    };
}

/// The tables of [`assigned_columns`], beside the claims `c`.
macro_rules! assigned_tables {
    () => {
        " JOIN companies AS o ON o.id = c.customer_id
          LEFT JOIN configurations AS k ON k.id = COALESCE(c.configuration_id, o.default_configuration_id)"
    };
}

fn read_assigned(row: &Row, claim: &Claim) -> Result<Option<Assigned>, StoreError> {
    let fields = Fields::of(row, "configurations", "assigned_configuration_id");
    let Some(configuration) = fields.id_opt("assigned_configuration_id", ConfigurationId::new)? else {
        return Ok(None);
    };
    let assigned_at = match claim.configuration {
        Some(_) => claim.configured_at,
        None => claim.configured_at.max(fields.time("default_set_at")?),
    };
    Ok(Some(Assigned { configuration, updated_at: fields.time("configuration_updated_at")?, assigned_at }))
}

fn customer_name(row: &Row) -> Result<Name, StoreError> {
    Fields::of(row, "companies", "claim_customer_id").parse("customer_name")
}

/// Reads the result of a LEFT JOIN, if there is one: `column` is never NULL in an existing row.
fn read_joined<T>(
    row: &Row,
    table: &'static str,
    column: &'static str,
    read: fn(&Row) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let found: Option<i64> = Fields::of(row, table, "claim_id").read(column)?;
    found.map(|_| read(row)).transpose()
}

/// Returns the text by which a claim that registers a device's key is found.
fn key_lookup(key: Sha256) -> String {
    format!("{} {key}", IdentifierKind::DeviceKey)
}

fn token(row: &Row) -> Result<TokenFacts, StoreError> {
    let fields = Fields::of(row, "tokens", "token_id");
    let configuration = match fields.id_opt("token_configuration_id", ConfigurationId::new)? {
        Some(id) => Some((id, fields.time("token_configuration_updated_at")?)),
        None => None,
    };
    Ok(TokenFacts {
        id: fields.id("token_id", TokenId::new)?,
        configuration,
        expires_at: fields.time_opt("token_expires_at")?,
        revoked_at: fields.time_opt("token_revoked_at")?,
    })
}

impl Tx {
    /// Returns all facts for a decision on enrollment. Nobody else may enroll under this claim until the
    /// transaction ends. `None` if the claim is no longer in force.
    pub fn enrollment_facts(
        &mut self,
        id: ClaimId,
        (key, shown): (&DevicePublicKey, ShownSecrets),
        now: Timestamp,
    ) -> Result<Option<EnrollmentFacts>, StoreError> {
        self.lock_key(shown.key)?;
        self.lock_claim(id)?;
        let mut sql = self.sql(concat!(
            "SELECT ",
            claim_columns!(),
            ", ",
            device_columns!(),
            ", ",
            request_columns!(),
            ", ",
            assigned_columns!(),
            ", r.device_id AS reset_device_id, t.id AS token_id, t.expires_at AS token_expires_at,
               t.revoked_at AS token_revoked_at, t.configuration_id AS token_configuration_id,
               (SELECT updated_at FROM configurations WHERE id = t.configuration_id)
                   AS token_configuration_updated_at,
               (SELECT COUNT(*) FROM devices AS x WHERE x.claim_id <> c.id AND x.latest_key = "
        ));
        sql.bind(to_base64(key.spki()))
            .push(
                ") + (SELECT COUNT(*) FROM devices AS x WHERE x.claim_id <> c.id
                      AND x.active_key <> x.latest_key AND x.active_key = ",
            )
            .bind(to_base64(key.spki()))
            .push(") + (SELECT COUNT(*) FROM claim_keys AS x WHERE x.claim_id <> c.id AND x.lookup = ")
            .bind(key_lookup(shown.key))
            .push(concat!(
                ") AS key_is_elsewhere FROM claims AS c",
                assigned_tables!(),
                " LEFT JOIN devices AS d ON d.claim_id = c.id
                 LEFT JOIN approval_requests AS a ON a.device_id = d.id AND a.key_digest = "
            ))
            .bind(shown.key.to_string())
            .push(" LEFT JOIN reset_tickets AS r ON r.device_id = d.id AND r.used_at IS NULL AND r.digest = ")
            .bind(shown.reset_ticket.map(|digest| digest.to_string()))
            .push(" AND r.expires_at > ")
            .bind(millis(now))
            .push(" LEFT JOIN tokens AS t ON t.customer_id = c.customer_id AND t.digest = ")
            .bind(shown.token.map(|digest| digest.to_string()))
            .push(" WHERE c.released_at IS NULL AND c.id = ")
            .bind(id.get());
        let row = sql.query().fetch_optional(self.connection(), "read what an enrollment is decided by")?;
        let Some(row) = &row else {
            return Ok(None);
        };
        let claim = claim(row)?;
        Ok(Some(EnrollmentFacts {
            customer_name: customer_name(row)?,
            terms: Fields::of(row, "companies", "claim_customer_id").parse("terms")?,
            assigned: read_assigned(row, &claim)?,
            claim,
            device: read_joined(row, "devices", "device_id", device)?,
            request: read_joined(row, "approval_requests", "request_device_id", request)?,
            reset_ticket: read_joined(row, "reset_tickets", "reset_device_id", |_| Ok(()))?.is_some(),
            token: read_joined(row, "tokens", "token_id", token)?,
            key_is_elsewhere: Fields::of(row, "devices", "claim_id").count("key_is_elsewhere")? > 0,
        }))
    }

    /// Locks this key against other enrollments until the transaction ends: two copies of a disk may enroll
    /// at the same moment, under two claims. Keys that share a lock also wait for each other, to no
    /// purpose.
    fn lock_key(&mut self, key: Sha256) -> Result<(), StoreError> {
        if self.dialect.locks_rows() {
            let lock = key.0.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
            query("SELECT CAST(pg_advisory_xact_lock($1) AS TEXT)")
                .bind(lock)
                .execute(self.connection(), "lock a device key")?;
        }
        Ok(())
    }

    /// Returns the other claims in force whose device has this key, or that register it.
    pub fn key_holders(
        &mut self,
        key: &DevicePublicKey,
        besides: ClaimId,
    ) -> Result<Vec<OtherHolder>, StoreError> {
        let spki = to_base64(key.spki());
        let mut sql = self.sql(concat!(
            "SELECT ",
            claim_columns!(),
            ", ",
            device_columns!(),
            " FROM claims AS c LEFT JOIN devices AS d ON d.claim_id = c.id
              WHERE c.released_at IS NULL AND c.id <> "
        ));
        sql.bind(besides.get())
            .push(" AND c.id IN (SELECT claim_id FROM devices WHERE latest_key = ")
            .bind(spki.clone())
            .push(" UNION SELECT claim_id FROM devices WHERE active_key <> latest_key AND active_key = ")
            .bind(spki)
            .push(" UNION SELECT claim_id FROM claim_keys WHERE lookup = ")
            .bind(key_lookup(key.digest()))
            .push(") ORDER BY c.id LIMIT 16");
        let rows = sql.query().fetch_all(self.connection(), "find who has a key")?;
        let holder = |row: &Row| {
            Ok(OtherHolder { claim: claim(row)?, device: read_joined(row, "devices", "device_id", device)? })
        };
        rows.iter().map(holder).collect()
    }

    /// Returns the facts for answering a device's request, and locks the device until the transaction ends.
    pub fn managed_facts(
        &mut self,
        id: DeviceId,
        generation: Generation,
    ) -> Result<Option<ManagedFacts>, StoreError> {
        self.lock_device(id)?;
        let mut sql = self.sql(concat!(
            "SELECT ",
            claim_columns!(),
            ", ",
            device_columns!(),
            ", ",
            assigned_columns!(),
            ", (SELECT MAX(r.sequence) FROM reports AS r WHERE r.device_id = d.id AND r.generation = "
        ));
        sql.bind(number(generation.0))
            .push(concat!(
                ") AS sequence, (SELECT COUNT(*) FROM approval_requests AS a WHERE a.device_id = d.id) AS requests
                 FROM devices AS d JOIN claims AS c ON c.id = d.claim_id",
                assigned_tables!(),
                " WHERE d.id = "
            ))
            .bind(id.get());
        let row = sql.query().fetch_optional(self.connection(), "read what a device is answered by")?;
        let Some(row) = &row else {
            return Ok(None);
        };
        let fields = Fields::of(row, "reports", "device_id");
        let claim = claim(row)?;
        Ok(Some(ManagedFacts {
            device: device(row)?,
            customer_name: customer_name(row)?,
            assigned: read_assigned(row, &claim)?,
            claim,
            sequence: fields.count_opt("sequence")?.unwrap_or_default(),
            requests: fields.count("requests")? > 0,
        }))
    }
}
