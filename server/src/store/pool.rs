//! Connections that jobs share: each job runs on a thread of its own, with a connection that nobody else
//! uses meanwhile, and a bounded number of them run at a time.

use super::{
    StoreError,
    database::Connection,
    error::{connect_error, statement_error},
    open::{Place, blocking},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

/// The time after which an unused connection is closed, as soon as anybody uses another.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);
/// The time after which an unused connection is tried before it is used.
const TRY_AFTER: Duration = Duration::from_millis(500);
/// The longest wait of a request for the next part of an answer: a lock, or a slow disk.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// The longest wait for the jobs that run while the pool closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// The connections of one kind to one database, and the threads that use them.
#[derive(Clone)]
pub(super) struct Pool(Arc<Connections>);

/// The connections of a pool.
pub(super) struct Connections {
    place: Place,
    setup: &'static [&'static str],
    /// One permit for each allowed connection.
    places: Arc<Semaphore>,
    limit: u32,
    /// The longest wait for a place.
    patience: Duration,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    pub(super) fn new(
        place: Place,
        setup: &'static [&'static str],
        connections: u32,
        patience: Duration,
    ) -> Self {
        let places = Arc::new(Semaphore::new(connections as usize));
        Self(Arc::new(Connections {
            place,
            setup,
            places,
            limit: connections,
            patience,
            idle: Mutex::default(),
        }))
    }

    /// Runs a job that takes a connection, one at a time, and gives it back if it can be used again.
    pub(super) async fn run<T, E, F>(&self, job: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connections) -> Result<T, E> + Send + 'static,
    {
        let waiting = timeout(self.0.patience, Arc::clone(&self.0.places).acquire_owned());
        let place = waiting.await.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)?;
        let connections = Arc::clone(&self.0);
        blocking(move || {
            let outcome = job(&connections);
            drop(place);
            outcome
        })
        .await
    }

    /// Accepts no more jobs, waits for those that run, and closes all connections.
    pub(super) async fn close(&self) {
        // Fails if it was closed already; what still waits for an answer after that long gets none.
        let _ = timeout(CLOSE_TIMEOUT, self.0.places.acquire_many(self.0.limit)).await;
        self.0.places.close();
        let idle = std::mem::take(&mut *self.0.idle());
        let closed = blocking(move || {
            for one in idle {
                one.connection.close();
            }
            Ok::<_, StoreError>(())
        });
        // Nothing can fail but the thread.
        let _ = closed.await;
    }
}

impl Connections {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection that was used last, or a new one.
    pub(super) fn take(&self) -> Result<Connection, StoreError> {
        self.take_if(|connection, since| {
            let is_fresh = since.elapsed() < TRY_AFTER;
            if is_fresh || connection.is_alive() { Ok(()) } else { Err(StoreError::Closed) }
        })
    }

    /// Returns a connection that accepted this statement.
    pub(super) fn take_with(
        &self,
        statement: &'static str,
        operation: &'static str,
    ) -> Result<Connection, StoreError> {
        self.take_if(|connection, _| connection.run(statement).map_err(statement_error(operation)))
    }

    /// Returns a connection that passes this test. If an unused one does not, its server was restarted, or the
    /// network has lost it, and all unused ones are closed.
    fn take_if(
        &self,
        test: impl Fn(&mut Connection, Instant) -> Result<(), StoreError>,
    ) -> Result<Connection, StoreError> {
        let last = self.idle().pop();
        if let Some(Idle { mut connection, since }) = last {
            if test(&mut connection, since).is_ok() {
                return Ok(connection);
            }
            let others = std::mem::take(&mut *self.idle());
            drop(others);
        }
        let mut new = self.place.connect(self.setup, DEADLINE).map_err(connect_error)?;
        test(&mut new, Instant::now())?;
        Ok(new)
    }

    /// Accepts a connection back, unless it is out of order.
    pub(super) fn give_back(&self, connection: Connection) {
        if connection.is_broken() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle();
        let fresh = idle.partition_point(|one| now.duration_since(one.since) > IDLE_TIMEOUT);
        let old: Vec<Idle> = idle.drain(..fresh).collect();
        idle.push(Idle { connection, since: now });
        drop(idle);
        drop(old);
    }
}
