//! The right to call a method: its side of the API, its role, and the company that the path names.

use super::wire::{
    detail::Reason,
    status::{Code, Status},
};
use crate::{
    domain::tenancy::{
        access::{AccessScope, Principal},
        account::Role,
        actor::Actor,
        company::{CompanyKind, Terms},
    },
    service::{ServiceError, Services},
};
use unbox_common::ids::CompanyId;

/// The side of the API that a method is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `/v1/partners/{partner}`: resellers and vendors, each for itself.
    Partner,
    /// `/v1/customers/{customer}`: the customer, and EMMs that work for it.
    Customer,
    /// The same before the customer has accepted the terms of service.
    CustomerBeforeTerms,
    /// `/v1/customers`: customers and EMMs, who see the customers that they act for.
    AnyCustomer,
    /// `/v1/operations`: resellers and vendors.
    Operations,
    /// `/v1/organisations/{organisation}`: members of the organisation, and the operator.
    Organisation,
    /// `/v1/organisations`: everybody, each within what they may see.
    AnyOrganisation,
    /// The operator of this server alone.
    Operator,
}

/// The requirements of a method for its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The side that it is on.
    pub side: Side,
    /// The least role.
    pub role: Role,
    /// True if test stations may call it, too.
    pub stations: bool,
}

impl Access {
    fn allows(self, role: Role) -> bool {
        role >= self.role || (role == Role::Station && self.stations)
    }
}

impl Side {
    /// Returns the scopes that open this side: any one of them is enough.
    pub(super) const fn scopes(self) -> &'static [AccessScope] {
        match self {
            Self::Partner | Self::Operations => &[AccessScope::Provisioning],
            Self::Customer | Self::CustomerBeforeTerms | Self::AnyCustomer => &[AccessScope::ZeroTouch],
            Self::Organisation | Self::AnyOrganisation | Self::Operator => AccessScope::ALL,
        }
    }
}

/// Returns the caller as an actor; `named` is the company in the path.
///
/// # Errors
/// [`Code::PermissionDenied`] for the wrong side or role; [`Code::NotFound`] for a company that does not
/// exist, or is not theirs: the answers are equal.
pub(super) async fn actor(
    services: &Services,
    principal: &Principal,
    access: Access,
    named: Option<CompanyId>,
) -> Result<Actor, Status> {
    if !access.side.scopes().iter().any(|scope| principal.scopes.contains(*scope)) {
        return Err(forbidden("This account is not for this side of the API."));
    }
    if !access.allows(principal.role) {
        return Err(forbidden(&format!(
            "This takes the role {} or one above it. Ask an owner of your organisation.",
            access.role
        )));
    }
    // A station works for its own organisation, even if that works for others.
    if principal.role == Role::Station && principal.company() != named {
        let message = "There is no such organisation that this station belongs to.";
        return Err(Status::new(Code::NotFound, message));
    }
    match (access.side, named) {
        (Side::Partner, Some(partner)) => partner_actor(principal, partner),
        (Side::Operations | Side::AnyCustomer | Side::AnyOrganisation, _) => Ok(principal.actor()),
        (Side::Operator, _) if principal.tenant.is_none() => Ok(principal.actor()),
        (Side::Operator, _) => Err(forbidden(&ServiceError::OperatorOnly.to_string())),
        (Side::Organisation, Some(named)) => organisation_actor(services, principal, named).await,
        (side, Some(customer)) => {
            let actor = services.tenancy.actor_for_customer(principal, customer).await?;
            if side == Side::Customer {
                let company = services.tenancy.company(&actor, customer).await?;
                if company.terms != Terms::Accepted {
                    return Err(Status::terms_not_accepted());
                }
            }
            Ok(actor)
        }
        (_, None) => Err(Status::internal()),
    }
}

async fn organisation_actor(
    services: &Services,
    principal: &Principal,
    named: CompanyId,
) -> Result<Actor, Status> {
    let actor = principal.actor();
    match principal.company() {
        Some(own) if own != named => {
            let message = format!("There is no organisation {named} that this account belongs to.");
            Err(Status::new(Code::NotFound, message))
        }
        _ => {
            services.tenancy.company(&actor, named).await?;
            Ok(actor)
        }
    }
}

fn partner_actor(principal: &Principal, partner: CompanyId) -> Result<Actor, Status> {
    let own = match principal.tenant {
        Some((own, CompanyKind::Reseller | CompanyKind::Vendor)) => own == partner,
        _ => false,
    };
    if own {
        return Ok(principal.actor());
    }
    let message = format!("There is no partner {partner} that this account acts for.");
    let metadata = [("partner", partner.to_string())];
    Err(Status::new(Code::NotFound, message).with_error_info(Reason::InvalidResellerId, metadata))
}

fn forbidden(message: &str) -> Status {
    Status::new(Code::PermissionDenied, message).with_reason(Reason::AuthorizationFail)
}
