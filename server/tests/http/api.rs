//! The management API over HTTP: who may call what, and what a client then sees.

mod artifacts;
mod batch;
mod collisions;
mod elsewhere;
mod enrollments;
mod factory_records;
mod former_reseller;
mod places;
mod stations;
mod texts;

use crate::support::{TestDevice, TestServer};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};
use unbox_common::ids::CompanyId;
use unbox_server::{
    domain::tenancy::{account::Role, company::CompanyKind},
    route::api::{
        access::Side,
        routes::{ROUTES, Route},
    },
    service::{NewAccount, NewApiKey, NewCompany, NewHolder, NewToken},
    store::{AuditFilter, PageRequest},
};

/// A server with a reseller, its vendor, a customer and an EMM, and API keys for all of them.
pub(crate) struct Api {
    pub(crate) server: TestServer,
    pub(crate) partner: CompanyId,
    vendor: CompanyId,
    pub(crate) customer: CompanyId,
    pub(crate) emm: CompanyId,
    pub(crate) keys: BTreeMap<&'static str, String>,
}

impl Api {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    async fn with(settings: &str) -> Self {
        let server = TestServer::with(settings).await;
        let by = &server.operator;
        let create = async |new| server.services().tenancy.create_company(by, new).await.unwrap().id;
        let partner = create(NewCompany::new(CompanyKind::Reseller, "Boxes")).await;
        let other = create(NewCompany::new(CompanyKind::Reseller, "Crates")).await;
        let vendor = NewCompany::new(CompanyKind::Vendor, "Bits");
        let vendor = create(NewCompany { parent: Some(partner), ..vendor }).await;
        let emm = create(NewCompany::new(CompanyKind::Emm, "Fleet")).await;
        let stranger = create(NewCompany::new(CompanyKind::Customer, "Bolt")).await;
        let customer = server.customer();
        for company in [partner, other, vendor, emm] {
            server.services().tenancy.set_works_for(by, company, customer, true).await.unwrap();
        }
        let mut api = Self { server, partner, vendor, customer, emm, keys: BTreeMap::new() };
        for (name, company, role) in [
            ("partner", Some(partner), Role::Owner),
            ("operator", None, Role::Owner),
            ("operator viewer", None, Role::Viewer),
            ("partner admin", Some(partner), Role::Admin),
            ("partner viewer", Some(partner), Role::Viewer),
            ("other partner", Some(other), Role::Owner),
            ("vendor", Some(vendor), Role::Owner),
            ("customer", Some(customer), Role::Owner),
            ("customer admin", Some(customer), Role::Admin),
            ("customer viewer", Some(customer), Role::Viewer),
            ("other customer", Some(stranger), Role::Owner),
            ("emm", Some(emm), Role::Owner),
            ("partner station", Some(partner), Role::Station),
            ("customer station", Some(customer), Role::Station),
            ("emm station", Some(emm), Role::Station),
        ] {
            let key = api.key(company, role, name).await;
            api.keys.insert(name, key);
        }
        api
    }

    async fn key(&self, company: Option<CompanyId>, role: Role, name: &str) -> String {
        let (services, by) = (self.server.services(), &self.server.operator);
        let holder = NewHolder::ServiceAccount { name: name.replace(' ', "-") };
        let account =
            services.tenancy.create_account(by, NewAccount { company, holder, role }).await.unwrap().id;
        let new = NewApiKey { account, name: "test".to_owned(), expires_at: None };
        services.tenancy.create_api_key(by, new).await.unwrap().1.expose().to_owned()
    }

    pub(crate) async fn send(&self, who: &str, method: Method, path: &str, body: Value) -> Response {
        let mut request = self.server.stranger().request(method, self.server.at(path));
        if let Some(key) = self.keys.get(who) {
            request = request.bearer_auth(key);
        }
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.unwrap()
    }

    /// The status and the JSON of an answer.
    pub(crate) async fn call(&self, who: &str, method: Method, path: &str, body: Value) -> (u16, Value) {
        let response = self.send(who, method, path, body).await;
        let status = response.status().as_u16();
        (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
    }

    pub(crate) async fn post(&self, who: &str, path: &str, body: Value) -> (u16, Value) {
        self.call(who, Method::POST, path, body).await
    }

    pub(crate) fn partner_path(&self, rest: &str) -> String {
        format!("/v1/partners/{}/{rest}", self.partner)
    }

    pub(crate) fn customer_path(&self, rest: &str) -> String {
        format!("/v1/customers/{}/{rest}", self.customer)
    }

    /// A claim of Boxes on the Lenovo of this serial number.
    fn claim_of(&self, serial: &str) -> Value {
        json!({
            "customerId": self.customer.to_string(),
            "sectionType": "SECTION_TYPE_ZERO_TOUCH",
            "deviceIdentifier": {"serialNumber": serial, "manufacturer": "LENOVO", "model": "20QES0XX00"},
        })
    }

    pub(crate) async fn claim(&self, serial: &str) -> String {
        let (status, answer) =
            self.post("partner", &self.partner_path("devices:claim"), self.claim_of(serial)).await;
        assert_eq!(status, 200, "{answer}");
        answer["deviceId"].as_str().unwrap().to_owned()
    }

    /// The partner that this account acts for.
    fn own_partner(&self, who: &str) -> CompanyId {
        if who == "vendor" { self.vendor } else { self.partner }
    }

    fn path_of(&self, route: &Route, customer: CompanyId) -> String {
        route
            .path
            .replace("{partner}", &self.partner.to_string())
            .replace("{customer}", &customer.to_string())
            .replace("{vendor}", &self.vendor.to_string())
            .replace("{device}", "1")
            .replace("{configuration}", "1")
            .replace("{operation}", "1")
            .replace("{organisation}", &customer.to_string())
            .replace("{link}", &self.partner.to_string())
            .replace("{user}", "1")
            .replace("{serviceAccount}", "1")
            .replace("{key}", &"a7".repeat(20))
            .replace("{apiKey}", "1")
            .replace("{enrollment}", "1")
            .replace("{factoryRecord}", "1")
            .replace("{artifact}", &"0".repeat(64))
    }
}

#[tokio::test]
async fn whoever_may_not_call_a_method_is_refused_and_nothing_changes() {
    let api = Api::start().await;
    let before = api.server.everything().await;
    for route in ROUTES {
        let strangers: &[&str] = match route.access.side {
            Side::Partner => &["nobody", "other partner", "customer", "emm", "vendor", "operator"],
            // Each sees its own, and the operator all.
            Side::Operations if route.id == "operations.list" => &["nobody", "customer", "emm"],
            Side::Operations => &["nobody", "customer", "emm", "other partner", "operator"],
            Side::Customer | Side::CustomerBeforeTerms => &["nobody", "partner", "vendor", "other customer"],
            Side::AnyCustomer => &["nobody", "partner", "vendor"],
            Side::Organisation => &["nobody", "partner", "vendor", "emm", "other partner", "other customer"],
            Side::AnyOrganisation => &["nobody"],
            Side::Operator => &["nobody", "partner", "vendor", "emm", "customer", "other customer"],
        };
        let looking: &[&str] = match (route.access.role, route.access.side) {
            (Role::Viewer, _) => &[],
            (_, Side::Partner | Side::Operations) => &["partner viewer"],
            _ => &["customer viewer", "operator viewer"],
        };
        let helping: &[&str] = match (route.access.role, route.access.side) {
            (Role::Viewer | Role::Admin, _) => &[],
            (_, Side::Partner | Side::Operations) => &["partner admin"],
            _ => &["customer admin"],
        };
        let stations: &[&str] = match (route.access.stations, route.access.side) {
            (true, Side::Partner) => &["customer station", "emm station"],
            (true, _) => &["partner station", "emm station"],
            (false, _) => &["partner station", "customer station", "emm station"],
        };
        for who in strangers.iter().chain(looking).chain(helping).chain(stations) {
            let path = api.path_of(route, api.customer);
            let (status, answer) = api.call(who, route.method.clone(), &path, json!({})).await;
            let expected: &[u16] = if *who == "nobody" { &[401] } else { &[403, 404] };
            assert!(expected.contains(&status), "{} as {who}: {status} {answer}", route.id);
            assert_eq!(answer["error"]["code"], status, "{} as {who}", route.id);
        }
    }
    assert_eq!(api.server.everything().await, before);
    let audit = api.server.services().tenancy.list_audit(
        &api.server.operator,
        AuditFilter::default(),
        PageRequest::default(),
    );
    let actors: Vec<String> = audit.await.unwrap().items.into_iter().map(|entry| entry.actor).collect();
    assert!(actors.iter().all(|actor| actor == "test"), "{actors:?}");
}

#[tokio::test]
async fn a_claim_becomes_a_device_that_its_reseller_and_its_customer_see() {
    let api = Api::start().await;
    let id = api.claim("PF0ABCDE").await;
    let find = json!({"deviceIdentifier": {"serialNumber": "pf0abcde"}, "limit": "10"});
    let (status, found) =
        api.post("partner", &api.partner_path("devices:findByIdentifier"), find.clone()).await;
    assert_eq!((status, found["totalSize"].as_i64()), (200, Some(1)), "{found}");
    let device = &found["devices"][0];
    assert_eq!(device["deviceId"], id);
    assert_eq!(device["name"], format!("partners/{}/devices/{id}", api.partner));
    assert_eq!(device["deviceIdentifier"]["serialNumber"], "PF0ABCDE");
    assert_eq!(device["claims"][0]["sectionType"], "SECTION_TYPE_ZERO_TOUCH");
    assert_eq!(device["claims"][0]["ownerCompanyId"], api.customer.to_string());
    assert_eq!(device["claims"][0]["resellerId"], api.partner.to_string());
    let (_, others) = api.post("other partner", &api.partner_path("devices:findByIdentifier"), find).await;
    assert_eq!(others["error"]["code"], 404);

    let encoded = format!("/v1/customers%2F{}%2Fdevices%2F{id}", api.customer);
    for path in [api.customer_path(&format!("devices/{id}")), encoded] {
        let (status, seen) = api.call("emm", Method::GET, &path, Value::Null).await;
        assert_eq!(status, 200, "{seen}");
        assert_eq!(seen["name"], format!("customers/{}/devices/{id}", api.customer));
    }
    let (status, empty) = api
        .post("customer", &api.customer_path("devices:unclaim"), json!({"device": {"deviceId": id}}))
        .await;
    assert_eq!((status, empty), (200, json!({})));
    let (status, gone) =
        api.call("partner", Method::GET, &api.partner_path(&format!("devices/{id}")), Value::Null).await;
    assert_eq!(status, 404, "{gone}");
}

#[tokio::test]
async fn what_is_claimed_over_the_network_counts_for_the_device_at_once() {
    let api = Api::start().await;
    let device = TestDevice::new("PF0ABCDE");
    assert_eq!(device.hello_status(&api.server).await, 404);
    let claim = json!({
        "customerId": api.customer.to_string(),
        "sectionType": "SECTION_TYPE_ZERO_TOUCH",
        "configurationId": api.server.configuration().to_string(),
        "deviceIdentifier": device.identifier(),
    });
    let (status, answer) = api.post("partner", &api.partner_path("devices:claim"), claim).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(device.hello_status(&api.server).await, 200);
    let id = answer["deviceId"].clone();
    let vacation = json!({"deviceId": id, "sectionType": "SECTION_TYPE_ZERO_TOUCH", "vacationModeDays": 3});
    let (status, answer) = api.post("partner", &api.partner_path("devices:unclaim"), vacation).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(device.hello_status(&api.server).await, 404);
    let (_, seen) = api
        .call(
            "partner",
            Method::GET,
            &api.partner_path(&format!("devices/{}", id.as_str().unwrap())),
            Value::Null,
        )
        .await;
    assert!(seen["claims"][0]["vacationModeExpireTime"].is_string(), "{seen}");
}

#[tokio::test]
async fn what_the_customer_gives_up_is_nobodys_until_it_is_claimed_again() {
    let api = Api::start().await;
    let device = TestDevice::new("PF0ABCDE");
    let claims = api.partner_path("devices:claim");
    let mut claim = api.claim_of("PF0ABCDE");
    claim["deviceIdentifier"] = device.identifier();
    let (_, without) = api.post("partner", &claims, claim.clone()).await;
    assert_eq!(device.hello_status(&api.server).await, 404, "there is nothing that it could become");
    let apply = json!({
        "device": {"deviceId": without["deviceId"]},
        "configuration": format!("customers/{}/configurations/{}", api.customer, api.server.configuration()),
    });
    let applied = api.post("customer", &api.customer_path("devices:applyConfiguration"), apply).await;
    assert_eq!(applied, (200, json!({})));
    claim["configurationId"] = json!(api.server.configuration().to_string());
    let (_, first) = api.post("partner", &claims, claim.clone()).await;
    assert_eq!(device.hello_status(&api.server).await, 200);
    let meant = json!({"device": {"deviceId": first["deviceId"]}});
    let (status, gone) = api.post("customer", &api.customer_path("devices:unclaim"), meant.clone()).await;
    assert_eq!((status, gone), (200, json!({})));
    assert_eq!(device.hello_status(&api.server).await, 404, "the customer gave it up");
    let (status, again) = api.post("partner", &claims, claim).await;
    assert_eq!(status, 200, "{again}");
    assert_ne!(again["deviceId"], first["deviceId"]);
    assert_eq!(device.hello_status(&api.server).await, 200);
    let (status, refused) = api.post("customer", &api.customer_path("devices:unclaim"), meant).await;
    assert_eq!(status, 404, "an ended claim stands for nothing: {refused}");
    assert_eq!(device.hello_status(&api.server).await, 200);
}

#[tokio::test]
async fn a_chromebook_is_claimed_by_what_its_maker_certifies_and_with_a_token() {
    let api = Api::start().await;
    let new = NewToken {
        customer: api.customer,
        name: "Chromebooks".to_owned(),
        configuration: None,
        expires_at: None,
    };
    let (_, token) = api.server.services().devices.create_token(&api.server.operator, new).await.unwrap();
    let identifier = json!({
        "deviceType": "DEVICE_TYPE_CHROME_OS", "serialNumber": "NXABC", "chromeOsAttestedDeviceId": "NXABC",
        "model": "Chromebook Acer Spin 311 (R722T)",
    });
    let claim = |change: Value, token: Option<&str>| {
        let mut claim = api.claim_of("-");
        claim["deviceIdentifier"] = identifier.clone();
        for (field, value) in change.as_object().unwrap() {
            claim["deviceIdentifier"][field] = value.clone();
        }
        if let Some(token) = token {
            claim["preProvisioningToken"] = json!(token);
        }
        claim
    };
    let path = api.partner_path("devices:claim");
    let secret = Some(token.expose());
    for (wrong, token, field) in [
        (json!({}), None, "preProvisioningToken"),
        (json!({}), Some("upt_0000"), "preProvisioningToken"),
        (json!({"model": "Gateway 3"}), secret, "deviceIdentifier.model"),
        (json!({"chromeOsAttestedDeviceId": "NXABD"}), secret, "deviceIdentifier.chromeOsAttestedDeviceId"),
        (json!({"serialNumber": ""}), secret, "deviceIdentifier.serialNumber"),
        (
            json!({"serialNumber": "0A2D91ZN500126", "chromeOsAttestedDeviceId": "0A2D91ZN500126",
                   "model": "Chromebook Samsung Galaxy"}),
            secret,
            "deviceIdentifier.serialNumber",
        ),
    ] {
        let (status, refused) = api.post("partner", &path, claim(wrong, token)).await;
        assert_eq!(status, 400, "{refused}");
        assert!(refused.to_string().contains(&format!("{field}\"")), "{field}: {refused}");
        assert!(!refused.to_string().contains(token.unwrap_or("-none-")), "{refused}");
    }
    for serial in ["NXABC", "0A2D91ZN500126"] {
        let by_serial = json!({"deviceIdentifier": {"serialNumber": serial}, "limit": "10"});
        let (_, found) = api.post("partner", &api.partner_path("devices:findByIdentifier"), by_serial).await;
        assert_eq!(found["devices"], Value::Null, "a refusal claims nothing: {found}");
    }
    let (status, made) = api.post("partner", &path, claim(json!({}), secret)).await;
    assert_eq!(status, 200, "{made}");
    let named_in_its_language = json!({
        "serialNumber": "PF0ABCDE", "chromeOsAttestedDeviceId": "1S82W0CTO1WWPF0ABCDE",
        "model": "Chromebook Lenovo 100e 4e génération",
    });
    let (status, made) = api.post("partner", &path, claim(named_in_its_language, secret)).await;
    assert_eq!(status, 200, "{made}");
    let by_serial = json!({"deviceIdentifier": {"serialNumber": "nxabc"}, "limit": "10"});
    let (_, found) = api.post("partner", &api.partner_path("devices:findByIdentifier"), by_serial).await;
    assert_eq!(found["devices"][0]["deviceIdentifier"], identifier, "{found}");
}

#[tokio::test]
async fn a_batch_tells_the_result_of_each_device() {
    let api = Api::start().await;
    let mut wrong = api.claim_of("PF0ABCDF");
    wrong["sectionType"] = json!("SECTION_TYPE_SIM_LOCK");
    let placeholder = api.claim_of("Default string");
    let claims = json!({"claims": [api.claim_of("PF0ABCDE"), wrong, placeholder]});
    let (status, started) = api.post("partner", &api.partner_path("devices:claimAsync"), claims).await;
    assert_eq!(status, 200, "{started}");
    let path = format!("/v1/{}", started["name"].as_str().unwrap());
    let done = async {
        loop {
            let (_, operation) = api.call("partner", Method::GET, &path, Value::Null).await;
            if operation["done"] == true {
                return operation;
            }
            // As slow as a busy machine needs, and not so fast that the quota ends it.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let operation = tokio::time::timeout(Duration::from_mins(1), done).await.unwrap();
    assert_eq!(operation["metadata"]["processingStatus"], "BATCH_PROCESS_PROCESSED");
    let response = &operation["response"];
    assert_eq!(response["successCount"], 1);
    let statuses: Vec<&str> = response["perDeviceStatus"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["result"]["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        statuses,
        [
            "SINGLE_DEVICE_STATUS_SUCCESS",
            "SINGLE_DEVICE_STATUS_INVALID_SECTION_TYPE",
            "SINGLE_DEVICE_STATUS_INVALID_DEVICE_IDENTIFIER",
        ]
    );
    assert_eq!(response["perDeviceStatus"][0]["claim"]["deviceIdentifier"]["serialNumber"], "PF0ABCDE");
    let (status, _) = api.call("other partner", Method::GET, &path, Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn items_of_an_operation_are_read_only_where_they_are_asked_for() {
    let api = Api::start().await;
    let claims = json!({"claims": [api.claim_of("PF0ABCDE")]});
    let (_, started) = api.post("partner", &api.partner_path("devices:claimAsync"), claims).await;
    let path = format!("/v1/{}", started["name"].as_str().unwrap());
    let get =
        async |query: &str| api.call("partner", Method::GET, &format!("{path}?{query}"), Value::Null).await;
    while get("fields=done").await.1["done"] != true {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        get("fields=response/perDeviceStatus/result/status").await.1,
        json!({
            "response": {"perDeviceStatus": [{"result": {"status": "SINGLE_DEVICE_STATUS_SUCCESS"}}]}
        })
    );
    // Items that cannot be read are no obstacle to whoever does not want them.
    let url = unbox_server::store::Store::sqlite_url(&api.server.layout().database());
    crate::beside::beside(&url, |database| database.run("UPDATE operation_items SET echo = '{'"));
    let (status, answer) = get("fields=done,response/successCount").await;
    assert_eq!((status, answer), (200, json!({"done": true, "response": {"successCount": 1}})));
    assert_eq!(get("").await.0, 500);
}

#[tokio::test]
async fn an_operation_is_listed_cancelled_and_deleted_by_its_own_reseller() {
    let api = Api::start().await;
    let claims = json!({"claims": [api.claim_of("PF0ABCDE")]});
    let (_, started) = api.post("partner", &api.partner_path("devices:claimAsync"), claims).await;
    let name = started["name"].as_str().unwrap();
    let path = format!("/v1/{name}");
    let cancel = format!("{path}:cancel");
    let nothing = || Value::Null;
    for who in ["other partner", "vendor"] {
        assert_eq!(api.call(who, Method::GET, "/v1/operations", nothing()).await, (200, json!({})));
        assert_eq!(api.call(who, Method::POST, &cancel, nothing()).await.0, 404, "{who}");
        assert_eq!(api.call(who, Method::DELETE, &path, nothing()).await.0, 404, "{who}");
    }
    assert_eq!(api.call("partner viewer", Method::POST, &cancel, nothing()).await.0, 403);
    assert_eq!(api.call("partner", Method::POST, &format!("{path}:stop"), nothing()).await.0, 404);
    let (_, listed) = api.call("partner viewer", Method::GET, "/v1/operations", nothing()).await;
    assert_eq!(listed["operations"][0]["name"], name);
    assert_eq!(api.call("partner", Method::POST, &cancel, nothing()).await, (200, json!({})));
    assert_eq!(
        api.call("partner", Method::GET, &format!("{path}?fields=done"), nothing()).await.1["done"],
        true
    );
    assert_eq!(api.call("partner", Method::DELETE, &path, nothing()).await, (200, json!({})));
    assert_eq!(api.call("partner", Method::GET, &path, nothing()).await.0, 404);
}

#[tokio::test]
async fn parameters_that_cannot_be_met_are_refused_before_anything_is_done() {
    let api = Api::start().await;
    let before = api.server.everything().await;
    for query in ["fields=nothing", "fields=deviceId,nothing", "pageSize=1", "updateMask=a"] {
        let path = format!("{}?{query}", api.partner_path("devices:claim"));
        let (status, answer) = api.post("partner", &path, api.claim_of("PF0ABCDE")).await;
        assert_eq!((status, answer["error"]["status"].as_str()), (400, Some("INVALID_ARGUMENT")), "{query}");
    }
    assert_eq!(api.server.everything().await, before);
    let path = format!("{}?fields=deviceId", api.partner_path("devices:claim"));
    let (status, answer) = api.post("partner", &path, api.claim_of("PF0ABCDE")).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["deviceId"]);
}

#[tokio::test]
async fn the_api_describes_itself_to_anybody() {
    let api = Api::start().await;
    let (status, document) = api.call("nobody", Method::GET, "/openapi.json", Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(document, unbox_server::route::api::openapi::document());
}
