//! The limiter that keeps the messages of one process to their [`Pace`], whichever client sends them.

use crate::{clock::Waits, retry::Pace};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The limiter of one process. Clones share it.
#[derive(Clone)]
pub struct Pacer {
    waits: Arc<dyn Waits>,
    pace: Arc<Mutex<Pace>>,
}

impl Pacer {
    /// Makes a limiter that has counted no message yet.
    #[must_use]
    pub fn new(waits: Arc<dyn Waits>) -> Self {
        Self { waits, pace: Arc::default() }
    }

    /// Waits until a whole round may begin.
    pub async fn wait_for_round(&self) {
        let pause = self.pace().wait_before_round(self.waits.monotonic());
        if !pause.is_zero() {
            tracing::debug!(?pause, "the next round waits for its pace");
            self.waits.wait(pause).await;
        }
    }

    /// Waits until one message may be sent, and counts it.
    pub(crate) async fn wait_for_message(&self) {
        let pause = self.pace().wait_before_message(self.waits.monotonic());
        if !pause.is_zero() {
            self.waits.wait(pause).await;
        }
        self.pace().count(self.waits.monotonic());
    }

    /// Uncounts the last message, which did not reach the server.
    pub(crate) fn uncount(&self) {
        self.pace().uncount();
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        // Every change is a single step, so the state is consistent even after a panic.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pacer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pacer")
    }
}
