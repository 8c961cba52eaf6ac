//! Configurations of customers.

use super::{ServiceError, Services};
use crate::{
    domain::{actor::Actor, configuration::Configuration},
    store::{Page, PageRequest},
};
use unbox_common::ids::{CompanyId, ConfigurationId};

/// What is to change about a configuration; `None` leaves it as it is.
#[derive(Debug, Clone, Default)]
pub struct ConfigurationChange {
    /// The new name.
    pub name: Option<String>,
    /// The new document, JSON.
    pub document: Option<String>,
}

impl Services {
    /// Creates a configuration from its JSON document.
    pub async fn create_configuration(
        &self,
        by: &Actor,
        customer: CompanyId,
        name: &str,
        document: &str,
    ) -> Result<Configuration, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Lists configurations, of one customer or of all, oldest first.
    pub async fn list_configurations(
        &self,
        by: &Actor,
        customer: Option<CompanyId>,
        page: PageRequest,
    ) -> Result<Page<Configuration>, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Finds a configuration by its id.
    pub async fn configuration(
        &self,
        by: &Actor,
        id: ConfigurationId,
    ) -> Result<Configuration, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Finds a customer's configuration as people name it: by its id or by its exact name.
    pub async fn find_configuration(
        &self,
        by: &Actor,
        customer: CompanyId,
        id_or_name: &str,
    ) -> Result<Configuration, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Changes name, document or both. Devices get the new document when they check in.
    pub async fn update_configuration(
        &self,
        by: &Actor,
        id: ConfigurationId,
        change: ConfigurationChange,
    ) -> Result<Configuration, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Deletes a configuration that no claim, token or default uses.
    pub async fn delete_configuration(&self, by: &Actor, id: ConfigurationId) -> Result<(), ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Sets what a customer's claims get that name no configuration of their own.
    pub async fn set_default_configuration(
        &self,
        by: &Actor,
        customer: CompanyId,
        configuration: Option<ConfigurationId>,
    ) -> Result<(), ServiceError> {
        Err(ServiceError::Busy)
    }
}
