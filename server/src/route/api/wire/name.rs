//! Names of resources, such as `customers/12/configurations/3`, and the paths that carry them.

use super::{
    form::{Form, string},
    status::Status,
};
use percent_encoding::percent_decode_str;
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
use std::{borrow::Cow, fmt, str::FromStr};
use unbox_common::{
    digest::Sha256,
    ids::{AccountId, ApiKeyId, ClaimId, CompanyId, ConfigurationId, DeviceId, FactoryRecordId, OperationId},
};
use utoipa::openapi::{RefOr, Schema};

/// The longest path of a request, in bytes.
pub const MAX_PATH_BYTES: usize = 2048;
/// The longest segment that is not a number, in bytes.
const MAX_SEGMENT_BYTES: usize = 128;

/// The error for a text that is not a name of this kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Expected a resource name of the form {0}.")]
pub struct NotAName(pub &'static str);

/// The last part of a name that is not a number: a DPC's name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Segment(String);

impl Segment {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Segment {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let made_of = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+".contains(&byte);
        let good = (1..=MAX_SEGMENT_BYTES).contains(&text.len())
            && text.bytes().all(made_of)
            && text.bytes().any(|byte| byte != b'.');
        if good { Ok(Self(text.to_owned())) } else { Err(NotAName("letters, digits, - _ . ~ and +")) }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Declares the name of a kind of resource: collections and ids in turn.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $form:literal, $($collection:literal $id:ident: $ty:ty),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name {
            $(
                #[doc = concat!("What follows `", $collection, "/`.")]
                pub $id: $ty,
            )+
        }

        impl FromStr for $name {
            type Err = NotAName;

            fn from_str(text: &str) -> Result<Self, NotAName> {
                let mut parts = text.split('/');
                $(
                    if parts.next() != Some($collection) {
                        return Err(NotAName($form));
                    }
                    let $id = parts.next().and_then(|part| part.parse().ok()).ok_or(NotAName($form))?;
                )+
                if parts.next().is_some() { Err(NotAName($form)) } else { Ok(Self { $($id),+ }) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let parts: &[(&str, &dyn fmt::Display)] = &[$(($collection, &self.$id)),+];
                for (at, (collection, id)) in parts.iter().enumerate() {
                    write!(f, "{}{collection}/{id}", if at > 0 { "/" } else { "" })?;
                }
                Ok(())
            }
        }

        impl Form for $name {
            fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }

            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }

            fn schema() -> RefOr<Schema> {
                let mut text = string($form);
                text.format = None;
                text.examples = vec![$form.into()];
                text.into()
            }
        }
    };
}

name!(
    /// A customer, as its own administrators see it.
    CustomerName, "customers/{customer}", "customers" customer: CompanyId
);
name!(
    /// A customer's configuration.
    ConfigurationName, "customers/{customer}/configurations/{configuration}",
    "customers" customer: CompanyId, "configurations" configuration: ConfigurationId
);
name!(
    /// A device, as its customer sees it.
    CustomerDeviceName, "customers/{customer}/devices/{device}",
    "customers" customer: CompanyId, "devices" device: ClaimId
);
name!(
    /// A DPC that a customer can choose.
    DpcResourceName, "customers/{customer}/dpcs/{dpc}", "customers" customer: CompanyId, "dpcs" dpc: Segment
);
name!(
    /// A reseller.
    PartnerName, "partners/{partner}", "partners" partner: CompanyId
);
name!(
    /// A customer, as its reseller sees it.
    PartnerCustomerName, "partners/{partner}/customers/{customer}",
    "partners" partner: CompanyId, "customers" customer: CompanyId
);
name!(
    /// A device, as its reseller sees it.
    PartnerDeviceName, "partners/{partner}/devices/{device}",
    "partners" partner: CompanyId, "devices" device: ClaimId
);
name!(
    /// A vendor: a reseller's reseller.
    VendorName, "partners/{partner}/vendors/{vendor}",
    "partners" partner: CompanyId, "vendors" vendor: CompanyId
);
name!(
    /// A vendor's customer.
    VendorCustomerName, "partners/{partner}/vendors/{vendor}/customers/{customer}",
    "partners" partner: CompanyId, "vendors" vendor: CompanyId, "customers" customer: CompanyId
);
name!(
    /// An artifact that a customer's configurations may name.
    ArtifactName, "customers/{customer}/artifacts/{sha256}",
    "customers" customer: CompanyId, "artifacts" artifact: Sha256
);
name!(
    /// The enrollment of a claimed device.
    EnrollmentName, "customers/{customer}/enrollments/{enrollment}",
    "customers" customer: CompanyId, "enrollments" enrollment: DeviceId
);
name!(
    /// A reseller's factory record of a device.
    PartnerFactoryRecordName, "partners/{partner}/factoryRecords/{factoryRecord}",
    "partners" partner: CompanyId, "factoryRecords" record: FactoryRecordId
);
name!(
    /// A customer's factory record of a device.
    CustomerFactoryRecordName, "customers/{customer}/factoryRecords/{factoryRecord}",
    "customers" customer: CompanyId, "factoryRecords" record: FactoryRecordId
);
name!(
    /// A long-running operation.
    OperationName, "operations/{operation}", "operations" operation: OperationId
);

name!(
    /// An organisation: a company of any kind.
    OrganisationName, "organisations/{organisation}", "organisations" organisation: CompanyId
);
name!(
    /// A link: one organisation works for another.
    LinkName, "organisations/{organisation}/links/{link}",
    "organisations" organisation: CompanyId, "links" link: CompanyId
);
name!(
    /// A person of an organisation.
    UserName, "organisations/{organisation}/users/{user}",
    "organisations" organisation: CompanyId, "users" user: AccountId
);
name!(
    /// A program of an organisation.
    ServiceAccountName, "organisations/{organisation}/serviceAccounts/{serviceAccount}",
    "organisations" organisation: CompanyId, "serviceAccounts" service_account: AccountId
);
name!(
    /// A key of such a program.
    ServiceAccountKeyName, "organisations/{organisation}/serviceAccounts/{serviceAccount}/keys/{key}",
    "organisations" organisation: CompanyId, "serviceAccounts" service_account: AccountId, "keys" key: Segment
);
name!(
    /// An API key of an organisation.
    ApiKeyName, "organisations/{organisation}/apiKeys/{apiKey}",
    "organisations" organisation: CompanyId, "apiKeys" api_key: ApiKeyId
);
name!(
    /// An entry of an organisation's audit trail.
    AuditEntryName, "organisations/{organisation}/auditEntries/{auditEntry}",
    "organisations" organisation: CompanyId, "auditEntries" audit_entry: u64
);

/// Normalises a request's path: clients may percent-encode the `/` and `:` of a name that stands in it.
/// The result can be routed and needs no further decoding.
///
/// # Errors
/// For anything that two readers might understand differently: double encoding, `.` and `..`, empty
/// segments, characters that no path of this API has.
pub fn normalised_path(path: &str) -> Result<Cow<'_, str>, Status> {
    let refused = || Status::invalid_field("path", "The path is not one of this API. Check its encoding.");
    if path.len() > MAX_PATH_BYTES {
        return Err(refused());
    }
    let plain = percent_decode_str(path).decode_utf8().map_err(|_| refused())?;
    let segments = plain.strip_prefix('/').ok_or_else(refused)?;
    // A remaining `%` was encoded twice, or is not followed by digits.
    let known = |char: char| char.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(char);
    let good = |segment: &str| !matches!(segment, "" | "." | "..");
    let clean = segments.chars().all(known) && (segments.is_empty() || segments.split('/').all(good));
    if clean { Ok(plain) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round<T: FromStr<Err = NotAName> + fmt::Display>(text: &str) -> String {
        text.parse::<T>().map_or_else(|error| error.to_string(), |name| name.to_string())
    }

    #[test]
    fn every_name_reads_and_writes_the_same() {
        assert_eq!(round::<CustomerName>("customers/12"), "customers/12");
        let configuration: ConfigurationName = "customers/12/configurations/3".parse().unwrap();
        assert_eq!((configuration.customer.get(), configuration.configuration.get()), (12, 3));
        assert_eq!(
            round::<ConfigurationName>("customers/12/configurations/3"),
            "customers/12/configurations/3"
        );
        assert_eq!(round::<CustomerDeviceName>("customers/12/devices/3"), "customers/12/devices/3");
        assert_eq!(
            round::<DpcResourceName>("customers/12/dpcs/acme-dpc_1.0~x"),
            "customers/12/dpcs/acme-dpc_1.0~x"
        );
        assert_eq!(round::<PartnerName>("partners/1"), "partners/1");
        assert_eq!(round::<PartnerDeviceName>("partners/1/devices/2"), "partners/1/devices/2");
        assert_eq!(round::<PartnerCustomerName>("partners/1/customers/2"), "partners/1/customers/2");
        assert_eq!(round::<VendorName>("partners/1/vendors/2"), "partners/1/vendors/2");
        assert_eq!(
            round::<VendorCustomerName>("partners/1/vendors/2/customers/3"),
            "partners/1/vendors/2/customers/3"
        );
        assert_eq!(
            round::<PartnerFactoryRecordName>("partners/1/factoryRecords/2"),
            "partners/1/factoryRecords/2"
        );
        assert_eq!(
            round::<CustomerFactoryRecordName>("customers/1/factoryRecords/2"),
            "customers/1/factoryRecords/2"
        );
        assert_eq!(round::<OperationName>("operations/9"), "operations/9");
        assert_eq!(round::<OrganisationName>("organisations/9"), "organisations/9");
        assert_eq!(round::<LinkName>("organisations/9/links/8"), "organisations/9/links/8");
        assert_eq!(round::<UserName>("organisations/9/users/8"), "organisations/9/users/8");
        assert_eq!(round::<ApiKeyName>("organisations/9/apiKeys/8"), "organisations/9/apiKeys/8");
        assert_eq!(
            round::<AuditEntryName>("organisations/9/auditEntries/8"),
            "organisations/9/auditEntries/8"
        );
        let key = format!("organisations/9/serviceAccounts/8/keys/{}", "a7".repeat(20));
        assert_eq!(round::<ServiceAccountKeyName>(&key), key);
        assert_eq!(
            round::<ServiceAccountName>("organisations/9/serviceAccounts/8"),
            "organisations/9/serviceAccounts/8"
        );
    }

    #[test]
    fn other_names_are_refused_with_the_form() {
        for bad in [
            "",
            "/",
            "customers",
            "customers/12",
            "customers/12/configurations",
            "customers/12/configurations/",
            "customers/12/configurations/3/",
            "/customers/12/configurations/3",
            "customers/12/configurations/3/x",
            "customers//configurations/3",
            "customers/12/devices/3",
            "customers/0/configurations/3",
            "customers/-1/configurations/3",
            "customers/ 12/configurations/3",
            "customers/12/configurations/99999999999999999999",
            "Customers/12/configurations/3",
        ] {
            assert_eq!(
                bad.parse::<ConfigurationName>(),
                Err(NotAName("customers/{customer}/configurations/{configuration}")),
                "{bad}"
            );
        }
        let long = format!("customers/1/dpcs/{}", "x".repeat(129));
        for bad in [
            "customers/1/dpcs/..",
            "customers/1/dpcs/.",
            "customers/1/dpcs/a b",
            "customers/1/dpcs/a%2f",
            "customers/1/dpcs/\u{e9}",
            &long,
        ] {
            assert!(bad.parse::<DpcResourceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_encoded_path_becomes_plain() {
        for (path, plain) in [
            ("/v1/customers/12", "/v1/customers/12"),
            ("/v1/customers%2F12%2Fconfigurations%2F3", "/v1/customers/12/configurations/3"),
            (
                "/v1/customers%2f12/devices%3AapplyConfiguration",
                "/v1/customers/12/devices:applyConfiguration",
            ),
            ("/v1/partners/1/devices:claim", "/v1/partners/1/devices:claim"),
            ("/v1/%63ustomers", "/v1/customers"),
            ("/batch", "/batch"),
            ("/", "/"),
            ("/v1/a..b/...", "/v1/a..b/..."),
        ] {
            assert_eq!(normalised_path(path).unwrap(), plain, "{path}");
        }
        assert!(matches!(normalised_path("/v1/customers"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        let long = format!("/{}", "a".repeat(MAX_PATH_BYTES));
        for path in [
            "",
            "v1/customers",
            "//",
            "//v1",
            "/v1//customers",
            "/v1/customers/",
            "/v1/customers%2F",
            "/v1/%2Fcustomers",
            "/v1/../admin",
            "/v1/%2e%2e/admin",
            "/v1/.%2e%2fadmin",
            "/v1/./customers",
            "/v1/customers%252F12",
            "/v1/customers%",
            "/v1/customers%2",
            "/v1/customers%zz",
            "/v1/%00",
            "/v1/%0d%0aX:y",
            "/v1/%ff",
            "/v1/%c3%a9",
            "/v1/a%3Fkey=b",
            "/v1/a%23b",
            "/v1/a%20b",
            "/v1/a%5cb",
            "/v1/a\\b",
            long.as_str(),
        ] {
            assert!(normalised_path(path).is_err(), "{path}");
        }
    }
}
