//! The handshake when all is well: each proof policy, and what the grant says.

use crate::support::{START, TestDatabase, TestDevice, World, new_claim, serial_set};
use serde_json::json;
use unbox_common::{
    bytes::FixedBytes,
    digest::Sha256,
    identity::{Identifier, IdentifierKind},
    ids::Generation,
    matching::IdentifierSet,
    protocol::latest::ProofKind,
    timestamp::Timestamp,
};
use unbox_server::{
    domain::{devices::device::DeviceState, tenancy::audit::Action},
    service::{CertifiedEnrollment, NewClaim, NewToken, Signer as _},
    store::{AuditFilter, ClaimFilter, PageRequest},
};

async fn identifiers_are_enough_inside_the_window(db: TestDatabase) {
    let world = World::new(db).await;
    let claim = world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let device = TestDevice::new("PF0ABCDE");
    let grant = device.enroll(&world.services).await.unwrap();

    assert_eq!(grant.generation, Generation(1));
    assert_eq!((grant.server_time, grant.check_in_after_s), (START, 3600));
    assert_eq!(grant.owner.company, "Acme");
    let certified = CertifiedEnrollment {
        device: grant.device_id,
        generation: Generation(1),
        owner: world.customer,
        key: device.key(),
    };
    assert_eq!(world.signer.read_certificate(grant.certificate_chain[0].as_ref()), Some(certified));
    let payload = grant.payload.verify(&world.signer.trusted()).unwrap();
    assert_eq!((payload.device, payload.generation), (grant.device_id, grant.generation));
    assert_eq!(payload.nonce, FixedBytes([7; 32]), "the nonce of this hello");
    assert_eq!((payload.version, payload.issued_at), (START.0 + 1, START));
    assert_eq!(payload.expires_at, START.plus(world.services.settings().payload_lifetime));
    assert_eq!(payload.configuration.id, world.configuration);

    let shown = world.services.devices.device(&world.by, grant.device_id).await.unwrap();
    assert_eq!(shown.device.state, DeviceState::Enrolling { generation: Generation(1), since: START });
    assert_eq!((shown.device.claim, shown.device.customer), (claim.id, world.customer));
    assert_eq!(shown.history[0].action, Action::Granted);
    assert_eq!(shown.history[0].actor, format!("device {}", grant.device_id));
    let detail = &shown.history[0].detail;
    assert_eq!((&detail["why"], &detail["generation"]), (&json!("first_key"), &json!(1)));
}

async fn a_token_enrolls_devices_of_its_customer(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Token).await;
    let new = NewToken {
        customer: world.customer,
        name: "Image".to_owned(),
        configuration: None,
        expires_at: None,
    };
    let (token, secret) = world.services.devices.create_token(&world.by, new).await.unwrap();
    assert!(secret.expose().starts_with("ppt_"));
    let mut device = TestDevice::new("PF0ABCDE");
    device.token = Some(secret);
    let grant = device.enroll(&world.services).await.unwrap();
    let history = world.services.devices.device(&world.by, grant.device_id).await.unwrap().history;
    assert_eq!(history[0].detail["why"], json!("token"));
    assert_eq!(history[0].detail["token"], json!(token.id));

    // Wiped, with another key: the token stands for it.
    let again = device.wiped().enroll(&world.services).await.unwrap();
    assert_eq!((again.device_id, again.generation), (grant.device_id, Generation(2)));
}

async fn a_token_brings_a_configuration_that_the_claim_keeps(db: TestDatabase) {
    let world = World::new(db).await;
    world.services.catalogue.set_default_configuration(&world.by, world.customer, None).await.unwrap();
    let claim = world.claim("PF0ABCDE", ProofKind::Token).await;
    let new = NewToken {
        customer: world.customer,
        name: "Image".to_owned(),
        configuration: Some(world.configuration),
        expires_at: None,
    };
    let (_, secret) = world.services.devices.create_token(&world.by, new).await.unwrap();
    let mut device = TestDevice::new("PF0ABCDE");
    device.token = Some(secret);
    world.clock.set(Timestamp(START.0 + 5000));
    let grant = device.enroll(&world.services).await.unwrap();
    let payload = grant.payload.verify(&world.signer.trusted()).unwrap();
    assert_eq!(payload.version, START.0 + 5000, "given at this moment");
    let kept = world.services.claims.claim(&world.by, claim.id).await.unwrap().claim;
    assert_eq!(kept.configuration, Some(world.configuration));
    assert_eq!(kept.configured_at, Timestamp(START.0 + 5000));
}

async fn the_key_that_the_factory_registered_enrolls(db: TestDatabase) {
    let world = World::new(db).await;
    let device = TestDevice::new("PF0ABCDE");
    let key = Identifier::parse(IdentifierKind::DeviceKey, &device.key().digest().to_string()).unwrap();
    let members = serial_set("PF0ABCDE").members().iter().cloned().chain([key]).collect::<Vec<_>>();
    let new = NewClaim {
        sets: vec![IdentifierSet::new(members).unwrap()],
        ..new_claim(world.customer, "PF0ABCDE", ProofKind::RegisteredKey)
    };
    world.services.claims.create_claim(&world.by, new).await.unwrap();
    let grant = device.enroll(&world.services).await.unwrap();
    let history = world.services.devices.device(&world.by, grant.device_id).await.unwrap().history;
    assert_eq!(history[0].detail["why"], json!("registered_key"));
}

async fn a_lost_answer_is_given_again(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let device = TestDevice::new("PF0ABCDE");
    let hello = device.hello_bytes();
    let challenge = world.services.devices.hello(&hello).await.unwrap();
    let prove = device.prove_bytes(&hello, &challenge);
    let first = world.services.devices.prove(&prove).await.unwrap();
    let before = world.db.snapshot().await;
    let second = world.services.devices.prove(&prove).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(world.db.snapshot().await, before);
    let granted = AuditFilter { action: Some(Action::Granted), ..AuditFilter::default() };
    let page = PageRequest::default();
    assert_eq!(world.services.tenancy.list_audit(&world.by, granted, page).await.unwrap().items.len(), 1);

    // A new handshake with the same key is a new enrollment.
    let third = device.enroll(&world.services).await.unwrap();
    assert_eq!((third.device_id, third.generation), (first.device_id, Generation(2)));
    // Then the first one's ticket is only another handshake.
    assert_eq!(world.services.devices.prove(&prove).await.unwrap().generation, Generation(3));
}

async fn a_device_that_enrolls_without_end_fills_no_disk(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let device = TestDevice::new("PF0ABCDE");
    for generation in 1..=30 {
        assert_eq!(device.enroll(&world.services).await.unwrap().generation, Generation(generation));
    }
    let granted = AuditFilter { action: Some(Action::Granted), ..AuditFilter::default() };
    let page = world.services.tenancy.list_audit(&world.by, granted, PageRequest::default()).await.unwrap();
    let seen = page.items.iter().map(|entry| (entry.detail["why"].as_str(), entry.count));
    assert_eq!(seen.collect::<Vec<_>>(), [(Some("known_key"), 29), (Some("first_key"), 1)]);
    assert_eq!(page.items[0].detail["generation"], 30);
}

async fn hello_stores_nothing(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let before = world.db.snapshot().await;
    for _ in 0..3 {
        world.services.devices.hello(&TestDevice::new("PF0ABCDE").hello_bytes()).await.unwrap();
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn another_server_of_the_same_keys_takes_the_proof(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let device = TestDevice::new("PF0ABCDE");
    let hello = device.hello_bytes();
    let challenge = world.services.devices.hello(&hello).await.unwrap();
    let other = world.another_server(9);
    let grant = other.devices.prove(&device.prove_bytes(&hello, &challenge)).await.unwrap();
    assert_eq!(grant.generation, Generation(1));
}

async fn a_secret_is_stored_nowhere(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Token).await;
    let new = NewToken {
        customer: world.customer,
        name: "Image".to_owned(),
        configuration: None,
        expires_at: None,
    };
    let (_, secret) = world.services.devices.create_token(&world.by, new).await.unwrap();
    let mut device = TestDevice::new("PF0ABCDE");
    device.token = Some(secret.clone());
    let grant = device.enroll(&world.services).await.unwrap();
    let (ticket, _) = world.services.devices.mint_reset_ticket(&world.by, grant.device_id).await.unwrap();
    let tables = format!("{:?}", world.db.snapshot().await);
    let page = PageRequest { size: Some(1000), after: None };
    let audit =
        world.services.tenancy.list_audit(&world.by, AuditFilter::default(), page.clone()).await.unwrap();
    let claims = world.services.claims.list_claims(&world.by, ClaimFilter::default(), page).await.unwrap();
    for secret in [secret, ticket] {
        assert!(!tables.contains(secret.expose()));
        assert!(!format!("{audit:?} {claims:?}").contains(secret.expose()));
        assert!(tables.contains(&Sha256::of(secret.expose().as_bytes()).to_string()));
    }
}

battery!(
    identifiers_are_enough_inside_the_window,
    a_token_enrolls_devices_of_its_customer,
    a_token_brings_a_configuration_that_the_claim_keeps,
    the_key_that_the_factory_registered_enrolls,
    a_lost_answer_is_given_again,
    a_device_that_enrolls_without_end_fills_no_disk,
    hello_stores_nothing,
    another_server_of_the_same_keys_takes_the_proof,
    a_secret_is_stored_nowhere,
);
