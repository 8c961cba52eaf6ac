//! What a reseller sees: the claims that it registered and that are in force, by customer.

use super::{
    Reader, StoreError,
    claims::{claim, claim_columns},
    error::failed,
    row::Fields,
};
use crate::domain::claim::Claim;
use unbox_common::ids::{ClaimId, CompanyId};

/// Where a list of a reseller's claims goes on: after this customer's claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResellerCursor {
    /// The customer.
    pub customer: CompanyId,
    /// The claim.
    pub claim: ClaimId,
}

impl Reader {
    /// At most `limit` claims of a reseller, ordered by customer and age; of these customers, or of
    /// every customer if none is named. The first page costs what every page costs: an index leads
    /// to where it starts.
    pub async fn claims_of_reseller(
        &mut self,
        reseller: CompanyId,
        customers: &[CompanyId],
        after: Option<ResellerCursor>,
        limit: u32,
    ) -> Result<Vec<Claim>, StoreError> {
        let mut sql =
            self.sql(concat!("SELECT ", claim_columns!(), " FROM claims AS c WHERE c.released_at IS NULL"));
        sql.filter("c.reseller_id =", Some(reseller.get()));
        if let Some(ResellerCursor { customer, claim }) = after {
            sql.push(" AND (c.customer_id, c.id) > (")
                .bind(customer.get())
                .push(", ")
                .bind(claim.get())
                .push(")");
        }
        if !customers.is_empty() {
            sql.push(" AND c.customer_id IN ").list(customers.iter().map(|customer| customer.get()));
        }
        sql.push(" ORDER BY c.customer_id, c.id LIMIT ").bind(i64::from(limit));
        let rows =
            sql.query().fetch_all(self.connection()).await.map_err(failed("list a reseller's claims"))?;
        rows.iter().map(claim).collect()
    }

    /// How many those are in all.
    pub async fn count_claims_of_reseller(
        &mut self,
        reseller: CompanyId,
        customers: &[CompanyId],
    ) -> Result<u64, StoreError> {
        let mut sql = self
            .sql("SELECT CAST(COALESCE(SUM(claims), 0) AS BIGINT) AS claims FROM claim_counts WHERE 1 = 1");
        sql.filter("reseller_id =", Some(reseller.get()));
        if !customers.is_empty() {
            sql.push(" AND customer_id IN ").list(customers.iter().map(|customer| customer.get()));
        }
        let row =
            sql.query().fetch_one(self.connection()).await.map_err(failed("count a reseller's claims"))?;
        Fields::of(&row, "claim_counts", "claims").count("claims")
    }
}
