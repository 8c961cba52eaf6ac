//! The only HTTP client: TLS 1.3 to given anchors, no redirects, every answer capped. Handshake, payload,
//! report and station send through it.

mod error;

pub use error::{ClientError, Misbehaviour, Refusal, TransportError};

use crate::{AGENT_VERSION, clock::TrustedTime, failure::Failure, pacer::Pacer};
use reqwest::{
    Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, RANGE, RETRY_AFTER},
};
use rustls::{
    AlertDescription, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{io, sync::Arc, time::Duration};
use unbox_common::{
    protocol::{limits::MAX_PROBLEM_BYTES, problem},
    secret::Secret,
    timestamp::Timestamp,
};
use url::Url;

/// Limit for name resolution, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit between two reads.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// Limit for one message and its answer.
const MESSAGE_TIMEOUT: Duration = Duration::from_mins(1);
/// The slowest acceptable download, in bytes per second; a slower one is cut and resumed.
const SLOWEST_FETCH: u64 = 16 * 1024;

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// The timeouts of the client, adjustable so that tests need not wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For name resolution, TCP and TLS together.
    pub connect: Duration,
    /// Between two reads.
    pub read: Duration,
    /// For one message and its answer.
    pub message: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: CONNECT_TIMEOUT, read: READ_TIMEOUT, message: MESSAGE_TIMEOUT }
    }
}

/// The only HTTP client: TLS 1.3 to the anchors of the image, no redirects, everything capped.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    patience: Patience,
    pacer: Option<Pacer>,
    certified: bool,
}

/// The input for building a client.
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings<'a> {
    /// The trust anchors.
    pub anchors: &'a [CertificateDer<'static>],
    /// The time for judging certificates.
    pub time: TrustedTime,
    /// The proxy, if one is configured; the environment's is never used.
    pub proxy: Option<&'a Url>,
    /// The client certificate and its key, once the device has one.
    pub certificate: Option<&'a CertifiedKey>,
    /// The timeouts.
    pub patience: Patience,
    /// The rate limit of messages; none if absent.
    pub pacer: Option<&'a Pacer>,
}

/// The time for certificates: the trusted time when the client was made.
#[derive(Debug)]
struct FixedTime(Timestamp);

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.0)))
    }
}

impl Client {
    /// Builds the client.
    ///
    /// # Errors
    /// [`ClientError`] if the anchors are unusable.
    pub fn new(settings: &ClientSettings<'_>) -> Result<Self, ClientError> {
        let tls = tls_config(settings)?;
        #[expect(clippy::disallowed_methods, reason = "this is the one place that builds an HTTP client")]
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .pool_max_idle_per_host(1)
            .user_agent(format!("unbox-agent/{AGENT_VERSION}"))
            .connect_timeout(settings.patience.connect)
            .read_timeout(settings.patience.read);
        if let Some(proxy) = settings.proxy {
            let proxy = reqwest::Proxy::all(proxy.clone()).map_err(ClientError::Client)?;
            builder = builder.proxy(proxy);
        }
        Ok(Self {
            http: builder.build().map_err(ClientError::Client)?,
            patience: settings.patience,
            pacer: settings.pacer.cloned(),
            certified: settings.certificate.is_some(),
        })
    }

    /// Sends a message and reads its answer, up to `limit` bytes.
    ///
    /// # Errors
    /// [`Failure`], by the party at fault.
    pub async fn post(&self, to: Url, message: Vec<u8>, limit: usize) -> Result<Vec<u8>, Failure> {
        if let Some(pacer) = &self.pacer {
            pacer.wait_for_message().await;
        }
        let sent = self
            .http
            .post(to)
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            .timeout(self.patience.message)
            .body(message)
            .send()
            .await;
        if let (Some(pacer), Err(error)) = (&self.pacer, &sent)
            && error.is_connect()
        {
            pacer.uncount();
        }
        let response = check_status(sent.map_err(|error| self.classify(error))?).await?;
        if response.status() != StatusCode::OK {
            return Err(unexpected_status(&response).into());
        }
        expect_type(&response, JSON)?;
        read_body(response, limit).await
    }

    /// Classifies a failed request. In TLS 1.3, the handshake ends for the client before the server has
    /// checked the client's certificate (RFC 8446, section 4.4.2), so the server's verdict arrives as an
    /// alert instead of an answer. An earlier alert is not encrypted, and could come from anybody.
    fn classify(&self, error: reqwest::Error) -> TransportError {
        let verdict = tls_cause(&error).filter(|_| self.certified && !error.is_connect());
        match verdict {
            Some(cause @ rustls::Error::AlertReceived(alert)) if is_about_a_certificate(alert) => {
                TransportError::CertificateRefused(cause)
            }
            _ => transport_error(error),
        }
    }

    /// Calls a method of the management API with an API key, and with a message unless the method only
    /// reads. Returns the status, and the answer up to `limit` bytes, whatever it is.
    ///
    /// # Errors
    /// [`Failure`], by the party at fault; a redirect is one.
    pub async fn call(
        &self,
        to: Url,
        key: &Secret,
        message: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<(u16, Vec<u8>), Failure> {
        let request = match message {
            Some(message) => self.http.post(to).header(CONTENT_TYPE, JSON).body(message),
            None => self.http.get(to),
        };
        let response = request
            .header(ACCEPT, JSON)
            .bearer_auth(key.expose())
            .timeout(self.patience.message)
            .send()
            .await
            .map_err(transport_error)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Misbehaviour::Redirected(status.as_u16()).into());
        }
        expect_type(&response, JSON)?;
        Ok((status.as_u16(), read_body(response, limit).await?))
    }

    /// Requests an artifact of `size` bytes, starting at byte `from`. The answer's status is 200
    /// (everything) or 206 (a part); the caller reads its body.
    ///
    /// # Errors
    /// [`Failure`], by the party at fault; a 404 and a 416 are an unexpected status.
    pub async fn fetch(&self, artifact: Url, from: u64, size: u64) -> Result<Response, Failure> {
        let time = self.patience.message + Duration::from_secs(size / SLOWEST_FETCH);
        let mut request = self.http.get(artifact).header(ACCEPT, OCTETS).timeout(time);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = check_status(request.send().await.map_err(transport_error)?).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            _ => Err(unexpected_status(&response).into()),
        }
    }
}

fn tls_config(settings: &ClientSettings<'_>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    for anchor in settings.anchors {
        roots.add(anchor.clone()).map_err(ClientError::Anchors)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let time = Arc::new(FixedTime(settings.time.now));
    let builder = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ClientError::Anchors)?
        .with_root_certificates(roots);
    Ok(match settings.certificate {
        Some(certified) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified.clone())))
        }
        None => builder.with_no_client_auth(),
    })
}

/// Turns a refusal, a redirect and anything else that is not an answer into a failure.
async fn check_status(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        return Err(Misbehaviour::Redirected(status.as_u16()).into());
    }
    let nothing_to_read = unexpected_status(&response);
    if expect_type(&response, problem::CONTENT_TYPE).is_err() {
        return Err(nothing_to_read.into());
    }
    let header = retry_after(response.headers());
    let document = read_body(response, MAX_PROBLEM_BYTES).await?;
    let Ok(problem) = serde_json::from_slice::<problem::Problem>(&document) else {
        return Err(nothing_to_read.into());
    };
    let told = problem.retry_after_s.map(|seconds| Duration::from_secs(seconds.into()));
    Err(Refusal { problem: Box::new(problem), retry_after: told.max(header) }.into())
}

fn unexpected_status(response: &Response) -> Misbehaviour {
    Misbehaviour::UnexpectedStatus {
        status: response.status().as_u16(),
        retry_after: retry_after(response.headers()),
    }
}

/// Parses `Retry-After` in seconds (RFC 9110, section 10.2.3); the form with a date needs a clock that
/// both sides agree on, and is ignored.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn expect_type(response: &Response, expected: &'static str) -> Result<(), Misbehaviour> {
    let found = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    if found.is_some_and(|found| found.trim().eq_ignore_ascii_case(expected)) {
        Ok(())
    } else {
        Err(Misbehaviour::WrongContentType { expected })
    }
}

/// Parses a message of the server.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Misbehaviour> {
    serde_json::from_slice(bytes).map_err(|source| Misbehaviour::Unreadable { what, source })
}

/// Writes a message to the server.
pub(crate) fn write(message: &impl Serialize) -> Result<Vec<u8>, Misbehaviour> {
    serde_json::to_vec(message).map_err(|source| Misbehaviour::Unreadable { what: "own message", source })
}

/// Reads a body of at most `limit` bytes, and stops at the first chunk beyond it.
async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport_error)? {
        if bytes.len() + chunk.len() > limit {
            return Err(Misbehaviour::TooLarge { limit }.into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Returns true if a server refuses a client's certificate by this alert (RFC 8446, section 6.2).
const fn is_about_a_certificate(alert: AlertDescription) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked,
        CertificateUnknown, DecryptError, UnknownCA, UnsupportedCertificate,
    };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | DecryptError
            | UnknownCA
            | UnsupportedCertificate
    )
}

/// Classifies the client's transport error.
pub(crate) fn transport_error(error: reqwest::Error) -> TransportError {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    match tls_cause(&error) {
        Some(rustls::Error::InvalidCertificate(
            cause @ (Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }),
        )) => TransportError::OutsideItsTime(rustls::Error::InvalidCertificate(cause)),
        Some(cause @ rustls::Error::InvalidCertificate(_)) => TransportError::Untrusted(cause),
        Some(cause) => TransportError::Tls(cause),
        None if error.is_timeout() => TransportError::TimedOut(error),
        None if error.is_connect() => TransportError::Unreachable(error),
        None => TransportError::Cut(error),
    }
}

/// Returns the TLS error at the root of a client's error, if there is one.
fn tls_cause(error: &reqwest::Error) -> Option<rustls::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        // An I/O error carries its cause inside, but does not name it as its source.
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn std::error::Error + 'static));
        let found =
            error.downcast_ref::<rustls::Error>().or_else(|| inner.and_then(|inner| inner.downcast_ref()));
        if let Some(found) = found {
            return Some(found.clone());
        }
        next = inner.or_else(|| error.source());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entropy::Entropy,
        handshake::{CertificateChain, DeviceKey, certificate_of},
        layout::Layout,
        test_server::{CERTIFIED_FROM, NOW, TestServer},
    };

    #[tokio::test]
    async fn an_alert_before_tls_is_done_is_no_verdict_on_the_certificate() {
        let key = DeviceKey::generate(&Entropy::system()).unwrap();
        let own = [certificate_of(&key, CERTIFIED_FROM, NOW.plus(Duration::from_hours(1)))];
        let chain = CertificateChain::parse(&own, key.public()).unwrap();
        let certified = chain.certified_key(&key).unwrap();
        // unknown_ca, certificate_expired, access_denied: anybody on the path could send them.
        for alert in [
            &b"\x15\x03\x03\x00\x02\x02\x30"[..],
            b"\x15\x03\x03\x00\x02\x02\x2d",
            b"\x15\x03\x03\x00\x02\x02\x31",
        ] {
            let server = TestServer::start_without_tls(alert);
            let context = server.context(Layout::new("/"));
            let settings = ClientSettings {
                time: TrustedTime { now: NOW, skew: None },
                certificate: Some(&certified),
                ..context.client_settings()
            };
            let client = Client::new(&settings).unwrap();
            let to = context.server().unwrap().endpoint("/device/v1/check-in");
            let failed = client.post(to, Vec::new(), 1).await.unwrap_err();
            assert_eq!(failed.kind(), "tls_failed");
        }
    }
}
