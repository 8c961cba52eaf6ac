//! Bodies that are packed: read up to the same size as others, or refused with what to do.

use crate::{
    api::Api,
    support::{TestDevice, TestServer, problem},
};
use flate2::{Compression, write::GzEncoder};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::io::Write as _;
use unbox_common::protocol::latest::HELLO_PATH;

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn hello(server: &TestServer, coding: &str, body: Vec<u8>) -> Response {
    let request = server.stranger().post(server.at(HELLO_PATH)).header("content-type", "application/json");
    request.header("content-encoding", coding).body(body).send().await.unwrap()
}

impl Api {
    async fn send_packed(
        &self,
        who: &str,
        (method, path): (Method, &str),
        coding: &str,
        body: Vec<u8>,
    ) -> (u16, Value) {
        let request =
            self.server.stranger().request(method, self.server.at(path)).bearer_auth(&self.keys[who]);
        let kind = if path.ends_with(":import") { "text/csv" } else { "application/json" };
        let request = request.header("content-type", kind).header("content-encoding", coding);
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}

#[tokio::test]
async fn a_message_of_a_device_may_be_packed_and_is_no_larger_for_it() {
    let server = TestServer::start().await;
    let device = TestDevice::new("PF0ABCDE");
    server.claim(&device).await;
    let message = serde_json::to_vec(&device.hello()).unwrap();
    for coding in ["gzip", "GZIP", "x-gzip", "identity, gzip"] {
        assert_eq!(hello(&server, coding, packed(&message)).await.status(), 200, "{coding}");
    }
    assert_eq!(hello(&server, "identity", message.clone()).await.status(), 200);
    let before = server.everything().await;
    let bomb = packed(&vec![b' '; 4 * 1024 * 1024]);
    let mut cut = packed(&message);
    cut.truncate(cut.len() - 9);
    for (coding, body, status) in [
        ("gzip", bomb, 413),
        ("gzip", cut, 400),
        ("gzip", message.clone(), 400),
        ("gzip, gzip", packed(&packed(&message)), 415),
        ("br", message.clone(), 415),
        ("deflate", message.clone(), 415),
        ("zstd", message, 415),
    ] {
        let refused = problem(hello(&server, coding, body).await).await;
        assert_eq!(refused.status, status, "{coding}");
        if status != 413 {
            assert!(refused.detail.unwrap().contains("send it as it is"), "{coding}");
        }
    }
    assert_eq!(server.everything().await, before);
}

#[tokio::test]
async fn a_message_of_the_management_api_may_be_packed() {
    let api = Api::start().await;
    let device = TestDevice::new("PF0ABCDE");
    let claim = json!({
        "customerId": api.customer.to_string(),
        "sectionType": "SECTION_TYPE_ZERO_TOUCH",
        "deviceIdentifier": device.identifier(),
    });
    let path = api.partner_path("devices:claim");
    let claim = claim.to_string().into_bytes();
    let post = (Method::POST, path.as_str());
    let (status, made) = api.send_packed("partner", post.clone(), "gzip", packed(&claim)).await;
    assert_eq!(status, 200, "{made}");
    for (coding, body, expected) in [
        ("gzip", packed(&vec![b' '; 8 * 1024 * 1024]), 413),
        ("gzip", b"{}".to_vec(), 400),
        ("br", claim, 415),
    ] {
        let (status, refused) = api.send_packed("partner", post.clone(), coding, body).await;
        assert_eq!((status, &refused["error"]["code"]), (expected, &json!(expected)), "{refused}");
    }
    let get = api.partner_path(&format!("devices/{}", made["deviceId"].as_str().unwrap()));
    let (status, _) = api.send_packed("partner", (Method::GET, &get), "gzip", Vec::new()).await;
    assert_eq!(status, 200, "a message without a body");
}

#[tokio::test]
async fn files_are_read_as_they_are() {
    let api = Api::start().await;
    let file = format!("serial,model,manufacturer,owner\nS1,G3,Acme,{}\n", api.customer);
    let import = api.partner_path("devices:import");
    let upload = format!("/upload/v1/customers/{}/artifacts?uploadType=media&name=x", api.customer);
    for (who, path) in [("partner", import.as_str()), ("customer", &upload)] {
        for coding in ["gzip", "br"] {
            let post = (Method::POST, path);
            let (status, refused) = api.send_packed(who, post, coding, packed(file.as_bytes())).await;
            assert_eq!(status, 415, "{refused}");
            let message = refused["error"]["message"].as_str().unwrap();
            assert!(message.contains("Send it unpacked"), "{message}");
        }
    }
    let artifacts = api.customer_path("artifacts");
    assert_eq!(api.call("customer", Method::GET, &artifacts, Value::Null).await, (200, json!({})));
    let start = format!("/upload/v1/customers/{}/artifacts?uploadType=resumable", api.customer);
    let request = api.server.stranger().post(api.server.at(&start)).bearer_auth(&api.keys["customer"]);
    let request = request.header("content-type", "application/json").header("content-encoding", "gzip");
    let started = request.body(packed(br#"{"artifactName": "dpc.tar"}"#)).send().await.unwrap();
    assert_eq!(started.status(), 200);
    assert!(started.headers().contains_key("location"));
}

#[tokio::test]
async fn a_token_request_and_a_batch_say_how_they_may_be_packed() {
    let api = Api::start().await;
    let token = api.server.stranger().post(api.server.at("/token"));
    let token = token.header("content-type", "application/x-www-form-urlencoded");
    let refused = token.header("content-encoding", "br").body("grant_type=x").send().await.unwrap();
    assert_eq!(refused.status(), 415);
    let refused: Value = refused.json().await.unwrap();
    assert!(refused["error_description"].as_str().unwrap().contains("Pack it by gzip"), "{refused}");

    let call = format!(
        "--x\r\nContent-Type: application/http\r\n\r\nGET {} HTTP/1.1\r\n\r\n\r\n--x--\r\n",
        api.customer_path("devices")
    );
    for (coding, body, expected) in
        [("gzip", packed(call.as_bytes()), 200), ("br", call.clone().into_bytes(), 415)]
    {
        let batch = api.server.stranger().post(api.server.at("/batch")).bearer_auth(&api.keys["customer"]);
        let batch = batch.header("content-type", "multipart/mixed; boundary=x");
        let answer = batch.header("content-encoding", coding).body(body).send().await.unwrap();
        assert_eq!(answer.status(), expected, "{coding}");
        let text = answer.text().await.unwrap();
        assert!(expected != 200 || text.contains("HTTP/1.1 200"), "{text}");
    }
}
