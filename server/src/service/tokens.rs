//! Pre-provisioning tokens.

use super::{ServiceError, Services};
use crate::{
    domain::{actor::Actor, token::Token},
    store::{Page, PageRequest},
};
use unbox_common::{
    ids::{CompanyId, ConfigurationId, TokenId},
    secret::Secret,
    timestamp::Timestamp,
};

/// A token that is to be created.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose devices it enrolls.
    pub customer: CompanyId,
    /// What the customer calls it.
    pub name: String,
    /// What devices get whose claim names no configuration.
    pub configuration: Option<ConfigurationId>,
    /// From when on it is worthless.
    pub expires_at: Option<Timestamp>,
}

impl Services {
    /// Creates a token. The secret is returned here and never again.
    pub async fn create_token(&self, by: &Actor, new: NewToken) -> Result<(Token, Secret), ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Lists tokens, of one customer or of all, oldest first.
    pub async fn list_tokens(
        &self,
        by: &Actor,
        customer: Option<CompanyId>,
        page: PageRequest,
    ) -> Result<Page<Token>, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Revokes a token; it enrolls nothing from now on.
    pub async fn revoke_token(&self, by: &Actor, id: TokenId) -> Result<Token, ServiceError> {
        Err(ServiceError::Busy)
    }
}
