//! The scopes of OAuth, and the account behind an API key or access token.

use super::{account::Role, actor::Actor, company::CompanyKind};
use crate::domain::{
    closed_set::closed_set,
    name::{Name, UnknownWord},
};
use std::{collections::BTreeSet, fmt, str::FromStr};
use unbox_common::ids::{AccountId, CompanyId};

closed_set! {
    /// A part of the API that a token opens (RFC 6749, section 3.3), named as clients of the Android Device
    /// Provisioning Partner API request it.
    pub enum AccessScope {
        /// Access for resellers and vendors: `/v1/partners` and its operations.
        Provisioning = "https://www.googleapis.com/auth/androidworkprovisioning",
        /// Access for customers and EMMs: `/v1/customers`.
        ZeroTouch = "https://www.googleapis.com/auth/androidworkzerotouchemm",
    }
}

/// A set of access scopes; as text, their names separated by spaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessScopes(BTreeSet<AccessScope>);

/// The account that an API key or access token belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account.
    pub account: AccountId,
    /// The name that people use for it.
    pub name: Name,
    /// The company of the account, and the kind of company; `None` for the operator's accounts.
    pub tenant: Option<(CompanyId, CompanyKind)>,
    /// The role, which says what the account may do.
    pub role: Role,
    /// The parts of the API that it may use.
    pub scopes: AccessScopes,
}

impl AccessScopes {
    /// Returns every scope that an account of such a company may request, which is also the default; `None`
    /// stands for the operator.
    #[must_use]
    pub fn of(kind: Option<CompanyKind>) -> Self {
        Self(match kind {
            Some(CompanyKind::Reseller | CompanyKind::Vendor) => BTreeSet::from([AccessScope::Provisioning]),
            Some(CompanyKind::Customer | CompanyKind::Emm) => BTreeSet::from([AccessScope::ZeroTouch]),
            None => AccessScope::ALL.iter().copied().collect(),
        })
    }

    /// Returns true if this part of the API is open.
    #[must_use]
    pub fn contains(&self, scope: AccessScope) -> bool {
        self.0.contains(&scope)
    }

    /// Returns the scopes granted to an account that may have `allowed`: all of `allowed` if none were
    /// requested, and `None` if more were requested than allowed.
    #[must_use]
    pub fn restrict_to(self, allowed: Self) -> Option<Self> {
        if self.0.is_empty() { Some(allowed) } else { self.0.is_subset(&allowed.0).then_some(self) }
    }
}

impl FromStr for AccessScopes {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        text.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for AccessScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, scope) in self.0.iter().enumerate() {
            write!(f, "{}{scope}", if number == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl Principal {
    /// Returns the company of the account; `None` for the operator's.
    #[must_use]
    pub fn company(&self) -> Option<CompanyId> {
        self.tenant.map(|(company, _)| company)
    }

    /// Returns the kind of that company.
    #[must_use]
    pub fn company_kind(&self) -> Option<CompanyKind> {
        self.tenant.map(|(_, kind)| kind)
    }

    /// Returns the account as an actor within its own company, with its own role. An EMM's own company owns
    /// nothing: the EMM becomes an actor of its customers once their link has been checked
    /// ([`Self::actor_for`]).
    #[must_use]
    pub fn actor(&self) -> Actor {
        let actor = match self.tenant {
            None => Actor::operator(&self.signature()),
            Some((company, CompanyKind::Reseller | CompanyKind::Vendor)) => {
                Actor::of_reseller(&self.signature(), company)
            }
            Some((company, CompanyKind::Customer | CompanyKind::Emm)) => {
                Actor::of_customer(&self.signature(), company)
            }
        };
        actor.with_role(self.role).with_account(self.account)
    }

    /// Returns the account as an actor for this customer.
    #[must_use]
    pub fn actor_for(&self, customer: CompanyId) -> Actor {
        Actor::of_customer(&self.signature(), customer)
            .with_role(self.role)
            .with_company(self.company())
            .with_account(self.account)
    }

    /// Returns the name used in the audit trail.
    fn signature(&self) -> String {
        format!("account {} {}", self.account, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::actor::Scope;
    use super::*;

    const BOTH: &str = "https://www.googleapis.com/auth/androidworkprovisioning https://www.googleapis.com/auth/androidworkzerotouchemm";

    fn scopes(text: &str) -> AccessScopes {
        text.parse().unwrap()
    }

    #[test]
    fn scopes_read_and_write_the_same() {
        assert_eq!(scopes(BOTH).to_string(), BOTH);
        assert_eq!(scopes(&format!(" {BOTH}  {BOTH}")).to_string(), BOTH);
        assert!("https://www.googleapis.com/auth/cloud-platform".parse::<AccessScopes>().is_err());
    }

    #[test]
    fn an_account_gets_what_its_company_may_have_and_no_more() {
        let (reseller, customer) =
            (AccessScopes::of(Some(CompanyKind::Reseller)), AccessScopes::of(Some(CompanyKind::Customer)));
        assert_eq!(scopes("").restrict_to(reseller.clone()), Some(reseller.clone()));
        assert_eq!(reseller.clone().restrict_to(reseller.clone()), Some(reseller.clone()));
        assert_eq!(reseller.clone().restrict_to(customer), None);
        assert_eq!(scopes(BOTH).restrict_to(reseller.clone()), None);
        assert_eq!(reseller.clone().restrict_to(AccessScopes::of(None)), Some(reseller));
    }

    #[test]
    fn a_principal_acts_within_its_company_and_role() {
        let company = CompanyId::new(7).unwrap();
        let principal = Principal {
            account: AccountId::new(42).unwrap(),
            name: "order-system".parse().unwrap(),
            tenant: Some((company, CompanyKind::Customer)),
            role: Role::Viewer,
            scopes: AccessScopes::of(Some(CompanyKind::Customer)),
        };
        let actor = principal.actor();
        assert_eq!((actor.name(), actor.role()), ("account 42 order-system", Role::Viewer));
        assert_eq!((actor.scope().company(), actor.account()), (Some(company), Some(principal.account)));
        for (kind, scope) in [
            (CompanyKind::Reseller, Scope::Reseller(company)),
            (CompanyKind::Vendor, Scope::Reseller(company)),
            (CompanyKind::Emm, Scope::Customer(company)),
        ] {
            let principal = Principal { tenant: Some((company, kind)), ..principal.clone() };
            assert_eq!(principal.actor().scope(), scope, "{kind}");
        }
        let customer = CompanyId::new(8).unwrap();
        let actor = principal.actor_for(customer);
        assert_eq!((actor.scope(), actor.role()), (Scope::Customer(customer), Role::Viewer));
        assert_eq!(actor.company(), Some(company), "it still belongs to its own");
        assert_eq!(actor.account(), Some(principal.account));
        let operator = Principal { tenant: None, ..principal };
        assert_eq!(operator.actor().scope(), Scope::Operator);
    }
}
