//! The output of labels: on a printer's device, or in a folder that a spooler empties.

use super::duplicates::fingerprint;
use super::print::{PrintError, UnitLabel};
use nix::fcntl::OFlag;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::PathBuf,
    thread,
    time::Duration,
};
use unbox_agent::{
    clock::Stopwatch,
    files::{self, FilesError},
};
use unbox_common::identity::HardwareIdentity;

/// The longest that a printer may take to accept one label.
const PRINT_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before a busy printer is tried again.
const BUSY: Duration = Duration::from_millis(20);
/// The longest part of a unit's name in a file name, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// A printer of labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printer(PathBuf);

/// The reason why a label was not printed.
#[derive(Debug, thiserror::Error)]
pub enum PrinterError {
    /// There is no printer.
    #[error("no printer: name one with --printer")]
    None,
    /// The unit's identity is unknown.
    #[error("what this unit is could not be read")]
    NoIdentity,
    /// The label could not be made.
    #[error(transparent)]
    Label(#[from] PrintError),
    /// The folder is unusable.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The path is neither a printer nor a folder.
    #[error("{} is neither a printer nor a folder", .0.display())]
    NoPrinter(PathBuf),
    /// The printer does not accept the label.
    #[error("the printer {} does not print", path.display())]
    Device {
        /// The device.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
}

impl Printer {
    /// Uses a device that takes ZPL, or a folder, which gets an SVG and a ZPL file for each label.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Prints the label of a unit.
    ///
    /// # Errors
    /// [`PrinterError`].
    pub fn print(&self, identity: &HardwareIdentity) -> Result<(), PrinterError> {
        let label = UnitLabel::new(identity)?;
        if self.0.is_dir() {
            let name = file_name(&label, identity);
            let svg = label.svg()?;
            for (ending, contents) in [("svg", svg), ("zpl", label.zpl())] {
                let path = self.0.join(format!("{name}.{ending}"));
                files::replace(&path, contents.as_bytes(), files::PUBLIC_FILE)?;
            }
            return Ok(());
        }
        let failed = |source| PrinterError::Device { path: self.0.clone(), source };
        // Without O_NONBLOCK, a printer that is switched off would block the station indefinitely.
        let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
        let device = OpenOptions::new().write(true).custom_flags(flags.bits()).open(&self.0);
        let device = device.map_err(failed)?;
        let kind = device.metadata().map_err(failed)?.file_type();
        if !(kind.is_char_device() || kind.is_fifo()) {
            return Err(PrinterError::NoPrinter(self.0.clone()));
        }
        send(device, label.zpl().as_bytes()).map_err(failed)
    }
}

/// Writes everything to a device, which may be busy for a while.
fn send(mut device: File, mut bytes: &[u8]) -> io::Result<()> {
    let stopwatch = Stopwatch::start();
    while !bytes.is_empty() {
        match device.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stopwatch.elapsed() > PRINT_TIMEOUT {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                thread::sleep(BUSY);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns a file name for a unit, which is stable and unique.
fn file_name(label: &UnitLabel, identity: &HardwareIdentity) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() || char == '-' { char } else { '_' };
    let name: String = label.first_value().chars().take(MAX_NAME_BYTES).map(plain).collect();
    let fingerprint = fingerprint(identity);
    format!("{name}-{}", fingerprint.get(..12).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::gateway;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::{fs, io::Read as _};

    fn unit() -> HardwareIdentity {
        gateway("../S/1").identity().unwrap()
    }

    #[test]
    fn a_folder_gets_one_pair_of_files_for_a_unit_however_often_it_is_printed() {
        let folder = tempfile::tempdir().unwrap();
        let printer = Printer::new(folder.path().to_owned());
        for unit in [unit(), unit(), gateway("S2").identity().unwrap()] {
            printer.print(&unit).unwrap();
        }
        let mut names: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(names[0].starts_with("S2-") && names[0].contains(".svg"), "{names:?}");
        assert!(names[3].starts_with("___S_1-") && names[3].contains(".zpl"), "{names:?}");
        assert!(fs::read_to_string(folder.path().join(&names[3])).unwrap().starts_with("^XA"));
    }

    #[test]
    fn a_device_gets_the_label_and_one_that_does_not_listen_holds_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lp0");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let printer = Printer::new(path.clone());
        assert!(matches!(printer.print(&unit()), Err(PrinterError::Device { .. })), "nobody is there");
        let flags = OFlag::O_NONBLOCK.bits();
        let mut paper = OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap();
        printer.print(&unit()).unwrap();
        let mut zpl = String::new();
        paper.read_to_string(&mut zpl).unwrap();
        assert_eq!(zpl, UnitLabel::new(&unit()).unwrap().zpl());
    }

    #[test]
    fn a_file_is_no_printer_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.csv");
        files::replace(&path, b"serial_number\n", files::PUBLIC_FILE).unwrap();
        let refused = Printer::new(path.clone()).print(&unit());
        assert!(matches!(refused, Err(PrinterError::NoPrinter(_))), "{refused:?}");
        assert_eq!(fs::read(&path).unwrap(), b"serial_number\n");
        let refused = Printer::new(folder.path().join("absent")).print(&unit());
        assert!(matches!(refused, Err(PrinterError::Device { .. })), "{refused:?}");
        assert!(!folder.path().join("absent").exists());
    }
}
