//! Companies.

use super::{
    Page, PageRequest, Reader, StoreError, Tx,
    error::{failed, one_row},
    row::{Fields, millis},
};
use crate::domain::{
    actor::Scope,
    company::{Company, CompanyKind},
    name::Name,
};
use sqlx::any::AnyRow;
use unbox_common::{
    ids::{CompanyId, ConfigurationId},
    timestamp::Timestamp,
};

const SELECT: &str = "SELECT id, kind, name, default_configuration_id, created_at FROM companies WHERE 1 = 1";

fn company(row: &AnyRow) -> Result<Company, StoreError> {
    let fields = Fields::of(row, "companies", "id");
    Ok(Company {
        id: fields.id("id", CompanyId::new)?,
        kind: fields.parse("kind")?,
        name: fields.parse("name")?,
        default_configuration: fields.id_opt("default_configuration_id", ConfigurationId::new)?,
        created_at: fields.time("created_at")?,
    })
}

impl Reader {
    /// A company, if it is within the scope.
    pub async fn company(&mut self, scope: Scope, id: CompanyId) -> Result<Option<Company>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("id =", Some(id.get())).scope("id =", scope);
        let row = sql.query().fetch_optional(self.connection()).await.map_err(failed("find a company"))?;
        row.as_ref().map(company).transpose()
    }

    /// A company of this kind and exactly this name, if it is within the scope.
    pub async fn company_named(
        &mut self,
        scope: Scope,
        kind: CompanyKind,
        name: &str,
    ) -> Result<Option<Company>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("kind =", Some(kind.name())).filter("name =", Some(name.to_owned())).scope("id =", scope);
        let row = sql.query().fetch_optional(self.connection()).await.map_err(failed("find a company"))?;
        row.as_ref().map(company).transpose()
    }

    /// Companies, oldest first.
    pub async fn companies(
        &mut self,
        scope: Scope,
        kind: Option<CompanyKind>,
        page: &PageRequest,
    ) -> Result<Page<Company>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("kind =", kind.map(CompanyKind::name))
            .filter("id >", page.key::<i64>()?)
            .scope("id =", scope)
            .push(" ORDER BY id LIMIT ")
            .bind(page.limit());
        let rows = sql.query().fetch_all(self.connection()).await.map_err(failed("list companies"))?;
        let companies = rows.iter().map(company).collect::<Result<_, _>>()?;
        Ok(page.page(companies, |one: &Company| one.id))
    }
}

impl Tx {
    /// Adds a company; `false` if there is one of this kind and name.
    pub async fn insert_company(&mut self, company: &Company) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO companies (id, kind, name, default_configuration_id, default_set_at, created_at)
             VALUES ($1, $2, $3, NULL, $4, $4) ON CONFLICT (kind, name) DO NOTHING",
        )
        .bind(company.id.get())
        .bind(company.kind.name())
        .bind(company.name.as_str())
        .bind(millis(company.created_at))
        .execute(self.connection())
        .await
        .map_err(failed("add a company"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Renames a company; `false` if another one of its kind has the name.
    pub async fn rename_company(&mut self, company: &Company, name: &Name) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE companies SET name = $2 WHERE id = $1 AND NOT EXISTS
             (SELECT 1 FROM companies AS other WHERE other.kind = $3 AND other.name = $2 AND other.id <> $1)",
        )
        .bind(company.id.get())
        .bind(name.as_str())
        .bind(company.kind.name())
        .execute(self.connection())
        .await
        .map_err(failed("rename a company"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Sets what a customer's claims get that name no configuration of their own.
    pub async fn set_default_configuration(
        &mut self,
        customer: CompanyId,
        configuration: Option<ConfigurationId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE companies SET default_configuration_id = $2, default_set_at = $3 WHERE id = $1",
        )
        .bind(customer.get())
        .bind(configuration.map(ConfigurationId::get))
        .bind(millis(now))
        .execute(self.connection())
        .await
        .map_err(failed("set a default configuration"))?;
        one_row("set a default configuration", done.rows_affected())
    }
}
