//! `GET /artifacts/sha256/<hex>`: bytes that any cache may keep without end, in ranges.

use super::{App, problem::plain_problem};
use crate::log::chain;
use axum::{
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use std::{io, sync::Arc};
use tokio::fs;
use tower_http::services::ServeFile;
use unbox_common::digest::Sha256;

/// The pause of a device whose artifact is not here, in seconds: another server may have it.
const RETRY_AFTER_S: u32 = 15;
/// The caching of artifacts: the bytes of a digest never change.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// The range of all bytes.
const WHOLE: HeaderValue = HeaderValue::from_static("bytes=0-");
/// The number of bytes of an artifact that are in memory for one client.
const PART_BYTES: usize = 16 * 1024;

/// `GET` and `HEAD`.
pub(super) async fn artifact(
    State(app): State<Arc<App>>,
    Path(digest): Path<String>,
    mut request: Request,
) -> Response {
    let Some((digest, etag)) = digest.parse::<Sha256>().ok().and_then(|digest| {
        let etag = HeaderValue::try_from(format!("\"{digest}\"")).ok()?;
        Some((digest, etag))
    }) else {
        return plain_problem(StatusCode::NOT_FOUND, "An artifact is named by 64 hexadecimal digits.");
    };
    let cached = has_etag(request.headers(), &header::IF_NONE_MATCH, &etag);
    keep_digest_validators(request.headers_mut(), &etag);
    remove_malformed_range(request.headers_mut());
    let path = app.services.catalogue.artifact_path(digest);
    if let Some(last) = suffix_length(request.headers())
        && fs::metadata(&path).await.is_ok_and(|file| file.len() < last)
    {
        request.headers_mut().insert(header::RANGE, WHOLE);
    }
    let mut file = ServeFile::new(path).ignore_multi_range_requests(true).with_buf_chunk_size(PART_BYTES);
    let served = match file.try_call(request).await {
        Ok(served) => served.map(Body::new),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return answer_missing(&app, digest).await,
        Err(error) => {
            tracing::error!(%error, %digest, "an artifact could not be read");
            return try_again_later("The artifact cannot be read now. Try again in a moment.");
        }
    };
    match served.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT if cached => {
            with_etag(StatusCode::NOT_MODIFIED.into_response(), etag)
        }
        StatusCode::OK | StatusCode::PARTIAL_CONTENT => with_etag(served, etag),
        _ => served,
    }
}

/// Answers for bytes that are not here. The bytes of a registered digest exist somewhere, in the directory
/// of another server or in a backup: the device tries again, and its configuration need not change.
async fn answer_missing(app: &App, digest: Sha256) -> Response {
    match app.services.catalogue.is_artifact_registered(digest).await {
        Ok(false) => plain_problem(StatusCode::NOT_FOUND, "There is no such artifact."),
        Ok(true) => {
            tracing::error!(%digest, "an artifact is registered, and its bytes are not in this server's directory");
            try_again_later("This server does not have the bytes of this artifact. Try again in a moment.")
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), %digest, "nobody knows whether there is such an artifact");
            try_again_later("The artifact cannot be looked up now. Try again in a moment.")
        }
    }
}

fn try_again_later(detail: &str) -> Response {
    let mut response = plain_problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
    response
}

/// Makes the digest the only validator: dates of files mean nothing, and a range continues only a
/// download of the same digest.
fn keep_digest_validators(headers: &mut HeaderMap, etag: &HeaderValue) {
    if headers.contains_key(header::IF_RANGE) && !has_etag(headers, &header::IF_RANGE, etag) {
        headers.remove(header::RANGE);
    }
    for dated in [
        header::IF_RANGE,
        header::IF_NONE_MATCH,
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ] {
        headers.remove(dated);
    }
}

/// Returns the length of a suffix that is asked for. One that is longer than the bytes means all of them
/// (RFC 9110, section 14.1.2).
fn suffix_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::RANGE)?.to_str().ok()?.trim().strip_prefix("bytes=-")?.parse().ok()
}

/// Removes a range that does not follow the grammar, which is to be ignored (RFC 9110, section 14.2).
fn remove_malformed_range(headers: &mut HeaderMap) {
    let is_malformed = |range: &HeaderValue| !range.to_str().is_ok_and(is_well_formed_range);
    if headers.get(header::RANGE).is_some_and(is_malformed) {
        headers.remove(header::RANGE);
    }
}

/// Tells whether a range follows the grammar (RFC 9110, section 14.1.1), with numbers that can be read.
fn is_well_formed_range(range: &str) -> bool {
    let number =
        |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let is_range = |text: &str| match text.trim().split_once('-') {
        Some(("", last)) => number(last).is_some(),
        Some((first, "")) => number(first).is_some(),
        Some((first, last)) => {
            matches!((number(first), number(last)), (Some(first), Some(last)) if first <= last)
        }
        None => false,
    };
    range.trim().strip_prefix("bytes=").is_some_and(|ranges| ranges.split(',').all(is_range))
}

fn has_etag(headers: &HeaderMap, header: &header::HeaderName, etag: &HeaderValue) -> bool {
    headers.get(header).is_some_and(|value| value == etag)
}

fn with_etag(mut response: Response, etag: HeaderValue) -> Response {
    let headers = response.headers_mut();
    headers.remove(header::LAST_MODIFIED);
    headers.insert(header::ETAG, etag);
    headers.insert(header::CACHE_CONTROL, FOR_EVER);
    response
}
