//! The one place that turns an error into an answer: problem documents (RFC 9457).
//!
//! A device's message is refused with a kind from the closed set, so that the device knows how to
//! react; everything else gets a problem document without one.

use super::{App, api, budget::NoneFree};
use crate::{log::chain, service::ServiceError};
use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use std::time::Duration;
use unbox_common::{
    protocol::problem::{CONTENT_TYPE, Problem},
    refusal::RefusalKind,
};

/// The range of the pause after a busy moment, in seconds.
const BUSY_PAUSE_S: (u32, u32) = (2, 15);
/// The time over which devices come back that asked too often, beyond the necessary pause, in seconds: a
/// thousand devices that are sent away together do not return together.
const LIMIT_SPREAD_S: u32 = 60;
/// The reason why a request was not done.
#[derive(Debug)]
pub(super) enum RouteError {
    /// The service refused, or failed.
    Service(ServiceError),
    /// The message is invalid in form, size or type.
    Message(StatusCode, String),
    /// The message took too long to arrive.
    Slow,
    /// A message that only an enrolled device may send.
    NoCertificate,
    /// More requests than this address, or this series of identifiers, may make.
    TooMany(Duration),
    /// More requests than the server handles at once.
    Busy,
    /// No memory is left for this.
    NoMemory(NoneFree),
}

impl From<NoneFree> for RouteError {
    fn from(why: NoneFree) -> Self {
        Self::NoMemory(why)
    }
}

impl From<ServiceError> for RouteError {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl RouteError {
    /// Makes the refusal of a malformed message, with the place. The parser's own words might repeat a
    /// secret.
    pub(super) fn malformed_message(error: &serde_json::Error) -> Self {
        let (line, column) = (error.line(), error.column());
        let detail = format!("The message cannot be read at line {line}, column {column}.");
        Self::Message(StatusCode::BAD_REQUEST, detail)
    }

    fn into_problem(self, app: &App) -> Problem {
        let busy = || {
            let (from, to) = BUSY_PAUSE_S;
            Problem::new(RefusalKind::Busy).retry_after_s(app.jittered_seconds(from, to))
        };
        match self {
            Self::Service(ServiceError::Refused(problem)) => *problem,
            Self::Service(ServiceError::Busy | ServiceError::Elsewhere(_))
            | Self::Busy
            | Self::NoMemory(_) => busy(),
            Self::Service(error @ ServiceError::NotFound { .. }) => {
                with_status(StatusCode::NOT_FOUND, error.to_string())
            }
            Self::Service(error @ ServiceError::Invalid { .. }) => {
                with_status(StatusCode::BAD_REQUEST, error.to_string())
            }
            Self::Service(error @ (ServiceError::AlreadyExists(_) | ServiceError::Conflict(_))) => {
                with_status(StatusCode::CONFLICT, error.to_string())
            }
            Self::Service(error @ ServiceError::Unavailable { .. }) => {
                tracing::warn!(error = chain(&error), "a request was turned away");
                busy()
            }
            Self::Service(error @ ServiceError::QuotaExceeded(_)) => {
                with_status(StatusCode::TOO_MANY_REQUESTS, error.to_string())
            }
            // Whatever failed inside, the device can only come back; the log has the cause.
            Self::Service(error) => {
                tracing::error!(error = chain(&error), "a request failed in the server");
                busy()
            }
            Self::Message(status, detail) => with_status(status, detail),
            // A slow network is no reason to stop: the same message may arrive the next time.
            Self::Slow => Problem {
                status: StatusCode::REQUEST_TIMEOUT.as_u16(),
                ..busy().detail("The message took too long to arrive.")
            },
            Self::NoCertificate => Problem::new(RefusalKind::ProofRequired)
                .detail("Only an enrolled device may send this, with its client certificate. Enroll again."),
            Self::TooMany(wait) => {
                let wait =
                    u32::try_from(wait.as_secs()).unwrap_or(u32::MAX - LIMIT_SPREAD_S).saturating_add(1);
                Problem::new(RefusalKind::TooManyRequests)
                    .retry_after_s(app.jittered_seconds(wait, wait.saturating_add(LIMIT_SPREAD_S)))
            }
        }
    }
}

/// Makes the problem of a message outside of the protocol: no kind fits, so the status has to do.
fn with_status(status: StatusCode, detail: String) -> Problem {
    Problem { status: status.as_u16(), ..Problem::new(RefusalKind::UnsupportedProtocol).detail(detail) }
}

/// Answers a device's message.
pub(super) fn answer<T: Serialize>(app: &App, result: Result<T, RouteError>) -> Response {
    let answered = result.map_err(|error| error.into_problem(app));
    let mut response = match &answered {
        Ok(message) => document(StatusCode::OK, "application/json", message),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
            let mut response = document(status, CONTENT_TYPE, problem);
            if let Some(seconds) = problem.retry_after_s {
                response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            }
            response.extensions_mut().insert(problem.kind);
            response
        }
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers with a problem document outside of the device protocol (RFC 9457, section 4.2.1).
pub(super) fn plain_problem(status: StatusCode, detail: &str) -> Response {
    let problem = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut response = document(status, CONTENT_TYPE, &problem);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers for a path that does not exist.
pub(super) async fn no_such_path(request: Request) -> Response {
    answer_outside(&request, StatusCode::NOT_FOUND, "There is nothing at this path.")
}

/// Answers for a path with another method; the router adds the right one.
pub(super) async fn no_such_method(request: Request) -> Response {
    answer_outside(&request, StatusCode::METHOD_NOT_ALLOWED, "This path takes another method.")
}

fn answer_outside(request: &Request, status: StatusCode, detail: &str) -> Response {
    let path = request.uri().path();
    if api::is_path(path) {
        return api::no_such_method(status, detail);
    }
    if !path.starts_with("/device/") {
        return plain_problem(status, detail);
    }
    let problem = with_status(status, detail.to_owned());
    let mut response = document(status, CONTENT_TYPE, &problem);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.extensions_mut().insert(problem.kind);
    response
}

fn document(status: StatusCode, content_type: &'static str, document: &impl Serialize) -> Response {
    match serde_json::to_vec(document) {
        Ok(json) => {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            (status, headers, json).into_response()
        }
        Err(error) => {
            tracing::error!(error = chain(&error), "an answer could not be serialised");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
