//! Companies: creating and finding customers, and the companies that work for them. Changes are in
//! `company_changes.rs`, links between companies in `links.rs`.

use super::confusable_names::add_confusable_names;
use crate::{
    domain::{
        name::Name,
        tenancy::{
            access::Principal,
            account::{Email, Role},
            actor::{Actor, Scope},
            audit::{Action, Subject},
            company::{Company, CompanyKind, Terms},
        },
    },
    service::{NewAccount, NewHolder, ServiceError, Tenancy},
    store::{CompanyFilter, Page, PageRequest, StoreError, Tx},
};
use serde_json::{Map, Value, json};
use unbox_common::ids::CompanyId;

/// The longest language tag.
const MAX_LANGUAGE_CHARS: usize = 35;
/// The longest id of a Google Workspace account.
const MAX_WORKSPACE_CHARS: usize = 64;
/// The maximum number of people that a customer can be created with.
const MAX_PEOPLE: usize = 100;

/// A company to create.
#[derive(Debug, Clone)]
pub struct NewCompany {
    /// The kind of company.
    pub kind: CompanyKind,
    /// Its name.
    pub name: String,
    /// The reseller of a vendor.
    pub parent: Option<CompanyId>,
    /// The language of its people, as a BCP 47 tag.
    pub language: Option<String>,
    /// Its Google Workspace account.
    pub workspace: Option<String>,
    /// True if it may claim devices with protection.
    pub device_protection: bool,
}

impl NewCompany {
    /// Returns a company with nothing but a kind and a name.
    #[must_use]
    pub fn new(kind: CompanyKind, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            parent: None,
            language: None,
            workspace: None,
            device_protection: false,
        }
    }
}

impl Tenancy {
    /// Creates a company. The operator creates any; a reseller or vendor creates a customer that it works
    /// for from then on. A customer created by somebody else has yet to accept the terms of service.
    pub async fn create_company(&self, by: &Actor, new: NewCompany) -> Result<Company, ServiceError> {
        let creator = match (by.scope(), new.kind) {
            (Scope::Operator, _) => None,
            (Scope::Reseller(id), CompanyKind::Customer) => Some(id),
            _ => return Err(ServiceError::OperatorOnly),
        };
        let company = self.check_new_company(new, creator.is_some())?;
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                check_parent(tx, &by, &company)?;
                if !tx.insert_company(&company)? {
                    return Err(name_taken_error(company.kind.name(), &company.name));
                }
                if let Some(creator) = creator {
                    tx.link_companies(creator, company.id, company.created_at)?;
                }
                let detail = created_detail(tx, &company, creator)?;
                let (id, subject) = (company.id, Subject::Company(company.id));
                this.core.note(tx, &by, Action::CompanyCreated, subject, Some(id), detail);
                Ok(company.clone())
            })
            .await
    }

    /// Creates a customer together with the accounts of the people who own and administer it.
    ///
    /// # Errors
    /// [`ServiceError::Invalid`] without an owner; nothing is created in that case.
    pub async fn create_customer(
        &self,
        by: &Actor,
        new: NewCompany,
        owners: Vec<Email>,
        admins: Vec<Email>,
    ) -> Result<Company, ServiceError> {
        let Scope::Reseller(creator) = by.scope() else {
            return Err(ServiceError::OperatorOnly);
        };
        if owners.is_empty() || owners.len() + admins.len() > MAX_PEOPLE {
            let rule = format!("expected at least one owner, and at most {MAX_PEOPLE} people");
            return Err(ServiceError::invalid("owner_emails", rule));
        }
        let new = NewCompany { kind: CompanyKind::Customer, ..new };
        let company = self.check_new_company(new, true)?;
        let mut accounts = Vec::new();
        for (emails, role) in [(owners, Role::Owner), (admins, Role::Admin)] {
            for email in emails {
                let holder = NewHolder::User { email: email.to_string(), name: None };
                accounts.push(self.account_of(NewAccount { company: Some(company.id), holder, role })?);
            }
        }
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                if !tx.insert_company(&company)? {
                    return Err(name_taken_error(company.kind.name(), &company.name));
                }
                tx.link_companies(creator, company.id, company.created_at)?;
                for account in &accounts {
                    this.add_account(tx, &by, account)?;
                }
                let detail = created_detail(tx, &company, Some(creator))?;
                let (id, subject) = (company.id, Subject::Company(company.id));
                this.core.note(tx, &by, Action::CompanyCreated, subject, Some(id), detail);
                Ok(company.clone())
            })
            .await
    }

    /// Returns the customer of a Google Workspace account, if the actor sees it.
    pub async fn company_of_workspace(
        &self,
        by: &Actor,
        workspace: &str,
    ) -> Result<Option<Company>, ServiceError> {
        let (scope, named) = (by.scope(), workspace.to_owned());
        let found = self.core.read(move |reader| reader.company_of_workspace(scope, &named)).await?;
        Ok(found.filter(|company| company.kind == CompanyKind::Customer))
    }

    /// Returns a reseller as an actor that sees what one of its vendors sees.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for the vendor of anybody else.
    pub async fn as_vendor(&self, by: &Actor, vendor: CompanyId) -> Result<Actor, ServiceError> {
        let scope = by.scope();
        let found = self.core.read(move |reader| reader.company(scope, vendor)).await?;
        let own = |company: &Company| match by.scope() {
            Scope::Reseller(id) => company.kind == CompanyKind::Vendor && company.parent == Some(id),
            _ => false,
        };
        match found.filter(own) {
            Some(_) => Ok(Actor::of_reseller(by.name(), vendor).with_role(by.role())),
            None => Err(ServiceError::not_found("vendor", vendor)),
        }
    }

    /// Lists the customers that a principal may act for: itself, or the customers that its EMM works for.
    pub async fn customers_of(
        &self,
        principal: &Principal,
        page: PageRequest,
    ) -> Result<Page<Company>, ServiceError> {
        let kind = Some(CompanyKind::Customer);
        let (scope, filter) = match principal.tenant {
            Some((emm, CompanyKind::Emm)) => {
                (Scope::Operator, CompanyFilter { kind, served_by: Some(emm), ..CompanyFilter::default() })
            }
            _ => (principal.actor().scope(), CompanyFilter::of_kind(kind)),
        };
        self.core.read(move |reader| reader.companies(scope, &filter, &page)).await
    }

    fn check_new_company(&self, new: NewCompany, has_creator: bool) -> Result<Company, ServiceError> {
        let name: Name = new.name.parse().map_err(|error| ServiceError::invalid("name", error))?;
        let now = self.core.now();
        let company = Company {
            id: self.core.ids.company(now),
            kind: new.kind,
            name,
            default_configuration: None,
            parent: new.parent,
            terms: if has_creator { Terms::NotAccepted } else { Terms::Accepted },
            language: new.language,
            workspace: new.workspace,
            device_protection: new.device_protection,
            factory_keys: false,
            created_at: now,
        };
        check_company(&company)?;
        Ok(company)
    }

    /// Lists companies, oldest first.
    pub async fn list_companies(
        &self,
        by: &Actor,
        filter: CompanyFilter,
        page: PageRequest,
    ) -> Result<Page<Company>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.companies(scope, &filter, &page)).await
    }

    /// Counts the companies that [`Self::list_companies`] lists in all.
    pub async fn count_companies(&self, by: &Actor, filter: CompanyFilter) -> Result<u64, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.count_companies(scope, &filter)).await
    }

    /// Finds a company by its id.
    pub async fn company(&self, by: &Actor, id: CompanyId) -> Result<Company, ServiceError> {
        let scope = by.scope();
        let found = self.core.read(move |reader| reader.company(scope, id)).await?;
        found.ok_or_else(|| ServiceError::not_found("company", id))
    }

    /// Finds a company by its exact name or by its id.
    pub async fn find_company(
        &self,
        by: &Actor,
        kind: CompanyKind,
        id_or_name: &str,
    ) -> Result<Company, ServiceError> {
        let (scope, named) = (by.scope(), id_or_name.trim().to_owned());
        self.core
            .read(move |reader| {
                if let Some(named) = reader.company_named(scope, kind, &named)? {
                    return Ok(Some(named));
                }
                match named.parse() {
                    Ok(id) => Ok(reader.company(scope, id)?.filter(|company| company.kind == kind)),
                    Err(_) => Ok::<_, StoreError>(None),
                }
            })
            .await?
            .ok_or_else(|| ServiceError::not_found(kind.name(), quote_name(id_or_name)))
    }
}

/// Returns the audit detail of a new company.
fn created_detail(tx: &mut Tx, company: &Company, creator: Option<CompanyId>) -> Result<Value, ServiceError> {
    let mut detail = Map::new();
    detail.insert("kind".to_owned(), json!(company.kind));
    detail.insert("name".to_owned(), json!(company.name));
    detail.insert("creator".to_owned(), json!(creator));
    add_confusable_names(tx, company, detail)
}

/// Checks that the fields of a company are consistent.
pub(super) fn check_company(company: &Company) -> Result<(), ServiceError> {
    if (company.kind == CompanyKind::Vendor) != company.parent.is_some() {
        return Err(ServiceError::invalid("parent", "a vendor has a reseller, and nobody else does"));
    }
    if company.device_protection && !company.kind.registers_devices() {
        let rule = "only resellers and vendors claim devices";
        return Err(ServiceError::invalid("device_protection", rule));
    }
    if company.factory_keys && company.kind != CompanyKind::Customer {
        return Err(ServiceError::invalid("factory_keys", "only customers have claims"));
    }
    for (field, value, max) in [
        ("language", &company.language, MAX_LANGUAGE_CHARS),
        ("workspace", &company.workspace, MAX_WORKSPACE_CHARS),
    ] {
        let allowed = |char: char| char.is_ascii_alphanumeric() || "-_".contains(char);
        if value
            .as_ref()
            .is_some_and(|text| text.is_empty() || text.len() > max || !text.chars().all(allowed))
        {
            let rule = format!("expected 1 to {max} letters, digits, - and _");
            return Err(ServiceError::invalid(field, rule));
        }
    }
    Ok(())
}

/// Checks that the parent of a vendor is a reseller.
pub(super) fn check_parent(tx: &mut Tx, by: &Actor, company: &Company) -> Result<(), ServiceError> {
    let Some(parent) = company.parent else { return Ok(()) };
    let found = tx.company(by.scope(), parent)?;
    match found.filter(|parent| parent.kind == CompanyKind::Reseller) {
        Some(_) => Ok(()),
        None => Err(ServiceError::not_found("reseller", parent)),
    }
}

/// Returns a customer that the actor may act for.
pub(in crate::service) fn customer_of(
    tx: &mut Tx,
    by: &Actor,
    id: CompanyId,
) -> Result<Company, ServiceError> {
    if by.scope().covers(id) {
        visible_customer(tx, by, id)
    } else {
        Err(ServiceError::not_found("customer", id))
    }
}

/// Returns a customer that the actor may act for, or register devices for.
pub(in crate::service) fn visible_customer(
    tx: &mut Tx,
    by: &Actor,
    id: CompanyId,
) -> Result<Company, ServiceError> {
    let found = tx.company(by.scope(), id)?.filter(|company| company.kind == CompanyKind::Customer);
    found.ok_or_else(|| ServiceError::not_found("customer", id))
}

/// Returns the error for a name that is in use.
pub(in crate::service) fn name_taken_error(what: &'static str, name: &Name) -> ServiceError {
    ServiceError::AlreadyExists(format!("There is a {what} named {name:?} already. Choose another name."))
}

/// Quotes a name for use in an error.
pub(in crate::service) fn quote_name(name: &str) -> String {
    format!("{:?}", name.chars().take(64).collect::<String>())
}
