//! Ids of somebody else's things where a method takes ids: in its message, in a name below the right path,
//! in a file. Whoever may call the method for its own things still reaches no others.

use super::Api;
use crate::support::TestDevice;
use reqwest::Method;
use serde_json::{Value, json};
use unbox_common::{
    ids::{CompanyId, ConfigurationId},
    secret::Secret,
};
use unbox_server::{
    domain::tenancy::{account::Role, company::CompanyKind},
    route::api::routes::ROUTES,
    service::{ClaimFilter, NewAccount, NewHolder, NewUpload, PageRequest},
};

const DOCUMENT: &str =
    r#"{"contact": {"contact_email": "it@bolt.example", "contact_phone": "+41 44 000 00 00"}}"#;

/// Acme, and Bolt with a configuration, a device and an upload of its own. Fleet manages both, and Boxes
/// sells to both; Crates sells to Acme alone.
struct Two {
    api: Api,
    bolt: CompanyId,
    configuration: ConfigurationId,
    device: String,
    enrollment: String,
    upload: String,
}

impl Two {
    async fn start() -> Self {
        let api = Api::start().await;
        let (services, by) = (api.server.services(), &api.server.operator);
        let bolt = services.tenancy.find_company(by, CompanyKind::Customer, "Bolt").await.unwrap().id;
        for company in [api.emm, api.partner] {
            services.tenancy.set_works_for(by, company, bolt, true).await.unwrap();
        }
        let configuration =
            services.catalogue.create_configuration(by, bolt, "Kassa", DOCUMENT).await.unwrap().id;
        let device = TestDevice::new("PF0ABCDE");
        let claim = json!({
            "customerId": bolt.to_string(), "sectionType": "SECTION_TYPE_ZERO_TOUCH",
            "configurationId": configuration.to_string(), "deviceIdentifier": device.identifier(),
        });
        let (status, claimed) = api.post("partner", &api.partner_path("devices:claim"), claim).await;
        assert_eq!(status, 200, "{claimed}");
        let enrollment = api.server.grant(&device).await.device_id.to_string();
        let new = NewUpload { customer: bolt, name: "app.tar".to_owned(), size: None, expected: None };
        let upload = services.catalogue.start_upload(by, new).await.unwrap().id.to_string();
        let device = claimed["deviceId"].as_str().unwrap().to_owned();
        Self { api, bolt, configuration, device, enrollment, upload }
    }

    /// Everything that could have changed.
    async fn everything(&self) -> (crate::support::Everything, Vec<String>, Vec<String>) {
        let (services, by) = (self.api.server.services(), &self.api.server.operator);
        let claims =
            services.claims.list_claims(by, ClaimFilter::default(), PageRequest::default()).await.unwrap();
        let configurations =
            services.catalogue.list_configurations(by, None, PageRequest::default()).await.unwrap();
        (
            self.api.server.everything().await,
            claims.items.iter().map(|one| format!("{one:?}")).collect(),
            configurations.items.iter().map(|one| format!("{one:?}")).collect(),
        )
    }
}

#[tokio::test]
async fn things_of_another_customer_are_reached_by_no_method_below_ones_own_path() {
    let two = Two::start().await;
    let Two { api, bolt, configuration, device, enrollment, .. } = &two;
    let own = api.customer;
    let serial = TestDevice::new("PF0ABCDE").identifier();
    let theirs = [json!({"deviceId": device}), json!({"deviceIdentifier": serial})];
    let enrollments = [
        json!({"enrollment": format!("customers/{bolt}/enrollments/{enrollment}")}),
        json!({"enrollment": format!("customers/{own}/enrollments/{enrollment}")}),
        json!({"device": theirs[0]}),
        json!({"device": theirs[1]}),
    ];
    let mut calls = vec![
        (Method::GET, format!("devices/{device}"), Value::Null),
        (Method::GET, format!("configurations/{configuration}"), Value::Null),
        (Method::DELETE, format!("configurations/{configuration}"), Value::Null),
        (
            Method::PATCH,
            format!("configurations/{configuration}?updateMask=configurationName"),
            json!({"configurationName": "Mine"}),
        ),
        (Method::GET, format!("enrollments/{enrollment}"), Value::Null),
        (Method::GET, format!("enrollments/{enrollment}/history"), Value::Null),
    ];
    for one in &theirs {
        calls.push((Method::POST, "devices:unclaim".to_owned(), json!({"device": one})));
        calls.push((Method::POST, "devices:removeConfiguration".to_owned(), json!({"device": one})));
        for name in [
            format!("customers/{bolt}/configurations/{configuration}"),
            format!("customers/{own}/configurations/{}", api.server.configuration()),
        ] {
            let body = json!({"device": one, "configuration": name});
            calls.push((Method::POST, "devices:applyConfiguration".to_owned(), body));
        }
    }
    for action in ["approve", "refuse", "reenroll", "disable", "enable", "deprovision", "createResetTicket"] {
        for one in &enrollments {
            calls.push((Method::POST, format!("enrollments:{action}"), one.clone()));
        }
    }
    let before = two.everything().await;
    // Fleet manages both: also it reaches each below its own path only.
    for who in ["customer", "emm", "operator"] {
        for (method, path, body) in &calls {
            let path = api.customer_path(path);
            let (status, answer) = api.call(who, method.clone(), &path, body.clone()).await;
            assert!([400, 404].contains(&status), "{method} {path} {body} as {who}: {status} {answer}");
            assert!(!answer.to_string().contains("Kassa"), "{answer}");
        }
    }
    assert_eq!(two.everything().await, before);
}

#[tokio::test]
async fn a_configuration_of_another_customer_is_given_to_no_device() {
    let two = Two::start().await;
    let Two { api, configuration, .. } = &two;
    let mine = api.claim("PF0ABCDF").await;
    let mut claim = api.claim_of("PF0ABCDG");
    claim["configurationId"] = json!(configuration.to_string());
    let apply = |customer: CompanyId| {
        json!({
            "device": {"deviceId": mine},
            "configuration": format!("customers/{customer}/configurations/{configuration}"),
        })
    };
    let before = two.everything().await;
    let claims = api.partner_path("devices:claim");
    let (status, refused) = api.post("partner", &claims, claim.clone()).await;
    assert_eq!(status, 400, "Boxes sells to both: {refused}");
    for who in ["customer", "emm"] {
        for customer in [api.customer, two.bolt] {
            let path = api.customer_path("devices:applyConfiguration");
            let (status, refused) = api.post(who, &path, apply(customer)).await;
            assert!([400, 404].contains(&status), "{who}: {refused}");
        }
    }
    let file = format!(
        "serial,model,manufacturer,profiletype,owner,profileid\nPF0ABCDG,G3,Acme,ZERO_TOUCH,{},{configuration}\n",
        api.customer
    );
    let request = api.server.stranger().post(api.server.at(&api.partner_path("devices:import")));
    let request = request.bearer_auth(&api.keys["partner"]).header("content-type", "text/csv");
    let told = request.body(file).send().await.unwrap().text().await.unwrap();
    assert!(told.contains("is no configuration of this customer"), "{told}");
    assert_eq!(two.everything().await, before);
}

#[tokio::test]
async fn a_reseller_claims_for_nobody_that_it_does_not_work_for() {
    let two = Two::start().await;
    let Two { api, bolt, device, .. } = &two;
    let mut claim = api.claim_of("PF0ABCDG");
    claim["customerId"] = json!(bolt.to_string());
    let other = CompanyKind::Reseller;
    let crates =
        api.server.services().tenancy.find_company(&api.server.operator, other, "Crates").await.unwrap().id;
    let path = |rest: &str| format!("/v1/partners/{crates}/{rest}");
    let before = two.everything().await;
    for (rest, body, expected) in [
        ("devices:claim", claim.clone(), 403),
        ("devices:unclaim", json!({"deviceId": device, "sectionType": "SECTION_TYPE_ZERO_TOUCH"}), 404),
        (&format!("devices/{device}/metadata"), json!({"deviceMetadata": {"entries": {"a": "b"}}}), 404),
    ] {
        let (status, refused) = api.post("other partner", &path(rest), body).await;
        assert_eq!(status, expected, "{rest}: {refused}");
    }
    let find =
        json!({"limit": "10", "sectionType": "SECTION_TYPE_ZERO_TOUCH", "customerId": [bolt.to_string()]});
    let (status, found) = api.post("other partner", &path("devices:findByOwner"), find).await;
    assert_eq!((status, found.get("devices")), (200, None), "{found}");
    assert_eq!(two.everything().await, before);
}

#[tokio::test]
async fn an_upload_of_another_customer_is_not_gone_on_with() {
    let two = Two::start().await;
    let Two { api, upload, .. } = &two;
    let before = two.everything().await;
    for who in ["customer", "emm"] {
        for method in [Method::PUT, Method::DELETE] {
            let path = format!(
                "/upload/v1/customers/{}/artifacts?uploadType=resumable&upload_id={upload}",
                api.customer
            );
            let (status, refused) = api.call(who, method.clone(), &path, Value::Null).await;
            assert_eq!(status, 404, "{method} as {who}: {refused}");
        }
    }
    assert_eq!(two.everything().await, before);
}

#[tokio::test]
async fn a_reseller_and_its_vendor_do_not_act_for_each_other() {
    let two = Two::start().await;
    let api = &two.api;
    let before = two.everything().await;
    for (who, partner) in [("partner", api.vendor), ("vendor", api.partner), ("other partner", api.vendor)] {
        for rest in
            ["devices:claim", "devices:unclaim", "devices:findByOwner", "customers", "devices:claimAsync"]
        {
            let path = format!("/v1/partners/{partner}/{rest}");
            let (status, refused) = api.post(who, &path, api.claim_of("PF0ABCDG")).await;
            assert_eq!(status, 404, "{rest} as {who}: {refused}");
        }
    }
    // Whose vendor it is decides who sees its customers.
    let crates = CompanyKind::Reseller;
    let crates =
        api.server.services().tenancy.find_company(&api.server.operator, crates, "Crates").await.unwrap().id;
    let path = format!("/v1/partners/{crates}/vendors/{}/customers", api.vendor);
    let (status, refused) = api.call("other partner", Method::GET, &path, Value::Null).await;
    assert_eq!(status, 404, "{refused}");
    assert_eq!(two.everything().await, before);
}

#[tokio::test]
async fn an_account_that_is_gone_opens_nothing_by_any_method() {
    let api = Api::start().await;
    let (services, by) = (api.server.services(), &api.server.operator);
    for (number, who) in ["partner admin", "customer admin", "emm"].into_iter().enumerate() {
        let key = Secret::new(api.keys[who].clone());
        let account = services.tenancy.authenticate(&key).await.unwrap().account;
        if number == 0 {
            services.tenancy.disable_account(by, account).await.unwrap();
        } else {
            let company = services.tenancy.account(by, account).await.unwrap().company.unwrap();
            let holder = NewHolder::ServiceAccount { name: "keeper".to_owned() };
            let new = NewAccount { company: Some(company), holder, role: Role::Owner };
            services.tenancy.create_account(by, new).await.unwrap();
            services.tenancy.delete_account(by, account).await.unwrap();
        }
    }
    let before = api.server.everything().await;
    for route in ROUTES {
        for who in ["partner admin", "customer admin", "emm"] {
            let path = api.path_of(route, api.customer);
            let (status, answer) = api.call(who, route.method.clone(), &path, json!({})).await;
            assert_eq!(status, 401, "{} as {who}: {answer}", route.id);
        }
    }
    assert_eq!(api.server.everything().await, before);
}
