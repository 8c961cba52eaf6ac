//! The customers and configurations named in the cells of a file, each looked up once per batch.

use super::{ImportDefaults, outcome::RowOutcome, rows::Named};
use crate::{
    domain::tenancy::{
        actor::{Actor, Scope},
        company::CompanyKind,
    },
    service::{Claims, ServiceError, retry::retry_during_outage},
};
use std::collections::HashMap;
use unbox_common::ids::{CompanyId, ConfigurationId};

/// The configuration that stands for the customer's default.
const DEFAULT: &str = "0";

/// The objects behind the names in a batch of rows.
pub(super) struct Parties<'i> {
    claims: &'i Claims,
    by: &'i Actor,
    defaults: &'i ImportDefaults,
    customers: HashMap<String, Option<CompanyId>>,
    configurations: HashMap<(CompanyId, String), Option<ConfigurationId>>,
}

/// A looked-up object, or the problem with the row that names it.
pub(super) type Found<T> = Result<Result<T, RowOutcome>, ServiceError>;

impl<'i> Parties<'i> {
    pub(super) fn new(claims: &'i Claims, by: &'i Actor, defaults: &'i ImportDefaults) -> Self {
        Self { claims, by, defaults, customers: HashMap::new(), configurations: HashMap::new() }
    }

    /// Returns the customer of a row.
    pub(super) async fn customer(&mut self, named: Option<&Named>) -> Found<CompanyId> {
        let Some(named) = named else {
            let none = || RowOutcome::invalid(None, "customer", "is not said, and no default was given");
            return Ok(self.defaults.customer.ok_or_else(none));
        };
        let found = if let Some(known) = self.customers.get(&named.name) {
            *known
        } else {
            let found = retry_during_outage(|| self.find_customer(&named.name)).await?;
            self.customers.insert(named.name.clone(), found);
            found
        };
        let rule = match self.by.scope() {
            Scope::Reseller(_) => "is no customer that this reseller works for",
            _ => "is no customer",
        };
        Ok(found.ok_or_else(|| RowOutcome::invalid(Some(named.column), named.field, rule)))
    }

    async fn find_customer(&self, name: &str) -> Result<Option<CompanyId>, ServiceError> {
        match self.claims.tenancy.find_company(self.by, CompanyKind::Customer, name).await {
            Ok(company) => Ok(Some(company.id)),
            Err(ServiceError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the configuration of a row; `None` for the customer's default.
    pub(super) async fn configuration(
        &mut self,
        customer: CompanyId,
        named: Option<&Named>,
    ) -> Found<Option<ConfigurationId>> {
        let (column, field, name) = match (named, self.defaults.configuration) {
            (Some(named), _) => (Some(named.column), named.field, named.name.clone()),
            (None, Some(default)) => (None, "configuration", default.to_string()),
            (None, None) => return Ok(Ok(None)),
        };
        if name == DEFAULT {
            return Ok(Ok(None));
        }
        let key = (customer, name);
        let found = if let Some(known) = self.configurations.get(&key) {
            *known
        } else {
            let found = retry_during_outage(|| self.find_configuration(customer, &key.1)).await?;
            self.configurations.insert(key, found);
            found
        };
        let none = || RowOutcome::invalid(column, field, "is no configuration of this customer");
        Ok(found.map(Some).ok_or_else(none))
    }

    async fn find_configuration(
        &self,
        customer: CompanyId,
        name: &str,
    ) -> Result<Option<ConfigurationId>, ServiceError> {
        // A reseller may use the ids that it was told, but must not probe a customer's names.
        if let Scope::Reseller(_) = self.by.scope() {
            let Ok(id) = name.parse() else { return Ok(None) };
            let scope = Scope::Customer(customer);
            let found = self.claims.core.read(move |reader| reader.configuration(scope, id)).await?;
            return Ok(found.map(|one| one.id));
        }
        match self.claims.catalogue.find_configuration(self.by, customer, name).await {
            Ok(configuration) => Ok(Some(configuration.id)),
            Err(ServiceError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
