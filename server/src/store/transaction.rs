//! A connection in a transaction, and its fate afterwards.
//!
//! Only a transaction that ended as intended returns its connection. In all other cases the state of the
//! connection is unknown: SQLite has undone some failed transactions by itself and others not, and
//! PostgreSQL may be gone. Closing it undoes whatever is left.

use super::dialect::Dialect;
use sqlx::{Any, AnyConnection, AnyPool, Executor as _, pool::PoolConnection};
use std::ops::{Deref, DerefMut};

/// A connection in a transaction. It is closed on drop.
pub(super) struct Transaction {
    /// Present until the transaction ends.
    connection: Option<PoolConnection<Any>>,
}

impl Transaction {
    pub(super) async fn begin(pool: &AnyPool, dialect: Dialect) -> Result<Self, sqlx::Error> {
        let mut transaction = Self { connection: Some(pool.acquire().await?) };
        match transaction.execute(dialect.begin()).await {
            Ok(_) => Ok(transaction),
            Err(error) => {
                transaction.close().await;
                Err(error)
            }
        }
    }

    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("COMMIT").await
    }

    /// Undoes everything.
    pub(super) async fn undo(self) {
        if let Err(error) = self.end("ROLLBACK").await {
            tracing::debug!(%error, "a transaction had ended already; its connection is closed");
        }
    }

    async fn end(mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        match self.execute(statement).await {
            Ok(_) => {
                drop(self.connection.take());
                Ok(())
            }
            Err(error) => {
                self.close().await;
                Err(error)
            }
        }
    }

    async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            // The connection is abandoned, whatever the answer.
            let _ = connection.close().await;
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.close_on_drop();
        }
    }
}

impl Deref for Transaction {
    type Target = AnyConnection;

    #[expect(clippy::expect_used, reason = "the connection is taken out by what consumes it only")]
    fn deref(&self) -> &Self::Target {
        self.connection.as_ref().expect("a connection until the transaction ends")
    }
}

impl DerefMut for Transaction {
    #[expect(clippy::expect_used, reason = "the connection is taken out by what consumes it only")]
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.connection.as_mut().expect("a connection until the transaction ends")
    }
}
