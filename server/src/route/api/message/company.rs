//! Companies: resellers, vendors, customers, and lists of them.

use crate::route::api::wire::{enums::wire_enum, message::message};
use unbox_common::{ids::CompanyId, secret::Secret};

wire_enum! {
    /// Whether a customer has accepted the terms of service.
    pub enum TermsStatus {
        /// Nothing was said.
        Unspecified = 0 "TERMS_STATUS_UNSPECIFIED",
        /// Not yet.
        NotAccepted = 1 "TERMS_STATUS_NOT_ACCEPTED",
        /// The latest ones.
        Accepted = 2 "TERMS_STATUS_ACCEPTED",
        /// Older ones.
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
        /// What people call it. It cannot be changed later.
        company_name: String = "companyName", REQUIRED;
        /// Whether it has accepted the terms of service.
        terms_status: TermsStatus = "termsStatus", OUTPUT;
        /// Who may also administer it: e-mail addresses.
        admin_emails: Vec<String> = "adminEmails";
        /// Who owns its account: e-mail addresses.
        owner_emails: Vec<String> = "ownerEmails", REQUIRED, INPUT;
        /// The language of the e-mail that welcomes it (BCP 47).
        language_code: String = "languageCode", INPUT;
        /// Passed over: everybody is welcomed.
        skip_welcome_email: bool = "skipWelcomeEmail", INPUT;
        /// Its Google Workspace account, if it has one.
        google_workspace_account: Option<GoogleWorkspaceAccount> = "googleWorkspaceAccount", OUTPUT;
        /// Unbox's own: what to look into, in the answer to a new company: that its name looks like another's.
        warnings: Vec<String> = "warnings", OUTPUT;
    }
}

message! {
    /// A company's Google Workspace account.
    pub struct GoogleWorkspaceAccount {
        /// Its id there.
        customer_id: String = "customerId", REQUIRED;
        /// What proves that a device is expected there.
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
        /// Where the next page starts; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// How many there are in all.
        total_size: i32 = "totalSize";
    }
}

message! {
    /// A reseller's vendors.
    pub struct ListVendorsResponse {
        /// The vendors.
        vendors: Vec<Company> = "vendors";
        /// Where the next page starts; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// How many there are in all.
        total_size: i32 = "totalSize";
    }
}

message! {
    /// A vendor's customers.
    pub struct ListVendorCustomersResponse {
        /// The customers.
        customers: Vec<Company> = "customers";
        /// Where the next page starts; absent on the last one.
        next_page_token: String = "nextPageToken";
        /// How many there are in all.
        total_size: i32 = "totalSize";
    }
}
