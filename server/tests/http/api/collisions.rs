//! Claims of two owners on one device, as each side sees them.

use super::Api;
use crate::support::TestDevice;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
};
use unbox_server::{
    domain::{claims::claim::Metadata, tenancy::company::CompanyKind},
    service::NewClaim,
};

/// Ample time on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);
const SERIAL: &str = "PF0ABCDE";
const UUID: &str = "4c4c4544-0058-4b10-8039-b7c04f513133";

#[tokio::test]
async fn a_collision_is_shown_to_each_side_with_its_own_identifiers_and_the_others_kinds() {
    let api = Api::start().await;
    let acmes = api.claim(SERIAL).await;
    let (services, by) = (api.server.services(), &api.server.operator);
    let bolt = services.tenancy.find_company(by, CompanyKind::Customer, "Bolt").await.unwrap().id;
    let uuid = Identifier::parse(IdentifierKind::SystemUuid, UUID).unwrap();
    let new = NewClaim {
        customer: bolt,
        reseller: None,
        configuration: None,
        proof: ProofKind::Identifiers,
        sets: vec![IdentifierSet::new([uuid]).unwrap()],
        order: None,
        metadata: Metadata::default(),
        protected: false,
    };
    let bolts = services.claims.create_claim(by, new).await.unwrap().id;
    let paths = [
        ("partner", api.partner_path(&format!("devices/{acmes}"))),
        ("customer", api.customer_path(&format!("devices/{acmes}"))),
        ("other customer", format!("/v1/customers/{bolt}/devices/{bolts}")),
    ];
    let collision = async |(who, path): &(&str, String)| {
        let (status, device) = api.call(who, Method::GET, path, Value::Null).await;
        assert_eq!(status, 200, "{device}");
        device["collision"].clone()
    };
    for path in &paths {
        assert_eq!(collision(path).await, Value::Null, "no device has come");
    }
    let device = TestDevice::new(SERIAL).with_identifier(IdentifierKind::SystemUuid, UUID);
    assert_eq!(device.hello_status(&api.server).await, 409);
    let shown = timeout(PATIENCE, async {
        let mut shown = Vec::new();
        for path in &paths {
            while collision(path).await.is_null() {
                sleep(Duration::from_millis(20)).await;
            }
            shown.push(collision(path).await);
        }
        shown
    })
    .await
    .unwrap();
    let serial =
        |shown: &Value| shown["identifiers"].to_string().contains(&format!("serial_number {SERIAL}"));
    for acmes in &shown[..2] {
        assert!(serial(acmes) && !acmes.to_string().contains(UUID), "{acmes}");
        assert_eq!(acmes["otherKinds"], json!(["system_uuid"]));
    }
    let bolts = &shown[2];
    assert!(
        bolts["identifiers"].to_string().contains(UUID) && !bolts.to_string().contains(SERIAL),
        "{bolts}"
    );
    assert!(bolts["otherKinds"].as_array().unwrap().contains(&json!("serial_number")), "{bolts}");
    assert!(shown.iter().all(|one| one["time"].is_string()), "{shown:?}");
}
