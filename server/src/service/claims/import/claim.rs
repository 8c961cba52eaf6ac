//! A batch of rows that claim devices.

use super::{
    ImportDefaults,
    outcome::RowOutcome,
    parties::{Found, Parties},
    rows::Row,
};
use crate::{
    domain::{
        claims::claim::{Claim, ClaimSets},
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    service::{
        Claims, ServiceError,
        claims::{
            claim::{NO_REGISTERED_KEY, UNDRAWN},
            register_claims::ClaimOutcome,
        },
        retry::retry_during_outage,
    },
    store::Tx,
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};
use unbox_common::{
    ids::{ClaimId, CompanyId},
    protocol::latest::ProofKind,
    timestamp::Timestamp,
};

/// The rule broken by a row whose device is [`ClaimOutcome::Crowded`].
const CROWDED_ROW: &str =
    "name one that many other claims name, too: give an identifier that no other device has";

impl Claims {
    /// Returns the claim that a row requests, without its id.
    pub(super) async fn claim_of_row(
        &self,
        by: &Actor,
        defaults: &ImportDefaults,
        row: Row,
        parties: &mut Parties<'_>,
    ) -> Found<Claim> {
        let proof = row.proof.or(defaults.proof).unwrap_or(ProofKind::Identifiers);
        let customer = match parties.customer(row.customer.as_ref()).await? {
            Ok(customer) => customer,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let configuration = match parties.configuration(customer, row.configuration.as_ref()).await? {
            Ok(configuration) => configuration,
            Err(outcome) => return Ok(Err(outcome)),
        };
        let now = self.core.now();
        Ok(Ok(Claim {
            id: UNDRAWN,
            customer,
            reseller: defaults.reseller,
            configuration,
            configured_at: Timestamp::default(),
            proof,
            activation_ends_at: now.plus(self.core.settings.activation_window),
            sets: ClaimSets::new(row.sets),
            order: row.order,
            metadata: row.metadata,
            vacation: None,
            protected: false,
            created_at: now,
            created_by: by.name().to_owned(),
            collision: None,
            released_at: None,
        }))
    }

    /// Writes the claims whose devices are unclaimed, and returns the result of each row.
    pub(super) async fn claim_batch(
        &self,
        by: &Actor,
        claims: Vec<(u64, Claim)>,
    ) -> Result<Vec<(u64, RowOutcome)>, ServiceError> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let (lines, claims): (Vec<u64>, Vec<Claim>) = claims.into_iter().unzip();
        let (this, by, claims) = (self.clone(), by.clone(), Arc::new(claims));
        let outcomes = retry_during_outage(|| {
            let (this, by, claims) = (this.clone(), by.clone(), Arc::clone(&claims));
            self.core.store.write(move |tx| this.write_batch(tx, &by, &claims))
        });
        Ok(lines.into_iter().zip(outcomes.await?).collect())
    }

    fn write_batch(
        &self,
        tx: &mut Tx,
        by: &Actor,
        claims: &[Claim],
    ) -> Result<Vec<RowOutcome>, ServiceError> {
        let taken = self.add_claims(tx, claims)?;
        let mut outcomes = Vec::with_capacity(claims.len());
        let mut fresh: BTreeMap<CompanyId, Vec<ClaimId>> = BTreeMap::new();
        for (claim, became) in claims.iter().zip(taken) {
            outcomes.push(match became {
                ClaimOutcome::New(id) => {
                    fresh.entry(claim.customer).or_default().push(id);
                    RowOutcome::Imported(id)
                }
                // A reseller does not learn the id of a claim that somebody else registered.
                ClaimOutcome::Already { reseller, .. }
                    if matches!(by.scope(), Scope::Reseller(_)) && reseller != claim.reseller =>
                {
                    RowOutcome::OtherReseller
                }
                ClaimOutcome::Already { claim, .. } => RowOutcome::AlreadyClaimed(claim),
                ClaimOutcome::OtherOwner => RowOutcome::Conflict,
                ClaimOutcome::Crowded => RowOutcome::invalid(None, "identifiers", CROWDED_ROW),
                ClaimOutcome::NoKey => {
                    RowOutcome::invalid(None, "proof", format!("cannot be met: {NO_REGISTERED_KEY}"))
                }
            });
        }
        for (customer, claims) in fresh {
            let detail = json!({"claims": claims.len(), "first": claims.first(), "last": claims.last()});
            let subject = Subject::Company(customer);
            self.core.note(tx, by, Action::ClaimsImported, subject, Some(customer), detail);
        }
        Ok(outcomes)
    }
}
