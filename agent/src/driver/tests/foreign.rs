//! Grants that belong to other devices, and hosts other than the server.

use super::*;
use crate::entropy::Entropy;
use crate::handshake::DeviceKey;

/// Makes an unenrolled device with a grant, whose network process is taken over.
async fn granted() -> World {
    let world = World::new();
    assert_eq!(world.stage("identity").await, Exit::Done);
    assert_eq!(world.stage("handshake").await, Exit::Done);
    assert_eq!(world.phase(), "unenrolled");
    world
}

/// Makes the grant that the same server signs for another device.
fn grant_of(world: &World, key: &DeviceKey) -> Vec<u8> {
    let mut hello = world.scene().hello.clone().unwrap();
    hello.device_key = key.public().clone();
    let scene = Scene { device: 8, generation: 1, hello: Some(hello), ..Scene::default() };
    scene.grant(FixedBytes([3; 32])).to_string().into_bytes()
}

fn assert_untouched(world: &World) {
    assert_eq!((world.installed_version(), world.phase()), (None, "unenrolled"));
    assert!(!world.artifact_is_installed() && !world.layout.enrolled_marker().exists());
}

#[tokio::test]
async fn a_fresh_device_installs_nothing_that_was_granted_to_another_key() {
    let world = granted().await;
    let other = DeviceKey::generate(&Entropy::system()).unwrap();
    files::replace(&world.layout.grant(), &grant_of(&world, &other), 0o600).unwrap();
    assert_eq!(world.stage("install").await, Exit::Administrator);
    let outcome = files::read(&world.layout.outcome(), 1 << 20).unwrap().unwrap();
    let outcome: OutcomeFile = serde_json::from_slice(&outcome).unwrap();
    assert!(matches!(outcome.outcome, Outcome::Rejected { kind, .. } if kind == "payload_wrong_key"));
    assert_untouched(&world);
}

#[tokio::test]
async fn a_public_key_in_the_place_of_the_devices_key_proves_nothing() {
    let world = granted().await;
    let other = DeviceKey::generate(&Entropy::system()).unwrap();
    files::replace(&world.layout.grant(), &grant_of(&world, &other), 0o600).unwrap();
    let spki = unbox_common::bytes::to_base64(other.public().spki());
    let public = format!("-----BEGIN PUBLIC KEY-----\n{spki}\n-----END PUBLIC KEY-----\n");
    // Well-formed, but no TPM can make this key.
    for claimed in [public, in_a_tpm(&other)] {
        files::replace(&world.layout.device_key(), claimed.as_bytes(), 0o600).unwrap();
        assert_ne!(world.stage("install").await, Exit::Done, "{claimed}");
        assert_untouched(&world);
        assert!(!world.layout.outcome().exists(), "the grant was not even judged");
    }
}

#[tokio::test]
async fn a_grant_waits_for_a_tpm_that_is_not_there_yet() {
    let world = granted().await;
    let key = std::fs::read(world.layout.device_key()).unwrap();
    let made = DeviceKey::generate(&Entropy::system()).unwrap();
    let in_tpm = in_a_tpm(&made);
    files::replace(&world.layout.device_key(), in_tpm.as_bytes(), 0o600).unwrap();
    for stage in ["install", "install", "handshake"] {
        assert_eq!(world.stage(stage).await, Exit::TryAgain, "{stage}");
        assert_untouched(&world);
        assert!(!world.layout.outcome().exists() && world.layout.grant().exists());
        assert_eq!(std::fs::read(world.layout.device_key()).unwrap(), in_tpm.as_bytes());
        let said = world.paper.text();
        assert!(said.contains("Code: tpm_failed") && said.contains("`unbox-agent reset`"), "{said}");
    }
    files::replace(&world.layout.device_key(), &key, 0o600).unwrap();
    assert_eq!(world.stage("install").await, Exit::Done);
    assert_eq!(world.phase(), "managed");
}

/// Makes the file of a key that is said to be in a TPM.
fn in_a_tpm(key: &DeviceKey) -> String {
    let stored = json!({
        "held_in": "tpm", "salt": FixedBytes([1; 32]), "device_key": Bytes(device_key_area(key)),
        "tpm": {"endorsement_key": "", "attestation_key": ""},
    });
    stored.to_string()
}

/// Makes the public area that a TPM would give this key, if it held it.
fn device_key_area(key: &DeviceKey) -> Vec<u8> {
    let template = unbox_common::attestation::KeyRole::Device.template(&[1; 32]);
    let point = key.public().spki();
    let (x, y) = point[point.len() - 64..].split_at(32);
    let unique: Vec<u8> = [x, y].iter().flat_map(|half| [&[0, 32], *half].concat()).collect();
    let parameters = template.len() - 4 - 32;
    [&template[..parameters], &unique].concat()
}

#[tokio::test]
async fn a_grant_whose_key_is_gone_is_not_installed_and_another_is_asked_for() {
    for damage in [None, Some("half a k")] {
        let world = granted().await;
        match damage {
            None => files::discard(&world.layout.device_key()).unwrap(),
            Some(text) => files::replace(&world.layout.device_key(), text.as_bytes(), 0o600).unwrap(),
        }
        assert_eq!(world.stage("install").await, Exit::Done);
        assert!(!world.layout.grant().exists());
        assert_untouched(&world);
        assert_eq!(world.run().await, Exit::Done);
        assert_eq!((world.phase(), world.scene().hellos.len()), ("managed", 2));
    }
}

#[tokio::test]
async fn only_the_enrollment_server_sees_the_devices_certificate() {
    let world = World::new();
    let elsewhere = TestServer::start(|_| Reply::with("200 OK", &[], ARTIFACT));
    let anchors = format!("{}{}", world.server.anchor_pem(), elsewhere.anchor_pem());
    files::replace(&world.root.join("etc/unbox/trust/anchors.pem"), anchors.as_bytes(), 0o644).unwrap();
    assert_eq!(world.run().await, Exit::Done);
    assert!(world.server.requests().iter().any(|request| request.certified), "reports are certified");

    (world.scene().version, world.scene().sends_payload) = (60, true);
    world.scene().host = Some(elsewhere.url());
    std::fs::remove_dir_all(world.layout.artifacts()).unwrap();
    assert_eq!(world.stage("check-in").await, Exit::Done);
    let fetched = elsewhere.requests();
    assert_eq!(fetched.len(), 1);
    assert!(!fetched[0].certified, "a stranger learns which device it is");
    let check_in = world.server.requests().into_iter().rfind(|request| request.line.contains("check-in"));
    assert!(check_in.unwrap().certified);
}
