//! A test station at work: from a scan to a verdict on the disk, and on to the server.

use super::{
    check::{Looked, Tested},
    io::{Reference, Unit, look},
    office::{self, Office, OfficeError},
    printer::{Printer, PrinterError},
    shift::{Shift, ShiftError, Tally},
};
use crate::{
    clock::{self, Stopwatch},
    console::plain,
};
use std::{
    iter,
    path::{Path, PathBuf},
    time::Duration,
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
    pub office: Option<Office>,
    /// The printer of labels, if there is one.
    pub printer: Option<Printer>,
}

/// One station at work.
pub struct Bench {
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
pub struct Standing {
    /// The counts of the shift.
    pub tally: Tally,
    /// The state of the server.
    pub server: Server,
}

/// The result of processing the queue.
#[derive(Debug, Clone, Default)]
pub struct CaughtUp {
    /// Units that had waited for the server, with their current verdicts.
    pub judged: Vec<Tested>,
    /// Registrations that the server refused, one sentence for each unit.
    pub refused: Vec<String>,
}

impl Bench {
    /// Makes a station that continues a shift.
    #[must_use]
    pub const fn new(equipment: Equipment, shift: Shift, runtime: tokio::runtime::Runtime) -> Self {
        let server = if equipment.office.is_some() { Server::Unknown } else { Server::Unasked };
        Self { equipment, shift, runtime, server, away: None }
    }

    /// Tests the unit of a scan. The result is then on the disk.
    ///
    /// # Errors
    /// [`ShiftError`]; the unit then counts as not tested.
    pub fn test(&mut self, scan: &[u8]) -> Result<Tested, ShiftError> {
        let name = name_of(scan);
        let mut looked = match self.place(scan) {
            Some(root) => {
                let unit = Unit { name: name.clone(), root, labels: vec![scan.to_vec()] };
                self.runtime.block_on(look(&unit, &self.equipment.reference))
            }
            None => Looked::unusable(
                "This scan names no unit of the bench.",
                "Scan the code that the unit was captured under.",
            ),
        };
        self.ask(&mut looked);
        self.shift.test(name, looked, clock::system())
    }

    /// Returns the directory for a scan: named like the scan, or like a value in the label.
    fn place(&self, scan: &[u8]) -> Option<PathBuf> {
        let folder = match &self.equipment.place {
            Place::Root(root) => return Some(root.clone()),
            Place::Units(folder) => folder,
        };
        let scanned = std::str::from_utf8(scan).ok()?;
        unit_in(folder, scanned).or_else(|| {
            let label = label::parse(scan).ok()?;
            let readings = label.identifiers();
            let mut identifiers = readings.iter().flat_map(|reading| reading.ways.iter().flatten());
            identifiers.find_map(|identifier| unit_in(folder, identifier.value()))
        })
    }

    /// Asks the server about a unit; after a recent failure, it is not asked again for each unit.
    fn ask(&mut self, unit: &mut Looked) {
        let (Some(office), Some(_)) = (&self.equipment.office, unit.identity()) else { return };
        let just_now = self.away.as_ref().is_some_and(|since| since.elapsed() < ASK_AGAIN);
        let answer = (!just_now).then(|| office.check(iter::once(&mut *unit)));
        match (answer, &self.server) {
            (None, Server::Away { reason, .. }) => unit.unasked(reason, WAIT),
            (Some(Err(error)), _) => {
                unit.unasked(&error.reason(), WAIT);
                self.is_away(&error);
            }
            _ => self.is_there(),
        }
    }

    /// Returns the time until the queue is due, which holds units to ask the server about or to register.
    /// `None` if it is empty.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let wanted = self.equipment.office.is_some() && self.shift.tally().pending > 0;
        let wait =
            self.away.as_ref().map_or(Duration::ZERO, |since| ASK_AGAIN.saturating_sub(since.elapsed()));
        wanted.then_some(wait)
    }

    /// Asks the server about units that had waited for it, and then registers those that passed. If the
    /// server cannot be reached, they keep waiting.
    ///
    /// # Errors
    /// [`ShiftError`]; the units are then sent once more, which changes nothing at the server.
    pub fn catch_up(&mut self) -> Result<CaughtUp, ShiftError> {
        let mut caught = CaughtUp::default();
        match self.try_to(&mut caught) {
            Ok(()) => Ok(caught),
            Err(CatchUpError::Shift(error)) => Err(error),
            Err(CatchUpError::Office(error)) => {
                self.is_away(&error);
                Ok(caught)
            }
        }
    }

    fn try_to(&mut self, caught: &mut CaughtUp) -> Result<(), CatchUpError> {
        let Some(office) = &self.equipment.office else { return Ok(()) };
        let mut waiting = self.shift.to_ask(office::MAX_DEVICES);
        if !waiting.is_empty() {
            office.check(waiting.iter_mut().map(|(_, unit)| unit))?;
            caught.judged = self.shift.asked_again(waiting, clock::system())?;
        }
        let (numbers, units): (Vec<_>, Vec<_>) =
            self.shift.to_register(office::MAX_DEVICES).into_iter().unzip();
        if !units.is_empty() {
            let results = office.register(&units)?;
            self.shift.uploaded(numbers, clock::system())?;
            let refused = results.into_iter().filter(|one| !one.is_on_record());
            caught.refused = refused.map(|one| one.problem).collect();
        }
        if !(caught.judged.is_empty() && units.is_empty()) {
            self.is_there();
        }
        Ok(())
    }

    fn is_there(&mut self) {
        self.away = None;
        self.server = Server::Reached;
    }

    /// Marks the server as away, since the first failed attempt.
    fn is_away(&mut self, error: &OfficeError) {
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
    pub fn standing(&self) -> Standing {
        Standing { tally: self.shift.tally(), server: self.server.clone() }
    }

    /// Whether the last test was interrupted by a power cut, and has to be repeated.
    #[must_use]
    pub const fn was_torn(&self) -> bool {
        self.shift.was_torn()
    }
}

/// The reason why the queue was not processed.
#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    #[error(transparent)]
    Shift(#[from] ShiftError),
    #[error(transparent)]
    Office(#[from] OfficeError),
}

/// Returns the directory of a unit, whose name cannot lead out of the folder.
fn unit_in(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let good = name.bytes().all(plain) && !name.is_empty() && !name.starts_with('.');
    Some(folder.join(name)).filter(|root| good && root.is_dir())
}

/// Returns a unit's name for people, safe for a terminal.
#[must_use]
pub fn name_of(scan: &[u8]) -> String {
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
            office: None,
            printer: None,
        };
        let shift = Shift::open(&folder.path().join("day.jsonl")).unwrap();
        let bench =
            Bench::new(equipment, shift, tokio::runtime::Builder::new_current_thread().build().unwrap());
        for label in ["AB12CD1", "ab12cd1", "SAB12CD1", "S/N: AB12CD1", "Service Tag: AB12CD1"] {
            assert!(bench.place(label.as_bytes()).is_some(), "{label}");
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
            assert_eq!(bench.place(hostile.as_bytes()), None, "{hostile:?}");
        }
        assert_eq!(bench.place(b"\xff"), None);
    }

    #[test]
    fn a_name_moves_no_cursor_and_has_an_end() {
        assert_eq!(name_of(b"A\x1b[2J\x07\r\nB\xff"), "A [2J B\u{fffd}");
        assert_eq!(name_of(&[b'A'; 8192]).len(), MAX_NAME_BYTES);
    }
}
