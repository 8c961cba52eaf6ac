//! The one HTTP client, the file of the device's key, and one try of the exchange.

use super::{AGENT_VERSION, CertificateChain, DeviceKey, Granted, KeyError, Start, key::MAX_KEY_BYTES};
use crate::{
    boot::{self, BootContext, Layout, Token, Trust},
    clock::TrustedTime,
    entropy::Entropy,
    failure::{DeviceFault, Failure, Misbehaviour, Refusal, TransportError},
    files::{self, Attributes, Entry, FilesError, Owner, Status},
    tpm::{Tpm, TpmKey, TpmUse},
};
use reqwest::{
    Response, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, RANGE, RETRY_AFTER},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::UnixTime,
    sign::{CertifiedKey, SingleCertAndKey},
    time_provider::TimeProvider,
};
use std::{
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    sync::Arc,
    time::Duration,
};
use unbox_common::{
    identity::HardwareIdentity,
    protocol::{
        latest::{HELLO_PATH, PROVE_PATH},
        limits::{MAX_CHALLENGE_BYTES, MAX_GRANT_BYTES, MAX_PROBLEM_BYTES, MAX_TOKEN_BYTES},
        problem,
    },
    secret::Secret,
    timestamp::Timestamp,
};
use url::Url;

/// For name, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two reads.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// For one message and its answer.
const MESSAGE_TIMEOUT: Duration = Duration::from_mins(1);
/// The slowest fetch that is put up with, in bytes per second; a slower one is cut and resumed.
const SLOWEST_FETCH: u64 = 16 * 1024;

const JSON: &str = "application/json";
const OCTETS: &str = "application/octet-stream";

/// How long the client waits, so that tests need not.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For name, TCP and TLS together.
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

/// The one HTTP client: TLS 1.3 to the anchors of the image, no redirects, everything capped.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    patience: Patience,
}

/// What the client is built from.
#[derive(Debug, Clone, Copy)]
pub struct ClientSettings<'a> {
    /// Whom to trust.
    pub trust: &'a Trust,
    /// What time it is, for certificates.
    pub time: TrustedTime,
    /// The proxy, if one is configured; the environment's is never used.
    pub proxy: Option<&'a Url>,
    /// The client certificate and its key, once the device has one.
    pub certificate: Option<(&'a CertificateChain, &'a DeviceKey)>,
    /// How long to wait.
    pub patience: Patience,
}

impl<'a> ClientSettings<'a> {
    /// The settings of a device that has no certificate yet.
    #[must_use]
    pub fn of(context: &'a BootContext) -> Self {
        Self {
            trust: &context.trust,
            time: context.time(),
            proxy: context.settings.proxy.as_ref(),
            certificate: None,
            patience: Patience::default(),
        }
    }
}

/// The time for certificates: the trusted one, when the client was made.
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
    /// [`DeviceFault`] if anchors, certificate or key cannot be used.
    pub fn new(settings: &ClientSettings<'_>) -> Result<Self, DeviceFault> {
        let tls = tls(settings)?;
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
            let proxy = reqwest::Proxy::all(proxy.clone()).map_err(DeviceFault::Client)?;
            builder = builder.proxy(proxy);
        }
        Ok(Self { http: builder.build().map_err(DeviceFault::Client)?, patience: settings.patience })
    }

    /// Sends a message and reads its answer, up to `limit` bytes.
    ///
    /// # Errors
    /// [`Failure`], by whose fault it is.
    pub async fn post(&self, to: Url, message: Vec<u8>, limit: usize) -> Result<Vec<u8>, Failure> {
        let response = self
            .http
            .post(to)
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            .timeout(self.patience.message)
            .body(message)
            .send()
            .await
            .map_err(transport)?;
        let response = accepted(response).await?;
        if response.status() != StatusCode::OK {
            return Err(unexpected(&response).into());
        }
        expect_type(&response, JSON)?;
        body(response, limit).await
    }

    /// Calls a method of the management API with an API key, and with a message unless it is one that only
    /// reads: the status, and the answer up to `limit` bytes, whatever it is.
    ///
    /// # Errors
    /// [`Failure`], by whose fault it is; a redirect is one.
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
            .map_err(transport)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(Misbehaviour::Redirected(status.as_u16()).into());
        }
        expect_type(&response, JSON)?;
        Ok((status.as_u16(), body(response, limit).await?))
    }

    /// Asks for an artifact of `size` bytes, from byte `from` on. The answer's status is 200
    /// (the whole) or 206 (a part); its body is the caller's to read.
    ///
    /// # Errors
    /// [`Failure`], by whose fault it is; a 404 and a 416 are an unexpected status.
    pub async fn fetch(&self, artifact: Url, from: u64, size: u64) -> Result<Response, Failure> {
        let time = self.patience.message + Duration::from_secs(size / SLOWEST_FETCH);
        let mut request = self.http.get(artifact).header(ACCEPT, OCTETS).timeout(time);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = accepted(request.send().await.map_err(transport)?).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            _ => Err(unexpected(&response).into()),
        }
    }
}

fn tls(settings: &ClientSettings<'_>) -> Result<ClientConfig, DeviceFault> {
    let mut roots = RootCertStore::empty();
    for anchor in &settings.trust.anchors {
        roots.add(anchor.clone()).map_err(DeviceFault::Anchors)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let time = Arc::new(FixedTime(settings.time.now));
    let builder = ClientConfig::builder_with_details(provider, time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(DeviceFault::Anchors)?
        .with_root_certificates(roots);
    Ok(match settings.certificate {
        Some((chain, key)) => {
            let certified = CertifiedKey::new(chain.for_tls(), key.for_tls()?);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    })
}

/// Turns a "no", a redirect and everything else that is no answer into a failure.
async fn accepted(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    if status.is_redirection() {
        return Err(Misbehaviour::Redirected(status.as_u16()).into());
    }
    let nothing_to_read = unexpected(&response);
    if expect_type(&response, problem::CONTENT_TYPE).is_err() {
        return Err(nothing_to_read.into());
    }
    let header = retry_after(response.headers());
    let document = body(response, MAX_PROBLEM_BYTES).await?;
    let Ok(problem) = serde_json::from_slice::<problem::Problem>(&document) else {
        return Err(nothing_to_read.into());
    };
    let told = problem.retry_after_s.map(|seconds| Duration::from_secs(seconds.into()));
    Err(Refusal { problem: Box::new(problem), retry_after: told.max(header) }.into())
}

fn unexpected(response: &Response) -> Misbehaviour {
    Misbehaviour::UnexpectedStatus {
        status: response.status().as_u16(),
        retry_after: retry_after(response.headers()),
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); the form with a date needs a clock that
/// both sides agree on, and is passed over.
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

/// Reads a body up to `limit` bytes, and not one chunk further.
async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(transport)? {
        if bytes.len() + chunk.len() > limit {
            return Err(Misbehaviour::TooLarge { limit }.into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Finds out what kind of transport failure the client's error is.
pub(crate) fn transport(error: reqwest::Error) -> TransportError {
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

/// The TLS error at the bottom of a client's error, if there is one.
fn tls_cause(error: &reqwest::Error) -> Option<rustls::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        // An I/O error carries its cause inside, and does not name it as its source.
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

/// Makes the exchange, where nobody has made it yet. What leads to it is for everybody to pass.
///
/// # Errors
/// [`FilesError`].
pub fn make_exchange(layout: &Layout) -> Result<(), FilesError> {
    files::make_directory(&layout.state(), files::PUBLIC_DIRECTORY)?;
    files::make_directory(&layout.exchange(), files::PRIVATE_DIRECTORY)
}

/// Reads the device's key, or makes it: a key that the factory put there is used as it is.
///
/// # Errors
/// [`KeyError`].
pub fn device_key(layout: &Layout, entropy: &Entropy) -> Result<DeviceKey, KeyError> {
    let path = layout.device_key();
    make_exchange(layout)?;
    let Some(text) = files::read(&path, MAX_KEY_BYTES)? else {
        let key = new_key(layout, entropy)?;
        let text = key.to_file();
        // Root may make it, in a factory; it is for whoever owns the exchange.
        let exchange = layout.exchange();
        let owner = exchange.metadata().map_err(|source| FilesError::Read { path: exchange, source })?;
        let owner = Some(Owner { uid: owner.uid(), gid: owner.gid() });
        let attributes = Attributes { mode: files::PRIVATE_FILE, owner };
        Entry::of(&path)?.write(attributes, |file| file.write_all(text.expose().as_bytes()))?;
        return Ok(key);
    };
    let text = Secret::new(String::from_utf8_lossy(&text).into_owned());
    if let Status::File(attributes, _) = Entry::of(&path)?.status()?
        && attributes.mode & 0o007 != 0
    {
        return Err(KeyError::Exposed(path));
    }
    let text = text.expose().as_bytes();
    let read = match text {
        [b'{', ..] => TpmKey::from_file(text, &layout.tpm()).map(DeviceKey::in_tpm).ok(),
        _ => DeviceKey::from_pem(text, entropy).ok(),
    };
    read.ok_or(KeyError::NotAKey(path))
}

/// Makes a key, in the TPM where there is one and the settings leave it to us.
fn new_key(layout: &Layout, entropy: &Entropy) -> Result<DeviceKey, KeyError> {
    let tpm_use = boot::io::tpm_use(layout);
    if tpm_use == TpmUse::Never {
        return DeviceKey::generate(entropy);
    }
    let salt = entropy.nonce().map_err(KeyError::Generate)?;
    let path = layout.tpm();
    let opened =
        Tpm::open(&path).and_then(|tpm| tpm.map(|mut tpm| TpmKey::make(&mut tpm, &path, salt)).transpose());
    match (opened, tpm_use) {
        (Ok(Some(key)), _) => Ok(DeviceKey::in_tpm(key)),
        (Ok(None), TpmUse::Required) => Err(KeyError::NoTpm),
        (Err(error), TpmUse::Required) => Err(error.into()),
        (Ok(None), _) => DeviceKey::generate(entropy),
        (Err(error), _) => {
            // A device enrolls with a broken TPM, too, unless its claim asks for the TPM's proof.
            tracing::warn!(error = &error as &dyn std::error::Error, "the key is made in software");
            DeviceKey::generate(entropy)
        }
    }
}

/// Whether the device's key is in a TPM that this device does not have: nobody here can use it again.
///
/// # Errors
/// [`KeyError`] if the TPM cannot be asked.
pub fn key_is_elsewhere(layout: &Layout, entropy: &Entropy) -> Result<bool, KeyError> {
    if !layout.device_key().exists() {
        return Ok(false);
    }
    let key = device_key(layout, entropy)?;
    Ok(key.tpm().map(TpmKey::is_here).transpose()? == Some(false))
}

/// Tries the exchange once: two round trips on one connection.
///
/// # Errors
/// [`Failure`]; nothing has changed on this device.
pub async fn enroll(
    context: &BootContext,
    client: &Client,
    identity: HardwareIdentity,
    key: &DeviceKey,
    token: Option<&Token>,
    entropy: &Entropy,
) -> Result<Granted, Failure> {
    let server = context.server()?;
    let start = Start {
        identity,
        key: key.public().clone(),
        nonce: entropy.nonce()?,
        root_version: context.trust.root.version,
        token: token.map(|token| token.secret.clone()),
        reset_ticket: reset_ticket(&context.layout)?,
        tpm: key.tpm().map(|tpm| tpm.introduction().clone()),
    };
    let unsendable = |source| Misbehaviour::Unreadable { what: "own message", source };
    let (hello, next) = start.hello().map_err(unsendable)?;
    let challenge = client.post(server.at(HELLO_PATH), hello, MAX_CHALLENGE_BYTES).await?;
    let prove = next.handle(&challenge)?;
    let signature = key.sign(prove.transcript(), entropy)?;
    let evidence = match (key.tpm(), prove.credential()) {
        (Some(tpm), Some(credential)) => {
            Some(tpm.answer(credential, prove.transcript()).map_err(KeyError::from)?)
        }
        _ => None,
    };
    let (prove, next) = prove.signed(signature, evidence).map_err(unsendable)?;
    let grant = client.post(server.at(PROVE_PATH), prove, MAX_GRANT_BYTES).await?;
    Ok(next.handle(&grant)?)
}

fn reset_ticket(layout: &Layout) -> Result<Option<Secret>, DeviceFault> {
    // A ticket that cannot be one is not sent: the server then says what it needs instead.
    let bytes = files::read(&layout.reset_ticket(), MAX_TOKEN_BYTES as u64 + 2)?;
    Ok(bytes.and_then(|bytes| boot::parse_token(&Secret::new(String::from_utf8_lossy(&bytes).into_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        handshake::certificate::tests::certificate,
        test_server::{CERTIFIED_FROM, NOW, Reply, Request, TestServer, Then},
    };
    use serde_json::json;
    use std::time::Instant;
    use unbox_common::{
        bytes::{Bytes, FixedBytes},
        identity::RawIdentifier,
        protocol::{latest::Hello, problem::Problem},
        refusal::RefusalKind,
    };

    fn identity() -> HardwareIdentity {
        let tag = r#"[{"kind":"service_tag","value":"7XK9Q13","source":"smbios"}]"#;
        let raw: Vec<RawIdentifier> = serde_json::from_str(tag).unwrap();
        HardwareIdentity::from_raw(&raw).unwrap()
    }

    /// One try against a server, and what lies on the device afterwards.
    async fn tried_at(server: &TestServer, now: Timestamp) -> Result<Granted, Failure> {
        let root = tempfile::tempdir().unwrap();
        let context = server.context(Layout::new(root.path()));
        let entropy = Entropy::system();
        let key = device_key(&context.layout, &entropy).unwrap();
        let client = TestServer::client(&context, now);
        let tried = enroll(&context, &client, identity(), &key, None, &entropy).await;
        if tried.is_err() {
            let left: Vec<_> = context.layout.exchange().read_dir().unwrap().collect();
            assert_eq!(left.len(), 1, "only the key: {left:?}");
        }
        tried
    }

    async fn kind_of(server: &TestServer) -> &'static str {
        tried_at(server, NOW).await.unwrap_err().kind()
    }

    /// An honest server, for a key that it reads from the hello.
    fn honest(certify: impl Fn(&Hello) -> Bytes + Send + Sync + 'static) -> TestServer {
        let seen = std::sync::Mutex::new(None);
        TestServer::start(move |request| {
            if request.line.contains(HELLO_PATH) {
                *seen.lock().unwrap() = serde_json::from_slice::<Hello>(&request.body).ok();
                let ticket = Bytes(b"ticket".to_vec());
                Reply::json(&json!({"ticket": ticket, "nonce": FixedBytes([2; 32]), "proof": "identifiers"}))
            } else {
                let golden = include_str!("../../../common/tests/golden/v1/grant.json");
                let mut grant: serde_json::Value = serde_json::from_str(golden).unwrap();
                let hello = seen.lock().unwrap().take().unwrap();
                grant["certificate_chain"] = json!([certify(&hello)]);
                Reply::json(&grant)
            }
        })
    }

    #[tokio::test]
    async fn an_honest_server_takes_the_device_in_over_one_connection() {
        for _ in 0..20 {
            let root = tempfile::tempdir().unwrap();
            let layout = Layout::new(root.path());
            let entropy = Entropy::system();
            let key = device_key(&layout, &entropy).unwrap();
            let issued = certificate(&key, CERTIFIED_FROM, NOW.after(Duration::from_hours(1)));
            let server = honest(move |_| issued.clone());
            let context = server.context(layout);
            let client = TestServer::client(&context, NOW);
            let granted = enroll(&context, &client, identity(), &key, None, &entropy).await.unwrap();
            assert_eq!(granted.grant().device_id.get(), 4211);
            assert_eq!(server.connections(), 1);
            let [hello, prove]: [Request; 2] = server.requests().try_into().unwrap();
            assert_eq!(hello.header("content-type"), Some("application/json"));
            assert!(prove.line.starts_with("POST /device/v1/prove "));
        }
    }

    #[tokio::test]
    async fn answers_that_are_none_are_named() {
        let json = &[("content-type", "application/json")][..];
        let html = &[("content-type", "text/html")][..];
        for (reply, expected) in [
            (Reply::with("200 OK", json, b"\xff\x00garbage"), "answer_unreadable"),
            (Reply::with("200 OK", json, b"{}"), "answer_unreadable"),
            (Reply::with("200 OK", html, b"<p>Please sign in to this Wi-Fi"), "wrong_content_type"),
            (Reply::with("302 Found", &[("location", "https://elsewhere.example/")], b""), "redirected"),
            (Reply::with("307 Temporary Redirect", &[("location", "/device/v1/hello")], b""), "redirected"),
            (Reply::with("204 No Content", json, b""), "unexpected_status"),
            (Reply::with("502 Bad Gateway", html, b"<p>upstream"), "unexpected_status"),
            (
                Reply::with(
                    "404 Not Found",
                    &[("content-type", "application/problem+json")],
                    b"{\"kind\":\"teapot\"}",
                ),
                "unexpected_status",
            ),
            (Reply::with("200 OK", json, &vec![b' '; MAX_CHALLENGE_BYTES + 1]), "answer_too_large"),
            (
                Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n ").then(Then::Endless),
                "answer_too_large",
            ),
            (
                Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n ").then(Then::Drip),
                "timed_out",
            ),
            (Reply::raw("HTTP/1.1 200 OK\r\nx: ").then(Then::Drip), "timed_out"),
            (Reply::raw("").then(Then::Stall), "timed_out"),
            (Reply::raw("").then(Then::Cut), "connection_cut"),
            (
                Reply::raw(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
                )
                .then(Then::Cut),
                "connection_cut",
            ),
            (Reply::raw("SSH-2.0-OpenSSH_9.2\r\n").then(Then::Cut), "connection_cut"),
        ] {
            let shown = format!("{reply:.120?}");
            let server = TestServer::start(move |_| reply.clone());
            #[expect(clippy::disallowed_methods, reason = "the test measures how long it took")]
            let begun = Instant::now();
            assert_eq!(kind_of(&server).await, expected, "{shown}");
            assert!(begun.elapsed() < Duration::from_secs(4), "{shown}: {:?}", begun.elapsed());
        }
    }

    #[tokio::test]
    async fn what_is_not_tls_1_3_is_refused() {
        const OLD_HELLO: &[u8] = b"\x16\x03\x03\x00\x2c\x02\x00\x00\x28\x03\x03\
            00000000000000000000000000000000\x00\xc0\x2f\x00\x00\x00";
        for (bytes, expected) in [
            (&b"\x15\x03\x03\x00\x02\x02\x46"[..], "tls_failed"),
            (OLD_HELLO, "tls_failed"),
            (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "tls_failed"),
        ] {
            assert_eq!(kind_of(&TestServer::without_tls(bytes)).await, expected, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_strangers_certificate_and_a_wrong_time_are_told_apart() {
        let server = TestServer::start(|_| Reply::raw("").then(Then::Cut));
        let stranger = TestServer::start(|_| Reply::raw("").then(Then::Cut));
        let root = tempfile::tempdir().unwrap();
        let mut context = server.context(Layout::new(root.path()));
        context.settings.server = stranger.context(Layout::new("/")).settings.server;
        let client = TestServer::client(&context, NOW);
        let entropy = Entropy::system();
        let key = DeviceKey::generate(&entropy).unwrap();
        let refused = enroll(&context, &client, identity(), &key, None, &entropy).await.unwrap_err();
        assert_eq!(refused.kind(), "server_untrusted");
        assert!(stranger.requests().is_empty(), "nothing was said to a stranger");

        for wrong in [Timestamp::from_secs(1_000_000_000), Timestamp::from_secs(4_000_000_000)] {
            let skewed = tried_at(&server, wrong).await.unwrap_err();
            assert_eq!(skewed.kind(), "clock_skew", "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_refusal_brings_the_servers_words_and_its_pause() {
        let problem = Problem::new(RefusalKind::Busy).retry_after_s(7);
        let server = TestServer::start(move |_| Reply::problem(&problem));
        let refused = tried_at(&server, NOW).await.unwrap_err();
        assert_eq!((refused.kind(), refused.hint()), ("busy", Some(Duration::from_secs(7))));
        let overloaded = Reply::with("503 Busy", &[("retry-after", "11")], b"");
        let server = TestServer::start(move |_| overloaded.clone());
        let refused = tried_at(&server, NOW).await.unwrap_err();
        assert_eq!(refused.hint(), Some(Duration::from_secs(11)));
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let server = TestServer::start(|_| Reply::raw(""));
        let root = tempfile::tempdir().unwrap();
        let mut context = server.context(Layout::new(root.path()));
        context.settings.server =
            Some(boot::Server::parse("https://localhost:1", boot::Origin::Credential).unwrap());
        let client = TestServer::client(&context, NOW);
        let entropy = Entropy::system();
        let key = DeviceKey::generate(&entropy).unwrap();
        let failed = enroll(&context, &client, identity(), &key, None, &entropy).await.unwrap_err();
        assert_eq!(failed.kind(), "unreachable");
    }

    #[test]
    fn without_a_tpm_that_works_the_settings_say_where_a_key_is_made() {
        let entropy = Entropy::system();
        for (setting, broken, expected) in [
            ("", false, Ok(())),
            ("tpm = \"auto\"", true, Ok(())),
            ("tpm = \"never\"", true, Ok(())),
            ("tpm = \"required\"", false, Err("no_tpm")),
            ("tpm = \"required\"", true, Err("tpm_failed")),
        ] {
            let root = tempfile::tempdir().unwrap();
            let layout = Layout::new(root.path());
            std::fs::create_dir_all(root.path().join("etc/unbox")).unwrap();
            files::replace(&layout.local_config(), setting.as_bytes(), 0o644).unwrap();
            if broken {
                // A file where the device should be.
                std::fs::create_dir(root.path().join("dev")).unwrap();
                std::fs::File::create_new(layout.tpm()).unwrap();
            }
            let made = device_key(&layout, &entropy);
            assert_eq!(layout.device_key().exists(), expected.is_ok(), "{setting} {broken}");
            let made =
                made.map(|key| assert!(key.tpm().is_none())).map_err(|error| Failure::from(error).kind());
            assert_eq!(made, expected, "{setting} {broken}");
        }
    }

    #[test]
    fn a_file_that_only_says_to_be_in_the_tpm_is_no_key() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        make_exchange(&layout).unwrap();
        for text in ["{", "{}", r#"{"held_in":"tpm"}"#, r#"{"held_in":"software"}"#] {
            files::replace(&layout.device_key(), text.as_bytes(), 0o600).unwrap();
            assert!(matches!(device_key(&layout, &Entropy::system()), Err(KeyError::NotAKey(_))), "{text}");
        }
    }

    #[test]
    fn the_device_key_is_made_once_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let entropy = Entropy::system();
        let key = device_key(&layout, &entropy).unwrap();
        let mode = layout.device_key().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(device_key(&layout, &entropy).unwrap().public(), key.public());

        let factory = DeviceKey::generate(&entropy).unwrap();
        files::replace(&layout.device_key(), factory.to_file().expose().as_bytes(), 0o600).unwrap();
        assert_eq!(device_key(&layout, &entropy).unwrap().public(), factory.public());

        files::replace(&layout.device_key(), factory.to_file().expose().as_bytes(), 0o644).unwrap();
        assert!(matches!(device_key(&layout, &entropy), Err(KeyError::Exposed(_))));
        files::replace(&layout.device_key(), b"half a k", 0o600).unwrap();
        assert!(matches!(device_key(&layout, &entropy), Err(KeyError::NotAKey(_))));
        let kept = files::read(&layout.device_key(), 99).unwrap().unwrap();
        assert_eq!(kept, b"half a k", "a damaged key is not replaced by itself");
    }
}
