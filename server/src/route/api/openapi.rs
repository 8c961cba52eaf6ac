//! The API's description (`OpenAPI` 3.1): the table of routes with the contract of each method, and the
//! two addresses that are not methods.
//!
//! `unbox-server openapi` prints it, `GET /openapi.json` serves it, and `server/openapi.json` is the copy
//! that a test compares with this file.

use super::{
    access::{Access, Side},
    contract::{CONTRACTS, Content, Contract, Parameter},
    routes::{ROUTES, Route},
    wire::{
        form::{Form as _, Schemas},
        status::ErrorDocument,
    },
};
use crate::domain::tenancy::access::AccessScope;
use serde_json::{Map, Value, json};

/// Refusals that every method can give: HTTP status, and meaning.
const REFUSALS: &[(u16, &str)] = &[
    (400, "The request cannot be used; the details name each field and the rule that it broke."),
    (401, "Nobody is signed in: show an access token or an API key."),
    (403, "The caller may not do this, or the customer has not accepted the terms of service."),
    (429, "The quota is used up; `Retry-After` says for how many seconds."),
    (500, "The server failed."),
    (503, "The server is busy, or its database is out of order; `Retry-After` says for how many seconds."),
];
/// Refusals of methods whose path names something.
const OF_NAMES: &[(u16, &str)] = &[(404, "There is no such thing, or none that the caller may see.")];
/// Refusals of methods that read a body.
const OF_BODIES: &[(u16, &str)] = &[
    (413, "The body is larger than it may be."),
    (415, "The body is of another media type."),
    (504, "The body took too long to arrive."),
];
/// Refusals that only some methods give.
const OF_SOME: &[(u16, &str)] = &[(409, "Something else has that name, or somebody else that device.")];
/// The one answer that is neither success nor refusal.
const UNFINISHED: (u16, &str) = (308, "The upload goes on; `Range` says what is there of it.");

/// Builds the whole document.
#[must_use]
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        let Some(contract) = Contract::of(route.id) else { continue };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_ascii_lowercase(), method(route, contract));
        }
    }
    paths.insert("/token".to_owned(), json!({ "post": token() }));
    paths.insert("/batch".to_owned(), json!({ "post": batch() }));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Unbox management API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Claims, configurations and devices: the Android Device Provisioning Partner \
                API, version 1, and Unbox's own resources in the same style.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "oauth2": [] }, { "accessToken": [] }, { "apiKey": [] }, { "apiKeyInQuery": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "parameters": standard_parameters(),
            "responses": refusals(),
            "securitySchemes": security_schemes(),
        },
    })
}

/// Returns the document as text, in the form that is checked in and served.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn method(route: &Route, contract: &Contract) -> Value {
    let mut parameters: Vec<Value> = variables(route.path).map(path_parameter).collect();
    parameters.extend(contract.parameters.iter().map(own_parameter));
    let standard = standard_parameters();
    parameters.extend(standard.keys().map(|name| reference("parameters", name)));
    let mut method = json!({
        "operationId": route.id,
        "tags": [route.id.split('.').next().unwrap_or_default()],
        "summary": contract.about.trim(),
        "description": callers(route.access),
        "parameters": parameters,
        "responses": responses(route, contract),
        "security": security(route.access.side),
    });
    if !matches!(contract.request, Content::None) {
        let body = json!({ "required": true, "content": content(&contract.request) });
        insert(&mut method, "requestBody", body);
    }
    method
}

/// Lists the scopes that open a side, as a token or behind an API key; any one is enough.
fn security(side: Side) -> Vec<Value> {
    let scopes = side.scopes().iter().map(|scope| json!({ "oauth2": [scope.name()] }));
    scopes.chain(["accessToken", "apiKey", "apiKeyInQuery"].map(|name| json!({ name: [] }))).collect()
}

fn responses(route: &Route, contract: &Contract) -> Value {
    let mut responses = Map::new();
    let mut success = json!({ "description": "It is done." });
    if matches!(contract.answer, Content::None) {
        responses.insert("204".to_owned(), success);
    } else {
        insert(&mut success, "content", content(&contract.answer));
        responses.insert("200".to_owned(), success);
    }
    let names = if variables(route.path).next().is_some() { OF_NAMES } else { &[] };
    let bodies = if matches!(contract.request, Content::None) { &[] } else { OF_BODIES };
    let always = REFUSALS.iter().chain(names).chain(bodies).map(|(http, _)| *http);
    for http in always.chain(contract.refusals.iter().copied()) {
        responses.insert(http.to_string(), reference("responses", &http.to_string()));
    }
    responses.into()
}

fn content(content: &Content) -> Value {
    match content {
        Content::None => json!({}),
        Content::Message(message) => {
            json!({ "application/json": { "schema": reference("schemas", message.name) } })
        }
        Content::Stream(media_types) => {
            media_types.iter().map(|media_type| ((*media_type).to_owned(), json!({}))).collect()
        }
    }
}

/// Describes the callers of a method, in a sentence.
fn callers(access: Access) -> String {
    let who = match access.side {
        Side::Partner => "Resellers and vendors, each for itself",
        Side::Customer => "The customer and its EMMs, once it has accepted the terms of service",
        Side::CustomerBeforeTerms => "The customer and its EMMs",
        Side::AnyCustomer => "Customers and EMMs",
        Side::Operations => "Resellers and vendors",
        Side::Organisation => "Whoever belongs to the organisation, and the operator",
        Side::AnyOrganisation => "Everybody, who sees what is theirs to see",
        Side::Operator => "The operator",
    };
    format!("For: {who}. Least role: {}.", access.role)
}

/// Returns the names of the variable segments of a path.
fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

fn path_parameter(name: &str) -> Value {
    let description = format!("Which {name}.");
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": description,
        "schema": { "type": "string", "pattern": "^[^/]+$" },
    })
}

fn own_parameter(parameter: &Parameter) -> Value {
    json!({ "name": parameter.name, "in": "query", "schema": (parameter.schema)() })
}

fn standard_parameters() -> Map<String, Value> {
    [
        ("fields", json!({ "type": "string" }), "Which parts of the answer to send, such as `a,b(c,d/e)`."),
        ("prettyPrint", json!({ "type": "boolean", "default": true }), "True if the answer is indented."),
        ("quotaUser", json!({ "type": "string" }), "Passed over: a quota is the account's."),
        (
            "alt",
            json!({ "type": "string", "enum": ["json", "csv"] }),
            "The form of the answer; `csv` of files only.",
        ),
        ("$.xgafv", json!({ "type": "string", "enum": ["1", "2"] }), "The form of errors."),
        ("uploadType", json!({ "type": "string" }), "How an artifact is uploaded: `media` or `resumable`."),
        ("upload_protocol", json!({ "type": "string" }), "Passed over."),
    ]
    .into_iter()
    .map(|(name, schema, description)| {
        let parameter = json!({ "name": name, "in": "query", "schema": schema, "description": description });
        (name.replace("$.", ""), parameter)
    })
    .collect()
}

fn refusals() -> Map<String, Value> {
    let range = json!({ "Range": { "schema": { "type": "string" } } });
    let unfinished = json!({ "description": UNFINISHED.1, "headers": range });
    let refusals = [REFUSALS, OF_NAMES, OF_BODIES, OF_SOME]
        .concat()
        .into_iter()
        .map(|(http, description)| {
            let schema = reference("schemas", "ErrorDocument");
            let mut response =
                json!({ "description": description, "content": { "application/json": { "schema": schema } } });
            if matches!(http, 429 | 503) {
                insert(&mut response, "headers", json!({ "Retry-After": { "schema": { "type": "integer" } } }));
            }
            (http.to_string(), response)
        });
    refusals.chain([(UNFINISHED.0.to_string(), unfinished)]).collect()
}

fn security_schemes() -> Value {
    let scopes: Map<String, Value> = [
        (AccessScope::Provisioning, "What resellers and vendors do."),
        (AccessScope::ZeroTouch, "What customers and EMMs do."),
    ]
    .into_iter()
    .map(|(scope, about)| (scope.name().to_owned(), about.into()))
    .collect();
    json!({
        "oauth2": {
            "type": "oauth2",
            "description": "An access token for what a service account has signed (RFC 7523): see /token.",
            "flows": { "clientCredentials": { "tokenUrl": "/token", "scopes": scopes } },
        },
        "accessToken": {
            "type": "apiKey",
            "in": "query",
            "name": "access_token",
            "description": "The same access token as a parameter, also under the name oauth_token.",
        },
        "apiKey": { "type": "apiKey", "in": "header", "name": "X-Goog-Api-Key" },
        "apiKeyInQuery": { "type": "apiKey", "in": "query", "name": "key" },
    })
}

fn token() -> Value {
    let refused = |description: &str| {
        let schema = reference("schemas", "TokenRefusal");
        json!({ "description": description, "content": { "application/json": { "schema": schema } } })
    };
    json!({
        "operationId": "token",
        "tags": ["sign in"],
        "summary": "Exchanges what a service account has signed for an access token (RFC 7523).",
        "security": [],
        "requestBody": {
            "required": true,
            "content": { "application/x-www-form-urlencoded": { "schema": {
                "type": "object",
                "required": ["grant_type", "assertion"],
                "properties": {
                    "grant_type": { "const": "urn:ietf:params:oauth:grant-type:jwt-bearer" },
                    "assertion": { "type": "string", "description": "A JSON web token, signed with RS256." },
                },
            } } },
        },
        "responses": {
            "200": {
                "description": "An access token.",
                "content": { "application/json": { "schema": reference("schemas", "AccessToken") } },
            },
            "400": refused("The assertion opens nothing."),
            "408": refused("The request took too long to arrive."),
            "413": refused("The form is larger than it may be."),
            "415": refused("The body is no form."),
            "429": refused("Too many requests; `Retry-After` says for how many seconds."),
            "503": refused("The server is busy; `Retry-After` says for how many seconds."),
        },
    })
}

fn batch() -> Value {
    json!({
        "operationId": "batch",
        "tags": ["batch"],
        "summary": "Makes up to a thousand calls in one request, each with a result of its own.",
        "description": "Each part is a call in the form of HTTP. What it does not say about who asks, the \
            batch does.",
        "security": [{}, { "oauth2": [] }, { "apiKey": [] }],
        "requestBody": { "required": true, "content": { "multipart/mixed": {} } },
        "responses": {
            "200": { "description": "The answers, in their order.", "content": { "multipart/mixed": {} } },
            "400": reference("responses", "400"),
        },
    })
}

/// Returns every schema that the document refers to.
fn schemas() -> Map<String, Value> {
    let mut schemas = Schemas::new();
    ErrorDocument::add_schemas(&mut schemas);
    for contract in CONTRACTS {
        for content in [&contract.request, &contract.answer] {
            if let Content::Message(message) = content {
                (message.add_schemas)(&mut schemas);
            }
        }
    }
    let mut schemas: Map<String, Value> =
        schemas.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
    schemas.insert("AccessToken".to_owned(), access_token());
    schemas.insert("TokenRefusal".to_owned(), token_refusal());
    schemas
}

fn access_token() -> Value {
    json!({
        "type": "object",
        "description": "An access token (RFC 6749, section 5.1).",
        "required": ["access_token", "token_type", "expires_in", "scope"],
        "properties": {
            "access_token": { "type": "string", "format": "password" },
            "token_type": { "const": "Bearer" },
            "expires_in": { "type": "integer", "description": "For how many seconds it opens something." },
            "scope": { "type": "string" },
        },
    })
}

fn token_refusal() -> Value {
    json!({
        "type": "object",
        "description": "Why there is no access token (RFC 6749, section 5.2).",
        "required": ["error", "error_description"],
        "properties": {
            "error": { "type": "string" },
            "error_description": { "type": "string" },
        },
    })
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, path::Path};

    /// Collects every reference in a document.
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(to)) = fields.get("$ref") {
                    found.insert(to.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_copy_that_is_checked_in_is_the_document() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
        let copy = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            copy == text(),
            "the API has changed; renew its description with \
             `cargo run -p unbox-server -- openapi --out server/openapi.json`, and read what changed"
        );
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_component_is_referred_to() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        // They travel in a `google.protobuf.Any`, whose type is named by a field and not by its schema.
        for kind in ["Metadata", "Response"] {
            found.insert(format!("#/components/schemas/DevicesLongRunningOperation{kind}"));
        }
        let mut components = BTreeSet::new();
        for kind in ["schemas", "parameters", "responses"] {
            let names = document["components"][kind].as_object().unwrap().keys();
            components.extend(names.map(|name| format!("#/components/{kind}/{name}")));
        }
        assert_eq!(found, components);
    }

    #[test]
    fn every_method_says_who_may_call_it_and_what_can_come_back() {
        let document = document();
        for route in ROUTES {
            let method = &document["paths"][route.path][route.method.as_str().to_ascii_lowercase()];
            assert_eq!(method["operationId"], route.id);
            assert!(
                method["description"].as_str().unwrap().contains(route.access.role.name()),
                "{}",
                route.id
            );
            let done = ["200", "204"].map(|http| method["responses"].get(http).is_some());
            assert!(done.contains(&true), "{}", route.id);
            for http in ["400", "401", "403", "429", "500", "503"] {
                assert!(method["responses"].get(http).is_some(), "{} {http}", route.id);
            }
        }
    }
}
