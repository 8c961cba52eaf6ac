//! Reads and writes `ledger.json`, and beside it the floor, which survives a damaged ledger.
//!
//! Only the privileged side writes. The floor is written *before* the ledger: after a power cut between
//! the two, the floor is the higher one, and the stricter value counts.

use super::{Floor, Ledger, LedgerUnreadable, MAX_LEDGER_BYTES, floor::MAX_FLOOR_BYTES};
use crate::{
    AGENT_VERSION,
    failure::{Diagnose, advice},
    files::{self, FilesError},
    handover,
    layout::Layout,
};
use std::path::PathBuf;
use unbox_common::{refusal::Disposition, timestamp::Timestamp};

/// The reason why a ledger is unusable.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The ledger could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The file's content is not a ledger for this agent.
    #[error("{} cannot be used", path.display())]
    Unreadable {
        /// Path of the ledger.
        path: PathBuf,
        /// The reason.
        #[source]
        source: LedgerUnreadable,
    },
}

impl Diagnose for LedgerError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable { source: LedgerUnreadable::Damaged(_), .. } => "ledger_damaged",
            Self::Unreadable { source: LedgerUnreadable::Newer(_), .. } => "ledger_newer",
            Self::Files(_) => "storage_failed",
        }
    }

    fn disposition(&self) -> Disposition {
        if self.is_newer() { Disposition::Fatal } else { Disposition::WaitForAdministrator }
    }

    fn advice(&self) -> &'static str {
        if self.is_newer() { advice::NEWER } else { advice::STATE }
    }
}

impl LedgerError {
    /// Returns true if a newer agent wrote the ledger, so that this one must leave it alone.
    #[must_use]
    pub const fn is_newer(&self) -> bool {
        matches!(self, Self::Unreadable { source: LedgerUnreadable::Newer(_), .. })
    }

    /// Returns true if the ledger is damaged, so that the privileged side begins a new one.
    #[must_use]
    pub const fn is_damaged(&self) -> bool {
        matches!(self, Self::Unreadable { source: LedgerUnreadable::Damaged(_), .. })
    }
}

/// A ledger as opened by the privileged side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The ledger to continue with.
    pub ledger: Ledger,
    /// The new path of the damaged ledger, if it was damaged.
    pub damaged: Option<PathBuf>,
}

/// Reads the ledger, for readers that never write it. A missing ledger is that of a new device.
///
/// # Errors
/// [`LedgerError`]; a damaged ledger is an error, and stays in place.
pub fn read(layout: &Layout) -> Result<Ledger, LedgerError> {
    let path = layout.ledger();
    let parsed = match files::read(&path, MAX_LEDGER_BYTES) {
        Ok(None) => return Ok(Ledger::new().raise_to(floor(layout)?)),
        Ok(Some(bytes)) => Ledger::parse(&bytes),
        Err(error) if error.is_not_a_document() => Err(LedgerUnreadable::Damaged(error.to_string())),
        Err(error) => return Err(error.into()),
    };
    match parsed {
        Ok(ledger) => Ok(ledger.raise_to(floor(layout)?)),
        Err(source) => Err(LedgerError::Unreadable { path, source }),
    }
}

/// Reads the ledger, for the privileged side: a damaged one is moved aside, and a new one begins above
/// the stored floor. A damaged floor is rewritten from the ledger, and so is a ledger that the network
/// side could not read.
///
/// # Errors
/// [`LedgerError`]; also for a ledger that a newer agent wrote, which is left alone.
pub fn open(layout: &Layout) -> Result<Opened, LedgerError> {
    match read(layout) {
        Ok(ledger) => {
            let path = layout.ledger();
            let is_kept = floor(layout)? == ledger.floor
                && (!path.exists() || handover::is_readable_by_its_reader(layout, &path)?);
            if !is_kept {
                write(layout, &ledger)?;
            }
            Ok(Opened { ledger, damaged: None })
        }
        Err(LedgerError::Unreadable { path, source: LedgerUnreadable::Damaged(_) }) => {
            let aside = files::set_aside(&path, files::DAMAGED)?;
            let ledger = Ledger::new_after_damage(floor(layout)?);
            write(layout, &ledger)?;
            Ok(Opened { ledger, damaged: Some(aside) })
        }
        Err(error) => Err(error),
    }
}

/// Writes the ledger, and its floor first.
///
/// # Errors
/// [`LedgerError`]; the old ledger then still exists.
pub fn write(layout: &Layout, ledger: &Ledger) -> Result<(), LedgerError> {
    files::make_directory(&layout.state(), files::PUBLIC_DIRECTORY)?;
    if let Some(floor) = &ledger.floor {
        handover::write(layout, &layout.floor(), floor)?;
    }
    Ok(handover::write(layout, &layout.ledger(), ledger)?)
}

/// Returns the latest time from a verified source; if the ledger is damaged, the floor's.
///
/// # Errors
/// [`LedgerError`] if the files cannot be read at all.
pub fn verified_time(layout: &Layout) -> Result<Option<Timestamp>, LedgerError> {
    match read(layout) {
        Ok(ledger) => Ok(ledger.verified_time),
        Err(LedgerError::Unreadable { .. }) => Ok(floor(layout)?.map(|floor| floor.verified_time)),
        Err(error) => Err(error),
    }
}

/// Reads the floor stored beside the ledger. A damaged one counts as absent.
fn floor(layout: &Layout) -> Result<Option<Floor>, FilesError> {
    files::read_json(&layout.floor(), MAX_FLOOR_BYTES)
}

impl Ledger {
    /// Raises this ledger to a floor that was written before it, and drops the refusal of another agent
    /// version.
    fn raise_to(mut self, kept: Option<Floor>) -> Self {
        self.floor = match (self.floor, kept) {
            (Some(own), Some(kept)) if own.device == kept.device => {
                let raised = Floor::raise(Some(own), kept.device, kept.generation, kept.verified_time);
                Some(kept.payload_version.map_or(raised, |version| raised.with_payload(version)))
            }
            (own, kept) => kept.or(own),
        };
        self.refused = self.refused.filter(|refused| refused.agent_version == AGENT_VERSION);
        let told = self.floor.map(|floor| floor.verified_time);
        self.verified_time = self.verified_time.max(told);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Cause, Phase};
    use unbox_common::ids::{DeviceId, Generation};

    const MANAGED: &str = include_str!("../../tests/fixtures/ledger/v1-managed.json");

    fn device() -> (tempfile::TempDir, Layout, Ledger) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let ledger = Ledger::parse(MANAGED.as_bytes()).unwrap();
        write(&layout, &ledger).unwrap();
        (root, layout, ledger)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_root, layout, ledger) = device();
        assert_eq!(read(&layout).unwrap(), ledger);
        assert_eq!(open(&layout).unwrap().damaged, None);
    }

    #[test]
    fn a_damaged_ledger_is_moved_aside_and_its_floor_kept() {
        let (_root, layout, ledger) = device();
        for damage in [&MANAGED.as_bytes()[..200], b"", &[0; 300]] {
            files::replace(&layout.floor(), damage, 0o640).unwrap();
            assert_eq!(read(&layout).unwrap(), ledger, "a damaged floor alone");
            assert_eq!(open(&layout).unwrap().ledger, ledger);
            assert_eq!(floor(&layout).unwrap(), ledger.floor, "it is written anew");
            files::replace(&layout.ledger(), damage, 0o640).unwrap();
            assert!(matches!(read(&layout), Err(LedgerError::Unreadable { .. })));
            assert_eq!(verified_time(&layout).unwrap(), ledger.verified_time);
            let opened = open(&layout).unwrap();
            let cause = Cause::LedgerDamaged;
            assert_eq!(opened.ledger.phase, Phase::Unenrolled { cause });
            assert_eq!(opened.ledger.floor, ledger.floor);
            let aside = files::read(&opened.damaged.unwrap(), 1 << 20).unwrap().unwrap();
            assert_eq!(aside, damage);
            // The repair does not repeat: the next start finds a whole ledger.
            assert_eq!(open(&layout).unwrap().damaged, None);
            write(&layout, &ledger).unwrap();
        }
    }

    #[test]
    fn a_newer_agents_ledger_is_left_alone() {
        let (_root, layout, _) = device();
        let newer = br#"{"version": 9}"#;
        files::replace(&layout.ledger(), newer, 0o640).unwrap();
        assert!(open(&layout).is_err());
        assert_eq!(files::read(&layout.ledger(), 99).unwrap().unwrap(), newer);
    }

    #[test]
    fn the_stricter_of_ledger_and_floor_counts() {
        let (_root, layout, ledger) = device();
        let floor = ledger.floor.unwrap();
        let higher = Floor { generation: Generation(floor.generation.0 + 1), ..floor };
        handover::write(&layout, &layout.floor(), &higher).unwrap();
        assert_eq!(read(&layout).unwrap().floor, Some(higher));
        let lower =
            Floor { generation: Generation(0), payload_version: None, verified_time: Timestamp(0), ..floor };
        handover::write(&layout, &layout.floor(), &lower).unwrap();
        assert_eq!(read(&layout).unwrap().floor, Some(floor));
        let other = Floor { device: DeviceId::new(9).unwrap(), ..floor };
        handover::write(&layout, &layout.floor(), &other).unwrap();
        assert_eq!(read(&layout).unwrap().floor, Some(other));
    }

    #[test]
    fn what_another_agent_refused_is_tried_again() {
        let (_root, layout, _) = device();
        let refused = include_str!("../../tests/fixtures/ledger/v1-refused.json");
        for (agent, expected) in [(AGENT_VERSION, true), ("0.0.9", false)] {
            let json = refused.replace("\"0.1.0\"", &format!("{agent:?}"));
            files::replace(&layout.ledger(), json.as_bytes(), 0o640).unwrap();
            assert_eq!(read(&layout).unwrap().refused.is_some(), expected, "{agent}");
        }
    }

    #[test]
    fn a_new_device_has_a_new_ledger() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        assert_eq!(read(&layout).unwrap(), Ledger::new());
        assert_eq!(verified_time(&layout).unwrap(), None);
    }
}
