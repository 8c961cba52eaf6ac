//! Configurations of customers.

use crate::{
    domain::{
        catalogue::configuration::{Assigned, Assignment, Configuration, Document},
        name::Name,
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    service::{
        Catalogue, ServiceError,
        tenancy::{customer_of, name_taken_error, quote_name},
    },
    store::{Page, PageRequest, Reader, StoreError, Tx, Use},
};
use serde_json::json;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use unbox_common::{
    ids::{CompanyId, ConfigurationId},
    payload::{Artifact, privileged_items},
};

/// A change to a configuration; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct ConfigurationChange {
    /// The new name.
    pub name: Option<String>,
    /// The new document, as JSON.
    pub document: Option<String>,
    /// True if it is now its customer's default.
    pub default: Option<bool>,
}

impl Catalogue {
    /// Creates a configuration from its JSON document.
    pub async fn create_configuration(
        &self,
        by: &Actor,
        customer: CompanyId,
        name: &str,
        document: &str,
    ) -> Result<Configuration, ServiceError> {
        self.create_configuration_as(by, customer, name, document, false).await
    }

    /// Creates a configuration, and makes it its customer's default if requested.
    pub async fn create_configuration_as(
        &self,
        by: &Actor,
        customer: CompanyId,
        name: &str,
        document: &str,
        default: bool,
    ) -> Result<Configuration, ServiceError> {
        let (name, document) = (parse_name(name)?, parse_document(document)?);
        let now = self.core.now();
        let configuration = Configuration {
            id: self.core.ids.configuration(now),
            customer,
            name,
            document,
            created_at: now,
            updated_at: now,
        };
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                    let mut new = configuration.clone();
                    customer_of(tx, &by, customer)?;
                    // This also locks the customer, so that nobody else adds one meanwhile.
                    new.updated_at = tx.next_version(customer, now)?;
                    let most = this.core.settings.configurations;
                    if tx.count_configurations(customer)? >= most {
                        return Err(ServiceError::Conflict(format!(
                            "This customer has {most} configurations, which is the most. Delete one that nothing uses first."
                        )));
                    }
                    check_artifacts(tx, &new)?;
                    if !tx.insert_configuration(&new)? {
                        return Err(name_taken_error("configuration", &new.name));
                    }
                    if default {
                        this.make_default(tx, &by, customer, Some(new.id))?;
                    }
                    let detail = json!({
                        "name": new.name,
                        "privileged": privileged_items(&new.document.policy),
                    });
                    this.core.note(
                        tx,
                        &by,
                        Action::ConfigurationCreated,
                        Subject::Configuration(new.id),
                        Some(customer),
                        detail,
                    );
                    Ok(new)
                })
            .await
    }

    /// Lists configurations, of one customer or of all, oldest first.
    pub async fn list_configurations(
        &self,
        by: &Actor,
        customer: Option<CompanyId>,
        page: PageRequest,
    ) -> Result<Page<Configuration>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.configurations(scope, customer, &page)).await
    }

    /// Finds a configuration by its id.
    pub async fn configuration(
        &self,
        by: &Actor,
        id: ConfigurationId,
    ) -> Result<Configuration, ServiceError> {
        let scope = by.scope();
        let found = self.core.read(move |reader| reader.configuration(scope, id)).await?;
        found.ok_or_else(|| ServiceError::not_found("configuration", id))
    }

    /// Finds a customer's configuration by its exact name or by its id.
    pub async fn find_configuration(
        &self,
        by: &Actor,
        customer: CompanyId,
        id_or_name: &str,
    ) -> Result<Configuration, ServiceError> {
        let missing = || ServiceError::not_found("configuration", quote_name(id_or_name));
        if !by.scope().covers(customer) {
            return Err(missing());
        }
        let (scope, named) = (Scope::Customer(customer), id_or_name.trim().to_owned());
        self.core
            .read(move |reader| {
                if let Some(named) = reader.configuration_named(customer, &named)? {
                    return Ok(Some(named));
                }
                match named.parse() {
                    Ok(id) => reader.configuration(scope, id),
                    Err(_) => Ok(None),
                }
            })
            .await?
            .ok_or_else(missing)
    }

    /// Changes the name, the document or both. Devices get the new document when they check in.
    pub async fn update_configuration(
        &self,
        by: &Actor,
        id: ConfigurationId,
        change: ConfigurationChange,
    ) -> Result<Configuration, ServiceError> {
        let name = change.name.as_deref().map(parse_name).transpose()?;
        let document = change.document.as_deref().map(parse_document).transpose()?;
        let default = change.default;
        let now = self.core.now();
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let was = configuration_in_scope(tx, &by, id)?;
                let mut new = was.clone();
                new.name = name.clone().unwrap_or(new.name);
                new.document = document.clone().unwrap_or(new.document);
                new.updated_at = tx.next_version(was.customer, now)?;
                check_artifacts(tx, &new)?;
                if !tx.update_configuration(&new)? {
                    return Err(name_taken_error("configuration", &new.name));
                }
                let customer = customer_of(tx, &by, new.customer)?;
                match (default, customer.default_configuration == Some(id)) {
                    (Some(true), false) => {
                        this.make_default(tx, &by, new.customer, Some(id))?;
                    }
                    (Some(false), true) => this.make_default(tx, &by, new.customer, None)?,
                    _ => {}
                }
                let detail = json!({
                    "name": new.name,
                    "document_changed": new.document != was.document,
                    "privileged": privileged_items(&new.document.policy),
                });
                this.core.note(
                    tx,
                    &by,
                    Action::ConfigurationUpdated,
                    Subject::Configuration(id),
                    Some(new.customer),
                    detail,
                );
                Ok(new)
            })
            .await
    }

    /// Deletes a configuration that no claim, token or default uses.
    pub async fn delete_configuration(&self, by: &Actor, id: ConfigurationId) -> Result<(), ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let was = configuration_in_scope(tx, &by, id)?;
                if let Some(used) = tx.configuration_use(id)? {
                    return Err(in_use_error(used));
                }
                tx.delete_configuration(id)?;
                let detail = json!({"name": was.name});
                this.core.note(
                    tx,
                    &by,
                    Action::ConfigurationDeleted,
                    Subject::Configuration(id),
                    Some(was.customer),
                    detail,
                );
                Ok(())
            })
            .await
    }

    /// Sets the configuration of a customer's claims that name none of their own.
    pub async fn set_default_configuration(
        &self,
        by: &Actor,
        customer: CompanyId,
        configuration: Option<ConfigurationId>,
    ) -> Result<(), ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                customer_of(tx, &by, customer)?;
                check_configuration(tx, customer, configuration)?;
                this.make_default(tx, &by, customer, configuration)
            })
            .await
    }

    fn make_default(
        &self,
        tx: &mut Tx,
        by: &Actor,
        customer: CompanyId,
        configuration: Option<ConfigurationId>,
    ) -> Result<(), ServiceError> {
        let at = tx.next_version(customer, self.core.now())?;
        tx.set_default_configuration(customer, configuration, at)?;
        let (subject, detail) = (Subject::Company(customer), json!({"configuration": configuration}));
        self.core.note(tx, by, Action::DefaultConfigurationSet, subject, Some(customer), detail);
        Ok(())
    }

    /// Returns a device's assignment. It is read from the database only if it changed since the last time,
    /// because thousands of devices share one configuration.
    pub(in crate::service) async fn assignment(
        &self,
        given: Assigned,
    ) -> Result<Option<Assignment>, ServiceError> {
        if let Some(known) = self.known_assignment(given) {
            return Ok(Some(known));
        }
        let this = self.clone();
        self.core.read(move |reader| this.assignment_in(reader, given)).await
    }

    /// Returns a device's assignment like [`Self::assignment`], inside a transaction.
    pub(in crate::service) fn assignment_in(
        &self,
        reader: &mut Reader,
        given: Assigned,
    ) -> Result<Option<Assignment>, StoreError> {
        if let Some(known) = self.known_assignment(given) {
            return Ok(Some(known));
        }
        let Some(read) = reader.configuration(Scope::Operator, given.configuration)? else {
            return Ok(None);
        };
        let configuration = Arc::new(read);
        self.recent.remember(&configuration);
        Ok(Some(Assignment { configuration, assigned_at: given.assigned_at }))
    }

    fn known_assignment(&self, given: Assigned) -> Option<Assignment> {
        let configuration = self.recent.configuration(given)?;
        Some(Assignment { configuration, assigned_at: given.assigned_at })
    }
}

/// A cache of recently read configurations.
#[derive(Default)]
pub(super) struct Recent(Mutex<HashMap<ConfigurationId, Arc<Configuration>>>);

impl Recent {
    /// The maximum number of configurations in the cache; most servers have fewer in use.
    const KEPT: usize = 64;

    fn configuration(&self, given: Assigned) -> Option<Arc<Configuration>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&given.configuration).filter(|one| one.updated_at == given.updated_at).cloned()
    }

    fn remember(&self, configuration: &Arc<Configuration>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= Self::KEPT {
            known.clear();
        }
        known.insert(configuration.id, Arc::clone(configuration));
    }
}

fn parse_name(name: &str) -> Result<Name, ServiceError> {
    name.parse().map_err(|error| ServiceError::invalid("name", error))
}

fn parse_document(document: &str) -> Result<Document, ServiceError> {
    Document::parse(document).map_err(|error| ServiceError::invalid("document", error))
}

fn configuration_in_scope(
    tx: &mut Tx,
    by: &Actor,
    id: ConfigurationId,
) -> Result<Configuration, ServiceError> {
    tx.configuration(by.scope(), id)?.ok_or_else(|| ServiceError::not_found("configuration", id))
}

/// Checks that a configuration belongs to the customer whose object names it.
pub(in crate::service) fn check_configuration(
    tx: &mut Tx,
    customer: CompanyId,
    id: Option<ConfigurationId>,
) -> Result<(), ServiceError> {
    let Some(id) = id else {
        return Ok(());
    };
    match tx.configuration(Scope::Customer(customer), id)? {
        Some(_) => Ok(()),
        None => Err(ServiceError::not_found("configuration", id)),
    }
}

/// Checks the artifacts of a document. Those without a URL must exist here, the customer's own or shared
/// ones. The size of each existing artifact must be the one in the document, wherever devices fetch it.
fn check_artifacts(tx: &mut Tx, new: &Configuration) -> Result<(), ServiceError> {
    for needed in new.document.artifacts() {
        check_artifact(tx, "document", Some(new.customer), &needed)?;
    }
    Ok(())
}

/// Checks one artifact, which `field` names. Without a customer, only shared artifacts count.
pub(super) fn check_artifact(
    tx: &mut Tx,
    field: &'static str,
    customer: Option<CompanyId>,
    needed: &Artifact,
) -> Result<(), ServiceError> {
    tx.lock_artifacts()?;
    let rule = match tx.artifact(needed.sha256, customer)? {
        Some(here) if here.size == needed.size => return Ok(()),
        None if needed.url.is_some() => return Ok(()),
        Some(here) => {
            format!("names artifact {} with {} bytes, and it has {}", needed.sha256, needed.size, here.size)
        }
        None => format!(
            "names artifact {}, which is not on this server: add it first, or say its url",
            needed.sha256
        ),
    };
    Err(ServiceError::invalid(field, rule))
}

fn in_use_error(by: Use) -> ServiceError {
    let what = match by {
        Use::Claim => "a claim uses it. Give its claims another configuration first",
        Use::Token => "a token uses it. Revoke its tokens first",
        Use::Default => "it is its customer's default. Set another default first",
    };
    ServiceError::Conflict(format!("The configuration cannot be deleted, because {what}."))
}
