//! Stage 5, `install`: makes the device what an accepted payload says, completely or not at all.
//!
//! `AcceptedPayload -> InstallOutcome` on the device's path. The stage takes an [`AcceptedPayload`] and its
//! artifacts, and ends in one of two states: everything in the payload is in place and healthy, or
//! everything is as it was. That holds for a power cut at any instant: [`Installer::resume`] at the next
//! start completes one of the two.

mod accounts;
mod choices;
mod error;
mod health;
mod io;
mod journal;
mod order;
mod package;
mod plan;
mod record;
mod resource;
mod target;
mod transaction;
mod turn;

pub use choices::{Choices, Diversion, Made};
pub use error::{Fault, InstallError};
pub use health::{Clock, Health};
pub use io::repair::{LostRecord, newer_records, repair};
pub use io::{ArchiveError, ArtifactError, Packages, Reload, System, SystemError, UnitPhase, UnitReport};
pub use package::{PackageFile, Relations, UnitConflict};
pub use plan::PlanError;
pub use record::UnusableDocument;
pub use resource::{Change, Resource, State, States};
pub use target::TargetError;

use crate::files::Root;
use io::{
    contents::Contents,
    packages::{self, PackageFiles},
    room::Needs,
    store::{Store, read_record},
    survey::{self, Survey},
};
use journal::{Head, Journal, line};
use plan::Plan;
use record::Record;
use std::path::{Path, PathBuf};
use target::Target;
use transaction::Transaction;
use turn::Turn;
use unbox_common::{
    payload::AcceptedPayload,
    protocol::{latest, progress::Progress},
    refusal::Disposition,
};

/// Room for the last lines of a journal on a full disk, in bytes.
const ROOM_FOR_LINES_BYTES: u64 = 64 * 1024;

/// The stage's environment. Only one runs at a time: a lock file in the state directory ensures that.
pub struct Installer<'a> {
    /// The device.
    pub system: &'a mut dyn System,
    /// The agent's state directory; the stage uses only `install/` below it.
    pub state_dir: &'a Path,
    /// The clock for the health check's waits.
    pub clock: &'a mut dyn Clock,
    /// A callback for progress, for the report and the console.
    pub progress: &'a mut dyn FnMut(Progress, Option<String>),
}

/// The directory with the artifacts from the payload stage, each named by its SHA-256 in hexadecimal.
///
/// An unprivileged user owns this directory, so nothing in it is trusted: every artifact is checked
/// against its digest again while it is read.
#[derive(Debug, Clone)]
pub struct ArtifactDir(pub PathBuf);

/// The result of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum InstallOutcome {
    /// Everything is in place, healthy and final.
    Managed {
        /// The payload's version.
        version: u64,
    },
    /// Everything is as it was, if the rollback is complete.
    RolledBack {
        /// The version of the payload that was not installed; `None` if it was a reset.
        version: Option<u64>,
        /// The reason, and anything that could not be rolled back.
        failure: Failure,
    },
    /// Everything that was managed is as it was before the first payload.
    Removed,
}

/// The reason for a rollback, in a form that survives a power cut.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// Short name, from the set of [`InstallError::kind`].
    pub kind: String,
    /// The reason with its causes, for people.
    pub detail: String,
    /// The disposition, which decides whether the same payload is tried again.
    pub disposition: Disposition,
}

/// Words before the part that could not be rolled back.
const NOT_TAKEN_BACK: &str = "not taken back: ";

/// Returns true if everything was rolled back, by the detail of the failure.
#[must_use]
pub fn is_rolled_back(detail: &str) -> bool {
    !detail.contains(NOT_TAKEN_BACK)
}

impl Installer<'_> {
    /// Installs a payload.
    ///
    /// # Errors
    /// [`InstallError`] if it failed before the first change. A later failure is an
    /// [`InstallOutcome::RolledBack`], except [`InstallError::Unfinished`]: then the rollback was
    /// interrupted as well, and [`Self::resume`] has to continue it before anything else.
    pub fn install(
        &mut self,
        payload: &AcceptedPayload,
        artifacts: &ArtifactDir,
    ) -> Result<InstallOutcome, InstallError> {
        let store = self.open_store()?;
        let record = store.record()?;
        let contents = store.contents(Some(artifacts))?;
        let head = self.prepare(&store, &contents, payload, record.as_ref());
        self.begin(&store, contents, record.as_ref(), head)
    }

    /// Restores everything that was ever managed to its state before the first payload.
    ///
    /// # Errors
    /// As for [`Self::install`].
    pub fn uninstall(&mut self) -> Result<InstallOutcome, InstallError> {
        let store = self.open_store()?;
        let record = store.record()?;
        let contents = store.contents(None)?;
        let head = self.prepare_removal(&store, &contents, record.as_ref());
        match self.begin(&store, contents, record.as_ref(), head) {
            Err(error) if error.is_out_of_space() => {
                tracing::warn!(%error, "there is no room for a way back, so the removal goes on without one");
                self.remove_one_way(&store, record.as_ref())
            }
            ended => ended,
        }
    }

    /// Completes an interrupted installation; `None` if there is none. Called at every start, before
    /// anything else.
    ///
    /// # Errors
    /// [`InstallError::Unfinished`] if it could not be completed this time either.
    pub fn resume(&mut self, artifacts: &ArtifactDir) -> Result<Option<InstallOutcome>, InstallError> {
        let store = Store::open(self.system.root(), self.state_dir)?;
        let contents = store.contents(Some(artifacts))?;
        if let Some(journal) = store.journal()? {
            return self.transaction(&store, contents, journal).resume().map(Some);
        }
        // Leftovers of an installation that was prepared, but never begun.
        clean_up(&store, &contents, store.record()?.as_ref())?;
        Ok(None)
    }

    /// Returns the managed resources that no longer match the payload: `before` is the state found,
    /// `after` the intended one.
    pub fn drift(&self) -> Result<Vec<Change>, InstallError> {
        let Some(record) = read_record(self.state_dir)? else {
            return Ok(Vec::new());
        };
        let mut drift = Vec::new();
        for (resource, after) in record.target {
            let before = survey::look(self.system, &resource)?;
            if !after.matches(&before) {
                drift.push(Change { resource, before, after });
            }
        }
        Ok(drift)
    }

    /// Runs the installed payload's health check once, without waiting for it to pass.
    pub fn check_health(&mut self) -> Result<Health, InstallError> {
        match read_record(self.state_dir)? {
            Some(record) => health::check_once(self.system, record.unit.as_ref(), &record.health),
            None => Ok(Health::Healthy),
        }
    }

    fn open_store(&self) -> Result<Store, InstallError> {
        let store = Store::open(self.system.root(), self.state_dir)?;
        if store.journal()?.is_some() {
            return Err(InstallError::Unfinished(None));
        }
        Ok(store)
    }

    /// Does everything that can be done before the first change: survey, check, copy.
    fn prepare(
        &mut self,
        store: &Store,
        contents: &Contents,
        payload: &AcceptedPayload,
        record: Option<&Record>,
    ) -> Result<Head, InstallError> {
        let blobs = store.blobs_on(self.system.root());
        let Survey { target, tree_bytes, packages } =
            survey::survey(&*self.system, contents, &blobs, payload, record, self.progress)?;
        let observed = self.observe(&target, record)?;
        let states = plan::complete_settings(&target, &observed, record).map_err(InstallError::Target)?;
        let (mut plan, baseline) = plan::plan(&observed, record, &states).map_err(InstallError::Plan)?;
        self.wait_for_packages(&plan)?;
        let system = &*self.system;
        let replaced =
            packages::predict_effects(system, contents, &mut plan, (&states, &baseline), record, &packages)?;
        Needs::of(&plan, system.root().path(), store.path(), tree_bytes, &packages).check()?;
        keep_originals(system.root(), contents, &plan, &baseline)?;
        let record = Record::new(payload, target.extras, states, baseline).with_replaced(replaced);
        Ok(Head::new(plan, Some(record)))
    }

    fn prepare_removal(
        &mut self,
        store: &Store,
        contents: &Contents,
        record: Option<&Record>,
    ) -> Result<Head, InstallError> {
        let plan = self.plan_removal(contents, record)?;
        let root = self.system.root();
        Needs::of(&plan, root.path(), store.path(), 0, &PackageFiles::new()).check()?;
        keep_originals(root, contents, &plan, &States::new())?;
        Ok(Head::new(plan, None))
    }

    fn plan_removal(&mut self, contents: &Contents, record: Option<&Record>) -> Result<Plan, InstallError> {
        let mut observed = self.observe(&Target::default(), record)?;
        io::repair::drop_lost_resources(&mut observed, record, contents);
        let none = States::new();
        let (mut plan, _) = plan::plan(&observed, record, &none).map_err(InstallError::Plan)?;
        self.wait_for_packages(&plan)?;
        packages::predict_effects(
            &*self.system,
            contents,
            &mut plan,
            (&none, &none),
            record,
            &PackageFiles::new(),
        )?;
        Ok(plan)
    }

    /// Removes everything without a way back, because there is no room for one.
    fn remove_one_way(
        &mut self,
        store: &Store,
        record: Option<&Record>,
    ) -> Result<InstallOutcome, InstallError> {
        let contents = store.contents(None)?;
        let mut plan = self.plan_removal(&contents, record)?;
        // What packages that stay have beside configuration files is copied as far as there is room.
        let root = self.system.root();
        plan.keep_restorable(|path, state| io::paths::keep(root, path, state, &contents).is_ok());
        let head = Head::one_way_removal(plan);
        let written = line(&head).map_err(InstallError::Serialise)?;
        if store.begin(&written).is_err() {
            // Only a way back would need the rest.
            let needed = record.map(Record::blobs_for_reset).unwrap_or_default();
            contents.keep_only(&needed).map_err(InstallError::Store)?;
            store.begin(&written)?;
        }
        self.transaction(store, contents, Journal::begin(head)).run()
    }

    /// Returns the current state of everything that is or will be managed. A package that an interruption
    /// left half configured is completed before, because nothing could be said about its way back.
    fn observe(&mut self, target: &Target, record: Option<&Record>) -> Result<States, InstallError> {
        let observed = survey::observe(&*self.system, target, record)?;
        if !observed.values().any(|state| matches!(state, State::Partial(_))) {
            return Ok(observed);
        }
        self.wait_for_holder()?;
        self.system.packages().complete().map_err(InstallError::Package)?;
        survey::observe(&*self.system, target, record)
    }

    /// Waits until no other program works on packages, if the plan changes any. After a first boot that
    /// may take minutes, and nothing has to be stopped or rolled back for it.
    fn wait_for_packages(&mut self, plan: &Plan) -> Result<(), InstallError> {
        let mut changes = plan.changes().chain(&plan.cleanup);
        if changes.any(|change| matches!(change.resource, Resource::Package(_))) {
            self.wait_for_holder()?;
        }
        Ok(())
    }

    fn wait_for_holder(&mut self) -> Result<(), InstallError> {
        let mut turn = Turn::new(self.clock);
        loop {
            let holder = self.system.packages().holder().map_err(InstallError::Package)?;
            let Some(holder) = holder else { return Ok(()) };
            if !turn.wait(self.clock, self.progress, &holder) {
                return Err(InstallError::Package(SystemError::PackagesBusy(holder)));
            }
        }
    }

    /// Writes the journal; from then on, the transaction can go forward or back.
    fn begin(
        &mut self,
        store: &Store,
        contents: Contents,
        record: Option<&Record>,
        head: Result<Head, InstallError>,
    ) -> Result<InstallOutcome, InstallError> {
        let begun = head.and_then(|head| {
            let written = line(&head).map_err(InstallError::Serialise)?;
            // Both directions need room even if somebody fills the disk meanwhile: for the restored
            // files, or for the record, which is part of the journal.
            let room = io::room::kept_bytes(&head.plan).saturating_add(written.len() as u64);
            let room = room.saturating_add(io::room::database_bytes(&head.plan, self.system.root().path()));
            store.set_aside(room.saturating_add(ROOM_FOR_LINES_BYTES))?;
            store.begin(&written)?;
            Ok(head)
        });
        match begun {
            Ok(head) => self.transaction(store, contents, Journal::begin(head)).run(),
            Err(error) => {
                // Nothing has begun, so its copies are not needed. If they cannot be removed now, the
                // next start does it.
                let _ = store.end().and_then(|()| clean_up(store, &contents, record));
                Err(error)
            }
        }
    }

    fn transaction<'t>(
        &'t mut self,
        store: &'t Store,
        contents: Contents,
        journal: Journal,
    ) -> Transaction<'t> {
        Transaction { system: self.system, clock: self.clock, hears: self.progress, store, contents, journal }
    }
}

/// Copies every file that is about to change.
fn keep_originals(
    root: &Root,
    contents: &Contents,
    plan: &Plan,
    baseline: &States,
) -> Result<(), InstallError> {
    let changing = plan.changes().chain(&plan.cleanup).map(|change| (&change.resource, &change.before));
    for (resource, state) in changing.chain(baseline).chain(&plan.put_back) {
        if let (Resource::Path(path), State::File { .. }) = (resource, state) {
            io::paths::keep(root, path, state, contents).map_err(InstallError::Keep)?;
        }
    }
    Ok(())
}

fn clean_up(store: &Store, contents: &Contents, record: Option<&Record>) -> Result<(), InstallError> {
    let needed = record.map(Record::blobs).unwrap_or_default();
    contents.keep_only(&needed).map_err(InstallError::Store)?;
    store.release()
}

/// Opens the device at a root: `/` is the running machine, anything else a sandbox.
pub fn open_system(root: &Path) -> Result<Box<dyn System>, InstallError> {
    let opened = Root::open(root).map_err(InstallError::Path)?;
    let is_live = root.canonicalize().is_ok_and(|path| path == Path::new("/"));
    Ok(if is_live {
        Box::new(io::live::Live::new(opened))
    } else {
        Box::new(io::sandbox::Sandbox::new(opened))
    })
}

/// Returns the installed payload; `None` before the first payload and after a reset.
pub fn installed_payload(state_dir: &Path) -> Result<Option<latest::Installed>, InstallError> {
    Ok(read_record(state_dir)?.map(|record| record.to_installed()))
}
