//! The privileged side: it installs or refuses a grant, and records the result in the ledger.
//!
//! It trusts nothing in the exchange: signature, device, generation, version and expiry are judged here
//! again, by its own ledger and the image's anchors.
//!
//! Whatever the result, it is written in this order: the outcome for the report, the ledger, the marker.
//! After a power cut between two of them, only the remaining steps are repeated.

use super::{error::DriverError, lock::wait_for_lock, session::Session};
use crate::{
    AGENT_VERSION,
    boot::{self, Layout, Trust},
    clock::{self, Stopwatch, TrustedTime},
    console::{Console, Situation},
    entropy::Entropy,
    failure::Failure,
    files::{self, Lock},
    handover,
    handshake::key_file,
    install::{self, ArtifactDir, InstallError, InstallOutcome, Installer, LostRecord, System},
    ledger::{self, Enrollment, Event, Ledger, Phase, Refused},
    machine::Machine,
    payload::{self, GrantError, Requester, accept, io::StoredGrant},
    report::{self, Noted, OutcomeFile},
    text::{chain, plain},
};
use std::{path::Path, time::Duration};
use unbox_common::{
    digest::Sha256,
    identity::HardwareIdentity,
    ids::Generation,
    payload::AcceptedPayload,
    protocol::{
        latest::{Grant, Outcome},
        limits::MAX_DETAIL_BYTES,
        progress::Progress,
    },
    refusal::Disposition,
};

/// The largest marker, in bytes.
const MAX_MARKER_BYTES: u64 = 1024;

/// The result of a look at the exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// There is no grant, or it was dealt with before.
    Nothing,
    /// The payload is installed and healthy.
    Managed,
    /// The payload was rolled back, or refused before any change.
    NotManaged,
}

/// The privileged side at work.
pub(super) struct Applier<'a> {
    layout: Layout,
    console: &'a mut Console,
    entropy: &'a Entropy,
    system: Box<dyn System>,
    ledger: Ledger,
    entries: Vec<Noted>,
    /// This machine's identifiers, if already known.
    machine: Option<Machine>,
    _lock: Lock,
}

impl<'a> Applier<'a> {
    /// Waits until no other process writes the privileged side's state, opens the ledger, and completes work that a power cut interrupted.
    pub(super) fn begin(
        session: &'a mut Session,
        identity: Option<&HardwareIdentity>,
        ready: fn(),
    ) -> Result<Self, Failure> {
        let layout = session.layout.clone();
        files::make_directory(&layout.state(), files::PUBLIC_DIRECTORY)?;
        let lock = wait_for_lock(&layout)?;
        let mut opened = ledger::io::open(&layout)?;
        if let Some(aside) = &opened.damaged {
            tracing::error!(moved_to = %aside.display(), "the ledger was damaged");
            session.console.say(Situation::LedgerDamaged);
        }
        for lost in install::repair(&layout.state())? {
            session.console.say(Situation::StateDamaged { what: lost.name(), so: lost.consequence() });
            if lost == LostRecord::Installed && opened.ledger.installed_payload().is_some() {
                // A payload that the ledger records as in force can no longer be rolled back: it is
                // installed again.
                opened.ledger = Ledger::new_after_damage(opened.ledger.floor);
                ledger::io::write(&layout, &opened.ledger)?;
            }
        }
        let system = install::open_system(layout.root())?;
        let system: Box<dyn System> = Box::new(super::ready::ReadyBeforeUnits::new(system, ready));
        let mut applier = Self {
            layout,
            console: &mut session.console,
            entropy: &session.entropy,
            system,
            ledger: opened.ledger,
            entries: Vec::new(),
            machine: identity.map(Machine::from_identity),
            _lock: lock,
        };
        applier.resume()?;
        applier.check_machine()?;
        Ok(applier)
    }

    /// Drops an enrollment that belongs to another machine, with the grant that led to it. The installed
    /// payload stays until this machine gets its own.
    fn check_machine(&mut self) -> Result<(), Failure> {
        let Some(own) = &self.machine else { return Ok(()) };
        let is_other = self.ledger.machine.as_ref().is_some_and(|machine| machine.is_other_than(own));
        if is_other && let Some(of_other) = self.ledger.enrollment().cloned() {
            self.console.say(Situation::OtherMachine);
            let stored = payload::io::read_grant(&self.layout.grant()).ok().flatten();
            let is_its = stored.is_some_and(|StoredGrant { grant, .. }| {
                grant.device_id == of_other.device && grant.generation <= of_other.generation
            });
            if is_its {
                files::discard(&self.layout.grant())?;
            }
            self.record_event(Event::MachineChanged)?;
            self.update_marker()?;
        } else if !is_other && self.ledger.machine.is_none() && self.ledger.enrollment().is_some() {
            // The enrollment was made by an older agent, which did not record the machine.
            self.ledger.machine.clone_from(&self.machine);
            ledger::io::write(&self.layout, &self.ledger)?;
        }
        Ok(())
    }

    /// Returns the ledger.
    pub(super) const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Reads the grant in the exchange, and deals with it.
    pub(super) fn apply_grant(&mut self) -> Result<Applied, Failure> {
        let stored = match payload::io::read_grant(&self.layout.grant()) {
            Err(GrantError::Damaged) => {
                // A damaged grant cannot be installed; the network side asks for another.
                files::discard(&self.layout.grant())?;
                let so = "The server is asked for another.";
                self.console.say(Situation::StateDamaged { what: "The grant of this device", so });
                None
            }
            stored => stored?,
        };
        let Some(StoredGrant { grant, digest }) = stored else {
            return Ok(Applied::Nothing);
        };
        let last = report::io::read_outcome(&self.layout)?;
        if last.is_some_and(|last| last.grant == digest && is_final(&last, &self.ledger)) {
            return Ok(Applied::Nothing);
        }
        let Some(requester) = self.requester()? else {
            // Without the key, the enrollment from this grant is unusable.
            files::discard(&self.layout.grant())?;
            let so = "The device makes another, and asks the server for another grant.";
            self.console.say(Situation::StateDamaged { what: "The key of this device", so });
            return Ok(Applied::Nothing);
        };
        let trust = self.store_roots(&grant)?;
        let time = TrustedTime::weigh(clock::system(), clock::build_date(), self.ledger.verified_time);
        match accept(&grant, &trust, &self.ledger, requester, time.now) {
            Ok(payload) if self.ledger.has_settled(grant.generation, payload.version) => Ok(Applied::Nothing),
            Ok(payload) => self.install(&grant, digest, &payload),
            Err(rejection) => {
                let rejection = Failure::from(rejection);
                self.reject(grant.generation, payload::version_of(&grant), digest, &rejection)?;
                Err(rejection)
            }
        }
    }

    /// Returns the device as the ledger knows it, if it is enrolled, or else as its key identifies it.
    /// `None` if there is neither.
    fn requester(&self) -> Result<Option<Requester>, Failure> {
        if self.ledger.enrollment().is_some() {
            return Ok(Some(Requester { key_digest: None, nonce: None }));
        }
        let key = key_file::public_key(&self.layout, self.entropy)?;
        Ok(key.map(|key| Requester { key_digest: Some(key.digest()), nonce: None }))
    }

    /// Removes everything that was installed, and forgets the enrollment; the floor stays.
    pub(super) fn reset(&mut self) -> Result<(), Failure> {
        files::remove(&self.layout.enrolled_marker())?;
        self.record_event(Event::ResetBegun)?;
        self.finish_reset()
    }

    fn finish_reset(&mut self) -> Result<(), Failure> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's own lifetime is not general enough"
        )]
        let outcome = self.with_installer(|installer| installer.uninstall())?;
        if let InstallOutcome::RolledBack { failure, .. } = outcome {
            return Err(DriverError::ResetFailed { detail: failure.detail }.into());
        }
        let layout = &self.layout;
        let forgotten = [layout.grant(), layout.pending_grant(), layout.enrollment(), layout.queue()];
        for path in forgotten.into_iter().chain([layout.outcome()]) {
            // If nothing was ever stored, the folder does not exist either.
            if path.parent().is_some_and(Path::is_dir) {
                files::discard(&path)?;
            }
        }
        self.record_event(Event::ResetDone)
    }

    /// Completes interrupted work, and repeats the final steps that were not reached.
    fn resume(&mut self) -> Result<(), Failure> {
        let artifacts = ArtifactDir(self.layout.artifacts());
        let resumed = self.with_installer(|installer| installer.resume(&artifacts))?;
        match (resumed, self.ledger.phase.clone()) {
            (Some(outcome), Phase::Installing { enrollment, version, grant, .. }) => {
                self.conclude(&enrollment, version, grant, outcome)?;
            }
            (None, Phase::Installing { enrollment, version, grant, .. }) => {
                // Either the installation ended before the ledger could record it, or it never began. In
                // the second case, the grant is dealt with again.
                let state = self.layout.state();
                let installed = install::installed_payload(&state)?;
                if installed.is_some_and(|installed| installed.version == version) {
                    let outcome = InstallOutcome::Managed { version };
                    self.conclude(&enrollment, version, grant, outcome)?;
                }
            }
            (_, Phase::Resetting) => self.finish_reset()?,
            _ => {}
        }
        self.update_marker()
    }

    fn install(
        &mut self,
        grant: &Grant,
        digest: Sha256,
        payload: &AcceptedPayload,
    ) -> Result<Applied, Failure> {
        let enrollment =
            Enrollment { device: grant.device_id, generation: grant.generation, owner: grant.owner.clone() };
        self.record_progress(Progress::BootstrapInitiated, None);
        self.record_progress(Progress::ParsingComplete, Some(payload.configuration.name.clone()));
        let before = self.ledger.clone();
        self.record_event(Event::Accepted {
            enrollment: enrollment.clone(),
            version: payload.version,
            grant: digest,
            issued_at: payload.issued_at,
        })?;
        self.console.say(Situation::Installing { configuration: &payload.configuration.name });
        let artifacts = ArtifactDir(self.layout.artifacts());
        match self.with_installer(|installer| installer.install(payload, &artifacts)) {
            Ok(outcome) => self.conclude(&enrollment, payload.version, digest, outcome),
            Err(failure)
                if failure
                    .cause::<InstallError>()
                    .is_some_and(|error| !matches!(error, InstallError::Unfinished(_))) =>
            {
                // Nothing was changed: apart from the refusal, the ledger stays as it was.
                self.reject(grant.generation, Some(payload.version), digest, &failure)?;
                self.ledger = match failure.disposition() {
                    Disposition::Retry => before,
                    _ => before.handle(Event::Refused(Refused {
                        generation: grant.generation,
                        version: payload.version,
                        kind: failure.kind().to_owned(),
                        detail: plain(&chain(&failure), MAX_DETAIL_BYTES),
                        agent_version: AGENT_VERSION.to_owned(),
                    }))?,
                };
                ledger::io::write(&self.layout, &self.ledger)?;
                Err(failure)
            }
            Err(failure) => Err(failure),
        }
    }

    fn conclude(
        &mut self,
        enrollment: &Enrollment,
        version: u64,
        grant: Sha256,
        outcome: InstallOutcome,
    ) -> Result<Applied, Failure> {
        match outcome {
            InstallOutcome::Managed { version } => {
                let state = self.layout.state();
                let installed = install::installed_payload(&state)?;
                let installed = installed.ok_or(DriverError::NoRecord)?;
                self.record_progress(Progress::BootstrapComplete, None);
                self.write_outcome(enrollment.generation, grant, Outcome::Managed { version }, false)?;
                self.record_event(Event::Committed { installed })?;
                self.update_marker()?;
                self.console.record_stage("install");
                self.console.say(Situation::Managed {
                    device: enrollment.device,
                    generation: enrollment.generation,
                    owner: &enrollment.owner,
                });
                Ok(Applied::Managed)
            }
            InstallOutcome::RolledBack { failure, .. } => {
                let install::Failure { kind, detail, disposition } = failure;
                self.record_progress(Progress::BootstrapError, Some(detail.clone()));
                let outcome = Outcome::RolledBack { version, kind: kind.clone(), detail: detail.clone() };
                self.write_outcome(enrollment.generation, grant, outcome, disposition == Disposition::Retry)?;
                self.console.say(Situation::RolledBack { kind: &kind, detail: &detail });
                self.record_event(Event::RolledBack { kind, detail, disposition })?;
                Ok(Applied::NotManaged)
            }
            // A reset that was interrupted, and is complete now.
            InstallOutcome::Removed => {
                self.record_event(Event::ResetBegun)?;
                self.finish_reset()?;
                Ok(Applied::Nothing)
            }
        }
    }

    fn reject(
        &mut self,
        generation: Generation,
        version: Option<u64>,
        grant: Sha256,
        failure: &Failure,
    ) -> Result<(), Failure> {
        let kind = failure.kind();
        // Report it once, however often it is tried.
        let said = report::io::read_outcome(&self.layout)?.is_some_and(|said| {
            said.grant == grant
                && matches!(&said.outcome, Outcome::Rejected { kind: before, .. } if before == kind)
        });
        if said {
            return Ok(());
        }
        let detail = chain(failure);
        self.record_progress(Progress::ConfigError, Some(detail.clone()));
        let outcome = Outcome::Rejected { version, kind: kind.to_owned(), detail };
        self.write_outcome(generation, grant, outcome, failure.disposition() == Disposition::Retry)
    }

    /// Stores the signing roots that led to the one in force, including those from the network side,
    /// which are signed like all others.
    fn store_roots(&self, grant: &Grant) -> Result<Trust, Failure> {
        let trust = boot::io::trust(&self.layout)?.with_newer_roots(&grant.roots);
        if !trust.chain.is_empty() {
            handover::write(&self.layout, &self.layout.signing_roots(), &trust.chain)?;
        }
        Ok(trust)
    }

    /// Brings the marker in line with the ledger.
    fn update_marker(&self) -> Result<(), Failure> {
        let path = self.layout.enrolled_marker();
        let marked = match (self.ledger.enrollment(), self.ledger.installed_payload()) {
            (Some(own), Some(_)) => {
                let text = format!("device {}, generation {}\n", own.device, own.generation);
                // Writing it again would need room, and a reset has to work without any.
                match files::read(&path, MAX_MARKER_BYTES) {
                    Ok(Some(there)) if there == text.as_bytes() => Ok(()),
                    _ => files::replace(&path, text.as_bytes(), files::PUBLIC_FILE),
                }
            }
            _ => files::remove(&path),
        };
        Ok(marked?)
    }

    fn write_outcome(
        &mut self,
        generation: Generation,
        grant: Sha256,
        outcome: Outcome,
        tries_again: bool,
    ) -> Result<(), Failure> {
        let entries = std::mem::take(&mut self.entries);
        let file = OutcomeFile::new(generation, grant, entries, outcome, tries_again);
        Ok(handover::write(&self.layout, &self.layout.outcome(), &file)?)
    }

    fn record_event(&mut self, event: Event) -> Result<(), Failure> {
        let is_of_this_machine = matches!(event, Event::Accepted { .. } | Event::MachineChanged);
        let mut next = self.ledger.clone().handle(event)?;
        if is_of_this_machine && self.machine.is_some() {
            next.machine.clone_from(&self.machine);
        }
        ledger::io::write(&self.layout, &next)?;
        self.ledger = next;
        Ok(())
    }

    fn record_progress(&mut self, progress: Progress, detail: Option<String>) {
        self.entries.push(Noted { at: clock::system().max(clock::build_date()), progress, detail });
    }

    fn with_installer<T>(
        &mut self,
        work: impl FnOnce(&mut Installer<'_>) -> Result<T, InstallError>,
    ) -> Result<T, Failure> {
        let entries = &mut self.entries;
        let mut progress = |progress, detail| {
            entries.push(Noted { at: clock::system().max(clock::build_date()), progress, detail });
        };
        let mut waits = Waits(Stopwatch::start());
        let mut installer = Installer {
            system: self.system.as_mut(),
            state_dir: &self.layout.state(),
            clock: &mut waits,
            progress: &mut progress,
        };
        Ok(work(&mut installer)?)
    }
}

/// Returns true if this outcome is the last word about its grant. An outcome unknown to the ledger is not:
/// the ledger may have been damaged since.
fn is_final(last: &OutcomeFile, ledger: &Ledger) -> bool {
    match &last.outcome {
        Outcome::Rejected { .. } => !last.tries_again,
        Outcome::Managed { version } | Outcome::RolledBack { version, .. } => {
            ledger.has_settled(last.generation, *version)
        }
    }
}

/// Real time, for the health check.
struct Waits(Stopwatch);

impl install::Clock for Waits {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&mut self, span: Duration) {
        std::thread::sleep(span);
    }
}
