//! Locks for decisions: on claims, and on keys that nobody may claim meanwhile.

use super::{INSERT_ROWS, claim, claim_columns};
use crate::{
    domain::{
        claims::claim::{Claim, ClaimSets},
        tenancy::actor::Scope,
    },
    store::{StoreError, Tx, database::query, row::Fields, sql::is_worth_preparing},
};
use std::collections::BTreeSet;
use unbox_common::{
    digest::Sha256,
    ids::{ClaimId, CompanyId, DeviceId},
};

/// The first number of the locks on identifiers among the advisory locks of a PostgreSQL database.
const KEY_LOCKS: i64 = 0x756e_626f_7800;

/// Returns the lock of this key: one of sixteen, which keys share.
fn lock_of(key: &str) -> u8 {
    Sha256::of(key.as_bytes()).0.first().map_or(0, |byte| byte % 16)
}

/// A claim found by a certain key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// The key.
    pub key: String,
    /// The claim.
    pub claim: ClaimId,
    /// The customer of the claim.
    pub customer: CompanyId,
    /// The reseller that registered it.
    pub reseller: Option<CompanyId>,
    /// All its sets.
    pub sets: ClaimSets,
}

impl Tx {
    /// Returns the claims of any owner that hold any of these keys. Other callers wait for the end of the
    /// transaction before they get an answer about them, so that nothing is claimed twice.
    pub fn hold_keys(&mut self, keys: &[String]) -> Result<Vec<KeyHolder>, StoreError> {
        if self.dialect.locks_rows() {
            // Rows that do not exist yet cannot be locked, so keys share a few locks, taken in one order.
            let locks: BTreeSet<i64> = keys.iter().map(|key| i64::from(lock_of(key))).collect();
            for lock in locks {
                query("SELECT CAST(pg_advisory_xact_lock($1) AS TEXT)")
                    .bind(KEY_LOCKS + lock)
                    .execute(self.connection(), "lock identifiers")?;
            }
        }
        let mut holders = Vec::new();
        for part in keys.chunks(INSERT_ROWS) {
            let mut sql = self.sql(
                "SELECT k.lookup, c.id, c.customer_id, c.reseller_id, c.identifiers FROM claim_keys AS k
                 JOIN claims AS c ON c.id = k.claim_id WHERE k.lookup IN ",
            );
            sql.push_list(part.iter().cloned()).push(" ORDER BY c.id");
            let usual = is_worth_preparing(part.len(), INSERT_ROWS);
            let rows =
                sql.query().keep_prepared(usual).fetch_all(self.connection(), "see who holds identifiers")?;
            for row in &rows {
                let fields = Fields::of(row, "claims", "id");
                holders.push(KeyHolder {
                    key: fields.read("lookup")?,
                    claim: fields.id("id", ClaimId::new)?,
                    customer: fields.id("customer_id", CompanyId::new)?,
                    reseller: fields.id_opt("reseller_id", CompanyId::new)?,
                    sets: ClaimSets::from_text(fields.read("identifiers")?)
                        .map_err(|error| fields.wrong_value("identifiers", error))?,
                });
            }
        }
        Ok(holders)
    }

    /// Returns the claims in force in the scope that devices or people find by any of these keys, each with
    /// the key. They stay locked until the transaction ends.
    pub fn hold_claims_with(
        &mut self,
        scope: Scope,
        keys: &[String],
    ) -> Result<Vec<(String, Claim)>, StoreError> {
        const OPERATION: &str = "find claims by identifiers";
        let mut found = Vec::new();
        for part in keys.chunks(INSERT_ROWS) {
            self.lock_claims_with(scope, part)?;
            let usual = is_worth_preparing(part.len(), INSERT_ROWS);
            let mut sql = self.sql(concat!(
                "SELECT k.lookup, ",
                claim_columns!(),
                " FROM (SELECT lookup, claim_id FROM claim_keys WHERE lookup IN "
            ));
            sql.push_list(part.iter().cloned())
                .push(" UNION SELECT lookup, claim_id FROM claim_search WHERE lookup IN ")
                .push_list(part.iter().cloned())
                .push(") AS k JOIN claims AS c ON c.id = k.claim_id WHERE c.released_at IS NULL")
                .scope_of_claims(scope)
                .push(" ORDER BY c.id");
            let rows = sql.query().keep_prepared(usual).fetch_all(self.connection(), OPERATION)?;
            for row in &rows {
                found.push((Fields::of(row, "claim_keys", "claim_id").read("lookup")?, claim(row)?));
            }
        }
        Ok(found)
    }

    /// Locks the claims in force in the scope that any of these keys leads to, until the transaction ends.
    /// A claim that ends during the wait is not found afterwards.
    pub fn lock_claims_with(&mut self, scope: Scope, keys: &[String]) -> Result<(), StoreError> {
        if !self.dialect.locks_rows() {
            return Ok(());
        }
        for part in keys.chunks(INSERT_ROWS) {
            // A separate statement, as for one claim.
            let mut sql = self.sql(
                "SELECT c.id FROM claims AS c WHERE c.released_at IS NULL AND c.id IN
                 (SELECT claim_id FROM claim_keys WHERE lookup IN ",
            );
            sql.push_list(part.iter().cloned())
                .push(" UNION SELECT claim_id FROM claim_search WHERE lookup IN ")
                .push_list(part.iter().cloned())
                .push(")")
                .scope_of_claims(scope)
                .push(" ORDER BY c.id FOR NO KEY UPDATE");
            let usual = is_worth_preparing(part.len(), INSERT_ROWS);
            sql.query().keep_prepared(usual).fetch_all(self.connection(), "lock claims by identifiers")?;
        }
        Ok(())
    }

    /// Locks this claim and its device until the transaction ends.
    ///
    /// A separate statement: after a wait, PostgreSQL shows the present state of the locked row, but an
    /// older state of rows joined to it.
    pub fn lock_claim(&mut self, id: ClaimId) -> Result<(), StoreError> {
        if self.dialect.locks_rows() {
            query("SELECT id FROM claims WHERE id = $1 FOR NO KEY UPDATE")
                .bind(id.get())
                .fetch_optional(self.connection(), "lock a claim")?;
        }
        Ok(())
    }

    /// Locks the claim of a device until the transaction ends.
    pub fn lock_device(&mut self, id: DeviceId) -> Result<(), StoreError> {
        if self.dialect.locks_rows() {
            query(
                "SELECT id FROM claims WHERE id = (SELECT claim_id FROM devices WHERE id = $1) FOR NO KEY UPDATE",
            )
            .bind(id.get())
            .fetch_optional(self.connection(), "lock a device")?;
        }
        Ok(())
    }
}
