//! Facts about a device from before the decision: an enrollment that its certificate attests, and other
//! devices that hold its key.

use super::Proof;
use crate::{
    domain::{
        devices::{admission::registered_identifiers, device::Device},
        tenancy::actor::Scope,
    },
    service::ServiceError,
    store::{EnrollmentFacts, OtherHolder, Tx},
};
use unbox_common::{
    identity::HardwareIdentity, ids::Generation, machine::contradictions, matching::ReplacedPart,
};

/// Returns the device and generation that this server's certificate attests.
///
/// It is the claim's device, or becomes it if the claim's device never enrolled: in that case this database
/// was restored from a backup and does not know the device. A device of another claim, or of another owner,
/// is left alone.
pub(super) fn certified_device(
    tx: &mut Tx,
    proof: &Proof,
    facts: &EnrollmentFacts,
) -> Result<Option<(Device, Generation)>, ServiceError> {
    let EnrollmentFacts { claim, device, .. } = facts;
    let Some(prior) = proof.notes.prior.filter(|prior| prior.owner == claim.customer) else {
        return Ok(None);
    };
    let device = match device {
        Some(known) if known.id == prior.device => known.clone(),
        Some(known) if known.latest.is_some() => return Ok(None),
        _ if tx.device(Scope::Operator, prior.device)?.is_some() => return Ok(None),
        Some(unseen) => Device { id: prior.device, ..unseen.clone() },
        None => Device::new(prior.device, claim.id, claim.customer, proof.now),
    };
    Ok(Some((device, prior.generation)))
}

/// Returns the other devices that the key belongs to, each with the parts in which this hardware differs. A
/// machine that two claims register is no copy of itself.
pub(super) fn find_copied_holders(
    tx: &mut Tx,
    proof: &Proof,
    facts: &EnrollmentFacts,
) -> Result<Vec<(OtherHolder, Vec<ReplacedPart>)>, ServiceError> {
    let is_bound = facts.device.as_ref().is_some_and(|device| device.knows_key(proof.shown.key));
    if is_bound || !facts.key_is_elsewhere {
        return Ok(Vec::new());
    }
    let holders = tx.key_holders(&proof.notes.key, facts.claim.id)?;
    let differing = holders.into_iter().filter_map(|holder| {
        let last = holder.device.as_ref().and_then(|device| device.identity.as_ref());
        let seen = last.into_iter().flat_map(HardwareIdentity::observations).map(|one| &one.identifier);
        let known: Vec<_> = registered_identifiers(&holder.claim).into_iter().chain(seen).collect();
        let differs = contradictions(&proof.identity, &known);
        (!differs.is_empty()).then_some((holder, differs))
    });
    Ok(differing.collect())
}

/// Returns the facts with the certified device in place of the one that never enrolled.
pub(super) fn with_certified_device(
    tx: &mut Tx,
    facts: EnrollmentFacts,
    certified: Option<(Device, Generation)>,
) -> Result<EnrollmentFacts, ServiceError> {
    let Some((device, _)) = certified else { return Ok(facts) };
    if let Some(unseen) = facts.device.as_ref().filter(|one| one.id != device.id) {
        tx.delete_unseen_device(unseen.id)?;
    }
    Ok(EnrollmentFacts { device: Some(device), ..facts })
}
