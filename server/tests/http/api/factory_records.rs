//! `factoryRecords` and `trustBundle`: what an organisation sees of its factories.

use super::Api;
use crate::support::TestDevice;
use reqwest::Method;
use serde_json::{Value, json};
use std::fs;
use unbox_common::trust::{Signed, SigningRoot};
use unbox_server::{
    domain::tenancy::company::CompanyKind,
    entropy::SystemEntropy,
    keys::rotate,
    service::NewCompany,
    store::{FactoryFilter, PageRequest},
};

impl Api {
    /// Registers devices of these serial numbers, and a key each; returns their records' ids.
    async fn registered(&self, who: &str, serials: &[&str]) -> Vec<String> {
        let of = if who.starts_with("partner") { self.partner_path("") } else { self.customer_path("") };
        let mut ids = Vec::new();
        for serial in serials {
            let device = TestDevice::new(serial);
            let named =
                device.hello().identity.into_iter().map(|one| json!({"kind": one.kind, "value": one.value}));
            let key = json!({"kind": "device_key", "value": device.hello().device_key.digest().to_string()});
            let all: Vec<Value> = named.chain([key]).collect();
            let body = json!({"devices": [{"identifiers": all}]});
            let (status, answer) = self.post(who, &format!("{of}devices:register"), body).await;
            assert_eq!(status, 200, "{answer}");
            ids.push(answer["results"][0]["recordId"].as_str().unwrap().to_owned());
        }
        ids
    }

    async fn see(&self, who: &str, path: &str) -> (u16, Value) {
        self.call(who, Method::GET, path, Value::Null).await
    }

    /// Every record of everybody.
    async fn all_records(&self) -> Vec<String> {
        let (services, by) = (self.server.services(), &self.server.operator);
        let page =
            services.factory.list_factory_records(by, FactoryFilter::default(), PageRequest::default());
        page.await.unwrap().items.into_iter().map(|one| format!("{one:?}")).collect()
    }
}

fn ids(listed: &Value) -> Vec<&str> {
    let records = listed["factoryRecords"].as_array();
    records.into_iter().flatten().map(|one| one["recordId"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_station_sees_what_its_organisation_registered_and_an_admin_takes_it_back() {
    let api = Api::start().await;
    for (station, admin, path) in [
        ("partner station", "partner admin", api.partner_path("factoryRecords")),
        ("customer station", "customer admin", api.customer_path("factoryRecords")),
    ] {
        let made = api.registered(station, &["PF0ABCDE", "PF0ABCDF", "PF0ABCDG"]).await;
        let (status, first) = api.see(station, &format!("{path}?pageSize=2")).await;
        assert_eq!((status, ids(&first)), (200, vec![made[0].as_str(), &made[1]]), "{first}");
        let token = first["nextPageToken"].as_str().unwrap();
        let (_, rest) = api.see(station, &format!("{path}?pageSize=2&pageToken={token}")).await;
        assert_eq!((ids(&rest), rest.get("nextPageToken")), (vec![made[2].as_str()], None));
        let (_, found) = api.see(station, &format!("{path}?identifier=pf0abcdf")).await;
        assert_eq!(ids(&found), [made[1].as_str()]);
        let (status, other) = api.see(station, &format!("{path}?identifier=x&pageToken={token}")).await;
        assert_eq!(status, 400, "the token of another list: {other}");
        for query in ["pageSize=1001", "pageSize=-1", "company=1"] {
            assert_eq!(api.see(station, &format!("{path}?{query}")).await.0, 400, "{query}");
        }

        let one = format!("{path}/{}", made[1]);
        let (status, shown) = api.see(station, &one).await;
        assert_eq!((status, &shown["name"]), (200, &json!(one.trim_start_matches("/v1/"))), "{shown}");
        let serial = json!({"kind": "serial_number", "value": "PF0ABCDF"});
        assert!(shown["identifiers"].as_array().unwrap().contains(&serial), "{shown}");
        assert!(shown["createTime"].is_string() && shown.get("deviceId").is_none(), "{shown}");
        let before = api.all_records().await;
        assert_eq!(api.call(station, Method::DELETE, &one, Value::Null).await.0, 403);
        assert_eq!(api.all_records().await, before);
        assert_eq!(api.call(admin, Method::DELETE, &one, Value::Null).await, (200, json!({})));
        assert_eq!(api.see(station, &one).await.0, 404);
        assert_eq!(api.call(admin, Method::DELETE, &one, Value::Null).await.0, 404);
        let (_, left) = api.see(admin, &path).await;
        assert_eq!(ids(&left), [made[0].as_str(), &made[2]]);
    }
}

#[tokio::test]
async fn a_record_of_somebody_else_is_as_if_it_were_not_there() {
    let api = Api::start().await;
    let made = api.registered("partner station", &["PF0ABCDE"]).await;
    let before = api.all_records().await;
    assert_eq!(before.len(), 1);
    let path = api.customer_path(&format!("factoryRecords/{}", made[0]));
    for who in ["customer", "emm", "customer station"] {
        assert_eq!(api.see(who, &path).await.0, 404, "{who}");
        assert_eq!(api.see(who, &api.customer_path("factoryRecords")).await, (200, json!({})), "{who}");
    }
    assert_eq!(api.call("customer", Method::DELETE, &path, Value::Null).await.0, 404);
    let path = format!("/v1/partners/{}/factoryRecords/{}", api.vendor, made[0]);
    assert_eq!(api.see("vendor", &path).await.0, 404);
    assert_eq!(api.call("vendor", Method::DELETE, &path, Value::Null).await.0, 404);
    for id in ["0", "-1", "x", "99999999999999999999"] {
        let path = api.partner_path(&format!("factoryRecords/{id}"));
        assert_eq!(api.call("partner", Method::DELETE, &path, Value::Null).await.0, 404, "{id}");
    }
    assert_eq!(api.all_records().await, before);
}

#[tokio::test]
async fn a_key_that_a_device_uses_keeps_its_record_until_the_claim_has_ended() {
    let api = Api::start().await;
    let device = TestDevice::new("PF0ABCDE");
    let named = device.hello().identity.into_iter().map(|one| json!({"kind": one.kind, "value": one.value}));
    let key = json!({"kind": "device_key", "value": device.hello().device_key.digest().to_string()});
    let all: Vec<Value> = named.chain([key]).collect();
    let path = api.partner_path("devices:register");
    let (_, answer) = api.post("partner station", &path, json!({"devices": [{"identifiers": all}]})).await;
    let path =
        api.partner_path(&format!("factoryRecords/{}", answer["results"][0]["recordId"].as_str().unwrap()));
    let claim = api.claimed(&device).await;
    assert_eq!(api.see("partner station", &path).await.1["deviceId"], claim);
    api.ask(&device).await.unwrap();
    let before = (api.all_records().await, api.server.everything().await);
    let (status, refused) = api.call("partner", Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &refused["error"]["status"]), (400, &json!("FAILED_PRECONDITION")), "{refused}");
    let says = refused["error"]["message"].as_str().unwrap();
    assert!(says.contains(&format!("The device of claim {claim} enrolled")), "{says}");
    assert_eq!((api.all_records().await, api.server.everything().await), before);
    let unclaim = json!({"deviceId": claim, "sectionType": "SECTION_TYPE_ZERO_TOUCH"});
    assert_eq!(api.post("partner", &api.partner_path("devices:unclaim"), unclaim).await.0, 200);
    assert_eq!(api.see("partner", &path).await.1.get("deviceId"), None);
    assert_eq!(api.call("partner", Method::DELETE, &path, Value::Null).await.0, 200);
}

#[tokio::test]
async fn an_organisation_with_records_says_so_when_it_is_to_be_deleted() {
    let api = Api::start().await;
    let new = NewCompany { parent: Some(api.partner), ..NewCompany::new(CompanyKind::Vendor, "Bytes") };
    let vendor = api.server.services().tenancy.create_company(&api.server.operator, new).await.unwrap().id;
    let by = unbox_server::domain::tenancy::actor::Actor::of_reseller("bench", vendor);
    let raw = TestDevice::new("PF0ABCDE").hello().identity;
    let shown = unbox_common::identity::HardwareIdentity::from_raw(&raw).unwrap();
    api.server.services().factory.register_factory_devices(&by, vec![shown]).await.unwrap();
    let path = format!("/v1/organisations/{vendor}");
    let before = api.all_records().await;
    let (status, refused) = api.call("operator", Method::DELETE, &path, Value::Null).await;
    assert_eq!((status, &refused["error"]["status"]), (400, &json!("FAILED_PRECONDITION")), "{refused}");
    assert!(refused["error"]["message"].as_str().unwrap().contains("factory records"), "{refused}");
    assert_eq!(api.all_records().await, before);
}

#[tokio::test]
async fn the_trust_bundle_is_what_images_get_and_leads_on_from_an_older_root() {
    let api = Api::start().await;
    let layout = api.server.layout();
    let file = |path| fs::read_to_string(path).unwrap();
    let first = file(layout.trusted_root());
    for _ in 0..2 {
        rotate::rotate_payload_key(layout, None, &SystemEntropy::new()).unwrap();
    }
    api.server.reload().unwrap();
    for who in ["partner station", "partner viewer"] {
        let (status, bundle) = api.see(who, &api.partner_path("trustBundle?knownRootVersion=1")).await;
        assert_eq!(status, 200, "{bundle}");
        assert_eq!(bundle["anchors"], file(layout.trusted_anchors()));
        assert_eq!(bundle["root"], file(layout.trusted_root()));
        assert_eq!(bundle["rootVersion"], "3");
        assert_eq!(bundle["newerRoots"], json!([file(layout.root(2)), file(layout.root(3))]));
    }
    let path = api.customer_path("trustBundle");
    let (_, whole) = api.see("customer station", &path).await;
    assert_eq!(whole["newerRoots"][0], first);
    let mut root: Option<unbox_common::trust::Verified<SigningRoot>> = None;
    for next in whole["newerRoots"].as_array().unwrap() {
        let next: Signed<SigningRoot> = serde_json::from_str(next.as_str().unwrap()).unwrap();
        root = Some(match root {
            None => SigningRoot::from_image(&next).unwrap(),
            Some(known) => known.successor(&next).unwrap(),
        });
    }
    assert_eq!(root.unwrap().version, 3);
    for (known, roots) in [("3", 0), ("99", 0), ("2", 1)] {
        let (_, bundle) = api.see("customer", &format!("{path}?knownRootVersion={known}")).await;
        assert_eq!(bundle["newerRoots"].as_array().map_or(0, Vec::len), roots, "{known}");
    }
    for query in ["knownRootVersion=-1", "knownRootVersion=x", "version=1"] {
        assert_eq!(api.see("customer", &format!("{path}?{query}")).await.0, 400, "{query}");
    }
    // Without the file for images there is nothing to give, and nothing half is given.
    let (client, key) = (api.server.stranger(), &api.keys["customer"]);
    fs::remove_file(layout.trusted_anchors()).unwrap();
    let answer = client.get(api.server.at(&path)).bearer_auth(key).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    assert!(!answer.text().await.unwrap().contains("root"));
}
