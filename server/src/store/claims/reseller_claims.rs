//! The view of a reseller: the claims in force that it registered, by customer, for customers that it still
//! works for.

use super::claim::{claim, claim_columns};
use crate::{
    domain::{claims::claim::Claim, tenancy::actor::Scope},
    store::{Reader, StoreError, row::Fields},
};
use unbox_common::ids::{ClaimId, CompanyId};

/// The position in a list of a reseller's claims: after this customer's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResellerCursor {
    /// The customer.
    pub customer: CompanyId,
    /// The claim.
    pub claim: ClaimId,
}

impl ResellerCursor {
    /// Returns the position after this claim.
    #[must_use]
    pub fn after_claim(claim: &Claim) -> Self {
        Self { customer: claim.customer, claim: claim.id }
    }
}

/// A run of claims that one index yields in order.
#[derive(Clone, Copy)]
enum Of {
    /// The claims of this customer, after this claim.
    Customer(CompanyId, Option<ClaimId>),
    /// The claims of all customers after this one.
    CustomersAfter(Option<CompanyId>),
}

impl Reader {
    /// Returns at most `limit` claims of a reseller, ordered by customer and age: of these customers, named
    /// in their order, or of every customer if none is named. Every page costs as much as the first: an
    /// index leads to its start.
    pub fn claims_of_reseller(
        &mut self,
        reseller: CompanyId,
        customers: &[CompanyId],
        after: Option<ResellerCursor>,
        limit: u32,
    ) -> Result<Vec<Claim>, StoreError> {
        if customers.is_empty() {
            return self.claims_of_all_customers(reseller, after, limit);
        }
        // One statement for all of them would sort the rest of the first: no index has the order of several
        // customers from the middle of one.
        let mut claims = Vec::new();
        for customer in self.customers_with_claims(reseller, customers)? {
            let found = u32::try_from(claims.len()).unwrap_or(u32::MAX);
            if after.is_some_and(|after| customer < after.customer) {
                continue;
            }
            if found >= limit {
                break;
            }
            let after = after.filter(|after| after.customer == customer);
            claims.extend(self.list_run_of_claims(
                reseller,
                Of::Customer(customer, after.map(|after| after.claim)),
                limit - found,
            )?);
        }
        Ok(claims)
    }

    /// Reads first the rest of the customer that the previous page ended with, then those after it. A
    /// single condition for both (`(customer_id, id) > (a, b)`) makes SQLite read that customer's claims
    /// from the start again.
    fn claims_of_all_customers(
        &mut self,
        reseller: CompanyId,
        after: Option<ResellerCursor>,
        limit: u32,
    ) -> Result<Vec<Claim>, StoreError> {
        let Some(ResellerCursor { customer, claim }) = after else {
            return self.list_run_of_claims(reseller, Of::CustomersAfter(None), limit);
        };
        let mut claims = self.list_run_of_claims(reseller, Of::Customer(customer, Some(claim)), limit)?;
        let found = u32::try_from(claims.len()).unwrap_or(u32::MAX);
        if found < limit {
            let behind = Of::CustomersAfter(Some(customer));
            claims.extend(self.list_run_of_claims(reseller, behind, limit - found)?);
        }
        Ok(claims)
    }

    fn list_run_of_claims(
        &mut self,
        reseller: CompanyId,
        of: Of,
        limit: u32,
    ) -> Result<Vec<Claim>, StoreError> {
        let mut sql =
            self.sql(concat!("SELECT ", claim_columns!(), " FROM claims AS c WHERE c.released_at IS NULL"));
        sql.scope_of_claims(Scope::Reseller(reseller));
        match of {
            Of::Customer(customer, after) => {
                sql.filter("c.customer_id =", Some(customer.get())).filter("c.id >", after.map(ClaimId::get))
            }
            Of::CustomersAfter(customer) => sql.filter("c.customer_id >", customer.map(CompanyId::get)),
        };
        sql.push(" ORDER BY c.customer_id, c.id LIMIT ").bind(i64::from(limit));
        let rows = sql.query().fetch_all(self.connection(), "list a reseller's claims")?;
        rows.iter().map(claim).collect()
    }

    /// Returns those of these customers for which the reseller has registered anything, in order.
    fn customers_with_claims(
        &mut self,
        reseller: CompanyId,
        customers: &[CompanyId],
    ) -> Result<Vec<CompanyId>, StoreError> {
        let mut sql = self.sql("SELECT c.customer_id FROM claim_counts AS c WHERE c.claims > 0");
        sql.scope_of_claims(Scope::Reseller(reseller))
            .push(" AND c.customer_id IN ")
            .push_list(customers.iter().map(|customer| customer.get()))
            .push(" ORDER BY c.customer_id");
        let rows = sql.query().fetch_all(self.connection(), "list a reseller's customers")?;
        rows.iter()
            .map(|row| Fields::of(row, "claim_counts", "customer_id").id("customer_id", CompanyId::new))
            .collect()
    }

    /// Counts these claims in all.
    pub fn count_claims_of_reseller(
        &mut self,
        reseller: CompanyId,
        customers: &[CompanyId],
    ) -> Result<u64, StoreError> {
        let mut sql = self.sql(
            "SELECT CAST(COALESCE(SUM(c.claims), 0) AS BIGINT) AS claims FROM claim_counts AS c WHERE 1 = 1",
        );
        sql.scope_of_claims(Scope::Reseller(reseller));
        if !customers.is_empty() {
            sql.push(" AND c.customer_id IN ").push_list(customers.iter().map(|customer| customer.get()));
        }
        let row = sql.query().fetch_one(self.connection(), "count a reseller's claims")?;
        Fields::of(&row, "claim_counts", "claims").count("claims")
    }
}
