//! The current enrollment as the network side sees it: its certificate, and the time of the next
//! check-in.

use crate::ledger::Refused;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use unbox_common::{
    bytes::Bytes,
    ids::{DeviceId, Generation},
    protocol::latest::{Grant, Owner},
    timestamp::Timestamp,
};

/// The largest enrollment file that is read, in bytes.
pub(super) const MAX_ENROLLED_BYTES: u64 = 256 * 1024;

/// The shortest time between two check-ins, whatever the server says.
const SHORTEST_CHECK_IN: Duration = Duration::from_secs(10);
/// The longest time between two check-ins.
const LONGEST_CHECK_IN: Duration = Duration::from_hours(7 * 24);
/// The longest time for a device without a payload in force, which waits for an administrator.
const LONGEST_UNMANAGED: Duration = Duration::from_mins(15);
/// The largest step back of the clock that does not make a check-in due at once.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// `enrollment.json`, in the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The device's id.
    pub device_id: DeviceId,
    /// The generation of the enrollment.
    pub generation: Generation,
    /// The client certificate first, then its issuers; DER.
    pub certificate_chain: Vec<Bytes>,
    /// The owner of the device.
    pub owner: Owner,
    /// The time of the server's last answer, by the device's own clock, right or wrong: without a
    /// battery, that clock is always behind the trusted time, and would never reach the next check-in.
    pub heard_at: Timestamp,
    /// The time from then to the next check-in, in seconds.
    pub check_in_after_s: u32,
    /// The payload that this side refused last, before the installer saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

impl Enrolled {
    /// Takes the enrollment from a grant.
    #[must_use]
    pub fn from_grant(grant: &Grant, now: Timestamp) -> Self {
        Self {
            device_id: grant.device_id,
            generation: grant.generation,
            certificate_chain: grant.certificate_chain.clone(),
            owner: grant.owner.clone(),
            heard_at: now,
            check_in_after_s: grant.check_in_after_s,
            refused: None,
        }
    }

    /// Returns the time until the next check-in; zero if it is due.
    ///
    /// `jitter` is this device's own number, so that devices that enrolled in the same second do not keep
    /// checking in in the same second. It adds up to a tenth.
    #[must_use]
    pub fn check_in_delay(&self, now: Timestamp, jitter: u8, is_managed: bool) -> Duration {
        let longest = if is_managed { LONGEST_CHECK_IN } else { LONGEST_UNMANAGED };
        let after = Duration::from_secs(self.check_in_after_s.into()).clamp(SHORTEST_CHECK_IN, longest);
        let due = self.heard_at.plus(after + after / 10 * u32::from(jitter) / 256);
        if now.plus(CLOCK_TOLERANCE) < self.heard_at {
            return Duration::ZERO;
        }
        due.duration_since(now)
    }

    /// Returns the number for [`Self::check_in_delay`], constant for one device.
    #[must_use]
    pub fn jitter(&self) -> u8 {
        let [first, ..] = unbox_common::digest::Sha256::of(&self.device_id.get().to_be_bytes()).0;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_in_is_due_when_the_server_said_so() {
        let grant = include_str!("../../../common/tests/golden/v1/grant.json");
        let grant: Grant = serde_json::from_str(grant).unwrap();
        let heard = Timestamp::from_secs(1_795_219_200);
        let mut enrolled = Enrolled::from_grant(&grant, heard);
        let minutes = |count| Duration::from_mins(count);
        for (after_s, now, jitter, expected) in [
            (3600, heard, 0, minutes(60)),
            (3600, heard.plus(minutes(59)), 0, minutes(1)),
            (3600, heard.plus(minutes(61)), 0, Duration::ZERO),
            (3600, heard.plus(minutes(61)), 128, minutes(2)),
            (0, heard, 0, SHORTEST_CHECK_IN),
            (u32::MAX, heard, 0, LONGEST_CHECK_IN),
            // The clock was set back, by a little and by a lot.
            (3600, heard.minus(minutes(1)), 0, minutes(61)),
            (3600, heard.minus(minutes(10)), 0, Duration::ZERO),
        ] {
            enrolled.check_in_after_s = after_s;
            assert_eq!(enrolled.check_in_delay(now, jitter, true), expected, "{after_s} s, {now}, {jitter}");
        }
        enrolled.check_in_after_s = 24 * 3600;
        assert_eq!(enrolled.check_in_delay(heard, 0, false), LONGEST_UNMANAGED);
    }
}
