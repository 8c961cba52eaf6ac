//! One HTTP/1.1 connection over TLS 1.3: a minimal client, for a load generator.

use anyhow::{Context as _, Result, bail};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, RETRY_AFTER},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

/// The longest that one exchange may take; a server under load answers or refuses long before.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// An answer: status, pause before the next try, body.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after_s: Option<u64>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// One open connection.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

/// The TLS anchors of a fleet: read once, because a fleet connects thousands of times.
#[derive(Debug, Clone)]
pub struct Anchors {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl Anchors {
    /// Trusts the certificates in a PEM file and nothing else.
    ///
    /// # Errors
    /// If the file holds no certificate.
    pub fn read(file: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for anchor in CertificateDer::pem_file_iter(file).context("read the anchors")? {
            roots.add(anchor.context("parse the anchors")?).context("trust an anchor")?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Ok(Self { roots: Arc::new(roots), provider })
    }

    /// Returns a TLS configuration, with a client certificate or without. No session is kept.
    ///
    /// # Errors
    /// If the certificate does not fit its key.
    pub fn tls(
        &self,
        identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .context("ask for TLS 1.3")?
            .with_root_certificates(Arc::clone(&self.roots));
        let mut config = match identity {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).context("use a client certificate")?
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

impl Connection {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// If the server cannot be reached, or is not the one that the anchors vouch for.
    pub async fn open(to: SocketAddr, name: &str, tls: Arc<ClientConfig>) -> Result<Self> {
        timeout(EXCHANGE_TIMEOUT, async {
            let tcp = TcpStream::connect(to).await.context("connect")?;
            tcp.set_nodelay(true).context("set TCP_NODELAY")?;
            let server = ServerName::try_from(name.to_owned()).context("parse the server's name")?;
            let stream = TlsConnector::from(tls).connect(server, tcp).await.context("TLS handshake")?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.context("start HTTP")?;
            tokio::spawn(connection);
            Ok(Self { sender, host: name.to_owned() })
        })
        .await
        .context("the server did not take the connection in time")?
    }

    /// Posts JSON and reads the answer.
    ///
    /// # Errors
    /// If the connection breaks, or the answer is late or too large.
    pub async fn post(&mut self, path: &str, body: Vec<u8>) -> Result<Answer> {
        let request = Request::post(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .context("build the request")?;
        timeout(EXCHANGE_TIMEOUT, async {
            self.sender.ready().await.context("wait for the connection")?;
            let answer = self.sender.send_request(request).await.context("send the request")?;
            let status = answer.status().as_u16();
            let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after_s = retry_after.and_then(|seconds| seconds.parse().ok());
            match Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await {
                Ok(body) => Ok(Answer { status, retry_after_s, body: body.to_bytes().to_vec() }),
                Err(error) => bail!("read the answer: {error}"),
            }
        })
        .await
        .context("the server did not answer in time")?
    }
}
