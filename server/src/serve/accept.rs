//! What becomes of a connection: a place, TLS, and whom its certificate names.

use super::connections::{Connections, Place};
use crate::{
    config::Limits,
    keys::DeviceCertificate,
    route::{App, OpenConnection, Peer},
};
use axum::{Extension, Router, middleware::AddExtension};
use axum_server::{
    accept::Accept,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use nix::sys::socket::{setsockopt, sockopt::TcpUserTimeout};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tower::Layer as _;

/// A router that knows whom it answers, for as long as the connection lasts.
type Answering = AddExtension<AddExtension<Router, Peer>, Held>;

/// What is given back when a connection ends.
#[derive(Clone)]
pub(super) struct Held {
    _held: Arc<(Place, OpenConnection)>,
}

/// What the accept loop needs of a door.
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
}

/// The door for devices.
#[derive(Clone)]
pub(super) struct TlsDoor {
    doorway: Doorway,
    tls: RustlsAcceptor,
}

impl Doorway {
    pub(super) fn new(connections: Arc<Connections>, app: Arc<App>, limits: &Limits) -> Self {
        Self {
            connections,
            app,
            handshake_timeout: limits.header_timeout,
            stall_timeout: limits.request_timeout,
        }
    }

    pub(super) fn with_tls(&self, config: RustlsConfig) -> TlsDoor {
        let tls = RustlsAcceptor::new(config).handshake_timeout(self.handshake_timeout);
        TlsDoor { doorway: self.clone(), tls }
    }

    /// Lets a connection in, if there is a place for it.
    fn enter(&self, stream: &TcpStream) -> io::Result<(Peer, Held)> {
        let address = stream.peer_addr()?;
        let Some(place) = self.connections.admit(address.ip()) else {
            self.app.metrics().connection_refused();
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "too many connections"));
        };
        stream.set_nodelay(true)?;
        // A client that stops reading its answer is given up after this time (tcp(7)).
        let stall = u32::try_from(self.stall_timeout.as_millis()).unwrap_or(u32::MAX);
        setsockopt(stream, TcpUserTimeout, &stall)?;
        let held = Held { _held: Arc::new((place, self.app.metrics().connection())) };
        Ok((Peer { address, device: None, plain: true }, held))
    }
}

impl Accept<TcpStream, Router> for Doorway {
    type Stream = TcpStream;
    type Service = Answering;
    type Future = BoxFuture<'static, io::Result<(TcpStream, Answering)>>;

    fn accept(&self, stream: TcpStream, router: Router) -> Self::Future {
        let entered = self.enter(&stream);
        async move {
            let (peer, held) = entered?;
            Ok((stream, answering(router, peer, held)))
        }
        .boxed()
    }
}

impl Accept<TcpStream, Router> for TlsDoor {
    type Stream = TlsStream<TcpStream>;
    type Service = Answering;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Answering)>>;

    fn accept(&self, stream: TcpStream, router: Router) -> Self::Future {
        let entered = self.doorway.enter(&stream);
        let (tls, app) = (self.tls.clone(), self.doorway.app.clone());
        async move {
            let (peer, held) = entered?;
            let (stream, router) = tls.accept(stream, router).await.inspect_err(|error| {
                app.metrics().handshake_failed();
                tracing::debug!(peer = %peer.address.ip(), %error, "no TLS connection");
            })?;
            let device = named_device(&stream)?;
            Ok((stream, answering(router, Peer { device, plain: false, ..peer }, held)))
        }
        .boxed()
    }
}

/// The device that a verified certificate names. A certificate of our authority that names none
/// is not ours to answer.
fn named_device(stream: &TlsStream<TcpStream>) -> io::Result<Option<DeviceCertificate>> {
    let (_, connection) = stream.get_ref();
    let leaf = connection.peer_certificates().and_then(|chain| chain.first());
    leaf.map(|leaf| DeviceCertificate::parse(leaf))
        .transpose()
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn answering(router: Router, peer: Peer, held: Held) -> Answering {
    Extension(held).layer(Extension(peer).layer(router))
}
