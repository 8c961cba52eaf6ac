//! Combined writes of the jobs of a group, just before they commit: a few statements for all of them,
//! instead of three for each.
//!
//! Before a job reads rows that another may have left here, they are written: [`Tx::enrollment_facts`] and
//! [`Tx::managed_facts`] check for their own device, and before every job that reads anything else the
//! writer calls [`Tx::write_batch`].

use super::{StoreError, Tx};
use crate::domain::{audit::Event, device::Device};
use unbox_common::{
    digest::Sha256,
    ids::{ClaimId, DeviceId, Generation},
    protocol::latest::ReportEntry,
    timestamp::Timestamp,
};

/// The numbers of rows in one INSERT, from a short list, so that a few prepared statements serve groups of
/// every size.
const STATEMENT_ROWS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

/// Rows that are not written yet.
#[derive(Default)]
pub(super) struct WriteBatch {
    /// Devices, none of them twice.
    pub(super) devices: Vec<Device>,
    /// Entries of reports.
    pub(super) reports: Vec<NewReport>,
    /// Events for the audit trail, with their ids.
    pub(super) events: Vec<(i64, Event)>,
}

/// An entry of a report to be stored.
pub(super) struct NewReport {
    pub(super) device: DeviceId,
    pub(super) generation: Generation,
    pub(super) entry: ReportEntry,
    pub(super) received_at: Timestamp,
}

impl Tx {
    /// Adds a device, or updates all its mutable fields, when the transaction is committed.
    pub fn save_device_in_batch(&mut self, device: Device) {
        self.batch.devices.retain(|one| one.id != device.id);
        self.batch.devices.push(device);
    }

    /// Writes all waiting rows. Devices come first, because reports refer to them.
    pub(super) fn write_batch(&mut self) -> Result<(), StoreError> {
        let WriteBatch { devices, reports, events } = std::mem::take(&mut self.batch);
        for part in parts(&devices) {
            self.write_devices(part)?;
        }
        for part in parts(&reports) {
            self.write_reports(part)?;
        }
        self.write_events(events)
    }

    /// Writes the waiting rows if a device among them is bound to this key.
    pub(super) fn write_before_reading_key(&mut self, key: Sha256) -> Result<(), StoreError> {
        let has_key = self.batch.devices.iter().any(|one| one.knows_key(key));
        if has_key { self.write_batch() } else { Ok(()) }
    }

    /// Writes the waiting rows if any is about this device, or the device of this claim.
    pub(super) fn write_before_reading(
        &mut self,
        device: Option<DeviceId>,
        claim: Option<ClaimId>,
    ) -> Result<(), StoreError> {
        let WriteBatch { devices, reports, .. } = &self.batch;
        let saved = devices.iter().any(|one| Some(one.id) == device || Some(one.claim) == claim);
        let reported = reports.iter().any(|one| Some(one.device) == device);
        if saved || reported { self.write_batch() } else { Ok(()) }
    }
}

/// Returns the number of rows for the next statement.
pub(super) fn rows_of(remaining: usize) -> usize {
    STATEMENT_ROWS.into_iter().find(|rows| *rows <= remaining).unwrap_or(remaining)
}

fn parts<T>(rows: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let (part, behind) = rest.split_at_checked(rows_of(rest.len()))?;
        rest = behind;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_written_once_and_in_order() {
        for count in [0, 1, 2, 3, 63, 64, 65, 300] {
            let rows: Vec<usize> = (0..count).collect();
            let written: Vec<usize> = parts(&rows).flatten().copied().collect();
            assert_eq!(written, rows);
            assert!(parts(&rows).all(|part| STATEMENT_ROWS.contains(&part.len())), "{count}");
        }
    }
}
