//! The running server: listens, presents its certificate, and stops without losing a request.
//!
//! `tls.rs` decides who may connect, `certificate.rs` keeps the certificate valid and `acme.rs` obtains it
//! from others, `accept.rs` handles new connections, `connections.rs` limits their number and `stream.rs` their
//! memory, `order.rs` says which of them makes room, `signals.rs` receives the requests to stop; this file puts
//! them together.

mod accept;
mod acme;
mod certificate;
mod connections;
mod order;
mod proxy_protocol;
mod signals;
mod stream;
mod tls;

pub use signals::{HangUp, Signals, run};
pub use tls::{TlsError, own_certificate};

use crate::{
    clock::Clock,
    config::{Settings, default_metrics},
    disk::DiskHistory,
    entropy::{Entropy, EntropyError},
    files::{self, Lock},
    keys::{KeyError, Keyring, Layout},
    log::chain,
    route::{self, App},
    service::{ServiceError, Services},
    store::{ConnectionLimit, Store, StoreError},
};
use accept::Doorway;
use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use certificate::Caretaker;
use connections::Listeners;
use hyper_util::rt::TokioTimer;
use serde::Serialize;
use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    net::TcpSocket,
    task::{AbortHandle, JoinSet},
    time::interval,
};
use unbox_common::timestamp::Timestamp;

/// The number of connections that may wait to be accepted; a warehouse that is switched on sends them all
/// at once.
const BACKLOG: u32 = 4096;
/// The number of bytes of a request's head, and of a chunk of an answer, that one connection may hold.
const CONNECTION_BUFFER_BYTES: usize = 32 * 1024;
/// The interval at which idle clients are forgotten.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// The interval at which abandoned uploads are deleted.
const TIDY_EVERY: Duration = Duration::from_hours(1);

/// The reason why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A key is missing or unusable.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no directory for artifacts.
    #[error(
        "{} is to hold artifacts, and cannot be looked at: create it, or mount what it is on", path.display()
    )]
    Artifacts {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The server's certificate has expired.
    #[error(
        "the server's certificate in {} ended at {end}, and devices refuse it: {renewal}. To start all the \
         same, say --allow-expired-certificate",
        path.display()
    )]
    CertificateEnded {
        /// The path of the certificate.
        path: PathBuf,
        /// The end of its validity.
        end: Timestamp,
        /// The step that gives the server another one.
        renewal: &'static str,
    },
    /// Devices would refuse certificates of an ACME authority.
    #[error(
        "devices accept no authority but this server's own: before [acme] is set, run `unbox-server key \
         rotate-anchors --anchor FILE` with the root certificate of that authority, and wait until every device \
         has checked in"
    )]
    NoAcmeAnchor,
    /// The TPM manufacturers' certificates are unusable.
    #[error(transparent)]
    TpmRoots(#[from] crate::tpm::RootsError),
    /// The database could not be opened, or does not accept writes.
    #[error("this server cannot work with its database")]
    Database(#[source] StoreError),
    /// There was no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The server cannot listen on an address.
    #[error(
        "{address} cannot be listened on: choose another in `listen`, stop what uses it, or give the \
         program CAP_NET_BIND_SERVICE for a port below 1024"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A listener stopped by itself.
    #[error("a listener stopped")]
    Stopped(#[source] io::Error),
    /// The signal handlers could not be installed.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] files::FilesError),
}

/// The addresses of a running server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Addresses {
    /// The addresses with TLS, for devices.
    pub addresses: Vec<SocketAddr>,
    /// The addresses without TLS, for health and artifacts.
    pub plain_addresses: Vec<SocketAddr>,
    /// The addresses without TLS, for metrics.
    pub metrics_addresses: Vec<SocketAddr>,
    /// The addresses without TLS, for the management API.
    pub api_addresses: Vec<SocketAddr>,
}

/// A running server.
pub struct Server {
    addresses: Addresses,
    services: Services,
    caretaker: Arc<Caretaker>,
    settings: Settings,
    handle: Handle<SocketAddr>,
    listeners: JoinSet<io::Result<()>>,
    background: [AbortHandle; 4],
    /// The lock on the database's file.
    _lock: Option<Lock>,
}

impl Server {
    /// Opens everything and listens.
    ///
    /// # Errors
    /// [`ServeError`]; nothing listens in that case.
    pub async fn start(
        settings: Settings,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, ServeError> {
        check_artifact_directory(&settings)?;
        certificate::prepare(&settings, clock.now(), &*entropy)?;
        let lifetime = settings.device_certificate_lifetime;
        let keyring = Arc::new(Keyring::load(settings.layout.clone(), lifetime, entropy.clone())?);
        let answers = Arc::default();
        let tls = RustlsConfig::from_config(tls::server_config(&settings, &keyring, &answers)?);
        let (store, lock) = open_database(&settings, clock.as_ref()).await.map_err(ServeError::Database)?;
        let chosen = settings.load_service_settings()?;
        let services = Services::new(store, keyring.clone(), clock.clone(), entropy.clone(), chosen)?;
        let app = App::new(services.clone(), entropy.clone(), &settings.limits);
        let caretaker = Arc::new(Caretaker {
            settings: settings.clone(),
            keyring,
            tls: tls.clone(),
            answers,
            app: app.clone(),
            clock,
            entropy,
        });

        let mut listeners = JoinSet::new();
        let sweeper = listeners.spawn(sweep(app.clone()));
        let worker = listeners.spawn(work_on_operations(services.clone()));
        let tidier = listeners.spawn(tidy(app.clone(), services.clone(), settings.layout.clone()));
        let watch = listeners.spawn(caretaker.clone().watch());
        let mut server = Self {
            addresses: Addresses::default(),
            services,
            caretaker,
            handle: Handle::new(),
            listeners,
            background: [sweeper, worker, tidier, watch],
            settings,
            _lock: lock,
        };
        server.listen_everywhere(&tls, &app)?;
        Ok(server)
    }

    fn listen_everywhere(&mut self, tls: &RustlsConfig, app: &Arc<App>) -> Result<(), ServeError> {
        let settings = self.settings.clone();
        let places = Listeners::new(&settings.limits);
        let doorway = |places| Doorway::new(places, app.clone(), &settings.limits);
        let door = doorway(places.devices).with_tls(tls.clone(), settings.proxy_protocol);
        for address in settings.listen {
            let bound = self.listen(address, door.clone(), route::device_router(app.clone()))?;
            self.addresses.addresses.push(bound);
        }
        let door = doorway(places.plain);
        for address in settings.listen_plain {
            let bound = self.listen(address, door.clone(), route::plain_router(app.clone()))?;
            self.addresses.plain_addresses.push(bound);
        }
        let may_be_missing = settings.listen_metrics == default_metrics();
        let door = doorway(places.metrics);
        for address in settings.listen_metrics {
            match self.listen(address, door.clone(), route::metrics_router(app.clone())) {
                Ok(bound) => self.addresses.metrics_addresses.push(bound),
                Err(error) if may_be_missing => {
                    tracing::warn!(error = chain(&error), "there are no metrics: set `listen_metrics`");
                }
                Err(error) => return Err(error),
            }
        }
        let door = doorway(places.api);
        for address in settings.listen_api {
            let bound = self.listen(address, door.clone(), route::api_router(app.clone()))?;
            self.addresses.api_addresses.push(bound);
        }
        Ok(())
    }

    fn listen<A: accept::Door>(
        &mut self,
        address: SocketAddr,
        door: A,
        router: Router,
    ) -> Result<SocketAddr, ServeError> {
        let failed = |source| ServeError::Listen { address, source };
        let listener = bind(address).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let mut server = axum_server::from_tcp(listener)
            .map_err(failed)?
            .acceptor(door)
            .handle(self.handle.clone())
            // Last, because a new acceptor resets it; without it, the server waits for a silent client.
            .http1_only();
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.settings.limits.header_timeout)
            .max_buf_size(CONNECTION_BUFFER_BYTES);
        self.listeners.spawn(server.serve(router.into_make_service()));
        Ok(bound)
    }

    /// Returns the addresses that it listens on: with port 0 in the settings, the ports that it got.
    #[must_use]
    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Returns the services behind the routes.
    #[must_use]
    pub const fn services(&self) -> &Services {
        &self.services
    }

    /// Reads keys and certificates again; new connections use them.
    ///
    /// # Errors
    /// [`ServeError`]; the present ones stay in use.
    pub fn reload(&self) -> Result<(), ServeError> {
        self.caretaker.reload()
    }

    /// Waits until a listener stops by itself, which none should.
    async fn wait_for_failure(&mut self) -> ServeError {
        match self.listeners.join_next().await {
            Some(Ok(Err(error))) => ServeError::Stopped(error),
            _ => ServeError::Stopped(io::Error::other("it ended without an error")),
        }
    }

    /// Accepts nothing more, lets requests finish for as long as the settings allow, and closes the
    /// database when everything is on disk.
    pub async fn stop(mut self) {
        self.background.iter().for_each(AbortHandle::abort);
        self.handle.graceful_shutdown(Some(self.settings.limits.shutdown_timeout));
        while self.listeners.join_next().await.is_some() {}
        self.services.close().await;
    }

    /// Returns a handle that ends [`Self::stop`] at once.
    fn handle(&self) -> Handle<SocketAddr> {
        self.handle.clone()
    }
}

/// Checks that there is a directory for artifacts, and returns the bytes that are free there.
///
/// # Errors
/// [`ServeError::Artifacts`].
pub fn check_artifact_directory(settings: &Settings) -> Result<u64, ServeError> {
    let path = &settings.services.artifact_directory;
    files::free_bytes(path).map_err(|source| ServeError::Artifacts { path: path.clone(), source })
}

/// Opens the database, and checks that this server can work with it.
async fn open_database(settings: &Settings, clock: &dyn Clock) -> Result<(Store, Option<Lock>), StoreError> {
    let url = settings.database.expose();
    let lock = Store::lock_for_serving(url)?;
    let store = Store::open(url).await?;
    store.write_probe(clock.now()).await?;
    if let Some(connections) = store.connections().filter(|found| found.free() < ConnectionLimit::NEEDED) {
        tracing::warn!(
            allowed = connections.allowed,
            used = connections.used,
            needed = ConnectionLimit::NEEDED,
            "the database takes too few connections: raise its max_connections, or the limit of its role or \
             database, or requests are turned away under load"
        );
    }
    Ok((store, lock))
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restarted server must get its port back while old connections fade away.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

async fn work_on_operations(services: Services) -> io::Result<()> {
    services.claims.work_on_operations().await;
    Ok(())
}

async fn tidy(app: Arc<App>, services: Services, layout: Layout) -> io::Result<()> {
    let settings = services.settings();
    let mut every = interval(TIDY_EVERY);
    loop {
        every.tick().await;
        log_count("abandoned uploads were forgotten", services.catalogue.sweep_uploads().await);
        log_count("old reports were forgotten", services.upkeep.forget_reports().await);
        log_count("claims that ended long ago were forgotten", services.upkeep.forget_claims().await);
        log_count(
            "old entries of the audit trail were moved to files",
            services.upkeep.archive_audit().await,
        );
        log_count("operations that ended long ago were forgotten", services.claims.forget_operations().await);
        let directories = [layout.dir(), &settings.artifact_directory];
        match DiskHistory::look(&layout.disk_history(), &directories, services.now()) {
            Ok(history) => {
                let full = history.full_at(&settings.artifact_directory, settings.reserved_bytes);
                app.metrics().set_disk_full(full);
            }
            Err(error) => tracing::warn!(error = chain(&error), "the free space could not be recorded"),
        }
    }
}

/// Logs how many objects were processed, or why they could not be.
fn log_count(what: &'static str, count: Result<u64, ServiceError>) {
    match count {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "{what}"),
        Err(error) => tracing::warn!(error = chain(&error), "not done: {what}"),
    }
}

async fn sweep(app: Arc<App>) -> io::Result<()> {
    let mut every = interval(SWEEP_EVERY);
    loop {
        every.tick().await;
        app.sweep();
    }
}
