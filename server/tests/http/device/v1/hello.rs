//! `POST /device/v1/hello`

use crate::support::{TestDevice, TestServer, exact, problem, retry_after};
use reqwest::StatusCode;
use unbox_common::{
    protocol::latest::{Challenge, HELLO_PATH, ProofKind},
    refusal::RefusalKind,
};

#[tokio::test]
async fn a_claimed_device_is_challenged_and_nothing_is_stored() {
    let server = TestServer::start().await;
    let device = TestDevice::new("PF0ABCDE");
    server.claim(&device).await;
    let before = server.everything().await;
    let answer = server.post(&server.stranger(), HELLO_PATH, &device.hello()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let challenge: Challenge = answer.json().await.unwrap();
    assert_eq!(challenge.proof, ProofKind::Identifiers);
    assert_eq!(server.everything().await, before);
}

#[tokio::test]
async fn unknown_and_unclaimed_devices_get_byte_equal_answers() {
    let server = TestServer::start().await;
    let (unknown, released) = (TestDevice::new("PF0AAAAA"), TestDevice::new("PF0BBBBB"));
    let unconfigured = TestDevice::new("PF0CCCCC");
    let claim = server.claim(&released).await;
    server.services().unclaim(&server.operator, claim).await.unwrap();
    server.claim_without_configuration(&unconfigured).await;
    let client = server.stranger();
    let mut answers = Vec::new();
    for device in [&unknown, &released, &unconfigured] {
        answers.push(exact(server.post(&client, HELLO_PATH, &device.hello()).await).await);
    }
    assert!(answers[0].contains("404") && answers[0].contains("not_claimed"), "{}", answers[0]);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[tokio::test]
async fn another_version_of_the_protocol_is_refused() {
    let server = TestServer::start().await;
    let mut hello = TestDevice::new("PF0ABCDE").hello();
    hello.protocol = 2;
    let answer = server.post(&server.stranger(), HELLO_PATH, &hello).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(problem(answer).await.kind, RefusalKind::UnsupportedProtocol);
}

#[tokio::test]
async fn one_address_may_ask_so_often_and_is_told_when_to_come_back() {
    let server = TestServer::with("[limits]\naddress_burst = 3\naddress_per_second = 1").await;
    let client = server.stranger();
    let mut statuses = Vec::new();
    for serial in ["PF0AAAAA", "QG0BBBBB", "RH0CCCCC", "SI0DDDDD"] {
        let answer = server.post(&client, HELLO_PATH, &TestDevice::new(serial).hello()).await;
        statuses.push(answer.status().as_u16());
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let header = retry_after(&answer);
            let problem = problem(answer).await;
            assert_eq!(problem.kind, RefusalKind::TooManyRequests);
            assert_eq!(problem.retry_after_s, Some(header));
            assert!((1..=62).contains(&header), "{header}");
        }
    }
    assert_eq!(statuses, [404, 404, 404, 429]);
}

#[tokio::test]
async fn one_series_of_serial_numbers_may_be_asked_for_so_often() {
    let server = TestServer::with("[limits]\nseries_burst = 2\nseries_per_second = 1").await;
    let client = server.stranger();
    let mut statuses = Vec::new();
    for serial in ["PF0AB001", "PF0AB002", "PF0AB003", "QX7ZZ001"] {
        let answer = server.post(&client, HELLO_PATH, &TestDevice::new(serial).hello()).await;
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [404, 404, 429, 404]);
}
