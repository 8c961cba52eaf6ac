//! Claims: the link between a device and its customer.

use super::register_claims::{CROWDED, ClaimOutcome};
use crate::{
    domain::{
        claims::claim::{Claim, ClaimSets, MAX_SETS, Metadata},
        devices::device::Device,
        name::Name,
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Entry, Subject},
        },
    },
    service::{Claims, ServiceError, catalogue::check_configuration, tenancy::visible_customer},
    store::{AuditFilter, ClaimFilter, Page, PageRequest, Tx},
};
use serde_json::json;
use unbox_common::{
    ids::{ClaimId, CompanyId, ConfigurationId},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
    timestamp::Timestamp,
};

/// A device to claim.
#[derive(Debug, Clone)]
pub struct NewClaim {
    /// The customer that owns it.
    pub customer: CompanyId,
    /// The reseller that registers it, if any.
    pub reseller: Option<CompanyId>,
    /// The claim's own configuration; `None` for the customer's default.
    pub configuration: Option<ConfigurationId>,
    /// The proof that the device must give.
    pub proof: ProofKind,
    /// The identifier sets; the device must show any one of them completely.
    pub sets: Vec<IdentifierSet>,
    /// The order that the device belongs to.
    pub order: Option<String>,
    /// The reseller's notes about the device.
    pub metadata: Metadata,
    /// True if it is claimed with device protection, which only some resellers may do.
    pub protected: bool,
}

/// A claim with its device and its history.
#[derive(Debug, Clone)]
pub struct ClaimView {
    /// The claim.
    pub claim: Claim,
    /// Its device, if it was ever seen.
    pub device: Option<Device>,
    /// The newest audit entries about both, newest first.
    pub history: Vec<Entry>,
}

impl Claims {
    /// Claims one device.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] if the same customer has claimed it, or another customer, who is not
    /// named.
    pub async fn create_claim(&self, by: &Actor, new: NewClaim) -> Result<Claim, ServiceError> {
        let claim = self.new_claim(by, new)?;
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                check_parties(tx, &by, &claim)?;
                let id = match this.add_claim(tx, &claim)? {
                    ClaimOutcome::New(id) => id,
                    ClaimOutcome::Already { claim, .. } => {
                        return Err(ServiceError::Conflict(format!(
                            "Claim {claim} has this device already."
                        )));
                    }
                    ClaimOutcome::OtherOwner => {
                        return Err(ServiceError::Conflict(OTHER_OWNER.to_owned()));
                    }
                    ClaimOutcome::Crowded => return Err(ServiceError::Conflict(CROWDED.to_owned())),
                    ClaimOutcome::NoKey => return Err(ServiceError::invalid("proof", NO_REGISTERED_KEY)),
                };
                this.note_claimed(tx, &by, &claim, id);
                Ok(Claim { id, ..claim.clone() })
            })
            .await
    }

    /// Builds the requested claim after all checks that need no database. Its id is drawn when it is
    /// inserted.
    pub(super) fn new_claim(&self, by: &Actor, new: NewClaim) -> Result<Claim, ServiceError> {
        check_sets(&new)?;
        if let Scope::Reseller(own) = by.scope()
            && new.reseller != Some(own)
        {
            return Err(ServiceError::invalid("reseller", "a reseller claims devices as itself"));
        }
        let order: Option<Name> = new
            .order
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error| ServiceError::invalid("order", error))?;
        let now = self.core.now();
        Ok(Claim {
            id: UNDRAWN,
            customer: new.customer,
            reseller: new.reseller,
            configuration: new.configuration,
            configured_at: Timestamp::default(),
            proof: new.proof,
            activation_ends_at: now.plus(self.core.settings.activation_window),
            sets: ClaimSets::new(new.sets),
            order,
            metadata: new.metadata,
            vacation: None,
            protected: new.protected,
            created_at: now,
            created_by: by.name().to_owned(),
            collision: None,
            released_at: None,
        })
    }

    /// Records a new claim in the audit trail.
    pub(super) fn note_claimed(&self, tx: &mut Tx, by: &Actor, claim: &Claim, id: ClaimId) {
        let detail =
            json!({"proof": claim.proof, "configuration": claim.configuration, "order": claim.order});
        self.core.note(tx, by, Action::Claimed, Subject::Claim(id), Some(claim.customer), detail);
    }

    /// Lists claims, oldest first.
    pub async fn list_claims(
        &self,
        by: &Actor,
        filter: ClaimFilter,
        page: PageRequest,
    ) -> Result<Page<Claim>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.claims(scope, &filter, &page)).await
    }

    /// Shows a claim, its device and their history.
    pub async fn claim(&self, by: &Actor, id: ClaimId) -> Result<ClaimView, ServiceError> {
        let scope = by.scope();
        self.core
            .read(move |reader| {
                let claim = reader.claim(scope, id)?.ok_or_else(|| ServiceError::not_found("claim", id))?;
                let device = reader.device_of_claim(id)?;
                let subjects = [Subject::Claim(id)]
                    .into_iter()
                    .chain(device.as_ref().map(|one| Subject::Device(one.id)));
                let filter = AuditFilter { subjects: subjects.collect(), ..AuditFilter::default() };
                let history = reader.audit(scope, &filter, &PageRequest::default())?.items;
                Ok::<_, ServiceError>(ClaimView { claim, device, history })
            })
            .await
    }

    /// Returns a claim that is in force.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] also for a claim that has ended.
    pub async fn claim_in_force(&self, by: &Actor, id: ClaimId) -> Result<Claim, ServiceError> {
        let scope = by.scope();
        let found = self.core.read(move |reader| reader.claim(scope, id)).await?;
        let found = found.filter(|claim| claim.released_at.is_none());
        found.ok_or_else(|| ServiceError::not_found("claim", id))
    }

    /// Lists a customer's claims, oldest first.
    pub async fn claims_of_customer(
        &self,
        by: &Actor,
        customer: CompanyId,
        rows: u32,
        after: Option<String>,
    ) -> Result<Page<Claim>, ServiceError> {
        let filter = ClaimFilter { customer: Some(customer), ..ClaimFilter::default() };
        self.list_claims(by, filter, PageRequest { size: Some(rows), after }).await
    }

    /// Ends a claim. Its device, if any, is deprovisioned.
    pub async fn unclaim(&self, by: &Actor, id: ClaimId) -> Result<(), ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core.store.write(move |tx| this.end_claim(tx, &by, id)).await
    }

    pub(super) fn end_claim(&self, tx: &mut Tx, by: &Actor, id: ClaimId) -> Result<(), ServiceError> {
        let now = self.core.now();
        let claim = claim_in_force(tx, by, id)?;
        tx.release_claim(&claim, now)?;
        if let Some(mut device) = tx.device_of_claim(id)?
            && let Ok(state) = device.state.clone().deprovision(now)
        {
            device.state = state;
            tx.save_device(&device)?;
        }
        self.core.note(tx, by, Action::Unclaimed, Subject::Claim(id), Some(claim.customer), json!({}));
        Ok(())
    }

    /// Sets a claim's own configuration; `None` falls back to the customer's default.
    pub async fn set_claim_configuration(
        &self,
        by: &Actor,
        id: ClaimId,
        configuration: Option<ConfigurationId>,
    ) -> Result<Claim, ServiceError> {
        let now = self.core.now();
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let claim = claim_in_force(tx, &by, id)?;
                check_configuration(tx, claim.customer, configuration)?;
                let at = tx.next_version(claim.customer, now)?;
                tx.set_claim_configuration(id, configuration, at)?;
                let detail = json!({"was": claim.configuration, "configuration": configuration});
                this.core.note(
                    tx,
                    &by,
                    Action::ClaimConfigurationSet,
                    Subject::Claim(id),
                    Some(claim.customer),
                    detail,
                );
                Ok(Claim { configuration, configured_at: at, ..claim })
            })
            .await
    }

    /// Sets the proof that a claim's device must give from now on.
    pub async fn set_claim_proof(
        &self,
        by: &Actor,
        id: ClaimId,
        proof: ProofKind,
    ) -> Result<Claim, ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let claim = claim_in_force(tx, &by, id)?;
                if proof == ProofKind::RegisteredKey && claim.sets.registered_keys().next().is_none() {
                    return Err(ServiceError::invalid("proof", NO_REGISTERED_KEY));
                }
                tx.set_claim_proof(id, proof)?;
                let detail = json!({"was": claim.proof, "proof": proof});
                this.core.note(
                    tx,
                    &by,
                    Action::ClaimProofSet,
                    Subject::Claim(id),
                    Some(claim.customer),
                    detail,
                );
                Ok(Claim { proof, ..claim })
            })
            .await
    }
}

/// The explanation for a device that another customer has claimed.
pub(super) const OTHER_OWNER: &str =
    "Another customer has claimed this device. Its present owner has to end that claim first.";
/// The rule for claims that demand the registered key.
pub(super) const NO_REGISTERED_KEY: &str = "registered_key needs a device_key among the \
     claim's identifiers, or one that a test station of the reseller or the customer registered";

const NOT_ENROLLED_FOR_PROTECTION: &str =
    "only a reseller that is enrolled for device protection claims devices with it";

fn check_sets(new: &NewClaim) -> Result<(), ServiceError> {
    if new.sets.is_empty() || new.sets.len() > MAX_SETS {
        return Err(ServiceError::invalid("sets", format!("expected 1 to {MAX_SETS} identifier sets")));
    }
    Ok(())
}

/// Checks that customer, reseller and configuration exist and belong together.
pub(super) fn check_parties(tx: &mut Tx, by: &Actor, claim: &Claim) -> Result<(), ServiceError> {
    visible_customer(tx, by, claim.customer)?;
    check_configuration(tx, claim.customer, claim.configuration)?;
    let reseller = match claim.reseller {
        Some(id) => {
            let found = tx.company(Scope::Operator, id)?.filter(|one| one.kind.registers_devices());
            Some(found.ok_or_else(|| ServiceError::not_found("reseller", id))?)
        }
        None => None,
    };
    if claim.protected && !reseller.is_some_and(|reseller| reseller.device_protection) {
        return Err(ServiceError::invalid("protected", NOT_ENROLLED_FOR_PROTECTION));
    }
    Ok(())
}

/// Returns a claim that is in force, locked until the transaction ends.
pub(super) fn claim_in_force(tx: &mut Tx, by: &Actor, id: ClaimId) -> Result<Claim, ServiceError> {
    tx.lock_claim(id)?;
    let found = tx.claim(by.scope(), id)?.filter(|claim| claim.released_at.is_none());
    found.ok_or_else(|| ServiceError::not_found("claim", id))
}

/// A placeholder for the id of a claim until the id is drawn inside the transaction.
pub(super) const UNDRAWN: ClaimId = match ClaimId::new(1) {
    Ok(id) => id,
    Err(_) => unreachable!(),
};
