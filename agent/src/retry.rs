//! How long to wait before the next try: exponential with full jitter, and never before the
//! server's `Retry-After`.
//!
//! The policy reads nothing but a failure's disposition and the server's hint. Ten thousand
//! devices that get power in the same second spread out by themselves, because every pause is
//! drawn from the whole span between the shortest and the present limit.

use std::time::Duration;
use unbox_common::refusal::Disposition;

/// The longest `Retry-After` that is honoured: a wrong one must not put a device to sleep.
pub const MAX_HINT: Duration = Duration::from_hours(24);

/// The pause before try number `attempt + 1`, after `attempt` tries that failed in the same way.
///
/// `random` is any number, each as likely as any other; `hint` is the server's `Retry-After`.
/// `None` means that trying again cannot help.
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
        // The same hint went to every device: the jitter comes on top of it.
        Some(hint) => hint.min(MAX_HINT) + jittered.saturating_sub(shortest),
        None => jittered,
    })
}

/// `span` times `random / u64::MAX`, to the millisecond.
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

    proptest! {
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
