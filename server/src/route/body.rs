//! Reads the body of a message: of the right type, no larger than it may be, in time; packed by gzip or as
//! it is (RFC 9110, section 8.4).

use super::{App, problem::RouteError};
use axum::{
    BoxError,
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use flate2::write::MultiGzDecoder;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Collected, LengthLimitError, Limited};
use std::io::{self, Read, Write};
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
    read_parts(app, &head.headers, body, limit).await
}

/// The same for a request that is taken apart already.
pub(super) async fn read_parts(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, RouteError> {
    let too_large = || {
        RouteError::Message(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("This message may have at most {limit} bytes."),
        )
    };
    if announced(headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let (coding, body) = (Coding::of(headers)?, Limited::new(body, limit));
    let read = async {
        match coding {
            Coding::Identity => body.collect().await.map(Collected::to_bytes),
            Coding::Gzip => unpacked(body, limit).await,
        }
    };
    match timeout(app.request_timeout, read).await.map_err(|_| RouteError::Slow)? {
        Ok(body) => Ok(body),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) if error.is::<TooLong>() => Err(too_large()),
        Err(error) if error.is::<io::Error>() => {
            Err(RouteError::Message(StatusCode::BAD_REQUEST, NOT_GZIP.to_owned()))
        }
        Err(_) => Err(RouteError::Message(
            StatusCode::BAD_REQUEST,
            "The message ended before its announced length.".to_owned(),
        )),
    }
}

const NOT_GZIP: &str = "The message is not what Content-Encoding says. Pack all of it by gzip, or send it as it \
     is and without that header.";

/// How a body is packed.
enum Coding {
    Identity,
    Gzip,
}

impl Coding {
    fn of(headers: &HeaderMap) -> Result<Self, RouteError> {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let codings = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
        let codings = codings.map(|coding| coding.trim().to_ascii_lowercase());
        let packed: Vec<String> =
            codings.filter(|coding| !["", "identity"].contains(&coding.as_str())).collect();
        match packed.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => Ok(Self::Identity),
            ["gzip" | "x-gzip"] => Ok(Self::Gzip),
            _ => Err(unsupported(
                "The message is packed in a way that is not read here. Pack it by gzip, or send it as it is and \
                 without Content-Encoding.",
            )),
        }
    }
}

fn unsupported(text: &str) -> RouteError {
    RouteError::Message(StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned())
}

/// Refuses a stream of bytes that is packed: how much it holds would be known too late.
pub(super) fn expect_plain(headers: &HeaderMap) -> Result<(), RouteError> {
    match Coding::of(headers) {
        Ok(Coding::Identity) => Ok(()),
        _ => Err(unsupported("Files are read as they are. Send it unpacked, and without Content-Encoding.")),
    }
}

/// Unpacks a body while it arrives.
async fn unpacked(body: Limited<Body>, limit: usize) -> Result<Bytes, BoxError> {
    let mut parts = body.into_data_stream();
    let mut unpacked = MultiGzDecoder::new(Capped { bytes: Vec::new(), limit });
    let mut is_empty = true;
    let cause = |error: io::Error| -> BoxError {
        match error.into_inner() {
            Some(inner) if inner.is::<TooLong>() => inner,
            Some(inner) => Box::new(io::Error::other(inner)),
            None => Box::new(io::Error::from(io::ErrorKind::InvalidData)),
        }
    };
    while let Some(part) = parts.next().await {
        let part = part?;
        is_empty &= part.is_empty();
        unpacked.write_all(&part).map_err(cause)?;
    }
    // A message without a body may come with the header of one.
    if is_empty { Ok(Bytes::new()) } else { Ok(unpacked.finish().map_err(cause)?.bytes.into()) }
}

/// Bytes that are refused beyond a limit.
struct Capped {
    bytes: Vec<u8>,
    limit: usize,
}

/// More bytes were unpacked than a message may have.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes")]
struct TooLong;

impl Write for Capped {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + from.len() > self.limit {
            return Err(io::Error::other(TooLong));
        }
        self.bytes.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
