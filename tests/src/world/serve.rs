//! Serves replies that a function chooses, over real TLS 1.3, on a thread of its own.

use super::keys::Keys;
use anyhow::{Context as _, Result};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::Request as HttpRequest,
    response::{IntoResponse as _, Response},
};
use axum_server::{Handle, tls_rustls::RustlsConfig};
use futures_util::stream;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use serde::Serialize;
use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    ops::Range,
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use unbox_common::protocol::problem::{self, Problem};

/// The largest request that is read.
const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The parts of a request that tests look at.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its path.
    pub path: String,
    /// Its `Range` header.
    pub range: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
}

/// A reply.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Status, content type, extra headers, body.
    Whole {
        /// HTTP status.
        status: u16,
        /// `Content-Type`.
        content_type: &'static str,
        /// Further headers.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// These bytes over and over, without end.
    Endless(Vec<u8>),
    /// This body, one byte a second.
    Drip(Vec<u8>),
    /// Silence for this long; then an empty answer.
    Silence(Duration),
    /// The first bytes of this body; then the connection breaks.
    Broken(Vec<u8>),
}

impl Reply {
    /// Makes a good answer.
    #[must_use]
    pub fn json(message: &impl Serialize) -> Self {
        let body = serde_json::to_vec(message).unwrap_or_default();
        Self::Whole { status: 200, content_type: "application/json", headers: Vec::new(), body }
    }

    /// Makes a refusal.
    #[must_use]
    pub fn problem(problem: &Problem) -> Self {
        let body = serde_json::to_vec(problem).unwrap_or_default();
        let headers =
            problem.retry_after_s.map(|seconds| ("retry-after", seconds.to_string())).into_iter().collect();
        Self::Whole { status: problem.status, content_type: problem::CONTENT_TYPE, headers, body }
    }

    /// Makes an answer outside of every protocol.
    #[must_use]
    pub fn text(status: u16, text: String) -> Self {
        Self::Whole { status, content_type: "text/plain", headers: Vec::new(), body: text.into_bytes() }
    }

    /// Makes a redirect.
    #[must_use]
    pub fn redirect(location: &str) -> Self {
        let headers = vec![("location", location.to_owned())];
        Self::Whole { status: 307, content_type: "text/plain", headers, body: Vec::new() }
    }

    /// Makes the answer for an artifact, whole or from an offset (RFC 9110, section 14).
    #[must_use]
    pub fn artifact(bytes: Option<&Vec<u8>>, request: &Request) -> Self {
        let Some(bytes) = bytes else { return Self::text(404, "no such artifact".to_owned()) };
        let content_type = "application/octet-stream";
        let offset = request
            .range
            .as_deref()
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match offset {
            Some(offset) if offset < bytes.len() => {
                let Range { start, end } = offset..bytes.len();
                let headers = vec![("content-range", format!("bytes {start}-{}/{end}", end - 1))];
                let body = bytes.get(start..).unwrap_or_default().to_vec();
                Self::Whole { status: 206, content_type, headers, body }
            }
            _ => Self::Whole { status: 200, content_type, headers: Vec::new(), body: bytes.clone() },
        }
    }

    fn into_response(self) -> Response {
        match self {
            Self::Whole { status, content_type, headers, body } => {
                let mut response = Response::builder().status(status).header("content-type", content_type);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                response.body(Body::from(body)).unwrap_or_else(|error| error.to_string().into_response())
            }
            Self::Endless(bytes) => {
                stream_body(stream::repeat_with(move || Ok::<_, Infallible>(bytes.clone())))
            }
            Self::Drip(bytes) => stream_body(stream::unfold(bytes.into_iter(), |mut bytes| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                bytes.next().map(|byte| (Ok::<_, Infallible>(vec![byte]), bytes))
            })),
            Self::Silence(span) => stream_body(stream::once(async move {
                tokio::time::sleep(span).await;
                Ok::<_, Infallible>(Vec::new())
            })),
            Self::Broken(bytes) => {
                let parts = [Ok(bytes), Err(std::io::Error::other("broken on purpose"))];
                stream_body(stream::iter(parts))
            }
        }
    }
}

fn stream_body<E>(stream: impl stream::Stream<Item = Result<Vec<u8>, E>> + Send + 'static) -> Response
where
    E: Into<axum::BoxError> + 'static,
{
    ([("content-type", "application/json")], Body::from_stream(stream)).into_response()
}

/// A running server, which stops when dropped.
#[derive(Debug)]
pub struct Served {
    /// The address on which it listens.
    pub address: SocketAddr,
    handle: Handle<SocketAddr>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Starts serving.
    ///
    /// # Errors
    /// If there is no free port or the certificate cannot be used.
    pub(super) fn start(
        keys: &Keys,
        reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
        listener.set_nonblocking(true).context("prepare the listener")?;
        let address = listener.local_addr().context("find the port")?;
        let tls = RustlsConfig::from_config(Arc::new(tls(keys)?));
        let (handle, reply) = (Handle::new(), Arc::new(reply));
        let app = Router::new().fallback(move |request: HttpRequest| answer(request, Arc::clone(&reply)));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
        let server = {
            let _inside = runtime.enter();
            axum_server::from_tcp_rustls(listener, tls).context("start the server")?
        };
        let server = server.handle(handle.clone()).serve(app.into_make_service());
        let thread = std::thread::spawn(move || {
            // It ends when the handle says so; a test that still needs it sees its connection fail.
            let _ = runtime.block_on(server);
        });
        Ok(Self { address, handle, thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.handle.shutdown();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn answer(request: HttpRequest, reply: Arc<impl Fn(&Request) -> Reply>) -> Response {
    let path = request.uri().path().to_owned();
    let range = request.headers().get("range").and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let body = to_bytes(request.into_body(), MAX_REQUEST_BYTES)
        .await
        .map(|bytes| bytes.to_vec())
        .unwrap_or_default();
    reply(&Request { path, range, body }).into_response()
}

fn tls(keys: &Keys) -> Result<ServerConfig> {
    let (chain, key) = keys.server_certificate()?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .context("read the chain")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("read the key")?;
    let mut roots = RootCertStore::empty();
    roots.add(
        CertificateDer::from_pem_slice(keys.device_ca_pem().as_bytes()).context("read the device CA")?,
    )?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .context("check client certificates")?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .context("ask for TLS 1.3")?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .context("use the certificate")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
