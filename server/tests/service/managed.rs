//! Reports and check-ins.

use crate::support::{
    MINIMAL_DOCUMENT, START, TestDatabase, TestDevice, World, certificate, check_in, refusal, report,
};
use std::time::Duration;
use unbox_common::{
    bytes::FixedBytes,
    digest::Sha256,
    ids::{DeviceId, Generation},
    protocol::{
        latest::{Command, Grant, Installed, Outcome, ProofKind},
        limits::MAX_REPORT_ENTRIES,
    },
    refusal::RefusalKind,
    timestamp::Timestamp,
};
use unbox_server::{
    domain::{
        devices::device::{Device, DeviceState},
        tenancy::audit::Action,
    },
    service::{ConfigurationChange, DeviceIdentityCert, Signer as _},
};

const SERIAL: &str = "PF0ABCDE";
const DONE: Option<Outcome> = Some(Outcome::Managed { version: VERSION });
/// The configuration drew one when it was made, and the default the next.
const VERSION: u64 = START.0 + 1;

async fn granted(world: &World) -> (TestDevice, Grant) {
    world.claim(SERIAL, ProofKind::Identifiers).await;
    let device = TestDevice::new(SERIAL);
    let grant = device.enroll(&world.services).await.unwrap();
    (device, grant)
}

async fn stored(world: &World, id: DeviceId) -> Device {
    world.services.devices.device(&world.by, id).await.unwrap().device
}

fn installed(world: &World, version: u64) -> Installed {
    Installed { configuration: world.configuration, version, dpc: None }
}

async fn a_report_sent_twice_changes_nothing(db: TestDatabase) {
    let world = World::new(db).await;
    let (_, grant) = granted(&world).await;
    let who = certificate(&grant);
    let first = world.services.devices.report(who, report(Generation(1), &[1, 2], None)).await.unwrap();
    assert_eq!((first.sequence, first.server_time), (2, START));
    let before = world.db.snapshot().await;
    let again = world.services.devices.report(who, report(Generation(1), &[1, 2], None)).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(world.db.snapshot().await, before);
    let more = world.services.devices.report(who, report(Generation(1), &[2, 3], DONE)).await.unwrap();
    assert_eq!(more.sequence, 3);
    let before = world.db.snapshot().await;
    world.clock.advance(Duration::from_secs(5));
    world.services.devices.report(who, report(Generation(1), &[2, 3], DONE)).await.unwrap();
    assert_eq!(world.db.snapshot().await, before, "also with its outcome");
    let history = world.services.devices.device(&world.by, grant.device_id).await.unwrap().history;
    assert_eq!(history.iter().filter(|one| one.action == Action::Reported).count(), 2);
}

async fn a_device_that_reports_without_end_fills_no_disk(db: TestDatabase) {
    let world = World::new(db).await;
    let (_, grant) = granted(&world).await;
    for sequence in 1..=30 {
        let said = report(Generation(1), &[sequence], None);
        world.services.devices.report(certificate(&grant), said).await.unwrap();
    }
    let history = world.services.devices.device(&world.by, grant.device_id).await.unwrap().history;
    let reported: Vec<u64> =
        history.iter().filter(|one| one.action == Action::Reported).map(|one| one.count).collect();
    assert_eq!(reported, [30]);
}

async fn managed_completes_the_generation(db: TestDatabase) {
    let world = World::new(db).await;
    let (_, grant) = granted(&world).await;
    let rolled_back = Outcome::RolledBack {
        version: START.0,
        kind: "unhealthy".to_owned(),
        detail: "the unit\0 failed\n".to_owned(),
    };
    world
        .services
        .devices
        .report(certificate(&grant), report(Generation(1), &[1], Some(rolled_back)))
        .await
        .unwrap();
    let device = stored(&world, grant.device_id).await;
    assert_eq!(device.state, DeviceState::Enrolling { generation: Generation(1), since: START });
    assert_eq!(device.active, None, "only managed completes");
    let Some(Outcome::RolledBack { detail, .. }) = device.last_said.outcome else { panic!() };
    assert_eq!(detail, "the unit  failed ");
    assert_eq!(device.last_said.failed_version, Some(START.0));
    let rejected = Outcome::Rejected {
        version: Some(START.0 + 1),
        kind: "device_lacks".to_owned(),
        detail: "there is no user kiosk".to_owned(),
    };
    world
        .services
        .devices
        .report(certificate(&grant), report(Generation(1), &[2], Some(rejected)))
        .await
        .unwrap();
    assert_eq!(stored(&world, grant.device_id).await.last_said.failed_version, Some(START.0 + 1));

    world.clock.advance(Duration::from_secs(9));
    world.services.devices.report(certificate(&grant), report(Generation(1), &[3], DONE)).await.unwrap();
    let device = stored(&world, grant.device_id).await;
    assert_eq!(device.last_said.failed_version, None);
    let since = START.plus(Duration::from_secs(9));
    assert_eq!(device.state, DeviceState::Managed { generation: Generation(1), since });
    assert_eq!(device.active, device.latest);
}

async fn what_a_device_runs_is_known_as_soon_as_it_is_managed(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, grant) = granted(&world).await;
    world.services.devices.report(certificate(&grant), report(Generation(1), &[1], DONE)).await.unwrap();
    let known = stored(&world, grant.device_id).await.last_said.installed;
    assert_eq!(known, Some(installed(&world, VERSION)));
    // A version that the server does not give is one that it knows nothing about.
    let again = device.enroll(&world.services).await.unwrap();
    let other = Some(Outcome::Managed { version: VERSION + 1 });
    world.services.devices.report(certificate(&again), report(Generation(2), &[1], other)).await.unwrap();
    assert_eq!(stored(&world, grant.device_id).await.last_said.installed, None);
}

async fn generations_end_when_a_newer_one_is_complete(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, first) = granted(&world).await;
    world.services.devices.report(certificate(&first), report(Generation(1), &[1], DONE)).await.unwrap();
    let second = device.enroll(&world.services).await.unwrap();
    let third = device.enroll(&world.services).await.unwrap();
    // Generation 2 was granted, and neither completed nor is it the latest.
    let skipped =
        world.services.devices.report(certificate(&second), report(Generation(2), &[1], DONE)).await;
    refusal(skipped, RefusalKind::ProofRequired);
    // The active one and the latest one both work.
    world.services.devices.report(certificate(&first), report(Generation(1), &[2], None)).await.unwrap();
    world.services.devices.check_in(certificate(&third), check_in(Generation(3), None)).await.unwrap();
    world.services.devices.report(certificate(&third), report(Generation(3), &[1], DONE)).await.unwrap();
    let before = world.db.snapshot().await;
    for old in [&first, &second] {
        let late = world.services.devices.report(certificate(old), report(old.generation, &[9], DONE)).await;
        refusal(late, RefusalKind::ProofRequired);
        let late = world.services.devices.check_in(certificate(old), check_in(old.generation, None)).await;
        refusal(late, RefusalKind::ProofRequired);
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn messages_that_are_not_of_this_certificate_are_refused(db: TestDatabase) {
    let world = World::new(db).await;
    let (_, grant) = granted(&world).await;
    let who = certificate(&grant);
    let before = world.db.snapshot().await;
    let other = world.services.devices.report(who, report(Generation(2), &[1], DONE)).await;
    refusal(other, RefusalKind::UnsupportedProtocol);
    let other = world.services.devices.check_in(who, check_in(Generation(2), None)).await;
    refusal(other, RefusalKind::UnsupportedProtocol);
    let stranger = DeviceIdentityCert { device: DeviceId::new(1).unwrap(), ..who };
    refusal(
        world.services.devices.report(stranger, report(Generation(1), &[1], DONE)).await,
        RefusalKind::ProofRequired,
    );
    let sequences: Vec<u64> = (1..).take(MAX_REPORT_ENTRIES + 1).collect();
    let many = world.services.devices.report(who, report(Generation(1), &sequences, None)).await;
    refusal(many, RefusalKind::UnsupportedProtocol);
    let zero = world.services.devices.report(who, report(Generation(1), &[0], None)).await;
    refusal(zero, RefusalKind::UnsupportedProtocol);
    let endless = world.services.devices.report(who, report(Generation(1), &[u64::MAX], None)).await;
    refusal(endless, RefusalKind::UnsupportedProtocol);
    let mut odd = check_in(Generation(1), None);
    odd.agent_version.push('\0');
    refusal(world.services.devices.check_in(who, odd).await, RefusalKind::UnsupportedProtocol);
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_device_that_may_not_speak_is_told_so(db: TestDatabase) {
    let world = World::new(db).await;
    let (_, grant) = granted(&world).await;
    let who = certificate(&grant);
    world.services.devices.disable_device(&world.by, grant.device_id, Some("Lost".to_owned())).await.unwrap();
    let before = world.db.snapshot().await;
    let disabled = refusal(
        world.services.devices.check_in(who, check_in(Generation(1), None)).await,
        RefusalKind::Disabled,
    );
    assert_eq!(disabled.message.as_deref(), Some("Lost"));
    refusal(
        world.services.devices.report(who, report(Generation(1), &[1], DONE)).await,
        RefusalKind::Disabled,
    );
    assert_eq!(world.db.snapshot().await, before);
    world.services.devices.enable_device(&world.by, grant.device_id).await.unwrap();
    world.services.devices.check_in(who, check_in(Generation(1), None)).await.unwrap();
    let claim = stored(&world, grant.device_id).await.claim;
    world.services.claims.unclaim(&world.by, claim).await.unwrap();
    refusal(
        world.services.devices.check_in(who, check_in(Generation(1), None)).await,
        RefusalKind::Deprovisioned,
    );
}

async fn a_newer_configuration_is_news_once(db: TestDatabase) {
    let world = World::new(db).await;
    let (_, grant) = granted(&world).await;
    let who = certificate(&grant);
    let ask = async |installed, failed_version| {
        let mut said = check_in(Generation(1), installed);
        said.failed_version = failed_version;
        world.services.devices.check_in(who, said).await.unwrap()
    };
    assert_eq!(ask(Some(installed(&world, VERSION)), None).await.payload, None);
    let nothing_yet = ask(None, None).await.payload.unwrap();
    assert_eq!(nothing_yet.verify(&world.signer.trusted()).unwrap().version, VERSION);

    world.clock.advance(Duration::from_secs(10));
    let document = MINIMAL_DOCUMENT.replace("000 00 00", "111 11 11");
    let change = ConfigurationChange { name: None, document: Some(document), default: None };
    world.services.catalogue.update_configuration(&world.by, world.configuration, change).await.unwrap();
    let news = ask(Some(installed(&world, VERSION)), None).await;
    assert_eq!(news.owner.contact_phone, "+41 44 111 11 11");
    let payload = news.payload.unwrap().verify(&world.signer.trusted()).unwrap();
    assert_eq!((payload.version, payload.nonce), (START.0 + 10_000, FixedBytes([9; 32])));
    assert_eq!((payload.device, payload.generation), (grant.device_id, Generation(1)));
    assert_eq!(ask(Some(installed(&world, payload.version)), None).await.payload, None);
    assert_eq!(
        ask(Some(installed(&world, VERSION)), Some(payload.version)).await.payload,
        None,
        "it failed there"
    );
    let said = stored(&world, grant.device_id).await.last_said;
    assert_eq!((said.failed_version, said.healthy), (Some(payload.version), Some(true)));
    assert_eq!(said.installed, Some(installed(&world, VERSION)));
}

async fn a_version_rises_even_if_the_clock_falls(db: TestDatabase) {
    let world = World::new(db).await;
    world.clock.set(Timestamp(START.0 - 1_000_000));
    let change = ConfigurationChange { name: Some("Kiosk 2".to_owned()), document: None, default: None };
    let changed =
        world.services.catalogue.update_configuration(&world.by, world.configuration, change).await.unwrap();
    assert_eq!(changed.updated_at, Timestamp(VERSION + 1));
}

async fn another_older_configuration_is_news_too(db: TestDatabase) {
    let world = World::new(db).await;
    let (_, grant) = granted(&world).await;
    let older = world
        .services
        .catalogue
        .create_configuration(&world.by, world.customer, "Office", MINIMAL_DOCUMENT)
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(10));
    let change =
        ConfigurationChange { name: None, document: Some(MINIMAL_DOCUMENT.to_owned()), default: None };
    let newer =
        world.services.catalogue.update_configuration(&world.by, world.configuration, change).await.unwrap();
    world.clock.advance(Duration::from_secs(10));
    world
        .services
        .catalogue
        .set_default_configuration(&world.by, world.customer, Some(older.id))
        .await
        .unwrap();
    let said = check_in(Generation(1), Some(installed(&world, newer.updated_at.0)));
    let news = world.services.devices.check_in(certificate(&grant), said).await.unwrap();
    let payload = news.payload.unwrap().verify(&world.signer.trusted()).unwrap();
    assert_eq!((payload.configuration.id, payload.version), (older.id, START.0 + 20_000));
}

async fn a_device_is_told_to_enroll_again_until_it_has(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, grant) = granted(&world).await;
    world.services.devices.report(certificate(&grant), report(Generation(1), &[1], DONE)).await.unwrap();
    world.services.devices.request_re_enrollment(&world.by, grant.device_id).await.unwrap();
    for _ in 0..2 {
        let news = world
            .services
            .devices
            .check_in(certificate(&grant), check_in(Generation(1), None))
            .await
            .unwrap();
        assert_eq!(news.commands, [Command::ReEnroll]);
        assert_eq!(news.payload, None, "it comes with the new grant");
    }
    let again = device.enroll(&world.services).await.unwrap();
    world.services.devices.report(certificate(&again), report(Generation(2), &[1], DONE)).await.unwrap();
    let news =
        world.services.devices.check_in(certificate(&again), check_in(Generation(2), None)).await.unwrap();
    assert_eq!(news.commands, []);
}

async fn a_certificate_is_renewed_for_the_same_key(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, grant) = granted(&world).await;
    world.clock.advance(Duration::from_hours(24 * 300));
    let mut said = check_in(Generation(1), Some(installed(&world, VERSION)));
    said.renew_certificate = true;
    let news = world.services.devices.check_in(certificate(&grant), said).await.unwrap();
    let renewed = world.signer.read_certificate(news.certificate_chain[0].as_ref()).unwrap();
    assert_eq!((renewed.generation, renewed.owner), (Generation(1), world.customer));
    assert_eq!(renewed.key, device.key());
    let history = world.services.devices.device(&world.by, grant.device_id).await.unwrap().history;
    assert_eq!(history[0].action, Action::CertificateRenewed);
}

async fn a_certificate_of_a_former_authority_is_replaced_unasked(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, grant) = granted(&world).await;
    let said = || check_in(Generation(1), Some(installed(&world, VERSION)));
    let news = world.services.devices.check_in(certificate(&grant), said()).await.unwrap();
    assert_eq!(news.certificate_chain, []);
    let former = DeviceIdentityCert { issuer: Sha256::of(b"former"), ..certificate(&grant) };
    let news = world.services.devices.check_in(former, said()).await.unwrap();
    let new = world.signer.read_certificate(news.certificate_chain[0].as_ref()).unwrap();
    assert_eq!((new.device, new.generation, new.key), (grant.device_id, Generation(1), device.key()));
}

async fn a_device_without_configuration_is_left_in_peace(db: TestDatabase) {
    let world = World::new(db).await;
    let (_, grant) = granted(&world).await;
    world.services.catalogue.set_default_configuration(&world.by, world.customer, None).await.unwrap();
    let said = check_in(Generation(1), Some(installed(&world, VERSION)));
    let news = world.services.devices.check_in(certificate(&grant), said).await.unwrap();
    assert_eq!((news.payload, news.owner.company.as_str()), (None, "Acme"));
}

battery!(
    a_report_sent_twice_changes_nothing,
    a_device_that_reports_without_end_fills_no_disk,
    managed_completes_the_generation,
    what_a_device_runs_is_known_as_soon_as_it_is_managed,
    generations_end_when_a_newer_one_is_complete,
    messages_that_are_not_of_this_certificate_are_refused,
    a_device_that_may_not_speak_is_told_so,
    a_newer_configuration_is_news_once,
    a_version_rises_even_if_the_clock_falls,
    another_older_configuration_is_news_too,
    a_device_is_told_to_enroll_again_until_it_has,
    a_certificate_is_renewed_for_the_same_key,
    a_certificate_of_a_former_authority_is_replaced_unasked,
    a_device_without_configuration_is_left_in_peace,
);
