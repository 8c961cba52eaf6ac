//! The memory of the privileged side: the progress of this device, across power cuts.
//!
//! `ledger.json` is versioned and written atomically, by the privileged side only; the network side reads
//! it. Everything here is pure; `io.rs` reads and writes the files.
//!
//! ```text
//!              Accepted             Committed
//! unenrolled ------------> installing ------> managed
//!     ^                    |  ^   ^              |
//!     |          RolledBack|  |   +--------------+ Accepted (newer payload, or enrolled again)
//!     |                    v  | Accepted
//!     |                rolled_back
//!     |
//!     +--- ResetDone --- resetting <--- ResetBegun (from every phase)
//! ```
//!
//! `MachineChanged` (the disk came from another machine) leads to `unenrolled` from every phase but
//! `resetting`, and `Refused` (a payload was refused before any change) leads back to the phase before
//! it.
//!
//! The *floor* protects against rollback. It survives every transition, and a second file preserves it in
//! case the ledger is damaged.

mod floor;
pub mod io;
mod transition;

pub use floor::Floor;
pub use transition::{Event, IllegalTransition};

use crate::machine::Machine;
use serde::{Deserialize, Serialize};
use std::fmt;
use unbox_common::{
    digest::Sha256,
    ids::{DeviceId, Generation},
    payload::Expectation,
    protocol::latest::{Installed, Owner},
    refusal::Disposition,
    timestamp::Timestamp,
};

/// The largest ledger that is read, in bytes.
pub const MAX_LEDGER_BYTES: u64 = 64 * 1024;

/// The version of the format that this agent writes.
const VERSION: u32 = 1;

/// The progress of this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    version: u32,
    /// The durable phase.
    pub phase: Phase,
    /// The anti-rollback floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Floor>,
    /// The latest time from a verified source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_time: Option<Timestamp>,
    /// The payload that was refused last, until another one is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// The machine that is enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<Machine>,
}

/// A payload that was refused before any change, and would be refused again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The generation of its enrollment.
    pub generation: Generation,
    /// Its version.
    pub version: u64,
    /// Short name of the reason.
    pub kind: String,
    /// The reason, for people.
    pub detail: String,
    /// Version of the agent that refused it. A newer one may be able to install it.
    pub agent_version: String,
}

/// The durable phases. Work inside a phase is simply started again after a power cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Phase {
    /// The device has no owner yet, or no longer.
    Unenrolled {
        /// The reason.
        cause: Cause,
    },
    /// An installation has begun and not ended.
    Installing {
        /// The enrollment that the payload belongs to.
        enrollment: Enrollment,
        /// The payload's version.
        version: u64,
        /// Digest of its grant.
        grant: Sha256,
        /// The payload in force in the meantime.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        installed: Option<Installed>,
    },
    /// The payload is installed and was healthy.
    Managed {
        /// The enrollment.
        enrollment: Enrollment,
        /// The installed payload.
        installed: Installed,
    },
    /// The last installation was rolled back; the report says if anything could not be.
    RolledBack {
        /// The enrollment.
        enrollment: Enrollment,
        /// The payload in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        installed: Option<Installed>,
        /// The failed installation.
        failed: Failed,
    },
    /// A reset has begun: the installed payload is being removed.
    Resetting,
}

/// The reason why a device is not enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The device was never enrolled.
    New,
    /// The device was reset.
    Reset,
    /// The ledger was damaged; the device enrolls again, above its stored floor.
    LedgerDamaged,
    /// The disk was copied from another machine, which is enrolled itself.
    OtherMachine,
}

/// The enrollment of this device, with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrollment {
    /// The device's id.
    pub device: DeviceId,
    /// The generation of the enrollment.
    pub generation: Generation,
    /// The owner of the device.
    pub owner: Owner,
}

/// A failed installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The payload's version.
    pub version: u64,
    /// Short name of the reason.
    pub kind: String,
    /// The reason, for people.
    pub detail: String,
    /// The disposition, which decides whether the same payload is tried again.
    pub disposition: Disposition,
}

impl Ledger {
    /// Returns the ledger of a new device.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_cause(Cause::New, None)
    }

    /// Returns the ledger that replaces a damaged one: above the stored floor, if there is one.
    #[must_use]
    pub const fn new_after_damage(floor: Option<Floor>) -> Self {
        Self::with_cause(Cause::LedgerDamaged, floor)
    }

    const fn with_cause(cause: Cause, floor: Option<Floor>) -> Self {
        let verified_time = match &floor {
            Some(floor) => Some(floor.verified_time),
            None => None,
        };
        Self {
            version: VERSION,
            phase: Phase::Unenrolled { cause },
            floor,
            verified_time,
            refused: None,
            machine: None,
        }
    }

    /// Returns the enrollment, if there is one.
    #[must_use]
    pub const fn enrollment(&self) -> Option<&Enrollment> {
        match &self.phase {
            Phase::Unenrolled { .. } | Phase::Resetting => None,
            Phase::Installing { enrollment, .. }
            | Phase::Managed { enrollment, .. }
            | Phase::RolledBack { enrollment, .. } => Some(enrollment),
        }
    }

    /// Returns the payload in force.
    #[must_use]
    pub const fn installed_payload(&self) -> Option<&Installed> {
        match &self.phase {
            Phase::Unenrolled { .. } | Phase::Resetting => None,
            Phase::Managed { installed, .. } => Some(installed),
            Phase::Installing { installed, .. } | Phase::RolledBack { installed, .. } => installed.as_ref(),
        }
    }

    /// Returns the failed payload version, if the last installation failed.
    #[must_use]
    pub const fn failed_payload(&self) -> Option<&Failed> {
        match &self.phase {
            Phase::RolledBack { failed, .. } => Some(failed),
            _ => None,
        }
    }

    /// Returns the expectation for a payload for `device` and `generation`.
    ///
    /// An enrolled device keeps its id; only an unenrolled one adopts the id that the server gives it.
    #[must_use]
    pub fn expectation(&self, device: DeviceId, generation: Generation, now: Timestamp) -> Expectation {
        let device = self.enrollment().map_or(device, |own| own.device);
        Floor::expectation(self.floor.as_ref(), device, generation, now)
    }

    /// Returns the latest payload version that failed or was refused here: the server need not send it
    /// again.
    #[must_use]
    pub fn unwanted_version(&self) -> Option<u64> {
        let refused = self.refused.as_ref().map(|refused| refused.version);
        self.failed_payload().map(|failed| failed.version).max(refused)
    }

    /// Returns true if this payload has been dealt with: it is in force, or it failed or was refused here
    /// and would be again.
    #[must_use]
    pub fn has_settled(&self, generation: Generation, version: u64) -> bool {
        let is_this = |one: &Refused| one.generation == generation && one.version == version;
        self.refused.as_ref().is_some_and(is_this) || self.is_settled_by_phase(generation, version)
    }

    fn is_settled_by_phase(&self, generation: Generation, version: u64) -> bool {
        self.enrollment().is_some_and(|own| own.generation == generation)
            && match &self.phase {
                Phase::Managed { installed, .. } => installed.version == version,
                Phase::RolledBack { failed, .. } => {
                    failed.version == version && failed.disposition != Disposition::Retry
                }
                _ => false,
            }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} was refused ({}): {}", self.version, self.kind, self.detail)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

/// The reason why bytes are not a usable ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerUnreadable {
    /// The ledger is half-written, overwritten, or not a ledger.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
    /// A newer agent wrote the ledger.
    #[error("the ledger has version {0}, this agent reads up to version {VERSION}")]
    Newer(u32),
}

impl Ledger {
    /// Parses a ledger of any version up to this one.
    ///
    /// # Errors
    /// [`LedgerUnreadable`]; a newer one is not damaged, and is left alone.
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerUnreadable> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let damaged = |error: serde_json::Error| {
            // The position, not the content, which may be anything.
            LedgerUnreadable::Damaged(format!("line {}, column {}", error.line(), error.column()))
        };
        let Versioned { version } = serde_json::from_slice(bytes).map_err(damaged)?;
        if version > VERSION {
            return Err(LedgerUnreadable::Newer(version));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every phase as written by version 1.
    const GOLDEN: &[(&str, &str)] = &[
        ("unenrolled", include_str!("../../tests/fixtures/ledger/v1-unenrolled.json")),
        ("installing", include_str!("../../tests/fixtures/ledger/v1-installing.json")),
        ("managed", include_str!("../../tests/fixtures/ledger/v1-managed.json")),
        ("rolled_back", include_str!("../../tests/fixtures/ledger/v1-rolled-back.json")),
        ("resetting", include_str!("../../tests/fixtures/ledger/v1-resetting.json")),
        ("managed", include_str!("../../tests/fixtures/ledger/v1-refused.json")),
    ];

    #[test]
    fn an_old_ledger_parses_for_ever() {
        for (name, json) in GOLDEN {
            let ledger = Ledger::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(ledger.phase.name(), *name);
            let again = serde_json::to_string_pretty(&ledger).unwrap();
            assert_eq!(&format!("{again}\n"), json, "{name}: what is written changed");
        }
    }

    #[test]
    fn a_half_written_ledger_is_damaged_at_every_length() {
        for (name, json) in GOLDEN {
            let json = json.trim_end();
            for end in 0..json.len() {
                let cut = Ledger::parse(&json.as_bytes()[..end]);
                assert!(matches!(cut, Err(LedgerUnreadable::Damaged(_))), "{name} cut at {end}: {cut:?}");
            }
        }
        let zeros = Ledger::parse(&[0; 512]);
        assert!(matches!(zeros, Err(LedgerUnreadable::Damaged(_))), "{zeros:?}");
    }

    #[test]
    fn a_newer_ledger_is_not_called_damaged() {
        let newer = Ledger::parse(br#"{"version": 2, "phase": "elsewhere"}"#);
        assert_eq!(newer, Err(LedgerUnreadable::Newer(2)));
    }

    #[test]
    fn only_the_same_payload_of_the_same_enrollment_has_been_settled() {
        let managed = Ledger::parse(GOLDEN[2].1.as_bytes()).unwrap();
        let installed = managed.installed_payload().unwrap().version;
        assert!(managed.has_settled(Generation(1), installed));
        assert!(!managed.has_settled(Generation(1), installed + 1));
        assert!(!managed.has_settled(Generation(2), installed));
        let rolled_back = Ledger::parse(GOLDEN[3].1.as_bytes()).unwrap();
        let failed = rolled_back.failed_payload().unwrap().version;
        assert!(rolled_back.has_settled(Generation(1), failed));
        assert!(!rolled_back.has_settled(Generation(1), rolled_back.installed_payload().unwrap().version));
        let refused = Ledger::parse(GOLDEN[5].1.as_bytes()).unwrap();
        let version = refused.refused.as_ref().unwrap().version;
        assert!(refused.has_settled(Generation(1), version) && !refused.has_settled(Generation(2), version));
        assert!(refused.has_settled(Generation(1), refused.installed_payload().unwrap().version));
        assert_eq!(refused.unwanted_version(), Some(version));
    }
}
