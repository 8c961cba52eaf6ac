//! The rate of requests of one address, one series of identifiers, or one account.

pub use crate::domain::devices::network::Network as AddressKey;

use crate::config::Rate;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::NoOpMiddleware,
    state::keyed::DashMapStateStore,
};
use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    num::NonZeroU32,
    time::Duration,
};

/// The number of cells for keys, which bounds the memory whatever an attacker sends: about 4 MiB.
/// Two keys in one cell share its limit; which ones do is secret and differs at every start.
const CELLS: u64 = 1 << 17;

type Cells<C> = RateLimiter<u32, DashMapStateStore<u32>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// Counts by key.
pub(super) struct Limiter<C: Clock = MonotonicClock> {
    cells: Option<Cells<C>>,
    hasher: RandomState,
    clock: C,
}

impl Limiter {
    pub(super) fn new(rate: Rate) -> Self {
        Self::with_clock(rate, MonotonicClock)
    }
}

impl<C: Clock + Clone> Limiter<C> {
    fn with_clock(rate: Rate, clock: C) -> Self {
        let quota = NonZeroU32::new(rate.burst).map(|burst| {
            let per_second = NonZeroU32::new(rate.per_second).unwrap_or(NonZeroU32::MIN);
            Quota::per_second(per_second).allow_burst(burst)
        });
        Self::with_quota(quota, clock)
    }

    /// Makes a limiter of this quota; `None` means no limit.
    pub(super) fn with_quota(quota: Option<Quota>, clock: C) -> Self {
        let cells = quota.map(|quota| RateLimiter::dashmap_with_clock(quota, clock.clone()));
        Self { cells, hasher: RandomState::new(), clock }
    }

    /// Counts one request.
    ///
    /// # Errors
    /// The time until the next one is allowed.
    pub(super) fn check(&self, key: impl Hash) -> Result<(), Duration> {
        let Some(cells) = &self.cells else { return Ok(()) };
        let cell = u32::try_from(self.hasher.hash_one(key) % CELLS).unwrap_or_default();
        cells.check_key(&cell).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets every key whose quota is whole again.
    pub(super) fn sweep(&self) {
        if let Some(cells) = &self.cells {
            cells.retain_recent();
            cells.shrink_to_fit();
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.cells.as_ref().map_or(0, Cells::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;

    fn limiter(burst: u32, per_second: u32) -> (Limiter<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        (Limiter::with_clock(Rate { burst, per_second }, clock.clone()), clock)
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_time_allows() {
        let (limiter, clock) = limiter(3, 2);
        assert_eq!([(); 4].map(|()| limiter.check("a").is_ok()), [true, true, true, false]);
        assert!(limiter.check("b").is_ok(), "another key is not touched");
        assert_eq!(limiter.check("a"), Err(Duration::from_millis(500)));
        clock.advance(Duration::from_millis(500));
        assert_eq!([(); 2].map(|()| limiter.check("a").is_ok()), [true, false]);
    }

    #[test]
    fn no_burst_means_no_limit() {
        let (limiter, _) = limiter(0, 1);
        assert!((0..10_000).all(|_| limiter.check("a").is_ok()));
    }

    #[test]
    fn memory_is_bounded_and_given_back() {
        let (limiter, clock) = limiter(5, 5);
        for key in 0..2 * CELLS {
            let _ = limiter.check(key);
        }
        assert!(limiter.len() as u64 <= CELLS);
        clock.advance(Duration::from_secs(10));
        limiter.sweep();
        assert_eq!(limiter.len(), 0);
    }
}
