//! `POST /device/v1/check-in`

use crate::support::{TestServer, problem};
use reqwest::StatusCode;
use unbox_common::{
    bytes::FixedBytes,
    ids::Generation,
    protocol::latest::{CHECK_IN_PATH, CheckIn, News},
};
use unbox_server::keys::DeviceCertificate;

fn check_in() -> CheckIn {
    CheckIn {
        generation: Generation(1),
        agent_version: "0.1.0".to_owned(),
        installed: None,
        failed_version: None,
        healthy: true,
        nonce: FixedBytes([3; 32]),
        root_version: 1,
        renew_certificate: true,
    }
}

#[tokio::test]
async fn a_device_gets_news_and_a_new_certificate_for_its_key() {
    let server = TestServer::start().await;
    let device = server.enrolled("PF0ABCDE").await;
    let answer = server.post(&device.client, CHECK_IN_PATH, &check_in()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let news: News = answer.json().await.unwrap();
    assert_eq!(news.check_in_after_s, 3600);
    let leaf = DeviceCertificate::parse(news.certificate_chain[0].as_ref()).unwrap();
    assert_eq!((leaf.device, leaf.generation), (device.id, Generation(1)));
}

#[tokio::test]
async fn the_certificate_of_an_older_generation_is_worth_nothing() {
    let server = TestServer::start().await;
    let device = server.enrolled("PF0ABCDE").await;
    // The same device enrolls again, and completes it.
    let again = server.enroll_again(&device).await;
    let answer = server.post(&device.client, CHECK_IN_PATH, &check_in()).await;
    assert!(answer.status().is_client_error(), "{}", answer.status());
    problem(answer).await;
    let own = CheckIn { generation: Generation(2), ..check_in() };
    let answer = server.post(&again.client, CHECK_IN_PATH, &own).await;
    assert_eq!(answer.status(), StatusCode::OK);
}
