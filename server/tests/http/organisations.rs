//! `/v1/organisations`: how organisations look after themselves, and what is refused.

use crate::{api::Api, service_account::TestKey, support::TestServer};
use reqwest::Method;
use serde_json::{Value, json};
use unbox_common::bytes::from_base64;

const GRANT: &str = "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";

impl Api {
    fn own(&self, rest: &str) -> String {
        format!("/v1/organisations/{}{rest}", self.customer)
    }

    async fn read(&self, who: &str, path: &str) -> Value {
        self.done(who, Method::GET, path, Value::Null).await
    }

    /// The answer of a call that is done.
    async fn done(&self, who: &str, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(who, method.clone(), path, body).await;
        assert_eq!(status, 200, "{method} {path} as {who}: {answer}");
        answer
    }

    /// The message of a call that is refused.
    async fn refused(&self, who: &str, method: Method, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.call(who, method, path, body).await;
        assert_eq!(answer["error"]["code"], status, "{answer}");
        (status, answer["error"]["message"].as_str().unwrap().to_owned())
    }

    async fn program(&self, name: &str, role: &str) -> Value {
        let body = json!({"displayName": name, "role": role});
        self.done("customer", Method::POST, &self.own("/serviceAccounts"), body).await
    }

    async fn with_token(&self, token: &str, path: &str) -> u16 {
        let request = self.server.stranger().get(self.server.at(path)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }
}

fn at(of: &Value) -> String {
    format!("/v1/{}", of["name"].as_str().unwrap())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn the_operator_makes_organisations_and_each_sees_what_is_its_own_to_see() {
    let api = Api::start().await;
    let vendor = json!({
        "kind": "ORGANISATION_KIND_VENDOR", "displayName": "Nuts", "parent": format!("organisations/{}", api.partner),
        "languageCode": "de-CH", "deviceProtection": true,
    });
    let made = api.done("operator", Method::POST, "/v1/organisations", vendor).await;
    assert_eq!(api.read("partner viewer", &at(&made)).await, made);
    assert_eq!(
        (&made["languageCode"], &made["termsStatus"]),
        (&"de-CH".into(), &"TERMS_STATUS_ACCEPTED".into())
    );
    for (who, sees) in [("operator viewer", 7), ("partner", 4), ("customer viewer", 1), ("emm", 1)] {
        let all = api.read(who, "/v1/organisations").await;
        assert_eq!(all["organisations"].as_array().unwrap().len(), sees, "{who}: {all}");
    }
    let vendors = "/v1/organisations?kind=ORGANISATION_KIND_VENDOR&pageSize=1";
    let first = api.read("operator", vendors).await;
    let rest = api.read("operator", &format!("{vendors}&pageToken={}", text(&first["nextPageToken"]))).await;
    assert_eq!(rest["organisations"], json!([made]));
    assert!(rest.get("nextPageToken").is_none());

    let mask = format!("{}?updateMask=displayName,googleWorkspaceCustomerId,deviceProtection", at(&made));
    let changed = json!({"displayName": "Nuts & Bolts", "googleWorkspaceCustomerId": "C0nuts"});
    let changed = api.done("operator", Method::PATCH, &mask, changed).await;
    assert_eq!(
        (&changed["displayName"], &changed["languageCode"]),
        (&"Nuts & Bolts".into(), &"de-CH".into())
    );
    assert!(changed.get("deviceProtection").is_none(), "{changed}");

    // Its own people change what is theirs to say, and may send the rest as it is.
    let own = api.read("customer", &api.own("")).await;
    let mut whole = own.clone();
    whole["displayName"] = json!("Acme SA");
    whole["languageCode"] = json!("fr-CH");
    let changed = api.done("customer", Method::PATCH, &api.own("?updateMask=*"), whole.clone()).await;
    assert_eq!(changed, whole);

    assert_eq!(api.done("operator", Method::DELETE, &at(&made), Value::Null).await, json!({}));
    assert_eq!(api.refused("operator", Method::GET, &at(&made), Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_name_that_looks_like_another_organisations_is_warned_of() {
    let api = Api::start().await;
    let new = json!({"kind": "ORGANISATION_KIND_EMM", "displayName": "Floot"});
    let made = api.done("operator", Method::POST, "/v1/organisations", new).await;
    assert!(made.get("warnings").is_none(), "{made}");
    let rename = format!("{}?updateMask=displayName", at(&made));
    let made = api.done("operator", Method::PATCH, &rename, json!({"displayName": "FIeet"})).await;
    assert!(text(&made["warnings"][0]).contains("looks like that of emm \"Fleet\""), "{made}");
    assert!(api.read("operator", &at(&made)).await.get("warnings").is_none());
    let customer = json!({"customer": {"companyName": "Acme \u{410}G", "ownerEmails": ["x@bolt.example"]}});
    let created = api.done("partner", Method::POST, &api.partner_path("customers"), customer).await;
    assert!(text(&created["warnings"][0]).contains("customer \"Acme AG\""), "Boxes works for it: {created}");
    let own = api.own("?updateMask=displayName");
    let mine = api.done("customer", Method::PATCH, &own, json!({"displayName": "B\u{43e}xes"})).await;
    assert!(text(&mine["warnings"][0]).contains("1 that your organisation does not see"), "{mine}");
    for bad in ["Acme \u{202e}GA", "Ac\u{200b}me", "Acme\u{7f}"] {
        let (status, _) = api.refused("customer", Method::PATCH, &own, json!({"displayName": bad})).await;
        assert_eq!(status, 400, "{bad:?}");
    }
    assert_eq!(api.read("customer", &api.own("")).await["displayName"], "B\u{43e}xes");
}

#[tokio::test]
async fn a_customer_lets_an_emm_in_and_ends_that() {
    let api = Api::start().await;
    let (links, devices) = (api.own("/links"), format!("/v1/customers/{}/devices", api.customer));
    let all = api.read("customer viewer", &links).await;
    assert_eq!(all["links"].as_array().unwrap().len(), 4, "{all}");
    let link = format!("{links}/{}", api.emm);
    assert_eq!(api.done("customer", Method::DELETE, &link, Value::Null).await, json!({}));
    assert_eq!(api.refused("emm", Method::GET, &devices, Value::Null).await.0, 404);
    assert_eq!(api.refused("customer", Method::DELETE, &link, Value::Null).await.0, 404);
    let emm = json!({"organisation": format!("organisations/{}", api.emm)});
    let made = api.done("customer", Method::POST, &links, emm.clone()).await;
    assert_eq!((&made["displayName"], &made["kind"]), (&"Fleet".into(), &"ORGANISATION_KIND_EMM".into()));
    assert_eq!(at(&made), link);
    assert_eq!(api.done("customer", Method::POST, &links, emm).await, made, "once more changes nothing");
    api.read("emm", &devices).await;
    let theirs = api.read("emm", &format!("/v1/organisations/{}/links", api.emm)).await;
    assert_eq!(theirs["links"][0]["organisation"], format!("organisations/{}", api.customer));
    let from_there = format!("/v1/organisations/{}/links/{}", api.emm, api.customer);
    assert_eq!(api.refused("emm", Method::DELETE, &from_there, Value::Null).await.0, 403);
    api.done("operator", Method::DELETE, &from_there, Value::Null).await;
    assert_eq!(api.refused("emm", Method::GET, &devices, Value::Null).await.0, 404);
}

#[tokio::test]
async fn people_come_and_go_and_the_last_owner_stays() {
    let api = Api::start().await;
    let users = api.own("/users");
    let ada = json!({"email": "Ada@acme.example", "role": "ROLE_OWNER", "displayName": "Ada"});
    let ada = api.done("operator", Method::POST, &users, ada).await;
    assert_eq!((&ada["email"], &ada["state"]), (&"ada@acme.example".into(), &"ACCOUNT_STATE_ACTIVE".into()));
    let bob =
        api.done("customer", Method::POST, &users, json!({"email": "bob@acme.example", "role": 1})).await;
    assert_eq!(bob["displayName"], "bob@acme.example");
    let all = api.read("customer viewer", &users).await;
    assert_eq!(all["users"], json!([ada, bob]));

    let change = json!({"role": "ROLE_ADMIN", "state": "ACCOUNT_STATE_DISABLED"});
    let mask = format!("{}?updateMask=role,state", at(&bob));
    let changed = api.done("customer", Method::PATCH, &mask, change).await;
    assert_eq!(
        (&changed["role"], &changed["state"]),
        (&"ROLE_ADMIN".into(), &"ACCOUNT_STATE_DISABLED".into())
    );
    assert!(changed["disableTime"].is_string() && changed["displayName"] == bob["displayName"]);
    assert_eq!(api.read("customer", &at(&bob)).await, changed);

    // The program that asks is the other owner.
    let programs = api.read("customer", &api.own("/serviceAccounts?pageSize=1000")).await;
    let owner =
        programs["serviceAccounts"].as_array().unwrap().iter().find(|one| one["role"] == "ROLE_OWNER");
    let owner = at(owner.unwrap());
    api.done("customer", Method::DELETE, &at(&ada), Value::Null).await;
    for (method, path, body) in [
        (Method::DELETE, owner.clone(), Value::Null),
        (Method::PATCH, format!("{owner}?updateMask=role"), json!({"role": "ROLE_ADMIN"})),
        (Method::PATCH, format!("{owner}?updateMask=state"), json!({"state": "ACCOUNT_STATE_DISABLED"})),
    ] {
        let (status, message) = api.refused("operator", method, &path, body).await;
        assert_eq!(status, 400);
        assert!(
            message.contains("last owner") && message.contains("Make somebody else an owner"),
            "{message}"
        );
    }
    api.read("customer", &owner).await;
}

#[tokio::test]
async fn a_key_file_signs_in_until_its_key_is_revoked() {
    let api = Api::start().await;
    let program = api.program("console", "ROLE_VIEWER").await;
    let keys = format!("{}/keys", at(&program));
    let made = api.done("customer", Method::POST, &keys, json!({})).await;
    let file = key_file(&made);
    assert_eq!(file["token_uri"], api.server.at("/token"), "it leads back to where the request came");
    assert_eq!(file["client_email"], program["email"]);
    assert_eq!(file["private_key_id"], made["keyId"]);
    let token = sign_in(&api, &file).await;
    let devices = format!("/v1/customers/{}/devices", api.customer);
    assert_eq!(api.with_token(&token, &devices).await, 200);

    let rotate =
        json!({"keyId": made["keyId"], "overlap": "3600s", "baseUrl": "https://enroll.example.com/"});
    let rotated = api.done("customer", Method::POST, &format!("{keys}:rotate"), rotate).await;
    let newer = key_file(&rotated);
    assert_eq!(newer["token_uri"], "https://enroll.example.com/token");
    assert_eq!(api.with_token(&token, &devices).await, 200, "the old key is good for an hour");
    let listed = api.read("customer viewer", &keys).await;
    let secrets = [&file, &newer].map(|file| text(&file["private_key"])[60..100].to_owned());
    assert!(!secrets.iter().any(|secret| listed.to_string().contains(secret)), "{listed}");
    assert!(!listed.to_string().contains("privateKeyData"), "{listed}");
    let first = listed["keys"].as_array().unwrap().iter().find(|key| key["keyId"] == made["keyId"]).unwrap();
    assert_eq!(first["state"], "KEY_STATE_ACTIVE");
    assert!(first["expireTime"].is_string());

    api.done("customer", Method::DELETE, &at(&made), Value::Null).await;
    assert_eq!(api.with_token(&token, &devices).await, 401, "at once");
    let token = sign_in(&api, &newer).await;
    let change = json!({"state": "ACCOUNT_STATE_DISABLED"});
    api.done("customer", Method::PATCH, &format!("{}?updateMask=state", at(&program)), change).await;
    assert_eq!(api.with_token(&token, &devices).await, 401, "a disabled account opens nothing");
    let audit = api.read("operator", &api.own("/auditEntries?pageSize=1000")).await.to_string();
    assert!(!secrets.iter().any(|secret| audit.contains(secret)));
}

fn key_file(made: &Value) -> Value {
    serde_json::from_slice(&from_base64(text(&made["privateKeyData"])).unwrap()).unwrap()
}

async fn sign_in(api: &Api, file: &Value) -> String {
    let claims = TestKey::claims(text(&file["client_email"]), TestServer::now());
    let assertion =
        TestKey::read(text(&file["private_key"])).assertion(text(&file["private_key_id"]), &claims);
    let request = api.server.stranger().post(api.server.at("/token"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer = request.body(format!("grant_type={GRANT}&assertion={assertion}")).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    text(&answer["access_token"]).to_owned()
}

#[tokio::test]
async fn an_api_key_is_answered_once_and_opens_nothing_once_it_is_revoked() {
    let api = Api::start().await;
    let program = api.program("console", "ROLE_VIEWER").await;
    let keys = api.own("/apiKeys");
    let ask =
        json!({"account": program["name"], "displayName": "export", "expireTime": "2099-01-01T00:00:00Z"});
    let answer = api.send("customer", Method::POST, &keys, ask).await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let made: Value = answer.json().await.unwrap();
    let secret = text(&made["keyString"]).to_owned();
    assert!(secret.starts_with(text(&made["keyPrefix"])), "{made}");
    let devices = format!("/v1/customers/{}/devices", api.customer);
    assert_eq!(api.with_token(&secret, &devices).await, 200);
    let found = api.read("customer viewer", &at(&made)).await;
    assert_eq!(found["account"], program["name"]);
    assert!(found.get("keyString").is_none());

    let rotate = json!({"apiKeyId": made["apiKeyId"]});
    let newer = api.done("customer", Method::POST, &format!("{keys}:rotate"), rotate).await;
    assert_eq!(api.with_token(&secret, &devices).await, 401, "at once");
    let newer_secret = text(&newer["keyString"]).to_owned();
    assert_eq!(api.with_token(&newer_secret, &devices).await, 200);
    let of_program = format!("{keys}?account={}", text(&program["name"]));
    let listed = api.read("customer viewer", &of_program).await;
    let states: Vec<&Value> = listed["apiKeys"].as_array().unwrap().iter().map(|key| &key["state"]).collect();
    assert_eq!(states, ["KEY_STATE_REVOKED", "KEY_STATE_ACTIVE"]);
    let all = api.read("customer viewer", &keys).await;
    assert_eq!(all["apiKeys"].as_array().unwrap().len(), 6, "of every account of the organisation: {all}");

    assert_eq!(api.done("customer", Method::DELETE, &at(&newer), Value::Null).await, json!({}));
    assert_eq!(api.done("customer", Method::DELETE, &at(&newer), Value::Null).await, json!({}), "once more");
    assert_eq!(api.with_token(&newer_secret, &devices).await, 401, "at once");
    let audit = api.read("operator", &api.own("/auditEntries?pageSize=1000")).await.to_string();
    for secret in [&secret, &newer_secret] {
        assert!(!all.to_string().contains(&secret[12..]) && !audit.contains(&secret[12..]));
    }
}

#[tokio::test]
async fn the_audit_trail_names_who_did_it_and_can_be_taken_away() {
    let api = Api::start().await;
    let users = api.own("/users");
    let ada =
        api.done("customer", Method::POST, &users, json!({"email": "ada@acme.example", "role": 2})).await;
    let rename = format!("{}?updateMask=displayName", at(&ada));
    api.done("operator", Method::PATCH, &rename, json!({"displayName": "Ada, \"IT\""})).await;
    let claim = api.claim("PF0ABCDE").await;

    let entries = api.own("/auditEntries");
    let subject = format!("account {}", text(&ada["userId"]));
    let of_ada = format!("{entries}?subject={}", subject.replace(' ', "%20"));
    let found = api.read("customer viewer", &of_ada).await;
    let found = found["auditEntries"].as_array().unwrap();
    let seen: Vec<(&str, &str)> =
        found.iter().map(|one| (text(&one["action"]), text(&one["actor"]))).collect();
    assert_eq!(seen.iter().map(|one| one.0).collect::<Vec<_>>(), ["account_updated", "account_created"]);
    assert!(seen[0].1.ends_with(" operator") && seen[1].1.ends_with(" customer"), "{seen:?}");
    assert_eq!(found[0]["detail"]["name"], "Ada, \"IT\"");
    assert!(found[0].get("actorOrganisation").is_none());
    assert_eq!(found[1]["actorOrganisation"], format!("organisations/{}", api.customer));

    // Both sides of a claim see it; nobody else does.
    let claimed = format!("?action=claimed&subject=claim%20{claim}");
    for (who, organisation, sees) in
        [("customer", api.customer, 1), ("partner", api.partner, 1), ("emm", api.emm, 0)]
    {
        let path = format!("/v1/organisations/{organisation}/auditEntries{claimed}");
        let found = api.read(who, &path).await;
        assert_eq!(found["auditEntries"].as_array().map_or(0, Vec::len), sees, "{who}: {found}");
    }
    let by = format!("{entries}?actor={}", seen[1].1.rsplit_once(' ').unwrap().0.replace(' ', "%20"));
    let by = api.read("customer", &by).await;
    assert!(by["auditEntries"].as_array().unwrap().iter().all(|one| one["actor"] == seen[1].1), "{by}");
    for (times, any) in [("startTime=2099-01-01T00:00:00Z", false), ("endTime=2099-01-01T00:00:00Z", true)] {
        let found = api.read("customer", &format!("{entries}?{times}")).await;
        assert_eq!(found.get("auditEntries").is_some(), any, "{times}");
    }
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = api.read("customer", &format!("{entries}?pageSize=3&pageToken={token}")).await;
        paged.extend(page["auditEntries"].as_array().unwrap().clone());
        match page["nextPageToken"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }

    let export = api.send("customer viewer", Method::GET, &format!("{entries}:export"), Value::Null).await;
    assert_eq!(export.headers()["content-type"], "application/x-ndjson");
    let lines = export.text().await.unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, paged);
    let csv = format!("{of_ada}&alt=csv").replace("/auditEntries?", "/auditEntries:export?");
    let csv = api.send("customer viewer", Method::GET, &csv, Value::Null).await;
    assert!(csv.headers()["content-disposition"].to_str().unwrap().ends_with(".csv\""));
    let csv = csv.text().await.unwrap();
    let rows: Vec<&str> = csv.lines().collect();
    assert_eq!(rows.len(), 3, "{csv}");
    assert!(rows[0].starts_with("firstTime,lastTime,count,actor,actorOrganisation,action,subject,"), "{csv}");
    assert!(rows[1].contains(&format!(",account_updated,{subject},")), "{csv}");
}

#[tokio::test]
async fn an_export_is_no_part_of_a_batch() {
    let api = Api::start().await;
    let call =
        |path: &str| format!("--x\r\nContent-Type: application/http\r\n\r\nGET {path} HTTP/1.1\r\n\r\n\r\n");
    let calls = call(&api.own("")) + &call(&api.own("/auditEntries:export")) + "--x--\r\n";
    let request = api.server.stranger().post(api.server.at("/batch")).bearer_auth(&api.keys["customer"]);
    let answer =
        request.header("content-type", "multipart/mixed; boundary=x").body(calls).send().await.unwrap();
    let text = answer.text().await.unwrap();
    assert!(text.contains("HTTP/1.1 200") && text.contains("HTTP/1.1 400"), "{text}");
    assert!(text.contains("Call it by itself.") && !text.contains("company_created"), "{text}");
}

#[tokio::test]
async fn an_export_of_any_length_is_whole() {
    let api = Api::start().await;
    for _ in 0..1100 {
        let (services, by) = (api.server.services(), &api.server.operator);
        services.tenancy.set_works_for(by, api.emm, api.customer, false).await.unwrap();
        services.tenancy.set_works_for(by, api.emm, api.customer, true).await.unwrap();
    }
    let path = api.own("/auditEntries:export?action=company_linked");
    let lines = api.send("customer", Method::GET, &path, Value::Null).await.text().await.unwrap();
    assert_eq!(lines.lines().count(), 1104);
}

/// Who asks, how, for what and with which body; the status of the answer, and a part of its message.
type Refusal = (&'static str, &'static str, &'static str, &'static str, u16, &'static str);

#[rustfmt::skip]
const REFUSALS: &[Refusal] = &[
    // Organisations.
    ("operator", "POST", "/v1/organisations", "{}", 400, "kind: A value is required."),
    ("operator", "POST", "/v1/organisations", r#"{"kind": "ORGANISATION_KIND_EMM", "displayName": "Fleet"}"#, 409, "Choose another name."),
    ("operator", "POST", "/v1/organisations", r#"{"kind": "ORGANISATION_KIND_VENDOR", "displayName": "V"}"#, 400, "parent: a vendor has a reseller"),
    ("operator", "POST", "/v1/organisations", r#"{"kind": "ORGANISATION_KIND_VENDOR", "displayName": "V", "parent": "organisations/1"}"#, 400, "parent: There is no such reseller."),
    ("operator", "POST", "/v1/organisations", r#"{"kind": "ORGANISATION_KIND_EMM", "displayName": "V", "parent": "partners/1"}"#, 400, "parent"),
    ("operator", "POST", "/v1/organisations", r#"{"kind": "ORGANISATION_KIND_EMM", "displayName": "V", "deviceProtection": true}"#, 400, "deviceProtection: only resellers"),
    ("operator", "POST", "/v1/organisations", r#"{"kind": "ORGANISATION_KIND_EMM", "displayName": "V", "termsStatus": 1}"#, 400, "termsStatus"),
    ("operator", "POST", "/v1/organisations", r#"{"kind": "ORGANISATION_KIND_EMM", "displayName": "V", "languageCode": "!"}"#, 400, "languageCode: expected"),
    ("operator", "GET", "/v1/organisations?kind=EMM", "null", 400, "kind: Expected"),
    ("operator", "GET", "/v1/organisations?pageSize=0", "null", 400, "pageSize: Expected 1 to 1000."),
    ("operator", "GET", "/v1/organisations?pageToken=x", "null", 400, "pageToken"),
    ("operator", "GET", "/v1/organisations?x=1", "null", 400, "Cannot bind query parameter"),
    ("operator", "GET", "/v1/organisations?alt=csv", "null", 400, "alt: Expected json"),
    ("other customer", "GET", "{own}", "null", 404, "List what there is"),
    ("customer", "PATCH", "{own}?updateMask=", "{}", 400, "updateMask: Expected the names"),
    ("customer", "PATCH", "{own}?updateMask=name", "{}", 400, "updateMask: name cannot be changed."),
    ("customer", "PATCH", "{own}?updateMask=kind", r#"{"kind": 2}"#, 400, "kind: It never changes."),
    ("customer", "PATCH", "{own}?updateMask=displayName", "{}", 400, "displayName: A value is required."),
    ("customer", "PATCH", "{own}?updateMask=termsStatus", r#"{"termsStatus": 1}"#, 403, "Only the operator"),
    ("customer", "PATCH", "{own}?updateMask=googleWorkspaceCustomerId", r#"{"googleWorkspaceCustomerId": "C0"}"#, 403, "Only the operator"),
    ("partner", "PATCH", "{partner}?updateMask=deviceProtection", r#"{"deviceProtection": true}"#, 403, "Only the operator"),
    ("partner", "PATCH", "{partner}?updateMask=termsStatus", r#"{"termsStatus": 3}"#, 400, "only customers accept"),
    ("partner", "PATCH", "{own}?updateMask=displayName", r#"{"displayName": "Mine"}"#, 404, "belongs to"),
    ("operator", "PATCH", "{own}?updateMask=displayName", r#"{"displayName": "Bolt"}"#, 409, "Choose another name."),
    ("operator", "DELETE", "{own}", "null", 400, "still has configurations"),
    ("operator", "DELETE", "{partner}", "null", 400, "still has vendors"),
    ("operator", "DELETE", "/v1/organisations/1", "null", 404, "List what there is"),
    ("customer", "DELETE", "{own}", "null", 403, "Only the operator"),
    // Links.
    ("customer", "POST", "{own}/links", "{}", 400, "organisation: A value is required."),
    ("customer", "POST", "{own}/links", r#"{"organisation": "organisations/1"}"#, 400, "organisation: There is no such reseller, vendor or EMM."),
    ("customer", "POST", "{own}/links", r#"{"organisation": "organisations/{customer}"}"#, 400, "organisation: There is no such"),
    ("emm", "POST", "{emm}/links", r#"{"organisation": "organisations/{customer}"}"#, 403, "the customer's decision"),
    ("operator", "POST", "{emm}/links", r#"{"organisation": "organisations/1"}"#, 400, "organisation: There is no such customer."),
    ("customer", "DELETE", "{own}/links/1", "null", 404, "no such link"),
    // Users.
    ("customer", "POST", "{own}/users", "{}", 400, "email: A value is required."),
    ("customer", "POST", "{own}/users", r#"{"email": "x", "role": 1}"#, 400, "email: expected an e-mail address"),
    ("customer", "POST", "{own}/users", r#"{"email": "x@acme.example", "role": "owner"}"#, 400, "role"),
    ("customer", "POST", "{own}/users", r#"{"email": "ADA@acme.example", "role": 1}"#, 409, "Change that one"),
    ("customer", "POST", "{own}/users", r#"{"email": "x@acme.example", "role": 1, "state": 2}"#, 400, "state: A new account"),
    ("customer", "POST", "{own}/users", r#"{"email": "x@acme.example", "role": 1, "displayName": "a\nb"}"#, 400, "displayName: expected one line"),
    ("customer admin", "POST", "{own}/users", r#"{"email": "x@acme.example", "role": 3}"#, 403, "takes the role owner"),
    ("customer", "PATCH", "{own}/users/{user}?updateMask=email", r#"{"email": "x@acme.example"}"#, 400, "email: It never changes."),
    ("customer", "PATCH", "{own}/users/{user}?updateMask=state", "{}", 400, "state: A value is required."),
    ("customer", "PATCH", "{own}/users/{user}?updateMask=role", "{}", 400, "role: A value is required."),
    ("customer", "GET", "{own}/users/1", "null", 404, "no such user"),
    ("customer", "GET", "{own}/users/{robot}", "null", 404, "no such user"),
    ("operator", "GET", "{emm}/users/{user}", "null", 404, "no such user"),
    ("operator", "DELETE", "{emm}/users/{user}", "null", 404, "no such user"),
    ("operator", "GET", "/v1/organisations/1/users", "null", 404, "List what there is"),
    // Service accounts and their keys.
    ("customer", "POST", "{own}/serviceAccounts", r#"{"displayName": "A B", "role": 1}"#, 400, "displayName: expected"),
    ("customer", "POST", "{own}/serviceAccounts", r#"{"displayName": "console", "role": 1}"#, 409, "choose another"),
    ("customer", "PATCH", "{own}/serviceAccounts/{robot}?updateMask=displayName", r#"{"displayName": "other"}"#, 400, "displayName: It never changes."),
    ("customer", "DELETE", "{own}/serviceAccounts/{user}", "null", 404, "no such service account"),
    ("operator", "DELETE", "{emm}/serviceAccounts/{robot}", "null", 404, "no such service account"),
    ("customer", "POST", "{own}/serviceAccounts/{user}/keys", "{}", 404, "no such service account"),
    ("customer", "POST", "{own}/serviceAccounts/{robot}/keys", r#"{"publicKey": "x"}"#, 400, "publicKey: expected an RSA public key"),
    ("customer", "POST", "{own}/serviceAccounts/{robot}/keys", r#"{"publicKey": "x", "baseUrl": "https://x.example"}"#, 400, "baseUrl: Only a key"),
    ("customer", "POST", "{own}/serviceAccounts/{robot}/keys", r#"{"baseUrl": "http://x.example"}"#, 400, "baseUrl: expected a URL"),
    ("customer", "POST", "{own}/serviceAccounts/{robot}/keys", r#"{"expireTime": "2001-01-01T00:00:00Z"}"#, 400, "expireTime: expected a time to come"),
    ("customer", "POST", "{own}/serviceAccounts/{robot}/keys:rotate", r#"{"keyId": "a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7"}"#, 400, "keyId: This service account has no such key."),
    ("customer", "DELETE", "{own}/serviceAccounts/{robot}/keys/a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7", "null", 404, "no such key"),
    ("customer", "DELETE", "{own}/serviceAccounts/{robot}/keys/x", "null", 404, "no such key"),
    // API keys.
    ("customer", "POST", "{own}/apiKeys", r#"{"account": "organisations/1/users/1", "displayName": "x"}"#, 400, "account: Expected a user or service account"),
    ("operator", "POST", "{emm}/apiKeys", r#"{"account": "organisations/{customer}/users/{user}", "displayName": "x"}"#, 400, "account: Expected a user or service account"),
    ("customer", "POST", "{own}/apiKeys", r#"{"account": "organisations/{customer}/users/{user}", "displayName": "x", "expireTime": "2001-01-01T00:00:00Z"}"#, 400, "expireTime: expected a time to come"),
    ("customer", "POST", "{own}/apiKeys:rotate", r#"{"apiKeyId": 1}"#, 400, "apiKeyId: This organisation has no such API key."),
    ("customer", "POST", "{own}/apiKeys:rotate", r#"{"apiKeyId": "{key}", "overlap": "2592001s"}"#, 400, "overlap: expected at most 30 days"),
    ("operator", "POST", "{emm}/apiKeys:rotate", r#"{"apiKeyId": "{key}"}"#, 400, "apiKeyId: This organisation has no such API key."),
    ("operator", "DELETE", "{emm}/apiKeys/{key}", "null", 404, "no such API key"),
    ("customer", "GET", "{own}/apiKeys?account=x", "null", 400, "account: Expected"),
    // The audit trail.
    ("customer", "GET", "{own}/auditEntries?startTime=yesterday", "null", 400, "startTime: Expected a date and time"),
    ("customer", "GET", "{own}/auditEntries?action=dance", "null", 400, "action"),
    ("customer", "GET", "{own}/auditEntries?subject=thing", "null", 400, "subject: expected"),
    ("customer", "GET", "{own}/auditEntries:export?pageSize=5", "null", 400, "Cannot bind query parameter"),
    ("customer", "GET", "{own}/auditEntries:export?alt=xml", "null", 400, "alt"),
];

#[tokio::test]
async fn what_is_refused_says_why_and_changes_nothing() {
    let api = Api::start().await;
    let ada = json!({"email": "ada@acme.example", "role": "ROLE_ADMIN"});
    let ada = api.done("customer", Method::POST, &api.own("/users"), ada).await;
    let program = api.program("console", "ROLE_VIEWER").await;
    let key = json!({"account": ada["name"], "displayName": "x"});
    let key = api.done("customer", Method::POST, &api.own("/apiKeys"), key).await;
    let filled = |template: &str| {
        template
            .replace("{own}", &api.own(""))
            .replace("{emm}", &format!("/v1/organisations/{}", api.emm))
            .replace("{partner}", &format!("/v1/organisations/{}", api.partner))
            .replace("{customer}", &api.customer.to_string())
            .replace("{user}", text(&ada["userId"]))
            .replace("{robot}", text(&program["serviceAccountId"]))
            .replace("{key}", text(&key["apiKeyId"]))
    };
    let before = api.server.everything().await;
    for (who, method, path, body, status, says) in REFUSALS {
        let (path, body) = (filled(path), serde_json::from_str(&filled(body)).unwrap());
        let (found, message) = api.refused(who, method.parse().unwrap(), &path, body).await;
        assert_eq!(found, *status, "{method} {path} as {who}: {message}");
        assert!(message.contains(says), "{method} {path} as {who}: {message}");
    }
    assert_eq!(api.server.everything().await, before);
}
