//! `/v1/organisations/{organisation}/users` and `/serviceAccounts`: the users of the API for an organisation.

use super::{check_unchanged, non_empty, page_request, rename_field, take_mask, view};
use crate::{
    domain::tenancy::account::{Account, AccountKind, Role},
    route::api::{
        call::{Answer, Call, no_such},
        message::{
            account::{
                self, AccountState, ListServiceAccountsResponse, ListUsersResponse, ServiceAccount, User,
            },
            common::Empty,
        },
        wire::{field_mask::FieldMask, form::Written, status::Status},
    },
    service::{AccountChange, AccountsOf, NewAccount, NewHolder, Page, ServiceError},
};
use unbox_common::ids::AccountId;

/// `organisations.users.list`
pub(in crate::route::api) async fn list_users(mut call: Call) -> Answer {
    let (page, next_page_token) = page(&mut call, AccountKind::User).await?;
    let users = page.items.iter().map(view::user).collect();
    call.answer(&Written(&ListUsersResponse { users, next_page_token }))
}

/// `organisations.users.create`
pub(in crate::route::api) async fn create_user(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: User = call.message()?;
    let holder = NewHolder::User { email: asked.email, name: non_empty(asked.display_name) };
    let created = create(&call, holder, asked.role, asked.state).await?;
    call.answer(&Written(&view::user(&created)))
}

/// `organisations.users.get`
pub(in crate::route::api) async fn user(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let found = find_named_account(&call, AccountKind::User).await?;
    call.answer(&Written(&view::user(&found)))
}

/// `organisations.users.patch`
pub(in crate::route::api) async fn patch_user(mut call: Call) -> Answer {
    let mask = take_mask::<User>(&mut call)?;
    let asked: User = call.patch(&mask)?;
    let was = find_named_account(&call, AccountKind::User).await?;
    if mask.contains("email") {
        check_unchanged("email", asked.email.trim().eq_ignore_ascii_case(was.email.as_str()))?;
    }
    let name = mask.contains("displayName").then_some(asked.display_name);
    let changed = update(&call, &was, &mask, name, asked.role, asked.state).await?;
    call.answer(&Written(&view::user(&changed)))
}

/// `organisations.users.delete`
pub(in crate::route::api) async fn delete_user(call: Call) -> Answer {
    delete(call, AccountKind::User).await
}

/// `organisations.serviceAccounts.list`
pub(in crate::route::api) async fn list_service_accounts(mut call: Call) -> Answer {
    let (page, next_page_token) = page(&mut call, AccountKind::ServiceAccount).await?;
    let service_accounts = page.items.iter().map(view::service_account).collect();
    call.answer(&Written(&ListServiceAccountsResponse { service_accounts, next_page_token }))
}

/// `organisations.serviceAccounts.create`
pub(in crate::route::api) async fn create_service_account(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: ServiceAccount = call.message()?;
    let holder = NewHolder::ServiceAccount { name: asked.display_name };
    let created = create(&call, holder, asked.role, asked.state).await?;
    call.answer(&Written(&view::service_account(&created)))
}

/// `organisations.serviceAccounts.get`
pub(in crate::route::api) async fn service_account(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let found = find_named_account(&call, AccountKind::ServiceAccount).await?;
    call.answer(&Written(&view::service_account(&found)))
}

/// `organisations.serviceAccounts.patch`
pub(in crate::route::api) async fn patch_service_account(mut call: Call) -> Answer {
    let mask = take_mask::<ServiceAccount>(&mut call)?;
    let asked: ServiceAccount = call.patch(&mask)?;
    let was = find_named_account(&call, AccountKind::ServiceAccount).await?;
    if mask.contains("displayName") {
        check_unchanged("displayName", asked.display_name == was.name.as_str())?;
    }
    let changed = update(&call, &was, &mask, None, asked.role, asked.state).await?;
    call.answer(&Written(&view::service_account(&changed)))
}

/// `organisations.serviceAccounts.delete`
pub(in crate::route::api) async fn delete_service_account(call: Call) -> Answer {
    delete(call, AccountKind::ServiceAccount).await
}

async fn page(call: &mut Call, kind: AccountKind) -> Result<(Page<Account>, String), Status> {
    let of = call.company()?;
    let list = ("accounts", of, kind.name());
    let request = page_request(call, &list).await?;
    let of = AccountsOf::Company(of);
    let page = call.services().tenancy.list_accounts(&call.actor, of, Some(kind), request).await?;
    let next = call.next_page(&list, page.next.as_deref())?;
    Ok((page, next))
}

async fn create(
    call: &Call,
    holder: NewHolder,
    role: account::Role,
    state: AccountState,
) -> Result<Account, Status> {
    if state == AccountState::Disabled {
        let advice = "A new account can sign in. Create it, and disable it with a patch.";
        return Err(Status::invalid_field("state", advice));
    }
    let new = NewAccount { company: Some(call.company()?), holder, role: domain_role(role)? };
    call.services().tenancy.create_account(&call.actor, new).await.map_err(rename_field)
}

async fn update(
    call: &Call,
    was: &Account,
    mask: &FieldMask,
    name: Option<String>,
    role: account::Role,
    state: AccountState,
) -> Result<Account, Status> {
    let role = mask.contains("role").then(|| domain_role(role)).transpose()?;
    let disabled = match (mask.contains("state"), state) {
        (false, _) => None,
        (true, AccountState::Active) => Some(false),
        (true, AccountState::Disabled) => Some(true),
        (true, AccountState::Unspecified) => {
            return Err(Status::invalid_field("state", "A value is required."));
        }
    };
    let change = AccountChange { name, role, disabled };
    call.services().tenancy.update_account(&call.actor, was.id, change).await.map_err(rename_field)
}

async fn delete(mut call: Call, kind: AccountKind) -> Answer {
    call.no_more_parameters()?;
    let found = find_named_account(&call, kind).await?;
    call.services().tenancy.delete_account(&call.actor, found.id).await?;
    call.answer(&Written(&Empty {}))
}

/// Finds the account that the path names.
pub(super) async fn find_named_account(call: &Call, kind: AccountKind) -> Result<Account, Status> {
    let what = match kind {
        AccountKind::User => "user",
        AccountKind::ServiceAccount => "service account",
    };
    let id: AccountId = call.id(1, what)?;
    find_account(call, id, kind).await?.ok_or_else(|| no_such(what))
}

/// Finds an account of the path's organisation and of this kind.
pub(super) async fn find_account(
    call: &Call,
    id: AccountId,
    kind: AccountKind,
) -> Result<Option<Account>, Status> {
    let organisation = call.company()?;
    match call.services().tenancy.account(&call.actor, id).await {
        Ok(found) => Ok(Some(found).filter(|one| one.company == Some(organisation) && one.kind == kind)),
        Err(ServiceError::NotFound { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

fn domain_role(role: account::Role) -> Result<Role, Status> {
    match role {
        account::Role::Viewer => Ok(Role::Viewer),
        account::Role::Admin => Ok(Role::Admin),
        account::Role::Owner => Ok(Role::Owner),
        account::Role::Station => Ok(Role::Station),
        account::Role::Unspecified => Err(Status::invalid_field("role", "A value is required.")),
    }
}
