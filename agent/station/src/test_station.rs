//! A test station at work: from a scan to a verdict on the disk, and on to the server.

use super::{
    check::{SurveyedUnit, TestedUnit},
    io::{Reference, Unit, survey_unit},
    printer::{Printer, PrinterError},
    server_client::{self, ServerClient, ServerClientError},
    shift::{Shift, ShiftError, Tally},
};
use std::{
    iter,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_agent::{
    clock::{self, Stopwatch},
    text::plain,
};
use unbox_common::{identity::HardwareIdentity, label, timestamp::Timestamp};

/// Interval between attempts to reach an unavailable server.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// The longest name of a unit, in bytes.
const MAX_NAME_BYTES: usize = 80;
/// Advice about a unit whose server could not be asked.
const WAIT: &str = "Check the network and the station's account. The station asks again by itself.";

/// The place of the unit for a scan.
#[derive(Debug)]
pub enum Place {
    /// Every scan is the label of this one machine.
    Root(PathBuf),
    /// Captured machines, each in a directory named by its label.
    Units(PathBuf),
}

/// The equipment of a station.
pub struct Equipment {
    /// The place of its units.
    pub place: Place,
    /// The reference that they are checked against.
    pub reference: Reference,
    /// The server, if it is asked.
    pub server: Option<ServerClient>,
    /// The printer of labels, if there is one.
    pub printer: Option<Printer>,
}

/// One station at work.
pub struct TestStation {
    equipment: Equipment,
    shift: Shift,
    /// The runtime for queries of modems.
    runtime: tokio::runtime::Runtime,
    server: Server,
    /// The time since the last failed attempt to reach the server.
    away: Option<Stopwatch>,
}

/// The state of the server, as known to a station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// The server is not used.
    Unasked,
    /// The server was not asked yet.
    Unknown,
    /// The server answered.
    Reached,
    /// The server could not be reached.
    Away {
        /// The time of the first failed attempt.
        since: Timestamp,
        /// The reason.
        reason: String,
    },
}

/// The state of a station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StationStatus {
    /// The counts of the shift.
    pub tally: Tally,
    /// The state of the server.
    pub server: Server,
}

/// The result of processing the queue.
#[derive(Debug, Clone, Default)]
pub struct QueueResult {
    /// Units that had waited for the server, with their current verdicts.
    pub judged: Vec<TestedUnit>,
    /// Registrations that the server refused, one sentence for each unit.
    pub refused: Vec<String>,
}

impl TestStation {
    /// Makes a station that continues a shift.
    #[must_use]
    pub const fn new(equipment: Equipment, shift: Shift, runtime: tokio::runtime::Runtime) -> Self {
        let server = if equipment.server.is_some() { Server::Unknown } else { Server::Unasked };
        Self { equipment, shift, runtime, server, away: None }
    }

    /// Tests the unit of a scan. The result is then on the disk.
    ///
    /// # Errors
    /// [`ShiftError`]; the unit then counts as not tested.
    pub fn test(&mut self, scan: &[u8]) -> Result<TestedUnit, ShiftError> {
        let name = unit_name(scan);
        let mut looked = match self.find_unit(scan) {
            Some(root) => {
                let unit = Unit { name: name.clone(), root, labels: vec![scan.to_vec()] };
                self.runtime.block_on(survey_unit(&unit, &self.equipment.reference))
            }
            None => SurveyedUnit::new_unusable(
                "This scan names no unit of the bench.",
                "Scan the code that the unit was captured under.",
            ),
        };
        self.ask_server(&mut looked);
        self.shift.test(name, looked, clock::system())
    }

    /// Returns the directory for a scan: named like the scan, or like a value in the label.
    fn find_unit(&self, scan: &[u8]) -> Option<PathBuf> {
        let folder = match &self.equipment.place {
            Place::Root(root) => return Some(root.clone()),
            Place::Units(folder) => folder,
        };
        let scanned = std::str::from_utf8(scan).ok()?;
        unit_folder(folder, scanned).or_else(|| {
            let label = label::parse(scan).ok()?;
            let readings = label.identifiers();
            let mut identifiers = readings.iter().flat_map(|reading| reading.ways.iter().flatten());
            identifiers.find_map(|identifier| unit_folder(folder, identifier.value()))
        })
    }

    /// Asks the server about a unit; after a recent failure, it is not asked again for each unit.
    fn ask_server(&mut self, unit: &mut SurveyedUnit) {
        let (Some(server), Some(_)) = (&self.equipment.server, unit.identity()) else { return };
        let just_now = self.away.as_ref().is_some_and(|since| since.elapsed() < ASK_AGAIN);
        let answer = (!just_now).then(|| server.check(iter::once(&mut *unit)));
        match (answer, &self.server) {
            (None, Server::Away { reason, .. }) => unit.mark_unasked(reason, WAIT),
            (Some(Err(error)), _) => {
                unit.mark_unasked(&error.reason(), WAIT);
                self.mark_unreachable(&error);
            }
            _ => self.mark_reached(),
        }
    }

    /// Returns the time until the queue is due, which holds units to ask the server about or to register.
    /// `None` if it is empty.
    #[must_use]
    pub fn time_until_due(&self) -> Option<Duration> {
        let wanted = self.equipment.server.is_some() && self.shift.tally().pending > 0;
        let wait =
            self.away.as_ref().map_or(Duration::ZERO, |since| ASK_AGAIN.saturating_sub(since.elapsed()));
        wanted.then_some(wait)
    }

    /// Asks the server about units that had waited for it, and then registers those that passed. If the
    /// server cannot be reached, they keep waiting.
    ///
    /// # Errors
    /// [`ShiftError`]; the units are then sent once more, which changes nothing at the server.
    pub fn process_queue(&mut self) -> Result<QueueResult, ShiftError> {
        let mut caught = QueueResult::default();
        match self.try_process_queue(&mut caught) {
            Ok(()) => Ok(caught),
            Err(QueueError::Shift(error)) => Err(error),
            Err(QueueError::Server(error)) => {
                self.mark_unreachable(&error);
                Ok(caught)
            }
        }
    }

    fn try_process_queue(&mut self, caught: &mut QueueResult) -> Result<(), QueueError> {
        let Some(server) = &self.equipment.server else { return Ok(()) };
        let mut waiting = self.shift.units_to_ask(server_client::MAX_DEVICES);
        if !waiting.is_empty() {
            server.check(waiting.iter_mut().map(|(_, unit)| unit))?;
            caught.judged = self.shift.record_answers(waiting, clock::system())?;
        }
        let (numbers, units): (Vec<_>, Vec<_>) =
            self.shift.units_to_register(server_client::MAX_DEVICES).into_iter().unzip();
        if !units.is_empty() {
            let results = server.register(&units)?;
            self.shift.record_upload(numbers, clock::system())?;
            let refused = results.into_iter().filter(|one| !one.is_on_record());
            caught.refused = refused.map(|one| one.problem).collect();
        }
        if !(caught.judged.is_empty() && units.is_empty()) {
            self.mark_reached();
        }
        Ok(())
    }

    fn mark_reached(&mut self) {
        self.away = None;
        self.server = Server::Reached;
    }

    /// Marks the server as away, since the first failed attempt.
    fn mark_unreachable(&mut self, error: &ServerClientError) {
        let since = if let Server::Away { since, .. } = &self.server { *since } else { clock::system() };
        self.away = Some(Stopwatch::start());
        self.server = Server::Away { since, reason: error.reason() };
    }

    /// Prints the label of a unit.
    ///
    /// # Errors
    /// [`PrinterError`].
    pub fn print(&self, identity: Option<&HardwareIdentity>) -> Result<(), PrinterError> {
        let printer = self.equipment.printer.as_ref().ok_or(PrinterError::None)?;
        printer.print(identity.ok_or(PrinterError::NoIdentity)?)
    }

    /// Returns the state of the station.
    #[must_use]
    pub fn status(&self) -> StationStatus {
        StationStatus { tally: self.shift.tally(), server: self.server.clone() }
    }

    /// Returns true if the last test was interrupted by a power cut, and has to be repeated.
    #[must_use]
    pub const fn was_interrupted(&self) -> bool {
        self.shift.was_interrupted()
    }
}

/// The reason why the queue was not processed.
#[derive(Debug, thiserror::Error)]
enum QueueError {
    #[error(transparent)]
    Shift(#[from] ShiftError),
    #[error(transparent)]
    Server(#[from] ServerClientError),
}

/// Returns the directory of a unit, whose name cannot lead out of the folder.
fn unit_folder(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let good = name.bytes().all(plain) && !name.is_empty() && !name.starts_with('.');
    Some(folder.join(name)).filter(|root| good && root.is_dir())
}

/// Returns a unit's name for people, safe for a terminal.
#[must_use]
pub fn unit_name(scan: &[u8]) -> String {
    plain(&String::from_utf8_lossy(scan), MAX_NAME_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_a_name_in_the_folder_and_never_a_way_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("units/AB12CD1/sys")).unwrap();
        let equipment = Equipment {
            place: Place::Units(folder.path().join("units")),
            reference: Reference::default(),
            server: None,
            printer: None,
        };
        let shift = Shift::open(&folder.path().join("day.jsonl")).unwrap();
        let station = TestStation::new(
            equipment,
            shift,
            tokio::runtime::Builder::new_current_thread().build().unwrap(),
        );
        for label in ["AB12CD1", "ab12cd1", "SAB12CD1", "S/N: AB12CD1", "Service Tag: AB12CD1"] {
            assert!(station.find_unit(label.as_bytes()).is_some(), "{label}");
        }
        for hostile in [
            "",
            ".",
            "..",
            "../units",
            "S../units",
            "SN: ../units",
            "/",
            "AB12CD1/",
            "AB12CD1/sys",
            "\u{1b}[2J",
        ] {
            assert_eq!(station.find_unit(hostile.as_bytes()), None, "{hostile:?}");
        }
        assert_eq!(station.find_unit(b"\xff"), None);
    }

    #[test]
    fn a_name_moves_no_cursor_and_has_an_end() {
        assert_eq!(unit_name(b"A\x1b[2J\x07\r\nB\xff"), "A [2J B\u{fffd}");
        assert_eq!(unit_name(&[b'A'; 8192]).len(), MAX_NAME_BYTES);
    }
}
