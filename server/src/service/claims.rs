//! Claims: which device belongs to which customer.

use super::{ServiceError, Services};
use crate::{
    domain::{actor::Actor, audit::Entry, claim::Claim, device::Device},
    store::{ClaimFilter, Page, PageRequest},
};
use unbox_common::{
    ids::{ClaimId, CompanyId, ConfigurationId},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
};

/// A device that is to be claimed.
#[derive(Debug, Clone)]
pub struct NewClaim {
    /// Who owns it.
    pub customer: CompanyId,
    /// Who registers it, if that is a reseller.
    pub reseller: Option<CompanyId>,
    /// Its own configuration; the customer's default if there is none.
    pub configuration: Option<ConfigurationId>,
    /// What it has to prove.
    pub proof: ProofKind,
    /// What it has to show: any one of these, whole.
    pub sets: Vec<IdentifierSet>,
    /// The order that it came with.
    pub order: Option<String>,
}

/// A claim with everything that belongs to it.
#[derive(Debug, Clone)]
pub struct ClaimView {
    /// The claim.
    pub claim: Claim,
    /// Its device, once it was seen.
    pub device: Option<Device>,
    /// What happened to both, newest first; the newest part of it.
    pub history: Vec<Entry>,
}

impl Services {
    /// Claims one device.
    pub async fn create_claim(&self, by: &Actor, new: NewClaim) -> Result<Claim, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Lists claims, oldest first.
    pub async fn list_claims(
        &self,
        by: &Actor,
        filter: ClaimFilter,
        page: PageRequest,
    ) -> Result<Page<Claim>, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Shows a claim, its device and their history.
    pub async fn claim(&self, by: &Actor, id: ClaimId) -> Result<ClaimView, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Ends a claim. Its device, if there is one, is deprovisioned.
    pub async fn unclaim(&self, by: &Actor, id: ClaimId) -> Result<(), ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Sets a claim's own configuration; `None` falls back to the customer's default.
    pub async fn set_claim_configuration(
        &self,
        by: &Actor,
        id: ClaimId,
        configuration: Option<ConfigurationId>,
    ) -> Result<Claim, ServiceError> {
        Err(ServiceError::Busy)
    }

    /// Sets what a claim's device has to prove from now on.
    pub async fn set_claim_proof(
        &self,
        by: &Actor,
        id: ClaimId,
        proof: ProofKind,
    ) -> Result<Claim, ServiceError> {
        Err(ServiceError::Busy)
    }
}
