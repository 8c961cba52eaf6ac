//! Companies.

use crate::{
    domain::tenancy::{
        actor::Scope,
        company::{Company, CompanyKind, Link},
    },
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::{Row, query},
        error::{check_one_row, statement_error},
        row::{Fields, millis},
        sql::Sql,
    },
};
use unbox_common::{
    ids::{CompanyId, ConfigurationId},
    timestamp::Timestamp,
};

const SELECT: &str = "SELECT id, kind, name, parent_id, terms, language, workspace, device_protection,
    default_configuration_id, factory_keys, created_at FROM companies WHERE 1 = 1";

/// The rows that prevent the deletion of a company, each with a statement that finds one.
const DEPENDANTS: [(&str, &str); 8] = [
    ("vendors", "SELECT 1 FROM companies WHERE parent_id = $1 LIMIT 1"),
    ("configurations", "SELECT 1 FROM configurations WHERE customer_id = $1 LIMIT 1"),
    ("artifacts", "SELECT 1 FROM artifact_registrations WHERE customer_id = $1 LIMIT 1"),
    ("tokens", "SELECT 1 FROM tokens WHERE customer_id = $1 LIMIT 1"),
    ("claims, ended ones included", "SELECT 1 FROM claims WHERE customer_id = $1 LIMIT 1"),
    ("claims that it registered, ended ones included", "SELECT 1 FROM claims WHERE reseller_id = $1 LIMIT 1"),
    ("operations", "SELECT 1 FROM operations WHERE company_id = $1 LIMIT 1"),
    ("factory records", "SELECT 1 FROM factory_records WHERE company_id = $1 LIMIT 1"),
];

/// A filter on companies; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CompanyFilter {
    /// Only companies of this kind.
    pub kind: Option<CompanyKind>,
    /// Only vendors of this reseller.
    pub parent: Option<CompanyId>,
    /// Only customers that this reseller, vendor or EMM works for.
    pub served_by: Option<CompanyId>,
    /// Only companies that work for this customer.
    pub serving: Option<CompanyId>,
}

impl CompanyFilter {
    /// Returns a filter for one kind, or for all.
    #[must_use]
    pub fn of_kind(kind: Option<CompanyKind>) -> Self {
        Self { kind, ..Self::default() }
    }

    fn narrow(&self, sql: &mut Sql) {
        sql.filter("kind =", self.kind.map(CompanyKind::name))
            .filter("parent_id =", self.parent.map(CompanyId::get));
        if let Some(company) = self.served_by {
            sql.push(" AND id IN (SELECT customer_id FROM company_links WHERE company_id = ")
                .bind(company.get())
                .push(")");
        }
        if let Some(customer) = self.serving {
            sql.push(" AND id IN (SELECT company_id FROM company_links WHERE customer_id = ")
                .bind(customer.get())
                .push(")");
        }
    }
}

fn company(row: &Row) -> Result<Company, StoreError> {
    let fields = Fields::of(row, "companies", "id");
    Ok(Company {
        id: fields.id("id", CompanyId::new)?,
        kind: fields.parse("kind")?,
        name: fields.parse("name")?,
        default_configuration: fields.id_opt("default_configuration_id", ConfigurationId::new)?,
        parent: fields.id_opt("parent_id", CompanyId::new)?,
        terms: fields.parse("terms")?,
        language: fields.read("language")?,
        workspace: fields.read("workspace")?,
        device_protection: fields.read::<i64>("device_protection")? != 0,
        factory_keys: fields.read::<i64>("factory_keys")? != 0,
        created_at: fields.time("created_at")?,
    })
}

impl Reader {
    /// Returns a company, if it is in the scope.
    pub fn company(&mut self, scope: Scope, id: CompanyId) -> Result<Option<Company>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("id =", Some(id.get()));
        companies_within(&mut sql, scope);
        let row = sql.query().fetch_optional(self.connection(), "find a company")?;
        row.as_ref().map(company).transpose()
    }

    /// Returns the company with this kind and exactly this name, if it is in the scope.
    pub fn company_named(
        &mut self,
        scope: Scope,
        kind: CompanyKind,
        name: &str,
    ) -> Result<Option<Company>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("kind =", Some(kind.name())).filter("name =", Some(name.to_owned()));
        companies_within(&mut sql, scope);
        let row = sql.query().fetch_optional(self.connection(), "find a company")?;
        row.as_ref().map(company).transpose()
    }

    /// Lists companies, oldest first.
    pub fn companies(
        &mut self,
        scope: Scope,
        filter: &CompanyFilter,
        page: &PageRequest,
    ) -> Result<Page<Company>, StoreError> {
        let mut sql = self.sql(SELECT);
        filter.narrow(&mut sql);
        companies_within(&mut sql, scope);
        sql.filter("id >", page.key::<i64>()?).push(" ORDER BY id LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list companies")?;
        let companies = rows.iter().map(company).collect::<Result<_, _>>()?;
        Ok(page.page(companies, |one: &Company| one.id))
    }

    /// Returns the oldest five other companies, of any kind, whose names look like this one's.
    pub fn companies_like(&mut self, like: &Company) -> Result<Vec<Company>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("skeleton =", Some(like.name.skeleton()))
            .filter("id <>", Some(like.id.get()))
            .push(" ORDER BY id LIMIT 5");
        let rows = sql.query().fetch_all(self.connection(), "compare names")?;
        rows.iter().map(company).collect()
    }

    /// Counts the companies that [`Self::companies`] lists.
    pub fn count_companies(&mut self, scope: Scope, filter: &CompanyFilter) -> Result<u64, StoreError> {
        let mut sql = self.sql("SELECT COUNT(*) AS companies FROM companies WHERE 1 = 1");
        filter.narrow(&mut sql);
        companies_within(&mut sql, scope);
        let row = sql.query().fetch_one(self.connection(), "count companies")?;
        Fields::of(&row, "companies", "companies").count("companies")
    }

    /// Returns the customer with this Google Workspace account, if it is in the scope.
    pub fn company_of_workspace(
        &mut self,
        scope: Scope,
        workspace: &str,
    ) -> Result<Option<Company>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("workspace =", Some(workspace.to_owned()));
        companies_within(&mut sql, scope);
        let row = sql.query().fetch_optional(self.connection(), "find a company")?;
        row.as_ref().map(company).transpose()
    }

    /// Lists the companies that work for a customer, or the customers of a company of another kind, ordered
    /// by their ids. A company sees its own links.
    pub fn links(
        &mut self,
        scope: Scope,
        of: &Company,
        page: &PageRequest,
    ) -> Result<Page<Link>, StoreError> {
        let mut sql = self.sql(
            "SELECT c.id, c.kind, c.name, c.parent_id, c.terms, c.language, c.workspace, c.device_protection,
                 c.default_configuration_id, c.factory_keys, c.created_at, l.created_at AS linked_at FROM company_links AS l",
        );
        // Ordered by a column of the links, because their indexes have this order.
        let (own, after, order) = if of.kind == CompanyKind::Customer {
            sql.push(" JOIN companies AS c ON c.id = l.company_id WHERE 1 = 1");
            ("l.customer_id =", "l.company_id >", " ORDER BY l.company_id LIMIT ")
        } else {
            sql.push(" JOIN companies AS c ON c.id = l.customer_id WHERE 1 = 1");
            ("l.company_id =", "l.customer_id >", " ORDER BY l.customer_id LIMIT ")
        };
        sql.filter(own, Some(of.id.get()))
            .filter(own, scope.company().map(CompanyId::get))
            .filter(after, page.key::<i64>()?)
            .push(order)
            .bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list who works for whom")?;
        let link = |row: &Row| {
            let since = Fields::of(row, "company_links", "id").time("linked_at")?;
            Ok(Link { other: company(row)?, since })
        };
        let links = rows.iter().map(link).collect::<Result<_, _>>()?;
        Ok(page.page(links, |one: &Link| one.other.id))
    }

    /// Returns true if a reseller, vendor or EMM works for a customer.
    pub fn works_for(&mut self, company: CompanyId, customer: CompanyId) -> Result<bool, StoreError> {
        let row = query("SELECT 1 FROM company_links WHERE company_id = $1 AND customer_id = $2")
            .bind(company.get())
            .bind(customer.get())
            .fetch_optional(self.connection(), "see for whom a company works")?;
        Ok(row.is_some())
    }
}

/// Limits a statement over companies to the visible ones: the company itself; for a reseller also its
/// vendors, and the customers that it works for.
fn companies_within(sql: &mut Sql, scope: Scope) {
    match scope {
        Scope::Operator => {}
        Scope::Customer(id) => {
            sql.filter("id =", Some(id.get()));
        }
        Scope::Reseller(id) => {
            sql.push(" AND (id = ")
                .bind(id.get())
                .push(" OR parent_id = ")
                .bind(id.get())
                .push(" OR id IN (SELECT customer_id FROM company_links WHERE company_id = ")
                .bind(id.get())
                .push("))");
        }
    }
}

impl Tx {
    /// Adds a company; returns `false` if one exists with this kind and name, or with this Workspace
    /// account.
    pub fn insert_company(&mut self, company: &Company) -> Result<bool, StoreError> {
        let done = query(
            "INSERT INTO companies (id, kind, name, default_configuration_id, default_set_at, created_at,
                 parent_id, terms, language, workspace, device_protection, factory_keys,
                 skeleton)
             VALUES ($1, $2, $3, NULL, $4, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
        )
        .bind(company.id.get())
        .bind(company.kind.name())
        .bind(company.name.as_str())
        .bind(millis(company.created_at))
        .bind(company.parent.map(CompanyId::get))
        .bind(company.terms.name())
        .bind(company.language.clone())
        .bind(company.workspace.clone())
        .bind(i64::from(company.device_protection))
        .bind(i64::from(company.factory_keys))
        .bind(company.name.skeleton())
        .execute(self.connection(), "add a company")?;
        Ok(done == 1)
    }

    /// Locks this company until the transaction ends.
    pub fn lock_company(&mut self, id: CompanyId) -> Result<(), StoreError> {
        if self.dialect.locks_rows() {
            query("SELECT id FROM companies WHERE id = $1 FOR NO KEY UPDATE")
                .bind(id.get())
                .fetch_optional(self.connection(), "lock a company")?;
        }
        Ok(())
    }

    /// Updates all fields of a company that administrators can change; returns `false` if another one has
    /// its name or its Workspace account.
    pub fn update_company(&mut self, company: &Company) -> Result<bool, StoreError> {
        let done = query(
            "UPDATE companies SET name = $2, parent_id = $3, terms = $4, language = $5, workspace = $6,
                 device_protection = $7, factory_keys = $9, skeleton = $10
             WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM companies AS other WHERE other.id <> $1
                 AND ((other.kind = $8 AND other.name = $2) OR other.workspace = $6))",
        )
        .bind(company.id.get())
        .bind(company.name.as_str())
        .bind(company.parent.map(CompanyId::get))
        .bind(company.terms.name())
        .bind(company.language.clone())
        .bind(company.workspace.clone())
        .bind(i64::from(company.device_protection))
        .bind(company.kind.name())
        .bind(i64::from(company.factory_keys))
        .bind(company.name.skeleton())
        .execute(self.connection(), "change a company")?;
        Ok(done == 1)
    }

    /// Returns descriptions of the rows that prevent a company's deletion.
    pub fn company_dependants(&mut self, id: CompanyId) -> Result<Vec<&'static str>, StoreError> {
        let mut found = Vec::new();
        for (what, statement) in DEPENDANTS {
            let row = query(statement)
                .bind(id.get())
                .fetch_optional(self.connection(), "see what belongs to a company")?;
            if row.is_some() {
                found.push(what);
            }
        }
        Ok(found)
    }

    /// Deletes a company with its accounts, their credentials and its links; returns `false` if something
    /// else still belongs to it.
    pub fn delete_company(&mut self, id: CompanyId) -> Result<bool, StoreError> {
        const OPERATION: &str = "delete a company";
        for statement in [
            "DELETE FROM accounts WHERE company_id = $1",
            "DELETE FROM uploads WHERE customer_id = $1",
            "DELETE FROM company_links WHERE company_id = $1 OR customer_id = $1",
            "DELETE FROM claim_counts WHERE reseller_id = $1 OR customer_id = $1",
        ] {
            query(statement).bind(id.get()).execute(self.connection(), OPERATION)?;
        }
        let deleted = query("DELETE FROM companies WHERE id = $1").bind(id.get());
        match deleted.try_execute(self.connection()) {
            Ok(done) => check_one_row(OPERATION, done).map(|()| true),
            Err(error) if error.is_foreign_key_violation() => Ok(false),
            Err(error) => Err(statement_error(OPERATION)(error)),
        }
    }

    /// Links a reseller, vendor or EMM to a customer; returns `false` if it is linked already.
    pub fn link_companies(
        &mut self,
        company: CompanyId,
        customer: CompanyId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = query(
            "INSERT INTO company_links (company_id, customer_id, created_at) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(company.get())
        .bind(customer.get())
        .bind(millis(now))
        .execute(self.connection(), "link two companies")?;
        Ok(done == 1)
    }

    /// Ends a link; returns `false` if there was none.
    pub fn unlink_companies(&mut self, company: CompanyId, customer: CompanyId) -> Result<bool, StoreError> {
        let done = query("DELETE FROM company_links WHERE company_id = $1 AND customer_id = $2")
            .bind(company.get())
            .bind(customer.get())
            .execute(self.connection(), "unlink two companies")?;
        Ok(done == 1)
    }

    /// Returns the vendors of a reseller that work for this customer.
    pub fn vendors_working_for(
        &mut self,
        reseller: CompanyId,
        customer: CompanyId,
    ) -> Result<Vec<CompanyId>, StoreError> {
        let rows = query(
            "SELECT l.company_id FROM company_links AS l JOIN companies AS c ON c.id = l.company_id
             WHERE c.parent_id = $1 AND l.customer_id = $2 ORDER BY l.company_id",
        )
        .bind(reseller.get())
        .bind(customer.get())
        .fetch_all(self.connection(), "list the vendors of a reseller")?;
        rows.iter()
            .map(|row| Fields::of(row, "company_links", "company_id").id("company_id", CompanyId::new))
            .collect()
    }

    /// Draws the next version of a customer's payloads: `at` if that is higher than all before, and
    /// otherwise the one after the highest.
    pub fn next_version(&mut self, customer: CompanyId, at: Timestamp) -> Result<Timestamp, StoreError> {
        let row = query(
            "UPDATE companies SET latest_version = CASE WHEN latest_version < $2 THEN $2 ELSE latest_version + 1 END
             WHERE id = $1 RETURNING id, latest_version",
        )
        .bind(customer.get())
        .bind(millis(at))
        .fetch_one(self.connection(), "draw a payload version")?;
        Fields::of(&row, "companies", "id").time("latest_version")
    }

    /// Sets the configuration of a customer's claims that name none of their own.
    pub fn set_default_configuration(
        &mut self,
        customer: CompanyId,
        configuration: Option<ConfigurationId>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let done =
            query("UPDATE companies SET default_configuration_id = $2, default_set_at = $3 WHERE id = $1")
                .bind(customer.get())
                .bind(configuration.map(ConfigurationId::get))
                .bind(millis(now))
                .execute(self.connection(), "set a default configuration")?;
        check_one_row("set a default configuration", done)
    }
}
