//! Inserts claims into the store, one or thousands in a transaction, and ensures that no device is claimed
//! twice. All claims, by command, by file or over the network, pass through here.

use crate::{
    domain::claims::claim::{Claim, ClaimKey, lookup_text, overlap},
    service::{Claims, Factory, ServiceError},
    store::{KeyHolder, MAX_CLAIMS_OF_KEY, MAX_CLAIMS_OF_KEY_AND_COMPANY, Tx},
};
use std::collections::HashMap;
use unbox_common::{
    ids::{ClaimId, CompanyId},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
};

/// The result of adding a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ClaimOutcome {
    /// The claim is now in force under this id.
    New(ClaimId),
    /// The same customer already has this device, by this claim; nothing changed.
    Already {
        /// The existing claim.
        claim: ClaimId,
        /// The reseller that registered it.
        reseller: Option<CompanyId>,
    },
    /// Another customer has this device; nothing changed.
    OtherOwner,
    /// One of its keys already leads to as many claims as a key may have, in all or from one company;
    /// nothing changed.
    Crowded,
    /// The claim demands the registered key, and none is registered; nothing changed.
    NoKey,
}

/// The explanation for a device that is [`ClaimOutcome::Crowded`].
pub(super) const CROWDED: &str = "Many other claims name the same identifier and differ in the rest. Claim the device \
     by an identifier that no other device has.";

impl Claims {
    /// Adds one claim, as [`Self::add_claims`] does.
    pub(super) fn add_claim(&self, tx: &mut Tx, claim: &Claim) -> Result<ClaimOutcome, ServiceError> {
        let taken = self.add_claims(tx, std::slice::from_ref(claim))?;
        taken.first().copied().ok_or(ServiceError::Busy)
    }

    /// Adds the claims whose devices are unclaimed, and returns the result of each, in order. The ids are
    /// drawn here.
    pub(super) fn add_claims(
        &self,
        tx: &mut Tx,
        claims: &[Claim],
    ) -> Result<Vec<ClaimOutcome>, ServiceError> {
        let keys = |claims: &[Claim]| -> Vec<String> {
            claims.iter().flat_map(|claim| claim.sets.lookup_keys()).collect()
        };
        let mut holders = tx.hold_keys(&keys(claims))?;
        let (mut with_keys, mut from) = (None, Vec::new());
        if let Some(given) = Factory::with_registered_keys(tx, claims)? {
            let given = given.into_iter().map(|one| (one.claim, one.from));
            let (given, records): (Vec<Claim>, Vec<_>) = given.unzip();
            holders = tx.hold_keys(&keys(&given))?;
            (with_keys, from) = (Some(given), records);
        }
        let claims = with_keys.as_deref().unwrap_or(claims);
        let mut held: HashMap<String, Vec<KeyHolder>> = HashMap::new();
        for holder in holders {
            held.entry(holder.key.clone()).or_default().push(holder);
        }
        let first_id = self.core.ids.block(self.core.now(), u32::try_from(claims.len()).unwrap_or(u32::MAX));
        let (mut fresh, mut taken) = (Vec::new(), Vec::with_capacity(claims.len()));
        for (claim, id) in claims.iter().zip(first_id..) {
            let id = ClaimId::new(id).map_err(|error| ServiceError::invalid("id", error))?;
            let became = match find_holder(claim, &held) {
                Holding::OfAnother => ClaimOutcome::OtherOwner,
                Holding::OfTheSame(holder) => {
                    ClaimOutcome::Already { claim: holder.claim, reseller: holder.reseller }
                }
                Holding::Crowd => ClaimOutcome::Crowded,
                Holding::Nobody if lacks_key(claim) => ClaimOutcome::NoKey,
                Holding::Nobody => {
                    for key in claim.sets.lookup_keys() {
                        let (customer, reseller, sets) = (claim.customer, claim.reseller, claim.sets.clone());
                        let holder = KeyHolder { key: key.clone(), claim: id, customer, reseller, sets };
                        held.entry(key).or_default().push(holder);
                    }
                    fresh.push(Claim { id, ..claim.clone() });
                    ClaimOutcome::New(id)
                }
            };
            taken.push(became);
        }
        tx.insert_claims(&fresh)?;
        let given = from.into_iter().zip(&taken).filter_map(|one| match one {
            (Some(record), ClaimOutcome::New(claim)) => Some((record, *claim)),
            _ => None,
        });
        tx.note_keys_given(&given.collect::<Vec<_>>())?;
        Ok(taken)
    }
}

fn lacks_key(claim: &Claim) -> bool {
    claim.proof == ProofKind::RegisteredKey && claim.sets.registered_keys().next().is_none()
}

enum Holding<'h> {
    Nobody,
    OfTheSame(&'h KeyHolder),
    OfAnother,
    Crowd,
}

/// Returns the present holder of this claim's device. One set that another customer holds is enough.
fn find_holder<'h>(claim: &Claim, held: &'h HashMap<String, Vec<KeyHolder>>) -> Holding<'h> {
    let mut found = Holding::Nobody;
    let mut is_crowded = false;
    for set in claim.sets.usable() {
        let key = set.lookup_key().map(lookup_text).unwrap_or_default();
        let by = claim.reseller.unwrap_or(claim.customer);
        is_crowded |= is_full(set, by, held.get(&key).map_or(&[], Vec::as_slice));
        for holder in held.get(&key).into_iter().flatten().filter(|holder| holds(holder, set)) {
            if holder.customer != claim.customer {
                return Holding::OfAnother;
            }
            if matches!(found, Holding::Nobody) {
                found = Holding::OfTheSame(holder);
            }
        }
    }
    if is_crowded && matches!(found, Holding::Nobody) { Holding::Crowd } else { found }
}

/// Returns true if the key of this set leads to as many claims as one hello should examine, or as one company
/// may register.
fn is_full(set: &IdentifierSet, by: CompanyId, holders: &[KeyHolder]) -> bool {
    if holders.len() < MAX_CLAIMS_OF_KEY_AND_COMPANY {
        return false;
    }
    let key = ClaimKey::of(set);
    let shares = |holder: &&KeyHolder| holder.sets.usable().iter().any(|other| ClaimKey::of(other) == key);
    let sharing: Vec<_> = holders.iter().filter(shares).collect();
    let own = sharing.iter().filter(|holder| holder.reseller.unwrap_or(holder.customer) == by).count();
    sharing.len() >= MAX_CLAIMS_OF_KEY || own >= MAX_CLAIMS_OF_KEY_AND_COMPANY
}

fn holds(holder: &KeyHolder, set: &IdentifierSet) -> bool {
    holder.sets.usable().iter().any(|other| overlap(set, other))
}
