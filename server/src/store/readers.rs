//! The connections that read.
//!
//! A pool tests each returned connection. That is worthwhile for a remote server; for SQLite it would add
//! one statement to each that a hello needs. So connections to a file bypass the pool, and are kept here.

use super::{StoreError, dialect::Dialect, error::statement_error};
use sqlx::{Any, AnyPool, pool::PoolConnection};
use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The connections of one database.
pub(super) struct Readers {
    pool: AnyPool,
    /// The connections to a file; `None` on PostgreSQL.
    kept: Option<Arc<Kept>>,
    patience: Duration,
}

struct Kept {
    /// One permit for each allowed connection.
    places: Arc<Semaphore>,
    idle: Mutex<Vec<PoolConnection<Any>>>,
}

/// A connection that returns to its origin on drop.
pub(super) struct Lent {
    /// Present until it is dropped.
    connection: Option<PoolConnection<Any>>,
    /// The origin, and its permit there.
    home: Option<(Arc<Kept>, OwnedSemaphorePermit)>,
}

impl Readers {
    /// Wraps `connections` of a pool; a request waits for one no longer than `patience`.
    pub(super) fn new(pool: AnyPool, dialect: Dialect, connections: usize, patience: Duration) -> Self {
        let kept = (dialect == Dialect::Sqlite).then(|| {
            Arc::new(Kept { places: Arc::new(Semaphore::new(connections)), idle: Mutex::default() })
        });
        Self { pool, kept, patience }
    }

    pub(super) async fn take(&self) -> Result<Lent, StoreError> {
        let Some(kept) = &self.kept else {
            return Ok(Lent { connection: Some(self.connect().await?), home: None });
        };
        let place = timeout(self.patience, Arc::clone(&kept.places).acquire_owned());
        let place = place.await.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Closed)?;
        let idle = kept.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        Ok(Lent { connection: Some(connection), home: Some((Arc::clone(kept), place)) })
    }

    async fn connect(&self) -> Result<PoolConnection<Any>, StoreError> {
        self.pool.acquire().await.map_err(statement_error("connect to the database"))
    }

    pub(super) async fn close(&self) {
        if let Some(kept) = &self.kept {
            kept.places.close();
            kept.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        self.pool.close().await;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(connection), Some((kept, _))) = (self.connection.take(), &self.home) {
            let mut idle = kept.idle.lock().unwrap_or_else(PoisonError::into_inner);
            // Checked under the lock: closing empties the list after that.
            if !kept.places.is_closed() {
                idle.push(connection);
            }
        }
    }
}

impl Deref for Lent {
    type Target = PoolConnection<Any>;

    #[expect(clippy::expect_used, reason = "the connection is taken out by `drop` only")]
    fn deref(&self) -> &Self::Target {
        self.connection.as_ref().expect("a connection until it is dropped")
    }
}

impl DerefMut for Lent {
    #[expect(clippy::expect_used, reason = "the connection is taken out by `drop` only")]
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection.as_mut().expect("a connection until it is dropped")
    }
}
