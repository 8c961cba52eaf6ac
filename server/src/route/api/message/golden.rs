//! Checks the messages against golden files: the published schemas field by field, and the JSON of
//! each message in both directions.
//!
//! This API is milder than its description in two ways: `deviceId` and `deviceIdentifier` are each
//! "required" there, while either is enough; and a claim of a batch may come without metadata.

use super::{
    account::*, artifact::*, audit::*, claim::*, common::*, company::*, configuration::*, customer::*,
    device::*, dpc::*, enrollment::*, operation::*, organisation::*, station::*,
};
use crate::route::api::wire::{
    body,
    message::{FieldName, Message, Role},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const SCHEMAS: &str = include_str!("../../../../tests/golden_api/schemas.txt");
const REQUESTS: &str = include_str!("../../../../tests/golden_api/requests.json");
const ANSWERS: &str = include_str!("../../../../tests/golden_api/answers.json");

/// One entry for each message: the 43 published ones and Unbox's own.
type Each<F> = [(&'static str, F); 86];

/// Takes `$call` with every message as `M`, by its name.
macro_rules! each_message {
    ($call:ident) => {
        each_message!($call:
            ClaimDeviceRequest ClaimDeviceResponse ClaimDevicesRequest Company Configuration
            CreateCustomerRequest CustomerApplyConfigurationRequest CustomerListConfigurationsResponse
            CustomerListCustomersResponse CustomerListDevicesResponse CustomerListDpcsResponse
            CustomerRemoveConfigurationRequest CustomerUnclaimDeviceRequest Device DeviceClaim
            DeviceIdentifier DeviceMetadata DeviceReference DevicesLongRunningOperationMetadata
            DevicesLongRunningOperationResponse Dpc Empty FindDevicesByDeviceIdentifierRequest
            FindDevicesByDeviceIdentifierResponse FindDevicesByOwnerRequest FindDevicesByOwnerResponse
            GetDeviceSimLockStateRequest GetDeviceSimLockStateResponse GoogleWorkspaceAccount
            ListCustomersResponse ListVendorCustomersResponse ListVendorsResponse Operation
            OperationPerDevice PartnerClaim PartnerUnclaim PerDeviceStatusInBatch Setup Status
            UnclaimDeviceRequest UnclaimDevicesRequest UpdateDeviceMetadataInBatchRequest
            UpdateDeviceMetadataRequest UpdateMetadataArguments
            ApiKey AuditEntry Link ListApiKeysResponse ListAuditEntriesResponse ListLinksResponse
            ListOrganisationsResponse ListServiceAccountKeysResponse ListServiceAccountsResponse
            ListUsersResponse Organisation RotateApiKeyRequest RotateServiceAccountKeyRequest
            ServiceAccount ServiceAccountKey User
            Artifact ListArtifactsResponse
            ApprovalRequest CreateResetTicketResponse DisableEnrollmentRequest Enrollment
            EnrollmentDecisionRequest EnrollmentEvent EnrollmentReport EnrollmentRequest InstallOutcome
            InstalledPayload ListEnrollmentHistoryResponse ListEnrollmentsResponse ReplacedPart
            BuiltDevice CheckDevicesRequest CheckDevicesResponse DeviceCheck DeviceRegistration
            FactoryRecord HardwareIdentifier ListFactoryRecordsResponse RegisterDevicesRequest
            RegisterDevicesResponse TrustBundle)
    };
    ($call:ident: $($message:ident)+) => {
        [$((stringify!($message), $call::<$message> as _)),+]
    };
}

#[test]
fn every_published_field_is_there_and_no_other() {
    fn fields<M: Message>() -> &'static [FieldName] {
        M::FIELDS
    }
    let messages: Each<fn() -> &'static [FieldName]> = each_message!(fields);
    let schemas: BTreeMap<String, Value> = super::schemas()
        .into_iter()
        .map(|(name, schema)| (name, serde_json::to_value(schema).unwrap()))
        .collect();
    let mut lines = BTreeSet::new();
    for (name, fields) in messages {
        let schema = schemas.get(name).unwrap_or_else(|| panic!("{name} is not in the document"));
        lines.insert(name.to_owned());
        for field in fields() {
            let property = &schema["properties"][field.json];
            let mut line = format!("{name}.{} {}", field.json, shape(property, &schemas));
            for (role, word) in
                [(Role::REQUIRED, "required"), (Role::OUTPUT, "output"), (Role::INPUT, "input")]
            {
                if field.role.includes(role) {
                    line.push(' ');
                    line.push_str(word);
                }
            }
            if property["description"].as_str().unwrap().starts_with("Unbox's own") {
                line.push_str(" own");
            }
            lines.insert(line);
            assert_eq!(camel_case(field.proto), field.json);
        }
    }
    let published: BTreeSet<String> = SCHEMAS.lines().map(str::to_owned).collect();
    let missing: Vec<_> = published.difference(&lines).collect();
    let others: Vec<_> = lines.difference(&published).collect();
    assert!(missing.is_empty() && others.is_empty(), "missing {missing:#?}, others {others:#?}");
}

/// Formats a property in the notation of the golden file.
fn shape(property: &Value, schemas: &BTreeMap<String, Value>) -> String {
    if let Some(name) = property["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return match schemas[name]["enum"].as_array() {
            Some(words) => {
                let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
                format!("enum({})", words.join(" "))
            }
            None => name.to_owned(),
        };
    }
    match (property["type"].as_str().unwrap(), property["format"].as_str()) {
        ("array", _) if property["items"]["properties"].get("type").is_some() => "PolicyItem[]".to_owned(),
        ("array", _) => format!("{}[]", shape(&property["items"], schemas)),
        ("object", _) if property.get("additionalProperties").is_some() => "map".to_owned(),
        ("object", _) if property["properties"].get("@type").is_some() => "map".to_owned(),
        (kind, None | Some("password")) => kind.to_owned(),
        (kind, Some(format)) => format!("{kind}({format})"),
    }
}

fn camel_case(proto: &str) -> String {
    let mut words = proto.split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_ascii_uppercase() + &word[1..])
}

#[test]
fn requests_are_read_however_a_client_spells_them() {
    fn read<M: Message + Serialize>(sent: &Value) -> Value {
        let body = serde_json::to_vec(sent).unwrap();
        let read: M = body::decode(&body, usize::MAX).unwrap_or_else(|status| panic!("{}", status.message()));
        serde_json::to_value(&read).unwrap()
    }
    let messages: Each<fn(&Value) -> Value> = each_message!(read);
    let cases: Vec<Value> = serde_json::from_str(REQUESTS).unwrap();
    for case in &cases {
        let (_, read) = messages.iter().find(|(name, _)| case["message"] == *name).unwrap();
        assert_eq!(read(&case["sent"]), case["means"], "{}", case["message"]);
    }
}

#[test]
fn answers_read_and_write_the_same() {
    fn round<M: Message + Serialize + DeserializeOwned>(json: &Value) -> Value {
        serde_json::to_value(serde_json::from_value::<M>(json.clone()).unwrap()).unwrap()
    }
    let messages: Each<fn(&Value) -> Value> = each_message!(round);
    let answers: BTreeMap<String, Value> = serde_json::from_str(ANSWERS).unwrap();
    for (name, json) in &answers {
        let (_, round) = messages.iter().find(|(message, _)| message == name).unwrap();
        assert_eq!(&round(json), json, "{name}");
    }
    let golden: BTreeSet<&str> = answers.keys().map(String::as_str).collect();
    let requests: Vec<Value> = serde_json::from_str(REQUESTS).unwrap();
    let read: BTreeSet<&str> = requests.iter().filter_map(|case| case["message"].as_str()).collect();
    for (name, _) in messages {
        assert!(golden.contains(name) || read.contains(name), "{name} has no golden JSON");
    }
}
