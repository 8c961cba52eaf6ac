//! What resellers may do, what they may not, and what devices notice of it.

use crate::support::{START, TestDatabase, TestDevice, World, certificate, new_claim, refusal, report};
use std::{collections::BTreeMap, time::Duration};
use tokio::task::JoinSet;
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    ids::CompanyId,
    protocol::latest::{Outcome, ProofKind},
    refusal::RefusalKind,
};
use unbox_server::{
    domain::{
        claims::claim::{ClaimTarget, Metadata},
        tenancy::{
            actor::Actor,
            audit::{Action, Subject},
            company::{CompanyKind, Terms},
        },
    },
    service::{ClaimsForm, NewClaim, NewCompany, ServiceError},
    store::{AuditFilter, ClaimFilter, CompanyFilter, DeviceFilter, PageRequest},
};

const SERIAL: &str = "PF0ABCDE";

/// A reseller that works for Acme.
async fn reseller(world: &World, name: &str) -> Actor {
    let new = NewCompany::new(CompanyKind::Reseller, name);
    let id = world.services.tenancy.create_company(&world.by, new).await.unwrap().id;
    world.services.tenancy.set_works_for(&world.by, id, world.customer, true).await.unwrap();
    Actor::of_reseller(name, id)
}

fn own_id(by: &Actor) -> CompanyId {
    match by.scope() {
        unbox_server::domain::tenancy::actor::Scope::Reseller(id) => id,
        other => panic!("{other:?} is no reseller"),
    }
}

fn claim_by(by: &Actor, world: &World, serial: &str) -> NewClaim {
    NewClaim { reseller: Some(own_id(by)), ..new_claim(world.customer, serial, ProofKind::Identifiers) }
}

fn serial(value: &str) -> Vec<Identifier> {
    vec![Identifier::parse(IdentifierKind::SerialNumber, value).unwrap()]
}

fn metadata(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn a_claim_that_is_made_again_is_the_same_claim(db: TestDatabase) {
    let world = World::new(db).await;
    let boxes = reseller(&world, "Boxes").await;
    let first =
        world.services.claims.register_device(&boxes, claim_by(&boxes, &world, SERIAL)).await.unwrap();
    world
        .services
        .claims
        .set_vacation(&boxes, first.id, Some(START.plus(Duration::from_hours(48))))
        .await
        .unwrap();
    let said = Metadata::default().with_changes(&metadata(&[("ordernumber", "A1")])).unwrap();
    let again = NewClaim {
        metadata: said.clone(),
        configuration: Some(world.configuration),
        ..claim_by(&boxes, &world, SERIAL)
    };
    let second = world.services.claims.register_device(&boxes, again).await.unwrap();
    assert_eq!((second.id, second.metadata, second.vacation), (first.id, said, None));
    assert_eq!(second.configuration, Some(world.configuration));
    let stored = world.services.claims.claim(&boxes, first.id).await.unwrap().claim;
    assert_eq!(stored.configuration, Some(world.configuration));
    assert_eq!(world.services.claims.claims_of_reseller(&boxes, &[], None, 10).await.unwrap().total, 1);
}

async fn a_device_that_many_claim_at_once_belongs_to_one(db: TestDatabase) {
    let world = World::new(db).await;
    let mut customers = vec![world.customer];
    for number in 0..3 {
        customers.push(world.other_customer(&format!("Customer {number}")).await);
    }
    let servers = [world.services.clone(), world.another_server(2)];
    let mut claims = JoinSet::new();
    for number in 0..24 {
        let services = servers[number % 2].clone();
        let new = new_claim(customers[number % 4], SERIAL, ProofKind::Identifiers);
        let by = world.by.clone();
        claims.spawn(async move { services.claims.create_claim(&by, new).await.is_ok() });
    }
    assert_eq!(claims.join_all().await.into_iter().filter(|made| *made).count(), 1);
}

async fn a_reseller_neither_sees_nor_changes_what_is_not_its_own(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let (boxes, crates) = (reseller(&world, "Boxes").await, reseller(&world, "Crates").await);
    let claim = services.claims.register_device(&boxes, claim_by(&boxes, &world, SERIAL)).await.unwrap();
    let bolt = world.other_customer("Bolt").await;
    let before = world.db.snapshot().await;
    let gone = |error: ServiceError| assert!(matches!(error, ServiceError::NotFound { .. }), "{error:?}");
    let forbidden = |error: ServiceError| assert!(matches!(error, ServiceError::OperatorOnly), "{error:?}");

    gone(services.claims.claim(&crates, claim.id).await.unwrap_err());
    gone(services.claims.unclaim(&crates, claim.id).await.unwrap_err());
    gone(services.claims.set_vacation(&crates, claim.id, None).await.unwrap_err());
    gone(services.claims.update_metadata(&crates, claim.id, BTreeMap::new()).await.unwrap_err());
    gone(services.claims.set_claim_configuration(&crates, claim.id, None).await.unwrap_err());
    let found =
        services.claims.resolve_claim_target(&crates, &ClaimTarget::Identifiers(serial(SERIAL))).await;
    gone(found.unwrap_err());
    let again =
        services.claims.register_device(&crates, claim_by(&crates, &world, SERIAL)).await.unwrap_err();
    assert!(matches!(again, ServiceError::Conflict(_)), "{again:?}");
    let for_bolt = NewClaim { customer: bolt, ..claim_by(&boxes, &world, "OTHER123") };
    gone(services.claims.register_device(&boxes, for_bolt).await.unwrap_err());
    let as_another = claim_by(&crates, &world, "OTHER123");
    let as_another = services.claims.register_device(&boxes, as_another).await.unwrap_err();
    assert!(matches!(as_another, ServiceError::Invalid { field: "reseller", .. }), "{as_another:?}");
    let protected = NewClaim { protected: true, ..claim_by(&boxes, &world, "OTHER123") };
    let protected = services.claims.register_device(&boxes, protected).await.unwrap_err();
    assert!(matches!(protected, ServiceError::Invalid { field: "protected", .. }), "{protected:?}");

    gone(services.tenancy.company(&boxes, bolt).await.unwrap_err());
    forbidden(services.tenancy.rename_company(&boxes, world.customer, "Mine").await.unwrap_err());
    gone(services.tenancy.set_terms(&boxes, world.customer, Terms::Accepted).await.unwrap_err());
    gone(services.tenancy.set_works_for(&boxes, own_id(&boxes), world.customer, false).await.unwrap_err());
    gone(services.tenancy.set_works_for(&boxes, own_id(&boxes), bolt, true).await.unwrap_err());
    forbidden(
        services
            .tenancy
            .create_company(&boxes, NewCompany::new(CompanyKind::Reseller, "X"))
            .await
            .unwrap_err(),
    );
    gone(services.catalogue.configuration(&boxes, world.configuration).await.unwrap_err());
    gone(services.catalogue.set_default_configuration(&boxes, world.customer, None).await.unwrap_err());
    assert_eq!(world.db.snapshot().await, before);

    let page = PageRequest::default;
    assert!(
        services
            .devices
            .list_devices(&boxes, DeviceFilter::default(), page())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(services.devices.list_tokens(&boxes, None, page()).await.unwrap().items.is_empty());
    let audit = services.tenancy.list_audit(&boxes, AuditFilter::default(), page()).await.unwrap().items;
    let own = Some(own_id(&boxes));
    assert!(audit.iter().all(|entry| entry.company == own || entry.customer == own), "{audit:?}");
    let seen = services.tenancy.list_companies(&boxes, CompanyFilter::default(), page()).await.unwrap().items;
    let mut seen: Vec<CompanyId> = seen.iter().map(|company| company.id).collect();
    seen.sort();
    let mut expected = [world.customer, own_id(&boxes)];
    expected.sort();
    assert_eq!(seen, expected);
}

async fn a_customer_that_a_reseller_created_gets_nothing_before_it_accepts_the_terms(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let boxes = reseller(&world, "Boxes").await;
    let new = NewCompany::new(CompanyKind::Customer, "Cog");
    let cog = services.tenancy.create_company(&boxes, new).await.unwrap();
    assert_eq!(cog.terms, Terms::NotAccepted);
    let customer = Actor::of_customer("cog's admin", cog.id);
    let configuration = services
        .catalogue
        .create_configuration(&customer, cog.id, "Kiosk", crate::support::MINIMAL_DOCUMENT)
        .await
        .unwrap();
    services.catalogue.set_default_configuration(&customer, cog.id, Some(configuration.id)).await.unwrap();
    let new = NewClaim { customer: cog.id, ..claim_by(&boxes, &world, SERIAL) };
    services.claims.register_device(&boxes, new).await.unwrap();
    let device = TestDevice::new(SERIAL);
    let before = world.db.snapshot().await;
    refusal(device.enroll(services).await, RefusalKind::TermsNotAccepted);
    assert_eq!(world.db.snapshot().await, before);
    services.tenancy.set_terms(&customer, cog.id, Terms::Accepted).await.unwrap();
    device.enroll(services).await.unwrap();
    // New terms are to be read, and stop no device.
    services.tenancy.set_terms(&world.by, cog.id, Terms::Stale).await.unwrap();
    device.enroll(services).await.unwrap();
}

async fn a_claim_on_vacation_enrolls_nothing_and_comes_back_by_itself(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let boxes = reseller(&world, "Boxes").await;
    let claim = services.claims.register_device(&boxes, claim_by(&boxes, &world, SERIAL)).await.unwrap();
    let end = START.plus(Duration::from_hours(24));
    services.claims.set_vacation(&boxes, claim.id, Some(end)).await.unwrap();
    let device = TestDevice::new(SERIAL);
    let before = world.db.snapshot().await;
    let on_vacation = refusal(device.enroll(services).await, RefusalKind::NotClaimed);
    let unknown = refusal(TestDevice::new("NOBODYS1").enroll(services).await, RefusalKind::NotClaimed);
    assert_eq!(on_vacation, unknown);
    let bolt = world.other_customer("Bolt").await;
    let taken = new_claim(bolt, SERIAL, ProofKind::Identifiers);
    assert!(matches!(services.claims.create_claim(&world.by, taken).await, Err(ServiceError::Conflict(_))));
    for wrong in [START, START.plus(Duration::from_hours(24 * 366 * 6))] {
        let refused = services.claims.set_vacation(&boxes, claim.id, Some(wrong)).await.unwrap_err();
        assert!(matches!(refused, ServiceError::Invalid { .. }), "{refused:?}");
    }
    assert_eq!(services.claims.claim(&boxes, claim.id).await.unwrap().claim.vacation.unwrap().ends_at, end);
    assert_ne!(world.db.snapshot().await, before, "Bolt was created");
    world.clock.advance(Duration::from_hours(24));
    device.enroll(services).await.unwrap();
}

async fn a_device_is_meant_by_id_or_by_identifiers_that_only_it_has(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let boxes = reseller(&world, "Boxes").await;
    let claim = services.claims.register_device(&boxes, claim_by(&boxes, &world, SERIAL)).await.unwrap();
    let meant = async |identifiers| {
        services.claims.resolve_claim_target(&boxes, &ClaimTarget::Identifiers(identifiers)).await
    };
    assert_eq!(meant(serial("pf0abcde")).await.unwrap(), claim.id);
    let mut other_model = serial(SERIAL);
    other_model.push(Identifier::parse(IdentifierKind::Model, "Another").unwrap());
    assert!(matches!(meant(other_model).await, Err(ServiceError::NotFound { .. })));
    let maker = vec![Identifier::parse(IdentifierKind::Manufacturer, "Lenovo").unwrap()];
    assert!(matches!(meant(maker).await, Err(ServiceError::Invalid { .. })));
    services.claims.unclaim(&boxes, claim.id).await.unwrap();
    assert!(matches!(meant(serial(SERIAL)).await, Err(ServiceError::NotFound { .. })));
}

async fn metadata_is_changed_whole_or_not_at_all(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let boxes = reseller(&world, "Boxes").await;
    let claim = services.claims.register_device(&boxes, claim_by(&boxes, &world, SERIAL)).await.unwrap();
    let change = async |entries: &[(&str, &str)]| {
        services.claims.update_metadata(&boxes, claim.id, metadata(entries)).await
    };
    change(&[("ordernumber", "A1"), ("phonenumber", "+41")]).await.unwrap();
    let before = world.db.snapshot().await;
    let refused = change(&[("ordernumber", "A2"), ("bad key", "x")]).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Invalid { field: "device_metadata", .. }), "{refused:?}");
    assert_eq!(world.db.snapshot().await, before);
    let changed = change(&[("ordernumber", "A2"), ("phonenumber", "")]).await.unwrap();
    assert_eq!(changed.metadata.entries(), &metadata(&[("ordernumber", "A2")]));
    assert_eq!(services.claims.claim(&boxes, claim.id).await.unwrap().claim.metadata, changed.metadata);
}

async fn a_former_reseller_has_no_power_over_its_former_customers_claims(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let boxes = reseller(&world, "Boxes").await;
    let claim = services.claims.register_device(&boxes, claim_by(&boxes, &world, SERIAL)).await.unwrap();
    let device = TestDevice::new(SERIAL);
    let grant = device.enroll(services).await.unwrap();
    let managed = report(grant.generation, &[1], Some(Outcome::Managed { version: 1 }));
    services.devices.report(certificate(&grant), managed).await.unwrap();
    let own = Actor::of_customer("acme's owner", world.customer);
    services.tenancy.set_works_for(&own, own_id(&boxes), world.customer, false).await.unwrap();
    let before = world.db.snapshot().await;
    let gone = |error: ServiceError| assert!(matches!(error, ServiceError::NotFound { .. }), "{error:?}");

    gone(services.claims.claim(&boxes, claim.id).await.unwrap_err());
    gone(services.claims.claim_in_force(&boxes, claim.id).await.unwrap_err());
    gone(
        services
            .claims
            .resolve_claim_target(&boxes, &ClaimTarget::Identifiers(serial(SERIAL)))
            .await
            .unwrap_err(),
    );
    gone(services.claims.unclaim(&boxes, claim.id).await.unwrap_err());
    let later = Some(START.plus(Duration::from_hours(24)));
    for until in [None, later] {
        gone(services.claims.set_vacation(&boxes, claim.id, until).await.unwrap_err());
    }
    gone(services.claims.update_metadata(&boxes, claim.id, metadata(&[("a", "b")])).await.unwrap_err());
    gone(services.claims.set_claim_configuration(&boxes, claim.id, None).await.unwrap_err());
    gone(services.claims.set_claim_proof(&boxes, claim.id, ProofKind::Token).await.unwrap_err());
    gone(services.claims.register_device(&boxes, claim_by(&boxes, &world, SERIAL)).await.unwrap_err());
    gone(services.claims.register_device(&boxes, claim_by(&boxes, &world, "OTHER123")).await.unwrap_err());
    assert!(services.claims.claims_by_identifiers(&boxes, &serial(SERIAL)).await.unwrap().is_empty());
    for customers in [&[][..], &[world.customer]] {
        let found = services.claims.claims_of_reseller(&boxes, customers, None, 10).await.unwrap();
        assert_eq!((found.claims.len(), found.total), (0, 0));
    }
    let listed =
        services.claims.list_claims(&boxes, ClaimFilter::default(), PageRequest::default()).await.unwrap();
    assert!(listed.items.is_empty());
    let mut export = services.claims.export_claims(&boxes, ClaimsForm::Reseller, ClaimFilter::default());
    assert!(export.next_rows().await.unwrap().is_none());
    assert_eq!(world.db.snapshot().await, before);

    // For a customer of its own it is refused like everybody else.
    let cog =
        services.tenancy.create_company(&boxes, NewCompany::new(CompanyKind::Customer, "Cog")).await.unwrap();
    let new = NewClaim { customer: cog.id, ..claim_by(&boxes, &world, SERIAL) };
    let taken = services.claims.register_device(&boxes, new).await.unwrap_err();
    assert!(matches!(taken, ServiceError::Conflict(_)), "{taken:?}");

    // The claim is the customer's, to keep or to release.
    assert_eq!(services.claims.claim(&own, claim.id).await.unwrap().claim.released_at, None);
    services.claims.unclaim(&own, claim.id).await.unwrap();
}

async fn a_reseller_that_is_let_in_again_has_what_it_registered(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let boxes = reseller(&world, "Boxes").await;
    let mut ids = Vec::new();
    for name in ["PF0ABCDE", "PF0ABCDF", "PF0ABCDG"] {
        ids.push(services.claims.register_device(&boxes, claim_by(&boxes, &world, name)).await.unwrap().id);
    }
    let works = async |works| {
        services.tenancy.set_works_for(&world.by, own_id(&boxes), world.customer, works).await.unwrap();
    };
    works(false).await;
    let behind = services.claims.claims_of_reseller(&boxes, &[], Some(ids[0]), 10).await.unwrap();
    assert_eq!((behind.claims.len(), behind.total), (0, 0), "a list that was begun ends");
    works(true).await;
    let all = services.claims.claims_of_reseller(&boxes, &[], Some(ids[0]), 10).await.unwrap();
    assert_eq!(all.claims.iter().map(|claim| claim.id).collect::<Vec<_>>(), ids[1..]);
    assert_eq!(all.total, 3);
}

async fn a_device_whose_claim_ends_while_it_is_claimed_again_is_claimed(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, other) = (&world.services.claims, world.another_server(2).claims);
    let boxes = reseller(&world, "Boxes").await;
    let mut claim = services.register_device(&boxes, claim_by(&boxes, &world, SERIAL)).await.unwrap().id;
    for round in 0..60 {
        let again = claim_by(&boxes, &world, SERIAL);
        let (ended, claimed) =
            tokio::join!(services.unclaim(&boxes, claim), other.register_device(&boxes, again));
        ended.unwrap();
        // The old claim, which ended only afterwards, or a new one.
        let made = claimed.unwrap_or_else(|error| panic!("round {round}: {error}"));
        claim = if made.id == claim {
            services.register_device(&boxes, claim_by(&boxes, &world, SERIAL)).await.unwrap().id
        } else {
            made.id
        };
    }
}

async fn temporary_releases_end_with_the_link(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let (boxes, crates) = (reseller(&world, "Boxes").await, reseller(&world, "Crates").await);
    let until = Some(START.plus(Duration::from_hours(24 * 365)));
    let mut ids = Vec::new();
    for (by, name) in [(&boxes, SERIAL), (&crates, "PF0ABCDF")] {
        let claim = services.claims.register_device(by, claim_by(by, &world, name)).await.unwrap();
        ids.push(services.claims.set_vacation(by, claim.id, until).await.unwrap().id);
    }
    services.tenancy.set_works_for(&world.by, own_id(&boxes), world.customer, false).await.unwrap();
    let vacation = async |id| services.claims.claim(&world.by, id).await.unwrap().claim.vacation;
    assert_eq!(vacation(ids[0]).await, None);
    assert!(vacation(ids[1]).await.is_some(), "another reseller's");
    TestDevice::new(SERIAL).enroll(services).await.unwrap();
    let filter = AuditFilter { action: Some(Action::CompanyUnlinked), ..AuditFilter::default() };
    let noted = services.tenancy.list_audit(&world.by, filter, PageRequest::default()).await.unwrap().items;
    assert_eq!(noted[0].detail["temporary_releases_ended"], 1);
}

async fn the_vendors_of_a_reseller_go_with_it(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let boxes = reseller(&world, "Boxes").await;
    let bits = NewCompany { parent: Some(own_id(&boxes)), ..NewCompany::new(CompanyKind::Vendor, "Bits") };
    let bits = services.tenancy.create_company(&world.by, bits).await.unwrap().id;
    let vendor = Actor::of_reseller("Bits", bits);
    let works = async |company, works| {
        services.tenancy.set_works_for(&world.by, company, world.customer, works).await
    };
    works(bits, true).await.unwrap();
    let claim = services.claims.register_device(&vendor, claim_by(&vendor, &world, SERIAL)).await.unwrap();

    works(own_id(&boxes), false).await.unwrap();
    for by in [&boxes, &vendor] {
        let seen = services.tenancy.company(by, world.customer).await;
        assert!(matches!(seen, Err(ServiceError::NotFound { .. })), "{seen:?}");
        let ended = services.claims.unclaim(by, claim.id).await;
        assert!(matches!(ended, Err(ServiceError::NotFound { .. })), "{ended:?}");
    }
    let filter = AuditFilter { action: Some(Action::CompanyUnlinked), ..AuditFilter::default() };
    let noted = services.tenancy.list_audit(&world.by, filter, PageRequest::default()).await.unwrap().items;
    let subjects: Vec<Subject> = noted.into_iter().map(|entry| entry.subject).collect();
    assert_eq!(subjects, [Subject::Company(bits), Subject::Company(own_id(&boxes))]);

    // A vendor that goes takes nobody with it.
    works(own_id(&boxes), true).await.unwrap();
    works(bits, true).await.unwrap();
    works(bits, false).await.unwrap();
    assert!(services.tenancy.company(&boxes, world.customer).await.is_ok());
}

battery!(
    a_former_reseller_has_no_power_over_its_former_customers_claims,
    a_reseller_that_is_let_in_again_has_what_it_registered,
    a_device_whose_claim_ends_while_it_is_claimed_again_is_claimed,
    temporary_releases_end_with_the_link,
    the_vendors_of_a_reseller_go_with_it,
    a_claim_that_is_made_again_is_the_same_claim,
    a_device_that_many_claim_at_once_belongs_to_one,
    a_reseller_neither_sees_nor_changes_what_is_not_its_own,
    a_customer_that_a_reseller_created_gets_nothing_before_it_accepts_the_terms,
    a_claim_on_vacation_enrolls_nothing_and_comes_back_by_itself,
    a_device_is_meant_by_id_or_by_identifiers_that_only_it_has,
    metadata_is_changed_whole_or_not_at_all,
);
