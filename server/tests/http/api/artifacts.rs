//! `/v1/customers/{customer}/artifacts`, and `/upload/v1/...` as Google's client libraries use it.

use super::Api;
use crate::support::Exact;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use unbox_common::digest::Sha256;

const BYTES: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

impl Api {
    fn upload_path(&self, query: &str) -> String {
        format!("/upload/v1/customers/{}/artifacts?{query}", self.customer)
    }

    /// Sends bytes, with headers, and returns the answer as it is on the wire.
    async fn put(
        &self,
        who: &str,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: &'static [u8],
    ) -> Exact {
        let request = self.server.stranger().request(method, url).bearer_auth(&self.keys[who]).body(body);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Exact::of(request.send().await.unwrap()).await
    }

    async fn media(&self, who: &str, name: &str, body: &'static [u8]) -> (u16, Value) {
        let url = self.server.at(&self.upload_path(&format!("uploadType=media&name={name}")));
        let answer = self.put(who, Method::POST, &url, &[("content-type", "application/x-tar")], body).await;
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// Starts an upload in parts, and returns the URL that the client is told to go on with.
    async fn started(&self, headers: &[(&str, &str)]) -> String {
        let url = self.server.at(&self.upload_path("uploadType=resumable&name=app.tar"));
        let answer = self.put("customer", Method::POST, &url, headers, b"").await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, b"".as_slice()));
        answer.header("location").unwrap().to_owned()
    }

    async fn artifacts(&self, who: &str) -> Vec<String> {
        let (status, listed) =
            self.call(who, Method::GET, &self.customer_path("artifacts"), Value::Null).await;
        assert_eq!(status, 200, "{listed}");
        let artifacts = listed["artifacts"].as_array().cloned().unwrap_or_default();
        artifacts.iter().map(|one| one["artifactName"].as_str().unwrap().to_owned()).collect()
    }
}

fn problem(answer: &Exact) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

#[tokio::test]
async fn an_artifact_is_uploaded_whole_seen_by_its_own_and_downloaded_by_devices() {
    let api = Api::start().await;
    let shared = api.server.artifact(b"shared").await;
    let digest = Sha256::of(BYTES).to_string();
    let (status, artifact) = api.media("emm", "app.tar", BYTES).await;
    assert_eq!(status, 200, "{artifact}");
    let name = format!("customers/{}/artifacts/{digest}", api.customer);
    assert_eq!(artifact["name"], name);
    assert_eq!((&artifact["sha256"], &artifact["sizeBytes"]), (&json!(digest), &json!("36")));
    assert_eq!((&artifact["artifactName"], artifact.get("shared")), (&json!("app.tar"), None));
    assert_eq!(api.artifacts("customer viewer").await, ["test", "app.tar"]);
    let found = api.call("customer", Method::GET, &format!("/v1/{name}"), Value::Null).await;
    assert_eq!(found, (200, artifact));
    let downloaded = api.server.stranger().get(api.server.at(&format!("/artifacts/sha256/{digest}")));
    assert_eq!(downloaded.send().await.unwrap().bytes().await.unwrap(), BYTES);

    let path = api.customer_path(&format!("artifacts/{shared}"));
    let (status, answer) = api.call("customer", Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &answer["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    assert_eq!(
        api.call("customer", Method::DELETE, &format!("/v1/{name}"), Value::Null).await,
        (200, json!({}))
    );
    assert_eq!(api.call("customer", Method::DELETE, &format!("/v1/{name}"), Value::Null).await.0, 404);
    assert_eq!(api.artifacts("customer").await, ["test"]);
    let gone = api.server.stranger().get(api.server.at(&format!("/artifacts/sha256/{digest}")));
    assert_eq!(gone.send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn pages_of_artifacts_follow_each_other() {
    let api = Api::start().await;
    for (name, bytes) in [("a", b"a".as_slice()), ("b", b"b"), ("c", b"c")] {
        assert_eq!(api.media("customer", name, bytes).await.0, 200);
    }
    let page = async |token: &str| {
        let path = api.customer_path(&format!("artifacts?pageSize=2&pageToken={token}"));
        api.call("customer", Method::GET, &path, Value::Null).await.1
    };
    let first = page("").await;
    let second = page(first["nextPageToken"].as_str().unwrap()).await;
    assert_eq!((first["artifacts"].as_array().unwrap().len(), second.get("nextPageToken")), (2, None));
    assert_eq!(second["artifacts"][0]["artifactName"], "c");
    for wrong in ["pageSize=1001", "pageSize=-1", "pageToken=x", "other=1"] {
        let path = api.customer_path(&format!("artifacts?{wrong}"));
        assert_eq!(api.call("customer", Method::GET, &path, Value::Null).await.0, 400, "{wrong}");
    }
}

/// The exchange of google-api-python-client with `MediaFileUpload(resumable=True)`.
#[tokio::test]
async fn an_upload_in_parts_is_the_one_that_google_s_clients_make() {
    let api = Api::start().await;
    let start = [("x-upload-content-type", "application/x-tar"), ("x-upload-content-length", "36")];
    let url = api.started(&start).await;
    assert!(url.starts_with(&api.server.at(&api.upload_path("uploadType=resumable&upload_id="))), "{url}");
    let put = async |range: &str, body| {
        api.put("customer", Method::PUT, &url, &[("content-range", range)], body).await
    };
    let none = put("bytes */36", b"").await;
    assert_eq!((none.status, none.header("range"), none.body.as_slice()), (308, None, b"".as_slice()));
    let first = put("bytes 0-9/36", &BYTES[..10]).await;
    assert_eq!((first.status, first.header("range")), (308, Some("bytes=0-9")));
    let asked = put("bytes */*", b"").await;
    assert_eq!((asked.status, asked.header("range")), (308, Some("bytes=0-9")));
    let ahead = put("bytes 20-35/36", &BYTES[20..]).await;
    assert_eq!((ahead.status, ahead.header("range")), (308, Some("bytes=0-9")));
    assert_eq!(api.artifacts("customer").await, Vec::<String>::new());
    let last = put("bytes 10-35/36", &BYTES[10..]).await;
    assert_eq!(
        (last.status, problem(&last)["sha256"].as_str()),
        (200, Some(&*Sha256::of(BYTES).to_string()))
    );
    assert_eq!(put("bytes */36", b"").await.body, last.body, "who lost the answer asks again");
    assert_eq!(api.artifacts("customer").await, ["app.tar"]);

    // In one go, without saying how much it is; and what the message says, in place of parameters.
    let url = api.server.at(&api.upload_path("uploadType=resumable"));
    let message = br#"{"artifactName": "other.tar"}"#;
    let json = [("content-type", "application/json")];
    let started = api.put("customer", Method::POST, &url, &json, message).await;
    let whole = api.put("customer", Method::PUT, started.header("location").unwrap(), &[], b"other").await;
    assert_eq!((whole.status, &problem(&whole)["artifactName"]), (200, &json!("other.tar")));
}

#[tokio::test]
async fn an_upload_goes_on_after_a_lost_connection() {
    let api = Api::start().await;
    let url = api.started(&[]).await;
    let path = url.split_once("/upload/").unwrap().1.to_owned();
    let mut connection = api.server.connect().await;
    let head = format!(
        "PUT /upload/{path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-range: bytes 0-35/36\r\ncontent-length: 36\r\n\r\n",
        api.keys["customer"]
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(&BYTES[..10]).await.unwrap();
    connection.flush().await.unwrap();
    // It hangs, and is still open: who comes back need not wait for it.
    let mut received = 0;
    while received < 36 {
        let asked = api.put("customer", Method::PUT, &url, &[("content-range", "bytes */36")], b"").await;
        assert_eq!(asked.status, 308);
        let end =
            asked.header("range").map_or(0, |range| range["bytes=0-".len()..].parse::<usize>().unwrap() + 1);
        assert!(end == 0 || end == 10, "{end}");
        let range = format!("bytes {end}-35/36");
        let rest = api.put("customer", Method::PUT, &url, &[("content-range", &range)], &BYTES[end..]).await;
        assert_eq!(rest.status, 200);
        received = 36;
    }
    drop(connection);
    assert_eq!(api.artifacts("customer").await, ["app.tar"]);
}

#[tokio::test]
async fn what_is_no_upload_is_refused_and_nothing_is_registered() {
    let api = Api::start().await;
    let before = api.server.everything().await;
    let other = Sha256::of(b"other").to_string();
    let too_large = [("x-upload-content-length", "17179869185")];
    for (query, headers, status, field) in [
        ("uploadType=multipart&name=x", &[][..], 400, "uploadType"),
        ("name=x", &[], 400, "uploadType"),
        ("uploadType=media", &[], 400, "name"),
        ("uploadType=media&name=%0a", &[], 400, "name"),
        ("uploadType=media&name=x&sha256=7", &[], 400, "sha256"),
        (&format!("uploadType=media&name=x&sha256={other}"), &[], 400, "sha256"),
        ("uploadType=media&name=x&other=1", &[], 400, ""),
        ("uploadType=resumable", &[], 400, ""),
        ("uploadType=resumable&name=x", &too_large, 413, ""),
        (
            "uploadType=resumable&name=x",
            &[("x-upload-content-length", "many")],
            400,
            "X-Upload-Content-Length",
        ),
    ] {
        let url = api.server.at(&api.upload_path(query));
        let body: &[u8] = if query.contains("resumable") { b"" } else { BYTES };
        let answer = api.put("customer", Method::POST, &url, headers, body).await;
        let said = problem(&answer);
        assert_eq!(answer.status, status, "{query}: {said}");
        if !field.is_empty() {
            let violation = &said["error"]["details"][0]["fieldViolations"][0];
            assert_eq!(violation["field"], field, "{query}: {said}");
        }
    }
    let url = api.started(&[("x-upload-content-length", "36")]).await;
    for (range, status) in [
        ("bytes 0-35/37", 400),
        ("bytes 0-5/36", 400),
        ("bytes 35-0/36", 400),
        ("pages 0-35/36", 400),
        ("bytes 0-35/17179869185", 413),
    ] {
        // The size of the body speaks for itself where the range is good.
        let answer = api.put("customer", Method::PUT, &url, &[("content-range", range)], BYTES).await;
        let status = if range.ends_with("17179869185") { 400 } else { status };
        assert_eq!(answer.status, status, "{range}: {}", problem(&answer));
    }
    // Another customer's upload is as if not there, by its own path and by this one.
    for who in ["other customer", "customer viewer", "partner"] {
        let answer = api.put(who, Method::PUT, &url, &[("content-range", "bytes */36")], b"").await;
        assert!([403, 404].contains(&answer.status), "{who}");
        let answer = api.put(who, Method::DELETE, &url, &[], b"").await;
        assert!([403, 404].contains(&answer.status), "{who}");
    }
    for id in ["", "0", "x", "12345"] {
        let url = api.server.at(&api.upload_path(&format!("upload_id={id}")));
        assert_eq!(api.put("customer", Method::PUT, &url, &[], BYTES).await.status, 404, "{id}");
    }
    assert_eq!(api.put("customer", Method::DELETE, &url, &[], b"").await.status, 204);
    assert_eq!(api.put("customer", Method::DELETE, &url, &[], b"").await.status, 404);
    assert_eq!(api.artifacts("customer").await, Vec::<String>::new());
    assert_eq!(api.server.everything().await, before);
}
