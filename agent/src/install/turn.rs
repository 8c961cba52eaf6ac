//! Waiting for access to the packages while another program is working on them.

use super::{Clock, io::survey::Hears};
use std::time::Duration;
use unbox_common::protocol::progress::Progress;

/// The longest wait for another program: shorter than the time limit of this stage's unit, and longer
/// than a usual unattended upgrade at a first boot.
const PATIENCE: Duration = Duration::from_mins(10);
/// Interval between checks.
const POLL: Duration = Duration::from_secs(2);

/// A wait with a deadline.
#[derive(Debug)]
pub(super) struct Turn {
    end: Duration,
    told: Option<String>,
}

impl Turn {
    /// Begins a wait.
    pub(super) fn new(clock: &dyn Clock) -> Self {
        Self { end: clock.monotonic() + PATIENCE, told: None }
    }

    /// Waits for a moment, and reports each new holder once; `false` if the deadline has passed.
    pub(super) fn wait(&mut self, clock: &mut dyn Clock, hears: Hears<'_>, holder: &str) -> bool {
        if clock.monotonic() >= self.end {
            return false;
        }
        if self.told.as_deref() != Some(holder) {
            tracing::warn!(holder, "waiting until it is done with the packages");
            hears(Progress::ConfigWarning, Some(format!("waiting until {holder} is done with the packages")));
            self.told = Some(holder.to_owned());
        }
        clock.sleep(POLL);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(Duration);

    impl Clock for Fake {
        fn monotonic(&self) -> Duration {
            self.0
        }

        fn sleep(&mut self, span: Duration) {
            self.0 += span;
        }
    }

    #[test]
    fn another_program_is_waited_for_but_not_without_end() {
        let mut clock = Fake(Duration::from_secs(5));
        let mut turn = Turn::new(&clock);
        let mut said = Vec::new();
        for holder in ["apt-get", "apt-get", "dpkg"] {
            assert!(turn.wait(&mut clock, &mut |_, detail| said.extend(detail), holder));
        }
        assert_eq!(
            said,
            [
                "waiting until apt-get is done with the packages",
                "waiting until dpkg is done with the packages"
            ]
        );
        while turn.wait(&mut clock, &mut |_, _| (), "dpkg") {}
        assert!(clock.0 >= Duration::from_secs(5) + PATIENCE && clock.0 < PATIENCE + Duration::from_mins(1));
    }
}
