//! `POST /batch`: many calls in one request, each with its own credential and result.
//!
//! Each answer is sent before the next call is made, so that one of them is in memory at a time.

use super::{
    body_writer::{BodyWriter, Gone, body_writer},
    call::{
        Batched, CREDENTIAL_HEADERS, authenticate_if_present, body_error, credential, discard_unread,
        holders, refusal,
    },
    wire::{
        batch::{self, BatchWriter, BatchedRequest, MAX_BATCH_BYTES},
        query::{Query, Standard},
        status::{Code, Status},
    },
};
use crate::route::{App, Peer, body, budget::Reservation};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, header},
    response::{IntoResponse as _, Response},
};
use futures_util::StreamExt as _;
use http_body::Body as _;
use std::{future::ready, sync::Arc};
use tower::ServiceExt as _;

/// The largest batch without credentials but those of its calls, in bytes.
const MAX_ANONYMOUS_BYTES: usize = 64 * 1024;

/// Answers every call of a batch, one after the other, by the same routes as if it had come alone.
pub(in crate::route) async fn answer(app: &Arc<App>, routes: Router, request: Request) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let outer = request.headers().clone();
    let mut random = [0; 16];
    let calls = match app.entropy.fill(&mut random) {
        Ok(()) => read(app, peer.as_ref(), request).await,
        Err(_) => return refusal(&Status::busy(), &Standard::default()),
    };
    let (calls, memory) = match calls {
        Ok(calls) => calls,
        Err(refused) => return *refused,
    };
    let writer = BatchWriter::new(random);
    let content_type = writer.content_type();
    let (outgoing, body) = body_writer(app.request_timeout);
    tokio::spawn(async move {
        let _held_for_calls: Reservation = memory;
        for call in calls {
            let id = call.id;
            let response = match build_inner_request(call.request, &outer, peer) {
                Ok(request) => routes.clone().oneshot(request).await.into_response(),
                Err(status) => refusal(&status, &Standard::default()),
            };
            // If the client stops reading, the remaining calls are not made.
            if send(&writer, &outgoing, id.as_ref(), response).await.is_err() {
                return;
            }
        }
        if outgoing.send(writer.end().into(), ready(())).await.is_ok() {
            outgoing.end().await;
        }
    });
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

async fn send(
    writer: &BatchWriter,
    outgoing: &BodyWriter,
    id: Option<&batch::ContentId>,
    response: Response,
) -> Result<(), Gone> {
    let (head, body) = response.into_parts();
    let length = body.size_hint().exact();
    outgoing.send(writer.head(id, &head, length).into(), ready(())).await?;
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        outgoing.send(part.map_err(|_| Gone)?, ready(())).await?;
    }
    outgoing.send(Bytes::from_static(writer.tail()), ready(())).await
}

/// Reads the calls of a batch, with the memory that they hold. The caller is known before anything is read;
/// otherwise only little is read.
async fn read(
    app: &App,
    peer: Option<&Peer>,
    request: Request,
) -> Result<(Vec<BatchedRequest>, Reservation), Box<Response>> {
    let standard = Query::parse(request.uri().query()).map(|query| query.standard).unwrap_or_default();
    let refused = |status: &Status| Box::new(refusal(status, &standard));
    let known = match authenticate_if_present(app, peer, request.headers(), &standard).await {
        Ok(known) => known,
        // An invalid credential counts as none: the calls may show others.
        Err(status) if status.code() == Code::Unauthenticated => None,
        Err(status) => {
            let asks_first = request.headers().contains_key(header::EXPECT);
            let mut response = refused(&status);
            discard_unread(app, request.into_body(), asks_first, &mut response).await;
            return Err(response);
        }
    };
    let limit = if known.is_some() { MAX_BATCH_BYTES } else { MAX_ANONYMOUS_BYTES };
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let body = body::read_bytes(app, holders(peer, known.as_ref()), request, limit).await;
    let (body, memory) = body.map_err(|error| refused(&body_error(error)))?.into_parts();
    let calls = batch::parse(&content_type, &body).map_err(|status| refused(&status))?;
    Ok((calls, memory))
}

/// Turns a call of a batch into a request of its own. A call without a credential runs with that of the
/// batch; one with a credential, valid or not, never does.
fn build_inner_request(
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
