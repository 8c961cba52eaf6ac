//! `devices:check` and `devices:register`: what a factory's test station asks before devices are shipped.

use super::Api;
use crate::support::TestDevice;
use reqwest::Method;
use serde_json::{Value, json};
use unbox_common::{
    digest::Sha256,
    identity::{Identifier, RawIdentifier},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
    refusal::RefusalKind,
};
use unbox_server::{
    domain::tenancy::audit::Action,
    service::{NewClaim, ServiceError},
    store::{AuditFilter, PageRequest},
};

const STATION: &str = "partner station";

impl Api {
    async fn station(&self, who: &str, method: &str, devices: Value) -> Vec<Value> {
        let path = match who {
            "customer station" => self.customer_path(&format!("devices:{method}")),
            _ => self.partner_path(&format!("devices:{method}")),
        };
        let (status, answer) = self.post(who, &path, json!({"devices": devices})).await;
        assert_eq!(status, 200, "{answer}");
        answer["results"].as_array().unwrap().clone()
    }

    /// How often stations changed anything, by the audit trail.
    async fn changes(&self) -> usize {
        let mut changes = 0;
        for action in [Action::DevicesRegistered, Action::ClaimKeyRegistered] {
            let filter = AuditFilter { action: Some(action), ..AuditFilter::default() };
            let services = self.server.services();
            let page = services.tenancy.list_audit(&self.server.operator, filter, PageRequest::default());
            changes += page.await.unwrap().items.len();
        }
        changes
    }
}

fn built(identifiers: &[(&str, &str)]) -> Value {
    let all = identifiers.iter().map(|(kind, value)| json!({"kind": kind, "value": value}));
    json!({"identifiers": all.collect::<Vec<_>>()})
}

/// What a station reads of a device whose key was made there.
fn of(device: &TestDevice) -> Value {
    let mut all: Vec<Value> =
        device.hello().identity.iter().map(|one| json!({"kind": one.kind, "value": one.value})).collect();
    all.push(json!({"kind": "device_key", "value": device.hello().device_key.digest().to_string()}));
    json!({"identifiers": all})
}

#[tokio::test]
async fn a_registered_key_is_the_one_that_a_claim_made_later_asks_for() {
    let api = Api::start().await;
    let (device, twin) = (TestDevice::new("AB1"), TestDevice::new("AB1"));
    let first = api.station(STATION, "register", json!([of(&device)])).await;
    assert_eq!(first[0]["state"], "REGISTERED");
    assert_eq!(first[0]["deviceId"], Value::Null, "nothing is claimed by it");
    let again = api.station(STATION, "register", json!([of(&device)])).await;
    assert_eq!(again[0]["state"], "ALREADY_REGISTERED");
    assert_eq!(again[0]["recordId"], first[0]["recordId"]);
    assert_eq!(api.changes().await, 1);
    let known = api.station(STATION, "check", json!([of(&device)])).await;
    assert_eq!(
        (&known[0]["standing"], &known[0]["recordId"]),
        (&json!("NOT_CLAIMED"), &first[0]["recordId"])
    );

    let claim = api.claimed(&device).await;
    let known = api.station(STATION, "check", json!([of(&device)])).await;
    assert_eq!(known[0]["standing"], "CLAIMED");
    assert_eq!(known[0]["deviceId"], claim);
    assert_eq!(known[0]["ownerCompanyId"], api.customer.to_string());
    assert_eq!(known[0]["matched"][0]["kind"], "device_key");
    let by = &api.server.operator;
    let services = api.server.services();
    services.claims.set_claim_proof(by, claim.parse().unwrap(), ProofKind::RegisteredKey).await.unwrap();
    let refused = api.ask(&twin).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::ProofRequired, "the same identifiers and another key");
    assert!(api.ask(&device).await.is_ok());
}

#[tokio::test]
async fn a_key_that_is_registered_after_the_claim_is_added_to_it_once() {
    let api = Api::start().await;
    let organisation = format!("/v1/organisations/{}?updateMask=factoryKeysAllowed", api.customer);
    let allowed = json!({"factoryKeysAllowed": true});
    for who in ["emm", "partner", "customer admin", "customer station"] {
        let (status, _) = api.call(who, Method::PATCH, &organisation, allowed.clone()).await;
        assert!([403, 404].contains(&status), "{who}: {status}");
    }
    let (status, changed) = api.call("customer", Method::PATCH, &organisation, allowed).await;
    assert_eq!((status, &changed["factoryKeysAllowed"]), (200, &json!(true)), "{changed}");
    let (device, twin) = (TestDevice::new("AB1"), TestDevice::new("AB1"));
    let claim = api.claimed(&device).await;
    for (round, expected) in [(1, "REGISTERED"), (2, "ALREADY_REGISTERED")] {
        let became = api.station(STATION, "register", json!([of(&device)])).await;
        assert_eq!(
            (&became[0]["state"], &became[0]["deviceId"]),
            (&json!(expected), &json!(claim)),
            "{round}"
        );
    }
    let refused = api.station(STATION, "register", json!([of(&twin)])).await;
    assert_eq!(refused[0]["state"], "REFUSED");
    assert!(refused[0]["problem"].as_str().unwrap().contains("has another device_key"));
    let services = api.server.services();
    let found = services.claims.claim(&api.server.operator, claim.parse().unwrap()).await.unwrap().claim;
    let keys: Vec<Sha256> = found.sets.registered_keys().collect();
    assert_eq!(keys, [device.hello().device_key.digest()]);
    assert_eq!(api.changes().await, 2, "one registration, one claim with its key");
}

#[tokio::test]
async fn a_claim_whose_customer_does_not_allow_it_takes_no_key_from_a_station() {
    let api = Api::start().await;
    let device = TestDevice::new("AB1");
    let claim = api.claimed(&device).await;
    for (round, expected) in [(1, "REGISTERED"), (2, "ALREADY_REGISTERED")] {
        let became = api.station(STATION, "register", json!([of(&device)])).await;
        assert_eq!(became[0]["state"], expected, "{round}");
        assert_eq!(became[0].get("deviceId"), None, "{round}");
        assert!(became[0]["problem"].as_str().unwrap().contains("did not get its key"), "{round}");
    }
    let services = api.server.services();
    let found = services.claims.claim(&api.server.operator, claim.parse().unwrap()).await.unwrap().claim;
    assert_eq!(found.sets.registered_keys().count(), 0);
}

#[tokio::test]
async fn a_claim_may_ask_for_a_key_that_only_the_factory_registered() {
    let api = Api::start().await;
    let device = TestDevice::new("AB1");
    let services = api.server.services();
    let parse = |one: &RawIdentifier| Identifier::parse(one.kind, &one.value).unwrap();
    let set = IdentifierSet::new(device.hello().identity.iter().map(parse)).unwrap();
    let new = NewClaim {
        customer: api.customer,
        reseller: Some(api.partner),
        configuration: Some(api.server.configuration()),
        proof: ProofKind::RegisteredKey,
        sets: vec![set],
        order: None,
        metadata: unbox_server::domain::claims::claim::Metadata::default(),
        protected: false,
    };
    let before = api.server.everything().await;
    let refused = services.claims.create_claim(&api.server.operator, new.clone()).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Invalid { field: "proof", .. }), "{refused}");
    assert_eq!(api.server.everything().await, before);
    api.station(STATION, "register", json!([of(&device)])).await;
    services.claims.create_claim(&api.server.operator, new).await.unwrap();
    assert!(api.ask(&device).await.is_ok());
}

#[tokio::test]
async fn each_device_of_a_request_has_its_own_result_and_a_bad_one_changes_nothing() {
    let api = Api::start().await;
    let acme = [("manufacturer", "Acme"), ("model", "G3")];
    let with = |more: &[(&str, &str)]| built(&[&acme[..], more].concat());
    let mac = ("mac_address", "00:16:3e:00:00:01");
    let devices = json!([
        with(&[("serial_number", "S1"), mac]),
        with(&[("serial_number", "Default string")]),
        with(&[("serial_number", "S2"), mac]),
        built(&acme),
        built(&[("colour", "red")]),
        with(&[("serial_number", "S1"), mac]),
        with(&[("serial_number", "S1"), ("board_serial", "B2")]),
    ]);
    let became = api.station(STATION, "register", devices).await;
    let states: Vec<&str> = became.iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!(
        states,
        ["REGISTERED", "REFUSED", "REFUSED", "REFUSED", "REFUSED", "ALREADY_REGISTERED", "UPDATED"]
    );
    for (at, says) in [
        (1, "is a placeholder that the maker never replaced."),
        (2, "has another serial_number. Put it aside"),
        (3, "no identifier that tells this device from others"),
        (4, "unknown kind of identifier \"colour\"."),
    ] {
        let problem = became[at]["problem"].as_str().unwrap();
        assert!(problem.contains(says), "{problem}");
    }
    assert_eq!(api.changes().await, 1);
    let other =
        api.station(STATION, "check", json!([with(&[("serial_number", "S2"), ("board_serial", "B2")])]));
    assert_eq!(other.await[0]["duplicate"], "serial_number");
}

#[tokio::test]
async fn a_claim_that_does_not_fit_names_what_the_device_lacks() {
    let api = Api::start().await;
    let claim = api.claimed(&TestDevice::new("AB1")).await;
    let hello = TestDevice::new("AB1").hello();
    let mut renamed: Vec<Value> =
        hello.identity.iter().map(|one| json!({"kind": one.kind, "value": one.value})).collect();
    for one in renamed.iter_mut().filter(|one| one["kind"] == "model") {
        one["value"] = json!("Gateway 4");
    }
    let found = api.station(STATION, "check", json!([{"identifiers": renamed}])).await;
    assert_eq!((&found[0]["standing"], &found[0]["deviceId"]), (&json!("DIFFERS"), &json!(claim)));
    assert_eq!(found[0]["missing"][0]["kind"], "model");
}

#[tokio::test]
async fn stations_see_nothing_of_other_organisations() {
    let api = Api::start().await;
    let device = TestDevice::new("AB1");
    api.station(STATION, "register", json!([of(&device)])).await;
    let elsewhere = api.station("customer station", "check", json!([of(&device)])).await;
    assert_eq!(elsewhere[0], json!({"standing": "NOT_CLAIMED"}));
    api.claimed(&device).await;
    let own = api.station("customer station", "check", json!([of(&device)])).await;
    assert_eq!((&own[0]["standing"], &own[0]["recordId"]), (&json!("CLAIMED"), &Value::Null));
}

#[tokio::test]
async fn a_request_without_devices_or_with_too_many_is_refused_whole() {
    let api = Api::start().await;
    for method in ["check", "register"] {
        for count in [0, 501] {
            let devices = vec![built(&[("mac_address", "00:16:3e:00:00:01")]); count];
            let path = api.partner_path(&format!("devices:{method}"));
            let (status, answer) = api.post(STATION, &path, json!({"devices": devices})).await;
            assert_eq!(status, 400, "{answer}");
        }
    }
    assert_eq!(api.changes().await, 0);
}

#[tokio::test]
async fn a_station_is_a_program() {
    let api = Api::start().await;
    let users = format!("/v1/organisations/{}/users", api.customer);
    let person = json!({"displayName": "Ann", "email": "ann@acme.example", "role": "ROLE_STATION"});
    let before = api.server.everything().await;
    let (status, answer) = api.post("customer", &users, person).await;
    assert_eq!(status, 400, "{answer}");
    assert_eq!(api.server.everything().await, before);
}
