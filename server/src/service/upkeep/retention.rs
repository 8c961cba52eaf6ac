//! Deletion of old data. Called from time to time; each call continues where the last one stopped, and each
//! step is a short transaction.

use crate::{
    domain::tenancy::audit::Entry,
    files::{self, FilesError, PRIVATE_DIRECTORY, PRIVATE_FILE},
    service::{ServiceError, Upkeep},
};
use tokio::task::spawn_blocking;
use unbox_common::ids::DeviceId;

/// The number of audit entries that are moved together.
const ENTRIES_AT_ONCE: u32 = 1000;
/// The number of claims that are deleted together.
const CLAIMS_AT_ONCE: u32 = 100;
/// The number of devices whose reports are examined together.
const DEVICES_AT_ONCE: u32 = 500;

impl Upkeep {
    /// Deletes reports older than the settings keep them, and returns the number of entries.
    pub async fn forget_reports(&self) -> Result<u64, ServiceError> {
        let before = self.core.cutoff(self.core.settings.reports_kept);
        let (mut after, mut forgotten): (Option<DeviceId>, u64) = (None, 0);
        while let Some(until) =
            self.core.read(move |reader| reader.device_after_some(after, DEVICES_AT_ONCE)).await?
        {
            let deleted = self
                .core
                .store
                .write(move |tx| Ok::<_, ServiceError>(tx.delete_reports_before(before, after, until)?));
            forgotten += deleted.await?;
            after = Some(until);
        }
        Ok(forgotten)
    }

    /// Deletes claims that ended longer ago than the settings keep them, with their devices, and returns
    /// their number.
    pub async fn forget_claims(&self) -> Result<u64, ServiceError> {
        let (before, mut forgotten) = (self.core.cutoff(self.core.settings.claims_kept), 0);
        loop {
            let ended =
                self.core.read(move |reader| reader.claims_ended_before(before, CLAIMS_AT_ONCE)).await?;
            if ended.is_empty() {
                return Ok(forgotten);
            }
            let deleted =
                self.core.store.write(move |tx| Ok::<_, ServiceError>(tx.delete_ended_claims(&ended)?));
            forgotten += deleted.await?;
        }
    }

    /// Moves audit entries older than the settings keep them from the database into files, one for each
    /// day, and returns their number. An entry is deleted only once it is on disk in its file: after a
    /// power cut it may be there twice, with the same id.
    pub async fn archive_audit(&self) -> Result<u64, ServiceError> {
        let Some(kept) = self.core.settings.audit_kept else { return Ok(0) };
        let (before, mut moved) = (self.core.cutoff(kept), 0);
        loop {
            let entries = self.core.read(move |reader| reader.audit_before(before, ENTRIES_AT_ONCE)).await?;
            if entries.is_empty() {
                return Ok(moved);
            }
            let ids: Vec<i64> = entries.iter().map(|entry| entry.id).collect();
            let directory = self.core.settings.audit_directory.clone();
            let written = spawn_blocking(move || {
                files::make_directory(&directory, PRIVATE_DIRECTORY)?;
                for (day, lines) in group_by_day(&entries) {
                    files::append(
                        &directory.join(format!("audit-{day}.ndjson")),
                        lines.as_bytes(),
                        PRIVATE_FILE,
                    )?;
                }
                Ok::<_, FilesError>(())
            });
            written.await.map_err(|_| ServiceError::Busy)??;
            moved += ids.len() as u64;
            let deleted = self.core.store.write(move |tx| Ok::<_, ServiceError>(tx.delete_audit(&ids)?));
            deleted.await?;
        }
    }
}

/// Returns lines of JSON by the day of the first event, such as `2026-11-21`.
fn group_by_day(entries: &[Entry]) -> std::collections::BTreeMap<String, String> {
    let mut days: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    for entry in entries {
        let day = entry.at.to_string().chars().take(10).collect();
        let line = serde_json::to_string(entry).unwrap_or_default();
        let lines = days.entry(day).or_default();
        lines.push_str(&line);
        lines.push('\n');
    }
    days
}
