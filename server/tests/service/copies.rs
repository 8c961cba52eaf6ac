//! Disks and images that were copied: one key on two machines.

use crate::support::{TestDatabase, TestDevice, World, refusal, serial_set};
use serde_json::json;
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    ids::Generation,
    matching::IdentifierSet,
    protocol::latest::ProofKind,
    refusal::RefusalKind,
};
use unbox_server::{
    domain::tenancy::{
        actor::Actor,
        audit::{Action, Subject},
    },
    service::NewClaim,
    store::{AuditFilter, PageRequest},
};

const FIRST: &str = "PF0ABCDE";
const SECOND: &str = "PF0ZZZZZ";

/// What the audit trail holds of one kind, by its subject.
async fn told(world: &World, action: Action) -> Vec<(Subject, serde_json::Value)> {
    told_to(world, &world.by, action).await
}

/// What somebody sees of it.
async fn told_to(world: &World, by: &Actor, action: Action) -> Vec<(Subject, serde_json::Value)> {
    let filter = AuditFilter { action: Some(action), ..AuditFilter::default() };
    let page = world.services.tenancy.list_audit(by, filter, PageRequest::default()).await.unwrap();
    page.items.into_iter().map(|entry| (entry.subject, entry.detail)).collect()
}

/// The same disk in another machine.
fn copied_to(device: &TestDevice, serial: &str) -> TestDevice {
    let mut copy = device.same_key();
    copy.replace(IdentifierKind::SerialNumber, serial);
    copy
}

/// A claim on a machine, which also registers the key of a device.
fn claim_with_key(world: &World, serial: &str, device: &TestDevice) -> NewClaim {
    let key = Identifier::parse(IdentifierKind::DeviceKey, &device.key().digest().to_string()).unwrap();
    NewClaim {
        customer: world.customer,
        reseller: None,
        configuration: None,
        proof: ProofKind::RegisteredKey,
        sets: vec![serial_set(serial), IdentifierSet::new([key]).unwrap()],
        order: None,
        metadata: unbox_server::domain::claims::claim::Metadata::default(),
        protected: false,
    }
}

async fn the_second_machine_with_a_key_waits_and_both_owners_are_told(db: TestDatabase) {
    let world = World::new(db).await;
    let other = world.other_customer("Other").await;
    let office = world
        .services
        .catalogue
        .create_configuration(&world.by, other, "Theirs", crate::support::MINIMAL_DOCUMENT)
        .await
        .unwrap();
    world.services.catalogue.set_default_configuration(&world.by, other, Some(office.id)).await.unwrap();
    world.claim(FIRST, ProofKind::Identifiers).await;
    world.claim_for(other, SECOND, ProofKind::Identifiers).await.unwrap();
    let device = TestDevice::new(FIRST);
    let grant = device.enroll(&world.services).await.unwrap();
    let first = world.services.devices.device(&world.by, grant.device_id).await.unwrap().device;

    let copy = copied_to(&device, SECOND);
    for _ in 0..2 {
        let problem = refusal(copy.enroll(&world.services).await, RefusalKind::PendingApproval);
        assert!(problem.detail.unwrap().contains("another device"));
    }
    assert_eq!(world.services.devices.device(&world.by, grant.device_id).await.unwrap().device, first);
    let copied = told(&world, Action::KeyCopied).await;
    assert_eq!(copied.len(), 1, "counted, not stored twice: {copied:?}");
    assert_eq!(copied[0].0, Subject::Device(grant.device_id));
    assert_eq!(copied[0].1["differs"][0]["was"], json!([FIRST]));
    assert_eq!(copied[0].1["differs"][0]["now"], json!([SECOND]));
    let asked = told(&world, Action::ApprovalRequested).await;
    assert_eq!(asked[0].1["copied_key"], true);
    let waiting = world.services.devices.list_requests(&world.by).await.unwrap();
    assert_eq!((waiting.len(), waiting[0].customer), (1, other));
    // Each owner's administrator is told of its own device, and sees nothing about the other's.
    let owners = [Actor::of_customer("it", world.customer), Actor::of_customer("it", other)];
    let [ours, theirs] = &owners;
    assert_eq!(told_to(&world, ours, Action::KeyCopied).await, copied);
    assert_eq!(told_to(&world, theirs, Action::ApprovalRequested).await, asked);
    assert_eq!(told_to(&world, ours, Action::ApprovalRequested).await, []);
    assert_eq!(told_to(&world, theirs, Action::KeyCopied).await, []);

    // With a key of its own it is the other owner's, and the first device goes on.
    let own = copy.wiped().enroll(&world.services).await.unwrap();
    assert_ne!(own.device_id, grant.device_id);
    assert_eq!(device.enroll(&world.services).await.unwrap().generation, Generation(2));
}

async fn two_copies_in_one_moment_are_not_both_taken(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(FIRST, ProofKind::Identifiers).await;
    world.claim(SECOND, ProofKind::Identifiers).await;
    let device = TestDevice::new(FIRST);
    let copy = copied_to(&device, SECOND);
    let (first, second) = tokio::join!(device.enroll(&world.services), copy.enroll(&world.services));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
}

async fn a_copied_key_does_not_open_the_claim_that_registered_it(db: TestDatabase) {
    let world = World::new(db).await;
    let device = TestDevice::new(FIRST);
    let new = claim_with_key(&world, FIRST, &device);
    let first = world.services.claims.create_claim(&world.by, new).await.unwrap();
    let copy = copied_to(&device, SECOND);
    // Nobody claims the other machine: it is held, and not taken for the first one.
    refusal(copy.enroll(&world.services).await, RefusalKind::HardwareChanged);
    // Its owner does: then it goes by its own claim, and waits there.
    let second = world.claim(SECOND, ProofKind::Identifiers).await;
    refusal(copy.enroll(&world.services).await, RefusalKind::PendingApproval);
    let copied = told(&world, Action::KeyCopied).await;
    assert_eq!(copied.len(), 1, "{copied:?}");
    let waiting = world.services.devices.list_requests(&world.by).await.unwrap();
    let claims: Vec<_> = {
        let mut claims = Vec::new();
        for request in &waiting {
            claims.push(world.services.devices.device(&world.by, request.device).await.unwrap().device.claim);
        }
        claims
    };
    assert_eq!(claims, [first.id, second.id]);
    // The right machine enrolls as if nothing had been.
    let grant = device.enroll(&world.services).await.unwrap();
    assert_eq!(grant.generation, Generation(1));
    assert_eq!(
        world.services.devices.device(&world.by, grant.device_id).await.unwrap().device.claim,
        first.id
    );
}

/// A machine that shows an address and a board, and nothing stronger.
fn of_parts(mut device: TestDevice, number: u8) -> TestDevice {
    device.identity = vec![
        (IdentifierKind::MacAddress, format!("00:16:3e:00:01:{number:02x}")),
        (IdentifierKind::BoardSerial, format!("B0ARD{number:03}")),
    ];
    device
}

async fn a_copy_is_noticed_on_machines_that_show_only_addresses_and_boards(db: TestDatabase) {
    let world = World::new(db).await;
    let device = of_parts(TestDevice::new(FIRST), 1);
    let copy = of_parts(device.same_key(), 2);
    let address = |of: &TestDevice| {
        let address = Identifier::parse(IdentifierKind::MacAddress, &of.identity[0].1).unwrap();
        IdentifierSet::new([address]).unwrap()
    };
    let new = claim_with_key(&world, FIRST, &device);
    let sets = vec![address(&device), new.sets[1].clone()];
    world.services.claims.create_claim(&world.by, NewClaim { sets, ..new }).await.unwrap();
    // The claim that registered the key is not opened by it on another machine.
    refusal(copy.enroll(&world.services).await, RefusalKind::HardwareChanged);
    let new = NewClaim {
        sets: vec![address(&copy)],
        proof: ProofKind::Identifiers,
        ..claim_with_key(&world, FIRST, &device)
    };
    world.services.claims.create_claim(&world.by, new).await.unwrap();
    let grant = device.enroll(&world.services).await.unwrap();
    let first = world.services.devices.device(&world.by, grant.device_id).await.unwrap().device;
    refusal(copy.enroll(&world.services).await, RefusalKind::PendingApproval);
    assert_eq!(world.services.devices.device(&world.by, grant.device_id).await.unwrap().device, first);
    let copied = told(&world, Action::KeyCopied).await;
    let kinds: Vec<_> = copied[0].1["differs"].as_array().unwrap().iter().map(|part| &part["kind"]).collect();
    assert_eq!(kinds, ["mac_address", "board_serial"]);
}

async fn an_approved_copy_is_let_in(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(FIRST, ProofKind::Identifiers).await;
    world.claim(SECOND, ProofKind::Identifiers).await;
    let device = TestDevice::new(FIRST);
    device.enroll(&world.services).await.unwrap();
    let copy = copied_to(&device, SECOND);
    refusal(copy.enroll(&world.services).await, RefusalKind::PendingApproval);
    let waiting = world.services.devices.list_requests(&world.by).await.unwrap();
    world.services.devices.approve_request(&world.by, waiting[0].device, waiting[0].key).await.unwrap();
    assert_eq!(copy.enroll(&world.services).await.unwrap().device_id, waiting[0].device);
}

battery!(
    the_second_machine_with_a_key_waits_and_both_owners_are_told,
    two_copies_in_one_moment_are_not_both_taken,
    a_copied_key_does_not_open_the_claim_that_registered_it,
    a_copy_is_noticed_on_machines_that_show_only_addresses_and_boards,
    an_approved_copy_is_let_in,
);
