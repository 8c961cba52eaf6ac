//! What a request may be about: the scopes of OAuth, and who holds an access token.

use super::{
    account::Role,
    actor::Actor,
    company::CompanyKind,
    name::{Name, UnknownWord},
    words::words,
};
use std::{collections::BTreeSet, fmt, str::FromStr};
use unbox_common::ids::{AccountId, CompanyId};

words! {
    /// A part of the API that a token opens (RFC 6749, section 3.3), by the names that clients of the
    /// Android Device Provisioning Partner API ask for.
    pub enum AccessScope {
        /// What resellers and vendors do: `/v1/partners` and its operations.
        Provisioning = "https://www.googleapis.com/auth/androidworkprovisioning",
        /// What customers and EMMs do: `/v1/customers`.
        ZeroTouch = "https://www.googleapis.com/auth/androidworkzerotouchemm",
    }
}

/// The parts of the API that a token opens; names apart by a space in text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessScopes(BTreeSet<AccessScope>);

/// Whoever asks, once they have shown an API key or an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The account.
    pub account: AccountId,
    /// What people call it.
    pub name: Name,
    /// Whose it is, and what that company is here; `None` if it is the operator's.
    pub tenant: Option<(CompanyId, CompanyKind)>,
    /// What it may do.
    pub role: Role,
    /// Which parts of the API it may use.
    pub scopes: AccessScopes,
}

impl AccessScopes {
    /// All that an account of such a company may ask for, and what it gets if it asks for nothing;
    /// without a company it is the operator's.
    #[must_use]
    pub fn of(kind: Option<CompanyKind>) -> Self {
        Self(match kind {
            Some(CompanyKind::Reseller | CompanyKind::Vendor) => BTreeSet::from([AccessScope::Provisioning]),
            Some(CompanyKind::Customer | CompanyKind::Emm) => BTreeSet::from([AccessScope::ZeroTouch]),
            None => AccessScope::ALL.iter().copied().collect(),
        })
    }

    /// Whether this part of the API is open.
    #[must_use]
    pub fn contains(&self, scope: AccessScope) -> bool {
        self.0.contains(&scope)
    }

    /// What these scopes, asked for by an account that may have `allowed`, come to: all of `allowed` if
    /// nothing was asked for, and `None` if more was.
    #[must_use]
    pub fn within(self, allowed: Self) -> Option<Self> {
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
    /// The company it belongs to; `None` for the operator's.
    #[must_use]
    pub fn company(&self) -> Option<CompanyId> {
        self.tenant.map(|(company, _)| company)
    }

    /// What that company is here.
    #[must_use]
    pub fn company_kind(&self) -> Option<CompanyKind> {
        self.tenant.map(|(_, kind)| kind)
    }

    /// It as one who acts, within its own company and with its own role. An EMM's own company owns
    /// nothing: for the customers that it works for it becomes an actor of theirs, once somebody has
    /// looked whether it does ([`Self::actor_for`]).
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

    /// It as one who acts for this customer.
    #[must_use]
    pub fn actor_for(&self, customer: CompanyId) -> Actor {
        Actor::of_customer(&self.signature(), customer)
            .with_role(self.role)
            .belonging_to(self.company())
            .with_account(self.account)
    }

    /// How the audit trail names it.
    fn signature(&self) -> String {
        format!("account {} {}", self.account, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::actor::Scope;

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
        assert_eq!(scopes("").within(reseller.clone()), Some(reseller.clone()));
        assert_eq!(reseller.clone().within(reseller.clone()), Some(reseller.clone()));
        assert_eq!(reseller.clone().within(customer), None);
        assert_eq!(scopes(BOTH).within(reseller.clone()), None);
        assert_eq!(reseller.clone().within(AccessScopes::of(None)), Some(reseller));
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
