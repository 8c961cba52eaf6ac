//! The history of disk usage, day by day, and the forecast of a full disk.

use crate::files::{self, FilesError, PRIVATE_FILE};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::timestamp::Timestamp;

/// The largest file of days, in bytes.
const MAX_BYTES: u64 = 64 * 1024;
/// The number of days that are kept.
const DAYS: usize = 30;
const DAY: Duration = Duration::from_hours(24);

/// Free bytes of each directory, one measurement for each day, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskHistory(BTreeMap<PathBuf, VecDeque<Look>>);

/// A measurement of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Look {
    at: Timestamp,
    free_bytes: u64,
}

impl DiskHistory {
    /// Reads the history. A damaged one counts as empty: it grows again.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn read(file: &Path) -> Result<Self, FilesError> {
        let bytes = files::read(file, MAX_BYTES)?.unwrap_or_default();
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Measures the disks of these directories, and keeps the result if the last one is a day old. A disk
    /// that cannot be measured is left out. Returns the history.
    ///
    /// # Errors
    /// [`FilesError`].
    pub fn look(file: &Path, directories: &[&Path], now: Timestamp) -> Result<Self, FilesError> {
        let before = Self::read(file)?;
        let mut history = before.clone();
        history.0.retain(|known, _| directories.contains(&known.as_path()));
        for directory in directories {
            if let Ok(free_bytes) = files::free_bytes(directory) {
                history.add(directory, Look { at: now, free_bytes });
            }
        }
        if history != before {
            files::replace(file, &serde_json::to_vec(&history).unwrap_or_default(), PRIVATE_FILE)?;
        }
        Ok(history)
    }

    fn add(&mut self, directory: &Path, look: Look) {
        let looks = self.0.entry(directory.to_owned()).or_default();
        // A clock that was set back starts over.
        looks.retain(|before| before.at <= look.at);
        if looks.back().is_none_or(|last| last.at.plus(DAY) <= look.at) {
            looks.push_back(look);
        }
        while looks.len() > DAYS {
            looks.pop_front();
        }
    }

    /// Forecasts the time at which only `reserve_bytes` will be left on the disk of a directory, at the
    /// present pace; `None` if it does not fill up, or has not been measured for long enough.
    #[must_use]
    pub fn full_at(&self, directory: &Path, reserve_bytes: u64) -> Option<Timestamp> {
        let looks = self.0.get(directory)?;
        let (first, last) = (looks.front()?, looks.back()?);
        let passed = last.at.0.checked_sub(first.at.0).filter(|passed| *passed > 0)?;
        let used = first.free_bytes.checked_sub(last.free_bytes).filter(|used| *used > 0)?;
        let left = last.free_bytes.saturating_sub(reserve_bytes);
        let lasts = u128::from(left) * u128::from(passed) / u128::from(used);
        Some(Timestamp(last.at.0.saturating_add(u64::try_from(lasts).unwrap_or(u64::MAX))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn days(count: u32) -> Timestamp {
        START.plus(DAY * count)
    }

    fn history(looks: &[(u32, u64)]) -> DiskHistory {
        let mut history = DiskHistory::default();
        for (day, free_bytes) in looks {
            history.add(Path::new("/srv"), Look { at: days(*day), free_bytes: *free_bytes });
        }
        history
    }

    #[test]
    fn a_disk_that_fills_says_when() {
        for (looks, reserve, expected) in [
            (&[(0, 1000), (1, 900), (2, 800)][..], 0, Some(days(10))),
            (&[(0, 1000), (2, 800)], 300, Some(days(7))),
            (&[(0, 1000), (2, 200)], 300, Some(days(2))),
            (&[(0, 1000), (1, 1000)], 0, None),
            (&[(0, 800), (1, 1000)], 0, None),
            (&[(0, 1000)], 0, None),
            (&[], 0, None),
        ] {
            assert_eq!(history(looks).full_at(Path::new("/srv"), reserve), expected, "{looks:?}");
        }
        assert_eq!(history(&[(0, 9), (1, 8)]).full_at(Path::new("/elsewhere"), 0), None);
    }

    #[test]
    fn there_is_one_look_for_each_day_and_the_oldest_go() {
        let mut long = history(&[]);
        for hour in 0..40 * 24 {
            let at = START.plus(Duration::from_hours(hour));
            long.add(Path::new("/srv"), Look { at, free_bytes: 10_000 - hour });
        }
        let looks = &long.0[Path::new("/srv")];
        assert_eq!((looks.len(), looks[0].at), (DAYS, days(10)));
        long.add(Path::new("/srv"), Look { at: START, free_bytes: 5 });
        assert_eq!(long.0[Path::new("/srv")].len(), 1, "the clock was set back");
    }

    #[test]
    fn looks_are_kept_in_a_file_and_a_damaged_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (file, here) = (folder.path().join("disk.json"), folder.path());
        DiskHistory::look(&file, &[here, Path::new("/does/not/exist")], START).unwrap();
        let first = DiskHistory::read(&file).unwrap();
        assert_eq!(first.0.keys().collect::<Vec<_>>(), [here]);
        DiskHistory::look(&file, &[here], START.plus(DAY / 2)).unwrap();
        assert_eq!(DiskHistory::read(&file).unwrap(), first);
        DiskHistory::look(&file, &[here], days(1)).unwrap();
        assert_eq!(DiskHistory::read(&file).unwrap().0[here].len(), 2);
        files::replace(&file, b"{", PRIVATE_FILE).unwrap();
        assert_eq!(DiskHistory::read(&file).unwrap(), DiskHistory::default());
    }
}
