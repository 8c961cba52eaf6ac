//! Claims for resellers: registering and finding claims, releasing them temporarily, and their metadata.

use super::{
    claim::{NO_REGISTERED_KEY, NewClaim, OTHER_OWNER, check_parties, claim_in_force},
    register_claims::{CROWDED, ClaimOutcome},
};
use crate::{
    domain::{
        claims::claim::{Claim, ClaimTarget, Metadata, Vacation, lookup_text},
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    service::{Claims, ServiceError},
    store::{ClaimFilter, MAX_ROWS, PageRequest, Reader, ResellerCursor, Tx},
};
use serde_json::json;
use std::collections::BTreeMap;
use unbox_common::{
    identity::Identifier,
    ids::{ClaimId, CompanyId},
    timestamp::Timestamp,
};

/// The longest temporary release.
const MAX_VACATION_MS: u64 = 5 * 366 * 24 * 3600 * 1000;

/// A part of a reseller's claims.
#[derive(Debug, Clone)]
pub struct ResellerClaims {
    /// The claims.
    pub claims: Vec<Claim>,
    /// The start of the next part; `None` if this was the last.
    pub next: Option<ClaimId>,
    /// The total number of claims.
    pub total: u64,
}

impl Claims {
    /// Claims a device as its reseller. Repeating a claim does not create another: it updates the
    /// configuration and the metadata, and ends a temporary release.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] if another customer has the device, who is not named, or this customer
    /// has it by another reseller.
    pub async fn register_device(&self, by: &Actor, new: NewClaim) -> Result<Claim, ServiceError> {
        let claim = self.new_claim(by, new)?;
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                check_parties(tx, &by, &claim)?;
                match this.register(tx, &by, &claim) {
                    // The claim that had the device ended a moment ago.
                    Err(ServiceError::NotFound { .. }) => this.register(tx, &by, &claim),
                    done => done,
                }
            })
            .await
    }

    /// Claims a device in a transaction.
    pub(super) fn register(&self, tx: &mut Tx, by: &Actor, claim: &Claim) -> Result<Claim, ServiceError> {
        match self.add_claim(tx, claim)? {
            ClaimOutcome::New(id) => {
                self.note_claimed(tx, by, claim, id);
                Ok(Claim { id, ..claim.clone() })
            }
            ClaimOutcome::Already { claim: id, reseller } if reseller == claim.reseller => {
                self.register_again(tx, by, id, claim)
            }
            ClaimOutcome::Already { .. } => Err(ServiceError::Conflict(OTHER_RESELLER.to_owned())),
            ClaimOutcome::OtherOwner => Err(ServiceError::Conflict(OTHER_OWNER.to_owned())),
            ClaimOutcome::Crowded => Err(ServiceError::Conflict(CROWDED.to_owned())),
            ClaimOutcome::NoKey => Err(ServiceError::invalid("proof", NO_REGISTERED_KEY)),
        }
    }

    /// Updates an existing claim from a repeated one.
    pub(super) fn register_again(
        &self,
        tx: &mut Tx,
        by: &Actor,
        id: ClaimId,
        new: &Claim,
    ) -> Result<Claim, ServiceError> {
        let mut claim = claim_in_force(tx, by, id)?;
        if new.configuration.is_some() && new.configuration != claim.configuration {
            let at = tx.next_version(claim.customer, self.core.now())?;
            tx.set_claim_configuration(id, new.configuration, at)?;
            let detail = json!({"was": claim.configuration, "configuration": new.configuration});
            let (action, subject) = (Action::ClaimConfigurationSet, Subject::Claim(id));
            self.core.note(tx, by, action, subject, Some(claim.customer), detail);
            (claim.configuration, claim.configured_at) = (new.configuration, at);
        }
        let metadata = apply_changes(&claim.metadata, new.metadata.entries())?;
        if metadata != claim.metadata {
            self.write_metadata(tx, by, &claim, &metadata)?;
            claim.metadata = metadata;
        }
        if claim.vacation.is_some() {
            self.write_vacation(tx, by, &claim, None)?;
            claim.vacation = None;
        }
        Ok(claim)
    }

    /// Lists the reseller's claims, by customer and age: those of these customers, or all; from the start,
    /// or after the last claim of the previous page.
    pub async fn claims_of_reseller(
        &self,
        by: &Actor,
        customers: &[CompanyId],
        after: Option<ClaimId>,
        limit: u32,
    ) -> Result<ResellerClaims, ServiceError> {
        let Scope::Reseller(reseller) = by.scope() else {
            return Err(ServiceError::OperatorOnly);
        };
        let limit = limit.clamp(1, MAX_ROWS);
        let customers = customers.to_owned();
        self.core
            .read(move |reader| {
                let after = match after {
                    Some(id) => {
                        // The customer may have ended the link since the previous page; the list continues after
                        // it.
                        let end = reader.claim(Scope::Operator, id)?;
                        let end = end.filter(|claim| claim.reseller == Some(reseller));
                        Some(ResellerCursor::after_claim(
                            &end.ok_or_else(|| ServiceError::not_found("claim", id))?,
                        ))
                    }
                    None => None,
                };
                let mut claims = reader.claims_of_reseller(reseller, &customers, after, limit + 1)?;
                let total = reader.count_claims_of_reseller(reseller, &customers)?;
                let more = claims.len() > limit as usize;
                claims.truncate(limit as usize);
                let next = claims.last().filter(|_| more).map(|last| last.id);
                Ok::<_, ServiceError>(ResellerClaims { claims, next, total })
            })
            .await
    }

    /// Returns the claims in force, within the actor's scope, that register all these identifiers; oldest
    /// first, up to a sensible limit.
    pub async fn claims_by_identifiers(
        &self,
        by: &Actor,
        identifiers: &[Identifier],
    ) -> Result<Vec<Claim>, ServiceError> {
        let (by, identifiers) = (by.clone(), identifiers.to_owned());
        self.core.read(move |reader| find_by_identifiers(reader, &by, &identifiers)).await
    }

    /// Returns the one claim that the target refers to.
    pub async fn resolve_claim_target(
        &self,
        by: &Actor,
        target: &ClaimTarget,
    ) -> Result<ClaimId, ServiceError> {
        let (by, target) = (by.clone(), target.clone());
        self.core.read(move |reader| resolve_target(reader, &by, &target)).await
    }

    /// Releases a claim until `ends_at`, or ends the release.
    pub async fn set_vacation(
        &self,
        by: &Actor,
        id: ClaimId,
        ends_at: Option<Timestamp>,
    ) -> Result<Claim, ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core.store.write(move |tx| this.release_until(tx, &by, id, ends_at)).await
    }

    pub(super) fn release_until(
        &self,
        tx: &mut Tx,
        by: &Actor,
        id: ClaimId,
        ends_at: Option<Timestamp>,
    ) -> Result<Claim, ServiceError> {
        let now = self.core.now();
        let vacation = match ends_at {
            Some(ends_at) if ends_at <= now || ends_at.0 - now.0 > MAX_VACATION_MS => {
                let rule = "expected a time in the future, at most five years from now";
                return Err(ServiceError::invalid("vacation_mode_expire_time", rule));
            }
            ends_at => ends_at.map(|ends_at| Vacation { started_at: now, ends_at }),
        };
        let claim = claim_in_force(tx, by, id)?;
        self.write_vacation(tx, by, &claim, vacation)?;
        Ok(Claim { vacation, ..claim })
    }

    /// Changes the metadata of a claim: adds entries, replaces them, or deletes them by an empty value.
    pub async fn update_metadata(
        &self,
        by: &Actor,
        id: ClaimId,
        changes: BTreeMap<String, String>,
    ) -> Result<Claim, ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core.store.write(move |tx| this.change_metadata(tx, &by, id, &changes)).await
    }

    pub(super) fn change_metadata(
        &self,
        tx: &mut Tx,
        by: &Actor,
        id: ClaimId,
        changes: &BTreeMap<String, String>,
    ) -> Result<Claim, ServiceError> {
        let claim = claim_in_force(tx, by, id)?;
        let metadata = apply_changes(&claim.metadata, changes)?;
        self.write_metadata(tx, by, &claim, &metadata)?;
        Ok(Claim { metadata, ..claim })
    }

    fn write_vacation(
        &self,
        tx: &mut Tx,
        by: &Actor,
        claim: &Claim,
        vacation: Option<Vacation>,
    ) -> Result<(), ServiceError> {
        tx.set_vacation(claim.id, vacation)?;
        let detail = json!({"ends_at": vacation.map(|vacation| vacation.ends_at)});
        self.core.note(tx, by, Action::VacationSet, Subject::Claim(claim.id), Some(claim.customer), detail);
        Ok(())
    }

    fn write_metadata(
        &self,
        tx: &mut Tx,
        by: &Actor,
        claim: &Claim,
        metadata: &Metadata,
    ) -> Result<(), ServiceError> {
        tx.set_metadata(claim.id, metadata)?;
        // The values may be personal data: the trail names only the keys.
        let keys: Vec<&String> = metadata.entries().keys().collect();
        let detail = json!({"keys": keys});
        self.core.note(tx, by, Action::MetadataSet, Subject::Claim(claim.id), Some(claim.customer), detail);
        Ok(())
    }
}

/// The explanation for a device that the same customer has from somebody else.
pub(super) const OTHER_RESELLER: &str = "Somebody else has registered this device for the same customer.";
const SEVERAL: &str =
    "More than one device has these identifiers. Name it by its device id, or give more of them.";

fn apply_changes(metadata: &Metadata, changes: &BTreeMap<String, String>) -> Result<Metadata, ServiceError> {
    metadata.with_changes(changes).map_err(|error| ServiceError::invalid("device_metadata", error))
}

/// Returns the one claim that the target refers to.
pub(super) fn resolve_target(
    reader: &mut Reader,
    by: &Actor,
    target: &ClaimTarget,
) -> Result<ClaimId, ServiceError> {
    let identifiers = match target {
        ClaimTarget::Id(id) => return Ok(*id),
        ClaimTarget::Identifiers(identifiers) => identifiers,
    };
    match find_by_identifiers(reader, by, identifiers)?.as_slice() {
        [one] => Ok(one.id),
        [] => Err(ServiceError::not_found("device", "with these identifiers")),
        _ => Err(ServiceError::Conflict(SEVERAL.to_owned())),
    }
}

/// Returns claims in force that register all these identifiers.
fn find_by_identifiers(
    reader: &mut Reader,
    by: &Actor,
    identifiers: &[Identifier],
) -> Result<Vec<Claim>, ServiceError> {
    let strongest =
        identifiers.iter().filter(|one| one.kind().rank().is_some()).min_by_key(|one| one.kind().rank());
    let Some(strongest) = strongest else {
        return Err(ServiceError::invalid("device_identifier", NOTHING_IDENTIFYING));
    };
    let filter = ClaimFilter { identifier: Some(lookup_text(strongest)), ..ClaimFilter::default() };
    let page = PageRequest { size: Some(MAX_ROWS), after: None };
    let mut claims = reader.claims(by.scope(), &filter, &page)?.items;
    claims.retain(|claim| {
        let members = || claim.sets.usable().iter().flat_map(unbox_common::matching::IdentifierSet::members);
        identifiers.iter().all(|asked| members().any(|one| one.same_as(asked)))
    });
    Ok(claims)
}

const NOTHING_IDENTIFYING: &str = "expected at least one identifier that tells one device from another";
