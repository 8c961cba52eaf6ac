//! The start of a connection: a place, TLS, and the device in its certificate.

use super::{
    acme,
    connections::{Connections, Place, UnderWay},
    proxy_protocol::client_address,
    stream::Stream,
};
use crate::{
    config::{Limits, Proxies},
    keys::DeviceCertificate,
    route::{App, Peer},
};
use axum::{
    BoxError, Router,
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Request, header::CONNECTION},
    response::Response,
};
use axum_server::{
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use http_body_util::BodyExt as _;
use nix::sys::socket::{
    setsockopt,
    sockopt::{SndBuf, TcpUserTimeout},
};
use std::{
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tower::Service;

/// The most bytes that the kernel holds for a client that reads slowly; it takes twice as much for itself
/// (socket(7)), and without a limit 4 MiB.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// The most bytes of an answer that are encrypted and wait for a client that reads slowly.
const ENCRYPTED_BYTES: usize = 16 * 1024;

/// A router that knows its peer, for as long as the connection lasts.
#[derive(Clone)]
pub(super) struct Answering {
    router: Router,
    peer: Peer,
    place: Arc<Place>,
}

impl<B> Service<Request<B>> for Answering
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<B>>::poll_ready(&mut self.router, cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let under_way = self.place.begin();
        let link = self.place.link().clone();
        request.extensions_mut().insert(self.peer);
        let answered = self.router.call(request);
        async move {
            let mut answer = answered.await?;
            if link.is_large() {
                // Its buffers stay as large as they have grown, for as long as it lasts.
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(hold_until_sent(answer, under_way))
        }
        .boxed()
    }
}

/// Keeps the request under way until all of its answer is sent.
fn hold_until_sent(answer: Response, under_way: UnderWay) -> Response {
    answer.map(|body| {
        Body::new(body.map_err(move |error| {
            let _ = &under_way;
            error
        }))
    })
}

/// The accept loop's interface to a door.
pub(super) trait Door:
    Accept<
        TcpStream,
        Router,
        Stream: AsyncRead + AsyncWrite + Unpin + Send,
        Service = Answering,
        Future: Send,
    > + Clone
    + Send
    + Sync
    + 'static
{
}

impl Door for Doorway {}
impl Door for TlsDoor {}

/// The door without TLS, for operators.
#[derive(Clone)]
pub(super) struct Doorway {
    connections: Arc<Connections>,
    app: Arc<App>,
    handshake_timeout: Duration,
    stall_timeout: Duration,
    proxies: Proxies,
}

/// The door for devices.
#[derive(Clone)]
pub(super) struct TlsDoor {
    doorway: Doorway,
    tls: RustlsAcceptor,
    proxied: bool,
}

impl Doorway {
    pub(super) fn new(connections: Arc<Connections>, app: Arc<App>, limits: &Limits) -> Self {
        Self {
            connections,
            app,
            handshake_timeout: limits.header_timeout,
            stall_timeout: limits.request_timeout,
            proxies: limits.proxies.clone(),
        }
    }

    /// Returns the door for devices; with `proxied`, trusted balancers in front of it name their clients.
    pub(super) fn with_tls(&self, config: RustlsConfig, proxied: bool) -> TlsDoor {
        let tls = RustlsAcceptor::new(config).handshake_timeout(self.handshake_timeout);
        TlsDoor { doorway: self.clone(), tls, proxied }
    }

    /// Admits a connection, if there is a place for it.
    fn enter(&self, tcp: TcpStream) -> io::Result<(Stream, Place)> {
        let address = tcp.peer_addr()?.ip();
        let place = self.connections.admit(self.counted_address(address)).ok_or_else(|| self.refuse())?;
        tcp.set_nodelay(true)?;
        setsockopt(&tcp, SndBuf, &SEND_BUFFER_BYTES)?;
        // A client that stops reading its answer is disconnected after this time (tcp(7)).
        let stall = u32::try_from(self.stall_timeout.as_millis()).unwrap_or(u32::MAX);
        setsockopt(&tcp, TcpUserTimeout, &stall)?;
        let stream = Stream::new(tcp, &place, self.app.metrics().count_connection());
        Ok((stream, place))
    }

    /// Returns the address that a connection counts for; none if it is a trusted proxy's, which connects for
    /// many.
    fn counted_address(&self, address: IpAddr) -> Option<IpAddr> {
        (!self.proxies.trust(address)).then_some(address)
    }

    fn refuse(&self) -> io::Error {
        self.app.metrics().count_refused_connection();
        io::Error::new(io::ErrorKind::ConnectionRefused, "too many connections")
    }
}

impl Accept<TcpStream, Router> for Doorway {
    type Stream = Stream;
    type Service = Answering;
    type Future = BoxFuture<'static, io::Result<(Stream, Answering)>>;

    fn accept(&self, tcp: TcpStream, router: Router) -> Self::Future {
        let entered = || {
            let peer = Peer { address: tcp.peer_addr()?, device: None, plain: true };
            let (stream, place) = self.enter(tcp)?;
            Ok((stream, Answering { router, peer, place: Arc::new(place) }))
        };
        ready(entered()).boxed()
    }
}

impl Accept<TcpStream, Router> for TlsDoor {
    type Stream = TlsStream<Stream>;
    type Service = Answering;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Answering)>>;

    fn accept(&self, tcp: TcpStream, router: Router) -> Self::Future {
        let address = tcp.peer_addr();
        let entered = self.doorway.enter(tcp);
        let door = self.clone();
        async move {
            let (stream, place) = entered?;
            let accepted = door.handshake(stream, address?, router, place).await;
            accepted.inspect_err(|error| {
                door.doorway.app.metrics().count_handshake_failure();
                tracing::debug!(%error, "no TLS connection");
            })
        }
        .boxed()
    }
}

impl TlsDoor {
    async fn handshake(
        &self,
        mut stream: Stream,
        mut address: SocketAddr,
        router: Router,
        place: Place,
    ) -> io::Result<(TlsStream<Stream>, Answering)> {
        if self.proxied && self.doorway.proxies.trust(address.ip()) {
            let told = timeout(self.doorway.handshake_timeout, client_address(&mut stream)).await??;
            address = told.unwrap_or(address);
            if let Some(client) = self.doorway.counted_address(address.ip())
                && !place.assign(client)
            {
                return Err(self.doorway.refuse());
            }
        }
        let (mut stream, router) = self.tls.accept(stream, router).await?;
        let (_, connection) = stream.get_mut();
        connection.set_buffer_limit(Some(ENCRYPTED_BYTES));
        if connection.alpn_protocol() == Some(acme::PROTOCOL) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "an ACME authority has its answer"));
        }
        let device = named_device(&stream);
        let peer = Peer { address, device, plain: false };
        Ok((stream, Answering { router, peer, place: Arc::new(place) }))
    }
}

/// Returns the device that a verified certificate names. A certificate of our authority that names none
/// counts as no certificate: the device is told to enroll again.
fn named_device(stream: &TlsStream<Stream>) -> Option<DeviceCertificate> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates()?.first().and_then(|leaf| DeviceCertificate::parse(leaf).ok())
}
