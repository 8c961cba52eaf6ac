//! Organisations, their links, accounts and credentials, signing in, and the audit trail.

mod accounts;
mod audit;
mod companies;
mod company_changes;
mod confusable_names;
mod credentials;
mod key_file;
mod links;
mod sign_in;

pub use accounts::{AccountChange, NewAccount, NewHolder};
pub use companies::NewCompany;
pub(super) use companies::{customer_of, name_taken_error, quote_name, visible_customer};
pub use company_changes::CompanyChange;
pub use credentials::NewApiKey;
pub use key_file::{ServiceAccountKeyFile, base_url};
pub use sign_in::{OAuthError, OAuthRefusal, SignIn, TokenAnswer, TokenRequest};

use super::core::Core;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Organisations, accounts and credentials.
#[derive(Clone)]
pub struct Tenancy {
    core: Core,
    /// Held while a key of a service account is made.
    key_making: Arc<Mutex<()>>,
}

impl Tenancy {
    pub(super) fn new(core: Core) -> Self {
        Self { core, key_making: Arc::default() }
    }
}
