//! One call of a method: from a request to a handler, and from its answer or status to a response.

use super::{
    access,
    contract::Contract,
    routes::{Handler, Route},
    wire::{
        answer::{self, CONTENT_TYPE},
        body::{decode, decode_patch},
        field_mask::FieldMask,
        form::Written,
        message::Message,
        query::{Alt, Own, Query, Standard},
        status::{Code, FormatVersion, Status},
    },
};
use crate::{
    domain::tenancy::{access::Principal, actor::Actor, company::CompanyKind},
    route::{
        App, Peer, RouteError, address_key,
        body::{self, WholeBody},
        budget::{Holder, Holders, NoneFree, Reservation},
    },
    service::{MAX_ROWS, Services},
};
use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use flate2::read::MultiGzDecoder;
use serde::Serialize;
use std::{io::Read, str::FromStr, sync::Arc, time::Duration};
use tokio::time::timeout;
use unbox_common::{ids::CompanyId, secret::Secret};

/// The largest body of most methods, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The rows of a page if the request does not say.
const PAGE: i64 = 100;
/// The pause before the next try for a place that others of the same company have.
const PLACE_PAUSE: Duration = Duration::from_secs(10);
/// The memory for a row of a list until its text is sent: as an entity, as a message and as text.
const ROW_BYTES: usize = 8 * 1024;

/// The input of a handler: the caller, the method's subject, and the parameters.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    pub(super) actor: Actor,
    pub(super) principal: Principal,
    /// The variable segments of the path, in their order.
    pub(super) path: Vec<String>,
    pub(super) own: Own,
    pub(super) headers: HeaderMap,
    pub(super) peer: Option<Peer>,
    /// Empty if the handler gets the body as a stream.
    pub(super) body: Bytes,
    /// The holders of the memory.
    pub(super) holders: Holders,
    /// The memory that is held during the call.
    memory: Vec<Reservation>,
    /// True if the request came without TLS.
    pub(super) plain: bool,
    /// A place among the streams, if the call is one.
    pub(super) place: Option<Reservation>,
    standard: Standard,
    limit: usize,
    contract: Option<&'static Contract>,
}

/// The mark of a request from a batch, whose answers are held in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Batched;

/// The answer of a handler.
pub(super) type Answer = Result<Reply, Status>;

/// The body of an answer.
pub(super) enum Reply {
    /// The whole body.
    Whole(Vec<u8>),
    /// A body that is written while it is sent.
    Parts(Body),
}

impl Reply {
    /// Returns the body, which holds memory until it is sent.
    pub(super) fn into_body(self, app: &App, holders: Holders) -> Body {
        match self {
            Self::Whole(bytes) => app.memory.open(holders).with_bytes(bytes).into(),
            Self::Parts(body) => body,
        }
    }
}

impl Call {
    pub(super) fn services(&self) -> &Services {
        &self.app.services
    }

    /// Returns a segment of the path that is an id.
    pub(super) fn id<T: FromStr>(&self, at: usize, what: &str) -> Result<T, Status> {
        let text = self.path.get(at).map(String::as_str).unwrap_or_default();
        text.parse().map_err(|_| no_such(what))
    }

    /// Returns the company at the beginning of the path.
    pub(super) fn company(&self) -> Result<CompanyId, Status> {
        self.id(0, "company")
    }

    /// Parses the message of the request. The method's own parameters must be taken first.
    pub(super) fn message<T: Message>(&self) -> Result<T, Status> {
        debug_assert!(self.contract.is_none_or(|contract| contract.request.is_message::<T>()), "{}", T::NAME);
        decode(&self.body, self.limit)
    }

    /// Parses the message of a PATCH.
    pub(super) fn patch<T: Message>(&self, mask: &FieldMask) -> Result<T, Status> {
        debug_assert!(self.contract.is_none_or(|contract| contract.request.is_message::<T>()), "{}", T::NAME);
        decode_patch(&self.body, self.limit, mask)
    }

    /// Returns the number of rows that are asked for, of a list of Unbox's own. Waits for memory for them.
    pub(super) async fn page_size(&mut self) -> Result<u32, Status> {
        let size = self.own.integer("pageSize")?.filter(|size| *size != 0).unwrap_or(PAGE);
        let size = u32::try_from(size).ok().filter(|size| *size <= MAX_ROWS);
        let size =
            size.ok_or_else(|| Status::invalid_field("pageSize", format!("Expected 1 to {MAX_ROWS}.")))?;
        self.hold_rows(size).await?;
        Ok(size)
    }

    /// Waits for memory for this many rows, and holds it until the answer is written.
    pub(super) async fn hold_rows(&mut self, rows: u32) -> Result<(), Status> {
        let bytes = usize::try_from(rows.min(MAX_ROWS)).unwrap_or(usize::MAX).saturating_mul(ROW_BYTES);
        let patience = self.app.memory_patience();
        self.memory.push(self.app.memory.wait(self.holders, bytes, patience).await?);
        Ok(())
    }

    /// Returns the row after which a page starts, in the services' form; `list` is everything that determines
    /// the list.
    pub(super) fn page_after(&self, list: &impl Serialize, token: &str) -> Result<Option<String>, Status> {
        Ok(self.app.page_tokens.open(list, token)?.map(|key| key.to_string()))
    }

    /// Returns the token of the page that follows this row; empty if there is none.
    pub(super) fn next_page(&self, list: &impl Serialize, row: Option<&str>) -> Result<String, Status> {
        match row.map(str::parse) {
            Some(Ok(key)) => self.app.page_tokens.issue(list, key),
            _ => Ok(String::new()),
        }
    }

    /// Refuses all parameters that are left, except the standard ones.
    pub(super) fn no_more_parameters(&mut self) -> Result<(), Status> {
        std::mem::replace(&mut self.own, Own::empty()).finish()
    }

    /// Returns the way in which bytes are uploaded, if the query has it.
    pub(super) fn upload_type(&self) -> Option<&str> {
        self.standard.upload_type.as_deref()
    }

    /// Returns true if the caller may know the resellers of devices: EMMs work for a customer, and not with its
    /// resellers.
    pub(super) fn sees_resellers(&self) -> bool {
        self.principal.company_kind() != Some(CompanyKind::Emm)
    }

    /// Returns a reader of an arriving body, for a thread that may block.
    ///
    /// # Errors
    /// If the body is compressed.
    pub(super) fn reader(&self, body: Body) -> Result<impl Read + Send + use<>, Status> {
        body::expect_plain(&self.headers).map_err(body_error)?;
        Ok(body::blocking_reader(&self.app, body))
    }

    /// Returns a reader of a long list's body, which may be compressed, for a thread that may block.
    ///
    /// # Errors
    /// If it has another type, is too large, or is compressed by anything but gzip.
    pub(super) fn items_reader(&self, body: Body) -> Result<Box<dyn Read + Send>, Status> {
        let is_packed = body::check_items(&self.headers, &body, self.limit).map_err(body_error)?;
        let bytes = body::blocking_reader(&self.app, body);
        Ok(if is_packed { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) })
    }

    /// Reads a whole body, of a method that also gets streams.
    pub(super) async fn read_whole(&self, body: Body, limit: usize) -> Result<Bytes, Status> {
        let whole = body::read_parts(&self.app, self.holders, (&self.headers, body), limit, 1).await;
        Ok(whole.map_err(body_error)?.into_parts().0)
    }

    /// Writes the message of the answer.
    pub(super) fn answer<T: Message>(&self, message: &Written<'_, T>) -> Answer {
        debug_assert!(self.has_answer::<T>(), "{}", T::NAME);
        answer::respond(message, &self.standard).map(Reply::Whole)
    }

    /// Returns true if the contract of the method has this message as its answer.
    pub(super) fn has_answer<T: Message>(&self) -> bool {
        self.contract.is_none_or(|contract| contract.answer.is_message::<T>())
    }

    /// Returns the largest size of the body, in bytes.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the parameters that every method has.
    pub(super) const fn standard(&self) -> &Standard {
        &self.standard
    }

    /// Returns the requested form of a file. Only whole rows can be requested.
    pub(super) fn form_of_file(&self) -> Result<Option<Alt>, Status> {
        match &self.standard.fields {
            Some(_) => Err(Status::invalid_field("fields", "The answer is a file, and comes whole.")),
            None => Ok(self.standard.alt),
        }
    }
}

/// Makes the refusal for a thing that does not exist, or is not theirs.
pub(super) fn no_such(what: &str) -> Status {
    Status::new(Code::NotFound, format!("There is no such {what}."))
}

/// A row of the table of routes, and its contract.
#[derive(Clone, Copy)]
pub(super) struct Method {
    pub(super) route: &'static Route,
    pub(super) contract: Option<&'static Contract>,
}

/// Passes a request to the handler of its route.
pub(super) async fn call(app: Arc<App>, method: Method, path: Vec<String>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let asks_first = head.headers.contains_key(header::EXPECT);
    let mut body = Some(body);
    let mut response = answer_or_refuse(app.clone(), method, path, head, &mut body).await;
    if let Some(unread) = body {
        discard_unread(&app, unread, asks_first, &mut response).await;
    }
    response
}

/// Reads and discards an unread body. Clients send it after its head, and more requests after it: a body
/// that is left unread would break the connection of a client that did nothing wrong.
pub(super) async fn discard_unread(app: &App, unread: Body, asks_first: bool, response: &mut Response) {
    // A client that asks before sending the body gets its "no" with the answer.
    if asks_first || !body::discard(app, unread, MAX_BODY_BYTES).await {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

async fn answer_or_refuse(
    app: Arc<App>,
    method: Method,
    path: Vec<String>,
    head: Parts,
    body: &mut Option<Body>,
) -> Response {
    let query = Query::parse(head.uri.query());
    let (mut standard, own) = match query {
        Ok(query) => (query.standard, query.own),
        Err(status) => return refusal(&status, &Standard::default()),
    };
    let by_header = head.headers.get(FormatVersion::HEADER).and_then(|value| value.to_str().ok());
    if let Some(format) = by_header.and_then(FormatVersion::parse) {
        standard.format = format;
    }
    let outcome = run_method(app, method, path, (head, body), standard.clone(), own).await;
    match outcome {
        Ok(response) => response,
        Err(status) => refusal(&status, &standard),
    }
}

async fn run_method(
    app: Arc<App>,
    Method { route, contract }: Method,
    path: Vec<String>,
    (head, body): (Parts, &mut Option<Body>),
    standard: Standard,
    own: Own,
) -> Result<Response, Status> {
    let peer = head.extensions.get::<Peer>().copied();
    let batched = head.extensions.get::<Batched>().is_some();
    let principal = authenticate(&app, peer.as_ref(), &head.headers, &standard).await?;
    let holders = holders(peer.as_ref(), Some(&principal));
    app.count_query(principal.account).map_err(|wait| {
        let subject = format!("account:{}", principal.account);
        Status::quota_exceeded(subject, "This account asked more often than it may.", wait)
    })?;
    let named = path.first().map(|text| text.parse::<CompanyId>());
    let named = match named.transpose() {
        Ok(named) => named,
        // Not every path begins with a company; those that do name one by number.
        Err(_) if route.access.side == access::Side::Operations => None,
        Err(_) => return Err(no_such("company")),
    };
    let actor = access::actor(&app.services, &principal, route.access, named).await?;
    if let Some(contract) = contract {
        contract.check(&own, &standard)?;
    }
    let busy = || Status::busy();
    let headers = head.headers.clone();
    let call = Call {
        app: app.clone(),
        actor,
        principal,
        path,
        own,
        headers,
        peer,
        body: Bytes::new(),
        holders,
        memory: Vec::new(),
        plain: peer.is_some_and(|peer| peer.plain),
        place: None,
        standard,
        limit: route.limit,
        contract,
    };
    match route.handler {
        Handler::Message(handle) => {
            call.standard.only_json()?;
            let request = Request::from_parts(head, body.take().unwrap_or_default());
            let (body, memory) = read_body(&app, holders, request, route.limit).await?.into_parts();
            let _place = app.requests.try_acquire().map_err(|_| busy())?;
            let call = Call { body, memory: vec![memory], ..call };
            let handled = timeout(app.request_timeout, handle(call)).await;
            Ok(json(handled.map_err(|_| busy())??.into_body(&app, holders)))
        }
        Handler::Items(handle) => {
            call.standard.only_json()?;
            let place = take_place(&app, holders)?;
            let body = body.take().unwrap_or_default();
            let reply = handle(Call { place: Some(place), ..call }, body).await?;
            Ok(json(reply.into_body(&app, holders)))
        }
        Handler::Stream(_) if batched => {
            let text = "This method takes or gives a stream, and is no part of a batch. Call it by itself.";
            Err(Status::new(Code::InvalidArgument, text))
        }
        Handler::Stream(handle) => {
            let place = take_place(&app, holders)?;
            handle(Call { place: Some(place), ..call }, body.take().unwrap_or_default()).await
        }
    }
}

/// Takes one of the places for streams, of which a company gets only its share.
fn take_place(app: &App, holders: Holders) -> Result<Reservation, Status> {
    app.streams.reserve(holders.without_address(), 1).map_err(|why| match why {
        NoneFree::All => Status::busy(),
        NoneFree::Share => {
            let rule = "Too many imports, exports and uploads at the same time. Wait for the end of one.";
            Status::quota_exceeded("organisation", rule, PLACE_PAUSE)
        }
    })
}

/// Makes an answer in JSON. Some hold secrets, so none may be cached.
fn json(body: Body) -> Response {
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE), (header::CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

/// Returns the holders of a request's memory. A known caller counts for their company.
pub(super) fn holders(peer: Option<&Peer>, principal: Option<&Principal>) -> Holders {
    let known = principal.map(|principal| match principal.company() {
        Some(company) => Holder::Company(company),
        None => Holder::Account(principal.account),
    });
    Holders { address: peer.map(address_key), known }
}

/// Identifies the caller: by the header, or by a parameter.
async fn authenticate(
    app: &App,
    peer: Option<&Peer>,
    headers: &HeaderMap,
    standard: &Standard,
) -> Result<Principal, Status> {
    let known = authenticate_if_present(app, peer, headers, standard).await?;
    known.ok_or_else(|| Status::new(Code::Unauthenticated, NO_CREDENTIALS))
}

/// Identifies the caller, if the request itself has a credential.
pub(super) async fn authenticate_if_present(
    app: &App,
    peer: Option<&Peer>,
    headers: &HeaderMap,
    standard: &Standard,
) -> Result<Option<Principal>, Status> {
    let Some(secret) = credential(headers, standard)? else { return Ok(None) };
    let outcome = app.services.tenancy.authenticate(&secret).await;
    // Guesses are counted by address; a known caller has a quota of its own.
    if let (Err(_), Some(peer)) = (&outcome, peer) {
        app.by_address.check(address_key(peer)).map_err(|wait| {
            Status::quota_exceeded("address", "Too many requests without valid credentials.", wait)
        })?;
    }
    Ok(Some(outcome?))
}

/// The headers that can hold a credential.
pub(super) static CREDENTIAL_HEADERS: [HeaderName; 2] =
    [header::AUTHORIZATION, HeaderName::from_static("x-goog-api-key")];

/// Returns the credential of a request, if it has one. An access token takes precedence over an API key,
/// and a header over a parameter.
///
/// # Errors
/// [`Code::Unauthenticated`] for a header without a valid one.
pub(super) fn credential(headers: &HeaderMap, standard: &Standard) -> Result<Option<Secret>, Status> {
    let [token, key] = &CREDENTIAL_HEADERS;
    let by_header = headers.get(token).map(bearer).transpose()?;
    let api_key = headers.get(key).map(|value| Secret::new(value.to_str().unwrap_or_default().to_owned()));
    Ok(by_header.or_else(|| standard.token.clone()).or(api_key).or_else(|| standard.key.clone()))
}

const NO_CREDENTIALS: &str = "Request is missing required authentication credential. Expected an OAuth 2 \
     access token in the Authorization header, or an API key in X-Goog-Api-Key or the parameter key.";

fn bearer(value: &HeaderValue) -> Result<Secret, Status> {
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(Secret::new(token.trim().to_owned()))
        }
        _ => Err(Status::new(Code::Unauthenticated, NO_CREDENTIALS)),
    }
}

async fn read_body(app: &App, holders: Holders, request: Request, limit: usize) -> Result<WholeBody, Status> {
    body::read_optional(app, holders, request, limit).await.map_err(body_error)
}

/// Turns the error of reading a body into a status.
pub(super) fn body_error(error: RouteError) -> Status {
    match error {
        RouteError::Message(status, detail) => {
            Status::new(Code::InvalidArgument, detail).with_http(status.as_u16())
        }
        RouteError::Slow => Status::new(Code::DeadlineExceeded, "The request took too long to arrive."),
        RouteError::NoMemory(why) => why.into(),
        _ => Status::busy(),
    }
}

/// Turns a status into a response.
pub(super) fn refusal(status: &Status, standard: &Standard) -> Response {
    let http = StatusCode::from_u16(status.http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = answer::refuse(status, standard);
    let mut response = (http, [(header::CONTENT_TYPE, CONTENT_TYPE)], body).into_response();
    if let Some(wait) = status.retry_after() {
        let seconds = wait.saturating_add(Duration::from_millis(999)).as_secs().max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if http == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Bearer realm=\"unbox\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
