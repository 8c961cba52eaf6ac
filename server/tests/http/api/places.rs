//! Places for files that pass: shared by company, and not for those who only hold them.

use super::Api;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

/// Ample time on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The head of an upload, with a thousand bytes to come.
fn upload_head(api: &Api, who: &str) -> Vec<u8> {
    let (customer, key) = (api.customer, &api.keys[who]);
    format!(
        "POST /upload/v1/customers/{customer}/artifacts?uploadType=media&name=slow HTTP/1.1\r\n\
         host: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/octet-stream\r\n\
         content-length: 1000\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn slow_uploads_of_one_company_leave_places_for_others() {
    let api = Api::start().await;
    let mut slow = Vec::new();
    for _ in 0..32 {
        let mut stream = api.server.connect().await;
        stream.write_all(&upload_head(&api, "customer")).await.unwrap();
        slow.push(stream);
    }
    let refused = async {
        loop {
            let path = api.customer_path("devices:export");
            let own = api.send("customer", Method::GET, &path, Value::Null).await;
            if own.status().as_u16() == 429 {
                assert!(own.headers().contains_key("retry-after"));
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    let path = api.partner_path("devices:export");
    assert_eq!(api.send("partner", Method::GET, &path, Value::Null).await.status().as_u16(), 200);
}

#[tokio::test]
async fn an_upload_that_trickles_is_ended_and_nothing_of_it_is_kept() {
    let api = Api::with("[limits]\nrequest_timeout_s = 1").await;
    let stream = api.server.connect().await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    writer.write_all(&upload_head(&api, "customer")).await.unwrap();
    let trickle = async {
        // Never a pause as long as the time of a request.
        while writer.write_all(b"x").await.is_ok() && writer.flush().await.is_ok() {
            sleep(Duration::from_millis(300)).await;
        }
    };
    let answered = async {
        let mut answer = [0; 12];
        reader.read_exact(&mut answer).await.unwrap();
        answer
    };
    let answer = timeout(PATIENCE, async {
        tokio::select! {
            () = trickle => panic!("it was not answered"),
            answer = answered => answer,
        }
    });
    assert_eq!(&answer.await.unwrap(), b"HTTP/1.1 400");
    let (_, listed) = api.call("customer", Method::GET, &api.customer_path("artifacts"), Value::Null).await;
    assert_eq!(listed, json!({}));
}

#[tokio::test]
async fn an_account_has_one_quota_whomever_it_says_it_asks_for() {
    let api = Api::with("[limits]\napi_queries_per_100s = 2").await;
    let mut statuses = Vec::new();
    for user in ["a", "b", "c", "d"] {
        let path = format!("{}?quotaUser={user}", api.customer_path("devices"));
        let answer = api.send("customer", Method::GET, &path, Value::Null).await;
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    let path = api.partner_path("customers");
    assert_eq!(api.send("partner", Method::GET, &path, Value::Null).await.status().as_u16(), 200);
}
