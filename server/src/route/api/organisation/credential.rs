//! The keys that accounts of an organisation sign in with: keys of service accounts, and API keys. Secrets
//! are answered once, by the method that makes them.

use super::{
    account::{find_account, find_named_account},
    non_empty, page_request, rename_field, view,
};
use crate::{
    domain::tenancy::{
        account::AccountKind,
        credential::{ApiKey, KeyId, ServiceAccountKey},
    },
    route::api::{
        call::{Answer, Call, no_such},
        message::{
            account::{
                ApiKey as ApiKeyMessage, ListApiKeysResponse, ListServiceAccountKeysResponse,
                RotateApiKeyRequest, RotateServiceAccountKeyRequest, ServiceAccountKey as KeyMessage,
            },
            common::Empty,
        },
        wire::{
            form::Written,
            name::{ServiceAccountName, UserName},
            status::Status,
        },
    },
    service::{KeysOf, MAX_ROWS, NewApiKey, PageRequest, ServiceAccountKeyFile, ServiceError, base_url},
};
use axum::http::header;
use unbox_common::{
    bytes::to_base64,
    ids::{AccountId, ApiKeyId},
    secret::Secret,
};
use url::{Host, Url};

/// `organisations.serviceAccounts.keys.list`. An account has few keys: there are no pages.
pub(in crate::route::api) async fn list_keys(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let account = find_named_account(&call, AccountKind::ServiceAccount).await?;
    let (mut keys, mut after) = (Vec::new(), None);
    loop {
        let request = PageRequest { size: Some(MAX_ROWS), after };
        let page =
            call.services().tenancy.list_service_account_keys(&call.actor, account.id, request).await?;
        let now = call.services().now();
        keys.extend(page.items.iter().map(|key| view::key(&account, key, now)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    call.answer(&Written(&ListServiceAccountKeysResponse { keys }))
}

/// `organisations.serviceAccounts.keys.create`
pub(in crate::route::api) async fn create_key(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: KeyMessage = call.message()?;
    let account = find_named_account(&call, AccountKind::ServiceAccount).await?;
    let services = call.services();
    let now = services.now();
    let Some(public_key) = non_empty(asked.public_key) else {
        let base_url = find_base_url(&call, &asked.base_url)?;
        let made = services
            .tenancy
            .create_service_account_key(&call.actor, account.id, &base_url, asked.expire_time)
            .await
            .map_err(rename_field)?;
        let key = view::key(&account, &made.0, now);
        return call.answer(&Written(&with_file(key, &made.1)?));
    };
    if !asked.base_url.is_empty() {
        let rule = "Only a key that is made here has a key file. Leave out baseUrl or publicKey.";
        return Err(Status::invalid_field("baseUrl", rule));
    }
    let taken = services
        .tenancy
        .add_service_account_key(&call.actor, account.id, &public_key, asked.expire_time)
        .await
        .map_err(rename_field)?;
    call.answer(&Written(&view::key(&account, &taken, now)))
}

/// `organisations.serviceAccounts.keys.rotate`
pub(in crate::route::api) async fn rotate_key(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: RotateServiceAccountKeyRequest = call.message()?;
    let account = find_named_account(&call, AccountKind::ServiceAccount).await?;
    let old = find_key(&call, account.id, &asked.key_id).await?;
    let old = old.ok_or_else(|| Status::invalid_field("keyId", "This service account has no such key."))?;
    let base_url = find_base_url(&call, &asked.base_url)?;
    let services = call.services();
    let made = services
        .tenancy
        .rotate_service_account_key(&call.actor, &old.id, &base_url, asked.overlap.unwrap_or_default())
        .await
        .map_err(rename_field)?;
    let key = view::key(&account, &made.0, services.now());
    call.answer(&Written(&with_file(key, &made.1)?))
}

/// `organisations.serviceAccounts.keys.delete`: revokes it. It stays in the list, as revoked.
pub(in crate::route::api) async fn delete_key(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let account = find_named_account(&call, AccountKind::ServiceAccount).await?;
    let id: String = call.id(2, "key")?;
    let key = find_key(&call, account.id, &id).await?.ok_or_else(|| no_such("key"))?;
    call.services().tenancy.revoke_service_account_key(&call.actor, &key.id).await?;
    call.answer(&Written(&Empty {}))
}

/// `organisations.apiKeys.list`
pub(in crate::route::api) async fn list_api_keys(mut call: Call) -> Answer {
    let organisation = call.company()?;
    let account = call.own.text("account")?;
    let list = ("API keys", organisation, account.clone());
    let request = page_request(&mut call, &list).await?;
    let of = match account {
        Some(account) => KeysOf::Account(find_account_id(&call, &account).await?),
        None => KeysOf::Company(organisation),
    };
    let page = call.services().tenancy.list_api_keys(&call.actor, of, request).await?;
    let now = call.services().now();
    let api_keys = page.items.iter().map(|key| view::api_key(organisation, key, now)).collect();
    let next_page_token = call.next_page(&list, page.next.as_deref())?;
    call.answer(&Written(&ListApiKeysResponse { api_keys, next_page_token }))
}

/// `organisations.apiKeys.create`
pub(in crate::route::api) async fn create_api_key(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: ApiKeyMessage = call.message()?;
    let account = find_account_id(&call, &asked.account).await?;
    let new = NewApiKey { account, name: asked.display_name, expires_at: asked.expire_time };
    let (key, secret) =
        call.services().tenancy.create_api_key(&call.actor, new).await.map_err(rename_field)?;
    answer_with_secret(&call, &key, secret)
}

/// `organisations.apiKeys.get`
pub(in crate::route::api) async fn api_key(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let key = find_api_key(&call, call.id(1, "API key")?).await?.ok_or_else(|| no_such("API key"))?;
    let now = call.services().now();
    call.answer(&Written(&view::api_key(call.company()?, &key, now)))
}

/// `organisations.apiKeys.rotate`
pub(in crate::route::api) async fn rotate_api_key(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: RotateApiKeyRequest = call.message()?;
    let old = match asked.api_key_id {
        Some(id) => find_api_key(&call, id).await?,
        None => None,
    };
    let old =
        old.ok_or_else(|| Status::invalid_field("apiKeyId", "This organisation has no such API key."))?;
    let overlap = asked.overlap.unwrap_or_default();
    let (key, secret) =
        call.services().tenancy.rotate_api_key(&call.actor, old.id, overlap).await.map_err(rename_field)?;
    answer_with_secret(&call, &key, secret)
}

/// `organisations.apiKeys.delete`: revokes it. It stays in the list, as revoked.
pub(in crate::route::api) async fn delete_api_key(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let key = find_api_key(&call, call.id(1, "API key")?).await?.ok_or_else(|| no_such("API key"))?;
    call.services().tenancy.revoke_api_key(&call.actor, key.id).await?;
    call.answer(&Written(&Empty {}))
}

fn answer_with_secret(call: &Call, key: &ApiKey, secret: Secret) -> Answer {
    let now = call.services().now();
    let message = view::api_key(call.company()?, key, now);
    call.answer(&Written(&ApiKeyMessage { key_string: secret, ..message }))
}

fn with_file(key: KeyMessage, file: &ServiceAccountKeyFile) -> Result<KeyMessage, Status> {
    let json = Secret::new(serde_json::to_string_pretty(file).map_err(|_| Status::internal())?);
    Ok(KeyMessage { private_key_data: Secret::new(to_base64(json.expose().as_bytes())), ..key })
}

/// Finds a key of this service account.
async fn find_key(call: &Call, account: AccountId, id: &str) -> Result<Option<ServiceAccountKey>, Status> {
    let Ok(id) = id.parse::<KeyId>() else { return Ok(None) };
    match call.services().tenancy.service_account_key(&call.actor, &id).await {
        Ok(found) => Ok(Some(found).filter(|key| key.account == account)),
        Err(ServiceError::NotFound { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// Finds an API key of the path's organisation.
async fn find_api_key(call: &Call, id: ApiKeyId) -> Result<Option<ApiKey>, Status> {
    let organisation = call.company()?;
    match call.services().tenancy.api_key(&call.actor, id).await {
        Ok(found) => Ok(Some(found).filter(|key| key.company == Some(organisation))),
        Err(ServiceError::NotFound { .. }) => Ok(None),
        Err(other) => Err(other.into()),
    }
}

/// Finds the account of the path's organisation that a message names.
async fn find_account_id(call: &Call, name: &str) -> Result<AccountId, Status> {
    let user = name.parse().map(|name: UserName| (name.organisation, name.user, AccountKind::User));
    let program = name.parse().map(|name: ServiceAccountName| {
        (name.organisation, name.service_account, AccountKind::ServiceAccount)
    });
    let refused =
        || Status::invalid_field("account", "Expected a user or service account of this organisation.");
    match user.or(program) {
        Ok((organisation, id, kind)) if organisation == call.company()? => {
            let found = find_account(call, id, kind).await?;
            found.map(|account| account.id).ok_or_else(refused)
        }
        _ => Err(refused()),
    }
}

/// Returns the address of this server for its clients: as given, as this request used it, or as in the
/// settings.
fn find_base_url(call: &Call, given: &str) -> Result<Url, Status> {
    if !given.is_empty() {
        return base_url(given).map_err(|rule| Status::invalid_field("baseUrl", rule));
    }
    let reached = call.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let plain = call.peer.is_some_and(|peer| peer.plain);
    let url = || call.services().settings().url.clone();
    reached.and_then(|host| url_of_host(host, plain)).or_else(url).ok_or_else(|| {
        Status::invalid_field(
            "baseUrl",
            "Expected where clients reach this server: the request does not tell.",
        )
    })
}

/// Builds the URL of a server that was reached as `host`, with or without a port. Without TLS, the client
/// is on this very machine, or a proxy in front of it speaks TLS.
fn url_of_host(host: &str, plain: bool) -> Option<Url> {
    let bracketed = host.parse::<std::net::Ipv6Addr>().map(|address| format!("[{address}]"));
    let host = bracketed.unwrap_or_else(|_| host.to_owned());
    let url: Url = format!("https://{host}").parse().ok()?;
    let only_host = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let local = match url.host()? {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let url = if plain && local { format!("http://{host}").parse().ok()? } else { url };
    base_url(url.as_str()).ok().filter(|_| only_host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_leads_back_to_where_its_request_came() {
        for (host, plain, url) in [
            ("enroll.example.com", false, Some("https://enroll.example.com/")),
            ("enroll.example.com:8443", false, Some("https://enroll.example.com:8443/")),
            ("enroll.example.com", true, Some("https://enroll.example.com/")),
            ("127.0.0.1:8080", true, Some("http://127.0.0.1:8080/")),
            ("127.0.0.1:8443", false, Some("https://127.0.0.1:8443/")),
            ("[::1]:8080", true, Some("http://[::1]:8080/")),
            ("2001:db8::7", false, Some("https://[2001:db8::7]/")),
            ("user@enroll.example.com", false, None),
            ("enroll.example.com/x", false, None),
            ("enroll.example.com?x", false, None),
            ("a b", false, None),
            ("", true, None),
        ] {
            assert_eq!(url_of_host(host, plain).as_ref().map(Url::as_str), url, "{host}");
        }
    }
}
