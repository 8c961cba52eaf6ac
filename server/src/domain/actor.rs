//! Who asks for something, and which tenant's things they may see.

use super::account::Role;
use std::fmt;
use unbox_common::ids::{AccountId, CompanyId, DeviceId};

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
    /// The company that somebody belongs to, of whichever kind; `None` for the operator. Accounts and
    /// what they sign in with are seen by their own company alone.
    #[must_use]
    pub const fn company(self) -> Option<CompanyId> {
        match self {
            Self::Operator => None,
            Self::Customer(company) | Self::Reseller(company) => Some(company),
        }
    }

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

/// Whoever acts: their name for the audit trail, their scope, and what they may do within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    name: String,
    scope: Scope,
    role: Role,
    company: Option<CompanyId>,
    account: Option<AccountId>,
}

impl Actor {
    /// The operator, under the name that the audit trail shows.
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

    /// Somebody who acts for one customer.
    #[must_use]
    pub fn of_customer(name: &str, customer: CompanyId) -> Self {
        Self { scope: Scope::Customer(customer), company: Some(customer), ..Self::operator(name) }
    }

    /// Somebody who acts for one reseller.
    #[must_use]
    pub fn of_reseller(name: &str, reseller: CompanyId) -> Self {
        Self { scope: Scope::Reseller(reseller), company: Some(reseller), ..Self::operator(name) }
    }

    /// A device that acts for itself.
    #[must_use]
    pub fn device(device: DeviceId, customer: CompanyId) -> Self {
        Self {
            scope: Scope::Customer(customer),
            role: Role::Viewer,
            ..Self::operator(&format!("device {device}"))
        }
    }

    /// The same, with this role in place of an owner's.
    #[must_use]
    pub fn with_role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same, as somebody of this company: an EMM acts for customers that are not its own.
    #[must_use]
    pub fn belonging_to(self, company: Option<CompanyId>) -> Self {
        Self { company, ..self }
    }

    /// The same, by this account, which may end while something goes on.
    #[must_use]
    pub fn with_account(self, account: AccountId) -> Self {
        Self { account: Some(account), ..self }
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

    /// The company that they belong to, for which they may act or not; `None` for the operator and for
    /// devices.
    #[must_use]
    pub const fn company(&self) -> Option<CompanyId> {
        self.company
    }

    /// Whether they speak for this company itself: as one of its own people, or as the operator. An EMM,
    /// which acts for a customer, does not.
    #[must_use]
    pub fn speaks_for(&self, company: CompanyId) -> bool {
        self.company.is_none_or(|own| own == company)
    }

    /// The account by which they act; `None` for commands on the server's machine, and for devices.
    #[must_use]
    pub const fn account(&self) -> Option<AccountId> {
        self.account
    }

    /// What they may do there.
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
