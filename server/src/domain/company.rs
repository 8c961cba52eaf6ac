//! Companies: the customers that own devices, and the resellers that registered them.

use super::{name::Name, words::words};
use unbox_common::{
    ids::{CompanyId, ConfigurationId},
    timestamp::Timestamp,
};

words! {
    /// What a company is to this server.
    pub enum CompanyKind {
        /// It owns devices.
        Customer = "customer",
        /// It sells them, and registers them for customers.
        Reseller = "reseller",
        /// It does the same under a reseller, which sees its customers.
        Vendor = "vendor",
        /// It keeps configurations and devices of the customers that asked it to.
        Emm = "emm",
    }
}

/// A company.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Company {
    /// Its id.
    pub id: CompanyId,
    /// Customer or reseller.
    pub kind: CompanyKind,
    /// Its name, unique among companies of its kind.
    pub name: Name,
    /// What its claims get that name no configuration of their own.
    pub default_configuration: Option<ConfigurationId>,
    /// When it was created.
    pub created_at: Timestamp,
}
