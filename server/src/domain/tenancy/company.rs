//! Companies: the customers that own devices, and the resellers that registered them.

use crate::domain::{closed_set::closed_set, name::Name};
use unbox_common::{
    ids::{CompanyId, ConfigurationId},
    timestamp::Timestamp,
};

closed_set! {
    /// The kind of a company.
    pub enum CompanyKind {
        /// A company that owns devices.
        Customer = "customer",
        /// A company that sells devices and registers them for customers.
        Reseller = "reseller",
        /// A company that does the same under a reseller, which sees the vendor's customers.
        Vendor = "vendor",
        /// A company that manages configurations and devices for customers that invited it.
        Emm = "emm",
    }
}

impl CompanyKind {
    /// Returns true if companies of this kind register devices for customers.
    #[must_use]
    pub const fn registers_devices(self) -> bool {
        matches!(self, Self::Reseller | Self::Vendor)
    }
}

closed_set! {
    /// The acceptance of the terms of service by a customer; its devices are granted nothing before.
    pub enum Terms {
        /// No terms were accepted yet.
        NotAccepted = "not_accepted",
        /// The present terms were accepted.
        Accepted = "accepted",
        /// Earlier terms were accepted, but not yet the present ones.
        Stale = "stale",
    }
}

/// A link between a customer and a company that works for it, seen from one side.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Link {
    /// The company on the other side.
    pub other: Company,
    /// The time at which the link was made.
    pub since: Timestamp,
}

/// A company.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Company {
    /// Its id.
    pub id: CompanyId,
    /// The kind of company.
    pub kind: CompanyKind,
    /// Its name, unique among companies of its kind.
    pub name: Name,
    /// The configuration of claims that name none of their own.
    pub default_configuration: Option<ConfigurationId>,
    /// The reseller of a vendor.
    pub parent: Option<CompanyId>,
    /// The acceptance of the terms of service.
    pub terms: Terms,
    /// The language of its people, as a BCP 47 tag.
    pub language: Option<String>,
    /// Its Google Workspace account, by which resellers may also name it.
    pub workspace: Option<String>,
    /// True if it may claim devices with protection.
    pub device_protection: bool,
    /// True if stations of factories may register keys for existing claims of this customer. Off by
    /// default: a claim without a key takes the first one that is registered, so that one station's
    /// credential would be enough to take over every device not yet enrolled.
    pub factory_keys: bool,
    /// The time of its creation.
    pub created_at: Timestamp,
}
