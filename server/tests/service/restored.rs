//! A database that was put back from a backup knows less than the devices do, and they all come back.

use crate::support::{
    MINIMAL_DOCUMENT, START, TestDatabase, TestDevice, World, certificate, check_in, refusal, report,
};
use serde_json::json;
use std::time::Duration;
use unbox_common::{
    ids::Generation,
    payload::Payload,
    protocol::latest::{Grant, Installed, Outcome, PriorEnrollment, ProofKind},
    refusal::RefusalKind,
    timestamp::Timestamp,
};
use unbox_server::{
    clock::Clock as _,
    domain::{devices::device::DeviceState, tenancy::company::CompanyKind},
    service::{CertifiedEnrollment, ConfigurationChange, NewCompany, Signer as _},
};

const SERIAL: &str = "PF0ABCDE";
/// The activation window of every claim is over by then.
const LATE: Duration = Duration::from_hours(24 * 200);

/// A device that enrolled so often with a server that was lost since.
async fn veteran(times: u64) -> (TestDevice, Grant) {
    let lost = World::new(TestDatabase::sqlite().await).await;
    lost.claim(SERIAL, ProofKind::Identifiers).await;
    let mut device = TestDevice::new(SERIAL);
    lost.clock.advance(Duration::from_secs(5));
    let mut newest = None;
    for _ in 0..times {
        newest = Some(device.enroll(&lost.services).await.unwrap());
    }
    let grant = newest.unwrap();
    device.remember(&grant);
    (device, grant)
}

fn payload(world: &World, grant: &Grant) -> Payload {
    grant.payload.verify(&world.signer.trusted()).unwrap().into_inner()
}

async fn a_device_that_is_not_in_the_backup_goes_on_as_itself(db: TestDatabase) {
    let (device, before) = veteran(3).await;
    let world = World::new(db).await;
    world.claim("PF0ZZZZZ", ProofKind::Identifiers).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    world.clock.advance(LATE);
    let grant = device.enroll(&world.services).await.unwrap();
    assert_eq!((grant.device_id, grant.generation), (before.device_id, Generation(4)));
    let view = world.services.devices.device(&world.by, grant.device_id).await.unwrap();
    assert_eq!(view.history[0].detail["why"], json!("certified"));

    let done = Some(Outcome::Managed { version: payload(&world, &grant).version });
    world.services.devices.report(certificate(&grant), report(Generation(4), &[1], done)).await.unwrap();
    let again = device.enroll(&world.services).await.unwrap();
    assert_eq!((again.device_id, again.generation), (before.device_id, Generation(5)));
}

async fn a_device_of_which_the_backup_is_older_goes_on_above_what_it_reached(db: TestDatabase) {
    let (device, before) = veteran(3).await;
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    world.clock.advance(Duration::from_secs(5));
    let fresh = device.showing(None);
    let known = fresh.enroll(&world.services).await.unwrap();
    assert_eq!((known.device_id, known.generation), (before.device_id, Generation(1)));

    let reached = payload(&world, &known).version + 1_000_000_000;
    let certificate = before.certificate_chain[0].clone();
    let enrollment = Some(PriorEnrollment { certificate, payload_version: Some(reached) });
    let device = fresh.showing(enrollment);
    let grant = device.enroll(&world.services).await.unwrap();
    assert_eq!((grant.device_id, grant.generation), (before.device_id, Generation(4)));
    assert!(payload(&world, &grant).version > reached, "the device would refuse an older one");
}

async fn strangers_who_asked_in_between_take_nothing_from_the_device(db: TestDatabase) {
    let (device, before) = veteran(1).await;
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    world.clock.advance(LATE);
    let stranger = device.wiped();
    refusal(stranger.enroll(&world.services).await, RefusalKind::PendingApproval);
    assert_eq!(world.services.devices.list_requests(&world.by).await.unwrap().len(), 1);

    let grant = device.enroll(&world.services).await.unwrap();
    assert_eq!((grant.device_id, grant.generation), (before.device_id, Generation(2)));
    let again = stranger.enroll(&world.services).await;
    refusal(again, RefusalKind::PendingApproval);
    assert_eq!(world.services.devices.list_requests(&world.by).await.unwrap()[0].device, grant.device_id);
}

async fn a_certificate_counts_only_for_its_key_its_owner_and_its_server(db: TestDatabase) {
    let (device, before) = veteran(2).await;
    let world = World::new(db).await;
    let other = NewCompany::new(CompanyKind::Customer, "Other");
    let other = world.services.tenancy.create_company(&world.by, other).await.unwrap().id;
    let configuration = world
        .services
        .catalogue
        .create_configuration(&world.by, other, "Theirs", MINIMAL_DOCUMENT)
        .await
        .unwrap();
    world
        .services
        .catalogue
        .set_default_configuration(&world.by, other, Some(configuration.id))
        .await
        .unwrap();
    world.claim_for(other, SERIAL, ProofKind::Identifiers).await.unwrap();
    world.clock.advance(LATE);
    let before_all = world.db.snapshot().await["devices"].clone();

    let thief = device.wiped().showing(device.enrollment.clone());
    refusal(thief.enroll(&world.services).await, RefusalKind::PendingApproval);
    refusal(device.enroll(&world.services).await, RefusalKind::PendingApproval);
    let mut forged = before.certificate_chain[0].clone();
    forged.0[0] ^= 1;
    let enrollment = Some(PriorEnrollment { certificate: forged, payload_version: None });
    let stranger = device.showing(enrollment);
    refusal(stranger.enroll(&world.services).await, RefusalKind::PendingApproval);
    assert!(before_all.is_empty());
    let devices = &world.db.snapshot().await["devices"];
    assert_eq!(devices.len(), 1, "one that never enrolled: {devices:?}");
    assert!(devices[0].contains("pending_approval") && devices[0].contains("latest_generation=Null"));
}

async fn the_id_of_another_claims_device_is_not_taken(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    world.claim("PF0ZZZZZ", ProofKind::Identifiers).await;
    let first = TestDevice::new(SERIAL).enroll(&world.services).await.unwrap();
    let second = TestDevice::new("PF0ZZZZZ");
    // A certificate of the first device for the second one's key, as no server issues one.
    let certified = CertifiedEnrollment {
        device: first.device_id,
        generation: Generation(7),
        owner: world.customer,
        key: second.key(),
    };
    let chain = world.signer.issue_certificate(&certified, START).unwrap();
    let enrollment = Some(PriorEnrollment { certificate: chain[0].clone(), payload_version: None });
    let grant = second.showing(enrollment).enroll(&world.services).await.unwrap();
    assert_ne!(grant.device_id, first.device_id);
    assert_eq!(grant.generation, Generation(1));
    let untouched = world.services.devices.device(&world.by, first.device_id).await.unwrap().device;
    assert_eq!(untouched.state, DeviceState::Enrolling { generation: Generation(1), since: START });
}

async fn a_device_that_runs_a_later_version_than_the_backup_gives_gets_the_backups_again(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    let grant = TestDevice::new(SERIAL).enroll(&world.services).await.unwrap();
    let lost = payload(&world, &grant).version + 5_000;
    let runs = |version| Installed { configuration: world.configuration, version, dpc: None };
    let ask = async |version| {
        let said = check_in(Generation(1), Some(runs(version)));
        let news = world.services.devices.check_in(certificate(&grant), said).await.unwrap();
        news.payload.map(|one| one.verify(&world.signer.trusted()).unwrap().version)
    };
    let given = ask(lost).await.unwrap();
    assert!(given > lost);
    assert_eq!(ask(given).await, None, "and then it has it");
    let before = world.db.snapshot().await["claims"].clone();
    assert_eq!(ask(u64::try_from(i64::MAX).unwrap()).await, None, "the numbers do not run out");
    assert_eq!(world.db.snapshot().await["claims"], before);
}

async fn a_version_that_a_device_says_moves_no_other_device_of_its_customer(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    world.claim(SERIAL, ProofKind::Identifiers).await;
    world.claim("PF0ZZZZZ", ProofKind::Identifiers).await;
    let liar = TestDevice::new(SERIAL);
    let mut lies = liar.enroll(services).await.unwrap();
    let honest = TestDevice::new("PF0ZZZZZ").enroll(services).await.unwrap();
    let before = world.db.snapshot().await;
    let far = START.plus(Duration::from_hours(24 * 365 * 50)).0;
    let ask = async |grant: &Grant, version| {
        let installed = Some(Installed { configuration: world.configuration, version, dpc: None });
        let news = services
            .devices
            .check_in(certificate(grant), check_in(grant.generation, installed))
            .await
            .unwrap();
        news.payload.map(|one| one.verify(&world.signer.trusted()).unwrap().into_inner().version)
    };
    assert_eq!(ask(&lies, far).await, Some(far + 1), "it gets what it asks for");
    let certificate = lies.certificate_chain[0].clone();
    let prior = PriorEnrollment { certificate, payload_version: Some(far + 1_000) };
    lies = liar.showing(Some(prior)).enroll(services).await.unwrap();
    let led = payload(&world, &lies).version;
    assert_eq!(led, far + 1_001);
    let after = world.db.snapshot().await;
    for table in ["claims", "companies", "configurations"] {
        assert_eq!(after[table], before[table], "{table}");
    }

    let runs = payload(&world, &honest).version;
    assert_eq!(ask(&honest, runs).await, None);
    world.clock.advance(Duration::from_secs(5));
    let document = Some(MINIMAL_DOCUMENT.replace("000 00 00", "111 11 11"));
    let change = ConfigurationChange { name: None, document, default: None };
    services.catalogue.update_configuration(by, world.configuration, change).await.unwrap();
    let next = ask(&honest, runs).await.unwrap();
    assert!(next > runs && next <= world.clock.now().0, "{next}");
    assert!(ask(&lies, led).await.unwrap() > led, "the change reaches the device that leads, too");
}

async fn no_change_is_lost_after_a_clock_that_ran_ahead(db: TestDatabase) {
    let world = World::new(db).await;
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await;
    let (services, by) = (&world.services, &world.by);
    let office = services
        .catalogue
        .create_configuration(by, world.customer, "Office", MINIMAL_DOCUMENT)
        .await
        .unwrap()
        .id;
    world.clock.advance(Duration::from_hours(24 * 30));
    services.claims.set_claim_configuration(by, claim.id, Some(office)).await.unwrap();
    let grant = TestDevice::new(SERIAL).enroll(services).await.unwrap();
    let mut runs = payload(&world, &grant).version;

    world.clock.set(Timestamp(START.0 + 60_000));
    let mut next = async |configuration| {
        let installed = Some(Installed { configuration: office, version: runs, dpc: None });
        let news =
            services.devices.check_in(certificate(&grant), check_in(Generation(1), installed)).await.unwrap();
        let payload = news.payload.unwrap().verify(&world.signer.trusted()).unwrap();
        assert_eq!(payload.configuration.id, configuration);
        assert!(payload.version > runs, "{} after {runs}", payload.version);
        runs = payload.version;
    };
    let document = Some(MINIMAL_DOCUMENT.replace("000 00 00", "111 11 11"));
    let change = ConfigurationChange { name: None, document, default: None };
    services.catalogue.update_configuration(by, office, change.clone()).await.unwrap();
    next(office).await;
    services.claims.set_claim_configuration(by, claim.id, Some(world.configuration)).await.unwrap();
    next(world.configuration).await;
    services.claims.set_claim_configuration(by, claim.id, None).await.unwrap();
    next(world.configuration).await;
    services.catalogue.set_default_configuration(by, world.customer, Some(office)).await.unwrap();
    next(office).await;
    services.catalogue.update_configuration(by, office, change).await.unwrap();
    next(office).await;
}

battery!(
    a_device_that_is_not_in_the_backup_goes_on_as_itself,
    a_device_of_which_the_backup_is_older_goes_on_above_what_it_reached,
    strangers_who_asked_in_between_take_nothing_from_the_device,
    a_certificate_counts_only_for_its_key_its_owner_and_its_server,
    the_id_of_another_claims_device_is_not_taken,
    a_device_that_runs_a_later_version_than_the_backup_gives_gets_the_backups_again,
    a_version_that_a_device_says_moves_no_other_device_of_its_customer,
    no_change_is_lost_after_a_clock_that_ran_ahead,
);
