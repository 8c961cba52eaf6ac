//! A small TLS server for tests, which answers as told, and misbehaves when told to.

use crate::{
    boot::{BootContext, Layout, Origin, Server, Settings, Trust, trust_fixtures},
    clock::{ClockSkew, TrustedTime},
    http::{Client, ClientSettings, Patience},
};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection, SignatureScheme, StreamOwned,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use unbox_common::{protocol::problem::Problem, timestamp::Timestamp};

/// The time from which the server's certificate is valid, for sixty years.
pub(crate) const CERTIFIED_FROM: Timestamp = Timestamp::from_secs(1_790_000_000);
/// A time at which the certificate is valid.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// One request, as received.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// True if the client showed a certificate on this connection.
    pub(crate) certified: bool,
}

/// A reply, and the server's behaviour after it.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Then {
    /// Waits for the next request.
    GoOn,
    /// Cuts the connection.
    Cut,
    /// Sends nothing more, and keeps the connection open.
    Stall,
    /// Sends the last byte again and again, endlessly.
    Endless,
    /// The same, one byte every few milliseconds.
    Drip,
}

/// A server that runs until the test ends.
pub(crate) struct TestServer {
    port: u16,
    anchor: CertificateDer<'static>,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Reply {
    pub(crate) fn with(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut bytes = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend(format!("{name}: {value}\r\n").into_bytes());
        }
        bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).into_bytes());
        bytes.extend(body);
        Self::raw(bytes)
    }

    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), then: Then::GoOn }
    }

    pub(crate) fn json(body: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(body).unwrap();
        Self::with("200 OK", &[("content-type", "application/json")], &body)
    }

    pub(crate) fn problem(problem: &Problem) -> Self {
        let status = format!("{} No", problem.status);
        let body = serde_json::to_vec(problem).unwrap();
        Self::with(&status, &[("content-type", "application/problem+json")], &body)
    }

    pub(crate) fn then(mut self, then: Then) -> Self {
        self.then = then;
        self
    }
}

impl TestServer {
    /// Starts a server that speaks TLS 1.3 with a certificate of its own.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let (config, anchor) = make_tls_config();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (Arc::clone(&requests), Arc::new(answer));
        let (port, connections) = listen(move |stream| {
            let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            serve(&mut StreamOwned::new(tls, stream), answer.as_ref(), &log)
        });
        Self { port, anchor, connections, requests }
    }

    /// Starts a server that answers every connection with these bytes and without TLS.
    pub(crate) fn start_without_tls(bytes: &'static [u8]) -> Self {
        let (_, anchor) = make_tls_config();
        let (port, connections) = listen(move |mut stream| {
            let mut hello = [0; 1024];
            let _ = stream.read(&mut hello)?;
            stream.write_all(bytes)?;
            // Closing at once would reset the connection before the bytes are read.
            stream.shutdown(std::net::Shutdown::Write)?;
            io::copy(&mut stream, &mut io::sink()).map(drop)
        });
        Self { port, anchor, connections, requests: Arc::default() }
    }

    /// Returns the context of a device at `layout` that belongs to this server.
    pub(crate) fn context(&self, layout: Layout) -> BootContext {
        BootContext {
            layout,
            settings: Settings {
                server: Some(Server::parse(&self.url(), Origin::KernelCommandLine).unwrap()),
                token: None,
                spare_token: None,
                proxy: None,
            },
            trust: Trust { anchors: vec![self.anchor.clone()], ..trust_fixtures::trust() },
            verified_time: None,
        }
    }

    /// Returns its address.
    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Returns its certificate, in the form of an image's anchors.
    pub(crate) fn anchor_pem(&self) -> String {
        let base64 = unbox_common::bytes::to_base64(&self.anchor);
        format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
    }

    /// Makes a client for this device at this time, with short timeouts.
    pub(crate) fn client(context: &BootContext, now: Timestamp) -> Client {
        let skew: Option<ClockSkew> = None;
        Client::new(&ClientSettings {
            time: TrustedTime { now, skew },
            patience: Patience {
                connect: Duration::from_secs(5),
                read: Duration::from_millis(300),
                message: Duration::from_millis(900),
            },
            ..context.client_settings()
        })
        .unwrap()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn make_tls_config() -> (Arc<ServerConfig>, CertificateDer<'static>) {
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let from = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(CERTIFIED_FROM.as_secs());
    (params.not_before, params.not_after) = (from, from + Duration::from_hours(60 * 365 * 24));
    let certificate = params.self_signed(&pair).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(pair.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(AnyClient))
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    (Arc::new(config), certificate)
}

/// A verifier that asks for a client certificate, and accepts any or none.
#[derive(Debug)]
struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicUsize::new(0));
    let (count, serve) = (Arc::clone(&connections), Arc::new(serve));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            let serve = Arc::clone(&serve);
            // Some tests want the client to disconnect.
            thread::spawn(move || serve(stream).ok());
        }
    });
    (port, connections)
}

fn serve(
    stream: &mut StreamOwned<ServerConnection, TcpStream>,
    answer: &dyn Fn(&Request) -> Reply,
    log: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    while let Some(mut request) = request(stream)? {
        request.certified = stream.conn.peer_certificates().is_some();
        log.lock().unwrap().push(request.clone());
        let Reply { bytes, then } = answer(&request);
        stream.write_all(&bytes)?;
        stream.flush()?;
        match then {
            Then::GoOn => {}
            Then::Cut => return Ok(()),
            Then::Stall => thread::sleep(Duration::from_secs(5)),
            Then::Endless => loop {
                stream.write_all(&vec![*bytes.last().unwrap(); 16 * 1024])?;
            },
            Then::Drip => loop {
                stream.write_all(&[*bytes.last().unwrap()])?;
                stream.flush()?;
                thread::sleep(Duration::from_millis(50));
            },
        }
    }
    Ok(())
}

fn request(stream: &mut impl Read) -> io::Result<Option<Request>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default().to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut request = Request { line, headers, ..Request::default() };
    let length = request.header("content-length").and_then(|length| length.parse().ok());
    request.body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut request.body)?;
    Ok(Some(request))
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str())
    }
}
