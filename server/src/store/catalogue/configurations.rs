//! Configurations, and the artifacts that they use.

use crate::{
    domain::{catalogue::configuration::Configuration, tenancy::actor::Scope},
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::{Row, query},
        error::check_one_row,
        row::{Fields, document, millis},
    },
};
use unbox_common::{
    digest::Sha256,
    ids::{CompanyId, ConfigurationId},
};

const SELECT: &str =
    "SELECT id, customer_id, name, document, created_at, updated_at FROM configurations WHERE 1 = 1";

/// A use of a configuration that prevents its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// A claim names it.
    Claim,
    /// A token names it.
    Token,
    /// It is its customer's default.
    Default,
}

fn configuration(row: &Row) -> Result<Configuration, StoreError> {
    let fields = Fields::of(row, "configurations", "id");
    Ok(Configuration {
        id: fields.id("id", ConfigurationId::new)?,
        customer: fields.id("customer_id", CompanyId::new)?,
        name: fields.parse("name")?,
        document: fields.json("document")?,
        created_at: fields.time("created_at")?,
        updated_at: fields.time("updated_at")?,
    })
}

impl Reader {
    /// Returns a configuration, if it is in the scope.
    pub fn configuration(
        &mut self,
        scope: Scope,
        id: ConfigurationId,
    ) -> Result<Option<Configuration>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("id =", Some(id.get())).scope("customer_id =", scope);
        let row = sql.query().fetch_optional(self.connection(), "find a configuration")?;
        row.as_ref().map(configuration).transpose()
    }

    /// Returns a customer's configuration with exactly this name.
    pub fn configuration_named(
        &mut self,
        customer: CompanyId,
        name: &str,
    ) -> Result<Option<Configuration>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("customer_id =", Some(customer.get())).filter("name =", Some(name.to_owned()));
        let row = sql.query().fetch_optional(self.connection(), "find a configuration")?;
        row.as_ref().map(configuration).transpose()
    }

    /// Lists configurations, oldest first.
    pub fn configurations(
        &mut self,
        scope: Scope,
        customer: Option<CompanyId>,
        page: &PageRequest,
    ) -> Result<Page<Configuration>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("customer_id =", customer.map(CompanyId::get))
            .filter("id >", page.key::<i64>()?)
            .scope("customer_id =", scope)
            .push(" ORDER BY id LIMIT ")
            .bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list configurations")?;
        let configurations = rows.iter().map(configuration).collect::<Result<_, _>>()?;
        Ok(page.page(configurations, |one: &Configuration| one.id))
    }

    /// Counts a customer's configurations.
    pub fn count_configurations(&mut self, customer: CompanyId) -> Result<u64, StoreError> {
        let row = query("SELECT COUNT(*) AS held FROM configurations WHERE customer_id = $1")
            .bind(customer.get())
            .fetch_one(self.connection(), "count configurations")?;
        Fields::of(&row, "configurations", "held").count("held")
    }

    /// Returns a use of a configuration; `None` if it may be deleted.
    pub fn configuration_use(&mut self, id: ConfigurationId) -> Result<Option<Use>, StoreError> {
        let row = query(
            "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM claims WHERE configuration_id = $1 AND released_at IS NULL LIMIT 1) AS c) AS claims,
                    (SELECT COUNT(*) FROM (SELECT 1 FROM tokens WHERE configuration_id = $1 AND revoked_at IS NULL LIMIT 1) AS t) AS tokens,
                    (SELECT COUNT(*) FROM (SELECT 1 FROM companies WHERE default_configuration_id = $1 LIMIT 1) AS d) AS defaults",
        )
        .bind(id.get())
        .fetch_one(self.connection(), "see what uses a configuration")?;
        let used = |column| Fields::of(&row, "claims", "claims").read::<i64>(column);
        Ok(if used("claims")? > 0 {
            Some(Use::Claim)
        } else if used("tokens")? > 0 {
            Some(Use::Token)
        } else {
            (used("defaults")? > 0).then_some(Use::Default)
        })
    }
}

impl Tx {
    /// Adds a configuration; returns `false` if its customer has one with this name.
    pub fn insert_configuration(&mut self, new: &Configuration) -> Result<bool, StoreError> {
        let done = query(
            "INSERT INTO configurations (id, customer_id, name, document, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (customer_id, name) DO NOTHING",
        )
        .bind(new.id.get())
        .bind(new.customer.get())
        .bind(new.name.as_str())
        .bind(document(&new.document))
        .bind(millis(new.created_at))
        .bind(millis(new.updated_at))
        .execute(self.connection(), "add a configuration")?;
        if done == 0 {
            return Ok(false);
        }
        self.link_artifacts(new)?;
        Ok(true)
    }

    /// Updates a configuration; returns `false` if its customer has another one with this name.
    pub fn update_configuration(&mut self, changed: &Configuration) -> Result<bool, StoreError> {
        let done = query(
            "UPDATE configurations SET name = $3, document = $4, updated_at = $5
             WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM configurations AS other
                                           WHERE other.customer_id = $2 AND other.name = $3 AND other.id <> $1)",
        )
        .bind(changed.id.get())
        .bind(changed.customer.get())
        .bind(changed.name.as_str())
        .bind(document(&changed.document))
        .bind(millis(changed.updated_at))
        .execute(self.connection(), "change a configuration")?;
        if done == 0 {
            return Ok(false);
        }
        query("DELETE FROM configuration_artifacts WHERE configuration_id = $1")
            .bind(changed.id.get())
            .execute(self.connection(), "change a configuration")?;
        self.link_artifacts(changed)?;
        Ok(true)
    }

    /// Deletes an unused configuration. Ended claims and tokens lose their reference to it.
    pub fn delete_configuration(&mut self, id: ConfigurationId) -> Result<(), StoreError> {
        const OPERATION: &str = "delete a configuration";
        for statement in [
            "UPDATE claims SET configuration_id = NULL WHERE configuration_id = $1 AND released_at IS NOT NULL",
            "UPDATE tokens SET configuration_id = NULL WHERE configuration_id = $1 AND revoked_at IS NOT NULL",
        ] {
            query(statement).bind(id.get()).execute(self.connection(), OPERATION)?;
        }
        let done = query("DELETE FROM configurations WHERE id = $1")
            .bind(id.get())
            .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }

    fn link_artifacts(&mut self, to: &Configuration) -> Result<(), StoreError> {
        let artifacts: Vec<Sha256> = to.document.own_artifacts().iter().map(|one| one.sha256).collect();
        if artifacts.is_empty() {
            return Ok(());
        }
        let mut sql = self.sql("INSERT INTO configuration_artifacts (sha256, configuration_id) VALUES ");
        sql.push_rows(artifacts, |row, sha256| {
            row.bind(sha256.to_string()).bind(to.id.get());
        });
        sql.query().execute(self.connection(), "note the artifacts of a configuration")?;
        Ok(())
    }
}
