//! New keys and new hardware: what waits, who may let it in, and that the working key stays.

use crate::support::{START, TestDatabase, TestDevice, World, certificate, check_in, refusal, report};
use std::time::Duration;
use unbox_common::{
    identity::IdentifierKind,
    ids::{DeviceId, Generation},
    protocol::latest::{Grant, Outcome, ProofKind},
    refusal::RefusalKind,
};
use unbox_server::{
    domain::{
        devices::device::{Device, DeviceState, StateName, Tie},
        tenancy::audit::Action,
    },
    service::{Origin, ServiceError},
};

const SERIAL: &str = "PF0ABCDE";

/// A device that enrolled, and reported that it is managed.
async fn managed(world: &World) -> (TestDevice, Grant) {
    world.claim(SERIAL, ProofKind::Identifiers).await;
    let device = TestDevice::new(SERIAL);
    let grant = device.enroll(&world.services).await.unwrap();
    complete(world, &grant).await;
    (device, grant)
}

async fn complete(world: &World, grant: &Grant) {
    let outcome = Some(Outcome::Managed { version: START.0 });
    world.services.devices.report(certificate(grant), report(grant.generation, &[1], outcome)).await.unwrap();
}

async fn stored(world: &World, id: DeviceId) -> Device {
    world.services.devices.device(&world.by, id).await.unwrap().device
}

async fn an_unknown_key_waits_and_evicts_nobody(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, grant) = managed(&world).await;
    let before = stored(&world, grant.device_id).await;
    let thief = device.wiped();
    for _ in 0..3 {
        refusal(thief.enroll(&world.services).await, RefusalKind::PendingApproval);
    }
    assert_eq!(stored(&world, grant.device_id).await, before, "nothing about the device changed");
    world.services.devices.check_in(certificate(&grant), check_in(Generation(1), None)).await.unwrap();

    let view = world.services.devices.device(&world.by, grant.device_id).await.unwrap();
    assert_eq!((view.requests.len(), view.requests[0].count), (1, 3));
    assert_eq!(view.requests[0].key, thief.key().digest());
    let asked: Vec<_> = view.history.iter().filter(|one| one.action == Action::ApprovalRequested).collect();
    assert_eq!((asked.len(), asked[0].count), (1, 3), "counted, not stored three times");
    assert_eq!(world.services.devices.list_requests(&world.by).await.unwrap(), view.requests);
}

async fn strangers_never_push_out_the_request_of_the_device_itself(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    let device = TestDevice::new(SERIAL);
    let home = |certificate| Origin { network: Some("192.0.2.7".parse().unwrap()), certificate };
    let away =
        |last: u8| Origin { network: Some(format!("198.51.100.{last}").parse().unwrap()), certificate: None };
    let asks = async |device: &TestDevice, origin| {
        let hello = device.hello_bytes();
        let challenge = world.services.devices.hello(&hello).await.unwrap();
        let proof = world.services.devices.read_prove(&device.prove_bytes(&hello, &challenge), origin)?;
        world.services.devices.grant(proof).await
    };
    let grant = asks(&device, away(250)).await.unwrap();
    complete(&world, &grant).await;
    let news = check_in(Generation(1), None);
    world.services.devices.check_in_from(certificate(&grant), home(None).network, news).await.unwrap();

    // The same disk with another key, the same school, and a neighbour who asked before the crowd.
    let (with_certificate, at_home, early) = (device.wiped(), device.wiped(), device.wiped());
    let ask = async |device: &TestDevice, origin| {
        refusal(asks(device, origin).await, RefusalKind::PendingApproval);
        world.clock.advance(Duration::from_secs(1));
    };
    ask(&with_certificate, Origin { certificate: Some(certificate(&grant)), ..away(1) }).await;
    ask(&at_home, home(None)).await;
    ask(&early, away(2)).await;
    for _ in 0..20 {
        ask(&device.wiped(), away(3)).await;
    }
    let requests = world.services.devices.device(&world.by, grant.device_id).await.unwrap().requests;
    assert_eq!(requests.len(), 8);
    let tie = |device: &TestDevice| {
        let key = device.key().digest();
        requests.iter().find(|one| one.key == key).map(|one| one.tie)
    };
    assert_eq!(tie(&with_certificate), Some(Tie::Proof));
    assert_eq!(tie(&at_home), Some(Tie::Network));
    assert_eq!(tie(&early), Some(Tie::None), "whoever asks with many keys pushes out its own");
    for last in 4..=40 {
        ask(&device.wiped(), away(last)).await;
    }
    let requests = world.services.devices.device(&world.by, grant.device_id).await.unwrap().requests;
    assert_eq!(requests.len(), 8);
    for own in [&with_certificate, &at_home] {
        assert!(requests.iter().any(|one| one.key == own.key().digest()));
    }
}

async fn approval_lets_in_exactly_the_key_that_was_approved(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, grant) = managed(&world).await;
    let (wiped, thief) = (device.wiped(), device.wiped());
    for asking in [&wiped, &thief] {
        refusal(asking.enroll(&world.services).await, RefusalKind::PendingApproval);
    }
    let key = wiped.key().digest();
    world.services.devices.approve_request(&world.by, grant.device_id, key).await.unwrap();
    refusal(thief.enroll(&world.services).await, RefusalKind::PendingApproval);
    let again = wiped.enroll(&world.services).await.unwrap();
    assert_eq!((again.device_id, again.generation), (grant.device_id, Generation(2)));

    // Until the new one is complete, the old one works; from then on, it does not.
    world.services.devices.check_in(certificate(&grant), check_in(Generation(1), None)).await.unwrap();
    complete(&world, &again).await;
    let old = world.services.devices.check_in(certificate(&grant), check_in(Generation(1), None)).await;
    refusal(old, RefusalKind::ProofRequired);
    refusal(device.enroll(&world.services).await, RefusalKind::PendingApproval);
    let open = world.services.devices.list_requests(&world.by).await.unwrap();
    assert_eq!(open.len(), 2, "the thief's, and now the old key's; not the one that was granted");
    assert!(open.iter().all(|one| one.key != key));
}

async fn a_refused_request_is_forgotten(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, grant) = managed(&world).await;
    let thief = device.wiped();
    refusal(thief.enroll(&world.services).await, RefusalKind::PendingApproval);
    let key = thief.key().digest();
    world.services.devices.refuse_request(&world.by, grant.device_id, key).await.unwrap();
    assert!(world.services.devices.list_requests(&world.by).await.unwrap().is_empty());
    let gone = world.services.devices.approve_request(&world.by, grant.device_id, key).await;
    assert!(matches!(gone, Err(ServiceError::NotFound { .. })));
    refusal(thief.enroll(&world.services).await, RefusalKind::PendingApproval);
}

async fn after_the_window_the_first_key_waits_too(db: TestDatabase) {
    let world = World::new(db).await;
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await;
    world.clock.advance(Duration::from_hours(90 * 24));
    let device = TestDevice::new(SERIAL);
    refusal(device.enroll(&world.services).await, RefusalKind::PendingApproval);
    let view = world.services.claims.claim(&world.by, claim.id).await.unwrap();
    let held = view.device.unwrap();
    assert_eq!(held.state.name(), StateName::PendingApproval);
    world.services.devices.refuse_request(&world.by, held.id, device.key().digest()).await.unwrap();
    assert_eq!(stored(&world, held.id).await.state, DeviceState::Claimed);

    refusal(device.enroll(&world.services).await, RefusalKind::PendingApproval);
    world.services.devices.approve_request(&world.by, held.id, device.key().digest()).await.unwrap();
    let grant = device.enroll(&world.services).await.unwrap();
    assert_eq!((grant.device_id, grant.generation), (held.id, Generation(1)));
}

async fn the_first_key_is_bound_before_it_is_managed(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    let first = TestDevice::new(SERIAL);
    first.enroll(&world.services).await.unwrap();
    refusal(first.wiped().enroll(&world.services).await, RefusalKind::PendingApproval);
    assert_eq!(first.enroll(&world.services).await.unwrap().generation, Generation(2));
}

async fn a_reset_ticket_lets_one_new_key_in(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, grant) = managed(&world).await;
    let (ticket, expires_at) =
        world.services.devices.mint_reset_ticket(&world.by, grant.device_id).await.unwrap();
    assert!(ticket.expose().starts_with("rst_") && expires_at > START);
    let mut wiped = device.wiped();
    wiped.reset_ticket = Some(ticket.clone());
    let again = wiped.enroll(&world.services).await.unwrap();
    assert_eq!(again.generation, Generation(2));
    let mut thief = device.wiped();
    thief.reset_ticket = Some(ticket);
    refusal(thief.enroll(&world.services).await, RefusalKind::PendingApproval);
    let history = world.services.devices.device(&world.by, grant.device_id).await.unwrap().history;
    assert!(history.iter().any(|one| one.detail["why"] == "reset_ticket"));
}

async fn a_reset_ticket_of_another_device_is_worth_nothing(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, _) = managed(&world).await;
    world.claim("OTHER123", ProofKind::Identifiers).await;
    let other = TestDevice::new("OTHER123").enroll(&world.services).await.unwrap();
    let (ticket, _) = world.services.devices.mint_reset_ticket(&world.by, other.device_id).await.unwrap();
    let mut wiped = device.wiped();
    wiped.reset_ticket = Some(ticket.clone());
    refusal(wiped.enroll(&world.services).await, RefusalKind::PendingApproval);
    let mut rightful = TestDevice::new("OTHER123");
    rightful.reset_ticket = Some(ticket);
    rightful.enroll(&world.services).await.unwrap();
}

async fn changed_hardware_waits_until_it_is_approved(db: TestDatabase) {
    let world = World::new(db).await;
    let (mut device, grant) = managed(&world).await;
    device.replace(IdentifierKind::BoardSerial, "L1HF999");
    refusal(device.enroll(&world.services).await, RefusalKind::HardwareChanged);
    let changed = stored(&world, grant.device_id).await;
    assert_eq!(changed.state.name(), StateName::HardwareChanged);
    assert_eq!(changed.generation(), Generation(1));
    world.services.devices.check_in(certificate(&grant), check_in(Generation(1), None)).await.unwrap();

    let request = world.services.devices.list_requests(&world.by).await.unwrap().remove(0);
    assert_eq!(request.replaced[0].kind, IdentifierKind::BoardSerial);
    assert_eq!(
        (&request.replaced[0].was[0], &request.replaced[0].now[0]),
        (&"L1HF123".to_owned(), &"L1HF999".to_owned())
    );
    world.services.devices.approve_request(&world.by, grant.device_id, request.key).await.unwrap();
    // Approved was this board, not any.
    let was = device.identity.clone();
    device.replace(IdentifierKind::BoardSerial, "L1HF777");
    refusal(device.enroll(&world.services).await, RefusalKind::HardwareChanged);
    device.identity = was;
    refusal(device.enroll(&world.services).await, RefusalKind::HardwareChanged);
    world.services.devices.approve_request(&world.by, grant.device_id, request.key).await.unwrap();
    let again = device.enroll(&world.services).await.unwrap();
    assert_eq!((again.device_id, again.generation), (grant.device_id, Generation(2)));
}

async fn a_refused_hardware_change_leaves_the_device_as_it_was(db: TestDatabase) {
    let world = World::new(db).await;
    let (mut device, grant) = managed(&world).await;
    let before = stored(&world, grant.device_id).await;
    device.replace(IdentifierKind::BoardSerial, "L1HF999");
    refusal(device.enroll(&world.services).await, RefusalKind::HardwareChanged);
    world.services.devices.refuse_request(&world.by, grant.device_id, device.key().digest()).await.unwrap();
    assert_eq!(stored(&world, grant.device_id).await, before);
}

async fn a_strangers_hardware_changes_no_state(db: TestDatabase) {
    let world = World::new(db).await;
    let (device, grant) = managed(&world).await;
    let before = stored(&world, grant.device_id).await;
    let mut stranger = device.wiped();
    stranger.replace(IdentifierKind::BoardSerial, "L1HF999");
    stranger.replace(IdentifierKind::MacAddress, "00:16:3e:00:00:99");
    refusal(stranger.enroll(&world.services).await, RefusalKind::HardwareChanged);
    assert_eq!(stored(&world, grant.device_id).await, before);
    let request = world.services.devices.list_requests(&world.by).await.unwrap().remove(0);
    assert_eq!(request.replaced.len(), 2, "the administrator sees what differs");
}

battery!(
    strangers_never_push_out_the_request_of_the_device_itself,
    an_unknown_key_waits_and_evicts_nobody,
    approval_lets_in_exactly_the_key_that_was_approved,
    a_refused_request_is_forgotten,
    after_the_window_the_first_key_waits_too,
    the_first_key_is_bound_before_it_is_managed,
    a_reset_ticket_lets_one_new_key_in,
    a_reset_ticket_of_another_device_is_worth_nothing,
    changed_hardware_waits_until_it_is_approved,
    a_refused_hardware_change_leaves_the_device_as_it_was,
    a_strangers_hardware_changes_no_state,
);
