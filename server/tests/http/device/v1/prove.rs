//! `POST /device/v1/prove`

use crate::support::{TestDevice, TestServer, problem};
use reqwest::StatusCode;
use unbox_common::{
    bytes::{Bytes, FixedBytes},
    ids::Generation,
    protocol::latest::{PROVE_PATH, Prove},
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
