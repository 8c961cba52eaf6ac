//! Organisations and what belongs to them, as messages.

use super::resource;
use crate::{
    domain::tenancy::{
        account::{Account, AccountKind, Role},
        audit::Entry,
        company::{Company, CompanyKind, Link, Terms},
        credential::{ApiKey, ServiceAccountKey},
    },
    route::api::{
        message::{
            account::{self, AccountState, KeyState},
            audit::AuditEntry,
            company::TermsStatus,
            organisation::{self, OrganisationKind},
        },
        wire::name::{
            ApiKeyName, AuditEntryName, LinkName, OrganisationName, ServiceAccountKeyName,
            ServiceAccountName, UserName,
        },
    },
};
use serde_json::Value;
use unbox_common::{
    ids::{AccountId, CompanyId},
    secret::Secret,
    timestamp::Timestamp,
};

/// Writes an organisation as a message.
pub(super) fn organisation(of: &Company) -> organisation::Organisation {
    organisation::Organisation {
        name: resource(of.id),
        organisation_id: Some(of.id),
        kind: kind(of.kind),
        display_name: of.name.to_string(),
        parent: of.parent.map(|organisation| OrganisationName { organisation }),
        terms_status: match of.terms {
            Terms::NotAccepted => TermsStatus::NotAccepted,
            Terms::Accepted => TermsStatus::Accepted,
            Terms::Stale => TermsStatus::Stale,
        },
        language_code: of.language.clone().unwrap_or_default(),
        google_workspace_customer_id: of.workspace.clone().unwrap_or_default(),
        device_protection: of.device_protection,
        factory_keys_allowed: of.factory_keys,
        warnings: Vec::new(),
        create_time: Some(of.created_at),
    }
}

const fn kind(of: CompanyKind) -> OrganisationKind {
    match of {
        CompanyKind::Customer => OrganisationKind::Customer,
        CompanyKind::Reseller => OrganisationKind::Reseller,
        CompanyKind::Vendor => OrganisationKind::Vendor,
        CompanyKind::Emm => OrganisationKind::Emm,
    }
}

/// Returns the kind that a message names, if it names one.
pub(super) fn company_kind(of: OrganisationKind) -> Option<CompanyKind> {
    CompanyKind::ALL.iter().copied().find(|one| kind(*one) == of)
}

/// Writes a link as a message, seen from `of`.
pub(super) fn link(of: &Company, link: &Link) -> organisation::Link {
    organisation::Link {
        name: LinkName { organisation: of.id, link: link.other.id }.to_string(),
        organisation: Some(OrganisationName { organisation: link.other.id }),
        display_name: link.other.name.to_string(),
        kind: kind(link.other.kind),
        create_time: Some(link.since),
    }
}

/// Writes a person as a message.
pub(super) fn user(of: &Account) -> account::User {
    account::User {
        name: account_name(of.company, of.kind, of.id),
        user_id: Some(of.id),
        email: of.email.to_string(),
        display_name: of.name.to_string(),
        role: role(of.role),
        state: state(of),
        create_time: Some(of.created_at),
        disable_time: of.disabled_at,
    }
}

/// Writes a program as a message.
pub(super) fn service_account(of: &Account) -> account::ServiceAccount {
    account::ServiceAccount {
        name: account_name(of.company, of.kind, of.id),
        service_account_id: Some(of.id),
        display_name: of.name.to_string(),
        email: of.email.to_string(),
        role: role(of.role),
        state: state(of),
        create_time: Some(of.created_at),
        disable_time: of.disabled_at,
    }
}

const fn role(of: Role) -> account::Role {
    match of {
        Role::Viewer => account::Role::Viewer,
        Role::Admin => account::Role::Admin,
        Role::Owner => account::Role::Owner,
        Role::Station => account::Role::Station,
    }
}

const fn state(of: &Account) -> AccountState {
    if of.disabled_at.is_some() { AccountState::Disabled } else { AccountState::Active }
}

/// Returns the name of an account; the operator's accounts belong to no organisation, and have none here.
fn account_name(company: Option<CompanyId>, kind: AccountKind, id: AccountId) -> String {
    let Some(organisation) = company else { return String::new() };
    match kind {
        AccountKind::User => UserName { organisation, user: id }.to_string(),
        AccountKind::ServiceAccount => ServiceAccountName { organisation, service_account: id }.to_string(),
    }
}

/// Writes a key of a service account as a message, without its private half.
pub(super) fn key(of: &Account, key: &ServiceAccountKey, now: Timestamp) -> account::ServiceAccountKey {
    let name = of.company.zip(key.id.to_string().parse().ok()).map(|(organisation, key)| {
        ServiceAccountKeyName { organisation, service_account: of.id, key }.to_string()
    });
    account::ServiceAccountKey {
        name: name.unwrap_or_default(),
        key_id: key.id.to_string(),
        state: key_state(key.revoked_at, key.expires_at, now),
        create_time: Some(key.created_at),
        expire_time: key.expires_at,
        revoke_time: key.revoked_at,
        ..account::ServiceAccountKey::default()
    }
}

/// Writes an API key as a message, without its secret.
pub(super) fn api_key(organisation: CompanyId, key: &ApiKey, now: Timestamp) -> account::ApiKey {
    account::ApiKey {
        name: ApiKeyName { organisation, api_key: key.id }.to_string(),
        api_key_id: Some(key.id),
        account: account_name(key.company, key.account_kind, key.account),
        display_name: key.name.to_string(),
        key_prefix: key.prefix.clone(),
        key_string: Secret::default(),
        state: key_state(key.revoked_at, key.expires_at, now),
        create_time: Some(key.created_at),
        expire_time: key.expires_at,
        revoke_time: key.revoked_at,
        last_use_time: key.last_used_at,
    }
}

fn key_state(revoked_at: Option<Timestamp>, expires_at: Option<Timestamp>, now: Timestamp) -> KeyState {
    match (revoked_at, expires_at) {
        (Some(_), _) => KeyState::Revoked,
        (None, Some(end)) if end <= now => KeyState::Expired,
        _ => KeyState::Active,
    }
}

/// Writes an entry of this organisation's audit trail as a message.
pub(super) fn audit_entry(organisation: CompanyId, of: Entry) -> AuditEntry {
    let name = AuditEntryName { organisation, audit_entry: of.id.unsigned_abs() };
    AuditEntry {
        name: name.to_string(),
        first_time: Some(of.at),
        last_time: Some(of.last_at),
        count: i64::try_from(of.count).unwrap_or(i64::MAX),
        actor: of.actor,
        actor_organisation: of.company.map(resource).unwrap_or_default(),
        action: of.action.to_string(),
        subject: of.subject.to_string(),
        organisation: of.customer.map(resource).unwrap_or_default(),
        detail: match of.detail {
            Value::Object(fields) => fields,
            _ => serde_json::Map::new(),
        },
    }
}
