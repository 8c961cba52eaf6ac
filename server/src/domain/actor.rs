//! Who asks for something, and which tenant's things they may see.

use std::fmt;
use unbox_common::ids::{CompanyId, DeviceId};

/// Whose things a request may touch. The store adds it to every query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The operator of this server: everything.
    Operator,
    /// One customer's things.
    Customer(CompanyId),
    /// What one reseller has registered, and the customers that it registers for.
    Reseller(CompanyId),
}

impl Scope {
    /// Whether everything of `customer` is within; of what a reseller registers for it, it may not be.
    #[must_use]
    pub fn covers(self, customer: CompanyId) -> bool {
        match self {
            Self::Operator => true,
            Self::Customer(own) => own == customer,
            Self::Reseller(_) => false,
        }
    }
}

/// Whoever acts: their name for the audit trail, and their scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    name: String,
    scope: Scope,
}

impl Actor {
    /// The operator, under the name that the audit trail shows.
    #[must_use]
    pub fn operator(name: &str) -> Self {
        Self {
            name: name.chars().filter(|char| !char.is_control()).take(64).collect(),
            scope: Scope::Operator,
        }
    }

    /// Somebody who acts for one customer.
    #[must_use]
    pub fn of_customer(name: &str, customer: CompanyId) -> Self {
        Self { scope: Scope::Customer(customer), ..Self::operator(name) }
    }

    /// Somebody who acts for one reseller.
    #[must_use]
    pub fn of_reseller(name: &str, reseller: CompanyId) -> Self {
        Self { scope: Scope::Reseller(reseller), ..Self::operator(name) }
    }

    /// A device that acts for itself.
    #[must_use]
    pub fn device(device: DeviceId, customer: CompanyId) -> Self {
        Self { name: format!("device {device}"), scope: Scope::Customer(customer) }
    }

    /// The name that the audit trail shows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What they may see.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
