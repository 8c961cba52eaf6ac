//! The lock among processes of the privileged side.

use crate::{clock::Stopwatch, failure::Failure, files::Lock, install::InstallError, layout::Layout};
use std::time::Duration;

/// The longest wait for another process of the privileged side.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Interval between attempts to take its lock.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Takes the lock of the privileged side's state, and waits for its holder, but not as long as packages may
/// take.
pub(super) fn wait_for_lock(layout: &Layout) -> Result<Lock, Failure> {
    let waited = Stopwatch::start();
    loop {
        match Lock::take(&layout.state_lock())? {
            Some(lock) => return Ok(lock),
            None if waited.elapsed() >= LOCK_PATIENCE => {
                return Err(InstallError::Busy.into());
            }
            None => std::thread::sleep(LOOK_EVERY),
        }
    }
}
