//! The anti-rollback floor, kept whatever happens to the rest of the device's memory.

use serde::{Deserialize, Serialize};
use unbox_common::{
    ids::{DeviceId, Generation},
    payload::Expectation,
    timestamp::Timestamp,
};

/// The largest floor file that is read, in bytes.
pub(super) const MAX_FLOOR_BYTES: u64 = 4096;

/// The highest generation and payload version that this device has accepted, and the time.
///
/// It is about one device id: another owner's server, which knows this hardware by another id, starts
/// from its own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The device's id.
    pub device: DeviceId,
    /// The highest generation that was accepted.
    pub generation: Generation,
    /// The highest payload version that was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_version: Option<u64>,
    /// The latest time from a verified source.
    pub verified_time: Timestamp,
}

impl Floor {
    /// Returns the expectation for a payload for `device` and `generation`, above `floor`.
    ///
    /// For a generation below the floor, the floor's own generation is expected, so that the payload is
    /// refused.
    #[must_use]
    pub fn expectation(
        floor: Option<&Self>,
        device: DeviceId,
        generation: Generation,
        now: Timestamp,
    ) -> Expectation {
        let own = floor.filter(|floor| floor.device == device);
        Expectation {
            device,
            generation: own.map_or(generation, |own| own.generation.max(generation)),
            key_digest: None,
            nonce: None,
            installed_version: own.and_then(|own| own.payload_version),
            now,
        }
    }

    /// Returns the floor after a grant of this enrollment was accepted at `now`.
    #[must_use]
    pub fn raise(floor: Option<Self>, device: DeviceId, generation: Generation, now: Timestamp) -> Self {
        let own = floor.filter(|floor| floor.device == device);
        Self {
            device,
            generation: own.map_or(generation, |own| own.generation.max(generation)),
            payload_version: own.and_then(|own| own.payload_version),
            verified_time: floor.map_or(now, |floor| floor.verified_time.max(now)),
        }
    }

    /// Returns the floor after a payload of this version was put in force.
    #[must_use]
    pub fn with_payload(self, version: u64) -> Self {
        Self { payload_version: self.payload_version.max(Some(version)), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: i64) -> DeviceId {
        DeviceId::new(id).unwrap()
    }

    const FLOOR: fn() -> Floor = || Floor {
        device: device(7),
        generation: Generation(3),
        payload_version: Some(50),
        verified_time: Timestamp(1000),
    };

    #[test]
    fn a_floor_never_falls() {
        let floor = Floor::raise(Some(FLOOR()), device(7), Generation(2), Timestamp(900));
        assert_eq!(floor, FLOOR());
        assert_eq!(floor.with_payload(49), FLOOR());
        let risen = Floor::raise(Some(FLOOR()), device(7), Generation(4), Timestamp(1100));
        assert_eq!(risen.generation, Generation(4));
        assert_eq!(risen.with_payload(51).payload_version, Some(51));
    }

    #[test]
    fn another_device_id_has_its_own_numbers_but_time_goes_on() {
        let other = Floor::raise(Some(FLOOR()), device(8), Generation(1), Timestamp(900));
        assert_eq!(
            (other.generation, other.payload_version, other.verified_time),
            (Generation(1), None, Timestamp(1000))
        );
    }

    #[test]
    fn a_generation_below_the_floor_is_not_expected() {
        let floor = FLOOR();
        let expected = |id, generation| {
            Floor::expectation(Some(&floor), device(id), Generation(generation), Timestamp(5))
        };
        assert_eq!(expected(7, 2).generation, Generation(3));
        assert_eq!(expected(7, 4).generation, Generation(4));
        assert_eq!(expected(7, 4).installed_version, Some(50));
        assert_eq!(expected(8, 1).generation, Generation(1));
        assert_eq!(expected(8, 1).installed_version, None);
    }
}
