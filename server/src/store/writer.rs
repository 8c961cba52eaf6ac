//! The one place that opens a write transaction.
//!
//! SQLite has one writer at a time, and a durable commit costs a flush of the disk. So one thread owns the
//! one connection that writes, takes jobs from a queue, and commits all that have gathered in one
//! transaction; each caller is answered after that commit. When a job fails, the whole transaction is
//! undone and its jobs run again one by one, each in its own, so that no job suffers from another's
//! failure. On PostgreSQL, which groups commits itself, each job is a transaction of its own, and runs
//! again if the database found it in conflict with another.
//!
//! A transaction that does not end properly (a full disk, a restarted server) closes its connection; the
//! next job starts on a new one.

use super::{
    ACQUIRE_TIMEOUT, JobError, POSTGRES_CONNECTIONS, Pool, Reader, StoreError,
    database::Connection,
    dialect::Dialect,
    error::{connect_error, statement_error},
    open::Place,
    pool::{Connections, DEADLINE},
};
use crate::domain::tenancy::audit::Event;
use std::{
    ops::{Deref, DerefMut},
    panic::{self, AssertUnwindSafe},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The maximum number of waiting jobs; further callers are told that the database is busy.
const QUEUE_JOBS: usize = 1024;
/// The maximum number of jobs in one transaction: enough to make the flush cheap, few enough to answer soon.
const MAX_GROUP: usize = 256;
/// The maximum number of attempts at a job that PostgreSQL found in conflict.
const MAX_ATTEMPTS: u32 = 6;
/// The first pause between two attempts; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// The start of a transaction, for an error.
const BEGIN: &str = "begin a transaction";
/// The maximum number of jobs without a waiting caller at a time.
const MAX_UNAWAITED: usize = 64;

/// A write transaction, which can also do everything that a [`Reader`] does.
pub struct Tx {
    reader: Reader,
    /// The events that are written at the end of the job, with their ids.
    pub(super) events: Vec<(i64, Event)>,
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
    /// Returns a connection whose transaction has begun.
    fn new(connection: Connection, dialect: Dialect) -> Self {
        Self { reader: Reader { connection, dialect }, events: Vec::new() }
    }

    /// Commits, and returns the connection if the transaction ended as intended. In all other cases the state
    /// of the connection is unknown: SQLite has undone some failed transactions by itself and others not, and
    /// PostgreSQL may be gone. Closing it undoes whatever is left.
    fn commit(self) -> (Option<Connection>, Result<(), StoreError>) {
        let mut connection = self.reader.connection;
        match connection.run("COMMIT").map_err(statement_error("commit")) {
            Ok(()) => (Some(connection), Ok(())),
            Err(error) => (None, Err(error)),
        }
    }

    /// Undoes everything, and returns the connection if that went as intended.
    fn undo(self) -> Option<Connection> {
        let mut connection = self.reader.connection;
        match connection.run("ROLLBACK") {
            Ok(()) => Some(connection),
            Err(error) => {
                tracing::debug!(%error, "a transaction had ended already; its connection is closed");
                None
            }
        }
    }
}

pub(super) enum Writer {
    /// SQLite: jobs go to the thread that owns the connection.
    Grouped(mpsc::Sender<Message>),
    /// PostgreSQL: jobs take a connection each.
    Direct { pool: Pool, dialect: Dialect, unawaited: Arc<Semaphore> },
    /// Read-only: nothing is written.
    None,
}

impl Writer {
    pub(super) fn start(place: Place, dialect: Dialect) -> Result<Self, StoreError> {
        match dialect {
            Dialect::Sqlite => {
                let (jobs, queue) = mpsc::channel(QUEUE_JOBS);
                let group = Group { place, dialect, connection: None, queue };
                thread::Builder::new()
                    .name("store-writer".to_owned())
                    .spawn(move || group.serve())
                    .map_err(StoreError::Thread)?;
                Ok(Self::Grouped(jobs))
            }
            Dialect::Postgres => {
                let pool = Pool::new(place, dialect.writer_setup(), POSTGRES_CONNECTIONS, ACQUIRE_TIMEOUT);
                let unawaited = Arc::new(Semaphore::new(MAX_UNAWAITED));
                Ok(Self::Direct { pool, dialect, unawaited })
            }
        }
    }

    pub(super) async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: JobError,
        F: Fn(&mut Tx) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        match self {
            Self::Grouped(jobs) => {
                let job = Box::new(Typed { work, outcome: None, reply });
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
        F: Fn(&mut Tx) -> Result<(), StoreError> + Send + 'static,
    {
        match self {
            Self::Grouped(jobs) => {
                // Jobs with a waiting caller come first: half of the queue is reserved for them.
                if jobs.capacity() > QUEUE_JOBS / 2 {
                    let (reply, _) = oneshot::channel();
                    let job = Box::new(Typed { work, outcome: None, reply });
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

async fn run_direct<T, E, F>(pool: &Pool, dialect: Dialect, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: JobError,
    F: Fn(&mut Tx) -> Result<T, E> + Send + 'static,
{
    pool.run(move |connections| {
        let (mut attempt, mut pause) = (1, FIRST_PAUSE);
        loop {
            let error = match run_once(connections, dialect, &work) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let cause = error.store_error();
            if !cause.is_some_and(StoreError::is_conflict) {
                return Err(error);
            }
            if attempt == MAX_ATTEMPTS {
                let is_contention = cause.is_some_and(StoreError::is_contention);
                return Err(if is_contention { StoreError::Busy.into() } else { error });
            }
            thread::sleep(pause);
            (attempt, pause) = (attempt + 1, pause.saturating_mul(2));
        }
    })
    .await
}

/// Runs a job, and writes the events that it added.
fn run_job<T, E: JobError>(tx: &mut Tx, work: &impl Fn(&mut Tx) -> Result<T, E>) -> Result<T, E> {
    let value = work(tx)?;
    tx.write_events()?;
    Ok(value)
}

/// Runs a job in a transaction of its own.
fn run_once<T, E: JobError>(
    connections: &Connections,
    dialect: Dialect,
    work: &impl Fn(&mut Tx) -> Result<T, E>,
) -> Result<T, E> {
    let mut tx = Tx::new(connections.take_with(dialect.begin(), BEGIN)?, dialect);
    let (left, outcome) = match run_job(&mut tx, work) {
        Ok(value) => {
            let (left, done) = tx.commit();
            (left, done.map(|()| value).map_err(E::from))
        }
        Err(error) => (tx.undo(), Err(error)),
    };
    if let Some(connection) = left {
        connections.give_back(connection);
    }
    outcome
}

/// A job with the types of its caller.
struct Typed<T, E, F> {
    work: F,
    outcome: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

/// A job in the queue, without its types.
pub(super) trait Job: Send {
    /// Runs it in `tx`, stores its outcome, and returns true if it succeeded.
    fn run(&mut self, tx: &mut Tx) -> bool;

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
    F: Fn(&mut Tx) -> Result<T, E> + Send + 'static,
{
    fn run(&mut self, tx: &mut Tx) -> bool {
        // A job that panics is undone like one that fails; the thread is everybody's.
        let ran = panic::catch_unwind(AssertUnwindSafe(|| run_job(tx, &self.work)));
        self.outcome = ran.ok();
        self.outcome.as_ref().is_some_and(Result::is_ok)
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
    place: Place,
    dialect: Dialect,
    /// The connection; `None` before the first job, and after a transaction that did not end as intended.
    connection: Option<Connection>,
    queue: mpsc::Receiver<Message>,
}

impl Group {
    fn serve(mut self) {
        let mut closing = Vec::new();
        while let Some(first) = self.queue.blocking_recv() {
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
            self.commit(jobs);
        }
        if let (Some(statement), false) = (self.dialect.closing_statement(), closing.is_empty())
            && let Err(error) = self.tidy_up(statement)
        {
            tracing::warn!(%error, "the database could not be tidied up; it is at the next start");
        }
        drop(self.connection);
        for done in closing {
            let _ = done.send(());
        }
    }

    fn tidy_up(&mut self, statement: &str) -> Result<(), StoreError> {
        let mut connection = self.connect()?;
        connection.run(statement).map_err(statement_error("tidy up"))
    }

    /// Takes the connection, or opens it.
    fn connect(&mut self) -> Result<Connection, StoreError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.place.connect(self.dialect.writer_setup(), DEADLINE).map_err(connect_error),
        }
    }

    fn begin(&mut self) -> Result<Tx, StoreError> {
        let mut connection = self.connect()?;
        connection.run(self.dialect.begin()).map_err(statement_error(BEGIN))?;
        Ok(Tx::new(connection, self.dialect))
    }

    fn commit(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        let outcome = if jobs.len() > 1 { self.run_as_group(&mut jobs) } else { Fate::Undone };
        for job in jobs {
            match outcome {
                Fate::Committed => job.answer(None),
                Fate::Busy => job.answer(Some(StoreError::Busy)),
                Fate::Undone => self.run_alone(job),
            }
        }
    }

    fn run_as_group(&mut self, jobs: &mut [Box<dyn Job>]) -> Fate {
        let mut tx = match self.begin() {
            Ok(tx) => tx,
            Err(StoreError::Busy) => return Fate::Busy,
            Err(_) => return Fate::Undone,
        };
        for job in jobs {
            if !job.run(&mut tx) {
                self.connection = tx.undo();
                return Fate::Undone;
            }
        }
        let (connection, outcome) = tx.commit();
        self.connection = connection;
        if outcome.is_ok() { Fate::Committed } else { Fate::Undone }
    }

    fn run_alone(&mut self, mut job: Box<dyn Job>) {
        let mut tx = match self.begin() {
            Ok(tx) => tx,
            Err(error) => return job.answer(Some(error)),
        };
        if job.run(&mut tx) {
            let (connection, outcome) = tx.commit();
            self.connection = connection;
            job.answer(outcome.err());
        } else {
            self.connection = tx.undo();
            job.answer(None);
        }
    }
}
