//! Inserting, changing and ending claims.

use super::INSERT_ROWS;
use crate::{
    domain::claims::claim::{Claim, ClaimKey, Collision, Metadata, Vacation},
    store::{
        StoreError, Tx,
        database::query,
        error::{check_every_row, check_one_row},
        row::{document, millis},
        sql::is_worth_preparing,
    },
};
use std::collections::BTreeMap;
use unbox_common::{
    ids::{ClaimId, CompanyId, ConfigurationId},
    protocol::latest::ProofKind,
    timestamp::Timestamp,
};

/// Returns metadata in its stored form, or `None` if there is none.
fn metadata(of: &Metadata) -> Option<String> {
    (!of.entries().is_empty()).then(|| document(of))
}

impl Tx {
    /// Adds claims, and the keys by which they are found.
    pub fn insert_claims(&mut self, claims: &[Claim]) -> Result<(), StoreError> {
        for part in claims.chunks(INSERT_ROWS) {
            let mut sql = self.sql(
                "INSERT INTO claims (id, customer_id, reseller_id, configuration_id, configured_at, proof,
                                     activation_ends_at, identifiers, order_name, metadata, vacation_started_at,
                                     vacation_ends_at, protected, created_at, created_by) VALUES ",
            );
            sql.push_rows(part, |row, claim| {
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
            let usual = is_worth_preparing(part.len(), INSERT_ROWS);
            sql.query().keep_prepared(usual).execute(self.connection(), "add claims")?;
        }
        self.insert_claim_keys(claims)?;
        let mut counts = BTreeMap::new();
        for claim in claims {
            if let Some(reseller) = claim.reseller {
                *counts.entry((reseller, claim.customer)).or_insert(0) += 1;
            }
        }
        for ((reseller, customer), more) in counts {
            self.count_claims(reseller, customer, more)?;
        }
        Ok(())
    }

    /// Adds the keys by which claims are found.
    pub(in crate::store) fn insert_claim_keys(&mut self, claims: &[Claim]) -> Result<(), StoreError> {
        const OPERATION: &str = "add the keys of claims";
        let keys: Vec<(ClaimKey, ClaimId)> =
            claims.iter().flat_map(|one| one.sets.keys().into_iter().map(|key| (key, one.id))).collect();
        for part in keys.chunks(INSERT_ROWS) {
            let mut sql = self.sql("INSERT INTO claim_keys (lookup, named, claim_id) VALUES ");
            sql.push_rows(part, |row, (key, claim)| {
                row.bind(key.lookup.clone()).bind(key.named.clone()).bind(claim.get());
            });
            let usual = is_worth_preparing(part.len(), INSERT_ROWS);
            sql.query().keep_prepared(usual).execute(self.connection(), OPERATION)?;
        }
        let search: Vec<(String, ClaimId)> = claims
            .iter()
            .flat_map(|one| one.sets.search_keys().into_iter().map(|key| (key, one.id)))
            .collect();
        for part in search.chunks(INSERT_ROWS) {
            let mut sql = self.sql("INSERT INTO claim_search (lookup, claim_id) VALUES ");
            sql.push_rows(part, |row, (key, claim)| {
                row.bind(key.clone()).bind(claim.get());
            });
            let usual = is_worth_preparing(part.len(), INSERT_ROWS);
            sql.query().keep_prepared(usual).execute(self.connection(), OPERATION)?;
        }
        Ok(())
    }

    /// Updates the number of a reseller's claims for a customer.
    fn count_claims(
        &mut self,
        reseller: CompanyId,
        customer: CompanyId,
        more: i64,
    ) -> Result<(), StoreError> {
        query(
            "INSERT INTO claim_counts (reseller_id, customer_id, claims) VALUES ($1, $2, $3)
             ON CONFLICT (reseller_id, customer_id) DO UPDATE SET claims = claim_counts.claims + $3",
        )
        .bind(reseller.get())
        .bind(customer.get())
        .bind(more)
        .execute(self.connection(), "count the claims of a reseller")?;
        Ok(())
    }

    /// Ends a claim: it matches nothing from now on.
    pub fn release_claim(&mut self, claim: &Claim, now: Timestamp) -> Result<(), StoreError> {
        const OPERATION: &str = "end a claim";
        let done = query("UPDATE claims SET released_at = $2 WHERE id = $1 AND released_at IS NULL")
            .bind(claim.id.get())
            .bind(millis(now))
            .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)?;
        self.delete_claim_keys(claim)?;
        match claim.reseller {
            Some(reseller) => self.count_claims(reseller, claim.customer, -1),
            None => Ok(()),
        }
    }

    /// Deletes the keys by which a claim is found.
    pub(in crate::store) fn delete_claim_keys(&mut self, claim: &Claim) -> Result<(), StoreError> {
        const DELETE_KEY: &str = "DELETE FROM claim_keys WHERE lookup = $1 AND claim_id = $2";
        const DELETE_SEARCH: &str = "DELETE FROM claim_search WHERE lookup = $1 AND claim_id = $2";
        // A key whose set has since become unusable is not deleted here, but does not lead to a released
        // claim either.
        let keys = claim.sets.lookup_keys().into_iter().map(|key| (DELETE_KEY, key));
        let search = claim.sets.search_keys().into_iter().map(|key| (DELETE_SEARCH, key));
        for (statement, key) in keys.chain(search) {
            query(statement)
                .bind(key)
                .bind(claim.id.get())
                .execute(self.connection(), "take away the keys of a claim")?;
        }
        Ok(())
    }

    /// Releases a claim temporarily, or ends the release.
    pub fn set_vacation(&mut self, id: ClaimId, vacation: Option<Vacation>) -> Result<(), StoreError> {
        const OPERATION: &str = "release a claim for a time";
        let done = query(
            "UPDATE claims SET vacation_started_at = $2, vacation_ends_at = $3
             WHERE id = $1 AND released_at IS NULL",
        )
        .bind(id.get())
        .bind(vacation.map(|vacation| millis(vacation.started_at)))
        .bind(vacation.map(|vacation| millis(vacation.ends_at)))
        .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }

    /// Ends the temporary releases of a customer's claims that this company registered, and returns their
    /// number.
    pub fn end_vacations(&mut self, reseller: CompanyId, customer: CompanyId) -> Result<u64, StoreError> {
        let done = query(
            "UPDATE claims SET vacation_started_at = NULL, vacation_ends_at = NULL
             WHERE reseller_id = $1 AND customer_id = $2 AND released_at IS NULL
                 AND vacation_started_at IS NOT NULL",
        )
        .bind(reseller.get())
        .bind(customer.get())
        .execute(self.connection(), "end the temporary releases of claims")?;
        Ok(done)
    }

    /// Records that the device of a claim in force also matched claims of other owners, or that it no
    /// longer does.
    pub fn set_collision(&mut self, id: ClaimId, to: Option<&Collision>) -> Result<(), StoreError> {
        // A claim that ended meanwhile has no collisions.
        query("UPDATE claims SET collision = $2 WHERE id = $1 AND released_at IS NULL")
            .bind(id.get())
            .bind(to.map(document))
            .execute(self.connection(), "note that claims collide")?;
        Ok(())
    }

    /// Sets the metadata of a claim.
    pub fn set_metadata(&mut self, id: ClaimId, to: &Metadata) -> Result<(), StoreError> {
        const OPERATION: &str = "set the metadata of a claim";
        let done = query("UPDATE claims SET metadata = $2 WHERE id = $1 AND released_at IS NULL")
            .bind(id.get())
            .bind(metadata(to))
            .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }

    /// Sets a claim's own configuration.
    pub fn set_claim_configuration(
        &mut self,
        id: ClaimId,
        configuration: Option<ConfigurationId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = query("UPDATE claims SET configuration_id = $2, configured_at = $3 WHERE id = $1")
            .bind(id.get())
            .bind(configuration.map(ConfigurationId::get))
            .bind(millis(now))
            .execute(self.connection(), "set a claim's configuration")?;
        check_one_row("set a claim's configuration", done)
    }

    /// Sets the configuration of many claims in force.
    pub fn set_configuration_of_claims(
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
                .push_list(part.iter().map(|claim| claim.get()));
            let usual = is_worth_preparing(part.len(), INSERT_ROWS);
            let done = sql.query().keep_prepared(usual).execute(self.connection(), OPERATION)?;
            check_every_row(OPERATION, part.len(), done)?;
        }
        Ok(())
    }

    /// Sets the proof that a claim's device must give.
    pub fn set_claim_proof(&mut self, id: ClaimId, proof: ProofKind) -> Result<(), StoreError> {
        let done = query("UPDATE claims SET proof = $2 WHERE id = $1")
            .bind(id.get())
            .bind(proof.name())
            .execute(self.connection(), "set a claim's proof")?;
        check_one_row("set a claim's proof", done)
    }
}

impl Tx {
    /// Deletes ended claims, with all data about their devices. The audit trail still tells what became of
    /// them.
    pub fn delete_ended_claims(&mut self, ids: &[ClaimId]) -> Result<u64, StoreError> {
        const OF_DEVICES: [&str; 3] = [
            "DELETE FROM approval_requests WHERE device_id IN (SELECT id FROM devices WHERE claim_id IN ",
            "DELETE FROM reset_tickets WHERE device_id IN (SELECT id FROM devices WHERE claim_id IN ",
            "DELETE FROM reports WHERE device_id IN (SELECT id FROM devices WHERE claim_id IN ",
        ];
        const OF_CLAIMS: [&str; 5] = [
            "DELETE FROM devices WHERE claim_id IN ",
            "DELETE FROM claim_keys WHERE claim_id IN ",
            "DELETE FROM claim_search WHERE claim_id IN ",
            "UPDATE factory_records SET claim_id = NULL WHERE claim_id IN ",
            "DELETE FROM claims WHERE released_at IS NOT NULL AND id IN ",
        ];
        let mut deleted = 0;
        let of_devices = OF_DEVICES.map(|text| (text, ")"));
        for (text, end) in of_devices.into_iter().chain(OF_CLAIMS.map(|text| (text, ""))) {
            let mut sql = self.sql(text);
            sql.push_list(ids.iter().map(|id| id.get())).push(end);
            let done = sql.query().execute(self.connection(), "forget claims that ended")?;
            deleted = done;
        }
        Ok(deleted)
    }
}
