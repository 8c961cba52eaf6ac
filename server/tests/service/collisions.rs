//! Claims of several owners on one device: who gets it, and who is told.

use crate::support::{TestDatabase, TestDevice, World, new_claim, refusal};
use IdentifierKind::{BoardSerial, MacAddress, Manufacturer, Model, SerialNumber, SystemUuid};
use std::time::Duration;
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    ids::{ClaimId, CompanyId, Generation},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
    refusal::RefusalKind,
};
use unbox_server::{
    domain::{
        actor::Actor,
        audit::{Action, Entry},
        claim::Claim,
        company::CompanyKind,
    },
    service::{NewClaim, NewCompany, ServiceError},
    store::{AuditFilter, ClaimFilter, PageRequest},
};

const SERIAL: &str = "PF0ABCDE";
const UUID: (IdentifierKind, &str) = (SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513133");
const MAC: (IdentifierKind, &str) = (MacAddress, "00:16:3e:00:00:01");
const NAMED: [(IdentifierKind, &str); 2] = [(Manufacturer, "Lenovo"), (Model, "20QES0XX00")];

/// The Lenovo of every test, with a UUID.
fn laptop() -> TestDevice {
    let mut device = TestDevice::new(SERIAL);
    device.replace(UUID.0, UUID.1);
    device
}

fn set(members: &[(IdentifierKind, &str)]) -> IdentifierSet {
    IdentifierSet::new(members.iter().map(|(kind, value)| Identifier::parse(*kind, value).unwrap())).unwrap()
}

/// A set of each kind by which such a laptop can be claimed.
fn sets() -> Vec<IdentifierSet> {
    vec![
        set(&[(SerialNumber, SERIAL), NAMED[0], NAMED[1]]),
        set(&[(BoardSerial, "L1HF123"), NAMED[0], NAMED[1]]),
        set(&[MAC]),
        set(&[UUID]),
    ]
}

async fn claim(world: &World, customer: CompanyId, set: &IdentifierSet) -> Result<Claim, ServiceError> {
    let new = NewClaim {
        sets: vec![set.clone()],
        configuration: Some(world.configuration).filter(|_| customer == world.customer),
        ..new_claim(customer, SERIAL, ProofKind::Identifiers)
    };
    world.services.create_claim(&world.by, new).await
}

/// What this customer's audit trail has of this, once everything is written that was to be written soon.
async fn audited(world: &World, customer: CompanyId, action: Action) -> Vec<Entry> {
    let administrator = Actor::of_customer("administrator", customer);
    for _ in 0..3000 {
        let filter = AuditFilter { action: Some(action), ..AuditFilter::default() };
        let page = PageRequest::default();
        let found = world.services.list_audit(&administrator, filter, page).await.unwrap().items;
        if !found.is_empty() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing about {action} was audited")
}

/// The claims of a customer whose devices matched others' claims, too.
async fn colliding(world: &World, customer: CompanyId) -> Vec<Claim> {
    let administrator = Actor::of_customer("administrator", customer);
    let filter = ClaimFilter { colliding: true, ..ClaimFilter::default() };
    world.services.list_claims(&administrator, filter, PageRequest::default()).await.unwrap().items
}

/// The same, once what was to be written soon is written: PostgreSQL has several writers.
async fn soon_colliding(world: &World, customer: CompanyId) -> Vec<Claim> {
    for _ in 0..500 {
        let found = colliding(world, customer).await;
        if !found.is_empty() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Vec::new()
}

async fn claims_of_two_owners_are_ambiguous_whatever_they_rank_and_both_are_told(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    let (acmes, bolts) = (&sets()[3], &sets()[0]);
    let acmes_claim = claim(&world, world.customer, acmes).await.unwrap();
    let bolts_claim = claim(&world, bolt, bolts).await.unwrap();
    let device = laptop();
    refusal(device.enroll(&world.services).await, RefusalKind::AmbiguousIdentity);
    for (customer, claim, own, others) in [
        (world.customer, acmes_claim.id, "system_uuid 4c4c4544", "serial_number"),
        (bolt, bolts_claim.id, "serial_number PF0ABCDE", "system_uuid"),
    ] {
        let told = audited(&world, customer, Action::Refused).await;
        assert_eq!(told[0].detail["kind"], "ambiguous_identity");
        let detail = told[0].detail.to_string();
        assert!(detail.contains(own) && detail.contains(&format!("\"{others}\"")), "{detail}");
        let listed = soon_colliding(&world, customer).await;
        assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<_>>(), [claim]);
        let collision = listed[0].collision.clone().unwrap();
        assert!(collision.identifiers.iter().any(|one| one.starts_with(own)), "{collision:?}");
        assert!(collision.others_kinds.iter().any(|kind| kind.name() == others), "{collision:?}");
        assert!(!collision.identifiers.iter().any(|one| one.starts_with(others)), "the other's own");
    }
    assert!(world.services.claim(&world.by, acmes_claim.id).await.unwrap().device.is_none());

    // One of the two is ended: the device enrolls with the other, and nothing collides any more.
    world.services.unclaim(&world.by, bolts_claim.id).await.unwrap();
    world.clock.advance(Duration::from_secs(1));
    device.enroll(&world.services).await.unwrap();
    assert!(colliding(&world, world.customer).await.is_empty());
    assert!(colliding(&world, bolt).await.is_empty());
}

async fn a_managed_device_stays_with_its_owner_whatever_others_register(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    for (own, others) in
        sets().iter().flat_map(|own| sets().into_iter().map(move |others| (own.clone(), others)))
    {
        if own == others {
            continue;
        }
        let owners = claim(&world, world.customer, &own).await.unwrap();
        let device = laptop();
        let grant = device.enroll(&world.services).await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        let later = claim(&world, bolt, &others).await.unwrap();
        let (own, others) = (own.rank(), others.rank());

        // With its key, and with its disk wiped: then its owner's administrator has to approve the new key.
        let again = device.enroll(&world.services).await.unwrap();
        assert_eq!(
            (again.device_id, again.generation),
            (grant.device_id, Generation(2)),
            "{own:?} {others:?}"
        );
        let wiped = device.wiped();
        refusal(wiped.enroll(&world.services).await, RefusalKind::PendingApproval);
        let key = wiped.key().digest();
        world.services.approve_request(&world.by, grant.device_id, key).await.unwrap();
        let approved = wiped.enroll(&world.services).await.unwrap();
        assert_eq!((approved.device_id, approved.generation), (grant.device_id, Generation(3)));
        assert!(world.services.claim(&world.by, later.id).await.unwrap().device.is_none());

        // Both are told.
        for customer in [world.customer, bolt] {
            let told = audited(&world, customer, Action::ClaimContested).await;
            assert!(told.iter().all(|one| one.customer == Some(customer)));
            assert_eq!(soon_colliding(&world, customer).await.len(), 1);
        }

        // Until the owner's claim ends.
        world.services.unclaim(&world.by, owners.id).await.unwrap();
        refusal(wiped.enroll(&world.services).await, RefusalKind::NotClaimed);
        world.services.unclaim(&world.by, later.id).await.unwrap();
    }
}

async fn claims_on_models_that_do_not_exist_affect_nobody(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    let invented: Vec<String> = (1..=70).map(|number| format!("Model {number}")).collect();
    for model in &invented[..35] {
        claim(&world, bolt, &set(&[(SerialNumber, SERIAL), NAMED[0], (Model, model)])).await.unwrap();
    }
    world.claim(SERIAL, ProofKind::Identifiers).await;
    for model in &invented[35..] {
        claim(&world, bolt, &set(&[(SerialNumber, SERIAL), NAMED[0], (Model, model)])).await.unwrap();
    }
    let device = laptop();
    device.enroll(&world.services).await.unwrap();
    device.enroll(&world.services).await.unwrap();
    assert!(colliding(&world, world.customer).await.is_empty());
}

async fn as_many_claims_as_one_key_may_find_are_taken_and_the_next_is_refused(db: TestDatabase) {
    let world = World::new(db).await;
    let with_uuid = |number: usize| {
        let uuid = format!("4c4c4544-0058-4b10-8039-b7c04f51{number:04}");
        set(&[MAC, (SystemUuid, &uuid)])
    };
    for company in 0..4 {
        let customer = world.other_customer(&format!("Bolt {company}")).await;
        for number in 0..16 {
            claim(&world, customer, &with_uuid(16 * company + number)).await.unwrap();
        }
    }
    let before = world.db.snapshot().await;
    let refused = claim(&world, world.customer, &with_uuid(64)).await.unwrap_err();
    assert!(refused.to_string().contains("no other device has"), "{refused}");
    assert_eq!(world.db.snapshot().await, before);
    // None of them matches the device whole, and none keeps it from its owner.
    world.claim(SERIAL, ProofKind::Identifiers).await;
    laptop().enroll(&world.services).await.unwrap();
}

async fn no_company_alone_keeps_an_owner_from_claiming_by_an_identifier(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    let with_uuid = |number: usize| {
        let uuid = format!("4c4c4544-0058-4b10-8039-b7c04f51{number:04}");
        set(&[MAC, (SystemUuid, &uuid)])
    };
    for number in 0..16 {
        claim(&world, bolt, &with_uuid(number)).await.unwrap();
    }
    let before = world.db.snapshot().await;
    let refused = claim(&world, bolt, &with_uuid(16)).await.unwrap_err();
    assert!(refused.to_string().contains("no other device has"), "{refused}");
    assert_eq!(world.db.snapshot().await, before);
    claim(&world, world.customer, &with_uuid(16)).await.unwrap();
}

async fn whoever_comes_near_a_claim_is_told_to_its_owner(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    let mut other_model = laptop();
    other_model.replace(Model, "Another Model");
    refusal(other_model.enroll(&world.services).await, RefusalKind::NotClaimed);
    let told = audited(&world, world.customer, Action::Refused).await;
    assert_eq!(
        told[0].detail["identifiers"],
        serde_json::json!(["serial_number PF0ABCDE", "manufacturer Lenovo"])
    );
}

async fn a_reseller_sees_the_collisions_of_what_it_claimed(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    let new = NewCompany::new(CompanyKind::Reseller, "Dealer");
    let dealer = world.services.create_company(&world.by, new).await.unwrap().id;
    let new = NewClaim {
        reseller: Some(dealer),
        sets: vec![sets()[2].clone()],
        ..new_claim(world.customer, SERIAL, ProofKind::Identifiers)
    };
    world.services.set_works_for(&world.by, dealer, world.customer, true).await.unwrap();
    let made = world.services.create_claim(&world.by, new).await.unwrap();
    claim(&world, bolt, &sets()[0]).await.unwrap();
    refusal(laptop().enroll(&world.services).await, RefusalKind::AmbiguousIdentity);
    audited(&world, bolt, Action::Refused).await;
    audited(&world, world.customer, Action::Refused).await;
    let seller = Actor::of_reseller("seller", dealer);
    let filter = ClaimFilter { colliding: true, ..ClaimFilter::default() };
    let listed = world.services.list_claims(&seller, filter, PageRequest::default()).await.unwrap().items;
    assert_eq!(listed.iter().map(|one| one.id).collect::<Vec<ClaimId>>(), [made.id]);
}

battery!(
    claims_of_two_owners_are_ambiguous_whatever_they_rank_and_both_are_told,
    a_managed_device_stays_with_its_owner_whatever_others_register,
    claims_on_models_that_do_not_exist_affect_nobody,
    as_many_claims_as_one_key_may_find_are_taken_and_the_next_is_refused,
    no_company_alone_keeps_an_owner_from_claiming_by_an_identifier,
    whoever_comes_near_a_claim_is_told_to_its_owner,
    a_reseller_sees_the_collisions_of_what_it_claimed,
);
