//! Every refusal of a handshake: its kind, what it says, and that nothing changed but the count.

use crate::support::{START, TestDatabase, TestDevice, World, introduction, new_claim, refusal, serial_set};
use std::time::Duration;
use unbox_common::{
    digest::Sha256,
    identity::{Identifier, IdentifierKind},
    matching::IdentifierSet,
    protocol::{
        latest::{Hello, ProofKind},
        limits::MAX_HELLO_BYTES,
        problem::Problem,
    },
    refusal::RefusalKind,
    secret::Secret,
    timestamp::Timestamp,
};
use unbox_server::{
    domain::tenancy::audit::{Action, Entry, Subject},
    service::{NewClaim, NewToken, ServiceError},
    store::{AuditFilter, PageRequest},
};

const SERIAL: &str = "PF0ABCDE";

/// Enrolls, expects this refusal, and that nothing changed but the audit trail.
async fn refused(world: &World, device: &TestDevice, kind: RefusalKind) -> Problem {
    let before = world.db.snapshot().await;
    let problem = refusal(device.enroll(&world.services).await, kind);
    assert_eq!(world.db.snapshot().await, before, "{kind}");
    assert_eq!(problem.status, kind.status());
    problem
}

/// The refusals in the audit trail, once there are so many: they are written soon, not at once.
async fn audited(world: &World, entries: usize) -> Vec<Entry> {
    for _ in 0..3000 {
        let filter = AuditFilter { action: Some(Action::Refused), ..AuditFilter::default() };
        let page = PageRequest::default();
        let found = world.services.tenancy.list_audit(&world.by, filter, page).await.unwrap().items;
        if found.len() >= entries {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("fewer than {entries} refusals were audited")
}

async fn unknown_and_unclaimed_devices_get_the_same_bytes(db: TestDatabase) {
    let world = World::new(db).await;
    let unknown = refused(&world, &TestDevice::new("NOBODYS1"), RefusalKind::NotClaimed).await;
    assert_eq!(audited(&world, 1).await[0].subject, Subject::Unknown);

    world.claim(SERIAL, ProofKind::Identifiers).await;
    world.services.catalogue.set_default_configuration(&world.by, world.customer, None).await.unwrap();
    let unconfigured = refused(&world, &TestDevice::new(SERIAL), RefusalKind::NotClaimed).await;

    let mut near = TestDevice::new(SERIAL);
    near.replace(IdentifierKind::Model, "Another Model");
    let near = refused(&world, &near, RefusalKind::NotClaimed).await;

    let bytes = |problem| serde_json::to_vec(&problem).unwrap();
    let unknown = bytes(unknown);
    assert_eq!(unknown, bytes(unconfigured));
    assert_eq!(unknown, bytes(near));
}

async fn a_thousand_strangers_are_one_entry(db: TestDatabase) {
    let world = World::new(db).await;
    for number in 0..40 {
        let stranger = TestDevice::new(&format!("NOBODY{number}"));
        refusal(stranger.enroll(&world.services).await, RefusalKind::NotClaimed);
    }
    assert_eq!(audited(&world, 1).await.len(), 1);
}

async fn a_released_claim_is_as_good_as_none(db: TestDatabase) {
    let world = World::new(db).await;
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await;
    let device = TestDevice::new(SERIAL);
    let hello = device.hello_bytes();
    let challenge = world.services.devices.hello(&hello).await.unwrap();
    world.services.claims.unclaim(&world.by, claim.id).await.unwrap();
    let before = world.db.snapshot().await;
    let late = world.services.devices.prove(&device.prove_bytes(&hello, &challenge)).await;
    refusal(late, RefusalKind::NotClaimed);
    assert_eq!(world.db.snapshot().await, before);
    refused(&world, &device, RefusalKind::NotClaimed).await;
}

async fn a_proof_that_is_not_there_is_asked_for(db: TestDatabase) {
    let world = World::new(db).await;
    let claim = world.claim(SERIAL, ProofKind::Token).await;
    let mut device = TestDevice::new(SERIAL);
    let problem = refused(&world, &device, RefusalKind::ProofRequired).await;
    assert!(problem.detail.unwrap().contains("none was sent"));
    device.proofs = vec![ProofKind::Identifiers];
    let problem = refused(&world, &device, RefusalKind::ProofRequired).await;
    assert!(problem.detail.unwrap().contains("does not offer"));
    assert_eq!(problem.retry_after_s, Some(30));

    device.proofs = ProofKind::ALL.to_vec();
    world.services.claims.set_claim_proof(&world.by, claim.id, ProofKind::Tpm).await.unwrap();
    let problem = refused(&world, &device, RefusalKind::ProofRequired).await;
    assert!(problem.detail.unwrap().contains("TPM"), "refused with the reason");
}

async fn tokens_that_are_worth_nothing_are_refused_by_kind(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    world.claim(SERIAL, ProofKind::Token).await;
    let make = async |customer, expires_at| {
        let new = NewToken { customer, name: "Image".to_owned(), configuration: None, expires_at };
        world.services.devices.create_token(&world.by, new).await.unwrap()
    };
    let (_, foreign) = make(bolt, None).await;
    let (revoked_token, revoked) = make(world.customer, None).await;
    world.services.devices.revoke_token(&world.by, revoked_token.id).await.unwrap();
    let (_, expired) = make(world.customer, Some(START.plus(Duration::from_mins(1)))).await;
    world.clock.advance(Duration::from_mins(1));
    let mut device = TestDevice::new(SERIAL);
    for (secret, kind) in [
        (Secret::new("ppt_made_up".to_owned()), RefusalKind::InvalidToken),
        (Secret::new("x".repeat(10_000)), RefusalKind::InvalidToken),
        (foreign, RefusalKind::InvalidToken),
        (revoked, RefusalKind::RevokedToken),
        (expired, RefusalKind::RevokedToken),
    ] {
        device.token = Some(secret.clone());
        let problem = refused(&world, &device, kind).await;
        assert!(!serde_json::to_string(&problem).unwrap().contains(secret.expose()));
    }
}

async fn another_key_than_the_registered_one_is_no_match(db: TestDatabase) {
    let world = World::new(db).await;
    let registered = TestDevice::new(SERIAL);
    let key = Identifier::parse(IdentifierKind::DeviceKey, &registered.key().digest().to_string()).unwrap();
    let members: Vec<_> = serial_set(SERIAL).members().iter().cloned().chain([key.clone()]).collect();
    // One set with the key, and one that anybody with the box can show.
    let new = NewClaim {
        sets: vec![IdentifierSet::new(members).unwrap(), serial_set(SERIAL)],
        ..new_claim(world.customer, SERIAL, ProofKind::RegisteredKey)
    };
    world.services.claims.create_claim(&world.by, new).await.unwrap();
    let thief = registered.wiped();
    let problem = refused(&world, &thief, RefusalKind::ProofRequired).await;
    assert!(problem.detail.unwrap().contains("not the one that was registered"));

    // Saying that one has the key is not having it.
    let mut liar = registered.wiped();
    liar.identity.push((IdentifierKind::DeviceKey, key.value().to_owned()));
    refused(&world, &liar, RefusalKind::InvalidIdentifier).await;
}

async fn a_tpm_that_is_only_talked_about_matches_no_claim(db: TestDatabase) {
    let world = World::new(db).await;
    let tpm = Identifier::parse(IdentifierKind::TpmKey, &"a1".repeat(32)).unwrap();
    let new = NewClaim {
        sets: vec![IdentifierSet::new([tpm.clone()]).unwrap()],
        ..new_claim(world.customer, SERIAL, ProofKind::Identifiers)
    };
    world.services.claims.create_claim(&world.by, new).await.unwrap();
    let mut liar = TestDevice::new("OTHER123");
    liar.identity.push((IdentifierKind::TpmKey, tpm.value().to_owned()));
    refused(&world, &liar, RefusalKind::NotClaimed).await;
    liar.identity.retain(|(kind, _)| *kind == IdentifierKind::TpmKey);
    refused(&world, &liar, RefusalKind::InvalidIdentifier).await;
}

async fn a_tpm_that_somebody_else_introduces_opens_no_claim_without_its_proof(db: TestDatabase) {
    let world = World::new(db).await;
    let introduced = introduction();
    let key = Sha256::of(introduced.endorsement_key.as_ref()).to_string();
    let tpm = Identifier::parse(IdentifierKind::TpmKey, &key).unwrap();
    let new = NewClaim {
        sets: vec![IdentifierSet::new([tpm]).unwrap()],
        ..new_claim(world.customer, SERIAL, ProofKind::Identifiers)
    };
    let claim = world.services.claims.create_claim(&world.by, new).await.unwrap();
    let hello = Hello { tpm: Some(introduced), ..TestDevice::new("OTHER123").hello() };
    let hello = serde_json::to_vec(&hello).unwrap();
    let before = world.db.snapshot().await;
    refusal(world.services.devices.hello(&hello).await, RefusalKind::NotClaimed);
    assert_eq!(world.db.snapshot().await, before);
    // The same hello finds the claim once the TPM is asked, and then it cannot be vouched for by a word.
    world.services.claims.set_claim_proof(&world.by, claim.id, ProofKind::Tpm).await.unwrap();
    refusal(world.services.devices.hello(&hello).await, RefusalKind::ProofRequired);
}

async fn identifiers_that_break_a_rule_are_named(db: TestDatabase) {
    let world = World::new(db).await;
    let mut device = TestDevice::new("To Be Filled By O.E.M.");
    let problem = refused(&world, &device, RefusalKind::InvalidIdentifier).await;
    assert!(problem.detail.unwrap().contains("placeholder"));
    assert_eq!(problem.retry_after_s, None, "asking again cannot help");
    device.identity.retain(|(kind, _)| *kind == IdentifierKind::Model);
    refused(&world, &device, RefusalKind::InvalidIdentifier).await;
    assert_eq!(audited(&world, 1).await[0].detail["kind"], "invalid_identifier");
}

async fn one_hello_asks_about_one_device(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    for (kind, guesses) in [
        (IdentifierKind::SerialNumber, (10..70).map(|n| format!("PF0ABC{n}")).collect::<Vec<_>>()),
        (IdentifierKind::ServiceTag, vec!["7XK9Q13".to_owned(), "7XK9Q14".to_owned()]),
        (IdentifierKind::MacAddress, (0..17).map(|n| format!("00:16:3e:00:01:{n:02x}")).collect()),
    ] {
        let mut device = TestDevice::new(SERIAL);
        device.identity.truncate(3);
        device.identity.extend(guesses.into_iter().map(|guess| (kind, guess)));
        let problem = refused(&world, &device, RefusalKind::InvalidIdentifier).await;
        assert!(problem.detail.unwrap().contains("than one device has"), "{kind}");
    }
}

async fn what_is_not_this_protocol_is_refused(db: TestDatabase) {
    let world = World::new(db).await;
    let device = TestDevice::new(SERIAL);
    let other_version =
        String::from_utf8(device.hello_bytes()).unwrap().replace("\"protocol\":1", "\"protocol\":2");
    let long_version = String::from_utf8(device.hello_bytes()).unwrap().replace("0.1.0", &"9".repeat(65));
    let before = world.db.snapshot().await;
    for body in [
        b"".to_vec(),
        b"{}".to_vec(),
        vec![b' '; MAX_HELLO_BYTES + 1],
        other_version.into_bytes(),
        long_version.into_bytes(),
    ] {
        refusal(world.services.devices.hello(&body).await, RefusalKind::UnsupportedProtocol);
        refusal(world.services.devices.prove(&body).await, RefusalKind::UnsupportedProtocol);
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_message_that_cannot_be_read_does_not_repeat_itself(db: TestDatabase) {
    let world = World::new(db).await;
    let body =
        br#"{"ticket":"AAAA","signature":"AAAA","token":"ppt_secret","reset_ticket":{"ppt_secret":1}}"#;
    let problem = refusal(world.services.devices.prove(body).await, RefusalKind::UnsupportedProtocol);
    assert!(!format!("{problem:?}").contains("ppt_secret"), "{problem:?}");
}

async fn a_ticket_is_good_for_two_minutes_and_here_only(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    let device = TestDevice::new(SERIAL);
    let hello = device.hello_bytes();
    let mut challenge = world.services.devices.hello(&hello).await.unwrap();
    let prove = device.prove_bytes(&hello, &challenge);
    let before = world.db.snapshot().await;
    for now in [START.plus(Duration::from_mins(2)), START.minus(Duration::from_secs(31))] {
        world.clock.set(now);
        refusal(world.services.devices.prove(&prove).await, RefusalKind::ClockSkew);
    }
    world.clock.set(START);
    let at = challenge.ticket.0.len() - 9;
    challenge.ticket.0[at] ^= 1;
    let tampered = device.prove_bytes(&hello, &challenge);
    refusal(world.services.devices.prove(&tampered).await, RefusalKind::ClockSkew);
    assert_eq!(world.db.snapshot().await, before);
    world.clock.set(START.plus(Duration::from_secs(119)));
    world.services.devices.prove(&prove).await.unwrap();
}

async fn a_signature_is_for_one_handshake_and_one_key(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    let (device, thief) = (TestDevice::new(SERIAL), TestDevice::new(SERIAL));
    let hello = device.hello_bytes();
    let challenge = world.services.devices.hello(&hello).await.unwrap();
    let before = world.db.snapshot().await;
    let by_another_key = thief.prove_bytes(&hello, &challenge);
    let of_another_hello = device.prove_bytes(b"{}", &challenge);
    let mut other = challenge.clone();
    other.proof = ProofKind::Token;
    let of_another_proof = device.prove_bytes(&hello, &other);
    for body in [by_another_key, of_another_hello, of_another_proof] {
        refusal(world.services.devices.prove(&body).await, RefusalKind::ProofRequired);
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_disabled_device_is_told_its_owners_words(db: TestDatabase) {
    let world = World::new(db).await;
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await;
    let id = world.services.devices.device_of_claim(&world.by, claim.id).await.unwrap().id;
    let message = Some("Lost. Please call +41 44 000 00 00.".to_owned());
    world.services.devices.disable_device(&world.by, id, message.clone()).await.unwrap();
    let device = TestDevice::new(SERIAL);
    let problem = refused(&world, &device, RefusalKind::Disabled).await;
    assert_eq!(problem.message, message);
    world.services.devices.enable_device(&world.by, id).await.unwrap();
    device.enroll(&world.services).await.unwrap();
    world.services.devices.deprovision_device(&world.by, id).await.unwrap();
    let problem = refused(&world, &device, RefusalKind::Deprovisioned).await;
    assert_eq!(problem.retry_after_s, None);
}

async fn a_device_disabled_between_hello_and_prove_is_refused(db: TestDatabase) {
    let world = World::new(db).await;
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await;
    let device = TestDevice::new(SERIAL);
    let hello = device.hello_bytes();
    let challenge = world.services.devices.hello(&hello).await.unwrap();
    let id = world.services.devices.device_of_claim(&world.by, claim.id).await.unwrap().id;
    world.services.devices.disable_device(&world.by, id, None).await.unwrap();
    let before = world.db.snapshot().await;
    refusal(
        world.services.devices.prove(&device.prove_bytes(&hello, &challenge)).await,
        RefusalKind::Disabled,
    );
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_raised_proof_counts_at_once(db: TestDatabase) {
    let world = World::new(db).await;
    let claim = world.claim(SERIAL, ProofKind::Identifiers).await;
    let device = TestDevice::new(SERIAL);
    let hello = device.hello_bytes();
    let challenge = world.services.devices.hello(&hello).await.unwrap();
    world.services.claims.set_claim_proof(&world.by, claim.id, ProofKind::Token).await.unwrap();
    let before = world.db.snapshot().await;
    refusal(
        world.services.devices.prove(&device.prove_bytes(&hello, &challenge)).await,
        RefusalKind::ProofRequired,
    );
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_failing_database_is_no_refusal(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    world.db.tamper("UPDATE claims SET proof = 'damaged'");
    let error = TestDevice::new(SERIAL).enroll(&world.services).await.unwrap_err();
    assert!(matches!(error, ServiceError::Storage(_)), "{error:?}");
    assert_eq!(error.to_string(), "the database failed", "what a client may see");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("table claims, row"), "{cause}");
}

/// The clock of a server that runs a little ahead of its neighbour's.
async fn servers_may_differ_by_seconds(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim(SERIAL, ProofKind::Identifiers).await;
    let device = TestDevice::new(SERIAL);
    let hello = device.hello_bytes();
    let challenge = world.services.devices.hello(&hello).await.unwrap();
    world.clock.set(Timestamp(START.0 - 20_000));
    world.services.devices.prove(&device.prove_bytes(&hello, &challenge)).await.unwrap();
}

battery!(
    unknown_and_unclaimed_devices_get_the_same_bytes,
    a_thousand_strangers_are_one_entry,
    a_released_claim_is_as_good_as_none,
    a_proof_that_is_not_there_is_asked_for,
    tokens_that_are_worth_nothing_are_refused_by_kind,
    another_key_than_the_registered_one_is_no_match,
    a_tpm_that_is_only_talked_about_matches_no_claim,
    a_tpm_that_somebody_else_introduces_opens_no_claim_without_its_proof,
    identifiers_that_break_a_rule_are_named,
    one_hello_asks_about_one_device,
    what_is_not_this_protocol_is_refused,
    a_message_that_cannot_be_read_does_not_repeat_itself,
    a_ticket_is_good_for_two_minutes_and_here_only,
    a_signature_is_for_one_handshake_and_one_key,
    a_disabled_device_is_told_its_owners_words,
    a_device_disabled_between_hello_and_prove_is_refused,
    a_raised_proof_counts_at_once,
    a_failing_database_is_no_refusal,
    servers_may_differ_by_seconds,
);
