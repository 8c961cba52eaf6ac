//! Claims, and the keys by which they are found.

use super::{
    Page, PageRequest, Reader, StoreError, Tx,
    error::{every_row, failed, one_row},
    row::{Fields, document, millis},
    sql::is_usual,
};
use crate::domain::{
    actor::Scope,
    claim::{Claim, ClaimSets, Metadata, Vacation},
    company::Terms,
    device::DeviceState,
};
use sqlx::any::AnyRow;
use std::collections::{BTreeMap, BTreeSet};
use unbox_common::{
    digest::Sha256,
    ids::{ClaimId, CompanyId, ConfigurationId, DeviceId},
    protocol::latest::ProofKind,
    timestamp::Timestamp,
};

/// The most claims that one look-up returns; a device that more might match is ambiguous.
pub const MAX_CANDIDATES: usize = 64;
/// Identifiers are looked up in lists of these lengths, so that a handful of prepared statements
/// serves every device.
const LOOKUP_LENGTHS: [usize; 4] = [8, 16, 32, 72];
/// Rows of one INSERT: fifteen values each, and PostgreSQL takes 65,535 values.
const INSERT_ROWS: usize = 500;

/// Where the locks of identifiers begin among the advisory locks of a PostgreSQL database.
const KEY_LOCKS: i64 = 0x756e_626f_7800;

/// The lock that this key shares: one of sixteen.
fn lock_of(key: &str) -> u8 {
    Sha256::of(key.as_bytes()).0.first().map_or(0, |byte| byte % 16)
}

/// The columns of a claim, in any statement whose table of claims is called `c`.
macro_rules! claim_columns {
    () => {
        "c.id AS claim_id, c.customer_id AS claim_customer_id, c.reseller_id, c.configuration_id,
         c.configured_at, c.proof, c.activation_ends_at, c.identifiers, c.order_name,
         c.metadata, c.vacation_started_at, c.vacation_ends_at, c.protected, c.created_at AS claim_created_at, c.created_by, c.released_at"
    };
}
pub(super) use claim_columns;

/// Which claims to list; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimFilter {
    /// Of this customer.
    pub customer: Option<CompanyId>,
    /// Registered by this reseller.
    pub reseller: Option<CompanyId>,
    /// With this configuration of their own.
    pub configuration: Option<ConfigurationId>,
    /// That ask for this proof.
    pub proof: Option<ProofKind>,
    /// Found by this identifier, as `serial_number PF0ABCDE`.
    pub identifier: Option<String>,
    /// Ended claims too.
    pub released: bool,
}

/// A claim that a device might match, and what is known beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimCandidate {
    /// The claim.
    pub claim: Claim,
    /// Whether its customer has a default configuration.
    pub default_configuration: bool,
    /// Whether its customer accepted the terms of service.
    pub terms: Terms,
    /// The state of its device, if that was seen.
    pub device_state: Option<DeviceState>,
}

/// A claim that is found by a certain key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// The key.
    pub key: String,
    /// The claim.
    pub claim: ClaimId,
    /// Its customer.
    pub customer: CompanyId,
    /// Who registered it.
    pub reseller: Option<CompanyId>,
    /// All its sets.
    pub sets: ClaimSets,
}

/// Metadata as it is stored: nothing, if there is none.
fn metadata(of: &Metadata) -> Option<String> {
    (!of.entries().is_empty()).then(|| document(of))
}

/// A claim out of a row with [`claim_columns`].
pub(super) fn claim(row: &AnyRow) -> Result<Claim, StoreError> {
    let fields = Fields::of(row, "claims", "claim_id");
    let identifiers: &str = fields.read("identifiers")?;
    let proof: &str = fields.read("proof")?;
    Ok(Claim {
        id: fields.id("claim_id", ClaimId::new)?,
        customer: fields.id("claim_customer_id", CompanyId::new)?,
        reseller: fields.id_opt("reseller_id", CompanyId::new)?,
        configuration: fields.id_opt("configuration_id", ConfigurationId::new)?,
        configured_at: fields.time("configured_at")?,
        proof: proof_named(proof).ok_or_else(|| fields.wrong("proof", format!("{proof:?} is no proof")))?,
        activation_ends_at: fields.time("activation_ends_at")?,
        sets: ClaimSets::from_text(identifiers).map_err(|error| fields.wrong("identifiers", error))?,
        order: fields.parse_opt("order_name")?,
        metadata: fields.json_opt("metadata")?.unwrap_or_default(),
        vacation: vacation(&fields)?,
        protected: fields.read::<i64>("protected")? != 0,
        created_at: fields.time("claim_created_at")?,
        created_by: fields.read("created_by")?,
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

fn proof_named(name: &str) -> Option<ProofKind> {
    ProofKind::ALL.into_iter().find(|kind| kind.name() == name)
}

impl Reader {
    /// The claims in force that are found by any of these keys, with what a hello needs to know.
    /// At most [`MAX_CANDIDATES`] and one.
    pub async fn claims_found_by(&mut self, keys: &[String]) -> Result<Vec<ClaimCandidate>, StoreError> {
        let Some(last) = keys.last() else {
            return Ok(Vec::new());
        };
        let length = LOOKUP_LENGTHS.into_iter().find(|length| *length >= keys.len()).unwrap_or(keys.len());
        let padded = keys.iter().chain(std::iter::repeat(last)).take(length).cloned();
        let mut sql = self.sql(concat!(
            "SELECT ",
            claim_columns!(),
            ", o.default_configuration_id, o.terms, d.state_detail FROM claims AS c
             JOIN companies AS o ON o.id = c.customer_id
             LEFT JOIN devices AS d ON d.claim_id = c.id
             WHERE c.released_at IS NULL AND c.id IN (SELECT claim_id FROM claim_keys WHERE lookup IN "
        ));
        // One more than the most, to know that there are more. It stands in the text because SQLite
        // prepares a statement anew whenever a bound limit is set: 30 us at each hello.
        sql.list(padded).push(") LIMIT 65");
        let rows = sql.query().fetch_all(self.connection()).await.map_err(failed("look up claims"))?;
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

    /// A claim, in force or ended, if it is within the scope.
    pub async fn claim(&mut self, scope: Scope, id: ClaimId) -> Result<Option<Claim>, StoreError> {
        let mut sql = self.sql(concat!("SELECT ", claim_columns!(), " FROM claims AS c WHERE c.id = "));
        sql.bind(id.get()).scope_with_resellers("c.customer_id =", "c.reseller_id =", scope);
        let row = sql.query().fetch_optional(self.connection()).await.map_err(failed("find a claim"))?;
        row.as_ref().map(claim).transpose()
    }

    /// Claims, oldest first.
    pub async fn claims(
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
            .scope_with_resellers("c.customer_id =", "c.reseller_id =", scope);
        if let Some(identifier) = &filter.identifier {
            sql.push(" AND c.id IN (SELECT claim_id FROM claim_keys WHERE lookup = ")
                .bind(identifier.clone())
                .push(" UNION SELECT claim_id FROM claim_search WHERE lookup = ")
                .bind(identifier.clone())
                .push(")");
        }
        if !filter.released {
            sql.push(" AND c.released_at IS NULL");
        }
        sql.push(" ORDER BY c.id LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection()).await.map_err(failed("list claims"))?;
        let claims = rows.iter().map(claim).collect::<Result<_, _>>()?;
        Ok(page.page(claims, |one: &Claim| one.id))
    }
}

impl Tx {
    /// Who holds any of these keys, of whatever owner. Until the transaction ends nobody else gets an
    /// answer about them: so that nothing is claimed twice.
    pub async fn hold_keys(&mut self, keys: &[String]) -> Result<Vec<KeyHolder>, StoreError> {
        if self.dialect.locks_rows() {
            // What is not there yet cannot be locked, so keys share a few locks, taken in one order.
            let locks: BTreeSet<i64> = keys.iter().map(|key| i64::from(lock_of(key))).collect();
            for lock in locks {
                sqlx::query("SELECT CAST(pg_advisory_xact_lock($1) AS TEXT)")
                    .bind(KEY_LOCKS + lock)
                    .execute(self.connection())
                    .await
                    .map_err(failed("lock identifiers"))?;
            }
        }
        let mut holders = Vec::new();
        for part in keys.chunks(INSERT_ROWS) {
            let mut sql = self.sql(
                "SELECT k.lookup, c.id, c.customer_id, c.reseller_id, c.identifiers FROM claim_keys AS k
                 JOIN claims AS c ON c.id = k.claim_id WHERE k.lookup IN ",
            );
            sql.list(part.iter().cloned()).push(" ORDER BY c.id");
            let usual = is_usual(part.len(), INSERT_ROWS);
            let rows = sql
                .query()
                .persistent(usual)
                .fetch_all(self.connection())
                .await
                .map_err(failed("see who holds identifiers"))?;
            for row in &rows {
                let fields = Fields::of(row, "claims", "id");
                holders.push(KeyHolder {
                    key: fields.read("lookup")?,
                    claim: fields.id("id", ClaimId::new)?,
                    customer: fields.id("customer_id", CompanyId::new)?,
                    reseller: fields.id_opt("reseller_id", CompanyId::new)?,
                    sets: ClaimSets::from_text(fields.read("identifiers")?)
                        .map_err(|error| fields.wrong("identifiers", error))?,
                });
            }
        }
        Ok(holders)
    }

    /// The claims in force within the scope that are found by any of these keys, by devices or by
    /// people, each with the key. Nobody else decides about them until the transaction ends.
    pub async fn hold_claims_with(
        &mut self,
        scope: Scope,
        keys: &[String],
    ) -> Result<Vec<(String, Claim)>, StoreError> {
        const OPERATION: &str = "find claims by identifiers";
        let mut found = Vec::new();
        for part in keys.chunks(INSERT_ROWS) {
            let usual = is_usual(part.len(), INSERT_ROWS);
            if self.dialect.locks_rows() {
                // A statement of its own, as for one claim.
                let mut sql = self.sql(
                    "SELECT c.id FROM claims AS c WHERE c.released_at IS NULL AND c.id IN
                     (SELECT claim_id FROM claim_keys WHERE lookup IN ",
                );
                sql.list(part.iter().cloned())
                    .push(" UNION SELECT claim_id FROM claim_search WHERE lookup IN ")
                    .list(part.iter().cloned())
                    .push(")")
                    .scope_with_resellers("c.customer_id =", "c.reseller_id =", scope)
                    .push(" ORDER BY c.id FOR NO KEY UPDATE");
                let locked = sql.query().persistent(usual).fetch_all(self.connection()).await;
                locked.map_err(failed(OPERATION))?;
            }
            let mut sql = self.sql(concat!(
                "SELECT k.lookup, ",
                claim_columns!(),
                " FROM (SELECT lookup, claim_id FROM claim_keys WHERE lookup IN "
            ));
            sql.list(part.iter().cloned())
                .push(" UNION SELECT lookup, claim_id FROM claim_search WHERE lookup IN ")
                .list(part.iter().cloned())
                .push(") AS k JOIN claims AS c ON c.id = k.claim_id WHERE c.released_at IS NULL")
                .scope_with_resellers("c.customer_id =", "c.reseller_id =", scope)
                .push(" ORDER BY c.id");
            let rows = sql.query().persistent(usual).fetch_all(self.connection()).await;
            for row in &rows.map_err(failed(OPERATION))? {
                found.push((Fields::of(row, "claim_keys", "claim_id").read("lookup")?, claim(row)?));
            }
        }
        Ok(found)
    }

    /// Waits for, and then keeps away, everybody else who decides about this claim or its device.
    ///
    /// A statement of its own: after a wait, PostgreSQL shows the locked row as it is now, but
    /// rows that are joined to it as they were before.
    pub async fn lock_claim(&mut self, id: ClaimId) -> Result<(), StoreError> {
        if self.dialect.locks_rows() {
            sqlx::query("SELECT id FROM claims WHERE id = $1 FOR NO KEY UPDATE")
                .bind(id.get())
                .fetch_optional(self.connection())
                .await
                .map_err(failed("lock a claim"))?;
        }
        Ok(())
    }

    /// The same for the claim of a device.
    pub async fn lock_device(&mut self, id: DeviceId) -> Result<(), StoreError> {
        if self.dialect.locks_rows() {
            sqlx::query(
                "SELECT id FROM claims WHERE id = (SELECT claim_id FROM devices WHERE id = $1) FOR NO KEY UPDATE",
            )
            .bind(id.get())
            .fetch_optional(self.connection())
            .await
            .map_err(failed("lock a device"))?;
        }
        Ok(())
    }

    /// Adds claims, and the keys by which they are found.
    pub async fn insert_claims(&mut self, claims: &[Claim]) -> Result<(), StoreError> {
        for part in claims.chunks(INSERT_ROWS) {
            let mut sql = self.sql(
                "INSERT INTO claims (id, customer_id, reseller_id, configuration_id, configured_at, proof,
                                     activation_ends_at, identifiers, order_name, metadata, vacation_started_at,
                                     vacation_ends_at, protected, created_at, created_by) VALUES ",
            );
            sql.rows(part, |row, claim| {
                row.bind(claim.id.get())
                    .bind(claim.customer.get())
                    .bind(claim.reseller.map(CompanyId::get))
                    .bind(claim.configuration.map(ConfigurationId::get))
                    .bind(millis(claim.configured_at))
                    .bind(claim.proof.name())
                    .bind(millis(claim.activation_ends_at))
                    .bind(claim.sets.to_text())
                    .bind(claim.order.as_ref().map(ToString::to_string))
                    .bind(metadata(&claim.metadata))
                    .bind(claim.vacation.map(|vacation| millis(vacation.started_at)))
                    .bind(claim.vacation.map(|vacation| millis(vacation.ends_at)))
                    .bind(i64::from(claim.protected))
                    .bind(millis(claim.created_at))
                    .bind(claim.created_by.clone());
            });
            let usual = is_usual(part.len(), INSERT_ROWS);
            sql.query().persistent(usual).execute(self.connection()).await.map_err(failed("add claims"))?;
        }
        self.insert_claim_keys(claims).await?;
        let mut counts = BTreeMap::new();
        for claim in claims {
            if let Some(reseller) = claim.reseller {
                *counts.entry((reseller, claim.customer)).or_insert(0) += 1;
            }
        }
        for ((reseller, customer), more) in counts {
            self.count_claims(reseller, customer, more).await?;
        }
        Ok(())
    }

    /// Adds the keys by which claims are found.
    pub(super) async fn insert_claim_keys(&mut self, claims: &[Claim]) -> Result<(), StoreError> {
        let of_each = |keys: fn(&ClaimSets) -> BTreeSet<String>| -> Vec<(String, ClaimId)> {
            claims.iter().flat_map(|one| keys(&one.sets).into_iter().map(|key| (key, one.id))).collect()
        };
        self.insert_keys(
            "INSERT INTO claim_keys (lookup, claim_id) VALUES ",
            &of_each(ClaimSets::lookup_keys),
        )
        .await?;
        self.insert_keys(
            "INSERT INTO claim_search (lookup, claim_id) VALUES ",
            &of_each(ClaimSets::search_keys),
        )
        .await
    }

    async fn insert_keys(
        &mut self,
        into: &'static str,
        keys: &[(String, ClaimId)],
    ) -> Result<(), StoreError> {
        for part in keys.chunks(INSERT_ROWS) {
            let mut sql = self.sql(into);
            sql.rows(part, |row, (key, claim)| {
                row.bind(key.clone()).bind(claim.get());
            });
            let usual = is_usual(part.len(), INSERT_ROWS);
            sql.query()
                .persistent(usual)
                .execute(self.connection())
                .await
                .map_err(failed("add the keys of claims"))?;
        }
        Ok(())
    }

    /// Keeps the number of a reseller's claims for a customer.
    async fn count_claims(
        &mut self,
        reseller: CompanyId,
        customer: CompanyId,
        more: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO claim_counts (reseller_id, customer_id, claims) VALUES ($1, $2, $3)
             ON CONFLICT (reseller_id, customer_id) DO UPDATE SET claims = claim_counts.claims + $3",
        )
        .bind(reseller.get())
        .bind(customer.get())
        .bind(more)
        .execute(self.connection())
        .await
        .map_err(failed("count the claims of a reseller"))?;
        Ok(())
    }

    /// Ends a claim: it matches nothing from now on.
    pub async fn release_claim(&mut self, claim: &Claim, now: Timestamp) -> Result<(), StoreError> {
        const OPERATION: &str = "end a claim";
        let done = sqlx::query("UPDATE claims SET released_at = $2 WHERE id = $1 AND released_at IS NULL")
            .bind(claim.id.get())
            .bind(millis(now))
            .execute(self.connection())
            .await
            .map_err(failed(OPERATION))?;
        one_row(OPERATION, done.rows_affected())?;
        self.delete_claim_keys(claim).await?;
        match claim.reseller {
            Some(reseller) => self.count_claims(reseller, claim.customer, -1).await,
            None => Ok(()),
        }
    }

    /// Takes away the keys by which a claim is found.
    pub(super) async fn delete_claim_keys(&mut self, claim: &Claim) -> Result<(), StoreError> {
        const DELETE_KEY: &str = "DELETE FROM claim_keys WHERE lookup = $1 AND claim_id = $2";
        const DELETE_SEARCH: &str = "DELETE FROM claim_search WHERE lookup = $1 AND claim_id = $2";
        // A key whose set became unusable since then is not here; a released claim is not found by it
        // either.
        let keys = claim.sets.lookup_keys().into_iter().map(|key| (DELETE_KEY, key));
        let search = claim.sets.search_keys().into_iter().map(|key| (DELETE_SEARCH, key));
        for (statement, key) in keys.chain(search) {
            sqlx::query(statement)
                .bind(key)
                .bind(claim.id.get())
                .execute(self.connection())
                .await
                .map_err(failed("take away the keys of a claim"))?;
        }
        Ok(())
    }

    /// Releases a claim for a time, or ends that.
    pub async fn set_vacation(&mut self, id: ClaimId, vacation: Option<Vacation>) -> Result<(), StoreError> {
        const OPERATION: &str = "release a claim for a time";
        let done = sqlx::query(
            "UPDATE claims SET vacation_started_at = $2, vacation_ends_at = $3
             WHERE id = $1 AND released_at IS NULL",
        )
        .bind(id.get())
        .bind(vacation.map(|vacation| millis(vacation.started_at)))
        .bind(vacation.map(|vacation| millis(vacation.ends_at)))
        .execute(self.connection())
        .await
        .map_err(failed(OPERATION))?;
        one_row(OPERATION, done.rows_affected())
    }

    /// Sets what a reseller wrote about a claim.
    pub async fn set_metadata(&mut self, id: ClaimId, to: &Metadata) -> Result<(), StoreError> {
        const OPERATION: &str = "set the metadata of a claim";
        let done = sqlx::query("UPDATE claims SET metadata = $2 WHERE id = $1 AND released_at IS NULL")
            .bind(id.get())
            .bind(metadata(to))
            .execute(self.connection())
            .await
            .map_err(failed(OPERATION))?;
        one_row(OPERATION, done.rows_affected())
    }

    /// Sets a claim's own configuration.
    pub async fn set_claim_configuration(
        &mut self,
        id: ClaimId,
        configuration: Option<ConfigurationId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE claims SET configuration_id = $2, configured_at = $3 WHERE id = $1")
            .bind(id.get())
            .bind(configuration.map(ConfigurationId::get))
            .bind(millis(now))
            .execute(self.connection())
            .await
            .map_err(failed("set a claim's configuration"))?;
        one_row("set a claim's configuration", done.rows_affected())
    }

    /// The same for many claims that are in force.
    pub async fn set_configuration_of_claims(
        &mut self,
        claims: &[ClaimId],
        configuration: Option<ConfigurationId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "set the configuration of claims";
        for part in claims.chunks(INSERT_ROWS) {
            let mut sql = self.sql("UPDATE claims SET configuration_id = ");
            sql.bind(configuration.map(ConfigurationId::get))
                .push(", configured_at = ")
                .bind(millis(now))
                .push(" WHERE released_at IS NULL AND id IN ")
                .list(part.iter().map(|claim| claim.get()));
            let usual = is_usual(part.len(), INSERT_ROWS);
            let done = sql.query().persistent(usual).execute(self.connection()).await;
            every_row(OPERATION, part.len(), done.map_err(failed(OPERATION))?.rows_affected())?;
        }
        Ok(())
    }

    /// Sets what a claim's device has to prove.
    pub async fn set_claim_proof(&mut self, id: ClaimId, proof: ProofKind) -> Result<(), StoreError> {
        let done = sqlx::query("UPDATE claims SET proof = $2 WHERE id = $1")
            .bind(id.get())
            .bind(proof.name())
            .execute(self.connection())
            .await
            .map_err(failed("set a claim's proof"))?;
        one_row("set a claim's proof", done.rows_affected())
    }
}
