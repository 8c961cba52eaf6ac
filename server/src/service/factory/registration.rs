//! Factory for factories' test stations: registering devices with their keys, and looking up their owners.

use crate::{
    domain::{
        claims::claim::{Claim, ClaimSets, MAX_SETS},
        factory::record::{FactoryRecord, Relation, lookup_keys},
        tenancy::{
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    service::{Factory, ServiceError},
    store::{StoreError, Tx},
};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use unbox_common::{
    identity::{HardwareIdentity, Identifier, IdentifierKind},
    ids::{ClaimId, CompanyId, FactoryRecordId},
    matching::{IdentifierSet, Match, Reason, match_claims},
};

/// The maximum number of devices of one request.
pub const MAX_STATION_DEVICES: usize = 500;

/// The result of registering one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    /// The device is now on record.
    New(Registered),
    /// The device was on record, and the record has been updated.
    Updated(Registered),
    /// The device was on record like this; nothing changed.
    Already(Registered),
    /// The device contradicts a record; nothing changed. The text explains the problem and the remedy.
    Refused(String),
}

/// A device on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// The record.
    pub record: FactoryRecordId,
    /// The claim that has the device's key, if any.
    pub claim: Option<ClaimId>,
    /// The reason why the claim on this device did not get its key.
    pub withheld: Option<&'static str>,
}

/// The known facts about one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceStanding {
    /// The claim situation.
    pub claimed: Claimed,
    /// The record, if a station registered the device.
    pub record: Option<FactoryRecordId>,
    /// The kind of identifier by which it contradicts another registered device.
    pub duplicate: Option<IdentifierKind>,
}

/// The claim situation of a device, by the claims that its organisation may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The device is unclaimed.
    No,
    /// The device matches this claim by these identifiers.
    By(Reason, Vec<Identifier>),
    /// The device shows part of this claim's set, but lacks these identifiers.
    Differs(Reason, Vec<Identifier>),
    /// The device matches claims of different customers.
    Ambiguous,
}

impl Factory {
    /// Registers devices for the actor's organisation. Registering a device again updates its record, and a
    /// registered key is never replaced.
    ///
    /// # Errors
    /// Returns errors of the request as a whole; each device has its own result.
    pub async fn register_factory_devices(
        &self,
        by: &Actor,
        devices: Vec<HardwareIdentity>,
    ) -> Result<Vec<Registration>, ServiceError> {
        let company = organisation(by)?;
        let (this, by) = (self.clone(), by.clone());
        self.core.store.write(move |tx| this.register_all(tx, &by, company, &devices)).await
    }

    fn register_all(
        &self,
        tx: &mut Tx,
        by: &Actor,
        company: CompanyId,
        devices: &[HardwareIdentity],
    ) -> Result<Vec<Registration>, ServiceError> {
        // All at once, so that two requests that name the same devices wait for each other in one order.
        let keys: BTreeSet<String> = devices.iter().flat_map(lookup_keys).collect();
        let keys = Vec::from_iter(keys);
        tx.hold_keys(&keys)?;
        // So that a claim that somebody is ending has either ended or not, and cannot end in between.
        tx.lock_claims_with(by.scope(), &keys)?;
        let mut results = Vec::with_capacity(devices.len());
        for identity in devices {
            results.push(self.register_one(tx, by, company, identity.clone())?);
        }
        let count = |wanted: fn(&Registration) -> bool| results.iter().filter(|one| wanted(one)).count();
        let new = count(|one| matches!(one, Registration::New(_)));
        let updated = count(|one| matches!(one, Registration::Updated(_)));
        if new + updated > 0 {
            let first = results.iter().find_map(|one| match one {
                Registration::New(registered) | Registration::Updated(registered) => Some(registered.record),
                _ => None,
            });
            let detail = json!({"new": new, "updated": updated, "first": first});
            self.core.note(
                tx,
                by,
                Action::DevicesRegistered,
                Subject::Company(company),
                Some(company),
                detail,
            );
        }
        Ok(results)
    }

    fn register_one(
        &self,
        tx: &mut Tx,
        by: &Actor,
        company: CompanyId,
        identity: HardwareIdentity,
    ) -> Result<Registration, ServiceError> {
        let keys: Vec<String> = lookup_keys(&identity).into_iter().collect();
        let mut known = Vec::new();
        for record in tx.factory_records(&[company], &keys)? {
            match record.relation(&identity) {
                Relation::Other => {}
                Relation::Same => known.push(record),
                Relation::Contradicts(kind) => return Ok(Registration::Refused(contradiction_text(kind))),
            }
        }
        let claims = tx.claims_with(by.scope(), &keys)?;
        let (mut known, was) = match known.as_slice() {
            [] => (self.new_record(by, company, identity), None),
            [one] => (one.with_latest_identity(&identity), Some(one.clone())),
            _ => return Ok(Registration::Refused(TWO_RECORDS.to_owned())),
        };
        let claim = match single_claim(&known, &claims) {
            Ok(claim) => claim,
            Err(problem) => return Ok(Registration::Refused(problem.to_owned())),
        };
        let mut registered = Registered { record: known.id, claim: None, withheld: None };
        if let Some(claim) = claim {
            match self.give_key(tx, by, claim, &known)? {
                Given::Nothing => registered.claim = Some(claim.id),
                Given::Withheld(why) => registered.withheld = Some(why),
                Given::Key => {
                    registered.claim = Some(claim.id);
                    known.claim = Some(claim.id);
                }
            }
        }
        match was {
            None => {
                tx.insert_factory_record(&known)?;
                Ok(Registration::New(registered))
            }
            Some(was) if was == known => Ok(Registration::Already(registered)),
            Some(was) => {
                tx.update_factory_record(&known)?;
                let same = was.identity == known.identity;
                Ok(if same { Registration::Already(registered) } else { Registration::Updated(registered) })
            }
        }
    }

    fn new_record(&self, by: &Actor, company: CompanyId, identity: HardwareIdentity) -> FactoryRecord {
        let now = self.core.now();
        FactoryRecord {
            id: self.core.ids.factory_record(now),
            company,
            identity,
            claim: None,
            created_at: now,
            created_by: by.name().to_owned(),
        }
    }

    /// Adds the registered key to a claim that has none, if its owner lets factories do so and no device
    /// has enrolled under it.
    fn give_key(
        &self,
        tx: &mut Tx,
        by: &Actor,
        claim: &Claim,
        record: &FactoryRecord,
    ) -> Result<Given, ServiceError> {
        let Some(with_key) = with_key(claim, record) else { return Ok(Given::Nothing) };
        if tx.device_of_claim(claim.id)?.is_some_and(|device| device.has_enrolled()) {
            return Ok(Given::Withheld(ENROLLED));
        }
        let owner = tx.company(Scope::Operator, claim.customer)?;
        if !owner.is_some_and(|owner| owner.factory_keys) {
            return Ok(Given::Withheld(NOT_ALLOWED));
        }
        tx.set_claim_sets(claim, &with_key)?;
        let detail = json!({"record": record.id});
        let subject = Subject::Claim(claim.id);
        self.core.note(tx, by, Action::ClaimKeyRegistered, subject, Some(claim.customer), detail);
        Ok(Given::Key)
    }

    /// Returns new claims with the keys that their organisations' factories registered, each with the
    /// record of its key; `None` if no factory ever registered anything.
    pub(in crate::service) fn with_registered_keys(
        tx: &mut Tx,
        claims: &[Claim],
    ) -> Result<Option<Vec<WithKey>>, ServiceError> {
        if !tx.has_factory_records()? {
            return Ok(None);
        }
        let companies = claims.iter().flat_map(|claim| [Some(claim.customer), claim.reseller]);
        let companies: Vec<CompanyId> = companies.flatten().collect::<BTreeSet<_>>().into_iter().collect();
        let keys: Vec<String> = claims.iter().flat_map(|claim| claim.sets.lookup_keys()).collect();
        let records = ByKey::new(tx.factory_records(&companies, &keys)?, FactoryRecord::lookup_keys);
        let given = |claim: &Claim| {
            let keys = claim.sets.lookup_keys();
            let able = |record| with_key(claim, record).map(|claim| WithKey { claim, from: Some(record.id) });
            let mut able = records.find(&keys).filter_map(able);
            // If a claim fits two records, neither is trusted.
            match (able.next(), able.next()) {
                (Some(only), None) => only,
                _ => WithKey { claim: claim.clone(), from: None },
            }
        };
        Ok(Some(claims.iter().map(given).collect()))
    }

    /// Returns the known facts about devices, within the actor's organisation.
    pub async fn look_up_factory_devices(
        &self,
        by: &Actor,
        devices: &[HardwareIdentity],
    ) -> Result<Vec<DeviceStanding>, ServiceError> {
        let company = organisation(by)?;
        let keys: BTreeSet<String> = devices.iter().flat_map(lookup_keys).collect();
        let keys = Vec::from_iter(keys);
        let scope = by.scope();
        let found = self.core.read(move |reader| {
            Ok::<_, StoreError>((
                reader.claims_with(scope, &keys)?,
                reader.factory_records(&[company], &keys)?,
            ))
        });
        let (claims, records) = found.await?;
        let claims = ByKey::new(claims, |claim: &Claim| {
            claim.sets.lookup_keys().into_iter().chain(claim.sets.search_keys()).collect()
        });
        let records = ByKey::new(records, FactoryRecord::lookup_keys);
        Ok(devices.iter().map(|device| device_standing(device, &claims, &records)).collect())
    }
}

/// The result of giving a record's key to the claim on its device.
enum Given {
    /// The claim accepts no key.
    Nothing,
    /// The claim now has the key.
    Key,
    /// The claim may not have the key, for this reason.
    Withheld(&'static str),
}

/// A new claim, with the key that a factory registered, if any.
pub(in crate::service) struct WithKey {
    /// The claim.
    pub(in crate::service) claim: Claim,
    /// The record that the key comes from.
    pub(in crate::service) from: Option<FactoryRecordId>,
}

/// Values that can be found by any of several texts.
struct ByKey<T> {
    all: Vec<T>,
    places: HashMap<String, Vec<usize>>,
}

impl<T> ByKey<T> {
    fn new(all: Vec<T>, keys: impl Fn(&T) -> BTreeSet<String>) -> Self {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, one) in all.iter().enumerate() {
            for key in keys(one) {
                places.entry(key).or_default().push(at);
            }
        }
        Self { all, places }
    }

    fn find(&self, keys: &BTreeSet<String>) -> impl Iterator<Item = &T> + use<'_, T> {
        let found: BTreeSet<usize> =
            keys.iter().filter_map(|key| self.places.get(key)).flatten().copied().collect();
        found.into_iter().filter_map(|at| self.all.get(at))
    }
}

fn device_standing(
    device: &HardwareIdentity,
    claims: &ByKey<Claim>,
    records: &ByKey<FactoryRecord>,
) -> DeviceStanding {
    let (mut record, mut duplicate) = (None, None);
    for one in records.find(&lookup_keys(device)) {
        match one.relation(device) {
            Relation::Other => {}
            Relation::Same => record = Some(one.id),
            Relation::Contradicts(kind) => duplicate = Some(kind),
        }
    }
    let candidates: Vec<&Claim> = claims.find(&lookup_keys(device)).collect();
    let registered: Vec<_> = candidates.iter().map(|claim| claim.registered_claim()).collect();
    let sets = |reason: &Reason| -> Vec<IdentifierSet> {
        let claim = registered.iter().find(|one| one.claim == reason.claim);
        claim.map(|one| one.sets.clone()).unwrap_or_default()
    };
    let shown = |set: &IdentifierSet| set.members().iter().filter(|one| device.shows(one)).count();
    let claimed = match match_claims(device, &registered) {
        Match::Claim(reason) | Match::Contested { reason, .. } => {
            let whole = sets(&reason).into_iter().find(|set| {
                set.rank() == reason.rank && set.members().iter().all(|one| reason_names(&reason, one))
            });
            let members = whole.map(|set| set.members().to_vec()).unwrap_or_default();
            Claimed::By(reason, members)
        }
        Match::Ambiguous(_) => Claimed::Ambiguous,
        Match::None { near } => match near.into_iter().next() {
            None => Claimed::No,
            Some(reason) => {
                let nearest = sets(&reason).into_iter().max_by_key(shown);
                let missing = nearest.iter().flat_map(IdentifierSet::members);
                let missing = missing.filter(|one| !device.shows(one)).cloned().collect();
                Claimed::Differs(reason, missing)
            }
        },
    };
    DeviceStanding { claimed, record, duplicate }
}

fn reason_names(reason: &Reason, member: &Identifier) -> bool {
    reason.identifiers.iter().any(|one| *one == member.to_string())
}

/// Returns the claim on this device, if exactly one customer has one.
fn single_claim<'c>(record: &FactoryRecord, claims: &'c [Claim]) -> Result<Option<&'c Claim>, &'static str> {
    let registered: Vec<_> = claims.iter().map(Claim::registered_claim).collect();
    let Match::Claim(reason) = match_claims(&record.identity, &registered) else { return Ok(None) };
    let claim = claims.iter().find(|claim| claim.id == reason.claim);
    let own = |kind| record.identity.of_kind(kind).next().map(|key: &Identifier| key.value().to_owned());
    if let (Some(claim), Some(key)) = (claim, own(IdentifierKind::DeviceKey)) {
        let mut keys = claim.sets.registered_keys().map(|known| known.to_string()).peekable();
        if keys.peek().is_some() && !keys.any(|known| known == key) {
            return Err(ANOTHER_KEY);
        }
        if keys.peek().is_none() && claim.sets.usable().len() >= MAX_SETS {
            return Err(TOO_MANY_SETS);
        }
    }
    Ok(claim)
}

fn with_key(claim: &Claim, record: &FactoryRecord) -> Option<Claim> {
    let key = record.key_for(claim)?;
    let sets: ClaimSets = claim.sets.with_set(key);
    (sets.usable().len() <= MAX_SETS).then(|| Claim { sets, ..claim.clone() })
}

pub(super) fn organisation(by: &Actor) -> Result<CompanyId, ServiceError> {
    by.scope()
        .company()
        .ok_or_else(|| ServiceError::not_found("organisation", "that this account belongs to"))
}

const ENROLLED: &str = "A device has enrolled by the claim on this unit, so the claim takes no key any more. The \
     unit is on record; end the claim before the unit is sold again.";
const NOT_ALLOWED: &str = "The unit is on record, and the claim on it did not get its key: its customer does \
     not let factories register keys for claims. Ask an owner of the customer, or register units before they \
     are claimed.";
const TWO_RECORDS: &str = "Two devices on record share identifiers with it. Put it aside, and look for the part \
     that belongs to another device.";
const ANOTHER_KEY: &str = "The claim on this device has another device key already. Ask the reseller to \
     correct the claim, or use the key that the device had.";
const TOO_MANY_SETS: &str = "The claim on this device can take no further identifiers. Ask the reseller to \
     claim it again.";

fn contradiction_text(kind: IdentifierKind) -> String {
    format!(
        "Another device on record shares identifiers with it, and has another {kind}. Put it aside, and look \
         for the part, or the key, that belongs to another device."
    )
}
