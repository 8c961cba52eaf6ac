//! `POST /token`: an access token for what a service account signed.

use crate::{
    service_account::{PUBLIC_KEY, TestKey},
    support::{Exact, TestServer, retry_after},
};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use unbox_common::secret::Secret;
use unbox_server::{
    domain::tenancy::{account::Role, audit::Entry, company::CompanyKind},
    service::{NewAccount, NewCompany, NewHolder},
    store::{AuditFilter, PageRequest},
};

const GRANT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
const FORM: &str = "application/x-www-form-urlencoded";

/// A server, and a service account of a reseller on it.
struct World {
    server: TestServer,
    email: String,
    key: String,
}

impl World {
    async fn with(settings: &str) -> Self {
        let server = TestServer::with(settings).await;
        let (services, by) = (server.services(), &server.operator);
        let new = NewCompany::new(CompanyKind::Reseller, "Resale");
        let company = Some(services.tenancy.create_company(by, new).await.unwrap().id);
        let holder = NewHolder::ServiceAccount { name: "order-system".to_owned() };
        let account = NewAccount { company, holder, role: Role::Admin };
        let account = services.tenancy.create_account(by, account).await.unwrap();
        let key = services.tenancy.add_service_account_key(by, account.id, PUBLIC_KEY, None).await.unwrap();
        Self { email: account.email.to_string(), key: key.id.to_string(), server }
    }

    fn claims(&self) -> Value {
        TestKey::claims(&self.email, TestServer::now())
    }

    fn form(&self, claims: &Value) -> String {
        let assertion = TestKey::own().assertion(&self.key, claims);
        format!("grant_type={GRANT}&assertion={assertion}")
    }

    fn request(&self) -> RequestBuilder {
        self.server.stranger().post(self.server.at("/token"))
    }

    async fn post(&self, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
        self.request().header("content-type", content_type).body(body).send().await.unwrap()
    }

    async fn audit(&self) -> Vec<Entry> {
        let (services, by) = (self.server.services(), &self.server.operator);
        services.tenancy.list_audit(by, AuditFilter::default(), PageRequest::default()).await.unwrap().items
    }
}

#[tokio::test]
async fn a_service_account_gets_a_token_that_opens_its_part_of_the_api() {
    let world = World::with("").await;
    let mut claims = world.claims();
    claims["aud"] = json!(world.server.at("/token"));
    for form in [world.form(&claims), format!("{}&access_type=offline", world.form(&world.claims()))] {
        let answer = Exact::of(world.post(&format!("{FORM}; charset=utf-8"), form).await).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let mut body: Value = serde_json::from_slice(&answer.body).unwrap();
        let token = Secret::new(body["access_token"].take().as_str().unwrap().to_owned());
        let scope = "https://www.googleapis.com/auth/androidworkprovisioning";
        let expected =
            json!({"access_token": null, "token_type": "Bearer", "expires_in": 3600, "scope": scope});
        assert_eq!(body, expected);
        let principal = world.server.services().tenancy.authenticate(&token).await.unwrap();
        assert_eq!((principal.name.as_str(), principal.role), ("order-system", Role::Admin));
    }
}

#[tokio::test]
async fn whoever_gets_no_token_is_told_why_in_the_words_of_the_standard() {
    let world = World::with("").await;
    let good = world.form(&world.claims());
    let mut late = world.claims();
    late["exp"] = json!(late["iat"].as_u64().unwrap() + 7200);
    let mut scope = world.claims();
    scope["scope"] = json!("https://www.googleapis.com/auth/cloud-platform");
    let stranger = TestKey::strangers().assertion(&world.key, &world.claims());
    let before = world.audit().await;
    for (content_type, body, status, error) in [
        (FORM, String::new(), 400, "invalid_request"),
        (FORM, good.replace("&assertion", "&assertions"), 400, "invalid_request"),
        (FORM, format!("{good}&grant_type={GRANT}"), 400, "invalid_request"),
        (FORM, "grant_type=client_credentials".to_owned(), 400, "unsupported_grant_type"),
        (FORM, format!("grant_type={GRANT}&assertion={stranger}"), 400, "invalid_grant"),
        (FORM, format!("{good}x"), 400, "invalid_grant"),
        (FORM, world.form(&late), 400, "invalid_grant"),
        (FORM, world.form(&scope), 400, "invalid_scope"),
        ("application/json", good.clone(), 415, "invalid_request"),
        ("", good.clone(), 415, "invalid_request"),
        (FORM, format!("{good}&x={}", "x".repeat(65_536)), 413, "invalid_request"),
    ] {
        let answer = Exact::of(world.post(content_type, body.clone()).await).await;
        let text = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!(answer.status, status, "{body}: {text}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let document: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["error"], error, "{body}: {text}");
        assert!(!document["error_description"].as_str().unwrap().is_empty());
        assert_eq!(document.as_object().unwrap().len(), 2);
    }
    assert_eq!(world.audit().await, before);
}

#[tokio::test]
async fn whoever_asks_too_often_is_told_when_to_come_back() {
    // From one address, whoever they are; and one account, wherever it is.
    for (limit, longest) in
        [("address_burst = 1\naddress_per_second = 1", 2), ("api_queries_per_100s = 1", 101)]
    {
        let world = World::with(&format!("[limits]\n{limit}\n")).await;
        let form = world.form(&world.claims());
        assert_eq!(world.post(FORM, form.clone()).await.status().as_u16(), 200);
        let before = world.audit().await;
        let refused = world.post(FORM, form).await;
        assert_eq!(refused.status().as_u16(), 429);
        assert!((longest - 1..=longest).contains(&retry_after(&refused)), "{limit}");
        let document: Value = refused.json().await.unwrap();
        assert_eq!(document["error"], "temporarily_unavailable");
        assert_eq!(world.audit().await, before);
    }
}

#[tokio::test]
async fn tokens_are_given_over_tls_and_to_nobody_who_only_looks() {
    let world = World::with("").await;
    let form = world.form(&world.claims());
    let client = world.server.stranger();
    let answer = client.get(world.server.at("/token")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 405);
    let plain = client.post(world.server.plain_at("/token")).header("content-type", FORM).body(form);
    assert_eq!(plain.send().await.unwrap().status().as_u16(), 404);
}
