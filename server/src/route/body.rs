//! Reads the body of a message: of the right type, within its size and time limits; compressed by gzip or
//! plain (RFC 9110, section 8.4).

use super::{
    App,
    budget::{Holders, NoneFree, Reservation},
    problem::RouteError,
};
use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use flate2::write::MultiGzDecoder;
use futures_util::{StreamExt as _, stream};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::{
    io::{self, Read, Write},
    ops::Deref,
    time::Duration,
};
use tokio::time::{Instant, timeout};
use tokio_util::io::{StreamReader, SyncIoBridge};

/// The memory for a byte of JSON, together with the message that is made of it.
const JSON_FACTOR: usize = 4;

/// A body in memory, with the reservation for it.
pub(super) struct WholeBody {
    bytes: Bytes,
    memory: Reservation,
}

impl WholeBody {
    /// Returns the bytes, and the memory to hold for as long as they exist.
    pub(super) fn into_parts(self) -> (Bytes, Reservation) {
        (self.bytes, self.memory)
    }
}

impl Deref for WholeBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Reads a whole JSON body of at most `limit` bytes.
pub(super) async fn read(
    app: &App,
    holders: Holders,
    request: Request,
    limit: usize,
) -> Result<WholeBody, RouteError> {
    read_typed(app, holders, request, "application/json", limit).await
}

/// Reads a whole form of at most `limit` bytes.
pub(super) async fn read_form(
    app: &App,
    holders: Holders,
    request: Request,
    limit: usize,
) -> Result<WholeBody, RouteError> {
    read_typed(app, holders, request, "application/x-www-form-urlencoded", limit).await
}

async fn read_typed(
    app: &App,
    holders: Holders,
    request: Request,
    media_type: &str,
    limit: usize,
) -> Result<WholeBody, RouteError> {
    if !is_of_type(request.headers(), media_type) {
        return Err(wrong_type(media_type));
    }
    read_whole(app, holders, request, limit, JSON_FACTOR).await
}

/// Reads a whole JSON body of at most `limit` bytes; it may be empty, and then its type does not matter.
pub(super) async fn read_optional(
    app: &App,
    holders: Holders,
    request: Request,
    limit: usize,
) -> Result<WholeBody, RouteError> {
    let is_json = is_of_type(request.headers(), "application/json");
    let body = read_whole(app, holders, request, limit, JSON_FACTOR).await?;
    if is_json || body.is_empty() { Ok(body) } else { Err(wrong_type("application/json")) }
}

/// Reads a whole body of any type, of at most `limit` bytes.
pub(super) async fn read_bytes(
    app: &App,
    holders: Holders,
    request: Request,
    limit: usize,
) -> Result<WholeBody, RouteError> {
    read_whole(app, holders, request, limit, 1).await
}

/// Makes the refusal of a body of the wrong type.
pub(super) fn wrong_type(expected: &str) -> RouteError {
    RouteError::Message(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        format!("The message must be of type {expected}."),
    )
}

/// Makes the refusal of a body that is too large.
pub(super) fn too_large(limit: usize) -> RouteError {
    RouteError::Message(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("This message may have at most {limit} bytes."),
    )
}

/// Discards the rest of a body that nobody reads. Returns whether that was all of it: at most `limit` bytes,
/// within the time of a request.
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

/// Checks the head of a body that is read item by item, by type and limit; the body may be empty. Returns
/// whether it is compressed by gzip.
pub(super) fn check_items(headers: &HeaderMap, body: &Body, limit: usize) -> Result<bool, RouteError> {
    if announced_length(headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let is_empty = body.is_end_stream() || body.size_hint().exact() == Some(0);
    if is_empty || is_of_type(headers, "application/json") {
        Ok(!is_empty && matches!(Coding::from_headers(headers)?, Coding::Gzip))
    } else {
        Err(wrong_type("application/json"))
    }
}

/// Returns a reader of a body of any length, for a thread that may block; called within the runtime.
///
/// The sender may pause for as long as a request may take, and has to keep the least rate on the whole; a
/// longer pause, or an end before the announced length, is an error of the read.
pub(super) fn blocking_reader(app: &App, body: Body) -> impl Read + Send + use<> {
    let pause = app.request_timeout;
    let rate = LeastRate::new(app.least_bytes_per_s, pause);
    let next = move |(mut body, mut rate): (BodyDataStream, LeastRate)| async move {
        let asked = Instant::now();
        let part = match timeout(pause, body.next()).await {
            Ok(part) => part?.map_err(io::Error::other),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing arrived for too long")),
        };
        let part = part.and_then(|bytes| {
            let slow = || io::Error::new(io::ErrorKind::TimedOut, "it arrived too slowly");
            if rate.is_met(asked.elapsed(), bytes.len()) { Ok(bytes) } else { Err(slow()) }
        });
        Some((part, (body, rate)))
    };
    SyncIoBridge::new(StreamReader::new(Box::pin(stream::unfold((body.into_data_stream(), rate), next))))
}

/// The least rate of an upload. It counts only the time in which the server waits for bytes, and each
/// period by itself: a fast start is no credit for hours of slowness.
struct LeastRate {
    bytes_per_s: u32,
    period: Duration,
    waited: Duration,
    bytes: u64,
}

impl LeastRate {
    const fn new(bytes_per_s: u32, period: Duration) -> Self {
        Self { bytes_per_s, period, waited: Duration::ZERO, bytes: 0 }
    }

    /// Counts a part that took this long to arrive, and returns whether the rate is met.
    fn is_met(&mut self, waited: Duration, bytes: usize) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.period {
            return true;
        }
        let is_met = self.bytes >= self.waited.as_secs() * u64::from(self.bytes_per_s);
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        is_met
    }
}

/// Reads a whole body, holding `factor` bytes of memory for each of its own as they arrive.
async fn read_whole(
    app: &App,
    holders: Holders,
    request: Request,
    limit: usize,
    factor: usize,
) -> Result<WholeBody, RouteError> {
    let (head, body) = request.into_parts();
    read_parts(app, holders, (&head.headers, body), limit, factor).await
}

/// Reads the whole body of a request that is split already, as `read_whole` does.
pub(super) async fn read_parts(
    app: &App,
    holders: Holders,
    (headers, body): (&HeaderMap, Body),
    limit: usize,
    factor: usize,
) -> Result<WholeBody, RouteError> {
    let announced = announced_length(headers);
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    // Memory that is never written to costs nothing: an announced length is free until bytes arrive.
    let bytes = Vec::with_capacity(announced.and_then(|length| length.try_into().ok()).unwrap_or(0));
    let gathered = Gathered { bytes, memory: app.memory.open(holders), limit, factor };
    let mut gathered = Unpacked::new(Coding::from_headers(headers)?, gathered);
    let mut parts = Limited::new(body, limit).into_data_stream();
    let read = async move {
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return too_large(limit);
                }
                let detail = "The message ended before its announced length.".to_owned();
                RouteError::Message(StatusCode::BAD_REQUEST, detail)
            })?;
            gathered.write(&part).map_err(|error| gather_error(error, limit))?;
        }
        gathered.finish().map_err(|error| gather_error(error, limit))
    };
    let Gathered { bytes, memory, .. } =
        timeout(app.request_timeout, read).await.map_err(|_| RouteError::Slow)??;
    Ok(WholeBody { bytes: bytes.into(), memory })
}

/// The part of a body that has arrived, within its limit and with its memory.
struct Gathered {
    bytes: Vec<u8>,
    memory: Reservation,
    limit: usize,
    factor: usize,
}

/// The reason why no more of a body is gathered.
#[derive(Debug, thiserror::Error)]
enum Full {
    #[error("the body has more bytes than it may have")]
    TooLong,
    #[error("there is no memory for it")]
    Memory(NoneFree),
}

impl Write for Gathered {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + from.len() > self.limit {
            return Err(io::Error::other(Full::TooLong));
        }
        let memory = self.memory.grow(from.len().saturating_mul(self.factor));
        memory.map_err(|why| io::Error::other(Full::Memory(why)))?;
        self.bytes.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gathers an arriving body, decompressed.
enum Unpacked {
    Plain(Gathered),
    /// Nothing has arrived: a message without a body may come with the header of one.
    EmptyGzip(Gathered),
    Gzip(MultiGzDecoder<Gathered>),
}

impl Unpacked {
    const fn new(coding: Coding, gathered: Gathered) -> Self {
        match coding {
            Coding::Identity => Self::Plain(gathered),
            Coding::Gzip => Self::EmptyGzip(gathered),
        }
    }

    fn write(&mut self, part: &[u8]) -> io::Result<()> {
        if let Self::EmptyGzip(gathered) = self
            && !part.is_empty()
        {
            let memory = gathered.memory.open_another();
            let gathered =
                std::mem::replace(gathered, Gathered { bytes: Vec::new(), memory, limit: 0, factor: 0 });
            *self = Self::Gzip(MultiGzDecoder::new(gathered));
        }
        match self {
            Self::Plain(gathered) => gathered.write_all(part),
            Self::EmptyGzip(_) => Ok(()),
            Self::Gzip(decoder) => decoder.write_all(part),
        }
    }

    fn finish(self) -> io::Result<Gathered> {
        match self {
            Self::Plain(gathered) | Self::EmptyGzip(gathered) => Ok(gathered),
            Self::Gzip(decoder) => decoder.finish(),
        }
    }
}

fn gather_error(error: io::Error, limit: usize) -> RouteError {
    match error.into_inner().map(<dyn std::error::Error + Send + Sync>::downcast::<Full>) {
        Some(Ok(full)) => match *full {
            Full::TooLong => too_large(limit),
            Full::Memory(why) => why.into(),
        },
        _ => RouteError::Message(StatusCode::BAD_REQUEST, NOT_GZIP.to_owned()),
    }
}

const NOT_GZIP: &str = "The message is not what Content-Encoding says. Pack all of it by gzip, or send it as it \
     is and without that header.";

/// The compression of a body.
#[derive(Clone, Copy)]
enum Coding {
    Identity,
    Gzip,
}

impl Coding {
    fn from_headers(headers: &HeaderMap) -> Result<Self, RouteError> {
        let values = headers.get_all(header::CONTENT_ENCODING).iter();
        let codings = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
        let codings = codings.map(|coding| coding.trim().to_ascii_lowercase());
        let packed: Vec<String> =
            codings.filter(|coding| !["", "identity"].contains(&coding.as_str())).collect();
        match packed.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] => Ok(Self::Identity),
            ["gzip" | "x-gzip"] => Ok(Self::Gzip),
            _ => Err(unsupported_coding(
                "The message is packed in a way that is not read here. Pack it by gzip, or send it as it is and \
                 without Content-Encoding.",
            )),
        }
    }
}

fn unsupported_coding(text: &str) -> RouteError {
    RouteError::Message(StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned())
}

/// Refuses a compressed stream of bytes: its real size would be known too late.
pub(super) fn expect_plain(headers: &HeaderMap) -> Result<(), RouteError> {
    match Coding::from_headers(headers) {
        Ok(Coding::Identity) => Ok(()),
        _ => Err(unsupported_coding(
            "Files are read as they are. Send it unpacked, and without Content-Encoding.",
        )),
    }
}

/// Returns true if the body has this media type, whatever its parameters.
pub(super) fn is_of_type(headers: &HeaderMap, media_type: &str) -> bool {
    let essence = |value: &str| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| essence(value) == media_type)
}

/// Returns the length of a body, if its head has it.
pub(super) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_is_told_from_a_pause() {
        let mut rate = LeastRate::new(1024, Duration::from_secs(30));
        let seconds = Duration::from_secs;
        assert!(rate.is_met(seconds(29), 1), "a pause is no trickle yet");
        assert!(rate.is_met(seconds(2), 100_000));
        assert!(rate.is_met(seconds(20), 1), "each period counts for itself");
        assert!(!rate.is_met(seconds(20), 1));
        let mut unlimited = LeastRate::new(0, Duration::from_secs(30));
        assert!(unlimited.is_met(seconds(3600), 0));
    }
}
