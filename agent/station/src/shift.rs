//! The log of a shift: one JSON line for each test, durable before the verdict is shown.
//!
//! It is only ever appended to, by one station at a time. A restart in the same shift continues with its
//! counts, its duplicates and its queue: units that the server is still to be asked about, and then those
//! that it is still to register. A line that a power cut interrupted was never shown: it is moved to a
//! file of its own.

use super::{
    check::{SurveyedUnit, TestedUnit},
    duplicates::{IdentifierIndex, fingerprint},
    report::json_line,
    verdict::{Judgement, Reason, Verdict},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};
use unbox_agent::files::{self, Entry, FilesError};
use unbox_common::{
    identity::{HardwareIdentity, RawIdentifier},
    timestamp::Timestamp,
};

/// The largest log that is read, in bytes: several hundred thousand tests.
const MAX_LOG_BYTES: u64 = 512 * 1024 * 1024;
/// The beginnings of lines that are not tests.
const NO_TESTS: [&[u8]; 2] = [b"{\"line\":\"uploaded\"", b"{\"line\":\"asked_again\""];

/// The reason why a log is unusable.
#[derive(Debug, thiserror::Error)]
pub enum ShiftError {
    /// The log could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// A line in the log was changed.
    #[error("line {line} of {} is not a test: keep the file, and begin another shift", path.display())]
    Damaged {
        /// The log.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// Another station is appending to the log.
    #[error("another station works with {}: end that one, or begin another shift", .0.display())]
    InUse(PathBuf),
    /// The log was changed by somebody else.
    #[error("somebody changed {} while the station worked: start again, and test the last unit again", .0.display())]
    Changed(PathBuf),
    /// A test could not be serialized.
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
        judged: Judgement,
        identity: Vec<RawIdentifier>,
        /// The data for judging the unit once the server can be asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waiting: Option<Box<SurveyedUnit>>,
    },
    /// The server was asked about a unit that had waited for it, and this is its current verdict.
    AskedAgain {
        number: u32,
        at: Timestamp,
        unit: String,
        #[serde(flatten)]
        judged: Judgement,
    },
    /// The server has registered these units.
    Uploaded { at: Timestamp, numbers: Vec<u32> },
}

/// A shift in progress.
#[derive(Debug)]
pub struct Shift {
    log: PathBuf,
    /// The locked log file, so that no other process appends to it.
    file: File,
    /// Its length, in bytes.
    length: u64,
    units: Vec<ShiftUnit>,
    numbers: HashMap<String, u32>,
    index: IdentifierIndex,
    torn: bool,
    began: Option<Timestamp>,
}

/// The counts of a shift.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The number of units for each verdict; of a unit that was tested again, the last verdict counts.
    pub counts: BTreeMap<Verdict, usize>,
    /// The number of units with an identifier that another unit showed.
    pub duplicates: usize,
    /// The number of units that wait for the server.
    pub pending: usize,
    /// The time of the first test.
    pub began: Option<Timestamp>,
}

/// A unit of this shift.
#[derive(Debug, Clone)]
struct ShiftUnit {
    name: String,
    verdict: Verdict,
    duplicate: bool,
    queued: Queued,
}

/// A unit's pending request to the server.
#[derive(Debug, Clone)]
enum Queued {
    Nothing,
    /// Ask for its claim; the registration follows from the answer.
    ToAsk(Box<SurveyedUnit>),
    /// Register this identity.
    ToRegister(Box<HardwareIdentity>),
}

impl Shift {
    /// Begins or resumes a shift. No other process can until this is dropped.
    ///
    /// # Errors
    /// [`ShiftError`].
    pub fn open(log: &Path) -> Result<Self, ShiftError> {
        files::check_place(log)?;
        let (file, length) = files::open_growing(log, files::PRIVATE_FILE)?;
        file.try_lock().map_err(|_| ShiftError::InUse(log.to_owned()))?;
        if length == 0 {
            Entry::from_path(log)?.keep_name()?;
        }
        let mut shift = Self {
            log: log.to_owned(),
            file,
            length: 0,
            units: Vec::new(),
            numbers: HashMap::new(),
            index: IdentifierIndex::default(),
            torn: false,
            began: None,
        };
        let bytes = files::read(log, MAX_LOG_BYTES)?.unwrap_or_default();
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (lines, torn) = bytes.split_at(whole);
        for (number, line) in (1..).zip(lines.split_inclusive(|byte| *byte == b'\n')) {
            let line = serde_json::from_slice(line)
                .map_err(|_| ShiftError::Damaged { path: log.to_owned(), line: number })?;
            shift.apply(line);
        }
        if !torn.is_empty() {
            files::replace(&torn_path(log), torn, files::PRIVATE_FILE)?;
            Entry::from_path(log)?.truncate(whole as u64)?;
            shift.torn = !NO_TESTS.iter().any(|begin| torn.starts_with(begin));
        }
        shift.length = whole as u64;
        Ok(shift)
    }

    /// Returns true if the last line was an unfinished test, and was moved aside.
    #[must_use]
    pub const fn was_interrupted(&self) -> bool {
        self.torn
    }

    /// Returns the counts of the shift.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally { began: self.began, ..Tally::default() };
        for unit in &self.units {
            *tally.counts.entry(unit.verdict).or_default() += 1;
            tally.duplicates += usize::from(unit.duplicate);
            tally.pending += usize::from(!matches!(unit.queued, Queued::Nothing));
        }
        tally
    }

    /// Judges a unit, and logs the verdict before it is shown.
    ///
    /// # Errors
    /// [`ShiftError`]; the unit then counts as not tested.
    pub fn test(
        &mut self,
        name: String,
        mut unit: SurveyedUnit,
        at: Timestamp,
    ) -> Result<TestedUnit, ShiftError> {
        let next = u32::try_from(self.units.len()).unwrap_or(u32::MAX);
        let again = unit.identity().and_then(|identity| self.numbers.get(&fingerprint(identity)));
        let number = again.copied().unwrap_or(next);
        let named = |other: u32| {
            let known = usize::try_from(other).ok().and_then(|at| self.units.get(at));
            known.map_or_else(String::new, |known| known.name.clone())
        };
        unit.compare(&self.index, number, named);
        let waiting = unit.is_unasked().then(|| unit.clone());
        let tested = unit.judge(name);
        let line = Line::Tested {
            number,
            at,
            unit: tested.name.clone(),
            judged: tested.judged.clone(),
            identity: tested.identifiers(),
            waiting: waiting.filter(|_| is_worth_registering(&tested.judged)).map(Box::new),
        };
        self.write(vec![line])?;
        Ok(tested)
    }

    /// Returns units to ask the server about, oldest first, with their numbers.
    #[must_use]
    pub fn units_to_ask(&self, most: usize) -> Vec<(u32, SurveyedUnit)> {
        let waiting = (0..).zip(&self.units).filter_map(|(number, unit)| match &unit.queued {
            Queued::ToAsk(looked) => Some((number, SurveyedUnit::clone(looked))),
            _ => None,
        });
        waiting.take(most).collect()
    }

    /// Judges units again, with the server's answers.
    ///
    /// # Errors
    /// [`ShiftError`]; the server is then asked again.
    pub fn record_answers(
        &mut self,
        units: Vec<(u32, SurveyedUnit)>,
        at: Timestamp,
    ) -> Result<Vec<TestedUnit>, ShiftError> {
        let (mut lines, mut all) = (Vec::new(), Vec::new());
        for (number, looked) in units {
            let Some(known) = self.unit(number) else { continue };
            let tested = looked.judge(known.name.clone());
            let (unit, judged) = (tested.name.clone(), tested.judged.clone());
            lines.push(Line::AskedAgain { number, at, unit, judged });
            all.push(tested);
        }
        self.write(lines)?;
        Ok(all)
    }

    /// Returns units for the server to register, oldest first, with their numbers.
    #[must_use]
    pub fn units_to_register(&self, most: usize) -> Vec<(u32, HardwareIdentity)> {
        let waiting = (0..).zip(&self.units).filter_map(|(number, unit)| match &unit.queued {
            Queued::ToRegister(identity) => Some((number, HardwareIdentity::clone(identity))),
            _ => None,
        });
        waiting.take(most).collect()
    }

    /// Records that the server has registered these units.
    ///
    /// # Errors
    /// [`ShiftError`]; they are then uploaded again, which changes nothing there.
    pub fn record_upload(&mut self, numbers: Vec<u32>, at: Timestamp) -> Result<(), ShiftError> {
        self.write(vec![Line::Uploaded { at, numbers }])
    }

    /// Appends lines to the log, durably, and applies them.
    fn write(&mut self, lines: Vec<Line>) -> Result<(), ShiftError> {
        let mut text = String::new();
        for line in &lines {
            text.push_str(&json_line(line).map_err(ShiftError::Write)?);
        }
        let unread = |path: &Path| {
            let path = path.to_owned();
            |source| FilesError::Read { path, source }
        };
        let held = self.file.metadata().map_err(unread(&self.log))?;
        let there = fs::symlink_metadata(&self.log).map_err(unread(&self.log))?;
        if (there.dev(), there.ino(), there.len()) != (held.dev(), held.ino(), self.length) {
            return Err(ShiftError::Changed(self.log.clone()));
        }
        Entry::from_path(&self.log)?.append(text.as_bytes())?;
        self.length += text.len() as u64;
        for line in lines {
            self.apply(line);
        }
        Ok(())
    }

    /// Applies a line, whether it was written just now or before the power was cut.
    fn apply(&mut self, line: Line) {
        match line {
            Line::Uploaded { numbers, .. } => {
                for number in numbers {
                    if let Some(unit) = self.unit(number) {
                        unit.queued = Queued::Nothing;
                    }
                }
            }
            Line::AskedAgain { number, judged, .. } => {
                if let Some(unit) = self.unit(number) {
                    let identity = match std::mem::replace(&mut unit.queued, Queued::Nothing) {
                        Queued::ToAsk(looked) => looked.identity().cloned(),
                        _ => None,
                    };
                    *unit = ShiftUnit::new(std::mem::take(&mut unit.name), &judged, identity, None);
                }
            }
            Line::Tested { number, at, unit, judged, identity, waiting } => {
                self.began = self.began.or(Some(at));
                let identity = HardwareIdentity::from_raw(&identity).ok();
                if let Some(identity) = &identity {
                    self.index.record(identity, number);
                    self.numbers.insert(fingerprint(identity), number);
                }
                let known = ShiftUnit::new(unit, &judged, identity, waiting.map(|looked| *looked));
                match self.unit(number) {
                    Some(unit) => *unit = known,
                    None => self.units.push(known),
                }
            }
        }
    }

    fn unit(&mut self, number: u32) -> Option<&mut ShiftUnit> {
        usize::try_from(number).ok().and_then(|at| self.units.get_mut(at))
    }
}

impl ShiftUnit {
    fn new(
        name: String,
        judged: &Judgement,
        identity: Option<HardwareIdentity>,
        waiting: Option<SurveyedUnit>,
    ) -> Self {
        let queued = match identity.filter(|_| is_worth_registering(judged)) {
            None => Queued::Nothing,
            Some(identity) => match waiting {
                Some(looked) => Queued::ToAsk(Box::new(looked.with_identity(identity))),
                None => Queued::ToRegister(Box::new(identity)),
            },
        };
        let duplicate = judged.findings.iter().any(|one| one.reason == Reason::Duplicate);
        Self { name, verdict: judged.verdict, duplicate, queued }
    }
}

/// Returns true if the unit is worth registering: one that fails will get another identity. A server that
/// could not be asked is not the unit's fault; the unit then waits.
fn is_worth_registering(judged: &Judgement) -> bool {
    let own = judged.findings.iter().filter(|one| one.reason != Reason::ServerUnavailable);
    own.fold(Verdict::Pass, |worst, one| worst.max(one.verdict)) <= Verdict::NeedsAttention
}

/// Returns the path for an unfinished line.
fn torn_path(log: &Path) -> PathBuf {
    let mut name = OsString::from(log);
    name.push(".torn");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::survey;
    use std::io::Write as _;
    use unbox_common::identity::{Identifier, IdentifierKind};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn unit(serial: &str, mac: &str, labels: &[&str]) -> SurveyedUnit {
        use IdentifierKind::{MacAddress, Manufacturer, Model, SerialNumber};
        let of = [(SerialNumber, serial), (Manufacturer, "Acme"), (Model, "G3"), (MacAddress, mac)];
        let labels: Vec<Vec<u8>> = labels.iter().map(|label| label.as_bytes().to_vec()).collect();
        SurveyedUnit::new(&survey(&of), &labels)
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
        assert!(shift.units_to_register(9).is_empty());
        shift.test("a".to_owned(), unit("AB12CD1", MAC[0], &["AB12CD1"]), NOW).unwrap();
        assert_eq!(counts(&shift), [(Verdict::Pass, 1)], "the last test of a unit counts");
        drop(shift);
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
        drop(shift);
        assert_eq!(Shift::open(&log).unwrap().tally(), tally);
    }

    fn mark_away(mut unit: SurveyedUnit) -> SurveyedUnit {
        unit.mark_unasked("no route", "Wait.");
        unit
    }

    fn numbers<T>(queue: &[(u32, T)]) -> Vec<u32> {
        queue.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn a_unit_that_was_tested_while_the_server_was_away_waits_for_it_and_a_bad_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        let mut shift = Shift::open(&log).unwrap();
        shift.test("a".to_owned(), mark_away(unit("AB12CD1", MAC[0], &[])), NOW).unwrap();
        shift.test("b".to_owned(), mark_away(unit("AB12CD2", MAC[1], &["AB12CD9"])), NOW).unwrap();
        assert_eq!(counts(&shift), [(Verdict::CouldNotCheck, 1), (Verdict::Fail, 1)]);
        assert_eq!(shift.tally().pending, 1);
        drop(shift);
        let shift = Shift::open(&log).unwrap();
        assert_eq!(numbers(&shift.units_to_ask(9)), [0]);
        assert!(shift.units_to_register(9).is_empty(), "what the server says of it is not known yet");
    }

    #[test]
    fn what_a_server_says_that_is_back_counts_as_if_it_had_never_been_away() {
        use IdentifierKind::{MacAddress, Manufacturer, Model, SerialNumber};
        let claimed = |kind, value| Identifier::parse(kind, value).unwrap();
        // Its placeholder matters only until a better identifier is recognised, here by the claim.
        let blank = [
            (SerialNumber, "Default string"),
            (Manufacturer, "Acme"),
            (Model, "G3"),
            (MacAddress, "00:16:3e:00:00:09"),
        ];
        let units = [
            (unit("AB12CD1", MAC[0], &["AB12CD1"]), claimed(SerialNumber, "AB12CD1")),
            (unit("AB12CD2", MAC[1], &[]), claimed(SerialNumber, "AB12CD9")),
            (SurveyedUnit::new(&survey(&blank), &[]), claimed(MacAddress, "00:16:3e:00:00:09")),
            (SurveyedUnit::new(&survey(&blank[1..]), &[]), claimed(SerialNumber, "AB12CD3")),
        ];
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        let mut shift = Shift::open(&log).unwrap();
        for (at, (unit, _)) in units.iter().enumerate().take(3) {
            shift.test(format!("u{at}"), mark_away(unit.clone()), NOW).unwrap();
        }
        assert_eq!(counts(&shift), [(Verdict::CouldNotCheck, 3)]);
        drop(shift);
        // The same after a power cut, which leaves a torn last line to be cut off and moved aside.
        let whole = fs::read(&log).unwrap();
        let mut shift = Shift::open(&log).unwrap();
        let mut waiting = shift.units_to_ask(9);
        assert_eq!(numbers(&waiting), [0, 1, 2]);
        let mut at_once = Vec::new();
        for ((_, looked), (unit, said)) in waiting.iter_mut().zip(&units) {
            looked.add_claim([said.clone()]);
            let mut unit = unit.clone();
            unit.add_claim([said.clone()]);
            at_once.push(unit.judge(String::new()).judged);
        }
        let again = shift.record_answers(waiting, Timestamp(NOW.0 + 1)).unwrap();
        assert_eq!(again.iter().map(|one| one.judged.clone()).collect::<Vec<_>>(), at_once);
        assert_eq!(again.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["u0", "u1", "u2"]);
        let tally = shift.tally();
        assert_eq!(tally.counts, [(Verdict::Pass, 2), (Verdict::Fail, 1)].into());
        assert_eq!((numbers(&shift.units_to_register(9)), tally.pending), (vec![0, 2], 2));
        assert!(shift.units_to_ask(9).is_empty());
        assert!(fs::read(&log).unwrap().starts_with(&whole), "nothing in the log was changed");
        drop(shift);
        assert_eq!(Shift::open(&log).unwrap().tally(), tally);
    }

    #[test]
    fn two_stations_do_not_write_one_log() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        let mut shift = Shift::open(&log).unwrap();
        shift.test("a".to_owned(), unit("AB12CD1", MAC[0], &[]), NOW).unwrap();
        let before = fs::read(&log).unwrap();
        assert!(matches!(Shift::open(&log), Err(ShiftError::InUse(_))));
        assert_eq!(fs::read(&log).unwrap(), before);
        drop(shift);
        assert!(Shift::open(&log).is_ok());
    }

    #[test]
    fn nothing_is_appended_to_a_log_that_is_not_as_the_station_left_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        let other = |bytes: &[u8]| {
            fs::remove_file(&log).unwrap();
            files::replace(&log, bytes, files::PRIVATE_FILE).unwrap();
        };
        let cut = |bytes: &[u8]| Entry::from_path(&log).unwrap().truncate(bytes.len() as u64 / 2).unwrap();
        let longer = |_: &[u8]| {
            let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
            file.write_all(b"{\"line\":\"tes").unwrap();
        };
        for change in [&other as &dyn Fn(&[u8]), &cut, &longer] {
            let mut shift = Shift::open(&log).unwrap();
            shift.test("a".to_owned(), unit("AB12CD1", MAC[0], &[]), NOW).unwrap();
            change(&fs::read(&log).unwrap());
            let before = fs::read(&log).unwrap();
            let refused = shift.test("b".to_owned(), unit("AB12CD2", MAC[1], &[]), NOW);
            assert!(matches!(refused, Err(ShiftError::Changed(_))), "{refused:?}");
            assert_eq!((fs::read(&log).unwrap(), shift.units.len()), (before, 1));
            fs::remove_file(&log).unwrap();
        }
    }

    #[test]
    fn what_was_not_uploaded_is_still_to_be_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("day.jsonl");
        let mut shift = Shift::open(&log).unwrap();
        for (name, serial, mac) in [("a", "AB12CD1", MAC[0]), ("b", "AB12CD2", MAC[1])] {
            shift.test(name.to_owned(), unit(serial, mac, &[]), NOW).unwrap();
        }
        shift.record_upload(vec![0], NOW).unwrap();
        drop(shift);
        let shift = Shift::open(&log).unwrap();
        assert_eq!(numbers(&shift.units_to_register(9)), [1]);
        assert_eq!(shift.units_to_register(0), []);
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
        drop(shift);
        // The power may be cut after any byte of the second line.
        for cut in one.len() + 1..two.len() {
            files::replace(&log, &two[..cut], files::PRIVATE_FILE).unwrap();
            let shift = Shift::open(&log).unwrap();
            assert!(shift.was_interrupted());
            assert_eq!((counts(&shift), fs::read(&log).unwrap()), (vec![(Verdict::Pass, 1)], one.clone()));
            assert_eq!(fs::read(folder.path().join("day.jsonl.torn")).unwrap(), two[one.len()..cut]);
        }
    }

    #[test]
    fn what_a_power_cut_left_unfinished_is_called_a_test_only_if_it_may_be_one() {
        let folder = tempfile::tempdir().unwrap();
        // A log is never the place for its own torn line, whatever its extension.
        let log = folder.path().join("day.torn");
        for (torn, test) in [
            ("{\"line\":\"tested\",\"nu", true),
            ("{\"li", true),
            ("{\"line\":\"uploaded\",\"at", false),
            ("{\"line\":\"asked_again\",", false),
        ] {
            let mut shift = Shift::open(&log).unwrap();
            shift.test("a".to_owned(), unit("AB12CD1", MAC[0], &[]), NOW).unwrap();
            drop(shift);
            let whole = fs::read(&log).unwrap();
            fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(torn.as_bytes()).unwrap();
            assert_eq!(Shift::open(&log).unwrap().was_interrupted(), test, "{torn}");
            assert_eq!(fs::read(&log).unwrap(), whole);
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
