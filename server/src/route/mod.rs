//! HTTP: from a request to a service and back. This layer decides only about access, rates, and the form
//! of an answer.
//!
//! * [`device_router`] serves devices and the management API's clients over TLS; [`api_router`] that API
//!   alone, for a proxy; [`plain_router`] the part that needs no secrecy (health, artifacts), for a load
//!   balancer; [`metrics_router`] the metrics, for a scraper.
//! * A request passes `request_log.rs` (one log line, metrics), then its handler: `device.rs`,
//!   `artifact.rs`, `health.rs`. Any error is a [`problem::RouteError`], and becomes an answer in
//!   `problem.rs` and nowhere else.
//! * [`api`] is the management API; its errors have a form of their own, in `api/wire/status.rs`.
//!
//! To add a message of devices: its path and type in `unbox_common::protocol`, its handler in
//! `device.rs`, its service method, and a test for each refusal below `tests/http/device/`.

pub mod api;
mod artifact;
mod body;
mod budget;
mod device;
mod forwarded;
mod guess_limit;
mod health;
mod limits;
mod metrics;
mod peer;
mod problem;
mod request_log;

pub(crate) use budget::{Budget, Holders, Reservation};
pub use limits::AddressKey;
pub use metrics::{Counted, Metrics};
pub use peer::Peer;

use crate::{
    config::{Limits, Proxies},
    entropy::Entropy,
    service::Services,
};
use api::{quota::ApiQuota, token, wire::page_token::PageTokens};
use axum::{
    Router,
    middleware::from_fn_with_state,
    response::IntoResponse as _,
    routing::{get, post},
};
use governor::clock::MonotonicClock;
use guess_limit::GuessLimiter;
use limits::Limiter;
use problem::RouteError;
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};
use tower::ServiceExt as _;
use unbox_common::{
    ids::AccountId,
    protocol::latest::{ARTIFACT_PATH, CHECK_IN_PATH, HELLO_PATH, PROVE_PATH, REPORT_PATH},
};

/// The most imports, exports and uploads at the same time: each may take a thread and a batch of rows.
/// A company has at most as many as are left for the others.
const MAX_STREAMS: usize = 32;

/// The memory that a message gets even where others hold all that is shared: 3 KiB of JSON, with the message
/// that is made of it.
const FIRST_BYTES: usize = 12 * 1024;

/// The state that every handler shares.
pub struct App {
    services: Services,
    entropy: Arc<dyn Entropy>,
    metrics: Metrics,
    requests: Semaphore,
    memory: Arc<Budget>,
    streams: Arc<Budget>,
    request_timeout: Duration,
    least_bytes_per_s: u32,
    proxies: Proxies,
    by_address: Limiter,
    by_device: Limiter,
    guess_limiter: GuessLimiter,
    started: Instant,
    /// The quotas of accounts.
    quota: ApiQuota,
    page_tokens: PageTokens,
}

impl App {
    /// Wires the routes to the services.
    #[must_use]
    pub fn new(services: Services, entropy: Arc<dyn Entropy>, limits: &Limits) -> Arc<Self> {
        let page_tokens = PageTokens::new(&services.page_token_secret());
        Arc::new(Self {
            page_tokens,
            services,
            entropy,
            metrics: Metrics::new(),
            requests: Semaphore::new(limits.requests),
            memory: Budget::with_reserve(limits.memory_bytes, FIRST_BYTES, limits.connections),
            streams: Budget::new(MAX_STREAMS),
            least_bytes_per_s: limits.least_bytes_per_s,
            proxies: limits.proxies.clone(),
            request_timeout: limits.request_timeout,
            by_address: Limiter::new(limits.address),
            by_device: Limiter::with_quota(limits.device_quota(), MonotonicClock),
            guess_limiter: GuessLimiter::new(limits.series),
            started: Instant::now(),
            quota: ApiQuota::new(limits.api_queries_per_100s),
        })
    }

    /// Returns the counters of this server.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Counts one query of an account.
    ///
    /// # Errors
    /// The time until the next one is allowed.
    pub fn count_query(&self, account: AccountId) -> Result<(), Duration> {
        self.quota.check(account)
    }

    /// Returns the longest time that a request waits for memory that others hold.
    fn memory_patience(&self) -> Duration {
        self.request_timeout / 2
    }

    /// Forgets clients that have not been near their limit for a while; called now and then.
    pub fn sweep(&self) {
        self.by_address.sweep();
        self.by_device.sweep();
        self.quota.sweep();
    }

    /// Draws a number of seconds from `from` to `to`, so that clients that are sent away together do not come
    /// back together.
    fn jittered_seconds(&self, from: u32, to: u32) -> u32 {
        let mut bytes = [0; 4];
        // Without randomness everybody gets the longest pause: that is safe, too.
        match self.entropy.fill(&mut bytes) {
            Ok(()) => from + u32::from_ne_bytes(bytes) % (to - from + 1),
            Err(_) => to,
        }
    }
}

/// Returns the routes of devices, over TLS.
pub fn device_router(app: Arc<App>) -> Router {
    let messages = Router::new()
        .route(HELLO_PATH, post(device::hello))
        .route(PROVE_PATH, post(device::prove))
        .route(REPORT_PATH, post(device::report))
        .route(CHECK_IN_PATH, post(device::check_in));
    add_layers_and_api(messages.merge(management_routes()).merge(public_routes()), app)
}

/// Returns the management API, for this machine or for a proxy with TLS.
pub fn api_router(app: Arc<App>) -> Router {
    add_layers_and_api(management_routes().merge(public_routes()), app)
}

/// Returns the routes that need neither secrecy nor a certificate.
pub fn plain_router(app: Arc<App>) -> Router {
    add_layers(public_routes(), app)
}

/// Returns the metrics, for a scraper; on addresses that serve nothing else.
pub fn metrics_router(app: Arc<App>) -> Router {
    add_layers(Router::new().route("/metrics", get(health::metrics)), app)
}

fn management_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/token", post(token::token))
        .route("/openapi.json", get(api::description))
        .merge(api::router())
}

fn public_routes() -> Router<Arc<App>> {
    Router::new()
        .route(&format!("{ARTIFACT_PATH}/{{digest}}"), get(artifact::artifact))
        .route("/healthz", get(health::liveness))
        .route("/readyz", get(health::readiness))
}

fn add_layers(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    router
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(from_fn_with_state(app.clone(), request_log::log_request))
        .layer(from_fn_with_state(app.clone(), forwarded::set_client_address))
        .with_state(app)
}

/// Finishes routes that include the management API: with its batches, and with paths in which the slashes
/// of a name are encoded, which no route matches until they are decoded.
fn add_layers_and_api(router: Router<Arc<App>>, app: Arc<App>) -> Router {
    let plain = add_layers(router.clone(), app.clone());
    let (in_batch, batched) = (plain.clone(), app.clone());
    let batch = async move |request| api::batch::answer(&batched, in_batch, request).await;
    let again = async move |request| match api::plain_path(request) {
        Ok(request) => plain.oneshot(request).await.into_response(),
        Err(refused) => *refused,
    };
    router
        .route("/batch", post(batch))
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(from_fn_with_state(app.clone(), request_log::log_request))
        .layer(from_fn_with_state(app.clone(), forwarded::set_client_address))
        .fallback(again)
        .with_state(app)
}

/// Returns the holders of memory for a request whose sender is not known yet.
fn holders(peer: &Peer) -> Holders {
    Holders { address: Some(address_key(peer)), known: None }
}

/// Returns the key by which requests of one address are counted.
fn address_key(peer: &Peer) -> AddressKey {
    AddressKey::of(peer.address.ip())
}
