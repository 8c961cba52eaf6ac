//! Records of factories, found by the identifiers of each device.

use crate::{
    domain::{claims::claim::Claim, factory::record::FactoryRecord, tenancy::actor::Scope},
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        claims::claim::{claim, claim_columns},
        database::{Row, query},
        error::check_one_row,
        row::{Fields, document, millis},
        sql::{Sql, is_worth_preparing},
    },
};
use std::collections::BTreeMap;
use unbox_common::{
    identity::{HardwareIdentity, RawIdentifier},
    ids::{ClaimId, CompanyId, FactoryRecordId},
};

/// A filter on records; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FactoryFilter {
    /// Only records of this organisation.
    pub company: Option<CompanyId>,
    /// Only records of a device with one of these identifiers, such as `serial_number PF0ABCDE`.
    pub identifiers: Option<Vec<String>>,
}

/// The number of rows in one INSERT, and of values in one list.
const PART: usize = 500;

macro_rules! record_columns {
    () => {
        "r.id, r.company_id, r.identifiers, c.id AS claim_id, r.created_at, r.created_by"
    };
}

/// Adds to a record `r` the claim in force that has its key, as `c`. Another customer's claim appears only
/// while the record's organisation works for that customer.
macro_rules! with_claims {
    () => {
        " LEFT JOIN claims AS c ON c.id = r.claim_id AND c.released_at IS NULL
             AND (c.customer_id = r.company_id OR EXISTS (SELECT 1 FROM company_links AS l
                 WHERE l.customer_id = c.customer_id AND l.company_id = r.company_id))"
    };
}

fn record(row: &Row) -> Result<FactoryRecord, StoreError> {
    let fields = Fields::of(row, "factory_records", "id");
    let raw: Vec<RawIdentifier> = fields.json("identifiers")?;
    Ok(FactoryRecord {
        id: fields.id("id", FactoryRecordId::new)?,
        company: fields.id("company_id", CompanyId::new)?,
        identity: HardwareIdentity::from_raw(&raw)
            .map_err(|error| fields.wrong_value("identifiers", error))?,
        claim: fields.id_opt("claim_id", ClaimId::new)?,
        created_at: fields.time("created_at")?,
        created_by: fields.read("created_by")?,
    })
}

/// Adds the condition for the records of these companies that any of these keys leads to.
fn records_sql(sql: &mut Sql, companies: &[CompanyId], keys: &[String]) {
    sql.push_list(companies.iter().map(|company| company.get()))
        .push(" AND k.lookup IN ")
        .push_list(keys.iter().cloned())
        .push(" ORDER BY r.id");
}

const RECORDS: &str = concat!(
    "SELECT DISTINCT ",
    record_columns!(),
    " FROM factory_keys AS k JOIN factory_records AS r ON r.id = k.record_id",
    with_claims!(),
    " WHERE k.company_id IN "
);

impl Reader {
    /// Returns these companies' records of devices with any of these keys, oldest first.
    pub fn factory_records(
        &mut self,
        companies: &[CompanyId],
        keys: &[String],
    ) -> Result<Vec<FactoryRecord>, StoreError> {
        let mut found = BTreeMap::new();
        for part in keys.chunks(PART) {
            let mut sql = self.sql(RECORDS);
            records_sql(&mut sql, companies, part);
            let usual = is_worth_preparing(part.len(), PART);
            let rows = sql
                .query()
                .keep_prepared(usual)
                .fetch_all(self.connection(), "find what factories registered")?;
            for row in &rows {
                let one = record(row)?;
                found.insert(one.id, one);
            }
        }
        Ok(found.into_values().collect())
    }

    /// Returns a record, if it is the scope's own.
    pub fn factory_record(
        &mut self,
        scope: Scope,
        id: FactoryRecordId,
    ) -> Result<Option<FactoryRecord>, StoreError> {
        let mut sql = self.sql(concat!(
            "SELECT ",
            record_columns!(),
            " FROM factory_records AS r",
            with_claims!(),
            " WHERE r.id = "
        ));
        sql.bind(id.get()).filter("r.company_id =", scope.company().map(CompanyId::get));
        let row = sql.query().fetch_optional(self.connection(), "find what a factory registered")?;
        row.as_ref().map(record).transpose()
    }

    /// Lists records of the scope's own organisation, or of all for the operator; oldest first.
    pub fn list_factory_records(
        &mut self,
        scope: Scope,
        filter: &FactoryFilter,
        page: &PageRequest,
    ) -> Result<Page<FactoryRecord>, StoreError> {
        let own = [scope.company(), filter.company];
        let mut sql = self.sql(concat!(
            "SELECT ",
            record_columns!(),
            " FROM factory_records AS r",
            with_claims!(),
            " WHERE 1 = 1"
        ));
        for company in own {
            sql.filter("r.company_id =", company.map(CompanyId::get));
        }
        match filter.identifiers.as_deref() {
            None => {}
            Some([]) => {
                sql.push(" AND 1 = 0");
            }
            Some(identifiers) => {
                sql.push(" AND r.id IN (SELECT record_id FROM factory_keys WHERE lookup IN ")
                    .push_list(identifiers.iter().cloned());
                for company in own {
                    sql.filter("company_id =", company.map(CompanyId::get));
                }
                sql.push(")");
            }
        }
        sql.filter("r.id >", page.key::<i64>()?).push(" ORDER BY r.id LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list what factories registered")?;
        let records = rows.iter().map(record).collect::<Result<_, _>>()?;
        Ok(page.page(records, |one: &FactoryRecord| one.id))
    }

    /// Returns the claims in force in the scope that any of these keys leads to.
    pub fn claims_with(&mut self, scope: Scope, keys: &[String]) -> Result<Vec<Claim>, StoreError> {
        let mut found = BTreeMap::new();
        for part in keys.chunks(PART) {
            let mut sql = self.sql(concat!(
                "SELECT ",
                claim_columns!(),
                " FROM claims AS c WHERE c.released_at IS NULL AND c.id IN
                  (SELECT claim_id FROM claim_keys WHERE lookup IN "
            ));
            sql.push_list(part.iter().cloned())
                .push(" UNION SELECT claim_id FROM claim_search WHERE lookup IN ")
                .push_list(part.iter().cloned())
                .push(")")
                .scope_of_claims(scope);
            let usual = is_worth_preparing(part.len(), PART);
            let rows = sql
                .query()
                .keep_prepared(usual)
                .fetch_all(self.connection(), "find claims by identifiers")?;
            for row in &rows {
                let one = claim(row)?;
                found.insert(one.id, one);
            }
        }
        Ok(found.into_values().collect())
    }
}

impl Tx {
    /// Returns true if any factory ever registered anything.
    pub fn has_factory_records(&mut self) -> Result<bool, StoreError> {
        let found = query("SELECT id FROM factory_records LIMIT 1")
            .fetch_optional(self.connection(), "see whether factories registered anything")?;
        Ok(found.is_some())
    }

    /// Adds a record under its id.
    pub fn insert_factory_record(&mut self, new: &FactoryRecord) -> Result<(), StoreError> {
        query(
            "INSERT INTO factory_records (id, company_id, identifiers, claim_id, created_at, created_by)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(new.id.get())
        .bind(new.company.get())
        .bind(document(&new.identity.to_raw()))
        .bind(new.claim.map(ClaimId::get))
        .bind(millis(new.created_at))
        .bind(new.created_by.clone())
        .execute(self.connection(), "add what a factory registered")?;
        self.insert_factory_keys(new)
    }

    /// Updates a record with the identifiers that its device shows now, and with the claim that has its
    /// key. A claim that is out of scope at present stays recorded.
    pub fn update_factory_record(&mut self, record: &FactoryRecord) -> Result<(), StoreError> {
        const OPERATION: &str = "change what a factory registered";
        let done = query(
            "UPDATE factory_records SET identifiers = $2, claim_id = COALESCE($3, claim_id) WHERE id = $1",
        )
        .bind(record.id.get())
        .bind(document(&record.identity.to_raw()))
        .bind(record.claim.map(ClaimId::get))
        .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)?;
        self.delete_factory_keys(record.id)?;
        self.insert_factory_keys(record)
    }

    /// Records which claims received their keys from which records.
    pub fn note_keys_given(&mut self, given: &[(FactoryRecordId, ClaimId)]) -> Result<(), StoreError> {
        const OPERATION: &str = "note which claim has a registered key";
        for (record, claim) in given {
            let done = query("UPDATE factory_records SET claim_id = $2 WHERE id = $1")
                .bind(record.get())
                .bind(claim.get())
                .execute(self.connection(), OPERATION)?;
            check_one_row(OPERATION, done)?;
        }
        Ok(())
    }

    /// Deletes a record.
    pub fn delete_factory_record(&mut self, id: FactoryRecordId) -> Result<(), StoreError> {
        const OPERATION: &str = "delete what a factory registered";
        self.delete_factory_keys(id)?;
        let done = query("DELETE FROM factory_records WHERE id = $1")
            .bind(id.get())
            .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }

    fn delete_factory_keys(&mut self, id: FactoryRecordId) -> Result<(), StoreError> {
        query("DELETE FROM factory_keys WHERE record_id = $1")
            .bind(id.get())
            .execute(self.connection(), "take away the keys of what a factory registered")?;
        Ok(())
    }

    fn insert_factory_keys(&mut self, record: &FactoryRecord) -> Result<(), StoreError> {
        let keys: Vec<String> = record.lookup_keys().into_iter().collect();
        let mut sql = self.sql("INSERT INTO factory_keys (company_id, lookup, record_id) VALUES ");
        sql.push_rows(&keys, |row, key| {
            row.bind(record.company.get()).bind(key.clone()).bind(record.id.get());
        });
        sql.query()
            .keep_prepared(false)
            .execute(self.connection(), "add the keys of what a factory registered")?;
        Ok(())
    }

    /// Replaces the sets `was` of a claim in force, because its device's key was registered or withdrawn.
    pub fn set_claim_sets(&mut self, was: &Claim, now: &Claim) -> Result<(), StoreError> {
        const OPERATION: &str = "change the identifiers of a claim";
        let done = query("UPDATE claims SET identifiers = $2 WHERE id = $1 AND released_at IS NULL")
            .bind(was.id.get())
            .bind(now.sets.to_text())
            .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)?;
        self.delete_claim_keys(was)?;
        self.insert_claim_keys(std::slice::from_ref(now))
    }
}
