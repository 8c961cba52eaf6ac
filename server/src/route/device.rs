//! The four messages of devices. The sender is checked before the message is read.

use super::{
    App, Peer, address_key, body, holders,
    problem::{RouteError, answer},
    request_log::Subject,
};
use crate::{
    keys::DeviceCertificate,
    service::{DeviceIdentityCert, HelloRequest, Origin},
};
use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use serde::de::DeserializeOwned;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};
use unbox_common::{
    ids::Generation,
    protocol::{
        latest::{Acknowledged, Challenge, Grant, News},
        limits::{MAX_CHECK_IN_BYTES, MAX_HELLO_BYTES, MAX_PROVE_BYTES, MAX_REPORT_BYTES},
    },
};

/// The time of an answer to a hello that is held back, or a multiple of it.
const HELD_BACK_STEP: Duration = Duration::from_millis(100);

/// `POST /device/v1/hello`
pub(super) async fn hello(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    answer(&app, answer_hello(&app, &peer, request).await)
}

async fn answer_hello(app: &App, peer: &Peer, request: Request) -> Result<Challenge, RouteError> {
    app.by_address.check(address_key(peer)).map_err(RouteError::TooMany)?;
    let body = body::read(app, holders(peer), request, MAX_HELLO_BYTES).await?;
    let hello = app.services.devices.read_hello(&body)?;
    let began = Instant::now();
    let answer = run_admitted(app, answer_unless_guessed(app, peer, hello)).await;
    if let Err(RouteError::TooMany(_)) = answer {
        sleep_until(began + round_up_to_step(began.elapsed())).await;
    }
    answer
}

/// Returns the time that an answer takes which is held back: a hit, which reads more than a miss, must not be
/// told from one by its time.
fn round_up_to_step(took: Duration) -> Duration {
    HELD_BACK_STEP * u32::try_from(took.as_nanos() / HELD_BACK_STEP.as_nanos() + 1).unwrap_or(1)
}

/// Answers a hello, unless its address has guessed too many identifiers and shows nothing else.
async fn answer_unless_guessed(app: &App, peer: &Peer, hello: HelloRequest) -> Result<Challenge, RouteError> {
    let heard = app.services.devices.examine_hello(hello).await?;
    let (from, now) = (address_key(peer), app.started.elapsed());
    if !heard.is_claimed {
        let waits = app.guess_limiter.count(from, &heard.guesses, now);
        return waits.map_or(heard.answer.map_err(Into::into), |wait| Err(RouteError::TooMany(wait)));
    }
    match app.guess_limiter.wait(from, &heard.deciding, now) {
        Some(wait) if !app.services.devices.has_more_than_identifiers(&heard, certificate(peer)).await? => {
            // Neither the pause nor what counts from now on may tell it from a miss.
            let longest = app.guess_limiter.count(from, &heard.guesses, now);
            Err(RouteError::TooMany(longest.unwrap_or(wait)))
        }
        _ => Ok(heard.answer?),
    }
}

/// `POST /device/v1/prove`
pub(super) async fn prove(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let granted = enroll(&app, &peer, request).await;
    let subject = granted.as_ref().ok().map(|grant| (grant.device_id, grant.generation));
    let mut response = answer(&app, granted);
    if let Some((device, generation)) = subject {
        app.metrics.count_enrollment(generation == Generation::default().next());
        response.extensions_mut().insert(Subject { device, generation });
    }
    response
}

async fn enroll(app: &App, peer: &Peer, request: Request) -> Result<Grant, RouteError> {
    app.by_address.check(address_key(peer)).map_err(RouteError::TooMany)?;
    let body = body::read(app, holders(peer), request, MAX_PROVE_BYTES).await?;
    let origin = Origin { network: Some(address_key(peer)), certificate: certificate(peer) };
    run_admitted(app, grant_unless_too_often(app, &body, origin)).await
}

/// Enrolls a device, unless it does so too often. Its proven key is counted, so that nobody else uses up
/// its quota.
async fn grant_unless_too_often(app: &App, body: &[u8], origin: Origin) -> Result<Grant, RouteError> {
    let proof = app.services.devices.read_prove(body, origin)?;
    app.by_device.check(proof.key()).map_err(RouteError::TooMany)?;
    Ok(app.services.devices.grant(proof).await?)
}

/// `POST /device/v1/report`
pub(super) async fn report(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    answer(&app, acknowledge(&app, &peer, request).await)
}

async fn acknowledge(app: &App, peer: &Peer, request: Request) -> Result<Acknowledged, RouteError> {
    let who = check_device(app, peer)?;
    let report = message(app, peer, request, MAX_REPORT_BYTES).await?;
    run_admitted(app, app.services.devices.report(who, report)).await
}

/// `POST /device/v1/check-in`
pub(super) async fn check_in(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    answer(&app, answer_check_in(&app, &peer, request).await)
}

async fn answer_check_in(app: &App, peer: &Peer, request: Request) -> Result<News, RouteError> {
    let who = check_device(app, peer)?;
    let check_in = message(app, peer, request, MAX_CHECK_IN_BYTES).await?;
    run_admitted(app, app.services.devices.check_in_from(who, Some(address_key(peer)), check_in)).await
}

/// Returns the device that the client certificate names, unless it asks too often.
fn check_device(app: &App, peer: &Peer) -> Result<DeviceIdentityCert, RouteError> {
    let known = certificate(peer).ok_or(RouteError::NoCertificate)?;
    app.by_device.check(known.device).map_err(RouteError::TooMany)?;
    Ok(known)
}

fn certificate(peer: &Peer) -> Option<DeviceIdentityCert> {
    let DeviceCertificate { device, generation, issuer, .. } = peer.device?;
    Some(DeviceIdentityCert { device, generation, issuer })
}

async fn message<T: DeserializeOwned>(
    app: &App,
    peer: &Peer,
    request: Request,
    limit: usize,
) -> Result<T, RouteError> {
    let body = body::read(app, holders(peer), request, limit).await?;
    serde_json::from_slice(&body).map_err(|error| RouteError::malformed_message(&error))
}

/// Runs a service if there is room for it. Only a completely received message takes a place, so that slow
/// senders cannot keep others out.
async fn run_admitted<T, E: Into<RouteError>>(
    app: &App,
    service: impl Future<Output = Result<T, E>>,
) -> Result<T, RouteError> {
    let _place = app.requests.try_acquire().map_err(|_| RouteError::Busy)?;
    let _counted = app.metrics.count_in_progress();
    let answered = timeout(app.request_timeout, service).await.map_err(|_| RouteError::Busy)?;
    answered.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_held_back_take_the_same_time_whatever_was_read() {
        for (took_us, expected_ms) in [(0, 100), (700, 100), (1_000, 100), (99_999, 100), (100_001, 200)] {
            let steps = round_up_to_step(Duration::from_micros(took_us));
            assert_eq!(steps, Duration::from_millis(expected_ms), "{took_us}");
        }
    }
}
