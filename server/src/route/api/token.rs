//! `POST /token`: an access token in exchange for a service account's assertion (RFC 6749, section 3.2).

use crate::{
    log::chain,
    route::{App, Peer, RouteError, address_key, body, holders},
    service::{OAuthError, OAuthRefusal, ServiceError, TokenAnswer, TokenRequest},
};
use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use std::sync::Arc;
use tokio::time::timeout;

/// The largest form that is read, in bytes.
const MAX_FORM_BYTES: usize = 64 * 1024;
/// The range of the pause before the next try at a busy moment, in seconds.
const BUSY_PAUSE_S: (u32, u32) = (2, 15);

/// `POST /token`
pub(crate) async fn token(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let mut response = match exchange_token(&app, &peer, request).await {
        Ok(answer) => Json(answer).into_response(),
        Err(refused) => refused.into_response(&app),
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

enum Refused {
    /// Refused before the request was understood.
    Route(RouteError),
    /// Refused by the grant.
    OAuth(OAuthError),
}

async fn exchange_token(app: &App, peer: &Peer, request: Request) -> Result<TokenAnswer, Refused> {
    app.by_address.check(address_key(peer)).map_err(RouteError::TooMany)?;
    let form = body::read_form(app, holders(peer), request, MAX_FORM_BYTES).await?;
    let _place = app.requests.try_acquire().map_err(|_| RouteError::Busy)?;
    let exchange = async {
        let sign_in = app.services.tenancy.verify_assertion(TokenRequest::parse(&form)?).await?;
        // From here on the caller is known, and each token is a row for an hour.
        app.count_query(sign_in.account()).map_err(RouteError::TooMany)?;
        Ok(app.services.tenancy.issue_token(sign_in).await?)
    };
    timeout(app.request_timeout, exchange).await.map_err(|_| RouteError::Busy)?
}

impl From<RouteError> for Refused {
    fn from(error: RouteError) -> Self {
        Self::Route(error)
    }
}

impl From<OAuthError> for Refused {
    fn from(error: OAuthError) -> Self {
        Self::OAuth(error)
    }
}

impl Refused {
    /// Answers with any error in the form of RFC 6749, section 5.2.
    fn into_response(self, app: &App) -> Response {
        let invalid = OAuthRefusal::InvalidRequest.name();
        let busy = "The server is busy. Try again in a moment.".to_owned();
        let pause = || Some(app.jittered_seconds(BUSY_PAUSE_S.0, BUSY_PAUSE_S.1));
        let (status, error, description, pause) = match self {
            Self::OAuth(OAuthError::Refused { refusal, description }) => {
                (StatusCode::BAD_REQUEST, refusal.name(), description.to_owned(), None)
            }
            Self::OAuth(OAuthError::Failed(error)) => {
                if !matches!(error, ServiceError::Busy) {
                    tracing::error!(error = chain(&error), "an access token could not be issued");
                }
                (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", busy, pause())
            }
            Self::Route(RouteError::Message(status, description)) => (status, invalid, description, None),
            Self::Route(RouteError::Slow) => {
                let description = "The request took too long to arrive.".to_owned();
                (StatusCode::REQUEST_TIMEOUT, invalid, description, None)
            }
            Self::Route(RouteError::TooMany(wait)) => {
                let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
                let description =
                    "Too many requests. Wait, and use a token for as long as it is good.".to_owned();
                (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", description, Some(seconds))
            }
            Self::Route(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", busy, pause()),
        };
        let document = json!({ "error": error, "error_description": description });
        let mut response = (status, Json(document)).into_response();
        if let Some(seconds) = pause {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
