//! Artifacts: the registrations and their owners, not the bytes.

use crate::{
    domain::{catalogue::artifact::Artifact, name::Name, tenancy::actor::Scope},
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::{Row, query},
        error::check_one_row,
        row::{Fields, millis, number},
        sql::Sql,
    },
};
use unbox_common::{
    digest::Sha256,
    ids::{ArtifactId, CompanyId, ConfigurationId},
};

const SELECT: &str = "SELECT r.id, r.sha256, a.size, r.customer_id, r.name, r.created_at
     FROM artifact_registrations AS r JOIN artifacts AS a ON a.sha256 = r.sha256 WHERE 1 = 1";

/// The number of the lock on all artifacts among the advisory locks of a PostgreSQL database.
const ARTIFACT_LOCK: i64 = 0x756e_626f_7900;

/// The maximum number of uses of an artifact that are named; further ones are not counted.
const NAMED_USES: i64 = 3;

/// The artifacts to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArtifactsOf {
    /// All registrations.
    Anybody,
    /// Those that the operator shares with all customers.
    Operator,
    /// The artifacts that this customer may name: its own, and the shared ones that it does not have
    /// itself.
    Customer(CompanyId),
}

/// An object that keeps an artifact from being deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactUse {
    /// A configuration.
    Configuration(ConfigurationId, Name),
    /// A DPC of the catalogue.
    Dpc(String),
}

fn artifact(row: &Row) -> Result<Artifact, StoreError> {
    let fields = Fields::of(row, "artifact_registrations", "id");
    Ok(Artifact {
        id: fields.id("id", ArtifactId::new)?,
        sha256: fields.parse("sha256")?,
        size: fields.count("size")?,
        customer: fields.id_opt("customer_id", CompanyId::new)?,
        name: fields.parse("name")?,
        created_at: fields.time("created_at")?,
    })
}

impl Reader {
    /// Returns the artifact with this digest that a customer may name: its own, or else the shared one.
    /// Without a customer, returns the shared one.
    pub fn artifact(
        &mut self,
        sha256: Sha256,
        customer: Option<CompanyId>,
    ) -> Result<Option<Artifact>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("r.sha256 =", Some(sha256.to_string()))
            .push(" AND (r.customer_id IS NULL OR r.customer_id = ")
            // Company ids are never 0.
            .bind(customer.map_or(0, CompanyId::get))
            .push(") ORDER BY CASE WHEN r.customer_id IS NULL THEN 1 ELSE 0 END LIMIT 1");
        let row = sql.query().fetch_optional(self.connection(), "find an artifact")?;
        row.as_ref().map(artifact).transpose()
    }

    /// Lists artifacts in the scope, oldest registration first.
    pub fn artifacts(
        &mut self,
        scope: Scope,
        of: ArtifactsOf,
        page: &PageRequest,
    ) -> Result<Page<Artifact>, StoreError> {
        let customer = match (of, scope) {
            (ArtifactsOf::Customer(customer), _) | (ArtifactsOf::Anybody, Scope::Customer(customer)) => {
                Some(customer)
            }
            _ => None,
        };
        if !customer.map_or(scope == Scope::Operator, |customer| scope.covers(customer)) {
            return Ok(page.page(Vec::new(), |one: &Artifact| one.id));
        }
        let after = page.key::<i64>()?;
        let narrow = |sql: &mut Sql| {
            sql.filter("r.id >", after).push(" ORDER BY r.id LIMIT ").bind(page.limit());
        };
        let mut sql = self.sql("");
        match customer.map(CompanyId::get) {
            // Two short lists from one index: a single condition for both would sort all of them.
            Some(customer) => {
                narrow(sql.push("SELECT * FROM (").push(SELECT).filter("r.customer_id =", Some(customer)));
                sql.push(") AS own UNION ALL SELECT * FROM (").push(SELECT).push(
                    " AND r.customer_id IS NULL AND NOT EXISTS (SELECT 1 FROM artifact_registrations AS same
                          WHERE same.sha256 = r.sha256 AND same.customer_id = ",
                );
                narrow(sql.bind(customer).push(")"));
                sql.push(") AS shared ORDER BY id LIMIT ").bind(page.limit());
            }
            None if of == ArtifactsOf::Operator => {
                narrow(sql.push(SELECT).push(" AND r.customer_id IS NULL"));
            }
            None => narrow(sql.push(SELECT)),
        }
        let rows = sql.query().fetch_all(self.connection(), "list artifacts")?;
        let artifacts = rows.iter().map(artifact).collect::<Result<_, _>>()?;
        Ok(page.page(artifacts, |one: &Artifact| one.id))
    }

    /// Returns true if anybody has registered these bytes.
    pub fn artifact_is_registered(&mut self, sha256: Sha256) -> Result<bool, StoreError> {
        let row = query("SELECT sha256 FROM artifacts WHERE sha256 = $1")
            .bind(sha256.to_string())
            .fetch_optional(self.connection(), "find an artifact")?;
        Ok(row.is_some())
    }

    /// Returns a few objects of each kind that depend on this registration: they name the digest, and no
    /// other registration would serve them.
    pub fn artifact_uses(&mut self, of: &Artifact) -> Result<Vec<ArtifactUse>, StoreError> {
        let mut uses = Vec::new();
        let mut sql = self.sql(
            "SELECT c.id, c.name FROM configuration_artifacts AS u JOIN configurations AS c ON c.id = u.configuration_id
             WHERE u.sha256 = ",
        );
        sql.bind(of.sha256.to_string())
            .push(
                " AND NOT EXISTS (SELECT 1 FROM artifact_registrations AS other
                      WHERE other.sha256 = u.sha256 AND (other.customer_id IS NULL OR other.customer_id = c.customer_id)
                      AND other.id <> ",
            )
            .bind(of.id.get())
            .push(")")
            .filter("c.customer_id =", of.customer.map(CompanyId::get))
            .push(" ORDER BY c.id LIMIT ")
            .bind(NAMED_USES);
        let rows = sql.query().fetch_all(self.connection(), "see what uses an artifact")?;
        for row in &rows {
            let fields = Fields::of(row, "configurations", "id");
            let id = fields.id("id", ConfigurationId::new)?;
            uses.push(ArtifactUse::Configuration(id, fields.parse("name")?));
        }
        if of.customer.is_some() {
            return Ok(uses);
        }
        let rows = query("SELECT name FROM dpcs WHERE sha256 = $1 ORDER BY name LIMIT $2")
            .bind(of.sha256.to_string())
            .bind(NAMED_USES)
            .fetch_all(self.connection(), "see what uses an artifact")?;
        for row in &rows {
            uses.push(ArtifactUse::Dpc(Fields::of(row, "dpcs", "name").read("name")?));
        }
        Ok(uses)
    }
}

impl Tx {
    /// Locks all artifacts until the transaction ends against registering, deleting and naming, so that no
    /// bytes are deleted that somebody is about to need.
    pub fn lock_artifacts(&mut self) -> Result<(), StoreError> {
        if self.dialect.locks_rows() {
            query("SELECT CAST(pg_advisory_xact_lock($1) AS TEXT)")
                .bind(ARTIFACT_LOCK)
                .execute(self.connection(), "lock artifacts")?;
        }
        Ok(())
    }

    /// Registers an artifact; returns `false` if its owner already has it.
    pub fn insert_artifact(&mut self, new: &Artifact) -> Result<bool, StoreError> {
        const OPERATION: &str = "register an artifact";
        query("INSERT INTO artifacts (sha256, size) VALUES ($1, $2) ON CONFLICT (sha256) DO NOTHING")
            .bind(new.sha256.to_string())
            .bind(number(new.size))
            .execute(self.connection(), OPERATION)?;
        let done = query(
            "INSERT INTO artifact_registrations (id, sha256, customer_id, name, created_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (sha256, COALESCE(customer_id, 0)) DO NOTHING",
        )
        .bind(new.id.get())
        .bind(new.sha256.to_string())
        .bind(new.customer.map(CompanyId::get))
        .bind(new.name.as_str())
        .bind(millis(new.created_at))
        .execute(self.connection(), OPERATION)?;
        Ok(done == 1)
    }

    /// Deletes an unused registration. Returns whether it was the last one of its bytes.
    pub fn delete_artifact(&mut self, was: &Artifact) -> Result<bool, StoreError> {
        const OPERATION: &str = "delete an artifact";
        let done = query("DELETE FROM artifact_registrations WHERE id = $1")
            .bind(was.id.get())
            .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)?;
        let done = query(
            "DELETE FROM artifacts WHERE sha256 = $1
                 AND NOT EXISTS (SELECT 1 FROM artifact_registrations WHERE sha256 = $1)",
        )
        .bind(was.sha256.to_string())
        .execute(self.connection(), OPERATION)?;
        Ok(done == 1)
    }
}
