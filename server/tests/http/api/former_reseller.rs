//! What a reseller can still do with devices of a customer that ended the link: nothing, by any method.

use super::Api;
use crate::support::TestDevice;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use unbox_common::ids::ClaimId;
use unbox_server::{
    domain::claims::claim::Claim,
    route::api::{access::Side, routes::ROUTES},
};

const SERIAL: &str = "PF0ABCDE";

impl Api {
    async fn stored(&self, id: &str) -> Claim {
        let id: ClaimId = id.parse().unwrap();
        self.server.services().claims.claim(&self.server.operator, id).await.unwrap().claim
    }

    async fn end_link(&self) {
        let link = format!("/v1/organisations/{}/links/{}", self.customer, self.partner);
        let (status, answer) = self.call("customer", Method::DELETE, &link, Value::Null).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn done_operation(&self, name: &str) -> Value {
        let path = format!("/v1/{name}");
        let done = async {
            loop {
                let (_, operation) = self.call("partner", Method::GET, &path, Value::Null).await;
                if operation["done"] == true {
                    return operation;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), done).await.unwrap()
    }
}

/// The bodies of each method of a partner that has one, about a device that is named in several ways.
fn bodies(route: &str, id: &str, claim: &Value, device: &TestDevice) -> Vec<Value> {
    let section = "SECTION_TYPE_ZERO_TOUCH";
    let identifier = device.identifier();
    let station: Vec<Value> =
        device.hello().identity.iter().map(|one| json!({"kind": one.kind, "value": one.value})).collect();
    let named = [json!({"deviceId": id}), json!({"deviceIdentifier": identifier})];
    let with = |more: Value| {
        named.iter().map(move |one| {
            let mut one = one.clone();
            one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            one
        })
    };
    let unclaims = || {
        with(json!({"sectionType": section}))
            .chain(with(json!({"sectionType": section, "vacationModeDays": 3})))
    };
    let metadata = json!({"deviceMetadata": {"entries": {"ordernumber": "mine"}}});
    match route {
        "partners.devices.claim" => vec![claim.clone()],
        "partners.devices.claimAsync" => vec![json!({"claims": [claim]})],
        "partners.devices.unclaim" => unclaims().collect(),
        "partners.devices.unclaimAsync" => vec![json!({"unclaims": unclaims().collect::<Vec<_>>()})],
        "partners.devices.metadata" => vec![metadata],
        "partners.devices.updateMetadataAsync" => {
            vec![json!({"updates": with(metadata).collect::<Vec<_>>()})]
        }
        "partners.devices.findByIdentifier" => {
            vec![json!({"deviceIdentifier": {"serialNumber": SERIAL}, "limit": "10"})]
        }
        "partners.devices.findByOwner" => vec![
            json!({"limit": "10", "sectionType": section}),
            json!({"limit": "10", "sectionType": section, "customerId": [claim["customerId"]]}),
        ],
        "partners.devices.getSimLockState" => vec![json!({"deviceIdentifier": {"serialNumber": SERIAL}})],
        "partners.devices.check" => vec![json!({"devices": [{"identifiers": station}]})],
        "partners.devices.register" => {
            let mut all = station;
            let key = device.hello().device_key.digest().to_string();
            all.push(json!({"kind": "device_key", "value": key}));
            vec![json!({"devices": [{"identifiers": all}]})]
        }
        _ => vec![Value::Null],
    }
}

#[tokio::test]
async fn a_former_reseller_reaches_a_managed_device_by_no_method() {
    let api = Api::start().await;
    let device = TestDevice::new(SERIAL);
    let mut claim = api.claim_of(SERIAL);
    claim["deviceIdentifier"] = device.identifier();
    claim["configurationId"] = json!(api.server.configuration().to_string());
    let (status, claimed) = api.post("partner", &api.partner_path("devices:claim"), claim.clone()).await;
    assert_eq!(status, 200, "{claimed}");
    let id = claimed["deviceId"].as_str().unwrap();
    let grant = api.server.grant(&device).await;
    api.end_link().await;
    let (before, devices) = (api.stored(id).await, api.server.devices().await);
    for route in ROUTES.iter().filter(|route| route.access.side == Side::Partner) {
        let path = route
            .path
            .replace("{partner}", &api.partner.to_string())
            .replace("{vendor}", &api.vendor.to_string())
            .replace("{device}", id)
            .replace("{factoryRecord}", "1");
        if route.id == "partners.devices.import" || route.id == "partners.customers.create" {
            continue;
        }
        for body in bodies(route.id, id, &claim, &device) {
            for who in ["partner", "vendor"] {
                let path = path.replace(&api.partner.to_string(), &api.own_partner(who).to_string());
                let answer = api.send(who, route.method.clone(), &path, body.clone()).await;
                let mut said = answer.text().await.unwrap();
                if let Some(name) = serde_json::from_str::<Value>(&said).ok().and_then(|started| {
                    started["name"].as_str().filter(|name| name.starts_with("operations/")).map(str::to_owned)
                }) && who == "partner"
                {
                    let done = api.done_operation(&name).await;
                    assert_eq!(done["response"]["successCount"].as_i64().unwrap_or(0), 0, "{done}");
                    said = said.replace(id, "");
                    for one in done["response"]["perDeviceStatus"].as_array().unwrap() {
                        assert_eq!(one["result"]["deviceId"], Value::Null, "{one}");
                    }
                }
                let tells = said.contains(&format!("\"{id}\"")) || said.contains("Acme AG");
                assert!(!tells, "{} as {who}: {said}", route.id);
                assert_eq!(api.stored(id).await, before, "{} as {who} with {body}", route.id);
            }
        }
    }
    assert_eq!(api.server.devices().await, devices);
    assert_eq!(api.server.grant(&device).await.device_id, grant.device_id, "the device goes on");
}

#[tokio::test]
async fn a_former_resellers_file_claims_nothing_and_its_export_is_empty() {
    let api = Api::start().await;
    let id = api.claim(SERIAL).await;
    api.end_link().await;
    let before = api.stored(&id).await;
    let file = format!(
        "serial,model,manufacturer,profiletype,owner\n{SERIAL},20QES0XX00,LENOVO,ZERO_TOUCH,{customer}\n\
         OTHER123,20QES0XX00,LENOVO,ZERO_TOUCH,{customer}\n",
        customer = api.customer
    );
    let request = api.server.stranger().post(api.server.at(&api.partner_path("devices:import")));
    let request = request.bearer_auth(&api.keys["partner"]).header("content-type", "text/csv");
    let told = request.body(file).send().await.unwrap().text().await.unwrap();
    assert_eq!(told.matches("is no customer that this reseller works for").count(), 2, "{told}");
    assert!(!told.contains(&id), "{told}");
    let export = api.send("partner", Method::GET, &api.partner_path("devices:export"), Value::Null).await;
    let export = export.text().await.unwrap();
    assert_eq!(export.lines().count(), 1, "only its header: {export}");
    assert_eq!(api.stored(&id).await, before);
}

#[tokio::test]
async fn a_former_resellers_factory_record_takes_no_key_from_its_customers_claim() {
    let api = Api::start().await;
    let device = TestDevice::new(SERIAL);
    let body = bodies("partners.devices.register", "1", &Value::Null, &device).remove(0);
    let (_, made) = api.post("partner station", &api.partner_path("devices:register"), body).await;
    let record = made["results"][0]["recordId"].as_str().unwrap();
    let mut claim = api.claim_of(SERIAL);
    claim["deviceIdentifier"] = device.identifier();
    let (_, claimed) = api.post("partner", &api.partner_path("devices:claim"), claim).await;
    let id = claimed["deviceId"].as_str().unwrap();
    api.end_link().await;
    let before = api.stored(id).await;
    assert_eq!(before.sets.registered_keys().count(), 1);
    let path = api.partner_path(&format!("factoryRecords/{record}"));
    let (_, shown) = api.call("partner", Method::GET, &path, Value::Null).await;
    assert!(!shown.to_string().contains(id), "{shown}");
    let (status, deleted) = api.call("partner", Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 200, "{deleted}");
    assert!(!deleted.to_string().contains(id), "{deleted}");
    assert_eq!(api.stored(id).await, before);
}

#[tokio::test]
async fn a_token_says_nothing_to_a_reseller_about_a_customer_that_it_does_not_work_for() {
    let api = Api::start().await;
    let new = unbox_server::service::NewToken {
        customer: api.customer,
        name: "Chromebooks".to_owned(),
        configuration: None,
        expires_at: None,
    };
    let (_, token) = api.server.services().devices.create_token(&api.server.operator, new).await.unwrap();
    api.end_link().await;
    let mut answers = Vec::new();
    for token in [token.expose(), "upt_0000"] {
        let mut claim = api.claim_of("-");
        claim["deviceIdentifier"] = json!({
            "deviceType": "DEVICE_TYPE_CHROME_OS", "serialNumber": "NXABC",
            "chromeOsAttestedDeviceId": "NXABC", "model": "Chromebook Acer Spin 311 (R722T)",
        });
        claim["preProvisioningToken"] = json!(token);
        answers.push(api.post("partner", &api.partner_path("devices:claim"), claim).await);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0].0, 403, "{answers:?}");
}
