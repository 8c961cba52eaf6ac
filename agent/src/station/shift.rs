//! The log of a shift: one JSON line for each test, durable before anybody sees the verdict.
//!
//! It is only ever appended to. Whoever starts again in the same shift goes on with its counts, its
//! duplicates and what is still to be uploaded. A line that a power cut left unfinished was never shown:
//! it is put aside, into a file of its own.

use super::{
    check::{Looked, Tested},
    seen::{Seen, fingerprint},
    verdict::{Judged, Reason, Verdict},
};
use crate::files::{self, Entry, FilesError};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};
use unbox_common::{
    identity::{HardwareIdentity, RawIdentifier},
    timestamp::Timestamp,
};

/// The largest log that is read, in bytes: some hundred thousand tests.
const MAX_LOG_BYTES: u64 = 512 * 1024 * 1024;

/// A log that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ShiftError {
    /// It could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A line within it was changed.
    #[error("line {line} of {} is not a test: keep the file, and begin another shift", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A test cannot be written down.
    #[error("a test could not be written down")]
    Write(#[source] serde_json::Error),
}

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "line")]
enum Line {
    /// A unit was tested.
    Tested {
        /// Its number in this shift, from 0; a unit that is tested again keeps it.
        number: u32,
        at: Timestamp,
        unit: String,
        #[serde(flatten)]
        judged: Judged,
        identity: Vec<RawIdentifier>,
    },
    /// The server knows these units.
    Uploaded { at: Timestamp, numbers: Vec<u32> },
}

/// A shift that goes on.
#[derive(Debug)]
pub struct Shift {
    log: PathBuf,
    units: Vec<Known>,
    numbers: HashMap<String, u32>,
    seen: Seen,
    torn: bool,
    began: Option<Timestamp>,
}

/// A shift so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many units have which verdict; of a unit that was tested again, the last counts.
    pub counts: BTreeMap<Verdict, usize>,
    /// How many of them show an identifier that another unit showed.
    pub duplicates: usize,
    /// How many the server does not know yet.
    pub pending: usize,
    /// When the first of them was tested.
    pub began: Option<Timestamp>,
}

/// A unit of this shift.
#[derive(Debug, Clone)]
struct Known {
    name: String,
    verdict: Verdict,
    duplicate: bool,
    /// What is to be uploaded of it.
    pending: Option<HardwareIdentity>,
}

impl Shift {
    /// Begins a shift, or goes on with it.
    ///
    /// # Errors
    /// [`ShiftError`].
    pub fn open(log: &Path) -> Result<Self, ShiftError> {
        let mut shift = Self {
            log: log.to_owned(),
            units: Vec::new(),
            numbers: HashMap::new(),
            seen: Seen::default(),
            torn: false,
            began: None,
        };
        let Some(bytes) = files::read(log, MAX_LOG_BYTES)? else {
            files::replace(log, b"", files::PRIVATE_FILE)?;
            return Ok(shift);
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (lines, torn) = bytes.split_at(whole);
        for (number, line) in (1..).zip(lines.split_inclusive(|byte| *byte == b'\n')) {
            let line = serde_json::from_slice(line)
                .map_err(|_| ShiftError::Damaged { path: log.to_owned(), line: number })?;
            shift.take(line);
        }
        if !torn.is_empty() {
            files::replace(&log.with_extension("torn"), torn, files::PRIVATE_FILE)?;
            Entry::of(log)?.cut(whole as u64)?;
            shift.torn = true;
        }
        Ok(shift)
    }

    /// Whether the last line was unfinished, and put aside.
    #[must_use]
    pub const fn was_torn(&self) -> bool {
        self.torn
    }

    /// The shift so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally { began: self.began, ..Tally::default() };
        for unit in &self.units {
            *tally.counts.entry(unit.verdict).or_default() += 1;
            tally.duplicates += usize::from(unit.duplicate);
            tally.pending += usize::from(unit.pending.is_some());
        }
        tally
    }

    /// Judges a unit, and writes that down before anybody is told.
    ///
    /// # Errors
    /// [`ShiftError`]; then the unit counts as not tested.
    pub fn test(&mut self, name: String, mut unit: Looked, at: Timestamp) -> Result<Tested, ShiftError> {
        let next = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        let identity = unit.identity();
        let again = identity.as_ref().and_then(|identity| self.numbers.get(&fingerprint(identity)));
        let number = again.copied().unwrap_or(next);
        let named = |other: u32| {
            let known = usize::try_from(other).ok().and_then(|at| self.units.get(at));
            known.map_or_else(String::new, |known| known.name.clone())
        };
        unit.compare(&self.seen, number, named);
        let tested = unit.judged(name);
        let line = Line::Tested {
            number,
            at,
            unit: tested.name.clone(),
            judged: tested.judged.clone(),
            identity: tested.identifiers(),
        };
        self.append(&line)?;
        self.take(line);
        Ok(tested)
    }

    /// Units that the server does not know yet, the oldest first: their numbers and what they are.
    #[must_use]
    pub fn pending(&self, most: usize) -> Vec<(u32, HardwareIdentity)> {
        let numbered = (0..).zip(&self.units);
        numbered.filter_map(|(at, unit)| Some((at, unit.pending.clone()?))).take(most).collect()
    }

    /// Notes that the server knows these units.
    ///
    /// # Errors
    /// [`ShiftError`]; then they are uploaded once more, which changes nothing there.
    pub fn uploaded(&mut self, numbers: Vec<u32>, at: Timestamp) -> Result<(), ShiftError> {
        let line = Line::Uploaded { at, numbers };
        self.append(&line)?;
        self.take(line);
        Ok(())
    }

    fn append(&self, line: &Line) -> Result<(), ShiftError> {
        let mut bytes = serde_json::to_vec(line).map_err(ShiftError::Write)?;
        bytes.push(b'\n');
        Ok(Entry::of(&self.log)?.append(&bytes)?)
    }

    /// Takes in a line, whether it was written just now or before the power was cut.
    fn take(&mut self, line: Line) {
        match line {
            Line::Uploaded { numbers, .. } => {
                for number in numbers {
                    if let Some(unit) = self.unit(number) {
                        unit.pending = None;
                    }
                }
            }
            Line::Tested { number, at, unit, judged, identity } => {
                self.began = self.began.or(Some(at));
                let identity = HardwareIdentity::from_raw(&identity).ok();
                if let Some(identity) = &identity {
                    self.seen.note(identity, number);
                    self.numbers.insert(fingerprint(identity), number);
                }
                // Only what passed is worth to be known: a unit that fails gets another identity. That the
                // server could not be asked is no fault of the unit, and why it has to wait.
                let own = judged.findings.iter().filter(|one| one.reason != Reason::ServerUnavailable);
                let good = own.fold(Verdict::Pass, |worst, one| worst.max(one.verdict));
                let pending = identity.filter(|_| good <= Verdict::NeedsAttention);
                let duplicate = judged.findings.iter().any(|one| one.reason == Reason::Duplicate);
                let known = Known { name: unit, verdict: judged.verdict, duplicate, pending };
                match self.unit(number) {
                    Some(unit) => *unit = known,
                    None => self.units.push(known),
                }
            }
        }
    }

    fn unit(&mut self, number: u32) -> Option<&mut Known> {
        usize::try_from(number).ok().and_then(|at| self.units.get_mut(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        identity::{Candidate, Survey},
        station::Finding,
    };
    use std::{fs, io::Write as _};
    use unbox_common::identity::{IdentifierKind, Source};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn unit(serial: &str, mac: &str, labels: &[&str]) -> Looked {
        use IdentifierKind::{MacAddress, Manufacturer, Model, SerialNumber};
        let of = [(SerialNumber, serial), (Manufacturer, "Acme"), (Model, "G3"), (MacAddress, mac)];
        let candidate = |(kind, value): (IdentifierKind, &str)| Candidate {
            kind,
            value: value.to_owned(),
            source: Source::Smbios,
            from: String::new(),
        };
        let survey = Survey::of(of.map(candidate).to_vec(), Vec::new(), Vec::new());
        let labels: Vec<Vec<u8>> = labels.iter().map(|label| label.as_bytes().to_vec()).collect();
        Looked::new(survey, &labels)
    }

    fn counts(shift: &Shift) -> Vec<(Verdict, usize)> {
        shift.tally().counts.into_iter().collect()
    }

    const MAC: [&str; 2] = ["00:16:3e:00:00:01", "00:16:3e:00:00:02"];

    #[test]
    fn a_shift_goes_on_after_a_restart_with_its_counts_and_its_duplicates() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        let mut shift = Shift::open(&log).unwrap();
        let first = shift.test("a".to_owned(), unit("AB12CD1", MAC[0], &["AB12CD9"]), NOW).unwrap();
        assert_eq!(first.judged.verdict, Verdict::Fail, "another label");
        assert!(shift.pending(9).is_empty());
        shift.test("a".to_owned(), unit("AB12CD1", MAC[0], &["AB12CD1"]), NOW).unwrap();
        assert_eq!(counts(&shift), [(Verdict::Pass, 1)], "the last test of a unit counts");
        let mut shift = Shift::open(&log).unwrap();
        assert_eq!(counts(&shift), [(Verdict::Pass, 1)]);
        let twin = shift.test("b".to_owned(), unit("AB12CD2", MAC[0], &[]), NOW).unwrap();
        assert_eq!(twin.judged.findings[0].reason, Reason::Duplicate);
        assert!(twin.judged.findings[0].problem.contains("was shown by a already"));
        assert_eq!(counts(&shift), [(Verdict::Pass, 1), (Verdict::Fail, 1)]);
        let later = Timestamp(NOW.0 + 1);
        shift.test("b".to_owned(), unit("AB12CD2", MAC[0], &[]), later).unwrap();
        let tally = shift.tally();
        assert_eq!((tally.duplicates, tally.pending, tally.began), (1, 1, Some(NOW)));
        assert_eq!(Shift::open(&log).unwrap().tally(), tally);
    }

    #[test]
    fn a_unit_that_was_tested_while_the_server_was_away_waits_for_it_and_a_bad_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        let mut shift = Shift::open(&log).unwrap();
        let away = |mut unit: Looked| {
            unit.found(Finding::new(Reason::ServerUnavailable, Verdict::CouldNotCheck, "Away.", "Wait."));
            unit
        };
        shift.test("a".to_owned(), away(unit("AB12CD1", MAC[0], &[])), NOW).unwrap();
        shift.test("b".to_owned(), away(unit("AB12CD2", MAC[1], &["AB12CD9"])), NOW).unwrap();
        assert_eq!(counts(&shift), [(Verdict::CouldNotCheck, 1), (Verdict::Fail, 1)]);
        let shift = Shift::open(&log).unwrap();
        assert_eq!(shift.pending(9).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn what_was_not_uploaded_is_still_to_be_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        let mut shift = Shift::open(&log).unwrap();
        for (name, serial, mac) in [("a", "AB12CD1", MAC[0]), ("b", "AB12CD2", MAC[1])] {
            shift.test(name.to_owned(), unit(serial, mac, &[]), NOW).unwrap();
        }
        shift.uploaded(vec![0], NOW).unwrap();
        let shift = Shift::open(&log).unwrap();
        assert_eq!(shift.pending(9).iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1]);
        assert_eq!(shift.pending(0), []);
    }

    #[test]
    fn a_line_that_the_power_cut_left_unfinished_is_put_aside_and_every_other_kept() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        let mut shift = Shift::open(&log).unwrap();
        shift.test("a".to_owned(), unit("AB12CD1", MAC[0], &[]), NOW).unwrap();
        let one = fs::read(&log).unwrap();
        shift.test("b".to_owned(), unit("AB12CD2", MAC[1], &[]), NOW).unwrap();
        let two = fs::read(&log).unwrap();
        // The power may be cut behind any byte of the second line.
        for cut in one.len() + 1..two.len() {
            files::replace(&log, &two[..cut], files::PRIVATE_FILE).unwrap();
            let shift = Shift::open(&log).unwrap();
            assert!(shift.was_torn());
            assert_eq!((counts(&shift), fs::read(&log).unwrap()), (vec![(Verdict::Pass, 1)], one.clone()));
            assert_eq!(fs::read(folder.path().join("day.torn")).unwrap(), two[one.len()..cut]);
        }
    }

    #[test]
    fn a_line_that_somebody_changed_is_not_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        Shift::open(&log).unwrap().test("a".to_owned(), unit("AB12CD1", MAC[0], &[]), NOW).unwrap();
        fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"{}\n").unwrap();
        let before = fs::read(&log).unwrap();
        assert!(matches!(Shift::open(&log), Err(ShiftError::Damaged { line: 2, .. })));
        assert_eq!(fs::read(&log).unwrap(), before);
    }
}
