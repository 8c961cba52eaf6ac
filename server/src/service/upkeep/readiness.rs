//! The readiness probe, which writes to the database.

use crate::service::{ServiceError, Upkeep};
use std::time::Duration;
use tokio::sync::Mutex;
use unbox_common::timestamp::Timestamp;

/// The lifetime of an outcome: the probe writes no more often than this, however many clients ask.
const OUTCOME_LIFETIME: Duration = Duration::from_secs(1);

/// The outcome of the latest probe, and its time. The probe runs under this lock.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Timestamp, Result<(), String>)>>);

impl Upkeep {
    /// Writes to the database and returns when that is on disk, or returns a recent outcome.
    ///
    /// # Errors
    /// The reason, for people.
    pub async fn check_readiness(&self) -> Result<(), String> {
        let mut latest = self.readiness.0.lock().await;
        let now = self.core.now();
        if let Some((at, outcome)) = &*latest
            && Duration::from_millis(now.0.abs_diff(at.0)) < OUTCOME_LIFETIME
        {
            return outcome.clone();
        }
        let written = self.core.store.write_probe(now).await;
        let outcome = written.map_err(|error| ServiceError::from(error).to_string());
        *latest = Some((now, outcome.clone()));
        outcome
    }
}
