//! The rate of requests of one account. `quotaUser`, by which a client names one of its own users, is whatever
//! the client writes, and gives nothing more.

use crate::route::limits::Limiter;
use governor::{
    Quota,
    clock::{Clock, MonotonicClock},
};
use std::{num::NonZeroU32, time::Duration};
use unbox_common::ids::AccountId;

/// The period of an account's quota. The whole quota may be used at once, and is then refilled as time
/// passes.
const PERIOD: Duration = Duration::from_secs(100);

/// The quotas of all accounts.
pub(crate) struct ApiQuota<C: Clock = MonotonicClock> {
    by_account: Limiter<C>,
}

impl ApiQuota {
    /// Makes quotas of this many queries in 100 seconds; 0 for no limit.
    pub(crate) fn new(queries_per_100s: u32) -> Self {
        Self::with_clock(queries_per_100s, &MonotonicClock)
    }
}

impl<C: Clock + Clone> ApiQuota<C> {
    fn with_clock(queries: u32, clock: &C) -> Self {
        Self { by_account: Limiter::with_quota(quota(queries), clock.clone()) }
    }

    /// Counts one query of an account.
    ///
    /// # Errors
    /// The time until the next one is allowed, for `Retry-After`.
    pub(crate) fn check(&self, account: AccountId) -> Result<(), Duration> {
        self.by_account.check(account)
    }

    /// Forgets accounts that have not asked for a while.
    pub(crate) fn sweep(&self) {
        self.by_account.sweep();
    }
}

fn quota(queries: u32) -> Option<Quota> {
    let burst = NonZeroU32::new(queries)?;
    Some(Quota::with_period(PERIOD / queries)?.allow_burst(burst))
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn account(id: i64) -> AccountId {
        AccountId::new(id).unwrap()
    }

    #[test]
    fn an_account_asks_a_thousand_times_in_a_hundred_seconds() {
        let clock = FakeRelativeClock::default();
        let quota = ApiQuota::with_clock(1000, &clock);
        let allowed = |of| (0..2000).filter(|_| quota.check(account(of)).is_ok()).count();
        assert_eq!(allowed(1), 1000);
        assert_eq!(quota.check(account(1)), Err(Duration::from_millis(100)));
        assert_eq!(quota.check(account(2)), Ok(()), "another account is not touched");
        clock.advance(Duration::from_secs(1));
        assert_eq!(allowed(1), 10);
        clock.advance(PERIOD);
        assert_eq!(allowed(1), 1000);
    }

    #[test]
    fn no_quota_means_no_limit() {
        let quota = ApiQuota::with_clock(0, &FakeRelativeClock::default());
        assert!((0..10_000).all(|_| quota.check(account(1)).is_ok()));
    }
}
