//! The contract of every method: its messages, or the media types of its streams; its own parameters; and
//! the refusals that only some methods have.
//!
//! Each request is checked against its row before a handler sees it, and `openapi.rs` describes the API by
//! the same rows: so a wrong row shows in the first test that calls the method. To add a method: see
//! `mod.rs`.

use super::{
    message::{
        account::{
            ApiKey, ListApiKeysResponse, ListServiceAccountKeysResponse, ListServiceAccountsResponse,
            ListUsersResponse, RotateApiKeyRequest, RotateServiceAccountKeyRequest, ServiceAccount,
            ServiceAccountKey, User,
        },
        artifact::{Artifact, ListArtifactsResponse},
        audit::ListAuditEntriesResponse,
        claim::{
            ClaimDeviceRequest, ClaimDeviceResponse, ClaimDevicesRequest, UnclaimDeviceRequest,
            UnclaimDevicesRequest, UpdateDeviceMetadataInBatchRequest, UpdateDeviceMetadataRequest,
        },
        common::{DeviceMetadata, Empty},
        company::{
            Company, CreateCustomerRequest, ListCustomersResponse, ListVendorCustomersResponse,
            ListVendorsResponse,
        },
        configuration::Configuration,
        customer::{
            CustomerApplyConfigurationRequest, CustomerListConfigurationsResponse,
            CustomerListCustomersResponse, CustomerListDevicesResponse, CustomerListDpcsResponse,
            CustomerRemoveConfigurationRequest, CustomerUnclaimDeviceRequest,
        },
        device::{
            Device, FindDevicesByDeviceIdentifierRequest, FindDevicesByDeviceIdentifierResponse,
            FindDevicesByOwnerRequest, FindDevicesByOwnerResponse, GetDeviceSimLockStateRequest,
            GetDeviceSimLockStateResponse,
        },
        enrollment::{
            CreateResetTicketResponse, DisableEnrollmentRequest, Enrollment, EnrollmentDecisionRequest,
            EnrollmentRequest, ListEnrollmentHistoryResponse, ListEnrollmentsResponse,
        },
        operation::{ListOperationsResponse, Operation},
        organisation::{Link, ListLinksResponse, ListOrganisationsResponse, Organisation},
        station::{
            CheckDevicesRequest, CheckDevicesResponse, FactoryRecord, ListFactoryRecordsResponse,
            RegisterDevicesRequest, RegisterDevicesResponse, TrustBundle,
        },
    },
    wire::{
        form::{Field, Schemas},
        message::Message,
        query::{Own, Standard},
        status::Status,
    },
};
use utoipa::openapi::{RefOr, Schema};

/// The contract of one method.
#[derive(Debug)]
pub struct Contract {
    /// The name of the method.
    pub id: &'static str,
    /// Its effect, in a sentence.
    pub about: &'static str,
    /// The body of its requests.
    pub request: Content,
    /// The body of its answers.
    pub answer: Content,
    /// Its parameters besides the standard ones.
    pub parameters: &'static [Parameter],
    /// HTTP statuses of refusals besides those that every method can give.
    pub refusals: &'static [u16],
}

/// A body.
#[derive(Debug)]
pub enum Content {
    /// No body is looked at.
    None,
    /// One message in JSON.
    Message(MessageType),
    /// Bytes of any length, of one of these media types.
    Stream(&'static [&'static str]),
}

/// A message, known by its type.
#[derive(Debug)]
pub struct MessageType {
    /// Its name in the document.
    pub name: &'static str,
    /// Adds its schema, and those that it refers to.
    pub add_schemas: fn(&mut Schemas),
    check_fields: fn(&Standard) -> Result<(), Status>,
}

/// A parameter in the query.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Its schema.
    pub schema: fn() -> RefOr<Schema>,
}

impl MessageType {
    const fn of<T: Message>() -> Self {
        Self { name: T::NAME, add_schemas: T::add_schemas, check_fields: Standard::check_fields::<T> }
    }
}

impl Contract {
    /// Finds the contract of a method.
    #[must_use]
    pub fn of(id: &str) -> Option<&'static Self> {
        CONTRACTS.iter().find(|contract| contract.id == id)
    }

    /// Checks the parameters of a request: the method's own, and the requested part of the answer. This is
    /// done before the method does anything: afterwards it would be too late to refuse.
    ///
    /// # Errors
    /// If a parameter is unknown, or the answer cannot have a field.
    pub(super) fn check(&self, own: &Own, standard: &Standard) -> Result<(), Status> {
        own.allow_only(|name| self.parameters.iter().any(|parameter| parameter.name == name))?;
        match &self.answer {
            Content::Message(message) => (message.check_fields)(standard),
            Content::None | Content::Stream(_) => Ok(()),
        }
    }
}

impl Content {
    /// Returns true if it is this message.
    pub(super) fn is_message<T: Message>(&self) -> bool {
        matches!(self, Self::Message(message) if message.name == T::NAME)
    }
}

macro_rules! content {
    (()) => {
        Content::None
    };
    ([$($media_type:literal),+]) => {
        Content::Stream(&[$($media_type),+])
    };
    ($message:ident) => {
        Content::Message(MessageType::of::<$message>())
    };
}

macro_rules! contracts {
    (
        $(
            #[doc = $about:literal]
            $id:literal: $request:tt -> $answer:tt
            $(, with ($($parameter:ident: $ty:ty),+))?
            $(, or $($refusal:literal),+)?;
        )+
    ) => {
        &[$(Contract {
            id: $id,
            about: $about,
            request: content!($request),
            answer: content!($answer),
            parameters: &[$($(Parameter {
                name: stringify!($parameter),
                schema: <$ty as Field>::schema,
            }),+)?],
            refusals: &[$($($refusal),+)?],
        }),+]
    };
}

/// Every method, in the order of the table of routes. A stream is written as `["text/csv"]`, nothing as `()`.
pub static CONTRACTS: &[Contract] = contracts![
    /// Makes a customer that this partner works for.
    "partners.customers.create": CreateCustomerRequest -> Company, or 409;
    /// Lists the customers that this partner works for.
    "partners.customers.list": () -> ListCustomersResponse, with (pageSize: i32, pageToken: String);
    /// Claims a device for a customer.
    "partners.devices.claim": ClaimDeviceRequest -> ClaimDeviceResponse, or 409;
    /// Claims up to 100,000 devices, in an operation that goes on after the answer.
    "partners.devices.claimAsync": ClaimDevicesRequest -> Operation;
    /// Releases a device, for good or for a time.
    "partners.devices.unclaim": UnclaimDeviceRequest -> Empty;
    /// Releases up to 100,000 devices, in an operation that goes on after the answer.
    "partners.devices.unclaimAsync": UnclaimDevicesRequest -> Operation;
    /// Changes what the partner notes about a device; an empty text deletes an entry.
    "partners.devices.metadata": UpdateDeviceMetadataRequest -> DeviceMetadata;
    /// Changes the notes of up to 100,000 devices, in an operation that goes on after the answer.
    "partners.devices.updateMetadataAsync": UpdateDeviceMetadataInBatchRequest -> Operation;
    /// Shows a device that this partner has claimed.
    "partners.devices.get": () -> Device;
    /// Finds devices that this partner has claimed, by what they are called.
    "partners.devices.findByIdentifier":
        FindDevicesByDeviceIdentifierRequest -> FindDevicesByDeviceIdentifierResponse;
    /// Finds devices that this partner has claimed, by whose they are.
    "partners.devices.findByOwner": FindDevicesByOwnerRequest -> FindDevicesByOwnerResponse;
    /// Says whether a device is locked to a network; none is here.
    "partners.devices.getSimLockState": GetDeviceSimLockStateRequest -> GetDeviceSimLockStateResponse;
    /// Lists the vendors of a reseller.
    "partners.vendors.list": () -> ListVendorsResponse, with (pageSize: i32, pageToken: String);
    /// Lists the customers of a vendor.
    "partners.vendors.customers.list":
        () -> ListVendorCustomersResponse, with (pageSize: i32, pageToken: String);
    /// Lists the operations that this partner has started, the oldest first.
    "operations.list": () -> ListOperationsResponse, with (pageSize: i32, pageToken: String);
    /// Ends an operation before its last device; what was done stays.
    "operations.cancel": () -> Empty;
    /// Deletes what is known of an operation that has ended.
    "operations.delete": () -> Empty;
    /// Shows how far an operation is, and what came of each device once it has ended.
    "operations.get": () -> Operation;
    /// Lists the customers that the caller acts for.
    "customers.list": () -> CustomerListCustomersResponse, with (pageSize: i32, pageToken: String);
    /// Makes a configuration.
    "customers.configurations.create": Configuration -> Configuration, or 409;
    /// Lists a customer's configurations.
    "customers.configurations.list": () -> CustomerListConfigurationsResponse;
    /// Shows a configuration.
    "customers.configurations.get": () -> Configuration;
    /// Changes the fields of a configuration that the mask names.
    "customers.configurations.patch": Configuration -> Configuration, with (updateMask: String), or 409;
    /// Deletes a configuration that no device has.
    "customers.configurations.delete": () -> Empty;
    /// Lists a customer's devices.
    "customers.devices.list": () -> CustomerListDevicesResponse, with (pageSize: i64, pageToken: String);
    /// Shows one of a customer's devices.
    "customers.devices.get": () -> Device;
    /// Gives a device a configuration.
    "customers.devices.applyConfiguration": CustomerApplyConfigurationRequest -> Empty;
    /// Takes a device's configuration away.
    "customers.devices.removeConfiguration": CustomerRemoveConfigurationRequest -> Empty;
    /// Gives a device up, for good.
    "customers.devices.unclaim": CustomerUnclaimDeviceRequest -> Empty;
    /// Lists the DPCs that a configuration can name.
    "customers.dpcs.list": () -> CustomerListDpcsResponse;
    /// Accepts the terms of service for a customer.
    "customers.terms.accept": () -> Company;
    /// Claims the devices of a CSV file, row by row; says what became of each while it goes on.
    "partners.devices.import": ["text/csv"] -> ["text/csv", "application/x-ndjson"];
    /// Writes every device that this partner has claimed as a CSV file that can be imported again.
    "partners.devices.export": () -> ["text/csv", "application/x-ndjson"];
    /// Gives the devices of a CSV file their configurations, row by row.
    "customers.devices.import": ["text/csv"] -> ["text/csv", "application/x-ndjson"];
    /// Writes every device of a customer as a CSV file that can be imported again.
    "customers.devices.export": () -> ["text/csv", "application/x-ndjson"];

    /// Looks up to 500 devices up before they are shipped: whose they are, and what does not fit.
    "partners.devices.check": CheckDevicesRequest -> CheckDevicesResponse;
    /// Registers up to 500 devices and their keys, each with its own result; nothing is claimed by it.
    "partners.devices.register": RegisterDevicesRequest -> RegisterDevicesResponse;
    /// Looks up to 500 devices up before they are shipped: whose they are, and what does not fit.
    "customers.devices.check": CheckDevicesRequest -> CheckDevicesResponse;
    /// Registers up to 500 devices and their keys, each with its own result; nothing is claimed by it.
    "customers.devices.register": RegisterDevicesRequest -> RegisterDevicesResponse;

    /// Lists what the partner's test stations registered.
    "partners.factoryRecords.list":
        () -> ListFactoryRecordsResponse, with (identifier: String, pageSize: i32, pageToken: String);
    /// Shows what a test station registered of one device.
    "partners.factoryRecords.get": () -> FactoryRecord;
    /// Deletes it; a claim that got the device's key from it loses that key.
    "partners.factoryRecords.delete": () -> Empty;
    /// Lists what the customer's test stations registered.
    "customers.factoryRecords.list":
        () -> ListFactoryRecordsResponse, with (identifier: String, pageSize: i32, pageToken: String);
    /// Shows what a test station registered of one device.
    "customers.factoryRecords.get": () -> FactoryRecord;
    /// Deletes it; a claim that got the device's key from it loses that key.
    "customers.factoryRecords.delete": () -> Empty;
    /// Gives what devices need to trust this server, as images get it.
    "partners.trustBundle.get": () -> TrustBundle, with (knownRootVersion: i64);
    /// Gives what devices need to trust this server, as images get it.
    "customers.trustBundle.get": () -> TrustBundle, with (knownRootVersion: i64);

    /// Lists the organisations that the caller may see.
    "organisations.list": () -> ListOrganisationsResponse, with (kind: String, pageSize: i32, pageToken: String);
    /// Makes an organisation.
    "organisations.create": Organisation -> Organisation, or 409;
    /// Shows an organisation.
    "organisations.get": () -> Organisation;
    /// Changes the fields of an organisation that the mask names.
    "organisations.patch": Organisation -> Organisation, with (updateMask: String), or 409;
    /// Deletes an organisation that nothing depends on.
    "organisations.delete": () -> Empty;
    /// Lists who works for an organisation, or for whom it works.
    "organisations.links.list": () -> ListLinksResponse, with (pageSize: i32, pageToken: String);
    /// Lets a reseller, a vendor or an EMM work for a customer.
    "organisations.links.create": Link -> Link, or 409;
    /// Ends that.
    "organisations.links.delete": () -> Empty;
    /// Lists the people of an organisation.
    "organisations.users.list": () -> ListUsersResponse, with (pageSize: i32, pageToken: String);
    /// Adds a person.
    "organisations.users.create": User -> User, or 409;
    /// Shows a person.
    "organisations.users.get": () -> User;
    /// Changes the fields of a person that the mask names.
    "organisations.users.patch": User -> User, with (updateMask: String);
    /// Removes a person, with every key of theirs.
    "organisations.users.delete": () -> Empty;
    /// Lists the programs of an organisation.
    "organisations.serviceAccounts.list":
        () -> ListServiceAccountsResponse, with (pageSize: i32, pageToken: String);
    /// Adds a program.
    "organisations.serviceAccounts.create": ServiceAccount -> ServiceAccount, or 409;
    /// Shows a program.
    "organisations.serviceAccounts.get": () -> ServiceAccount;
    /// Changes the fields of a program that the mask names.
    "organisations.serviceAccounts.patch": ServiceAccount -> ServiceAccount, with (updateMask: String);
    /// Removes a program, with every key of its own.
    "organisations.serviceAccounts.delete": () -> Empty;
    /// Lists the keys of a program.
    "organisations.serviceAccounts.keys.list": () -> ListServiceAccountKeysResponse;
    /// Makes a key, whose file is in this answer only; or takes the public half of one.
    "organisations.serviceAccounts.keys.create": ServiceAccountKey -> ServiceAccountKey, or 409;
    /// Makes a key in the place of another, which ends after a while.
    "organisations.serviceAccounts.keys.rotate": RotateServiceAccountKeyRequest -> ServiceAccountKey;
    /// Revokes a key.
    "organisations.serviceAccounts.keys.delete": () -> Empty;
    /// Lists API keys, without their secrets.
    "organisations.apiKeys.list":
        () -> ListApiKeysResponse, with (account: String, pageSize: i32, pageToken: String);
    /// Makes an API key, whose secret is in this answer only.
    "organisations.apiKeys.create": ApiKey -> ApiKey;
    /// Makes an API key in the place of another, which ends after a while.
    "organisations.apiKeys.rotate": RotateApiKeyRequest -> ApiKey;
    /// Shows an API key, without its secret.
    "organisations.apiKeys.get": () -> ApiKey;
    /// Revokes an API key.
    "organisations.apiKeys.delete": () -> Empty;
    /// Lists what happened in an organisation, the latest first.
    "organisations.auditEntries.list": () -> ListAuditEntriesResponse, with (
        subject: String, action: String, startTime: String, endTime: String, actor: String,
        pageSize: i32, pageToken: String
    );
    /// Writes all of that to a file.
    "organisations.auditEntries.export": () -> ["application/x-ndjson", "text/csv"], with (
        subject: String, action: String, startTime: String, endTime: String, actor: String
    );

    /// Uploads an artifact whole, or begins an upload in parts.
    "customers.artifacts.upload":
        ["application/octet-stream"] -> Artifact, with (name: String, sha256: String);
    /// Sends the next part of an upload, or asks how far it is.
    "customers.artifacts.continueUpload":
        ["application/octet-stream"] -> Artifact, with (uploadId: String), or 308;
    /// Gives an upload up.
    "customers.artifacts.cancelUpload": () -> (), with (uploadId: String);
    /// Lists the artifacts that a customer's configurations may name.
    "customers.artifacts.list": () -> ListArtifactsResponse, with (pageSize: i32, pageToken: String);
    /// Shows an artifact.
    "customers.artifacts.get": () -> Artifact;
    /// Deletes an artifact that no configuration needs.
    "customers.artifacts.delete": () -> Empty;

    /// Lists a customer's enrolled devices.
    "customers.enrollments.list": () -> ListEnrollmentsResponse, with (
        state: String, device: String, identifier: String, awaitingApproval: bool,
        pageSize: i32, pageToken: String
    );
    /// Shows an enrolled device.
    "customers.enrollments.get": () -> Enrollment;
    /// Lists what happened to an enrolled device, the latest first.
    "customers.enrollments.history":
        () -> ListEnrollmentHistoryResponse, with (pageSize: i32, pageToken: String);
    /// Lets a device in that waits for approval.
    "customers.enrollments.approve": EnrollmentDecisionRequest -> Enrollment;
    /// Refuses a device that waits for approval.
    "customers.enrollments.refuse": EnrollmentDecisionRequest -> Enrollment;
    /// Tells a device to enroll again.
    "customers.enrollments.reenroll": EnrollmentRequest -> Enrollment;
    /// Disables a device; it shows the message.
    "customers.enrollments.disable": DisableEnrollmentRequest -> Enrollment;
    /// Enables a device again.
    "customers.enrollments.enable": EnrollmentRequest -> Enrollment;
    /// Releases a device from management for good.
    "customers.enrollments.deprovision": EnrollmentRequest -> Enrollment;
    /// Makes a ticket with which a device that was wiped enrolls without approval.
    "customers.enrollments.createResetTicket": EnrollmentRequest -> CreateResetTicketResponse;
];

#[cfg(test)]
mod tests {
    use super::super::{
        message,
        routes::ROUTES,
        wire::{form::Form, status::ErrorDocument},
    };
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_method_has_one_contract_and_every_contract_a_method() {
        let mut contracts: Vec<&str> = CONTRACTS.iter().map(|contract| contract.id).collect();
        let mut routes: Vec<&str> = ROUTES.iter().map(|route| route.id).collect();
        contracts.sort_unstable();
        routes.sort_unstable();
        assert_eq!(contracts, routes);
    }

    #[test]
    fn every_message_is_used_by_a_method() {
        let mut used = Schemas::new();
        <ErrorDocument as Form>::add_schemas(&mut used);
        for contract in CONTRACTS {
            for content in [&contract.request, &contract.answer] {
                if let Content::Message(message) = content {
                    (message.add_schemas)(&mut used);
                }
            }
        }
        let names = |schemas: Schemas| schemas.into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
        assert_eq!(names(used), names(message::schemas()));
    }
}
