//! `/device/v1`: what is true of every message of devices; then one file for each.

mod check_in;
mod hello;
mod prove;
mod report;

use crate::support::{TestServer, problem};
use reqwest::StatusCode;
use unbox_common::{
    protocol::{
        latest::{CHECK_IN_PATH, HELLO_PATH, PROVE_PATH, REPORT_PATH},
        limits::{MAX_CHECK_IN_BYTES, MAX_HELLO_BYTES, MAX_PROVE_BYTES, MAX_REPORT_BYTES},
    },
    refusal::RefusalKind,
};

const MESSAGES: [(&str, usize); 4] = [
    (HELLO_PATH, MAX_HELLO_BYTES),
    (PROVE_PATH, MAX_PROVE_BYTES),
    (REPORT_PATH, MAX_REPORT_BYTES),
    (CHECK_IN_PATH, MAX_CHECK_IN_BYTES),
];

#[tokio::test]
async fn a_message_that_is_none_is_refused_and_changes_nothing() {
    let server = TestServer::start().await;
    let device = server.enrolled("PF0ABCDE").await;
    let before = server.everything().await;
    for (path, limit) in MESSAGES {
        for (content_type, body, status) in [
            ("application/json", b"".to_vec(), 400),
            ("application/json", b"{}".to_vec(), 400),
            ("application/json", b"[1, 2".to_vec(), 400),
            ("application/json", b"null".to_vec(), 400),
            ("application/json", vec![0xff; 16], 400),
            ("application/json", vec![b'['; 10_000], 400),
            ("application/json", vec![b' '; limit + 1], 413),
            ("text/plain", b"{}".to_vec(), 415),
            ("application/json-patch+json", b"{}".to_vec(), 415),
            ("", b"{}".to_vec(), 415),
        ] {
            let request = device.client.post(server.at(path)).header("content-type", content_type);
            let shown = format!("{path}, {content_type}, {} bytes", body.len());
            let answer = request.body(body).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{shown}");
            assert_eq!(answer.headers()["cache-control"], "no-store", "{shown}");
            let problem = problem(answer).await;
            assert_eq!(problem.kind, RefusalKind::UnsupportedProtocol, "{shown}");
            assert_eq!(problem.status, status, "{shown}");
        }
    }
    assert_eq!(server.everything().await, before);
}

#[tokio::test]
async fn a_body_without_announced_length_stops_at_the_limit() {
    let server = TestServer::start().await;
    let device = server.enrolled("PF0ABCDE").await;
    for (path, limit) in MESSAGES {
        let chunks = (0..=limit / 1000).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1000]));
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        let request = device.client.post(server.at(path)).header("content-type", "application/json");
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
}

#[tokio::test]
async fn another_method_or_path_is_told_so() {
    let server = TestServer::start().await;
    let client = server.stranger();
    for (path, _) in MESSAGES {
        let answer = client.get(server.at(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        assert_eq!(answer.headers()["allow"], "POST", "{path}");
        assert_eq!(problem(answer).await.kind, RefusalKind::UnsupportedProtocol, "{path}");
    }
    let answer = client.post(server.at("/device/v2/hello")).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert_eq!(problem(answer).await.kind, RefusalKind::UnsupportedProtocol);
}

#[tokio::test]
async fn without_a_certificate_nothing_of_an_enrolled_device_is_read() {
    let server = TestServer::start().await;
    let before = server.everything().await;
    let client = server.stranger();
    for path in [REPORT_PATH, CHECK_IN_PATH] {
        for body in ["{}", "not even JSON"] {
            let answer = client.post(server.at(path)).body(body).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
            let problem = problem(answer).await;
            assert_eq!(problem.kind, RefusalKind::ProofRequired, "{path}");
            assert!(problem.detail.unwrap().contains("client certificate"), "{path}");
        }
    }
    assert_eq!(server.everything().await, before);
}

#[tokio::test]
async fn a_certificate_of_another_server_is_no_certificate() {
    let (server, other) = (TestServer::start().await, TestServer::start().await);
    let device = other.enrolled("PF0ABCDE").await;
    // It trusts this server, and shows what the other one issued.
    let stranger = server.client_with(Some(&device.identity()));
    let before = server.everything().await;
    for (path, _) in MESSAGES {
        let refused = stranger.post(server.at(path)).body("{}").send().await.unwrap_err();
        assert!(refused.status().is_none(), "{path}: no HTTP at all");
    }
    assert_eq!(server.everything().await, before);
}
