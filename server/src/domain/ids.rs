//! New ids: positive, ordered by time, and drawn without the database.

use std::sync::atomic::{AtomicI64, Ordering};
use unbox_common::{
    ids::{
        AccountId, ApiKeyId, ArtifactId, ClaimId, CompanyId, ConfigurationId, DeviceId, FactoryRecordId,
        OperationId, TokenId, UploadId,
    },
    timestamp::Timestamp,
};

/// The number of bits below the milliseconds: about a million ids per millisecond before ids run ahead of
/// the clock.
const COUNTER_BITS: u32 = 20;
const COUNTER_MASK: i64 = (1 << COUNTER_BITS) - 1;

/// Returns a sort key, comparable with ids, for an object without an id: its time, and a number unique
/// within that millisecond.
#[must_use]
pub fn key_at(time: Timestamp, number: u64) -> i64 {
    let millis = i64::try_from(time.0).unwrap_or(i64::MAX).min(i64::MAX >> COUNTER_BITS);
    (millis << COUNTER_BITS) | i64::try_from(number).map_or(COUNTER_MASK, |number| number.min(COUNTER_MASK))
}

/// Returns the time and the number of such a key.
#[must_use]
pub fn time_of(key: i64) -> (Timestamp, u64) {
    let part = |part: i64| u64::try_from(part).unwrap_or_default();
    (Timestamp(part(key >> COUNTER_BITS)), part(key & COUNTER_MASK))
}

/// The source of this process's ids: milliseconds, then a counter with a random start.
///
/// Two servers on one database draw the same id only if their counters coincide within one millisecond; the
/// store then repeats the write.
#[derive(Debug)]
pub struct IdSource(AtomicI64);

impl IdSource {
    /// Returns a source whose counter starts at `seed`.
    #[must_use]
    pub fn new(seed: u32) -> Self {
        Self(AtomicI64::new(i64::from(seed) & COUNTER_MASK))
    }

    /// Returns the next id, which is larger than all before it even if the clock ran backwards.
    pub fn next(&self, now: Timestamp) -> i64 {
        self.block(now, 1)
    }

    /// Returns the first of `count` consecutive ids.
    pub fn block(&self, now: Timestamp, count: u32) -> i64 {
        // 43 bits of milliseconds last until the year 2248; after that, only the counter advances.
        let millis = i64::try_from(now.0).unwrap_or(i64::MAX).min(i64::MAX >> COUNTER_BITS);
        let first = |last: i64| {
            let follows = last.saturating_add(1);
            follows.max((millis << COUNTER_BITS) | (follows & COUNTER_MASK))
        };
        let last_of = |last| first(last).saturating_add(i64::from(count.saturating_sub(1)));
        let update = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(last_of(last)));
        let (Ok(last) | Err(last)) = update;
        first(last)
    }
}

macro_rules! of_kind {
    ($($(#[$doc:meta])* $method:ident -> $id:ident;)+) => {
        impl IdSource {
            $(
                $(#[$doc])*
                pub fn $method(&self, now: Timestamp) -> $id {
                    match $id::new(self.next(now)) {
                        Ok(id) => id,
                        Err(_) => unreachable!("ids start above zero and only grow"),
                    }
                }
            )+
        }
    };
}

of_kind! {
    /// Returns the id of a new company.
    company -> CompanyId;
    /// Returns the id of a new configuration.
    configuration -> ConfigurationId;
    /// Returns the id of a new claim.
    claim -> ClaimId;
    /// Returns the id of a new factory record.
    factory_record -> FactoryRecordId;
    /// Returns the id of a new device.
    device -> DeviceId;
    /// Returns the id of a new operation.
    operation -> OperationId;
    /// Returns the id of a new token.
    token -> TokenId;
    /// Returns the id of a new artifact registration.
    artifact -> ArtifactId;
    /// Returns the id of a new upload.
    upload -> UploadId;
    /// Returns the id of a new account.
    account -> AccountId;
    /// Returns the id of a new API key.
    api_key -> ApiKeyId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_whatever_the_clock_does() {
        let ids = IdSource::new(u32::MAX);
        let mut last = 0;
        for now in [0, 1_795_219_200_000, 1_795_219_200_000, 5, 1_795_219_200_001, u64::MAX, u64::MAX] {
            let id = ids.next(Timestamp(now));
            assert!(id > last, "{id} at {now}");
            last = id;
        }
    }

    #[test]
    fn an_id_tells_its_millisecond() {
        let ids = IdSource::new(7);
        assert_eq!(ids.next(Timestamp(1_795_219_200_000)) >> COUNTER_BITS, 1_795_219_200_000);
    }

    #[test]
    fn what_has_no_id_stands_among_ids_by_its_time() {
        let time = Timestamp(1_795_219_200_000);
        assert_eq!(time_of(key_at(time, 7)), (time, 7));
        assert_eq!(time_of(key_at(time, u64::MAX)), (time, (1 << COUNTER_BITS) - 1));
        let ids = IdSource::new(7);
        assert!(key_at(Timestamp(time.0 - 1), u64::MAX) < ids.next(time));
        assert!(key_at(Timestamp(time.0 + 1), 0) > ids.next(time));
    }

    #[test]
    fn blocks_do_not_overlap() {
        let ids = IdSource::new((1 << COUNTER_BITS) - 2);
        let (first, second) = (ids.block(Timestamp(9), 500), ids.block(Timestamp(9), 500));
        assert!(second >= first + 500);
        assert!(ids.next(Timestamp(9)) >= second + 500);
    }
}
