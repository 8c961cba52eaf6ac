//! Organisations, their links, accounts and credentials, and the audit trail.

mod accounts;
mod audit;
mod companies;
mod credentials;

pub use accounts::AccountsOf;
pub use audit::AuditFilter;
pub use companies::CompanyFilter;
pub use credentials::{ApiKeyUse, KeysOf, SigningAccount};
