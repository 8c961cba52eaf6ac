//! `POST /device/v1/prove`

use crate::support::{TestDevice, TestServer, problem, retry_after};
use reqwest::StatusCode;
use unbox_common::{
    bytes::{Bytes, FixedBytes},
    ids::Generation,
    protocol::latest::{PROVE_PATH, Prove},
    refusal::RefusalKind,
    trust::{Signed, SigningRoot},
};
use unbox_server::keys::DeviceCertificate;

#[tokio::test]
async fn a_device_that_proves_its_key_is_enrolled_with_a_payload_that_its_image_trusts() {
    let server = TestServer::start().await;
    let device = TestDevice::new("PF0ABCDE");
    server.claim(&device).await;
    let grant = server.grant(&device).await;
    assert_eq!(grant.generation, Generation(1));
    let [leaf, _authority] = grant.certificate_chain.as_slice() else { panic!("leaf and authority") };
    let named = DeviceCertificate::parse(leaf.as_ref()).unwrap();
    assert_eq!((named.device, named.generation), (grant.device_id, Generation(1)));
    let root: Signed<SigningRoot> = serde_json::from_slice(&server.trusted_root()).unwrap();
    let root = SigningRoot::from_image(&root).unwrap();
    let payload = grant.payload.verify(&root.payload_keys).unwrap();
    assert_eq!((payload.device, payload.nonce), (grant.device_id, device.nonce));
}

#[tokio::test]
async fn a_signature_by_another_key_enrolls_nobody() {
    let server = TestServer::start().await;
    let (device, thief) = (TestDevice::new("PF0ABCDE"), TestDevice::new("PF0ABCDE"));
    server.claim(&device).await;
    let (hello, challenge) = server.challenge(&device).await;
    let before = server.everything().await;
    let honest = device.prove(&hello, &challenge);
    let changes: [fn(&mut Prove); 4] = [
        |prove| prove.signature = FixedBytes([7; 64]),
        |prove| prove.ticket.0[40] ^= 1,
        |prove| prove.ticket = Bytes(vec![0; 200]),
        |prove| prove.ticket = Bytes(Vec::new()),
    ];
    for change in changes {
        let mut forged = honest.clone();
        change(&mut forged);
        let answer = server.post(&server.stranger(), PROVE_PATH, &forged).await;
        assert!(answer.status().is_client_error(), "{}", answer.status());
        problem(answer).await;
    }
    let stolen = thief.prove(&hello, &challenge);
    let answer = server.post(&server.stranger(), PROVE_PATH, &stolen).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(server.devices().await, before.devices);
}

#[tokio::test]
async fn a_device_enrolls_only_so_often_and_others_are_not_kept_out() {
    let server = TestServer::with("[limits]\ndevice_burst = 2\ndevice_per_minute = 1").await;
    let (device, other) = (TestDevice::new("PF0ABCDE"), TestDevice::new("PF0XYZAB"));
    server.claim(&device).await;
    server.claim(&other).await;
    for generation in 1..=2 {
        assert_eq!(server.grant(&device).await.generation.0, generation);
    }
    let (hello, challenge) = server.challenge(&device).await;
    let before = server.everything().await;
    // From another address, too.
    for client in [server.stranger(), server.stranger_at("127.0.0.2")] {
        let refused = server.post(&client, PROVE_PATH, &device.prove(&hello, &challenge)).await;
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(retry_after(&refused) > 0);
        assert_eq!(problem(refused).await.kind, RefusalKind::TooManyRequests);
    }
    assert_eq!(server.everything().await, before);
    assert_eq!(server.grant(&other).await.generation.0, 1);
}
