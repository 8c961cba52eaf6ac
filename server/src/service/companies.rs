//! Companies: customers and resellers.

use super::{ServiceError, Services};
use crate::{
    domain::{
        actor::Actor,
        company::{Company, CompanyKind},
    },
    store::{Page, PageRequest},
};
use unbox_common::ids::CompanyId;

impl Services {
    /// Creates a customer or a reseller.
    pub async fn create_company(
        &self,
        by: &Actor,
        kind: CompanyKind,
        name: &str,
    ) -> Result<Company, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Lists companies, oldest first.
    pub async fn list_companies(
        &self,
        by: &Actor,
        kind: Option<CompanyKind>,
        page: PageRequest,
    ) -> Result<Page<Company>, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Finds a company by its id.
    pub async fn company(&self, by: &Actor, id: CompanyId) -> Result<Company, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Finds a company as people name it: by its id or by its exact name.
    pub async fn find_company(
        &self,
        by: &Actor,
        kind: CompanyKind,
        id_or_name: &str,
    ) -> Result<Company, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Gives a company another name.
    pub async fn rename_company(
        &self,
        by: &Actor,
        id: CompanyId,
        name: &str,
    ) -> Result<Company, ServiceError> {
        Err(ServiceError::Busy)
    }
}
