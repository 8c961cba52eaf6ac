//! Claims, and the keys by which they are found: their rows, and the ways to read them.

mod hold;
mod write;

pub use hold::KeyHolder;

use crate::{
    domain::{
        claims::claim::{Claim, ClaimSets, Sought, Vacation},
        devices::device::DeviceState,
        tenancy::{actor::Scope, company::Terms},
    },
    store::{
        Page, PageRequest, Reader, StoreError,
        database::{Row, query},
        row::{Fields, millis},
    },
};
use unbox_common::{
    ids::{ClaimId, CompanyId, ConfigurationId},
    protocol::latest::ProofKind,
    timestamp::Timestamp,
};

/// The maximum number of claims that one key may lead to; further ones are refused.
pub const MAX_CLAIMS_OF_KEY: usize = 64;
/// The maximum number of claims of one company under one key, so that none keeps others from claiming by it.
pub const MAX_CLAIMS_OF_KEY_AND_COMPANY: usize = 16;
/// The maximum number of partly matching claims whose owners are notified about an unmatched device.
pub const MAX_NEAR: usize = 8;
/// The lengths of lists in look-ups by identifiers and by names, so that a few prepared statements serve
/// every device.
const LOOKUP_LENGTHS: [usize; 4] = [8, 16, 32, 72];
const NAMES_LENGTHS: [usize; 3] = [2, 5, 17];
/// The number of rows in one INSERT: each has fifteen values, and PostgreSQL accepts 65,535.
const INSERT_ROWS: usize = 500;

/// The columns of a claim, in any statement whose table of claims is named `c`.
macro_rules! claim_columns {
    () => {
        "c.id AS claim_id, c.customer_id AS claim_customer_id, c.reseller_id, c.configuration_id,
         c.configured_at, c.proof, c.activation_ends_at, c.identifiers, c.order_name,
         c.metadata, c.vacation_started_at, c.vacation_ends_at, c.protected, c.created_at AS claim_created_at, c.created_by, c.collision, c.released_at"
    };
}
pub(in crate::store) use claim_columns;

/// A filter on claims; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimFilter {
    /// Only claims of this customer.
    pub customer: Option<CompanyId>,
    /// Only claims that this reseller registered.
    pub reseller: Option<CompanyId>,
    /// Only claims with this configuration of their own.
    pub configuration: Option<ConfigurationId>,
    /// Only claims that demand this proof.
    pub proof: Option<ProofKind>,
    /// Only claims found by this identifier, such as `serial_number PF0ABCDE`.
    pub identifier: Option<String>,
    /// Only claims whose device also matched claims of other owners.
    pub colliding: bool,
    /// True to include ended claims.
    pub released: bool,
}

/// A claim that a device might match, with related facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimCandidate {
    /// The claim.
    pub claim: Claim,
    /// True if its customer has a default configuration.
    pub default_configuration: bool,
    /// Its customer's answer to the terms of service.
    pub terms: Terms,
    /// The state of its device, if it was ever seen.
    pub device_state: Option<DeviceState>,
}

/// Reads a claim from a row with [`claim_columns`].
pub(in crate::store) fn claim(row: &Row) -> Result<Claim, StoreError> {
    let fields = Fields::of(row, "claims", "claim_id");
    let identifiers: &str = fields.read("identifiers")?;
    let proof: &str = fields.read("proof")?;
    Ok(Claim {
        id: fields.id("claim_id", ClaimId::new)?,
        customer: fields.id("claim_customer_id", CompanyId::new)?,
        reseller: fields.id_opt("reseller_id", CompanyId::new)?,
        configuration: fields.id_opt("configuration_id", ConfigurationId::new)?,
        configured_at: fields.time("configured_at")?,
        proof: parse_proof(proof)
            .ok_or_else(|| fields.wrong_value("proof", format!("{proof:?} is no proof")))?,
        activation_ends_at: fields.time("activation_ends_at")?,
        sets: ClaimSets::from_text(identifiers).map_err(|error| fields.wrong_value("identifiers", error))?,
        order: fields.parse_opt("order_name")?,
        metadata: fields.json_opt("metadata")?.unwrap_or_default(),
        vacation: vacation(&fields)?,
        protected: fields.read::<i64>("protected")? != 0,
        created_at: fields.time("claim_created_at")?,
        created_by: fields.read("created_by")?,
        collision: fields.json_opt("collision")?,
        released_at: fields.time_opt("released_at")?,
    })
}

fn vacation(fields: &Fields<'_>) -> Result<Option<Vacation>, StoreError> {
    let times = (fields.time_opt("vacation_started_at")?, fields.time_opt("vacation_ends_at")?);
    Ok(match times {
        (Some(started_at), Some(ends_at)) => Some(Vacation { started_at, ends_at }),
        _ => None,
    })
}

fn parse_proof(name: &str) -> Option<ProofKind> {
    ProofKind::ALL.into_iter().find(|kind| kind.name() == name)
}

/// Pads values to one of these lengths by repeating the last one.
fn pad(values: &[String], lengths: &[usize]) -> impl Iterator<Item = String> {
    let length = lengths.iter().copied().find(|length| *length >= values.len()).unwrap_or(values.len());
    values.iter().chain(values.last().into_iter().cycle()).take(length).cloned()
}

impl Reader {
    /// Returns the claims in force that a device might match, with the facts that a hello needs.
    ///
    /// Their number is limited by the identifiers of a device, and by [`MAX_CLAIMS_OF_KEY`]. Beyond the
    /// limit, which no real device approaches, the older ones count: a later registration displaces nobody.
    pub fn claims_found_by(&mut self, sought: &Sought) -> Result<Vec<ClaimCandidate>, StoreError> {
        if sought.lookups.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = self.sql(concat!(
            "SELECT ",
            claim_columns!(),
            ", o.default_configuration_id, o.terms, d.state_detail FROM claims AS c
             JOIN companies AS o ON o.id = c.customer_id
             LEFT JOIN devices AS d ON d.claim_id = c.id
             WHERE c.released_at IS NULL AND c.id IN (SELECT claim_id FROM claim_keys WHERE lookup IN "
        ));
        // The limit is part of the text because SQLite prepares a statement anew whenever a bound limit is
        // set, which takes 30 us at each hello.
        sql.push_list(pad(&sought.lookups, &LOOKUP_LENGTHS))
            .push(" AND named IN ")
            .push_list(pad(&sought.named, &NAMES_LENGTHS))
            .push(") ORDER BY c.id LIMIT 1024");
        let rows = sql.query().fetch_all(self.connection(), "look up claims")?;
        let candidate = |row| {
            let fields = Fields::of(row, "devices", "claim_id");
            Ok(ClaimCandidate {
                claim: claim(row)?,
                default_configuration: fields
                    .id_opt("default_configuration_id", ConfigurationId::new)?
                    .is_some(),
                terms: fields.parse("terms")?,
                device_state: fields.json_opt("state_detail")?,
            })
        };
        rows.iter().map(candidate).collect()
    }

    /// Returns claims that ended before this time, earliest end first.
    pub fn claims_ended_before(&mut self, time: Timestamp, at_most: u32) -> Result<Vec<ClaimId>, StoreError> {
        let rows = query("SELECT id FROM claims WHERE released_at IS NOT NULL AND released_at < $1 ORDER BY released_at LIMIT $2")
            .bind(millis(time))
            .bind(i64::from(at_most))
            .fetch_all(self.connection(), "look for claims that ended")?;
        rows.iter().map(|row| Fields::of(row, "claims", "id").id("id", ClaimId::new)).collect()
    }

    /// Returns the oldest claims in force that share an identifier with a device, regardless of maker and
    /// model.
    pub fn claims_near(&mut self, lookups: &[String]) -> Result<Vec<Claim>, StoreError> {
        if lookups.is_empty() {
            return Ok(Vec::new());
        }
        let mut sql = self.sql(concat!(
            "SELECT ",
            claim_columns!(),
            " FROM claims AS c
             WHERE c.released_at IS NULL AND c.id IN (SELECT claim_id FROM claim_keys WHERE lookup IN "
        ));
        sql.push_list(pad(lookups, &LOOKUP_LENGTHS)).push(") ORDER BY c.id LIMIT 8");
        let rows = sql.query().fetch_all(self.connection(), "look up near claims")?;
        rows.iter().map(claim).collect()
    }

    /// Returns a claim, in force or ended, if it is in the scope.
    pub fn claim(&mut self, scope: Scope, id: ClaimId) -> Result<Option<Claim>, StoreError> {
        let mut sql = self.sql(concat!("SELECT ", claim_columns!(), " FROM claims AS c WHERE c.id = "));
        sql.bind(id.get()).scope_of_claims(scope);
        let row = sql.query().fetch_optional(self.connection(), "find a claim")?;
        row.as_ref().map(claim).transpose()
    }

    /// Lists claims, oldest first.
    pub fn claims(
        &mut self,
        scope: Scope,
        filter: &ClaimFilter,
        page: &PageRequest,
    ) -> Result<Page<Claim>, StoreError> {
        let mut sql = self.sql(concat!("SELECT ", claim_columns!(), " FROM claims AS c WHERE 1 = 1"));
        sql.filter("c.customer_id =", filter.customer.map(CompanyId::get))
            .filter("c.configuration_id =", filter.configuration.map(ConfigurationId::get))
            .filter("c.proof =", filter.proof.map(ProofKind::name))
            .filter("c.id >", page.key::<i64>()?)
            .filter("c.reseller_id =", filter.reseller.map(CompanyId::get))
            .scope_of_claims(scope);
        if let Some(identifier) = &filter.identifier {
            sql.push(" AND c.id IN (SELECT claim_id FROM claim_keys WHERE lookup = ")
                .bind(identifier.clone())
                .push(" UNION SELECT claim_id FROM claim_search WHERE lookup = ")
                .bind(identifier.clone())
                .push(")");
        }
        if filter.colliding {
            sql.push(" AND c.collision IS NOT NULL");
        }
        if !filter.released {
            sql.push(" AND c.released_at IS NULL");
        }
        sql.push(" ORDER BY c.id LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list claims")?;
        let claims = rows.iter().map(claim).collect::<Result<_, _>>()?;
        Ok(page.page(claims, |one: &Claim| one.id))
    }
}
