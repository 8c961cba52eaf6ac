//! `/healthz`, `/readyz`, `/metrics`, on the address of devices and on the plain one.

use crate::support::{Exact, TestDevice, TestServer};
use unbox_common::protocol::latest::HELLO_PATH;

#[tokio::test]
async fn a_server_that_works_says_so() {
    let server = TestServer::start().await;
    for path in ["/healthz", "/readyz"] {
        let answer = Exact::of(server.stranger().get(server.at(path)).send().await.unwrap()).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, b"{\"status\":\"ok\"}".as_slice()),
            "{path}"
        );
    }
    server.services().close().await;
    // The outcome of a moment ago counts for a second.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let answer = Exact::of(server.stranger().get(server.at("/readyz")).send().await.unwrap()).await;
    assert_eq!(answer.status, 503, "without its database it is not ready");
}

#[tokio::test]
async fn what_happened_is_counted_and_a_scanner_cannot_fill_the_counters() {
    let server = TestServer::start().await;
    let client = server.stranger();
    server.post(&client, HELLO_PATH, &TestDevice::new("PF0ABCDE").hello()).await;
    for number in 0..10 {
        client.get(server.at(&format!("/wp-login-{number}.php"))).send().await.unwrap();
    }
    server.enrolled("PF0XYZAB").await;
    let metrics = Exact::of(client.get(server.metrics_at()).send().await.unwrap()).await;
    assert_eq!(
        metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = String::from_utf8(metrics.body).unwrap();
    for line in [
        "unbox_requests_total{route=\"none\",status=\"404\"} 10",
        "unbox_requests_total{route=\"/device/v1/hello\",status=\"404\"} 1",
        "unbox_refusals_total{kind=\"not_claimed\"} 1",
        "unbox_enrollments_total{generation=\"first\"} 1",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("PF0") && !text.contains("wp-login"), "{text}");
}

#[tokio::test]
async fn metrics_are_served_on_their_own_address_and_nowhere_else() {
    let server = TestServer::start().await;
    let client = server.stranger();
    for elsewhere in [server.at("/metrics"), server.plain_at("/metrics"), server.api_at("/metrics")] {
        assert_eq!(client.get(&elsewhere).send().await.unwrap().status().as_u16(), 404, "{elsewhere}");
    }
    assert_eq!(client.get(server.metrics_at()).send().await.unwrap().status().as_u16(), 200);
    let other = server.metrics_at().replace("/metrics", "/openapi.json");
    assert_eq!(client.get(other).send().await.unwrap().status().as_u16(), 404);
}

#[tokio::test]
async fn the_plain_address_serves_operators_and_no_devices() {
    let server = TestServer::with("").await;
    let client = server.stranger();
    for (path, status) in [("/healthz", 200), ("/readyz", 200), ("/metrics", 404), ("/", 404)] {
        let answer = client.get(server.plain_at(path)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
    let answer = client.post(server.plain_at(HELLO_PATH)).body("{}").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 404);
}
