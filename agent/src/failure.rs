//! The one error type on the way from power-on to managed.
//!
//! An error stands beside the code that makes it, and says there what it means for the device
//! ([`Diagnose`]). A [`Failure`] holds any of them; the retry policy, the exit code and the console read
//! nothing else.

use std::{error::Error, fmt, io, time::Duration};
use unbox_common::refusal::Disposition;

/// The meaning of an error for the device.
pub trait Diagnose: Error + Send + Sync + 'static {
    /// Returns the short name, from a closed set (the tables in `README.md`); for a refusal, the server's.
    fn kind(&self) -> &'static str;

    /// Returns the next action of the device.
    fn disposition(&self) -> Disposition;

    /// Returns the advice for a person in front of the device.
    fn advice(&self) -> &'static str;

    /// Returns the pause that the server asked for.
    fn hint(&self) -> Option<Duration> {
        None
    }

    /// Returns the longest pause before the next try, if shorter than the disposition's: the time may
    /// arrive with the next packet of a time server.
    fn longest_pause(&self) -> Duration {
        Duration::MAX
    }

    /// Returns true if only another process may succeed: units are given the TPM's device when they start.
    fn needs_a_new_process(&self) -> bool {
        false
    }
}

/// A failure of any stage.
pub struct Failure(Box<dyn Diagnose>);

impl Failure {
    /// Returns the error if it is of this type.
    #[must_use]
    pub fn cause<E: Diagnose>(&self) -> Option<&E> {
        let error: &(dyn Error + 'static) = &*self.0;
        error.downcast_ref()
    }

    /// Returns the short name, from a closed set; for a refusal, the server's.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.kind()
    }

    /// Returns the next action of the device.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        self.0.disposition()
    }

    /// Returns the advice for a person in front of the device.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        self.0.advice()
    }

    /// Returns the pause that the server asked for.
    #[must_use]
    pub fn hint(&self) -> Option<Duration> {
        self.0.hint()
    }

    /// Returns the longest pause before the next try, if shorter than the disposition's.
    #[must_use]
    pub fn longest_pause(&self) -> Duration {
        self.0.longest_pause()
    }

    /// Returns true if only another process may succeed.
    #[must_use]
    pub fn needs_a_new_process(&self) -> bool {
        self.0.needs_a_new_process()
    }
}

impl<E: Diagnose> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// The longest pause while the clock is the only obstacle.
pub const CLOCK_SKEW_PAUSE: Duration = Duration::from_secs(30);

/// Advice that errors of several stages give.
pub mod advice {
    /// The records are a newer agent's.
    pub const NEWER: &str = "A newer version of the agent wrote this device's records. Install that version again, or \
                             give the records up with `unbox-agent reset --forget-newer`.";
    /// This device will not install the payload.
    pub const UNINSTALLABLE: &str = "What the server offers cannot be installed on this device. An administrator has \
                                     to look at the configuration.";
    /// The image lacks something.
    pub const IMAGE: &str = "The image of this device is not set up for enrollment. Tell your IT department what is written here.";
    /// The disk is full.
    pub const DISK_FULL: &str = "The disk of this device is full. Free some space; it tries again by itself.";
    /// Another process is at work.
    pub const BUSY: &str = "Another process of the agent is at work on this device. Wait until it is done.";
    /// A file could not be kept, and nobody knows a better way on.
    pub const STATE: &str =
        "This device could not keep its state. Tell your IT department what is written here.";
    /// The server, or something in between, misbehaves.
    pub const MISBEHAVED: &str = "The server, or something between it and this device, does not work as it should. \
                                  The device tries again by itself; if this stays, tell your IT department.";
}

/// Names a storage error and its advice: a full disk has its own, all others share one.
pub fn diagnose_storage(error: Option<&io::Error>) -> (&'static str, &'static str) {
    match error.map(io::Error::kind) {
        Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => ("disk_full", advice::DISK_FULL),
        _ => ("storage_failed", advice::STATE),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };
    use unbox_common::refusal::RefusalKind;

    /// Returns the kinds between quotes; those of a single word look like any word, and are left out.
    fn kinds_in(text: &str, quote: char) -> BTreeSet<String> {
        let is_kind =
            |word: &&str| word.contains('_') && word.bytes().all(|b| b == b'_' || b.is_ascii_lowercase());
        text.split(quote).skip(1).step_by(2).filter(is_kind).map(str::to_owned).collect()
    }

    /// Returns the source files below a folder, except the installer's: its reasons have a table of their own.
    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .filter(|path| !path.ends_with("src/install"))
            .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
            .collect()
    }

    /// Returns the body of every `kind()` in a file.
    fn kinds_of_errors(file: &str) -> BTreeSet<String> {
        let bodies = file.split("fn kind(&self) -> &'static str {").skip(1);
        bodies.flat_map(|rest| kinds_in(rest.split("\n    }\n").next().unwrap(), '"')).collect()
    }

    #[test]
    fn the_readme_lists_every_kind_and_no_other() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = sources(&package.join("src"));
        let mut kinds: BTreeSet<String> =
            files.iter().flat_map(|file| kinds_of_errors(&fs::read_to_string(file).unwrap())).collect();
        let own = fs::read_to_string(package.join("src/failure.rs")).unwrap();
        let storage = own.split("pub fn diagnose_storage").nth(1).unwrap();
        kinds.extend(kinds_in(storage.split("\n}\n").next().unwrap(), '"'));
        kinds.insert(RefusalKind::ClockSkew.name().to_owned());
        let readme = fs::read_to_string(package.join("README.md")).unwrap();
        let table = readme.split("## Failures").nth(1).unwrap().split("Retries are").next().unwrap();
        assert_eq!(kinds_in(table, '`'), kinds);
    }
}
