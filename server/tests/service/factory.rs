//! What becomes of records that stations made: who sees them, and what goes with them.

use crate::support::{START, TestDatabase, TestDevice, World, beside, certificate, new_claim, report};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;
use unbox_common::{
    digest::Sha256,
    identity::{HardwareIdentity, Identifier, IdentifierKind, Source},
    ids::{ClaimId, FactoryRecordId},
    matching::IdentifierSet,
    protocol::latest::{Outcome, ProofKind},
    refusal::RefusalKind,
};
use unbox_server::{
    domain::{
        claims::claim::lookup_texts,
        factory::record::FactoryRecord,
        tenancy::{
            actor::Actor,
            audit::{Action, Subject},
            company::CompanyKind,
        },
    },
    service::{NewClaim, NewCompany, Registered, Registration, ServiceError},
    store::{AuditFilter, FactoryFilter, PageRequest, StoreError, Tx},
};

const SERIAL: &str = "PF0ABCDE";

/// What a station reads of a device whose key was made there.
fn shown(device: &TestDevice) -> HardwareIdentity {
    let key = device.key().digest().to_string();
    HardwareIdentity::from_raw(&device.hello().identity)
        .unwrap()
        .with_identifier(Identifier::parse(IdentifierKind::DeviceKey, &key).unwrap(), Source::Key)
        .unwrap()
}

/// Somebody of Acme's factory.
fn station(world: &World) -> Actor {
    Actor::of_customer("bench 4", world.customer)
}

async fn register(world: &World, device: &TestDevice) -> Registered {
    let became =
        world.services.factory.register_factory_devices(&station(world), vec![shown(device)]).await.unwrap();
    match became.into_iter().next().unwrap() {
        Registration::New(known) | Registration::Updated(known) | Registration::Already(known) => known,
        Registration::Refused(problem) => panic!("{problem}"),
    }
}

async fn records(world: &World, by: &Actor, filter: FactoryFilter) -> Vec<FactoryRecord> {
    world.services.factory.list_factory_records(by, filter, PageRequest::default()).await.unwrap().items
}

async fn keys_of(world: &World, claim: ClaimId) -> Vec<Sha256> {
    world.services.claims.claim(&world.by, claim).await.unwrap().claim.sets.registered_keys().collect()
}

async fn done(world: &World, action: Action) -> Vec<Subject> {
    let filter = AuditFilter { action: Some(action), ..AuditFilter::default() };
    let page = world.services.tenancy.list_audit(&world.by, filter, PageRequest::default()).await.unwrap();
    page.items.into_iter().map(|entry| entry.subject).collect()
}

async fn a_claim_loses_the_key_with_the_record_that_it_is_from(db: TestDatabase) {
    let world = World::new(db).await;
    world.services.tenancy.set_factory_keys(&world.by, world.customer, true).await.unwrap();
    let (scrapped, repaired) = (TestDevice::new(SERIAL), TestDevice::new(SERIAL));
    let claimed_later = register(&world, &scrapped).await;
    assert_eq!(claimed_later.claim, None);
    let claim = world.claim(SERIAL, ProofKind::RegisteredKey).await.id;
    let record = world.services.factory.factory_record(&world.by, claimed_later.record).await.unwrap();
    assert_eq!((record.claim, record.key()), (Some(claim), Some(scrapped.key().digest())));
    assert_eq!(keys_of(&world, claim).await, [scrapped.key().digest()]);

    assert_eq!(
        world.services.factory.delete_factory_record(&station(&world), record.id).await.unwrap(),
        Some(claim)
    );
    assert_eq!(keys_of(&world, claim).await, []);
    let refused = scrapped.enroll(&world.services).await.unwrap_err();
    crate::support::refusal::<()>(Err(refused), RefusalKind::ProofRequired);
    let gone = world.services.factory.factory_record(&world.by, record.id).await;
    assert!(matches!(gone, Err(ServiceError::NotFound { .. })));
    assert_eq!(done(&world, Action::FactoryRecordDeleted).await, [Subject::Company(world.customer)]);
    assert_eq!(done(&world, Action::ClaimKeyWithdrawn).await, [Subject::Claim(claim)]);

    let again = register(&world, &repaired).await;
    assert_eq!(again.claim, Some(claim), "a repaired unit has a new key");
    assert!(repaired.enroll(&world.services).await.is_ok());
    let again = world.services.factory.factory_record(&world.by, again.record).await.unwrap();
    assert_eq!(again.claim, Some(claim));
}

async fn a_record_stays_while_a_device_uses_its_key(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    for (serial, given_up_by_claim) in [("PF0ABCDE", false), ("PF0ABCDF", true)] {
        let mut device = TestDevice::new(serial);
        device.replace(IdentifierKind::MacAddress, &format!("00:16:3e:00:00:{:02x}", serial.as_bytes()[7]));
        device.replace(IdentifierKind::BoardSerial, &format!("BOARD{serial}"));
        let record = register(&world, &device).await.record;
        let claim = world.claim(serial, ProofKind::RegisteredKey).await.id;
        let grant = device.enroll(services).await.unwrap();
        let before = world.db.snapshot().await;
        match services.factory.delete_factory_record(by, record).await {
            Err(ServiceError::Conflict(says)) => {
                assert!(says.starts_with(&format!("The device of claim {claim} enrolled with")), "{says}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(world.db.snapshot().await, before);
        let lost = if given_up_by_claim {
            services.claims.unclaim(by, claim).await.unwrap();
            None
        } else {
            services.devices.deprovision_device(by, grant.device_id).await.unwrap();
            Some(claim)
        };
        assert_eq!(services.factory.delete_factory_record(by, record).await.unwrap(), lost);
        assert!(device.enroll(services).await.is_err());
    }
}

async fn a_key_that_a_claim_named_itself_is_its_own(db: TestDatabase) {
    let world = World::new(db).await;
    let device = TestDevice::new(SERIAL);
    let key = shown(&device).of_kind(IdentifierKind::DeviceKey).cloned().collect::<Vec<_>>();
    let mut new = new_claim(world.customer, SERIAL, ProofKind::RegisteredKey);
    new.sets.push(IdentifierSet::new(key).unwrap());
    let claim = world.services.claims.create_claim(&world.by, new).await.unwrap().id;
    let known = register(&world, &device).await;
    assert_eq!(known.claim, Some(claim));
    assert_eq!(world.services.factory.delete_factory_record(&world.by, known.record).await.unwrap(), None);
    assert_eq!(keys_of(&world, claim).await, [device.key().digest()]);
    assert!(device.enroll(&world.services).await.is_ok());
}

async fn records_are_their_own_organisations_alone(db: TestDatabase) {
    let world = World::new(db).await;
    let new = NewCompany::new(CompanyKind::Reseller, "Boxes");
    let boxes = world.services.tenancy.create_company(&world.by, new).await.unwrap().id;
    let mut devices = Vec::new();
    for number in 0..3 {
        let mut device = TestDevice::new(&format!("SERIAL{number}"));
        device.replace(IdentifierKind::MacAddress, &format!("00:16:3e:00:00:1{number}"));
        device.replace(IdentifierKind::BoardSerial, &format!("BOARD{number}"));
        devices.push(register(&world, &device).await.record);
    }
    let (own, stranger) = (station(&world), Actor::of_reseller("Boxes", boxes));
    let ids = |records: Vec<FactoryRecord>| records.into_iter().map(|one| one.id).collect::<Vec<_>>();
    let of = |company| FactoryFilter { company: Some(company), identifiers: None };
    let with = |value: &str| FactoryFilter { identifiers: Some(lookup_texts(value)), company: None };
    for (by, filter, expected) in [
        (&own, FactoryFilter::default(), &devices[..]),
        (&own, of(world.customer), &devices[..]),
        (&own, of(boxes), &[]),
        (&own, with("serial1"), &devices[1..2]),
        (&own, with("00-16-3E-00-00-12"), &devices[2..]),
        (&own, with("Lenovo"), &[]),
        (&own, with("no such thing \u{1b}"), &[]),
        (&world.by, of(world.customer), &devices[..]),
        (&world.by, with("BOARD0"), &devices[..1]),
        (&stranger, FactoryFilter::default(), &[]),
        (&stranger, of(world.customer), &[]),
        (&stranger, with("SERIAL1"), &[]),
    ] {
        assert_eq!(ids(records(&world, by, filter.clone()).await), expected, "{filter:?}");
    }
    let mut request = PageRequest { size: Some(2), after: None };
    let page =
        world.services.factory.list_factory_records(&own, FactoryFilter::default(), request.clone()).await;
    let page = page.unwrap();
    assert_eq!(ids(page.items), devices[..2]);
    request.after = page.next;
    let rest =
        world.services.factory.list_factory_records(&own, FactoryFilter::default(), request).await.unwrap();
    assert_eq!((ids(rest.items), rest.next), (devices[2..].to_vec(), None));

    let before = world.db.snapshot().await;
    for record in [devices[0], FactoryRecordId::new(1).unwrap()] {
        let shown = world.services.factory.factory_record(&stranger, record).await;
        assert!(matches!(shown, Err(ServiceError::NotFound { .. })), "{shown:?}");
        let deleted = world.services.factory.delete_factory_record(&stranger, record).await;
        assert!(matches!(deleted, Err(ServiceError::NotFound { .. })), "{deleted:?}");
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn an_organisation_stays_with_its_records_and_goes_without_them(db: TestDatabase) {
    let world = World::new(db).await;
    let new = NewCompany::new(CompanyKind::Reseller, "Boxes");
    let boxes = world.services.tenancy.create_company(&world.by, new).await.unwrap().id;
    let by = Actor::of_reseller("bench 4", boxes);
    let became = world
        .services
        .factory
        .register_factory_devices(&by, vec![shown(&TestDevice::new(SERIAL))])
        .await
        .unwrap();
    let Registration::New(known) = became[0] else { panic!("{became:?}") };
    let before = world.db.snapshot().await;
    match world.services.tenancy.delete_company(&world.by, boxes).await {
        Err(ServiceError::Conflict(says)) => {
            assert!(says.contains("Boxes still has factory records."), "{says}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.db.snapshot().await, before);
    world.services.factory.delete_factory_record(&by, known.record).await.unwrap();
    world.services.tenancy.delete_company(&world.by, boxes).await.unwrap();
}

async fn a_claim_that_ends_beside_a_registration_spoils_no_other_device(db: TestDatabase) {
    let world = World::new(db).await;
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await;
    let mut other = TestDevice::new("PF0ABCDF");
    other.replace(IdentifierKind::MacAddress, "00:16:3e:00:00:02");
    other.replace(IdentifierKind::BoardSerial, "L1HF124");
    let (ended, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let ending = {
        let (store, ended, go_on) = (world.db.store.clone(), ended.clone(), go_on.clone());
        let runtime = tokio::runtime::Handle::current();
        let end = async move {
            let end = store.write(move |tx: &mut Tx| {
                tx.lock_claim(claim.id)?;
                tx.release_claim(&claim, START)?;
                ended.notify_one();
                runtime.block_on(go_on.notified());
                Ok::<_, StoreError>(())
            });
            end.await
        };
        tokio::spawn(end)
    };
    ended.notified().await;
    let devices = vec![shown(&TestDevice::new(SERIAL)), shown(&other)];
    let (services, by) = (world.services.clone(), station(&world));
    let registering =
        tokio::spawn(async move { services.factory.register_factory_devices(&by, devices).await });
    somebody_waits(&world.db).await;
    go_on.notify_one();
    ending.await.unwrap().unwrap();
    let became = registering.await.unwrap().unwrap();
    let without_claim = |one: &Registration| matches!(one, Registration::New(known) if known.claim.is_none());
    assert!(became.iter().all(without_claim), "{became:?}");
    assert_eq!(records(&world, &world.by, FactoryFilter::default()).await.len(), 2);
}

/// Until a write waits for the one before it.
async fn somebody_waits(db: &TestDatabase) {
    const LOCKED: &str = "SELECT COUNT(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = async {
        while db.store.waiting_writes() == 0 {
            if db.url.starts_with("postgres") && beside(&db.url, |database| database.run(LOCKED)) != "0" {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), waiting).await.unwrap();
}

async fn a_record_that_is_deleted_beside_a_claim_leaves_it_no_key(db: TestDatabase) {
    let world = World::new(db).await;
    for round in 0..10_u8 {
        let serial = format!("SERIAL{round}");
        let mut device = TestDevice::new(&serial);
        device.replace(IdentifierKind::MacAddress, &format!("00:16:3e:00:01:{round:02x}"));
        device.replace(IdentifierKind::BoardSerial, &format!("BOARD{round}"));
        let record = register(&world, &device).await.record;
        let other = world.another_server(u64::from(round) + 2);
        let new = new_claim(world.customer, &serial, ProofKind::Identifiers);
        let (deleted, claimed) = tokio::join!(
            world.services.factory.delete_factory_record(&world.by, record),
            other.claims.create_claim(&world.by, NewClaim { ..new })
        );
        let (lost, claim) = (deleted.unwrap(), claimed.unwrap().id);
        assert!(lost.is_none_or(|lost| lost == claim));
        assert_eq!(keys_of(&world, claim).await, [], "round {round}");
    }
    assert!(records(&world, &world.by, FactoryFilter::default()).await.is_empty());
}

async fn a_record_that_is_deleted_beside_a_registration_is_there_whole_or_not_at_all(db: TestDatabase) {
    let world = World::new(db).await;
    world.services.tenancy.set_factory_keys(&world.by, world.customer, true).await.unwrap();
    let device = TestDevice::new(SERIAL);
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await.id;
    for round in 0..10 {
        let record = register(&world, &device).await.record;
        let (other, by) = (world.another_server(round + 2), station(&world));
        let (deleted, registered) = tokio::join!(
            world.services.factory.delete_factory_record(&world.by, record),
            other.factory.register_factory_devices(&by, vec![shown(&device)])
        );
        assert_eq!(deleted.unwrap(), Some(claim));
        assert!(!matches!(registered.unwrap()[0], Registration::Refused(_)));
        let left = records(&world, &world.by, FactoryFilter::default()).await;
        let expected = if left.is_empty() { Vec::new() } else { vec![device.key().digest()] };
        assert_eq!(keys_of(&world, claim).await, expected, "round {round}");
        assert!(left.iter().all(|one| one.claim == Some(claim)) && left.len() < 2);
    }
}

async fn a_station_binds_a_key_to_a_claim_only_where_its_owner_allows_it(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await.id;
    let device = TestDevice::new(SERIAL);
    let known = register(&world, &device).await;
    assert_eq!(known.claim, None);
    assert!(known.withheld.unwrap().contains("Ask an owner of the customer"), "{known:?}");
    assert_eq!(keys_of(&world, claim).await, []);
    assert_eq!(done(&world, Action::ClaimKeyRegistered).await, []);
    let record = services.factory.factory_record(&world.by, known.record).await.unwrap();
    assert_eq!(record.claim, None);

    let owner = Actor::of_customer("acme's owner", world.customer);
    services.tenancy.set_factory_keys(&owner, world.customer, true).await.unwrap();
    assert_eq!(done(&world, Action::CompanyUpdated).await, [Subject::Company(world.customer)]);
    let known = register(&world, &device).await;
    assert_eq!((known.claim, known.withheld), (Some(claim), None));
    assert_eq!(keys_of(&world, claim).await, [device.key().digest()]);
    assert_eq!(services.factory.factory_record(&world.by, known.record).await.unwrap().claim, Some(claim));
}

async fn a_station_binds_no_key_to_a_claim_whose_device_has_enrolled(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    services.tenancy.set_factory_keys(&world.by, world.customer, true).await.unwrap();
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await.id;
    let device = TestDevice::new(SERIAL);
    let grant = device.enroll(services).await.unwrap();
    let thief = device.wiped();
    for managed in [false, true] {
        if managed {
            let outcome = Some(Outcome::Managed { version: 1 });
            services
                .devices
                .report(certificate(&grant), report(grant.generation, &[1], outcome))
                .await
                .unwrap();
        }
        let known = register(&world, &thief).await;
        assert_eq!(known.claim, None);
        assert!(known.withheld.unwrap().starts_with("A device has enrolled"), "{known:?}");
        assert_eq!(keys_of(&world, claim).await, []);
    }
    assert!(device.enroll(services).await.is_ok());
}

async fn nobody_else_lets_factories_register_keys(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let boxes = NewCompany::new(CompanyKind::Reseller, "Boxes");
    let boxes = services.tenancy.create_company(&world.by, boxes).await.unwrap().id;
    services.tenancy.set_works_for(&world.by, boxes, world.customer, true).await.unwrap();
    let emm =
        services.tenancy.create_company(&world.by, NewCompany::new(CompanyKind::Emm, "Fleet")).await.unwrap();
    let before = world.db.snapshot().await;
    for stranger in [
        Actor::of_reseller("Boxes", boxes),
        Actor::of_customer("Fleet", world.customer).with_company(Some(emm.id)),
        Actor::of_customer("Bolt", boxes),
    ] {
        let refused = services.tenancy.set_factory_keys(&stranger, world.customer, true).await;
        let no = matches!(
            refused,
            Err(ServiceError::OperatorOnly | ServiceError::NotYours(_) | ServiceError::NotFound { .. })
        );
        assert!(no, "{refused:?}");
    }
    let refused = services.tenancy.set_factory_keys(&world.by, boxes, true).await;
    assert!(matches!(refused, Err(ServiceError::Invalid { field: "factory_keys", .. })), "{refused:?}");
    assert_eq!(world.db.snapshot().await, before);
}

battery!(
    a_station_binds_a_key_to_a_claim_only_where_its_owner_allows_it,
    a_station_binds_no_key_to_a_claim_whose_device_has_enrolled,
    nobody_else_lets_factories_register_keys,
    a_claim_loses_the_key_with_the_record_that_it_is_from,
    a_record_stays_while_a_device_uses_its_key,
    a_key_that_a_claim_named_itself_is_its_own,
    records_are_their_own_organisations_alone,
    an_organisation_stays_with_its_records_and_goes_without_them,
    a_claim_that_ends_beside_a_registration_spoils_no_other_device,
    a_record_that_is_deleted_beside_a_claim_leaves_it_no_key,
    a_record_that_is_deleted_beside_a_registration_is_there_whole_or_not_at_all,
);
