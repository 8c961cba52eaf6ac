//! Companies: customers and resellers.

use super::{ServiceError, Services};
use crate::{
    domain::{
        actor::{Actor, Scope},
        audit::{Action, Subject},
        company::{Company, CompanyKind},
        name::Name,
    },
    store::{Page, PageRequest, Tx},
};
use serde_json::json;
use unbox_common::ids::CompanyId;

impl Services {
    /// Creates a customer or a reseller.
    pub async fn create_company(
        &self,
        by: &Actor,
        kind: CompanyKind,
        name: &str,
    ) -> Result<Company, ServiceError> {
        if by.scope() != Scope::Operator {
            return Err(ServiceError::OperatorOnly);
        }
        let name: Name = name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        let now = self.now();
        let company =
            Company { id: self.0.ids.company(now), kind, name, default_configuration: None, created_at: now };
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by, company) = (services.clone(), by.clone(), company.clone());
                Box::pin(async move {
                    if !tx.insert_company(&company).await? {
                        return Err(name_taken(kind.name(), &company.name));
                    }
                    let detail = json!({"kind": kind, "name": company.name});
                    services.note(
                        tx,
                        &by,
                        Action::CompanyCreated,
                        Subject::Company(company.id),
                        Some(company.id),
                        detail,
                    );
                    Ok(company)
                })
            })
            .await
    }

    /// Lists companies, oldest first.
    pub async fn list_companies(
        &self,
        by: &Actor,
        kind: Option<CompanyKind>,
        page: PageRequest,
    ) -> Result<Page<Company>, ServiceError> {
        Ok(self.0.store.reader().await?.companies(by.scope(), kind, &page).await?)
    }

    /// Finds a company by its id.
    pub async fn company(&self, by: &Actor, id: CompanyId) -> Result<Company, ServiceError> {
        let found = self.0.store.reader().await?.company(by.scope(), id).await?;
        found.ok_or_else(|| ServiceError::not_found("company", id))
    }

    /// Finds a company as people name it: by its exact name, or by its id.
    pub async fn find_company(
        &self,
        by: &Actor,
        kind: CompanyKind,
        id_or_name: &str,
    ) -> Result<Company, ServiceError> {
        let mut reader = self.0.store.reader().await?;
        if let Some(named) = reader.company_named(by.scope(), kind, id_or_name.trim()).await? {
            return Ok(named);
        }
        let found = match id_or_name.trim().parse() {
            Ok(id) => reader.company(by.scope(), id).await?.filter(|company| company.kind == kind),
            Err(_) => None,
        };
        found.ok_or_else(|| ServiceError::not_found(kind.name(), shown(id_or_name)))
    }

    /// Gives a company another name.
    pub async fn rename_company(
        &self,
        by: &Actor,
        id: CompanyId,
        name: &str,
    ) -> Result<Company, ServiceError> {
        let name: Name = name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by, name) = (services.clone(), by.clone(), name.clone());
                Box::pin(async move {
                    let company = tx
                        .company(by.scope(), id)
                        .await?
                        .ok_or_else(|| ServiceError::not_found("company", id))?;
                    if !tx.rename_company(&company, &name).await? {
                        return Err(name_taken(company.kind.name(), &name));
                    }
                    let detail = json!({"was": company.name, "name": name});
                    services.note(tx, &by, Action::CompanyRenamed, Subject::Company(id), Some(id), detail);
                    Ok(Company { name, ..company })
                })
            })
            .await
    }
}

/// A customer that the actor may act for.
pub(super) async fn customer(tx: &mut Tx, by: &Actor, id: CompanyId) -> Result<Company, ServiceError> {
    let found = tx.company(by.scope(), id).await?.filter(|company| company.kind == CompanyKind::Customer);
    found.ok_or_else(|| ServiceError::not_found("customer", id))
}

/// The name is in use.
pub(super) fn name_taken(what: &'static str, name: &Name) -> ServiceError {
    ServiceError::AlreadyExists(format!("There is a {what} named {name:?} already. Choose another name."))
}

/// A name as an error may repeat it.
pub(super) fn shown(name: &str) -> String {
    format!("{:?}", name.chars().take(64).collect::<String>())
}
