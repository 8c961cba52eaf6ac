//! The limiter that keeps the messages of a device to their [`Pace`], whichever client sends them.
//!
//! Each start of a unit is a process of its own, and a device with units has several in a minute. They hand
//! their pace on by a file, by the system clock; a file that cannot be read or written limits each process
//! alone.

use crate::{
    clock::Waits,
    files,
    retry::{Pace, WINDOW},
    text::chain,
};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use unbox_common::timestamp::Timestamp;

/// The largest file, in bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// The limiter of one process. Clones share it.
#[derive(Clone)]
pub struct Pacer {
    waits: Arc<dyn Waits>,
    state: Arc<Mutex<State>>,
    file: Option<Arc<Path>>,
}

#[derive(Default)]
struct State {
    pace: Pace,
    /// True if the messages of the processes before this one are counted.
    is_loaded: bool,
}

impl Pacer {
    /// Makes a limiter that has counted no message yet.
    #[must_use]
    pub fn new(waits: Arc<dyn Waits>) -> Self {
        Self { waits, state: Arc::default(), file: None }
    }

    /// Makes a limiter that continues the one before it, and keeps its count in a file. Only one process at a
    /// time sends messages.
    #[must_use]
    pub fn kept_in(file: PathBuf, waits: Arc<dyn Waits>) -> Self {
        Self { file: Some(file.into()), ..Self::new(waits) }
    }

    /// Waits until a whole round may begin.
    pub async fn wait_for_round(&self) {
        let pause = self.state().pace.wait_before_round(self.now());
        if !pause.is_zero() {
            tracing::debug!(?pause, "the next round waits for its pace");
            self.waits.wait(pause).await;
        }
    }

    /// Waits until one message may be sent, and counts it.
    pub(crate) async fn wait_for_message(&self) {
        let pause = self.state().pace.wait_before_message(self.now());
        if !pause.is_zero() {
            self.waits.wait(pause).await;
        }
        let mut state = self.state();
        state.pace.count(self.now());
        self.store(&state.pace);
    }

    /// Uncounts the last message, which did not reach the server.
    pub(crate) fn uncount(&self) {
        let mut state = self.state();
        state.pace.uncount();
        self.store(&state.pace);
    }

    /// Returns the time, late enough that a message of the last minute has one, too.
    fn now(&self) -> Duration {
        WINDOW + self.waits.monotonic()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single step, so the state is consistent even after a panic.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.file.as_ref().filter(|_| !state.is_loaded) {
            let sent = files::read_json::<Vec<Timestamp>>(file, MAX_FILE_BYTES).ok().flatten();
            let system = self.waits.system();
            // A clock that was set since then says nothing about a message in its future.
            for at in sent.unwrap_or_default().into_iter().filter(|at| *at <= system) {
                let age = system.duration_since(at);
                if age < WINDOW {
                    state.pace.count(self.now().saturating_sub(age));
                }
            }
        }
        state.is_loaded = true;
        state
    }

    fn store(&self, pace: &Pace) {
        let Some(file) = &self.file else { return };
        let (now, system) = (self.now(), self.waits.system());
        let sent: Vec<Timestamp> = pace.sent().map(|at| system.minus(now.saturating_sub(at))).collect();
        if let Err(error) = files::write_json(file, &sent) {
            tracing::warn!(error = %chain(&error), "the pace of messages could not be kept");
        }
    }
}

impl fmt::Debug for Pacer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pacer")
    }
}
