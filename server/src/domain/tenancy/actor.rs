//! The actor behind a request, and the tenant whose data it may see.

use super::account::Role;
use std::fmt;
use unbox_common::ids::{AccountId, CompanyId, DeviceId};

/// The part of the data that a request may touch. The store adds it to every query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The operator of this server: everything.
    Operator,
    /// One customer's data.
    Customer(CompanyId),
    /// The claims that one reseller registered, and the customers that it registers for.
    Reseller(CompanyId),
}

impl Scope {
    /// Returns the company of the actor, of any kind; `None` for the operator. Accounts and their
    /// credentials are visible to their own company alone.
    #[must_use]
    pub const fn company(self) -> Option<CompanyId> {
        match self {
            Self::Operator => None,
            Self::Customer(company) | Self::Reseller(company) => Some(company),
        }
    }

    /// Returns true if all of `customer`'s data is in scope. A reseller sees only part of it.
    #[must_use]
    pub fn covers(self, customer: CompanyId) -> bool {
        match self {
            Self::Operator => true,
            Self::Customer(own) => own == customer,
            Self::Reseller(_) => false,
        }
    }
}

/// Somebody who acts: a name for the audit trail, a scope, and a role within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    name: String,
    scope: Scope,
    role: Role,
    company: Option<CompanyId>,
    account: Option<AccountId>,
}

impl Actor {
    /// Returns the operator, under the name that the audit trail shows.
    #[must_use]
    pub fn operator(name: &str) -> Self {
        Self {
            name: name.chars().filter(|char| !char.is_control()).take(64).collect(),
            scope: Scope::Operator,
            role: Role::Owner,
            company: None,
            account: None,
        }
    }

    /// Returns an actor for one customer.
    #[must_use]
    pub fn of_customer(name: &str, customer: CompanyId) -> Self {
        Self { scope: Scope::Customer(customer), company: Some(customer), ..Self::operator(name) }
    }

    /// Returns an actor for one reseller.
    #[must_use]
    pub fn of_reseller(name: &str, reseller: CompanyId) -> Self {
        Self { scope: Scope::Reseller(reseller), company: Some(reseller), ..Self::operator(name) }
    }

    /// Returns a device that acts for itself.
    #[must_use]
    pub fn device(device: DeviceId, customer: CompanyId) -> Self {
        Self {
            scope: Scope::Customer(customer),
            role: Role::Viewer,
            ..Self::operator(&format!("device {device}"))
        }
    }

    /// Returns the same actor with this role in place of an owner's.
    #[must_use]
    pub fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// Returns the same actor as a member of this company: an EMM acts for customers that are not its own.
    #[must_use]
    pub fn with_company(self, company: Option<CompanyId>) -> Self {
        Self { company, ..self }
    }

    /// Returns the same actor with this account, which may be disabled while an operation runs.
    #[must_use]
    pub fn with_account(self, account: AccountId) -> Self {
        Self { account: Some(account), ..self }
    }

    /// Returns the name that the audit trail shows.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the scope.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        self.scope
    }

    /// Returns the company that the actor belongs to, whether or not it acts for that company now; `None`
    /// for the operator and for devices.
    #[must_use]
    pub const fn company(&self) -> Option<CompanyId> {
        self.company
    }

    /// Returns true if the actor represents this company itself: as one of its own people, or as the operator.
    /// An EMM that acts for a customer does not.
    #[must_use]
    pub fn speaks_for(&self, company: CompanyId) -> bool {
        self.company.is_none_or(|own| own == company)
    }

    /// Returns the account by which it acts; `None` for commands on the server's machine, and for devices.
    #[must_use]
    pub const fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// Returns the role within the scope.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
