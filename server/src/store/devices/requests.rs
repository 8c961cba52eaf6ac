//! Keys and hardware that wait for an administrator.

use super::device::identity;
use crate::{
    domain::{
        devices::device::{ApprovalRequest, least_credible_request},
        tenancy::actor::Scope,
    },
    store::{
        Reader, StoreError, Tx,
        database::{Row, query},
        error::check_one_row,
        row::{Fields, document, millis},
    },
};
use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, DeviceId},
    timestamp::Timestamp,
};

/// The maximum number of stored requests of one device, of which the most credible are kept: showing a
/// device's identifiers with ever new keys must not fill the disk, nor hide the device's own request.
const REQUESTS_KEPT: usize = 8;

/// The columns of a request, in any statement whose table of requests is named `a`.
macro_rules! request_columns {
    () => {
        "a.device_id AS request_device_id, a.key_digest, a.customer_id AS request_customer_id,
         a.identity AS request_identity, a.replaced, a.first_at, a.last_at AS request_last_at,
         a.times AS request_times, a.approved_at, a.source AS request_source, a.tie"
    };
}
pub(super) use request_columns;

/// Reads a request from a row with [`request_columns`].
pub(super) fn request(row: &Row) -> Result<ApprovalRequest, StoreError> {
    let fields = Fields::of(row, "approval_requests", "request_device_id");
    Ok(ApprovalRequest {
        device: fields.id("request_device_id", DeviceId::new)?,
        customer: fields.id("request_customer_id", CompanyId::new)?,
        key: fields.parse("key_digest")?,
        identity: identity(&fields, "request_identity")?
            .ok_or_else(|| fields.wrong_value("request_identity", "holds no identity"))?,
        replaced: fields.json("replaced")?,
        first_at: fields.time("first_at")?,
        last_at: fields.time("request_last_at")?,
        count: fields.count("request_times")?,
        approved_at: fields.time_opt("approved_at")?,
        source: fields.parse_opt("request_source")?,
        tie: fields.parse("tie")?,
    })
}

impl Reader {
    /// Lists the requests of one device, or all that are not approved yet, oldest first.
    pub fn requests(
        &mut self,
        scope: Scope,
        device: Option<DeviceId>,
        limit: u32,
    ) -> Result<Vec<ApprovalRequest>, StoreError> {
        let mut sql =
            self.sql(concat!("SELECT ", request_columns!(), " FROM approval_requests AS a WHERE 1 = 1"));
        sql.filter("a.device_id =", device.map(DeviceId::get)).scope("a.customer_id =", scope);
        if device.is_none() {
            sql.push(" AND a.approved_at IS NULL");
        }
        sql.push(" ORDER BY a.first_at, a.device_id, a.key_digest LIMIT ").bind(i64::from(limit));
        let rows = sql.query().fetch_all(self.connection(), "list requests")?;
        rows.iter().map(request).collect()
    }

    /// Returns one request of a device.
    pub fn request(&mut self, device: DeviceId, key: Sha256) -> Result<Option<ApprovalRequest>, StoreError> {
        let mut sql =
            self.sql(concat!("SELECT ", request_columns!(), " FROM approval_requests AS a WHERE 1 = 1"));
        sql.filter("a.device_id =", Some(device.get())).filter("a.key_digest =", Some(key.to_string()));
        let row = sql.query().fetch_optional(self.connection(), "find a request")?;
        row.as_ref().map(request).transpose()
    }
}

impl Tx {
    /// Records a request. A repeated request is counted, and loses its approval, because that did not
    /// suffice.
    pub fn save_request(&mut self, asked: &ApprovalRequest) -> Result<(), StoreError> {
        query(
            "INSERT INTO approval_requests (device_id, key_digest, customer_id, identity, replaced, first_at,
                 last_at, times, approved_at, source, tie)
             VALUES ($1, $2, $3, $4, $5, $6, $6, 1, NULL, $7, $8)
             ON CONFLICT (device_id, key_digest) DO UPDATE SET identity = excluded.identity,
                 replaced = excluded.replaced, last_at = excluded.last_at,
                 times = approval_requests.times + 1, approved_at = NULL, source = excluded.source,
                 tie = excluded.tie",
        )
        .bind(asked.device.get())
        .bind(asked.key.to_string())
        .bind(asked.customer.get())
        .bind(document(&asked.identity.to_raw()))
        .bind(document(&asked.replaced))
        .bind(millis(asked.last_at))
        .bind(asked.source.map(|source| source.to_string()))
        .bind(asked.tie.name())
        .execute(self.connection(), "note a request")?;
        let noted = self.requests(Scope::Operator, Some(asked.device), u32::MAX)?;
        let mut waiting: Vec<_> = noted.into_iter().filter(|one| one.approved_at.is_none()).collect();
        while waiting.len() > REQUESTS_KEPT
            && let Some(key) = least_credible_request(&waiting).map(|one| one.key)
        {
            self.delete_request(asked.device, key)?;
            waiting.retain(|one| one.key != key);
        }
        Ok(())
    }

    /// Approves a request.
    pub fn approve_request(
        &mut self,
        device: DeviceId,
        key: Sha256,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done =
            query("UPDATE approval_requests SET approved_at = $3 WHERE device_id = $1 AND key_digest = $2")
                .bind(device.get())
                .bind(key.to_string())
                .bind(millis(now))
                .execute(self.connection(), "approve a request")?;
        check_one_row("approve a request", done)
    }

    /// Deletes one request of a device.
    pub fn delete_request(&mut self, device: DeviceId, key: Sha256) -> Result<(), StoreError> {
        let done = query("DELETE FROM approval_requests WHERE device_id = $1 AND key_digest = $2")
            .bind(device.get())
            .bind(key.to_string())
            .execute(self.connection(), "forget a request")?;
        check_one_row("forget a request", done)
    }

    /// Deletes one request, if it exists: its key is now the device's own.
    pub fn remove_answered_request(&mut self, device: DeviceId, key: Sha256) -> Result<(), StoreError> {
        query("DELETE FROM approval_requests WHERE device_id = $1 AND key_digest = $2")
            .bind(device.get())
            .bind(key.to_string())
            .execute(self.connection(), "settle a request")?;
        Ok(())
    }
}
