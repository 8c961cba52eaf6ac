//! Reports of devices.

use crate::store::{
    Reader, StoreError, Tx,
    database::{Row, query},
    row::{Fields, millis, number},
};
use unbox_common::{
    ids::{DeviceId, Generation},
    protocol::{latest::ReportEntry, progress::Progress},
    timestamp::Timestamp,
};

/// The maximum number of stored entries of one generation: a device that reports for years must not fill
/// the disk, and nobody reads more.
pub const REPORTS_KEPT: u64 = 512;

/// The number of entries up to which a statement for them is worth keeping prepared.
const USUAL_ENTRIES: usize = 8;

/// One entry of a device's report, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReport {
    /// The device.
    pub device: DeviceId,
    /// Its generation.
    pub generation: Generation,
    /// The entry that the device sent.
    pub entry: ReportEntry,
    /// The time of its receipt.
    pub received_at: Timestamp,
}

fn report(row: &Row) -> Result<StoredReport, StoreError> {
    let fields = Fields::of(row, "reports", "sequence");
    let progress: &str = fields.read("progress")?;
    Ok(StoredReport {
        device: fields.id("device_id", DeviceId::new)?,
        generation: Generation(fields.count("generation")?),
        entry: ReportEntry {
            sequence: fields.count("sequence")?,
            at: fields.time("happened_at")?,
            progress: from_word(progress).map_err(|error| fields.wrong_value("progress", error))?,
            detail: fields.read("detail")?,
        },
        received_at: fields.time("received_at")?,
    })
}

/// Returns the wire name of a progress type, which is also its stored form.
fn to_word(progress: Progress) -> String {
    match serde_json::to_value(progress) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn from_word(word: &str) -> Result<Progress, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
}

impl Reader {
    /// Returns the newest entries of a device, newest first.
    pub fn reports(&mut self, device: DeviceId, limit: u32) -> Result<Vec<StoredReport>, StoreError> {
        let rows = query(
            "SELECT device_id, generation, sequence, happened_at, progress, detail, received_at FROM reports
             WHERE device_id = $1 ORDER BY generation DESC, sequence DESC LIMIT $2",
        )
        .bind(device.get())
        .bind(i64::from(limit))
        .fetch_all(self.connection(), "list reports")?;
        rows.iter().map(report).collect()
    }
}

impl Reader {
    /// Returns entries of a device that were received before another one: at an earlier time, or at the
    /// same time with a lower sequence number. Newest first.
    pub fn reports_before(
        &mut self,
        device: DeviceId,
        before: Option<(Timestamp, u64)>,
        limit: u32,
    ) -> Result<Vec<StoredReport>, StoreError> {
        let (time, sequence) = before.unwrap_or((Timestamp(u64::MAX), 0));
        let rows = query(
            "SELECT device_id, generation, sequence, happened_at, progress, detail, received_at FROM reports
             WHERE device_id = $1 AND (received_at < $2 OR (received_at = $2 AND sequence < $3))
             ORDER BY received_at DESC, sequence DESC LIMIT $4",
        )
        .bind(device.get())
        .bind(millis(time))
        .bind(number(sequence))
        .bind(i64::from(limit))
        .fetch_all(self.connection(), "list reports")?;
        rows.iter().map(report).collect()
    }
}

impl Reader {
    /// Returns the last of the next devices after this one, counting at most this many; `None` if there are
    /// no more.
    pub fn device_after_some(
        &mut self,
        after: Option<DeviceId>,
        devices: u32,
    ) -> Result<Option<DeviceId>, StoreError> {
        let row = query(
            "SELECT MAX(id) AS id FROM (SELECT id FROM devices WHERE id > $1 ORDER BY id LIMIT $2) AS next",
        )
        .bind(after.map_or(0, DeviceId::get))
        .bind(i64::from(devices))
        .fetch_one(self.connection(), "list devices")?;
        Fields::of(&row, "devices", "id").id_opt("id", DeviceId::new)
    }
}

impl Tx {
    /// Deletes entries that were received before this time, of the devices after `after` up to `until`.
    pub fn delete_reports_before(
        &mut self,
        time: Timestamp,
        after: Option<DeviceId>,
        until: DeviceId,
    ) -> Result<u64, StoreError> {
        let done = query("DELETE FROM reports WHERE device_id > $1 AND device_id <= $2 AND received_at < $3")
            .bind(after.map_or(0, DeviceId::get))
            .bind(until.get())
            .bind(millis(time))
            .execute(self.connection(), "forget old reports")?;
        Ok(done)
    }

    /// Adds entries of one generation, and deletes its oldest ones beyond [`REPORTS_KEPT`].
    pub fn insert_reports(
        &mut self,
        device: DeviceId,
        generation: Generation,
        entries: &[ReportEntry],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(newest) = entries.iter().map(|entry| entry.sequence).max() else {
            return Ok(());
        };
        let mut sql = self.sql(
            "INSERT INTO reports (device_id, generation, sequence, happened_at, progress, detail, received_at) VALUES ",
        );
        sql.push_rows(entries, |row, entry| {
            row.bind(device.get())
                .bind(number(generation.0))
                .bind(number(entry.sequence))
                .bind(millis(entry.at))
                .bind(to_word(entry.progress))
                .bind(entry.detail.clone())
                .bind(millis(now));
        });
        sql.push(" ON CONFLICT (device_id, generation, sequence) DO NOTHING");
        let usual = entries.len() <= USUAL_ENTRIES;
        sql.query().keep_prepared(usual).execute(self.connection(), "add reports")?;
        if newest > REPORTS_KEPT {
            query("DELETE FROM reports WHERE device_id = $1 AND generation = $2 AND sequence <= $3")
                .bind(device.get())
                .bind(number(generation.0))
                .bind(number(newest - REPORTS_KEPT))
                .execute(self.connection(), "forget old reports")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_stored_by_its_wire_name() {
        assert_eq!(to_word(Progress::BootImageInstalledRebooting), "boot-image-installed-rebooting");
        assert_eq!(from_word("bootstrap-complete").unwrap(), Progress::BootstrapComplete);
        assert!(from_word("BootstrapComplete").is_err());
    }
}
