//! The pause before the next try: exponential with full jitter, and never shorter than the server's
//! `Retry-After`; and, whatever the outcomes, a limit on messages per minute.
//!
//! The policy reads only a failure's disposition and the server's hint. Ten thousand devices that get
//! power in the same second spread out by themselves, because every pause is drawn from the whole span
//! between the shortest and the current limit.

use std::{collections::VecDeque, time::Duration};
use unbox_common::refusal::Disposition;

/// The most messages that one device sends to its server within [`WINDOW`].
pub const MAX_MESSAGES: usize = 6;

/// The period over which messages are counted.
pub const WINDOW: Duration = Duration::from_mins(1);

/// The most messages of a usual round: a report, a check-in, and the two of an enrollment. A round begins
/// only when this many may still be sent.
const MESSAGES_OF_A_ROUND: usize = 4;

/// The longest `Retry-After` that is respected: a wrong one must not put a device to sleep.
pub const MAX_HINT: Duration = Duration::from_hours(24);

/// Returns the pause before try number `attempt + 1`, after `attempt` tries that failed in the same way.
///
/// `random` is a uniformly distributed number; `hint` is the server's `Retry-After`. `None` means that
/// trying again cannot help.
#[must_use]
pub fn pause(
    disposition: Disposition,
    attempt: u32,
    random: u64,
    hint: Option<Duration>,
) -> Option<Duration> {
    let (shortest, longest) = disposition.pause()?;
    let doubled = 2u32.saturating_pow(attempt.max(1));
    let limit = shortest.saturating_mul(doubled).min(longest);
    let jittered = shortest + fraction(limit.saturating_sub(shortest), random);
    Some(match hint {
        // Every device got the same hint, so the jitter is added to it.
        Some(hint) => hint.min(MAX_HINT) + jittered.saturating_sub(shortest),
        None => jittered,
    })
}

/// The times of the messages within the last [`WINDOW`]. Pauses after failures do not limit messages
/// after a success; this limit holds for any order of both.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    sent: VecDeque<Duration>,
}

impl Pace {
    /// Returns the wait before a round may begin.
    #[must_use]
    pub fn wait_before_round(&self, now: Duration) -> Duration {
        self.wait_until_below(MAX_MESSAGES - MESSAGES_OF_A_ROUND + 1, now)
    }

    /// Returns the wait before a single message.
    #[must_use]
    pub fn wait_before_message(&self, now: Duration) -> Duration {
        self.wait_until_below(MAX_MESSAGES, now)
    }

    /// Counts a message that is about to be sent.
    pub fn count(&mut self, now: Duration) {
        self.sent.push_back(now);
        while self.sent.len() > MAX_MESSAGES {
            self.sent.pop_front();
        }
    }

    /// Uncounts the last message, which did not reach the server.
    pub fn uncount(&mut self) {
        self.sent.pop_back();
    }

    /// Returns the times of the messages, the oldest first.
    pub fn sent(&self) -> impl Iterator<Item = Duration> {
        self.sent.iter().copied()
    }

    /// Returns the time until fewer than `limit` messages are within the window.
    fn wait_until_below(&self, limit: usize, now: Duration) -> Duration {
        let counts = self.sent.len().checked_sub(limit).and_then(|at| self.sent.get(at));
        counts.map_or(Duration::ZERO, |oldest| (*oldest + WINDOW).saturating_sub(now))
    }
}

/// A count of consecutive failures, and of the tries that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// The tries that are left; `None` for no limit.
    left: Option<u32>,
    failures: u32,
}

impl Tries {
    /// Begins without failures.
    #[must_use]
    pub const fn new(limit: Option<u32>) -> Self {
        Self { left: limit, failures: 0 }
    }

    /// Counts a failed try.
    pub const fn fail(&mut self) {
        self.failures = self.failures.saturating_add(1);
        if let Some(left) = self.left {
            self.left = Some(left.saturating_sub(1));
        }
    }

    /// Resets the count of consecutive failures.
    pub const fn succeed(&mut self) {
        self.failures = 0;
    }

    /// Returns the number of failures since the last success.
    #[must_use]
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Returns true if the limit of tries is reached.
    #[must_use]
    pub const fn are_used_up(&self) -> bool {
        matches!(self.left, Some(0))
    }
}

/// Returns `span` times `random / u64::MAX`, in whole milliseconds.
fn fraction(span: Duration, random: u64) -> Duration {
    let scaled = span.as_millis() * u128::from(random) / u128::from(u64::MAX);
    Duration::from_millis(u64::try_from(scaled).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn pauses_grow_to_their_limit() {
        let longest = |attempt| pause(Disposition::Retry, attempt, u64::MAX, None).unwrap();
        assert_eq!(longest(0), 2 * SECOND);
        assert_eq!(longest(1), 2 * SECOND);
        assert_eq!(longest(2), 4 * SECOND);
        assert_eq!(longest(8), 256 * SECOND);
        assert_eq!(longest(9), 300 * SECOND);
        assert_eq!(longest(u32::MAX), 300 * SECOND);
        assert_eq!(pause(Disposition::Retry, 9, 0, None), Some(SECOND));
    }

    #[test]
    fn a_hint_is_honoured_and_spread() {
        let hinted = |random| pause(Disposition::Retry, 1, random, Some(7 * SECOND)).unwrap();
        assert_eq!(hinted(0), 7 * SECOND);
        assert_eq!(hinted(u64::MAX), 8 * SECOND);
        let endless = pause(Disposition::Retry, 1, 0, Some(Duration::MAX));
        assert_eq!(endless, Some(MAX_HINT));
    }

    #[test]
    fn what_is_fatal_is_not_tried_again() {
        assert_eq!(pause(Disposition::Fatal, 1, 0, Some(SECOND)), None);
    }

    #[test]
    fn a_limit_counts_every_failure_and_a_pause_only_those_in_a_row() {
        let mut tries = Tries::new(Some(2));
        tries.fail();
        tries.succeed();
        assert_eq!((tries.failures(), tries.are_used_up()), (0, false));
        tries.fail();
        assert_eq!((tries.failures(), tries.are_used_up()), (1, true));
        assert!(!Tries::new(None).are_used_up());
    }

    #[test]
    fn an_enrollment_that_succeeds_never_waits_for_its_pace() {
        let mut pace = Pace::default();
        for _ in 0..2 {
            assert_eq!(pace.wait_before_round(SECOND), Duration::ZERO, "hello and prove, then report");
            assert_eq!(pace.wait_before_message(SECOND), Duration::ZERO);
            pace.count(SECOND);
        }
        assert_eq!(pace.wait_before_round(SECOND), Duration::ZERO);
        pace.count(SECOND);
        assert_eq!(pace.wait_before_round(3 * SECOND), 58 * SECOND);
        pace.uncount();
        assert_eq!(pace.wait_before_round(3 * SECOND), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_order_of_rounds_sends_more_than_six_messages_a_minute(
            rounds in proptest::collection::vec((0u64..90_000, 0usize..9), 1..80),
        ) {
            let (mut pace, mut now, mut sent) = (Pace::default(), Duration::ZERO, Vec::new());
            for (pause_ms, messages) in rounds {
                now += Duration::from_millis(pause_ms);
                now += pace.wait_before_round(now);
                for _ in 0..messages {
                    now += pace.wait_before_message(now);
                    pace.count(now);
                    sent.push(now);
                }
            }
            for from in &sent {
                let within = sent.iter().filter(|at| (*from..*from + WINDOW).contains(*at)).count();
                prop_assert!(within <= MAX_MESSAGES, "{within} messages from {from:?} on");
            }
        }

        #[test]
        fn every_pause_keeps_its_bounds(
            attempt: u32,
            random: u64,
            hint in proptest::option::of(0u64..200_000),
            waits: bool,
        ) {
            let disposition = if waits { Disposition::WaitForAdministrator } else { Disposition::Retry };
            let (shortest, longest) = disposition.pause().unwrap();
            let hint = hint.map(Duration::from_secs);
            let pause = pause(disposition, attempt, random, hint).unwrap();
            match hint {
                None => prop_assert!((shortest..=longest).contains(&pause)),
                Some(hint) => {
                    let hint = hint.min(MAX_HINT);
                    prop_assert!((hint..=hint + longest).contains(&pause));
                }
            }
        }
    }
}
