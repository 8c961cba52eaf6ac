//! Devices.

use crate::{
    domain::{
        devices::device::{Device, DeviceState, Enrollment, LastSaid, StateName},
        tenancy::actor::Scope,
    },
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::{Row, query},
        error::check_one_row,
        row::{Fields, document, millis, number},
        sql::Sql,
    },
};
use unbox_common::{
    bytes::{Bytes, from_base64, to_base64},
    identity::{HardwareIdentity, Identifier, RawIdentifier},
    ids::{ClaimId, CompanyId, DeviceId, Generation},
    trust::DevicePublicKey,
};

/// The name of the operation that saves a device.
const SAVE: &str = "save a device";

/// The columns of a device, in any statement whose table of devices is named `d`.
macro_rules! device_columns {
    () => {
        "d.id AS device_id, d.claim_id AS device_claim_id, d.customer_id AS device_customer_id, d.state,
         d.state_detail, d.latest_generation, d.latest_key, d.latest_ticket, d.active_generation,
         d.active_key, d.identity, d.re_enroll_requested_at, d.created_at AS device_created_at,
         d.last_seen_at, d.agent_version, d.healthy, d.installed, d.failed_version, d.outcome, d.bound_at,
         d.source, d.version_lead"
    };
}
pub(super) use device_columns;

/// A filter on devices; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Only devices of this customer.
    pub customer: Option<CompanyId>,
    /// Only devices in this state.
    pub state: Option<StateName>,
    /// Only the device of this claim.
    pub claim: Option<ClaimId>,
    /// Only devices whose claim registers one of these identifiers, such as `serial_number PF0ABCDE`.
    pub identifiers: Option<Vec<String>>,
    /// Only devices with a key or hardware that waits for approval.
    pub waiting: bool,
}

/// Adds the conditions of a filter.
fn add_conditions(sql: &mut Sql, scope: Scope, filter: &DeviceFilter) {
    sql.filter("d.customer_id =", filter.customer.map(CompanyId::get))
        .filter("d.state =", filter.state.map(StateName::name))
        .filter("d.claim_id =", filter.claim.map(ClaimId::get))
        .scope("d.customer_id =", scope);
    match filter.identifiers.as_deref() {
        None => {}
        Some([]) => {
            sql.push(" AND 1 = 0");
        }
        Some(identifiers) => {
            sql.push(" AND d.claim_id IN (SELECT claim_id FROM claim_keys WHERE lookup IN ")
                .push_list(identifiers.iter().cloned())
                .push(" UNION SELECT claim_id FROM claim_search WHERE lookup IN ")
                .push_list(identifiers.iter().cloned())
                .push(")");
        }
    }
    if filter.waiting {
        sql.push(
            " AND EXISTS (SELECT 1 FROM approval_requests AS a
                          WHERE a.device_id = d.id AND a.approved_at IS NULL)",
        );
    }
}

/// Reads a device from a row with [`device_columns`].
pub(super) fn device(row: &Row) -> Result<Device, StoreError> {
    let fields = Fields::of(row, "devices", "device_id");
    let state: DeviceState = fields.json("state_detail")?;
    if fields.parse::<StateName>("state")? != state.name() {
        return Err(fields.wrong_value("state", "differs from state_detail"));
    }
    let latest = enrollment(&fields, "latest_generation", "latest_key")?;
    let active = match (&latest, fields.count_opt("active_generation")?) {
        // Nearly always the same enrollment, whose key need not be read twice.
        (Some(latest), Some(active)) if latest.generation.0 == active => Some(latest.clone()),
        _ => enrollment(&fields, "active_generation", "active_key")?,
    };
    Ok(Device {
        id: fields.id("device_id", DeviceId::new)?,
        claim: fields.id("device_claim_id", ClaimId::new)?,
        customer: fields.id("device_customer_id", CompanyId::new)?,
        state,
        active,
        latest,
        latest_ticket: fields.parse_opt("latest_ticket")?,
        identity: identity(&fields, "identity")?,
        re_enroll_requested_at: fields.time_opt("re_enroll_requested_at")?,
        created_at: fields.time("device_created_at")?,
        bound_at: fields.time_opt("bound_at")?,
        source: fields.parse_opt("source")?,
        version_lead: fields.count("version_lead")?,
        last_said: LastSaid {
            at: fields.time_opt("last_seen_at")?,
            agent_version: fields.read("agent_version")?,
            healthy: fields.read::<Option<i64>>("healthy")?.map(|flag| flag != 0),
            installed: fields.json_opt("installed")?,
            failed_version: fields.count_opt("failed_version")?,
            outcome: fields.json_opt("outcome")?,
        },
    })
}

fn enrollment(
    fields: &Fields<'_>,
    generation: &'static str,
    key: &'static str,
) -> Result<Option<Enrollment>, StoreError> {
    let Some(number) = fields.count_opt(generation)? else {
        return Ok(None);
    };
    let spki = from_base64(fields.read(key)?).map_err(|error| fields.wrong_value(key, error))?;
    let public = DevicePublicKey::try_from(Bytes(spki)).map_err(|error| fields.wrong_value(key, error))?;
    Ok(Some(Enrollment { generation: Generation(number), key: public }))
}

/// Reads the identifiers that a device showed. Those that the present rules refuse are left out, and so are
/// more of a kind than a device may show: they are no longer identifiers, and so cannot have changed.
pub(super) fn identity(
    fields: &Fields<'_>,
    column: &'static str,
) -> Result<Option<HardwareIdentity>, StoreError> {
    let Some(raw) = fields.json_opt::<Vec<RawIdentifier>>(column)? else {
        return Ok(None);
    };
    let mut accepted: Vec<RawIdentifier> = Vec::with_capacity(raw.len());
    for one in raw {
        let of_kind = accepted.iter().filter(|other| other.kind == one.kind).count();
        if of_kind < one.kind.max_shown_values() && Identifier::parse(one.kind, &one.value).is_ok() {
            accepted.push(one);
        }
    }
    Ok(HardwareIdentity::from_raw(&accepted).ok())
}

impl Reader {
    /// Returns a device, if it is in the scope.
    pub fn device(&mut self, scope: Scope, id: DeviceId) -> Result<Option<Device>, StoreError> {
        let mut sql = self.sql(concat!("SELECT ", device_columns!(), " FROM devices AS d WHERE d.id = "));
        sql.bind(id.get()).scope("d.customer_id =", scope);
        let row = sql.query().fetch_optional(self.connection(), "find a device")?;
        row.as_ref().map(device).transpose()
    }

    /// Returns the device of a claim, if it was ever seen.
    pub fn device_of_claim(&mut self, claim: ClaimId) -> Result<Option<Device>, StoreError> {
        let mut sql =
            self.sql(concat!("SELECT ", device_columns!(), " FROM devices AS d WHERE d.claim_id = "));
        sql.bind(claim.get());
        let row = sql.query().fetch_optional(self.connection(), "find a device")?;
        row.as_ref().map(device).transpose()
    }

    /// Returns the devices of these claims that were ever seen.
    pub fn devices_of_claims(&mut self, claims: &[ClaimId]) -> Result<Vec<Device>, StoreError> {
        let mut sql =
            self.sql(concat!("SELECT ", device_columns!(), " FROM devices AS d WHERE d.claim_id IN "));
        sql.push_list(claims.iter().map(|claim| claim.get()));
        let rows =
            sql.query().keep_prepared(false).fetch_all(self.connection(), "find the devices of claims")?;
        rows.iter().map(device).collect()
    }

    /// Lists devices, oldest first.
    pub fn devices(
        &mut self,
        scope: Scope,
        filter: &DeviceFilter,
        page: &PageRequest,
    ) -> Result<Page<Device>, StoreError> {
        let mut sql = self.sql(concat!("SELECT ", device_columns!(), " FROM devices AS d WHERE 1 = 1"));
        add_conditions(&mut sql, scope, filter);
        sql.filter("d.id >", page.key::<i64>()?).push(" ORDER BY d.id LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list devices")?;
        let devices = rows.iter().map(device).collect::<Result<_, _>>()?;
        Ok(page.page(devices, |one: &Device| one.id))
    }

    /// Counts the devices of such a list.
    pub fn count_devices(&mut self, scope: Scope, filter: &DeviceFilter) -> Result<u64, StoreError> {
        let mut sql = self.sql("SELECT COUNT(*) AS devices FROM devices AS d WHERE 1 = 1");
        add_conditions(&mut sql, scope, filter);
        let row = sql.query().fetch_one(self.connection(), "count devices")?;
        Fields::of(&row, "devices", "devices").count("devices")
    }
}

impl Tx {
    /// Returns a device, locked until this transaction ends.
    pub fn device_for_update(&mut self, scope: Scope, id: DeviceId) -> Result<Option<Device>, StoreError> {
        self.lock_device(id)?;
        self.device(scope, id)
    }

    /// Deletes a device that never enrolled, with its approval requests.
    pub fn delete_unseen_device(&mut self, id: DeviceId) -> Result<(), StoreError> {
        const OPERATION: &str = "forget a device that never enrolled";
        for statement in [
            "DELETE FROM approval_requests WHERE device_id = $1",
            "DELETE FROM reset_tickets WHERE device_id = $1",
        ] {
            query(statement).bind(id.get()).execute(self.connection(), OPERATION)?;
        }
        let done = query("DELETE FROM devices WHERE id = $1 AND latest_generation IS NULL")
            .bind(id.get())
            .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }

    /// Adds a device, or updates all its mutable fields.
    pub fn save_device(&mut self, device: &Device) -> Result<(), StoreError> {
        let said = &device.last_said;
        let done = query(
            "INSERT INTO devices (id, claim_id, customer_id, state, state_detail, latest_generation, latest_key,
                 latest_ticket, active_generation, active_key, identity, re_enroll_requested_at, created_at,
                 last_seen_at, agent_version, healthy, installed, failed_version, outcome, bound_at, source,
                 version_lead)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
                 $22)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, state_detail = excluded.state_detail,
                 latest_generation = excluded.latest_generation, latest_key = excluded.latest_key,
                 latest_ticket = excluded.latest_ticket, active_generation = excluded.active_generation,
                 active_key = excluded.active_key, identity = excluded.identity,
                 re_enroll_requested_at = excluded.re_enroll_requested_at,
                 last_seen_at = excluded.last_seen_at, agent_version = excluded.agent_version,
                 healthy = excluded.healthy, installed = excluded.installed,
                 failed_version = excluded.failed_version, outcome = excluded.outcome,
                 bound_at = excluded.bound_at, source = excluded.source,
                 version_lead = excluded.version_lead",
        )
        .bind(device.id.get())
        .bind(device.claim.get())
        .bind(device.customer.get())
        .bind(device.state.name().name())
        .bind(document(&device.state))
        .bind(device.latest.as_ref().map(|one| number(one.generation.0)))
        .bind(device.latest.as_ref().map(|one| to_base64(one.key.spki())))
        .bind(device.latest_ticket.map(|digest| digest.to_string()))
        .bind(device.active.as_ref().map(|one| number(one.generation.0)))
        .bind(device.active.as_ref().map(|one| to_base64(one.key.spki())))
        .bind(device.identity.as_ref().map(|identity| document(&identity.to_raw())))
        .bind(device.re_enroll_requested_at.map(millis))
        .bind(millis(device.created_at))
        .bind(said.at.map(millis))
        .bind(said.agent_version.clone())
        .bind(said.healthy.map(i64::from))
        .bind(said.installed.as_ref().map(document))
        .bind(said.failed_version.map(number))
        .bind(said.outcome.as_ref().map(document))
        .bind(device.bound_at.map(millis))
        .bind(device.source.as_ref().map(ToString::to_string))
        .bind(number(device.version_lead))
        .execute(self.connection(), SAVE)?;
        check_one_row(SAVE, done)
    }
}
