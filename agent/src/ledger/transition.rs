//! The transitions between phases: every change of the ledger is one event, and an event that does not
//! fit is an error, never a guess.

use super::{Cause, Enrollment, Failed, Floor, Ledger, Phase, Refused};
use crate::failure::{Diagnose, advice};
use unbox_common::{digest::Sha256, protocol::latest::Installed, refusal::Disposition, timestamp::Timestamp};

/// An event in a device's ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A payload was verified and judged: its installation begins.
    Accepted {
        /// The enrollment that the payload belongs to.
        enrollment: Enrollment,
        /// Its version.
        version: u64,
        /// Digest of its grant.
        grant: Sha256,
        /// Time of its signature, which has certainly passed.
        issued_at: Timestamp,
    },
    /// A payload was refused before any change.
    Refused(Refused),
    /// The installation is healthy and final.
    Committed {
        /// The payload in force now.
        installed: Installed,
    },
    /// The installation was rolled back.
    RolledBack {
        /// Short name of the reason.
        kind: String,
        /// The reason, for people.
        detail: String,
        /// The disposition, which decides whether the same payload is tried again.
        disposition: Disposition,
    },
    /// The disk came from another machine.
    MachineChanged,
    /// The removal of everything installed begins.
    ResetBegun,
    /// Everything installed is removed.
    ResetDone,
}

/// An event that is not possible in this phase.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a ledger in phase {from} cannot take {attempted}")]
pub struct IllegalTransition {
    /// The phase.
    pub from: &'static str,
    /// The event.
    pub attempted: &'static str,
}

impl Diagnose for IllegalTransition {
    fn kind(&self) -> &'static str {
        "ledger_transition"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn advice(&self) -> &'static str {
        advice::STATE
    }
}

impl Ledger {
    /// Returns the ledger after `event`.
    ///
    /// # Errors
    /// [`IllegalTransition`] if the event does not fit the phase.
    pub fn handle(self, event: Event) -> Result<Self, IllegalTransition> {
        let illegal = IllegalTransition { from: self.phase.name(), attempted: event.name() };
        let before = self.installed_payload().cloned();
        let (phase, floor, refused) = match (self.phase, event) {
            (
                Phase::Unenrolled { .. }
                | Phase::Installing { .. }
                | Phase::Managed { .. }
                | Phase::RolledBack { .. },
                Event::Accepted { enrollment, version, grant, issued_at },
            ) => {
                let floor = Floor::raise(self.floor, enrollment.device, enrollment.generation, issued_at);
                let phase = Phase::Installing { enrollment, version, grant, installed: before };
                (phase, Some(floor), None)
            }
            (Phase::Installing { enrollment, .. }, Event::Committed { installed }) => {
                let floor = self.floor.map(|floor| floor.with_payload(installed.version));
                let phase = Phase::Managed { enrollment, installed };
                (phase, floor, None)
            }
            (
                Phase::Installing { enrollment, version, installed, .. },
                Event::RolledBack { kind, detail, disposition },
            ) => {
                let failed = Failed { version, kind, detail, disposition };
                let phase = Phase::RolledBack { enrollment, installed, failed };
                (phase, self.floor, None)
            }
            (
                Phase::Unenrolled { .. }
                | Phase::Installing { .. }
                | Phase::Managed { .. }
                | Phase::RolledBack { .. },
                Event::MachineChanged,
            ) => (Phase::Unenrolled { cause: Cause::OtherMachine }, self.floor, None),
            (_, Event::ResetBegun) => (Phase::Resetting, self.floor, None),
            (Phase::Resetting, Event::ResetDone) => {
                let cause = Cause::Reset;
                (Phase::Unenrolled { cause }, self.floor, None)
            }
            // If a power cut prevented the installation from beginning, nothing is left to resume.
            (Phase::Installing { enrollment, installed, .. }, Event::Refused(refused)) => {
                let phase = match installed {
                    Some(installed) => Phase::Managed { enrollment, installed },
                    None => Phase::Unenrolled { cause: Cause::New },
                };
                (phase, self.floor, Some(refused))
            }
            (
                phase @ (Phase::Unenrolled { .. } | Phase::Managed { .. } | Phase::RolledBack { .. }),
                Event::Refused(refused),
            ) => (phase, self.floor, Some(refused)),
            _ => return Err(illegal),
        };
        Ok(Self {
            version: super::VERSION,
            phase,
            floor,
            verified_time: floor.map(|floor| floor.verified_time).max(self.verified_time),
            refused,
            machine: self.machine,
        })
    }
}

impl Event {
    const fn name(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Refused(_) => "refused",
            Self::Committed { .. } => "committed",
            Self::RolledBack { .. } => "rolled_back",
            Self::MachineChanged => "machine_changed",
            Self::ResetBegun => "reset_begun",
            Self::ResetDone => "reset_done",
        }
    }
}

impl Phase {
    /// Returns the name of the phase, as stored and shown.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unenrolled { .. } => "unenrolled",
            Self::Installing { .. } => "installing",
            Self::Managed { .. } => "managed",
            Self::RolledBack { .. } => "rolled_back",
            Self::Resetting => "resetting",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::{
        ids::{ConfigurationId, DeviceId, Generation},
        protocol::latest::Owner,
    };

    fn accepted(generation: u64, version: u64) -> Event {
        Event::Accepted {
            enrollment: Enrollment {
                device: DeviceId::new(7).unwrap(),
                generation: Generation(generation),
                owner: Owner {
                    company: "Acme AG".to_owned(),
                    contact_email: String::new(),
                    contact_phone: String::new(),
                    message: None,
                },
            },
            version,
            grant: Sha256::of(b"grant"),
            issued_at: Timestamp(1000 + version),
        }
    }

    fn installed(version: u64) -> Installed {
        Installed { configuration: ConfigurationId::new(1).unwrap(), version, dpc: None }
    }

    fn committed(version: u64) -> Event {
        Event::Committed { installed: installed(version) }
    }

    fn rolled_back() -> Event {
        Event::RolledBack {
            kind: "unhealthy".to_owned(),
            detail: "it did not start".to_owned(),
            disposition: Disposition::WaitForAdministrator,
        }
    }

    fn refused(version: u64) -> Event {
        Event::Refused(Refused {
            generation: Generation(1),
            version,
            kind: "device_lacks".to_owned(),
            detail: "there is no user kiosk".to_owned(),
            agent_version: "0.1.0".to_owned(),
        })
    }

    fn after(events: impl IntoIterator<Item = Event>) -> Result<Ledger, IllegalTransition> {
        events.into_iter().try_fold(Ledger::new(), Ledger::handle)
    }

    #[test]
    fn every_pair_of_phase_and_event_is_decided() {
        let phases = [
            after([]),
            after([accepted(1, 50)]),
            after([accepted(1, 50), committed(50)]),
            after([accepted(1, 50), rolled_back()]),
            after([Event::ResetBegun]),
        ]
        .map(Result::unwrap);
        let events = [
            accepted(1, 60),
            committed(60),
            rolled_back(),
            Event::ResetBegun,
            Event::ResetDone,
            refused(60),
            Event::MachineChanged,
        ];
        // The same table as the diagram at the top of this folder's `mod.rs`.
        let expected = [
            ["installing", "-", "-", "resetting", "-", "unenrolled", "unenrolled"],
            ["installing", "managed", "rolled_back", "resetting", "-", "unenrolled", "unenrolled"],
            ["installing", "-", "-", "resetting", "-", "managed", "unenrolled"],
            ["installing", "-", "-", "resetting", "-", "rolled_back", "unenrolled"],
            ["-", "-", "-", "resetting", "unenrolled", "-", "-"],
        ];
        for (ledger, row) in phases.iter().zip(expected) {
            for (event, to) in events.iter().zip(row) {
                let found = ledger.clone().handle(event.clone());
                let found = found.as_ref().map_or_else(
                    |illegal| {
                        assert_eq!((illegal.from, illegal.attempted), (ledger.phase.name(), event.name()));
                        "-"
                    },
                    |ledger| ledger.phase.name(),
                );
                assert_eq!(found, to, "{} + {}", ledger.phase.name(), event.name());
            }
        }
    }

    #[test]
    fn what_was_in_force_stays_in_force_until_the_next_is_committed() {
        let ledger = after([accepted(1, 50), committed(50), accepted(1, 60)]).unwrap();
        assert_eq!(ledger.installed_payload(), Some(&installed(50)));
        let undone = ledger.clone().handle(rolled_back()).unwrap();
        assert_eq!(undone.installed_payload(), Some(&installed(50)));
        assert_eq!(undone.failed_payload().map(|failed| failed.version), Some(60));
        assert_eq!(undone.floor.unwrap().payload_version, Some(50));
        let done = ledger.handle(committed(60)).unwrap();
        assert_eq!(done.installed_payload(), Some(&installed(60)));
        assert_eq!(done.floor.unwrap().payload_version, Some(60));
    }

    #[test]
    fn a_refused_payload_changes_nothing_and_is_remembered_until_another_is_accepted() {
        let managed = after([accepted(1, 50), committed(50)]).unwrap();
        let ledger = managed.clone().handle(refused(60)).unwrap();
        assert_eq!(Ledger { refused: None, ..ledger.clone() }, managed);
        assert!(ledger.has_settled(Generation(1), 60) && !ledger.has_settled(Generation(1), 61));
        for next in [accepted(1, 61), Event::ResetBegun] {
            assert_eq!(ledger.clone().handle(next).unwrap().refused, None);
        }
    }

    #[test]
    fn a_reset_forgets_everything_but_the_floor() {
        let ledger = after([accepted(3, 50), committed(50), Event::ResetBegun, Event::ResetDone]).unwrap();
        assert_eq!(ledger.enrollment(), None);
        assert_eq!(ledger.installed_payload(), None);
        let floor = ledger.floor.unwrap();
        assert_eq!((floor.generation, floor.payload_version), (Generation(3), Some(50)));
        assert_eq!(ledger.verified_time, Some(Timestamp(1050)));
    }
}
