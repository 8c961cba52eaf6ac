//! `/v1/organisations`: an organisation's view of itself, and the operator's of all of them.
//!
//! This file holds the organisations; `link.rs` their links, `account.rs` and `credential.rs` accounts and
//! keys, `audit.rs` the audit trail. `view.rs` turns all of them into messages.

pub(super) mod account;
pub(super) mod audit;
pub(super) mod credential;
pub(super) mod link;
mod view;

use super::{
    call::{Answer, Call},
    message::{
        common::Empty,
        company::TermsStatus,
        organisation::{ListOrganisationsResponse, Organisation as Message, OrganisationKind},
    },
    wire::{
        detail::FieldViolation, enums::WireEnum as _, field_mask::FieldMask, form::Written, status::Status,
    },
};
use crate::{
    domain::tenancy::company::{Company, CompanyKind, Terms},
    service::{CompanyChange, CompanyFilter, NewCompany, PageRequest, ServiceError},
};
use serde::Serialize;
use unbox_common::ids::CompanyId;

/// The rows of a page: the default, and the maximum.
const ROWS: (i64, i64) = (100, 1000);

/// `organisations.list`
pub(in crate::route::api) async fn list(mut call: Call) -> Answer {
    let kind = call.own.text("kind")?.map(|word| parse_kind(&word)).transpose()?;
    let list = ("organisations", call.principal.company(), kind.map(CompanyKind::name));
    let request = page_request(&mut call, &list).await?;
    let page =
        call.services().tenancy.list_companies(&call.actor, CompanyFilter::of_kind(kind), request).await?;
    let organisations = page.items.iter().map(view::organisation).collect();
    let next_page_token = call.next_page(&list, page.next.as_deref())?;
    call.answer(&Written(&ListOrganisationsResponse { organisations, next_page_token }))
}

fn parse_kind(word: &str) -> Result<CompanyKind, Status> {
    let named = OrganisationKind::ALL.iter().copied().find(|kind| kind.name() == word);
    named.and_then(view::company_kind).ok_or_else(|| {
        Status::invalid_field("kind", "Expected a kind of organisation, such as ORGANISATION_KIND_CUSTOMER.")
    })
}

/// `organisations.create`
pub(in crate::route::api) async fn create(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: Message = call.message()?;
    let Some(kind) = view::company_kind(asked.kind) else {
        return Err(Status::invalid_field("kind", "A value is required."));
    };
    if asked.terms_status != TermsStatus::Unspecified {
        let rule = "What the operator creates begins with terms accepted. Change them with a patch.";
        return Err(Status::invalid_field("termsStatus", rule));
    }
    if asked.factory_keys_allowed {
        let rule = "A new customer lets no factory register keys for its claims. Its owner changes that with a patch.";
        return Err(Status::invalid_field("factoryKeysAllowed", rule));
    }
    let new = NewCompany {
        kind,
        name: asked.display_name,
        parent: asked.parent.map(|parent| parent.organisation),
        language: non_empty(asked.language_code),
        workspace: non_empty(asked.google_workspace_customer_id),
        device_protection: asked.device_protection,
    };
    let created = call.services().tenancy.create_company(&call.actor, new).await.map_err(rename_field)?;
    answer_named(&call, &created, true).await
}

/// `organisations.get`
pub(in crate::route::api) async fn get(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let found = call.services().tenancy.company(&call.actor, call.company()?).await?;
    call.answer(&Written(&view::organisation(&found)))
}

/// `organisations.patch`
pub(in crate::route::api) async fn patch(mut call: Call) -> Answer {
    let mask = take_mask::<Message>(&mut call)?;
    let asked: Message = call.patch(&mask)?;
    let id = call.company()?;
    if mask.contains("kind") {
        let was = call.services().tenancy.company(&call.actor, id).await?;
        check_unchanged("kind", view::company_kind(asked.kind) == Some(was.kind))?;
    }
    let terms = match (mask.contains("termsStatus"), asked.terms_status) {
        (false, _) => None,
        (true, TermsStatus::NotAccepted) => Some(Terms::NotAccepted),
        (true, TermsStatus::Accepted) => Some(Terms::Accepted),
        (true, TermsStatus::Stale) => Some(Terms::Stale),
        (true, TermsStatus::Unspecified) => {
            return Err(Status::invalid_field("termsStatus", "A value is required."));
        }
    };
    let change = CompanyChange {
        name: mask.contains("displayName").then_some(asked.display_name),
        language: mask.contains("languageCode").then(|| non_empty(asked.language_code)),
        terms,
        workspace: mask
            .contains("googleWorkspaceCustomerId")
            .then(|| non_empty(asked.google_workspace_customer_id)),
        device_protection: mask.contains("deviceProtection").then_some(asked.device_protection),
        factory_keys: mask.contains("factoryKeysAllowed").then_some(asked.factory_keys_allowed),
        parent: mask.contains("parent").then(|| asked.parent.map(|parent| parent.organisation)),
    };
    let changed =
        call.services().tenancy.update_company(&call.actor, id, change).await.map_err(rename_field)?;
    answer_named(&call, &changed, mask.contains("displayName")).await
}

/// Answers with an organisation; with a new name, also with the warning about it.
async fn answer_named(call: &Call, company: &Company, is_new: bool) -> Answer {
    let alike = if is_new {
        call.services().tenancy.confusable_name_warning(&call.actor, company).await?
    } else {
        None
    };
    let organisation = Message { warnings: alike.into_iter().collect(), ..view::organisation(company) };
    call.answer(&Written(&organisation))
}

/// `organisations.delete`
pub(in crate::route::api) async fn delete(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    call.services().tenancy.delete_company(&call.actor, call.company()?).await?;
    call.answer(&Written(&Empty {}))
}

/// Renames a field in an error: services have their own names, messages have others.
fn rename_field(error: ServiceError) -> Status {
    match error {
        ServiceError::Invalid { field, rule } => {
            let field = match field {
                "name" => "displayName",
                "language" => "languageCode",
                "terms" => "termsStatus",
                "workspace" => "googleWorkspaceCustomerId",
                "device_protection" => "deviceProtection",
                "factory_keys" => "factoryKeysAllowed",
                "expires_at" => "expireTime",
                "public_key" => "publicKey",
                other => other,
            };
            Status::invalid_field(field, rule)
        }
        ServiceError::NotFound { what: "reseller", .. } => {
            Status::invalid_field("parent", "There is no such reseller.")
        }
        other => other.into(),
    }
}

/// Takes the mask of a patch, its only parameter.
fn take_mask<T: super::wire::message::Message>(call: &mut Call) -> Result<FieldMask, Status> {
    let mask = call.own.text("updateMask")?.unwrap_or_default();
    call.no_more_parameters()?;
    FieldMask::parse::<T>(&mask).map_err(|violation| Status::invalid(vec![violation]))
}

/// Refuses to change a field that never changes; sending its present value is fine.
fn check_unchanged(field: &'static str, is_the_same: bool) -> Result<(), Status> {
    if is_the_same {
        return Ok(());
    }
    Err(Status::invalid(vec![FieldViolation::new(field, "It never changes. Create another one.")]))
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Reads the page parameters of this list, whose own parameters have been taken.
async fn page_request(call: &mut Call, list: &(impl Serialize + Sync)) -> Result<PageRequest, Status> {
    let size = call.own.integer("pageSize")?.unwrap_or(ROWS.0);
    let token = call.own.text("pageToken")?.unwrap_or_default();
    call.no_more_parameters()?;
    if !(1..=ROWS.1).contains(&size) {
        return Err(Status::invalid_field("pageSize", format!("Expected 1 to {}.", ROWS.1)));
    }
    let after = call.page_after(list, &token)?;
    let size = u32::try_from(size).ok();
    call.hold_rows(size.unwrap_or_default()).await?;
    Ok(PageRequest { size, after })
}

/// Returns the organisation's own path, as resources of others name it.
fn resource(organisation: CompanyId) -> String {
    super::wire::name::OrganisationName { organisation }.to_string()
}
