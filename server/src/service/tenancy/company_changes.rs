//! Changes to existing companies: names, rights and deletion.

use super::{
    companies::{check_company, check_parent, name_taken_error},
    confusable_names::add_confusable_names,
};
use crate::{
    domain::{
        name::Name,
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
            company::{Company, CompanyKind, Terms},
        },
    },
    service::{ServiceError, Tenancy},
    store::Tx,
};
use serde_json::{Map, Value, json};
use unbox_common::ids::CompanyId;

/// A change to a company; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct CompanyChange {
    /// The new name.
    pub name: Option<String>,
    /// The new language, or none.
    pub language: Option<Option<String>>,
    /// The acceptance of the terms of service; any value except acceptance is reserved to the operator.
    pub terms: Option<Terms>,
    /// The new Google Workspace account, or none; reserved to the operator.
    pub workspace: Option<Option<String>>,
    /// True if it may claim devices with protection; reserved to the operator.
    pub device_protection: Option<bool>,
    /// True if the stations of factories may register keys for a customer's claims.
    pub factory_keys: Option<bool>,
    /// The new reseller of a vendor; reserved to the operator.
    pub parent: Option<Option<CompanyId>>,
}

impl Tenancy {
    /// Changes a company. The operator changes any; members of a company change what is theirs to decide.
    /// Unchanged fields need no permission.
    pub async fn update_company(
        &self,
        by: &Actor,
        id: CompanyId,
        change: CompanyChange,
    ) -> Result<Company, ServiceError> {
        let name: Option<Name> = change
            .name
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error| ServiceError::invalid("name", error))?;
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let was = own_company(tx, &by, id)?;
                let after = Company {
                    name: name.clone().unwrap_or_else(|| was.name.clone()),
                    language: change.language.clone().unwrap_or_else(|| was.language.clone()),
                    terms: change.terms.unwrap_or(was.terms),
                    workspace: change.workspace.clone().unwrap_or_else(|| was.workspace.clone()),
                    device_protection: change.device_protection.unwrap_or(was.device_protection),
                    factory_keys: change.factory_keys.unwrap_or(was.factory_keys),
                    parent: change.parent.unwrap_or(was.parent),
                    ..was.clone()
                };
                check_change(&by, &was, &after)?;
                check_parent(tx, &by, &after)?;
                if after == was {
                    return Ok(was);
                }
                if !tx.update_company(&after)? {
                    return Err(conflict_error(tx, &after)?);
                }
                this.note_changes(tx, &by, &was, &after)?;
                Ok(after)
            })
            .await
    }

    /// Renames a company.
    pub async fn rename_company(
        &self,
        by: &Actor,
        id: CompanyId,
        name: &str,
    ) -> Result<Company, ServiceError> {
        let change = CompanyChange { name: Some(name.to_owned()), ..CompanyChange::default() };
        self.update_company(by, id, change).await
    }

    /// Lets factories' stations register keys for existing claims of this customer, or forbids it.
    pub async fn set_factory_keys(
        &self,
        by: &Actor,
        customer: CompanyId,
        allowed: bool,
    ) -> Result<Company, ServiceError> {
        let change = CompanyChange { factory_keys: Some(allowed), ..CompanyChange::default() };
        self.update_company(by, customer, change).await
    }

    /// Records that a customer accepted the terms of service, or that the terms changed.
    pub async fn set_terms(
        &self,
        by: &Actor,
        customer: CompanyId,
        terms: Terms,
    ) -> Result<Company, ServiceError> {
        if !by.scope().covers(customer) {
            return Err(ServiceError::not_found("customer", customer));
        }
        let change = CompanyChange { terms: Some(terms), ..CompanyChange::default() };
        self.update_company(by, customer, change).await
    }

    /// Deletes a company with its accounts and their credentials, and returns its last state. Only the
    /// operator may do so.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] names what still depends on the company.
    pub async fn delete_company(&self, by: &Actor, id: CompanyId) -> Result<Company, ServiceError> {
        if by.scope() != Scope::Operator {
            return Err(ServiceError::OperatorOnly);
        }
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let was = own_company(tx, &by, id)?;
                let dependants = tx.company_dependants(id)?;
                if !dependants.is_empty() {
                    return Err(ServiceError::Conflict(format!(
                        "{} still has {}. Remove what can be removed. Claims stay, as the record of its \
                             devices: with those, disable its accounts instead.",
                        was.name,
                        dependants.join(", ")
                    )));
                }
                if !tx.delete_company(id)? {
                    let text = format!("Something still belongs to {}. Remove it first.", was.name);
                    return Err(ServiceError::Conflict(text));
                }
                let detail = json!({"kind": was.kind, "name": was.name});
                this.core.note(tx, &by, Action::CompanyDeleted, Subject::Company(id), Some(id), detail);
                Ok(was)
            })
            .await
    }

    fn note_changes(
        &self,
        tx: &mut Tx,
        by: &Actor,
        was: &Company,
        after: &Company,
    ) -> Result<(), ServiceError> {
        let renamed = if after.name == was.name {
            None
        } else {
            let mut detail = Map::new();
            detail.insert("was".to_owned(), json!(was.name));
            detail.insert("name".to_owned(), json!(after.name));
            Some(add_confusable_names(tx, after, detail)?)
        };
        let mut note = |action, detail| {
            self.core.note(tx, by, action, Subject::Company(was.id), Some(was.id), detail);
        };
        if let Some(detail) = renamed {
            note(Action::CompanyRenamed, detail);
        }
        if after.terms != was.terms {
            note(Action::TermsSet, json!({"was": was.terms, "terms": after.terms}));
        }
        let mut others = Map::new();
        for (field, was, now) in [
            ("language", json!(was.language), json!(after.language)),
            ("workspace", json!(was.workspace), json!(after.workspace)),
            ("device_protection", json!(was.device_protection), json!(after.device_protection)),
            ("factory_keys", json!(was.factory_keys), json!(after.factory_keys)),
            ("parent", json!(was.parent), json!(after.parent)),
        ] {
            if was != now {
                others.insert(field.to_owned(), json!({"was": was, "now": now}));
            }
        }
        if !others.is_empty() {
            note(Action::CompanyUpdated, Value::Object(others));
        }
        Ok(())
    }
}

/// Returns a company that the actor belongs to, or any for the operator, locked until the transaction ends.
fn own_company(tx: &mut Tx, by: &Actor, id: CompanyId) -> Result<Company, ServiceError> {
    tx.lock_company(id)?;
    let found = tx.company(by.scope(), id)?;
    let company = found.ok_or_else(|| ServiceError::not_found("company", id))?;
    // A reseller sees customers and vendors, and an EMM acts for customers: neither may change them.
    match by.scope().company() {
        Some(own) if own != id => Err(ServiceError::OperatorOnly),
        _ if !by.speaks_for(id) => Err(ServiceError::NotYours(ITS_OWN_PEOPLE)),
        _ => Ok(company),
    }
}

const ITS_OWN_PEOPLE: &str =
    "This is for the customer's own people to say. Ask an owner of the customer to do it.";

fn check_change(by: &Actor, was: &Company, after: &Company) -> Result<(), ServiceError> {
    if after.terms != was.terms && was.kind != CompanyKind::Customer {
        return Err(ServiceError::invalid("terms", "only customers accept the terms of service"));
    }
    let entitlements = |of: &Company| (of.workspace.clone(), of.device_protection, of.parent);
    let terms_undone = after.terms != was.terms && after.terms != Terms::Accepted;
    if by.scope() != Scope::Operator && (terms_undone || entitlements(after) != entitlements(was)) {
        return Err(ServiceError::OperatorOnly);
    }
    check_company(after)
}

/// Returns an error that names the conflict: the name or the Workspace account.
fn conflict_error(tx: &mut Tx, company: &Company) -> Result<ServiceError, ServiceError> {
    let named = tx.company_named(Scope::Operator, company.kind, company.name.as_str())?;
    if named.is_some_and(|other| other.id != company.id) {
        return Ok(name_taken_error(company.kind.name(), &company.name));
    }
    let text = "Another company has this Google Workspace account already. Name one that is its own.";
    Ok(ServiceError::AlreadyExists(text.to_owned()))
}
