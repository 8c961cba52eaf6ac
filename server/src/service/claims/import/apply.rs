//! A batch of rows that apply configurations to claimed devices.

use super::outcome::RowOutcome;
use crate::{
    domain::{
        claims::claim::{Claim, lookup_text},
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    service::{Claims, ServiceError, retry::retry_during_outage},
    store::Tx,
};
use serde_json::json;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use unbox_common::{
    identity::Identifier,
    ids::{ClaimId, CompanyId, ConfigurationId},
    matching::IdentifierSet,
};

/// A row's request.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    /// All identifier sets of its device.
    pub(super) sets: Vec<IdentifierSet>,
    /// The requested configuration; `None` for the customer's default.
    pub(super) configuration: Option<ConfigurationId>,
}

impl Wish {
    fn identifiers(&self) -> impl Iterator<Item = &Identifier> {
        self.sets.iter().flat_map(IdentifierSet::members)
    }

    /// Returns the key to look the device up by: the strongest identifier.
    fn key(&self) -> Option<String> {
        let strongest = self.sets.iter().min_by_key(|set| set.rank())?;
        strongest.lookup_key().map(lookup_text)
    }

    fn is_for(&self, claim: &Claim) -> bool {
        let registered = || claim.sets.usable().iter().flat_map(IdentifierSet::members);
        self.identifiers().all(|asked| registered().any(|one| one.same_as(asked)))
    }
}

impl Claims {
    /// Applies configurations to the devices of a customer, and returns the result of each row.
    pub(super) async fn apply_batch(
        &self,
        by: &Actor,
        customer: CompanyId,
        wishes: Vec<(u64, Wish)>,
    ) -> Result<Vec<(u64, RowOutcome)>, ServiceError> {
        if wishes.is_empty() {
            return Ok(Vec::new());
        }
        let (lines, wishes): (Vec<u64>, Vec<Wish>) = wishes.into_iter().unzip();
        let (this, by, wishes) = (self.clone(), by.clone(), Arc::new(wishes));
        let outcomes = retry_during_outage(|| {
            let (this, by, wishes) = (this.clone(), by.clone(), Arc::clone(&wishes));
            self.core.store.write(move |tx| this.apply_wishes(tx, &by, customer, &wishes))
        });
        Ok(lines.into_iter().zip(outcomes.await?).collect())
    }

    /// Applies the rows in order: later ones see the effect of earlier ones, and only the final state is
    /// written.
    fn apply_wishes(
        &self,
        tx: &mut Tx,
        by: &Actor,
        customer: CompanyId,
        wishes: &[Wish],
    ) -> Result<Vec<RowOutcome>, ServiceError> {
        let keys: BTreeSet<String> = wishes.iter().filter_map(Wish::key).collect();
        let keys: Vec<String> = keys.into_iter().collect();
        let mut found: HashMap<String, Vec<Claim>> = HashMap::new();
        for (key, claim) in tx.hold_claims_with(Scope::Customer(customer), &keys)? {
            found.entry(key).or_default().push(claim);
        }
        let mut changes: BTreeMap<ClaimId, Change> = BTreeMap::new();
        let outcomes = wishes.iter().map(|wish| {
            let candidates = wish.key().and_then(|key| found.get(&key));
            let mut meant = candidates.into_iter().flatten().filter(|claim| wish.is_for(claim));
            match (meant.next(), meant.next()) {
                (None, _) => RowOutcome::NotFound,
                (Some(_), Some(_)) => RowOutcome::invalid(None, "row", SEVERAL),
                (Some(claim), None) => {
                    let was = claim.configuration;
                    let change = changes.entry(claim.id).or_insert(Change { was, now: was });
                    if change.now == wish.configuration {
                        RowOutcome::AlreadyApplied(claim.id)
                    } else {
                        change.now = wish.configuration;
                        RowOutcome::Applied(claim.id)
                    }
                }
            }
        });
        let outcomes = outcomes.collect();
        self.write_changes(tx, by, customer, changes)?;
        Ok(outcomes)
    }

    fn write_changes(
        &self,
        tx: &mut Tx,
        by: &Actor,
        customer: CompanyId,
        changes: BTreeMap<ClaimId, Change>,
    ) -> Result<(), ServiceError> {
        let mut by_configuration: BTreeMap<Option<ConfigurationId>, Vec<ClaimId>> = BTreeMap::new();
        for (claim, Change { was, now }) in changes {
            if was == now {
                continue;
            }
            by_configuration.entry(now).or_default().push(claim);
            let detail = json!({"was": was, "configuration": now});
            let (action, subject) = (Action::ClaimConfigurationSet, Subject::Claim(claim));
            self.core.note(tx, by, action, subject, Some(customer), detail);
        }
        for (configuration, claims) in by_configuration {
            let at = tx.next_version(customer, self.core.now())?;
            tx.set_configuration_of_claims(&claims, configuration, at)?;
        }
        Ok(())
    }
}

struct Change {
    was: Option<ConfigurationId>,
    now: Option<ConfigurationId>,
}

const SEVERAL: &str = "fits more than one device of the customer: give more of its identifiers";
