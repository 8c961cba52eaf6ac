//! One log line for each request, and its place in the metrics.

use super::{App, Peer};
use axum::{
    extract::{MatchedPath, Request, State},
    http::header,
    middleware::Next,
    response::Response,
};
use http_body::Body as _;
use std::sync::Arc;
use tokio::time::Instant;
use unbox_common::{
    ids::{DeviceId, Generation},
    refusal::RefusalKind,
};

/// The device that an answer is about, if the connection does not show it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    /// The device.
    pub(super) device: DeviceId,
    /// Its enrollment.
    pub(super) generation: Generation,
}

/// The label of all unknown paths: a scanner must not fill the metrics.
const NO_ROUTE: &str = "none";

/// Passes a request on, and logs the outcome. Never a body, a token or an identifier.
pub(super) async fn log_request(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let peer = request.extensions().get::<Peer>().copied();
    let response = next.run(request).await;

    let took = started.elapsed();
    let route = matched.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    let status = response.status().as_u16();
    let refusal = response.extensions().get::<RefusalKind>().copied();
    app.metrics.count_request(route, status, took);
    if let Some(kind) = refusal {
        app.metrics.count_refusal(kind);
    }
    let certificate = peer.and_then(|peer| peer.device);
    let subject = response.extensions().get::<Subject>().copied().or_else(|| {
        certificate
            .map(|certificate| Subject { device: certificate.device, generation: certificate.generation })
    });
    tracing::info!(
        target: "request",
        %method,
        route,
        status,
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        bytes = body_bytes(&response),
        peer = peer.map(|peer| tracing::field::display(peer.address.ip().to_canonical())),
        device = subject.map(|subject| subject.device.get()),
        generation = subject.map(|subject| subject.generation.0),
        refusal = refusal.map(RefusalKind::name),
    );
    response
}

/// Returns the size of the answer's body, if it is known: a file is streamed, with its length announced.
fn body_bytes(response: &Response) -> Option<u64> {
    let announced = response.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse().ok());
    announced.or_else(|| response.body().size_hint().exact())
}
