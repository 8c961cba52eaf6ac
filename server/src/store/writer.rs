//! The one place that opens a write transaction.
//!
//! SQLite has one writer at a time, and a durable commit costs a flush of the disk. So one thread owns the
//! one connection that writes, takes jobs from a queue, and commits all that have gathered in one
//! transaction; each caller is answered after that commit. When a job fails, the whole transaction is
//! undone and its jobs run again one by one, each in its own, so that no job suffers from another's
//! failure. On PostgreSQL, which groups commits itself, each job is a transaction of its own, and runs
//! again if the database found it in conflict with another.
//!
//! A transaction that does not end properly (a full disk, a restarted server) closes its connection
//! (`transaction.rs`); the next job starts on a new one.

use super::{
    Held, JobError, Reader, StoreError, dialect::Dialect, error::statement_error, transaction::Transaction,
    write_batch::WriteBatch,
};
use futures_util::future::BoxFuture;
use sqlx::{AnyPool, Executor as _};
use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
};

/// The maximum number of waiting jobs; further callers are told that the database is busy.
const QUEUE_JOBS: usize = 1024;
/// The maximum number of jobs in one transaction: enough to make the flush cheap, few enough to answer soon.
const MAX_GROUP: usize = 256;
/// The maximum number of attempts at a job that PostgreSQL found in conflict.
const MAX_ATTEMPTS: u32 = 6;
/// The first pause between two attempts; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The maximum number of jobs without a waiting caller at a time.
const MAX_UNAWAITED: usize = 64;

/// A write transaction, which can also do everything that a [`Reader`] does.
pub struct Tx {
    reader: Reader,
    /// The rows that are written just before the commit.
    pub(super) batch: WriteBatch,
}

impl Deref for Tx {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut Reader {
        &mut self.reader
    }
}

impl Tx {
    async fn begin(pool: &AnyPool, dialect: Dialect) -> Result<Self, StoreError> {
        let transaction =
            Transaction::begin(pool, dialect).await.map_err(statement_error("begin a transaction"))?;
        let reader = Reader { held: Held::InTransaction(transaction), dialect };
        Ok(Self { reader, batch: WriteBatch::default() })
    }

    async fn commit(mut self) -> Result<(), StoreError> {
        self.write_batch().await?;
        match self.reader.held {
            Held::InTransaction(transaction) => transaction.commit().await.map_err(statement_error("commit")),
            Held::Lent(_) => Ok(()),
        }
    }

    /// Undoes everything.
    async fn undo(self) {
        if let Held::InTransaction(transaction) = self.reader.held {
            transaction.undo().await;
        }
    }
}

/// The rows of other jobs in its group that a job reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    /// Any rows: all of them are written before the job runs.
    Anything,
    /// The facts of its own device, which are written on demand.
    ItsOwnDevice,
}

pub(super) enum Writer {
    /// SQLite: jobs go to the thread that owns the connection.
    Grouped(mpsc::Sender<Message>),
    /// PostgreSQL: jobs take a connection each.
    Direct { pool: AnyPool, dialect: Dialect, unawaited: Arc<Semaphore> },
    /// Read-only: nothing is written.
    None,
}

impl Writer {
    pub(super) fn start(pool: AnyPool, dialect: Dialect) -> Result<Self, StoreError> {
        match dialect {
            Dialect::Sqlite => {
                let (jobs, queue) = mpsc::channel(QUEUE_JOBS);
                let (group, runtime) = (Group { pool, dialect, queue }, Handle::current());
                // Each statement goes to SQLite's own thread and back. Waking a thread that waits for
                // nothing else costs half as much as waking the runtime's threads, which answer devices
                // meanwhile.
                thread::Builder::new()
                    .name("store-writer".to_owned())
                    .spawn(move || runtime.block_on(group.serve()))
                    .map_err(|error| StoreError::Open(error.into()))?;
                Ok(Self::Grouped(jobs))
            }
            Dialect::Postgres => {
                let unawaited = Arc::new(Semaphore::new(MAX_UNAWAITED));
                Ok(Self::Direct { pool, dialect, unawaited })
            }
        }
    }

    pub(super) async fn run<T, E, F>(&self, work: F, reads: Reads) -> Result<T, E>
    where
        T: Send + 'static,
        E: JobError,
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        match self {
            Self::Grouped(jobs) => {
                let job = Box::new(Typed { work, reads, outcome: None, reply });
                jobs.try_send(Message::Job(job)).map_err(|error| match error {
                    mpsc::error::TrySendError::Full(_) => StoreError::Busy,
                    mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
                })?;
                answer.await.unwrap_or_else(|_| Err(StoreError::Closed.into()))
            }
            Self::Direct { pool, dialect, .. } => run_direct(pool, *dialect, work).await,
            Self::None => Err(StoreError::Closed.into()),
        }
    }

    pub(super) fn run_soon<F>(&self, work: F)
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<(), StoreError>> + Send + 'static,
    {
        match self {
            Self::Grouped(jobs) => {
                // Jobs with a waiting caller come first: half of the queue is reserved for them.
                if jobs.capacity() > QUEUE_JOBS / 2 {
                    let (reply, _) = oneshot::channel();
                    let job = Box::new(Typed { work, reads: Reads::ItsOwnDevice, outcome: None, reply });
                    let _ = jobs.try_send(Message::Job(job));
                }
            }
            Self::Direct { pool, dialect, unawaited } => {
                if let Ok(permit) = Arc::clone(unawaited).try_acquire_owned() {
                    let (pool, dialect) = (pool.clone(), *dialect);
                    tokio::spawn(async move {
                        if let Err(error) = run_direct(&pool, dialect, work).await {
                            tracing::warn!(%error, "a write that nobody waited for failed");
                        }
                        drop(permit);
                    });
                }
            }
            Self::None => {}
        }
    }

    /// Returns the number of jobs that wait for their turn.
    pub(super) fn count_waiting(&self) -> usize {
        match self {
            Self::Grouped(jobs) => jobs.max_capacity() - jobs.capacity(),
            Self::Direct { unawaited, .. } => MAX_UNAWAITED - unawaited.available_permits(),
            Self::None => 0,
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Self::Grouped(jobs) => {
                let (done, closed) = oneshot::channel();
                if jobs.send(Message::Close(done)).await.is_ok() {
                    let _ = closed.await;
                }
            }
            Self::Direct { pool, .. } => pool.close().await,
            Self::None => {}
        }
    }
}

async fn run_direct<T, E, F>(pool: &AnyPool, dialect: Dialect, work: F) -> Result<T, E>
where
    E: JobError,
    F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, E>>,
{
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let mut tx = Tx::begin(pool, dialect).await?;
        let error = match work(&mut tx).await {
            Ok(value) => match tx.commit().await {
                Ok(()) => return Ok(value),
                Err(error) => E::from(error),
            },
            Err(error) => {
                tx.undo().await;
                error
            }
        };
        let conflict = error.store_error().is_some_and(StoreError::is_conflict);
        if conflict && attempt >= MAX_ATTEMPTS && error.store_error().is_some_and(StoreError::is_contention) {
            return Err(StoreError::Busy.into());
        }
        if attempt >= MAX_ATTEMPTS || !conflict {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2);
    }
    Err(StoreError::Busy.into())
}

/// A job with the types of its caller.
struct Typed<T, E, F> {
    work: F,
    reads: Reads,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

/// A job in the queue, without its types.
pub(super) trait Job: Send {
    /// Returns the rows that it reads.
    fn reads(&self) -> Reads;

    /// Runs it in `tx`, stores its outcome, and returns whether it succeeded.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, bool>;

    /// Passes the outcome to the caller, or the error that undid it.
    fn answer(self: Box<Self>, undone: Option<StoreError>);
}

pub(super) enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

impl<T, E, F> Job for Typed<T, E, F>
where
    T: Send + 'static,
    E: JobError,
    F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
{
    fn reads(&self) -> Reads {
        self.reads
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, bool> {
        let running = (self.work)(tx);
        Box::pin(async move {
            let outcome = running.await;
            let good = outcome.is_ok();
            self.outcome = Some(outcome);
            good
        })
    }

    fn answer(self: Box<Self>, undone: Option<StoreError>) {
        let outcome = match (undone, self.outcome) {
            (Some(error), _) => Err(error.into()),
            (None, Some(outcome)) => outcome,
            (None, None) => Err(StoreError::Closed.into()),
        };
        // The caller may be gone, and then needs no answer.
        let _ = self.reply.send(outcome);
    }
}

/// The fate of a group of jobs.
#[derive(Clone, Copy)]
enum Fate {
    /// All are on disk.
    Committed,
    /// All are undone without a trace; each runs again, alone, with an outcome of its own.
    Undone,
    /// Another process kept the lock for too long: retrying one by one would only take as long again.
    Busy,
}

/// The work of the thread that owns SQLite's writing connection.
struct Group {
    pool: AnyPool,
    dialect: Dialect,
    queue: mpsc::Receiver<Message>,
}

impl Group {
    async fn serve(mut self) {
        let mut closing = Vec::new();
        while let Some(first) = self.queue.recv().await {
            let mut jobs = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Job(job) => jobs.push(job),
                    Message::Close(done) => {
                        self.queue.close();
                        closing.push(done);
                    }
                }
                next = if jobs.len() < MAX_GROUP { self.queue.try_recv().ok() } else { None };
            }
            self.commit(jobs).await;
        }
        if closing.is_empty() {
            // Nobody asked to close: the process ends, and its runtime may be gone already.
            return;
        }
        if let Some(statement) = self.dialect.closing_statement()
            && let Err(error) = self.pool.execute(statement).await
        {
            tracing::warn!(%error, "the database could not be tidied up; it is at the next start");
        }
        self.pool.close().await;
        for done in closing {
            let _ = done.send(());
        }
    }

    async fn commit(&self, mut jobs: Vec<Box<dyn Job>>) {
        let outcome = if jobs.len() > 1 { self.run_as_group(&mut jobs).await } else { Fate::Undone };
        for job in jobs {
            match outcome {
                Fate::Committed => job.answer(None),
                Fate::Busy => job.answer(Some(StoreError::Busy)),
                Fate::Undone => self.run_alone(job).await,
            }
        }
    }

    async fn run_as_group(&self, jobs: &mut [Box<dyn Job>]) -> Fate {
        let mut tx = match Tx::begin(&self.pool, self.dialect).await {
            Ok(tx) => tx,
            Err(StoreError::Busy) => return Fate::Busy,
            Err(_) => return Fate::Undone,
        };
        for job in jobs {
            let ready = job.reads() == Reads::ItsOwnDevice || tx.write_batch().await.is_ok();
            if !(ready && job.run(&mut tx).await) {
                tx.undo().await;
                return Fate::Undone;
            }
        }
        if tx.commit().await.is_ok() { Fate::Committed } else { Fate::Undone }
    }

    async fn run_alone(&self, mut job: Box<dyn Job>) {
        let mut tx = match Tx::begin(&self.pool, self.dialect).await {
            Ok(tx) => tx,
            Err(error) => return job.answer(Some(error)),
        };
        if job.run(&mut tx).await {
            job.answer(tx.commit().await.err());
        } else {
            tx.undo().await;
            job.answer(None);
        }
    }
}
