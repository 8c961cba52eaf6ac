//! The start of a connection: a place, TLS, and the device in its certificate.

use super::{
    acme,
    connections::{Connections, Place},
    proxied::client_address,
};
use crate::{
    config::{Limits, Proxies},
    keys::DeviceCertificate,
    route::{App, Counted, Peer},
};
use axum::{Extension, Router, middleware::AddExtension};
use axum_server::{
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, ready},
};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tower::Layer as _;

/// A router that knows its peer, for as long as the connection lasts.
type Answering = AddExtension<AddExtension<Router, Peer>, Held>;

/// The resources that are returned when a connection ends.
#[derive(Clone)]
pub(super) struct Held {
    _held: Arc<(Place, Counted)>,
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
    fn enter(&self, stream: &TcpStream) -> io::Result<Place> {
        let place = self.connections.admit().ok_or_else(|| self.refused())?;
        stream.set_nodelay(true)?;
        // A client that stops reading its answer is disconnected after this time (tcp(7)).
        let stall = u32::try_from(self.stall_timeout.as_millis()).unwrap_or(u32::MAX);
        setsockopt(stream, TcpUserTimeout, &stall)?;
        Ok(place)
    }

    /// Counts a connection under its address, unless that is a trusted proxy's, which connects for many.
    fn of(&self, place: Place, address: SocketAddr) -> io::Result<Held> {
        let place = if self.proxies.trust(address.ip()) {
            place
        } else {
            place.of(address.ip()).ok_or_else(|| self.refused())?
        };
        Ok(Held { _held: Arc::new((place, self.app.metrics().connection())) })
    }

    fn refused(&self) -> io::Error {
        self.app.metrics().connection_refused();
        io::Error::new(io::ErrorKind::ConnectionRefused, "too many connections")
    }
}

impl Accept<TcpStream, Router> for Doorway {
    type Stream = TcpStream;
    type Service = Answering;
    type Future = BoxFuture<'static, io::Result<(TcpStream, Answering)>>;

    fn accept(&self, stream: TcpStream, router: Router) -> Self::Future {
        let entered = || {
            let place = self.enter(&stream)?;
            let address = stream.peer_addr()?;
            Ok((Peer { address, device: None, plain: true }, self.of(place, address)?))
        };
        let entered: io::Result<_> = entered();
        ready(entered.map(|(peer, held)| (stream, answering(router, peer, held)))).boxed()
    }
}

impl Accept<TcpStream, Router> for TlsDoor {
    type Stream = TlsStream<TcpStream>;
    type Service = Answering;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Answering)>>;

    fn accept(&self, stream: TcpStream, router: Router) -> Self::Future {
        let entered = self.doorway.enter(&stream);
        let door = self.clone();
        async move {
            let accepted = door.handshake(stream, router, entered?).await;
            accepted.inspect_err(|error| {
                door.doorway.app.metrics().handshake_failed();
                tracing::debug!(%error, "no TLS connection");
            })
        }
        .boxed()
    }
}

impl TlsDoor {
    async fn handshake(
        &self,
        mut stream: TcpStream,
        router: Router,
        place: Place,
    ) -> io::Result<(TlsStream<TcpStream>, Answering)> {
        let mut address = stream.peer_addr()?;
        if self.proxied && self.doorway.proxies.trust(address.ip()) {
            let told = timeout(self.doorway.handshake_timeout, client_address(&mut stream)).await??;
            address = told.unwrap_or(address);
        }
        let held = self.doorway.of(place, address)?;
        let (stream, router) = self.tls.accept(stream, router).await?;
        if stream.get_ref().1.alpn_protocol() == Some(acme::PROTOCOL) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "an ACME authority has its answer"));
        }
        let device = named_device(&stream);
        Ok((stream, answering(router, Peer { address, device, plain: false }, held)))
    }
}

/// Returns the device that a verified certificate names. A certificate of our authority that names none
/// counts as no certificate: the device is told to enroll again.
fn named_device(stream: &TlsStream<TcpStream>) -> Option<DeviceCertificate> {
    let (_, connection) = stream.get_ref();
    connection.peer_certificates()?.first().and_then(|leaf| DeviceCertificate::parse(leaf).ok())
}

fn answering(router: Router, peer: Peer, held: Held) -> Answering {
    Extension(held).layer(Extension(peer).layer(router))
}
