//! What is logged of a request, and what is not.

use crate::support::{TestDevice, TestServer};
use serde_json::Value;
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};
use unbox_common::{
    bytes::to_base64,
    protocol::latest::{Grant, HELLO_PATH, PROVE_PATH, REPORT_PATH},
    secret::Secret,
};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_request_is_one_line_that_names_the_device_and_nothing_secret() {
    let lines = Lines::default();
    let to = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || to.clone())
        .finish();
    // For the whole process: the servers of other tests may log here, too.
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let server = TestServer::start().await;
    let device = TestDevice::new("PF0SECRET");
    server.claim(&device).await;
    let (hello, challenge) = server.challenge(&device).await;
    let mut prove = device.prove(&hello, &challenge);
    prove.token = Some(Secret::new("ppt_verysecret".to_owned()));
    let answer = server.post(&server.stranger(), PROVE_PATH, &prove).await;
    let grant: Grant = answer.json().await.unwrap();
    server.stranger().post(server.at(REPORT_PATH)).body("PF0SECRET ppt_verysecret").send().await.unwrap();
    server.stop().await;

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let ticket = to_base64(challenge.ticket.as_ref());
    for secret in ["PF0SECRET", "20QES0XX00", "verysecret", &ticket, &to_base64(device.nonce.as_ref())] {
        assert!(!text.contains(secret), "{secret} in\n{text}");
    }
    let requests: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|line| line["target"] == "request")
        .collect();
    let line = |route: &str, status: u64| {
        let found = requests.iter().find(|line| line["route"] == route && line["status"] == status);
        found.unwrap_or_else(|| panic!("{route}, {status} in\n{text}"))
    };
    for (route, status) in [(HELLO_PATH, 200), (PROVE_PATH, 200), (REPORT_PATH, 401)] {
        let line = line(route, status);
        assert_eq!((&line["method"], &line["peer"]), (&"POST".into(), &"127.0.0.1".into()), "{line}");
        assert!(line["duration_us"].is_u64() && line["bytes"].is_u64(), "{line}");
    }
    assert!(line(HELLO_PATH, 200)["device"].is_null());
    assert_eq!(line(REPORT_PATH, 401)["refusal"], "proof_required");
    let device = requests.iter().find(|line| line["device"] == grant.device_id.get());
    assert_eq!(device.unwrap()["generation"], 1);
}
