//! Retries for long work that must survive a restart of the database.

use super::ServiceError;
use std::time::Duration;
use tokio::time::sleep;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The total of all pauses. A longer outage needs an administrator.
const MAX_PAUSE_TOTAL: Duration = Duration::from_mins(2);

/// Repeats `work` for as long as a restart or an overload of the database explains its failure. Doing it
/// twice must have the same effect as doing it once: a lost connection may or may not have committed.
pub(super) async fn retry_during_outage<T, W>(work: impl FnMut() -> W) -> Result<T, ServiceError>
where
    W: Future<Output = Result<T, ServiceError>>,
{
    repeat(pauses(), work).await
}

async fn repeat<T, W>(
    mut pauses: impl Iterator<Item = Duration>,
    mut work: impl FnMut() -> W,
) -> Result<T, ServiceError>
where
    W: Future<Output = Result<T, ServiceError>>,
{
    loop {
        let error = match work().await {
            Err(error) if error.is_passing() => error,
            outcome => return outcome,
        };
        let Some(pause) = pauses.next() else { return Err(error) };
        tracing::info!(%error, "long work waits for the database");
        sleep(pause).await;
    }
}

/// Returns the pauses, each twice as long as the one before.
fn pauses() -> impl Iterator<Item = Duration> {
    let longer = |pause: &Duration| Some(LONGEST_PAUSE.min(pause.saturating_mul(2)));
    std::iter::successors(Some(FIRST_PAUSE), longer).scan(Duration::ZERO, |total, pause| {
        *total += pause;
        (*total <= MAX_PAUSE_TOTAL).then_some(pause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Outage, StoreError};

    /// Counts the tries of work that fails for this reason this many times.
    async fn count_tries(outage: Outage, failures: usize) -> (usize, bool) {
        let mut tries = 0;
        let outcome = repeat([Duration::ZERO; 9].into_iter(), || {
            tries += 1;
            let fails = tries <= failures;
            async move {
                if fails {
                    Err(ServiceError::Unavailable { outage, source: StoreError::Closed })
                } else {
                    Ok(())
                }
            }
        });
        let succeeded = outcome.await.is_ok();
        (tries, succeeded)
    }

    #[tokio::test]
    async fn a_restart_is_waited_out_and_nothing_else() {
        assert_eq!(count_tries(Outage::Unreachable, 0).await, (1, true));
        assert_eq!(count_tries(Outage::Unreachable, 9).await, (10, true));
        assert_eq!(count_tries(Outage::ReadOnly, 1).await, (2, true));
        assert_eq!(count_tries(Outage::Unreachable, 10).await, (10, false), "not without an end");
        assert_eq!(count_tries(Outage::Full, 1).await, (1, false));
        assert_eq!(count_tries(Outage::Damaged, 1).await, (1, false));
    }

    #[test]
    fn the_database_has_two_minutes() {
        let total: Duration = pauses().sum();
        assert!(total > Duration::from_mins(1) && total <= MAX_PAUSE_TOTAL, "{total:?}");
        assert!(pauses().all(|pause| pause <= LONGEST_PAUSE));
    }
}
