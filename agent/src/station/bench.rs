//! A test station at work: from a scan to a verdict that is on the disk, and on to the server.

use super::{
    check::{Looked, Tested},
    io::{OrderFile, Unit, look},
    office::{self, Office},
    shift::{Shift, ShiftError, Tally},
    units::Registry as _,
};
use crate::{
    clock,
    console::{chain, plain},
};
use std::path::{Path, PathBuf};
use unbox_common::label;

/// The longest name of a unit, in bytes.
const MAX_NAME_BYTES: usize = 80;
/// The longest reason that is shown, in bytes.
const MAX_REASON_BYTES: usize = 512;

/// Where the unit of a scan is.
#[derive(Debug)]
pub enum Place {
    /// Every scan is the label of this one machine.
    Root(PathBuf),
    /// Captured machines, each in a directory with the name that its label holds.
    Units(PathBuf),
}

/// One station at work.
pub struct Bench {
    /// Where its units are.
    pub place: Place,
    /// What was ordered.
    pub order: Option<OrderFile>,
    /// The server, if it is asked.
    pub office: Option<Office>,
    /// What was tested.
    pub shift: Shift,
    /// What waits for modems.
    pub runtime: tokio::runtime::Runtime,
}

/// What became of what the server does not know yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upload {
    /// There was nothing, or there is nobody to send it to.
    Nothing,
    /// The server answered; what it refused, in its words.
    Sent {
        /// One sentence for each unit.
        refused: Vec<String>,
    },
    /// The server could not be asked: it waits.
    Waits {
        /// Why.
        reason: String,
    },
}

impl Bench {
    /// Tests the unit of a scan. What was found is on the disk then.
    ///
    /// # Errors
    /// [`ShiftError`]; then the unit counts as not tested.
    pub fn test(&mut self, scan: &[u8]) -> Result<Tested, ShiftError> {
        let name = name_of(scan);
        let mut looked = match self.place(scan) {
            Some(root) => {
                let unit = Unit { name: name.clone(), root, labels: vec![scan.to_vec()] };
                self.runtime.block_on(look(&unit, self.order.as_ref()))
            }
            None => Looked::unusable(
                "This scan names no unit of the bench.".to_owned(),
                "Scan the code that the unit was captured under.",
            ),
        };
        if let Some(office) = &mut self.office {
            office.ask(std::slice::from_mut(&mut looked));
        }
        self.shift.test(name, looked, clock::system())
    }

    /// Where the unit of a scan is: under the name that was scanned, or that the label holds.
    fn place(&self, scan: &[u8]) -> Option<PathBuf> {
        let folder = match &self.place {
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

    /// Registers what the server does not know yet. If it cannot be asked, that waits.
    ///
    /// # Errors
    /// [`ShiftError`]; then it is sent once more, which changes nothing at the server.
    pub fn upload(&mut self) -> Result<Upload, ShiftError> {
        let Some(office) = &self.office else { return Ok(Upload::Nothing) };
        let (numbers, units): (Vec<_>, Vec<_>) = self.shift.pending(office::MAX_DEVICES).into_iter().unzip();
        if numbers.is_empty() {
            return Ok(Upload::Nothing);
        }
        match office.register(&units) {
            Ok(results) => {
                self.shift.uploaded(numbers, clock::system())?;
                let refused = results.into_iter().filter(|one| !one.is_on_record());
                Ok(Upload::Sent { refused: refused.map(|one| one.problem).collect() })
            }
            Err(error) => Ok(Upload::Waits { reason: plain(&chain(&error), MAX_REASON_BYTES) }),
        }
    }

    /// The shift so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shift.tally()
    }
}

/// A unit by its name, which is a name in the folder and never a way out of it.
fn unit_in(folder: &Path, name: &str) -> Option<PathBuf> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let good = name.bytes().all(plain) && !name.is_empty() && !name.starts_with('.');
    Some(folder.join(name)).filter(|root| good && root.is_dir())
}

/// What people call the unit of a scan, fit for a terminal.
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
        let bench = Bench {
            place: Place::Units(folder.path().join("units")),
            order: None,
            office: None,
            shift: Shift::open(&folder.path().join("day.jsonl")).unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
        };
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
