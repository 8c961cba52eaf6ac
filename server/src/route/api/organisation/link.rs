//! `/v1/organisations/{organisation}/links`: the companies that work for a customer, by its own decision.

use super::{page_request, view};
use crate::{
    domain::tenancy::{
        actor::Scope,
        company::{Company, CompanyKind, Link},
    },
    route::api::{
        call::{Answer, Call, no_such},
        message::{
            common::Empty,
            organisation::{Link as Message, ListLinksResponse},
        },
        wire::{
            form::Written,
            status::{Code, Status},
        },
    },
    service::{PageRequest, ServiceError},
};
use unbox_common::ids::CompanyId;

/// `organisations.links.list`
pub(in crate::route::api) async fn list(mut call: Call) -> Answer {
    let id = call.company()?;
    let list = ("links", id);
    let request = page_request(&mut call, &list).await?;
    let of = call.services().tenancy.company(&call.actor, id).await?;
    let page = call.services().tenancy.list_links(&call.actor, &of, request).await?;
    let links = page.items.iter().map(|link| view::link(&of, link)).collect();
    let next_page_token = call.next_page(&list, page.next.as_deref())?;
    call.answer(&Written(&ListLinksResponse { links, next_page_token }))
}

/// `organisations.links.create`. Repeating it changes nothing.
pub(in crate::route::api) async fn create(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: Message = call.message()?;
    let of = find_decider(&call).await?;
    let Some(other) = asked.organisation.map(|name| name.organisation) else {
        return Err(Status::invalid_field("organisation", "A value is required."));
    };
    let (company, customer) = order_ends(&of, other);
    let linked = call.services().tenancy.set_works_for(&call.actor, company, customer, true).await;
    linked.map_err(|error| match error {
        ServiceError::NotFound { .. } => Status::invalid_field("organisation", missing_link_rule(&of)),
        other => other.into(),
    })?;
    let link = find_link(&call, &of, other).await?.ok_or_else(|| no_such("link"))?;
    call.answer(&Written(&view::link(&of, &link)))
}

/// `organisations.links.delete`. Claims stay, and belong to the customer alone from then on.
pub(in crate::route::api) async fn delete(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let other: CompanyId = call.id(1, "link")?;
    let of = find_decider(&call).await?;
    find_link(&call, &of, other).await?.ok_or_else(|| no_such("link"))?;
    let (company, customer) = order_ends(&of, other);
    call.services().tenancy.set_works_for(&call.actor, company, customer, false).await?;
    call.answer(&Written(&Empty {}))
}

/// Returns the organisation of the path, if the caller may decide about its links.
async fn find_decider(call: &Call) -> Result<Company, Status> {
    let of = call.services().tenancy.company(&call.actor, call.company()?).await?;
    if of.kind == CompanyKind::Customer || call.actor.scope() == Scope::Operator {
        return Ok(of);
    }
    let text = "Who works for a customer is the customer's decision. Ask one of its owners.";
    Err(Status::new(Code::PermissionDenied, text))
}

/// Returns the company that works, and the customer that it works for.
fn order_ends(of: &Company, other: CompanyId) -> (CompanyId, CompanyId) {
    if of.kind == CompanyKind::Customer { (other, of.id) } else { (of.id, other) }
}

fn missing_link_rule(of: &Company) -> &'static str {
    if of.kind == CompanyKind::Customer {
        "There is no such reseller, vendor or EMM."
    } else {
        "There is no such customer."
    }
}

/// Finds the link with another company: the list is ordered by its id, so the link follows the id before.
async fn find_link(call: &Call, of: &Company, other: CompanyId) -> Result<Option<Link>, Status> {
    let before = (other.get() - 1).to_string();
    let request = PageRequest { size: Some(1), after: Some(before) };
    let page = call.services().tenancy.list_links(&call.actor, of, request).await?;
    Ok(page.items.into_iter().find(|link| link.other.id == other))
}
