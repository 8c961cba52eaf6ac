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

impl CompanyKind {
    /// Whether companies of this kind register devices for customers.
    #[must_use]
    pub const fn registers_devices(self) -> bool {
        matches!(self, Self::Reseller | Self::Vendor)
    }
}

words! {
    /// Whether a customer has accepted the terms of service; devices are granted nothing before.
    pub enum Terms {
        /// Never.
        NotAccepted = "not_accepted",
        /// The present ones.
        Accepted = "accepted",
        /// Earlier ones; the present ones not yet.
        Stale = "stale",
    }
}

/// That a company works for a customer, seen from one of the two.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Link {
    /// The other one.
    pub other: Company,
    /// Since when.
    pub since: Timestamp,
}

/// A company.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Company {
    /// Its id.
    pub id: CompanyId,
    /// What it is to this server.
    pub kind: CompanyKind,
    /// Its name, unique among companies of its kind.
    pub name: Name,
    /// What its claims get that name no configuration of their own.
    pub default_configuration: Option<ConfigurationId>,
    /// The reseller of a vendor.
    pub parent: Option<CompanyId>,
    /// Whether it accepted the terms of service.
    pub terms: Terms,
    /// The language of its people, BCP 47.
    pub language: Option<String>,
    /// Its Google Workspace account, by which resellers may name it too.
    pub workspace: Option<String>,
    /// Whether it may claim devices with protection.
    pub device_protection: bool,
    /// Whether the stations of factories may register keys for claims of this customer that are there
    /// already. Off unless its owner says otherwise: a claim that nobody made a key for takes the first
    /// one, so that one station's credential would be enough to take over every device not yet enrolled.
    pub factory_keys: bool,
    /// When it was created.
    pub created_at: Timestamp,
}
