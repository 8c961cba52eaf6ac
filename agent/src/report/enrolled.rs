//! The enrollment that the network side speaks for: its certificate, and when to check in.

use crate::ledger::Refused;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use unbox_common::{
    bytes::Bytes,
    ids::{DeviceId, Generation},
    protocol::latest::{Grant, Owner},
    timestamp::Timestamp,
};

/// The largest file of this kind that is read, in bytes.
pub(super) const MAX_ENROLLED_BYTES: u64 = 256 * 1024;

/// The shortest time between two check-ins, whatever the server says.
const SHORTEST_CHECK_IN: Duration = Duration::from_secs(10);
/// The longest.
const LONGEST_CHECK_IN: Duration = Duration::from_hours(7 * 24);
/// The longest for a device on which nothing is in force: it waits for an administrator.
const LONGEST_UNMANAGED: Duration = Duration::from_mins(15);
/// How far a clock may have been set back before a check-in is due all the same.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);

/// `enrollment.json`, in the exchange.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The device's id.
    pub device_id: DeviceId,
    /// Which enrollment.
    pub generation: Generation,
    /// The client certificate first, then its issuers; DER.
    pub certificate_chain: Vec<Bytes>,
    /// Whose device it is.
    pub owner: Owner,
    /// When the server was last heard, by the device's own clock, right or wrong: a clock without a
    /// battery stays behind every time that is believed, and would never come to the next check-in.
    pub heard_at: Timestamp,
    /// How long after that the next check-in is due, in seconds.
    pub check_in_after_s: u32,
    /// The payload that this side refused last, before the installer saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

impl Enrolled {
    /// What a grant says.
    #[must_use]
    pub fn by(grant: &Grant, now: Timestamp) -> Self {
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

    /// How long until the next check-in; zero if it is due.
    ///
    /// `jitter` is a number of this device's own: devices that enrolled in the same second do
    /// not ask in the same second for ever. It adds up to a tenth.
    #[must_use]
    pub fn until_check_in(&self, now: Timestamp, jitter: u8, is_managed: bool) -> Duration {
        let longest = if is_managed { LONGEST_CHECK_IN } else { LONGEST_UNMANAGED };
        let after = Duration::from_secs(self.check_in_after_s.into()).clamp(SHORTEST_CHECK_IN, longest);
        let due = self.heard_at.after(after + after / 10 * u32::from(jitter) / 256);
        if now.after(CLOCK_TOLERANCE) < self.heard_at {
            return Duration::ZERO;
        }
        due.since(now)
    }

    /// The number that [`Self::until_check_in`] takes: always the same for one device.
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
        let mut enrolled = Enrolled::by(&grant, heard);
        let minutes = |count| Duration::from_mins(count);
        for (after_s, now, jitter, expected) in [
            (3600, heard, 0, minutes(60)),
            (3600, heard.after(minutes(59)), 0, minutes(1)),
            (3600, heard.after(minutes(61)), 0, Duration::ZERO),
            (3600, heard.after(minutes(61)), 128, minutes(2)),
            (0, heard, 0, SHORTEST_CHECK_IN),
            (u32::MAX, heard, 0, LONGEST_CHECK_IN),
            // The clock was set back, a little and a lot.
            (3600, heard.before(minutes(1)), 0, minutes(61)),
            (3600, heard.before(minutes(10)), 0, Duration::ZERO),
        ] {
            enrolled.check_in_after_s = after_s;
            assert_eq!(enrolled.until_check_in(now, jitter, true), expected, "{after_s} s, {now}, {jitter}");
        }
        enrolled.check_in_after_s = 24 * 3600;
        assert_eq!(enrolled.until_check_in(heard, 0, false), LONGEST_UNMANAGED);
    }
}
