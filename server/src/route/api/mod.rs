//! The management API: the Android Device Provisioning Partner API, and Unbox's own resources in
//! the same style.
//!
//! * [`routes`]: every method on one screen, with its access; [`contract`]: the messages of each, by which
//!   `openapi.rs` describes the API;
//! * `call.rs`: the way of a call, to its handler and back; `access.rs`: the right to make it;
//! * `partner/`, `customer.rs`, `operation.rs`, `organisation/`: the handlers, one for each side;
//!   `station.rs`: the methods of factories' test stations, `factory.rs`: the records that they leave;
//!   `artifact.rs`, `enrollment.rs`: the customers' resources that are Unbox's own;
//!   `batch.rs`: many calls in one request; `batched_items.rs`: many devices in one call; `streamed_list.rs`:
//!   lists that may be long;
//! * `claims_file.rs`: methods whose body or answer is a CSV file, in `body_writer.rs` and `spool.rs`;
//! * [`message`]: the requests and answers themselves, one file for each family; `view.rs` and
//!   `identifier.rs` translate between them and the services' types;
//! * [`wire`]: the forms that all requests and answers share; nothing in it knows a device;
//! * `token.rs`: the sign-in of programs; `quota.rs`: the rate of each account's requests.
//!
//! To add a method: its row in the table, its contract, its messages, its handler, and a test for each
//! refusal; then `unbox-server openapi --out server/openapi.json`.

pub mod access;
mod artifact;
pub(super) mod batch;
mod batched_items;
mod body_writer;
mod call;
mod claims_file;
pub mod contract;
mod customer;
mod enrollment;
mod factory;
mod identifier;
pub mod message;
pub mod openapi;
mod operation;
mod organisation;
mod partner;
pub(super) mod quota;
pub mod routes;
mod spool;
mod station;
mod streamed_list;
pub(super) mod token;
mod view;
pub mod wire;

use super::App;
use axum::{
    Router,
    extract::{RawPathParams, Request, State},
    http::{HeaderValue, Method as HttpMethod, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, any, on},
};
use call::Method;
use contract::Contract;
use routes::ROUTES;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};
use wire::{
    name::normalised_path,
    query::Standard,
    status::{Code, Status},
};

/// Routes the methods of the table.
pub(super) fn router() -> Router<Arc<App>> {
    let mut methods: BTreeMap<String, Vec<Verb>> = BTreeMap::new();
    for route in ROUTES {
        let method = Method { route, contract: Contract::of(route.id) };
        // A segment of a route is a variable or a text: a verb behind a variable is split off here.
        let (path, verb) = match route.path.split_once("}:") {
            Some((path, verb)) => (format!("{path}}}"), Some(verb)),
            None => (route.path.to_owned(), None),
        };
        methods.entry(path).or_default().push(Verb { verb, method });
    }
    methods.into_iter().fold(Router::new(), |router, (path, methods)| {
        if methods.iter().any(|one| one.verb.is_some()) {
            let methods: Arc<[Verb]> = methods.into();
            let handler = async move |State(app): State<Arc<App>>, path: RawPathParams, request: Request| {
                call_by_verb(app, &methods, variables(&path), request).await
            };
            return router.route(&path, any(handler));
        }
        methods.into_iter().fold(router, |router, Verb { method, .. }| {
            let handler = async move |State(app): State<Arc<App>>, path: RawPathParams, request: Request| {
                call::call(app, method, variables(&path), request).await
            };
            match MethodFilter::try_from(method.route.method.clone()) {
                Ok(filter) => router.route(&path, on(filter, handler)),
                Err(_) => router,
            }
        })
    })
}

/// A method, and the verb behind the last variable of its path.
struct Verb {
    verb: Option<&'static str>,
    method: Method,
}

fn variables(path: &RawPathParams) -> Vec<String> {
    path.iter().map(|(_, value)| value.to_owned()).collect()
}

/// Passes a request to the method that its verb and its HTTP method name together.
async fn call_by_verb(app: Arc<App>, methods: &[Verb], mut path: Vec<String>, request: Request) -> Response {
    let last = path.last().map(String::as_str).unwrap_or_default();
    let is_named = |verb: &&str| last.strip_suffix(*verb).is_some_and(|variable| variable.ends_with(':'));
    let verb = methods.iter().filter_map(|one| one.verb).find(is_named);
    if verb.is_none() && last.contains(':') {
        return no_such_method(StatusCode::NOT_FOUND, "There is nothing at this path.");
    }
    if let (Some(verb), Some(last)) = (verb, path.last_mut()) {
        last.truncate(last.len() - verb.len() - 1);
    }
    let with_verb = || methods.iter().filter(|one| one.verb == verb).map(|one| one.method);
    let asked = if request.method() == HttpMethod::HEAD { &HttpMethod::GET } else { request.method() };
    if let Some(method) = with_verb().find(|method| method.route.method == *asked) {
        return call::call(app, method, path, request).await;
    }
    let mut allowed: Vec<&str> = with_verb().map(|method| method.route.method.as_str()).collect();
    if allowed.contains(&"GET") {
        allowed.push("HEAD");
    }
    let mut response = no_such_method(StatusCode::METHOD_NOT_ALLOWED, "This path takes another method.");
    if let Ok(allowed) = HeaderValue::try_from(allowed.join(",")) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// `GET /openapi.json`
pub(super) async fn description() -> Response {
    static TEXT: LazyLock<String> = LazyLock::new(openapi::text);
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}

/// Decodes the path of a request: some clients encode the slashes of a name that stands in it.
pub(super) fn plain_path(mut request: Request) -> Result<Request, Box<Response>> {
    let path = request.uri().path();
    if !is_path(path) {
        return Ok(request);
    }
    let refused = |status: &Status| Box::new(call::refusal(status, &Standard::default()));
    let plain = normalised_path(path).map_err(|status| refused(&status))?;
    if plain != path {
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let uri: Uri = format!("{plain}{query}")
            .parse()
            .map_err(|_| refused(&Status::new(Code::InvalidArgument, "The path cannot be read.")))?;
        *request.uri_mut() = uri;
    }
    Ok(request)
}

/// Returns true if a path belongs to this API.
pub(super) fn is_path(path: &str) -> bool {
    path.starts_with("/v1/") || path.starts_with("/upload/v1/")
}

/// Answers for a path below `/v1` that is not a method: in the form of this API.
pub(super) fn no_such_method(http: StatusCode, detail: &str) -> Response {
    let code = if http == StatusCode::NOT_FOUND { Code::NotFound } else { Code::Unimplemented };
    let status = Status::new(code, detail).with_http(http.as_u16());
    call::refusal(&status, &Standard::default())
}
