//! Details of an error, for programs (`google/rpc/error_details.proto`).

use super::{duration, enums::wire_enum, form::Form as _};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};

/// The service whose reasons [`Reason`] lists, as [`Detail::ErrorInfo`] names it.
pub const DOMAIN: &str = "androiddeviceprovisioning.googleapis.com";

wire_enum! {
    /// Why, in words that clients of this API compare (`CustomErrorCode`).
    pub enum Reason {
        /// Nothing is wrong.
        NoError = 0 "NO_ERROR",
        /// Something else.
        UnknownError = 1 "UNKNOWN_ERROR",
        /// The page token is not one of this list.
        InvalidPageToken = 2 "INVALID_PAGE_TOKEN",
        /// No such customer, or not one of this reseller's.
        InvalidCustomerId = 3 "INVALID_CUSTOMER_ID",
        /// No such operation.
        InvalidOperationId = 4 "INVALID_OPERATION_ID",
        /// No such reseller.
        InvalidResellerId = 5 "INVALID_RESELLER_ID",
        /// The identifiers cannot tell one device from all others.
        InvalidIdentifierSet = 6 "INVALID_IDENTIFIER_SET",
        /// No such device.
        InvalidDeviceId = 7 "INVALID_DEVICE_ID",
        /// Whoever asks may not do this.
        AuthorizationFail = 8 "AUTHORIZATION_FAIL",
        /// No IMEI.
        InvalidImei = 9 "INVALID_IMEI",
        /// No MEID.
        InvalidMeid = 10 "INVALID_MEID",
        /// No serial number.
        InvalidSerial = 11 "INVALID_SERIAL",
        /// No maker.
        InvalidManufacturer = 12 "INVALID_MANUFACTURER",
        /// Another field cannot be used.
        InvalidParameter = 13 "INVALID_PARAMETER",
        /// The server failed.
        InternalError = 14 "INTERNAL_ERROR",
        /// Not a section that a device can be claimed for.
        InvalidSectionType = 15 "INVALID_SECTION_TYPE",
        /// No model.
        InvalidModel = 16 "INVALID_MODEL",
        /// The operation cannot be done as things are.
        InvalidOperation = 17 "INVALID_OPERATION",
        /// The device is registered already.
        DeviceAlreadyExists = 18 "DEVICE_ALREADY_EXISTS",
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.write(serializer)
    }
}

/// One field that cannot be used, and the rule that it broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldViolation {
    /// Its path, such as `claims[3].deviceIdentifier.imei`.
    pub field: String,
    /// The rule, as a sentence.
    pub description: String,
}

impl FieldViolation {
    /// Makes a violation of a field.
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }

    /// Prepends the path of the enclosing field.
    pub fn nest(&mut self, outer: &str) {
        let joined = outer.is_empty() || self.field.is_empty() || self.field.starts_with('[');
        let dot = if joined { "" } else { "." };
        self.field = format!("{outer}{dot}{}", self.field);
    }
}

/// One quota that is used up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QuotaViolation {
    /// The owner of the quota, such as `user:42`.
    pub subject: String,
    /// The quota, as a sentence.
    pub description: String,
}

/// Details of an error, for programs (`google/rpc/error_details.proto`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "@type")]
pub enum Detail {
    /// Fields that cannot be used.
    #[serde(rename = "type.googleapis.com/google.rpc.BadRequest", rename_all = "camelCase")]
    BadRequest {
        /// Each of them.
        field_violations: Vec<FieldViolation>,
    },
    /// The reason, in a word.
    #[serde(rename = "type.googleapis.com/google.rpc.ErrorInfo")]
    ErrorInfo {
        /// The reason.
        reason: Reason,
        /// The service that defines the word: [`DOMAIN`].
        domain: &'static str,
        /// Further facts, such as the device's name.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        metadata: BTreeMap<String, String>,
    },
    /// Quotas that are used up.
    #[serde(rename = "type.googleapis.com/google.rpc.QuotaFailure")]
    QuotaFailure {
        /// Each of them.
        violations: Vec<QuotaViolation>,
    },
    /// The time of the next try.
    #[serde(rename = "type.googleapis.com/google.rpc.RetryInfo", rename_all = "camelCase")]
    RetryInfo {
        /// The pause before it.
        #[serde(serialize_with = "serialize_seconds")]
        retry_delay: Duration,
    },
    /// The customer has not accepted the terms of service, or only older ones. Only clients that
    /// understand [`FormatVersion::V2`] get it.
    #[serde(
        rename = "type.googleapis.com/google.android.device.provisioning.v1.TosError",
        rename_all = "camelCase"
    )]
    TosError {
        /// True if the latest terms are accepted.
        latest_tos_accepted: bool,
    },
}

impl Detail {
    /// Returns the JSON object that stands behind the name of its type.
    #[must_use]
    pub fn object(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }
}

fn serialize_seconds<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&duration::format(*span))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_knows_what_its_field_is_in() {
        let mut nested = FieldViolation::new("[3]", "x");
        nested.nest("claims");
        nested.nest("request");
        nested.nest("");
        assert_eq!(nested.field, "request.claims[3]");
    }
}
