//! Reads the body of a message: of the right type, no larger than it may be, in time.

use super::{App, problem::RouteError};
use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::io::{self, Read};
use tokio::time::timeout;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Reads a whole JSON body of at most `limit` bytes.
pub(super) async fn read(app: &App, request: Request, limit: usize) -> Result<Bytes, RouteError> {
    read_typed(app, request, "application/json", limit).await
}

/// Reads a whole form of at most `limit` bytes.
pub(super) async fn read_form(app: &App, request: Request, limit: usize) -> Result<Bytes, RouteError> {
    read_typed(app, request, "application/x-www-form-urlencoded", limit).await
}

async fn read_typed(
    app: &App,
    request: Request,
    media_type: &str,
    limit: usize,
) -> Result<Bytes, RouteError> {
    if !is_of_type(request.headers(), media_type) {
        return Err(RouteError::Message(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("The message must be of type {media_type}."),
        ));
    }
    read_whole(app, request, limit).await
}

/// Reads a whole JSON body of at most `limit` bytes; there may be none, and then its type does not count.
pub(super) async fn read_optional(app: &App, request: Request, limit: usize) -> Result<Bytes, RouteError> {
    let is_json = is_of_type(request.headers(), "application/json");
    let body = read_whole(app, request, limit).await?;
    if !(is_json || body.is_empty()) {
        return Err(RouteError::Message(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The message must be of type application/json.".to_owned(),
        ));
    }
    Ok(body)
}

/// Reads a whole body of any type, of at most `limit` bytes.
pub(super) async fn read_bytes(app: &App, request: Request, limit: usize) -> Result<Bytes, RouteError> {
    read_whole(app, request, limit).await
}

/// Lets the rest of a body pass by that nobody reads. Whether that was all of it: at most `limit` bytes, in
/// the time of a request.
pub(super) async fn discard(app: &App, body: Body, limit: usize) -> bool {
    let mut parts = Limited::new(body, limit).into_data_stream();
    let passed = async {
        while let Some(part) = parts.next().await {
            if part.is_err() {
                return false;
            }
        }
        true
    };
    timeout(app.request_timeout, passed).await.unwrap_or(false)
}

/// The bytes of a body of any length, for a thread that may block; called within the runtime.
///
/// Whoever sends may pause for as long as a request may take; a longer pause, or an end before the
/// announced length, is an error of the read.
pub(super) fn blocking_reader(app: &App, body: Body) -> impl Read + Send + use<> {
    let pause = app.request_timeout;
    let next = move |mut body: BodyDataStream| async move {
        let part = match timeout(pause, body.next()).await {
            Ok(part) => part?.map_err(io::Error::other),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived for too long")),
        };
        Some((part, body))
    };
    SyncIoBridge::new(StreamReader::new(Box::pin(stream::unfold(body.into_data_stream(), next))))
}

async fn read_whole(app: &App, request: Request, limit: usize) -> Result<Bytes, RouteError> {
    let (head, body) = request.into_parts();
    let too_large = || {
        RouteError::Message(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("This message may have at most {limit} bytes."),
        )
    };
    if announced(&head.headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let read = timeout(app.request_timeout, Limited::new(body, limit).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(RouteError::Message(
            StatusCode::BAD_REQUEST,
            "The message ended before its announced length.".to_owned(),
        )),
        Err(_) => Err(RouteError::Slow),
    }
}

/// Whether the body has this media type, whatever its parameters.
pub(super) fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    let essence = |value: &str| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| essence(value) == media_type)
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
