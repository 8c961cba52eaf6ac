//! `POST /batch`: as whom each call of it runs.

use super::Api;
use reqwest::Method;
use serde_json::Value;

/// A call of a batch: its request line, and headers of its own.
fn call(line: &str, headers: &str) -> String {
    format!("--x\r\nContent-Type: application/http\r\n\r\n{line} HTTP/1.1\r\n{headers}\r\n\r\n")
}

impl Api {
    /// The statuses of a batch's calls, in their order.
    async fn batch(&self, calls: &[String], outer: &[(&str, &str)]) -> Vec<u16> {
        let body = calls.concat() + "--x--\r\n";
        let mut request = self.server.stranger().post(self.server.at("/batch"));
        for (name, value) in outer {
            request = request.header(*name, *value);
        }
        let request = request.header("content-type", "multipart/mixed; boundary=x").body(body);
        let text = request.send().await.unwrap().text().await.unwrap();
        let status = |line: &str| line.strip_prefix("HTTP/1.1 ").map(|rest| rest[..3].parse().unwrap());
        text.lines().filter_map(status).collect()
    }
}

#[tokio::test]
async fn a_calls_own_credential_counts_and_never_the_batchs() {
    let api = Api::start().await;
    let (partner, customer) = (&api.keys["partner"], &api.keys["customer"]);
    let own = format!("GET /v1/customers/{}/devices", api.customer);
    let with = |name: &str, value: &str| format!("{own}?{name}={value}");
    let calls = [
        // Whoever shows nothing is who sent the batch.
        (call(&own, ""), 200),
        // The credential of a partner opens nothing of a customer's, wherever it stands.
        (call(&own, &format!("Authorization: Bearer {partner}\r\n")), 403),
        (call(&own, &format!("X-Goog-Api-Key: {partner}\r\n")), 403),
        (call(&with("key", partner), ""), 403),
        (call(&with("access_token", partner), ""), 403),
        (call(&with("oauth_token", partner), ""), 403),
        (call(&with("$access_token", partner), ""), 403),
        // One that is no good is no reason to run as somebody else.
        (call(&own, "Authorization: Bearer uak_0000\r\n"), 401),
        (call(&own, "Authorization: Basic eDp5\r\n"), 401),
        (call(&own, "X-Goog-Api-Key: uak_0000\r\n"), 401),
        (call(&own, "X-Goog-Api-Key: \r\n"), 401),
        (call(&with("key", ""), ""), 401),
        (call(&with("access_token", "uat_0000"), ""), 401),
        (call(&with("access_token", ""), ""), 401),
    ];
    let expected: Vec<u16> = calls.iter().map(|(_, status)| *status).collect();
    let calls: Vec<String> = calls.into_iter().map(|(call, _)| call).collect();
    let bearer = format!("Bearer {customer}");
    for outer in [("authorization", bearer.as_str()), ("x-goog-api-key", customer.as_str())] {
        assert_eq!(api.batch(&calls, &[outer]).await, expected, "{}", outer.0);
    }
    // The other way round, a good one counts below one that is not.
    let good = [
        call(&own, &format!("X-Goog-Api-Key: {customer}\r\n")),
        call(&with("access_token", customer), ""),
        call(&own, ""),
    ];
    assert_eq!(api.batch(&good, &[("authorization", "Bearer uak_0000")]).await, [200, 200, 401]);
}

#[tokio::test]
async fn little_is_read_of_a_batch_before_it_is_known_who_sent_it() {
    const ANONYMOUS_BYTES: usize = 64 * 1024;
    let api = Api::start().await;
    let own = format!("GET /v1/customers/{}/devices", api.customer);
    // A call that shows its own key, behind as much as nobody reads.
    let call = call(&own, &format!("X-Goog-Api-Key: {}\r\n", api.keys["customer"])) + "--x--\r\n";
    let send = async |bytes: usize, key: Option<&String>| {
        let body = " ".repeat(bytes - call.len() - 2) + "\r\n" + &call;
        assert_eq!(body.len(), bytes);
        let mut request = api.server.stranger().post(api.server.at("/batch"));
        if let Some(key) = key {
            request = request.header("x-goog-api-key", key);
        }
        let request = request.header("content-type", "multipart/mixed; boundary=x").body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap().contains("HTTP/1.1 200"))
    };
    assert_eq!(send(ANONYMOUS_BYTES, None).await, (200, true));
    let before = api.server.everything().await;
    assert_eq!(send(ANONYMOUS_BYTES + 1, None).await, (413, false));
    let no_key = "uak_0000".to_owned();
    assert_eq!(send(ANONYMOUS_BYTES + 1, Some(&no_key)).await, (413, false));
    assert_eq!(api.server.everything().await, before);
    for bytes in [ANONYMOUS_BYTES, ANONYMOUS_BYTES + 1] {
        assert_eq!(send(bytes, Some(&api.keys["customer"])).await, (200, true));
    }
}

#[tokio::test]
async fn a_stolen_batch_key_changes_nothing_for_a_call_of_somebody_else() {
    let api = Api::start().await;
    let before = api.server.everything().await;
    let path = format!("DELETE /v1/organisations/{}/links/{}", api.customer, api.emm);
    let calls = [call(&path, &format!("X-Goog-Api-Key: {}\r\n", api.keys["emm"]))];
    let bearer = format!("Bearer {}", api.keys["customer"]);
    let statuses = api.batch(&calls, &[("authorization", &bearer)]).await;
    assert_eq!(statuses, [404]);
    assert_eq!(api.server.everything().await, before);
}

#[tokio::test]
async fn an_emm_accepts_no_terms_in_its_customers_name() {
    let api = Api::start().await;
    let by = &api.server.operator;
    let stale = unbox_server::domain::tenancy::company::Terms::Stale;
    api.server.services().tenancy.set_terms(by, api.customer, stale).await.unwrap();
    let before = api.server.everything().await;
    let path = api.customer_path("terms:accept");
    for who in ["emm", "customer admin", "customer viewer", "partner", "other customer"] {
        let (status, answer) = api.call(who, Method::POST, &path, Value::Null).await;
        assert!([403, 404].contains(&status), "{who}: {answer}");
    }
    let (_, told) = api.call("emm", Method::POST, &path, Value::Null).await;
    assert!(told["error"]["message"].as_str().unwrap().contains("Ask an owner of the customer"), "{told}");
    assert_eq!(api.server.everything().await, before);
    let (status, answer) = api.call("customer", Method::POST, &path, Value::Null).await;
    assert_eq!((status, answer["termsStatus"].as_str()), (200, Some("TERMS_STATUS_ACCEPTED")), "{answer}");
}
