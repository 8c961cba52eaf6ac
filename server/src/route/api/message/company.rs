//! Companies: resellers, vendors, customers, and lists of them.

use crate::route::api::wire::{enums::wire_enum, message::message};
use unbox_common::{ids::CompanyId, secret::Secret};

wire_enum! {
    /// The standing of a customer with the terms of service.
    pub enum TermsStatus {
        /// Not specified.
        Unspecified = 0 "TERMS_STATUS_UNSPECIFIED",
        /// Not accepted yet.
        NotAccepted = 1 "TERMS_STATUS_NOT_ACCEPTED",
        /// The latest terms are accepted.
        Accepted = 2 "TERMS_STATUS_ACCEPTED",
        /// Only older terms are accepted.
        Stale = 3 "TERMS_STATUS_STALE",
    }
}

message! {
    /// A company: reseller, vendor or customer.
    pub struct Company {
        /// Its name, such as `partners/{partner}/customers/{customer}`.
        name: String = "name", OUTPUT;
        /// Its id.
        company_id: Option<CompanyId> = "companyId", OUTPUT;
        /// The name that people use. It cannot be changed later.
        company_name: String = "companyName", REQUIRED;
        /// Its standing with the terms of service.
        terms_status: TermsStatus = "termsStatus", OUTPUT;
        /// The people who may also administer it: e-mail addresses.
        admin_emails: Vec<String> = "adminEmails";
        /// The people who own its account: e-mail addresses.
        owner_emails: Vec<String> = "ownerEmails", REQUIRED, INPUT;
        /// The language of the e-mail that welcomes it (BCP 47).
        language_code: String = "languageCode", INPUT;
        /// Passed over: everybody is welcomed.
        skip_welcome_email: bool = "skipWelcomeEmail", INPUT;
        /// Its Google Workspace account, if it has one.
        google_workspace_account: Option<GoogleWorkspaceAccount> = "googleWorkspaceAccount", OUTPUT;
        /// Unbox's own: warnings, in the answer to a new company, that its name looks like another's.
        warnings: Vec<String> = "warnings", OUTPUT;
    }
}

message! {
    /// A company's Google Workspace account.
    pub struct GoogleWorkspaceAccount {
        /// Its id there.
        customer_id: String = "customerId", REQUIRED;
        /// The proof that a device is expected there.
        pre_provisioning_tokens: Vec<Secret> = "preProvisioningTokens", OUTPUT;
    }
}

message! {
    /// Creates a customer.
    pub struct CreateCustomerRequest {
        /// The customer.
        customer: Company = "customer", REQUIRED;
    }
}

message! {
    /// A reseller's customers.
    pub struct ListCustomersResponse {
        /// The customers.
        customers: Vec<Company> = "customers";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// The total number.
        total_size: i32 = "totalSize";
    }
}

message! {
    /// A reseller's vendors.
    pub struct ListVendorsResponse {
        /// The vendors.
        vendors: Vec<Company> = "vendors";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// The total number.
        total_size: i32 = "totalSize";
    }
}

message! {
    /// A vendor's customers.
    pub struct ListVendorCustomersResponse {
        /// The customers.
        customers: Vec<Company> = "customers";
        /// The start of the next page; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// The total number.
        total_size: i32 = "totalSize";
    }
}
