//! Organisations, and the links between them. Unbox's own, like everything below `/v1/organisations`.

use super::company::TermsStatus;
use crate::route::api::wire::{enums::wire_enum, message::message, name::OrganisationName};
use unbox_common::{ids::CompanyId, timestamp::Timestamp};

wire_enum! {
    /// The kind of an organisation.
    pub enum OrganisationKind {
        /// Not specified.
        Unspecified = 0 "ORGANISATION_KIND_UNSPECIFIED",
        /// It owns devices.
        Customer = 1 "ORGANISATION_KIND_CUSTOMER",
        /// It sells them, and registers them for customers.
        Reseller = 2 "ORGANISATION_KIND_RESELLER",
        /// It does the same under a reseller, which sees its customers.
        Vendor = 3 "ORGANISATION_KIND_VENDOR",
        /// It keeps configurations and devices of the customers that asked it to.
        Emm = 4 "ORGANISATION_KIND_EMM",
    }
}

message! {
    /// An organisation: a customer that owns devices, or one that works for customers.
    pub struct Organisation {
        /// Its name: `organisations/{organisation}`.
        name: String = "name", OUTPUT;
        /// Its id, also that of its partner or customer.
        organisation_id: Option<CompanyId> = "organisationId", OUTPUT;
        /// Its kind. It never changes.
        kind: OrganisationKind = "kind", REQUIRED;
        /// The name that people use; unique among organisations of its kind.
        display_name: String = "displayName", REQUIRED;
        /// The reseller of a vendor; the operator's to say.
        parent: Option<OrganisationName> = "parent";
        /// The standing of a customer with the terms of service. Itself it can only accept them.
        terms_status: TermsStatus = "termsStatus";
        /// The language of its people (BCP 47).
        language_code: String = "languageCode";
        /// Its Google Workspace account, by which resellers may name it too; the operator's to say.
        google_workspace_customer_id: String = "googleWorkspaceCustomerId";
        /// True if a reseller or vendor may claim devices with protection; the operator's to say.
        device_protection: bool = "deviceProtection";
        /// True if the test stations of factories may register device keys for claims of this customer that
        /// are there already. A new customer does not allow it.
        factory_keys_allowed: bool = "factoryKeysAllowed";
        /// Warnings, in the answer to a new name, that it looks like another organisation's.
        warnings: Vec<String> = "warnings", OUTPUT;
        /// The time of its creation.
        create_time: Option<Timestamp> = "createTime", OUTPUT;
    }
}

message! {
    /// Organisations.
    pub struct ListOrganisationsResponse {
        /// The organisations.
        organisations: Vec<Organisation> = "organisations";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}

message! {
    /// A link: a reseller, vendor or EMM works for a customer, seen from one of the two.
    pub struct Link {
        /// Its name: `organisations/{organisation}/links/{the other one's id}`.
        name: String = "name", OUTPUT;
        /// The other one: `organisations/{organisation}`.
        organisation: Option<OrganisationName> = "organisation", REQUIRED;
        /// The name that people use.
        display_name: String = "displayName", OUTPUT;
        /// Its kind.
        kind: OrganisationKind = "kind", OUTPUT;
        /// The time from which it has worked for the other.
        create_time: Option<Timestamp> = "createTime", OUTPUT;
    }
}

message! {
    /// The organisations that work for a customer, or the customers that another organisation works for.
    pub struct ListLinksResponse {
        /// The links.
        links: Vec<Link> = "links";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
    }
}
