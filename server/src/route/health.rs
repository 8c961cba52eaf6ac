//! The server's health, its readiness, and its metrics.

use super::{App, metrics::Measured, problem::plain_problem};
use crate::files;
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// The time limit for the database's answer.
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// The text format that Prometheus reads, version 1.0.
const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// `GET /healthz`: the process answers.
pub(super) async fn liveness() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /readyz`: the database takes writes, too.
pub(super) async fn readiness(State(app): State<Arc<App>>) -> Response {
    match timeout(READY_TIMEOUT, app.services.upkeep.check_readiness()).await {
        Ok(Ok(())) => Json(json!({ "status": "ok" })).into_response(),
        Ok(Err(problem)) => plain_problem(StatusCode::SERVICE_UNAVAILABLE, &problem),
        Err(_) => plain_problem(StatusCode::SERVICE_UNAVAILABLE, "The database does not answer."),
    }
}

/// `GET /metrics`
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let now = Measured {
        waiting_writes: app.services.waiting_writes(),
        memory_bytes: app.memory.held_bytes(),
        disk_free_bytes: files::free_bytes(&app.services.settings().artifact_directory).unwrap_or_default(),
    };
    match app.metrics.encode(&now) {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "the metrics could not be written");
            plain_problem(StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written.")
        }
    }
}
