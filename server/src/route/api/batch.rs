//! `POST /batch`: many calls in one request, each with a right and a result of its own.

use super::{
    call::{Batched, CREDENTIAL_HEADERS, credential, refusal, unreadable},
    wire::{
        batch::{self, BatchedRequest, BatchedResponse, MAX_BATCH_BYTES},
        query::{Query, Standard},
        status::{Code, Status},
    },
};
use crate::route::{App, Peer, body};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse as _, Response},
};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

/// Answers every call of a batch, one after the other, by the same routes as if it had come alone.
pub(in crate::route) async fn answer(app: &App, routes: Router, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let outer = request.headers().clone();
    let calls = match read(app, request).await {
        Ok(calls) => calls,
        Err(status) => return refusal(&status, &Standard::default()),
    };
    let mut answers = Vec::with_capacity(calls.len());
    for BatchedRequest { id, request } in calls {
        let response = match inner(request, &outer, peer) {
            Ok(request) => routes.clone().oneshot(request).await.into_response(),
            Err(status) => refusal(&status, &Standard::default()),
        };
        let (head, body) = response.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        answers.push(BatchedResponse { id, response: Response::from_parts(head, body) });
    }
    let (content_type, body) = batch::render(&answers);
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

async fn read(app: &App, request: Request) -> Result<Vec<BatchedRequest>, Status> {
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let body = body::read_bytes(app, request, MAX_BATCH_BYTES).await;
    batch::parse(&content_type, &body.map_err(unreadable)?)
}

/// A call of a batch as a request of its own. A call that shows no credential runs as whoever sent the
/// batch; one that shows a credential, good or not, never does.
fn inner(
    request: axum::http::Request<Bytes>,
    outer: &HeaderMap,
    peer: Option<Peer>,
) -> Result<Request, Status> {
    if !request.uri().path().starts_with("/v1/") {
        return Err(Status::new(Code::InvalidArgument, "A batch holds calls of this API only, below /v1/."));
    }
    let query = Query::parse(request.uri().query())?;
    let inherited: &[HeaderName] = match credential(request.headers(), &query.standard)? {
        Some(_) => &[],
        None => &CREDENTIAL_HEADERS,
    };
    let mut request = request.map(Body::from);
    for name in inherited.iter().chain([&header::HOST]) {
        if let (false, Some(value)) = (request.headers().contains_key(name), outer.get(name)) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    request.extensions_mut().insert(Batched);
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    Ok(request)
}
