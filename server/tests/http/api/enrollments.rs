//! `/v1/customers/{customer}/enrollments`: from a call to what the device is told.

use super::Api;
use crate::support::{Enrolled, TestDevice, problem};
use reqwest::Method;
use serde_json::{Value, json};
use unbox_common::{
    bytes::FixedBytes,
    ids::Generation,
    protocol::{
        latest::{CHECK_IN_PATH, CheckIn, Command, Grant, HELLO_PATH, News, PROVE_PATH},
        problem::Problem,
    },
    refusal::RefusalKind,
};

impl Api {
    /// What a device is told that asks to be enrolled.
    pub(super) async fn ask(&self, device: &TestDevice) -> Result<Grant, Box<Problem>> {
        let (server, hello) = (&self.server, device.hello());
        let answer = server.post(&server.stranger(), HELLO_PATH, &hello).await;
        if answer.status() != 200 {
            return Err(Box::new(problem(answer).await));
        }
        let challenge = answer.json().await.unwrap();
        let proof = device.prove(&serde_json::to_vec(&hello).unwrap(), &challenge);
        let answer = server.post(&server.stranger(), PROVE_PATH, &proof).await;
        if answer.status() == 200 {
            Ok(answer.json().await.unwrap())
        } else {
            Err(Box::new(problem(answer).await))
        }
    }

    /// Claims a device as its reseller does, so that it gets the customer's configuration.
    pub(super) async fn claimed(&self, device: &TestDevice) -> String {
        let claim = json!({
            "customerId": self.customer.to_string(),
            "sectionType": "SECTION_TYPE_ZERO_TOUCH",
            "configurationId": self.server.configuration().to_string(),
            "deviceIdentifier": device.identifier(),
        });
        let (status, answer) = self.post("partner", &self.partner_path("devices:claim"), claim).await;
        assert_eq!(status, 200, "{answer}");
        answer["deviceId"].as_str().unwrap().to_owned()
    }

    fn name(&self, grant: &Grant) -> String {
        format!("customers/{}/enrollments/{}", self.customer, grant.device_id)
    }

    async fn act(&self, who: &str, action: &str, body: Value) -> (u16, Value) {
        self.post(who, &self.customer_path(&format!("enrollments:{action}")), body).await
    }

    async fn look(&self, who: &str, path: &str) -> (u16, Value) {
        self.call(who, Method::GET, path, Value::Null).await
    }

    async fn listed(&self, query: &str) -> Value {
        let (status, listed) =
            self.look("customer", &self.customer_path(&format!("enrollments?{query}"))).await;
        assert_eq!(status, 200, "{query}: {listed}");
        listed
    }
}

#[tokio::test]
async fn an_approved_key_is_granted_and_a_refused_one_is_not() {
    let api = Api::start().await;
    let first = TestDevice::new("PF0ABCDE");
    api.claimed(&first).await;
    let grant = api.ask(&first).await.unwrap();
    let (wiped, thief) = (TestDevice::new("PF0ABCDE"), TestDevice::new("PF0ABCDE"));
    let name = api.name(&grant);
    assert_eq!(api.ask(&wiped).await.unwrap_err().kind, RefusalKind::PendingApproval);

    let waiting = api.listed("awaitingApproval=true").await;
    assert_eq!((&waiting["totalSize"], &waiting["enrollments"][0]["name"]), (&json!(1), &json!(name)));
    let (status, seen) = api.look("customer viewer", &format!("/v1/{name}")).await;
    assert_eq!(status, 200, "{seen}");
    assert_eq!((&seen["state"], &seen["generation"]), (&json!("ENROLLING"), &json!("1")));
    assert_eq!(seen["deviceIdentifier"]["serialNumber"], "PF0ABCDE");
    let request = &seen["approvalRequests"][0];
    assert_eq!(request["keyDigest"], wiped.hello().device_key.digest().to_string());
    assert_eq!((&request["count"], request.get("approveTime")), (&json!("1"), None));

    // The only key that waits need not be named.
    let (status, approved) = api.act("emm", "approve", json!({"enrollment": name})).await;
    assert_eq!(status, 200, "{approved}");
    assert!(approved["approvalRequests"][0]["approveTime"].is_string());
    assert_eq!(api.ask(&thief).await.unwrap_err().kind, RefusalKind::PendingApproval);
    let key = thief.hello().device_key.digest().to_string();
    let refusal = json!({"enrollment": name, "keyDigest": key});
    assert_eq!(api.act("customer", "refuse", refusal.clone()).await.0, 200);
    let granted = api.ask(&wiped).await.unwrap();
    assert_eq!((granted.device_id, granted.generation), (grant.device_id, Generation(2)));
    let (status, again) = api.act("customer", "refuse", refusal).await;
    assert_eq!((status, violated(&again)), (400, "keyDigest"), "{again}");
    let (status, nothing) = api.act("customer", "approve", json!({"enrollment": name})).await;
    assert_eq!((status, &nothing["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
    assert_eq!(api.listed("awaitingApproval=true").await, json!({}));
}

#[tokio::test]
async fn a_disabled_device_is_told_the_message_also_before_it_was_ever_seen() {
    let api = Api::start().await;
    let device = TestDevice::new("PF0ABCDE");
    let claim = api.claimed(&device).await;
    assert_eq!(api.listed("").await, json!({}));
    let lost = json!({"device": {"deviceId": claim}, "message": "Lost. Call +41 44 000 00 00."});
    let (status, disabled) = api.act("customer", "disable", lost).await;
    assert_eq!((status, &disabled["state"]), (200, &json!("DISABLED")), "{disabled}");
    assert_eq!(disabled["device"], format!("customers/{}/devices/{claim}", api.customer));
    let told = api.ask(&device).await.unwrap_err();
    assert_eq!(
        (told.kind, told.message.as_deref()),
        (RefusalKind::Disabled, Some("Lost. Call +41 44 000 00 00."))
    );
    let by_identifier = json!({"device": {"deviceIdentifier": device.identifier()}});
    let (status, enabled) = api.act("customer", "enable", by_identifier.clone()).await;
    assert_eq!((status, &enabled["state"], enabled.get("message")), (200, &json!("CLAIMED"), None));
    api.ask(&device).await.unwrap();
    let (status, released) = api.act("customer", "deprovision", by_identifier.clone()).await;
    assert_eq!((status, &released["state"]), (200, &json!("DEPROVISIONED")));
    assert_eq!(api.ask(&device).await.unwrap_err().kind, RefusalKind::Deprovisioned);
    let (status, refused) = api.act("customer", "disable", by_identifier).await;
    assert_eq!((status, &refused["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
}

#[tokio::test]
async fn a_device_that_is_asked_to_enrolls_again() {
    let api = Api::start().await;
    let first = api.server.enrolled("PF0ABCDE").await;
    let name = format!("customers/{}/enrollments/{}", api.customer, first.id);
    let (status, asked) = api.act("emm", "reenroll", json!({"enrollment": name})).await;
    assert_eq!(status, 200, "{asked}");
    assert!(asked["reenrollRequestTime"].is_string());
    assert_eq!(news(&api, &first, 1).await.commands, [Command::ReEnroll]);
    let again = api.server.enroll_again(&first).await;
    assert_eq!(news(&api, &again, 2).await.commands, []);
    let (_, seen) = api.look("customer", &format!("/v1/{name}")).await;
    assert_eq!(
        (&seen["state"], &seen["generation"], &seen["activeGeneration"]),
        (&json!("MANAGED"), &json!("2"), &json!("2"))
    );
    assert_eq!(seen.get("reenrollRequestTime"), None);
    assert_eq!(seen["outcome"], json!({"result": "MANAGED", "version": "1"}));
}

async fn news(api: &Api, device: &Enrolled, generation: u64) -> News {
    let said = CheckIn {
        generation: Generation(generation),
        agent_version: "0.1.0".to_owned(),
        installed: None,
        failed_version: None,
        healthy: true,
        nonce: FixedBytes([9; 32]),
        root_version: 1,
        renew_certificate: false,
    };
    api.server.post(&device.client, CHECK_IN_PATH, &said).await.json().await.unwrap()
}

#[tokio::test]
async fn a_reset_ticket_is_minted_once_for_a_device() {
    let api = Api::start().await;
    let claim = api.claimed(&TestDevice::new("PF0ABCDE")).await;
    let body = json!({"device": {"deviceId": claim}});
    let (status, minted) = api.act("customer", "createResetTicket", body).await;
    assert_eq!(status, 200, "{minted}");
    assert!(minted["resetTicket"].as_str().unwrap().len() > 20);
    assert!(minted["expireTime"].is_string());
}

#[tokio::test]
async fn enrollments_are_found_by_state_claim_and_identifier() {
    let api = Api::start().await;
    let (one, other) = (TestDevice::new("PF0ABCDE"), TestDevice::new("PF0ABCDF"));
    let claim = api.claimed(&one).await;
    api.claimed(&other).await;
    let grant = api.ask(&one).await.unwrap();
    api.ask(&other).await.unwrap();
    let name = api.name(&grant);
    let device = format!("customers/{}/devices/{claim}", api.customer);
    for (query, total) in [
        ("", 2),
        ("state=ENROLLING", 2),
        ("state=MANAGED", 0),
        ("identifier=PF0ABCDE", 1),
        ("identifier=PF0ABCDX", 0),
        ("identifier=%20", 0),
        (&format!("device={device}"), 1),
        (&format!("device={device}&state=CLAIMED"), 0),
        ("awaitingApproval=false", 2),
        ("awaitingApproval=true", 0),
    ] {
        let found = api.listed(query).await;
        assert_eq!(found["totalSize"].as_i64().unwrap_or_default(), total, "{query}: {found}");
        if total == 1 {
            assert_eq!(found["enrollments"][0]["name"], name, "{query}");
        }
    }
    let first = api.listed("pageSize=1").await;
    let second =
        api.listed(&format!("pageSize=1&pageToken={}", first["nextPageToken"].as_str().unwrap())).await;
    assert_eq!((&first["totalSize"], second.get("nextPageToken")), (&json!(2), None));
    assert_ne!(first["enrollments"][0]["name"], second["enrollments"][0]["name"]);
    for (query, field) in [
        ("state=managed", "state"),
        ("state=ENROLLMENT_STATE_UNSPECIFIED", "state"),
        ("device=customers/1/devices/1", "device"),
        ("device=7", "device"),
        ("pageSize=1001", "pageSize"),
        ("pageToken=x", "pageToken"),
        ("awaitingApproval=perhaps", "awaitingApproval"),
        ("other=1", ""),
    ] {
        let (status, said) = api.look("customer", &api.customer_path(&format!("enrollments?{query}"))).await;
        assert_eq!((status, violated(&said)), (400, field), "{query}: {said}");
    }
}

#[tokio::test]
async fn what_happened_is_told_in_order_and_in_pages() {
    let api = Api::start().await;
    let device = TestDevice::new("PF0ABCDE");
    api.claimed(&device).await;
    let name = api.name(&api.ask(&device).await.unwrap());
    api.act("customer", "disable", json!({"enrollment": name})).await;
    api.act("emm", "enable", json!({"enrollment": name})).await;
    let page = async |who: &str, query: &str| {
        let (status, page) = api.look(who, &format!("/v1/{name}/history?{query}")).await;
        assert_eq!(status, 200, "{page}");
        page
    };
    let whole = page("customer", "").await;
    let told = |page: &Value, field: &str| -> Vec<String> {
        let events = page["events"].as_array().unwrap();
        events.iter().map(|one| one[field].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(told(&whole, "action"), ["device_enabled", "device_disabled", "granted", "claimed"]);
    let (mut events, mut token) = (Vec::new(), String::new());
    loop {
        let part = page("customer", &format!("pageSize=1&pageToken={token}")).await;
        events.extend(told(&part, "action"));
        match part["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(events, told(&whole, "action"));
    // Who registers devices is not for an EMM, and neither are the customer's people.
    let actors = told(&page("emm", "").await, "actor");
    assert!(actors[0].ends_with(" emm"), "{actors:?}");
    assert_eq!((actors[1].as_str(), actors[3].as_str()), ("", ""), "{actors:?}");
    assert!(actors[2].starts_with("device "), "{actors:?}");
    assert!(told(&whole, "actor")[3].ends_with(" partner"), "a customer knows its resellers");
}

#[tokio::test]
async fn an_emm_does_not_learn_who_registers_devices() {
    let api = Api::start().await;
    let device = TestDevice::new("PF0ABCDE");
    let claim = api.claimed(&device).await;
    let name = api.name(&api.ask(&device).await.unwrap());
    let partner = api.partner.to_string();
    for path in [
        api.customer_path("devices"),
        api.customer_path(&format!("devices/{claim}")),
        api.customer_path("enrollments"),
        format!("/v1/{name}"),
        format!("/v1/{name}/history"),
    ] {
        let (status, seen) = api.look("emm", &path).await;
        let seen = seen.to_string();
        assert_eq!(status, 200, "{seen}");
        for word in ["resellerId", "Boxes", "partner", partner.as_str()] {
            assert!(!seen.contains(word), "{path} tells {word}: {seen}");
        }
    }
    let (_, seen) = api.look("customer", &api.customer_path(&format!("devices/{claim}"))).await;
    assert_eq!(seen["claims"][0]["resellerId"], partner);
}

#[tokio::test]
async fn what_means_no_device_of_this_customer_is_refused_and_nothing_changes() {
    let api = Api::start().await;
    let device = TestDevice::new("PF0ABCDE");
    let claim = api.claimed(&device).await;
    let name = api.name(&api.ask(&device).await.unwrap());
    let unseen = api.claim("PF0ABCDF").await;
    let foreign = name.replace(&api.customer.to_string(), &api.partner.to_string());
    let before = api.server.everything().await;
    let both = json!({"enrollment": name, "device": {"deviceId": claim}});
    let unknown = json!({"enrollment": format!("customers/{}/enrollments/1", api.customer)});
    for action in ["approve", "refuse", "reenroll", "disable", "enable", "deprovision", "createResetTicket"] {
        for (body, status) in [
            (json!({}), 400),
            (both.clone(), 400),
            (json!({"enrollment": "enrollments/1"}), 400),
            (json!({"enrollment": foreign}), 400),
            (unknown.clone(), 404),
            (json!({"device": {}}), 400),
            (json!({"device": {"deviceId": "1"}}), 404),
            (json!({"device": {"deviceIdentifier": {"imei": "490154203237518"}}}), 404),
            (json!({"enrolment": name}), 400),
        ] {
            let (found, said) = api.act("customer", action, body.clone()).await;
            assert_eq!(found, status, "{action} {body}: {said}");
        }
    }
    for action in ["approve", "refuse", "reenroll", "enable"] {
        let (status, said) = api.act("customer", action, json!({"device": {"deviceId": unseen}})).await;
        assert_eq!(status, 404, "{action}: {said}");
    }
    for body in [
        json!({"device": {"deviceId": unseen}, "message": "\u{7}"}),
        json!({"device": {"deviceId": unseen}, "message": "x".repeat(10_000)}),
    ] {
        let (status, said) = api.act("customer", "disable", body).await;
        assert_eq!((status, violated(&said)), (400, "message"), "{said}");
    }
    for (action, body) in [
        ("enable", json!({"enrollment": name})),
        ("approve", json!({"enrollment": name})),
        ("approve", json!({"enrollment": name, "keyDigest": "7"})),
        ("refuse", json!({"enrollment": name, "keyDigest": "0".repeat(64)})),
    ] {
        let (status, said) = api.act("customer", action, body).await;
        assert_eq!(status, 400, "{action}: {said}");
    }
    let (status, _) = api.look("other customer", &format!("/v1/{name}")).await;
    assert_eq!(status, 404);
    for path in ["enrollments/1", "enrollments/x", "enrollments/1/history"] {
        assert_eq!(api.look("customer", &api.customer_path(path)).await.0, 404, "{path}");
    }
    assert_eq!(api.server.everything().await, before);
}

/// The first field that a refusal names.
fn violated(said: &Value) -> &str {
    said["error"]["details"][0]["fieldViolations"][0]["field"].as_str().unwrap_or_default()
}
