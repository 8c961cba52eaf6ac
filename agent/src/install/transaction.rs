//! The transaction: journal, steps, health check, commit; or rollback.
//!
//! ```text
//!             begin                     every step, healthy
//!   (nothing) -----> Forward ------------------------------> Committed --> record, tidy up, end
//!                       |                                        ^
//!                       | a step fails, unhealthy,               | power cut: again
//!                       | interrupted too often                  '--------
//!                       v
//!                      Back --> every change swapped, tidy up, end
//!                       ^
//!                       | power cut, or a step back fails: again at the next start
//!                       '--------
//! ```
//!
//! After a power cut, Forward begins again at the first step. That is safe, because a step does nothing
//! if its resource is already right, and necessary, because a reboot loses everything that only the
//! running kernel knew.
//!
//! A removal on a full disk has no copies to go back to: it only goes forward, until everything is removed.

use super::{
    Change, Clock, Failure, InstallError, InstallOutcome, Made, NOT_TAKEN_BACK, Resource, State, System,
    SystemError, health,
    io::{
        contents::Contents,
        paths,
        store::Store,
        survey::{self, Hears},
    },
    journal::{Direction, Entry, Journal},
    plan::{Plan, Step},
    record::Record,
    turn::Turn,
};
use std::path::{Path, PathBuf};
use unbox_common::{path::SafePath, payload::HealthCheck, protocol::progress::Progress};

/// The number of times that a transaction resumes before it is rolled back: a DPC that crashes the whole
/// device must not do so indefinitely.
const MAX_RESUMES: usize = 5;

/// A transaction whose journal is on disk.
pub(super) struct Transaction<'a> {
    pub(super) system: &'a mut dyn System,
    pub(super) clock: &'a mut dyn Clock,
    pub(super) hears: Hears<'a>,
    pub(super) store: &'a Store,
    pub(super) contents: Contents,
    pub(super) journal: Journal,
}

impl Transaction<'_> {
    /// Resumes after the agent was restarted in the middle.
    pub(super) fn resume(mut self) -> Result<InstallOutcome, InstallError> {
        if self.journal.direction == Direction::Forward && !self.journal.head.one_way {
            let resumed = self.journal.resumed;
            if resumed >= MAX_RESUMES {
                self.begin_rollback(&InstallError::Interrupted(resumed))?;
            } else if let Err(error) = self.log(&Entry::Resumed) {
                self.begin_rollback(&error)?;
            }
        }
        self.run()
    }

    /// Runs the transaction to its end.
    pub(super) fn run(mut self) -> Result<InstallOutcome, InstallError> {
        let is_one_way = self.journal.head.one_way;
        if self.journal.direction == Direction::Forward
            && !is_one_way
            && let Err(error) = self.run_forward().and_then(|()| self.log(&Entry::Committed))
        {
            self.begin_rollback(&error)?;
        }
        let ended = match self.journal.direction.clone() {
            Direction::Committed => self.finish(),
            Direction::Back(failure) => self.roll_back(failure),
            Direction::Forward if is_one_way => self.remove_one_way(),
            Direction::Forward => Err(InstallError::Unfinished(None)),
        };
        ended.map_err(|error| match error {
            InstallError::Unfinished(_) => error,
            error => InstallError::Unfinished(Some(Box::new(error))),
        })
    }

    fn run_forward(&mut self) -> Result<(), InstallError> {
        let steps = self.journal.head.plan.steps.clone();
        (self.hears)(Progress::ConfigInitiated, Some(format!("{} steps", steps.len())));
        for (position, step) in steps.iter().enumerate() {
            self.unlocked(step, |this| this.clear(step))?;
            if self.is_done(step)? {
                continue;
            }
            let reached = self.journal.head.plan.reach_of(position);
            if reached > self.journal.reached {
                self.log(&Entry::Begin(reached))?;
            }
            self.unlocked(step, |this| this.execute(step))?;
        }
        (self.hears)(Progress::ConfigComplete, None);
        let record = self.journal.head.record.as_ref();
        let (unit, check) = match record {
            Some(record) => (record.unit.clone(), record.health.clone()),
            None => (None, HealthCheck::None),
        };
        if check != HealthCheck::None {
            (self.hears)(Progress::PostScriptInitiated, Some("health check".to_owned()));
            health::wait(self.system, self.clock, unit.as_ref(), &check)?;
            (self.hears)(Progress::PostScriptComplete, None);
        }
        Ok(())
    }

    /// Completes a final transaction. All of this can be repeated.
    fn finish(&mut self) -> Result<InstallOutcome, InstallError> {
        let mut head = self.journal.head.clone();
        self.store.release()?;
        if let Some(record) = &mut head.record {
            record.made = self.choices_made(record, &head.plan)?;
        }
        self.store.set_record(head.record.as_ref())?;
        for change in head.plan.cleanup {
            let step = Step::Change(change);
            if let Err(error) = self.perform(&step) {
                // Nothing needs it any more, so leaving it does no harm.
                (self.hears)(Progress::ConfigWarning, Some(error.failure().detail));
            }
        }
        self.clean_up()?;
        Ok(head
            .record
            .map_or(InstallOutcome::Removed, |record| InstallOutcome::Managed { version: record.version }))
    }

    /// Returns the choices that the packages in force have made, as far as that is known.
    fn choices_made(&self, record: &Record, plan: &Plan) -> Result<Made, InstallError> {
        if !record.has_packages() {
            return Ok(Made::default());
        }
        let earlier = self.store.record()?.map(|earlier| earlier.made).unwrap_or_default();
        let Some(State::Choices(before)) = plan.put_back.get(&Resource::Choices) else { return Ok(earlier) };
        match survey::look(self.system, &Resource::Choices)? {
            State::Choices(now) => Ok(earlier.merge(Made::difference(before, &now))),
            _ => Ok(earlier),
        }
    }

    /// Completes a removal that cannot be rolled back. A failed step does not stop the rest, because that
    /// frees room; what has failed even then is tried again at the next start.
    fn remove_one_way(&mut self) -> Result<InstallOutcome, InstallError> {
        let plan = self.journal.head.plan.clone();
        let mut needed = self.store.record()?.map(|record| record.blobs_for_reset()).unwrap_or_default();
        needed.extend(plan.digests());
        self.contents.keep_only(&needed).map_err(InstallError::Store)?;
        if self.perform_all(&plan.steps).is_err() {
            for change in &plan.cleanup {
                // It is tried once more at the end.
                let _ = self.perform(&Step::Change(change.clone()));
            }
            self.perform_all(&plan.steps)?;
        }
        self.finish()
    }

    /// Performs steps as far as possible, and returns the first error that must not be passed over.
    fn perform_all(&mut self, steps: &[Step]) -> Result<(), InstallError> {
        let mut first_error = None;
        for step in steps {
            let Err(error) = self.perform(step) else { continue };
            if is_ignorable(step, &error) {
                (self.hears)(Progress::ConfigWarning, Some(error.failure().detail));
            } else {
                first_error.get_or_insert(error);
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    /// Rolls everything back. A failed step does not stop the rest.
    fn roll_back(&mut self, mut failure: Failure) -> Result<InstallOutcome, InstallError> {
        (self.hears)(Progress::ConfigError, Some(failure.detail.clone()));
        self.store.release()?;
        for resource in self.journal.head.plan.put_back.keys() {
            if let Resource::Path(path) = resource {
                // Nothing reads such a copy, so leaving it does no harm.
                let _ = paths::clear_working_copies(self.system.root(), path);
            }
        }
        let (mut left, mut first_error) = (Vec::new(), None);
        for step in self.journal.head.plan.rollback_steps(self.journal.reached) {
            let Err(error) = self.roll_back_step(&step) else { continue };
            // No package, whatever its scripts do, may prevent a device from ever being configured again.
            if step.is_package_change() && error.is_program_failure() || is_ignorable(&step, &error) {
                let detail = error.failure().detail;
                (self.hears)(Progress::ConfigWarning, Some(detail.clone()));
                left.push(detail);
            } else {
                first_error.get_or_insert(error);
            }
        }
        if let Some(error) = first_error {
            return Err(error);
        }
        self.clean_up()?;
        let version = self.journal.head.record.as_ref().map(|record| record.version);
        if !left.is_empty() {
            failure.detail = format!("{}; {NOT_TAKEN_BACK}{}", failure.detail, left.join("; "));
        }
        Ok(InstallOutcome::RolledBack { version, failure })
    }

    /// Rolls a step back. A package whose own scripts prevent that is removed first.
    fn roll_back_step(&mut self, step: &Step) -> Result<(), InstallError> {
        let tried = self.perform(step);
        let (Err(error), Step::Change(change)) = (&tried, step) else { return tried };
        if !error.is_program_failure() || !matches!(change.after, State::Installed { .. }) {
            return tried;
        }
        let removal = Change { after: State::Absent, ..change.clone() };
        self.perform(&Step::Change(removal))?;
        self.perform(step)
    }

    /// Performs a step if there is anything to do.
    fn perform(&mut self, step: &Step) -> Result<(), InstallError> {
        self.unlocked(step, |this| {
            this.clear(step)?;
            if this.is_done(step)? { Ok(()) } else { this.execute(step) }
        })
    }

    /// Acts, and does so again if attributes that scripts of packages gave to a place did not allow it.
    fn unlocked(
        &mut self,
        step: &Step,
        act: impl Fn(&mut Self) -> Result<(), InstallError>,
    ) -> Result<(), InstallError> {
        let acted = act(self);
        match (&acted, step) {
            (Err(error), Step::Change(Change { resource: Resource::Path(path), .. }))
                if error.is_not_permitted() && self.is_of_package(path) =>
            {
                let place = path.to_path(self.system.root().path());
                let folder = place.parent().map(Path::to_owned);
                paths::unlock(&folder.into_iter().chain([place]).collect::<Vec<_>>());
                act(self)
            }
            _ => acted,
        }
    }

    /// Returns true if this is a place that a package changed, and that the plan puts back.
    fn is_of_package(&self, path: &SafePath) -> bool {
        let plan = &self.journal.head.plan;
        plan.claimed.contains(path) || plan.put_back.contains_key(&Resource::Path(path.clone()))
    }

    /// Removes everything that the installed payload does not need, and finally the journal.
    fn clean_up(&mut self) -> Result<(), InstallError> {
        let needed = self.store.record()?.map(|record| record.blobs()).unwrap_or_default();
        self.contents.keep_only(&needed).map_err(InstallError::Store)?;
        self.store.release()?;
        self.store.end()
    }

    fn begin_rollback(&mut self, error: &InstallError) -> Result<(), InstallError> {
        // On a full disk, even this line needs room.
        let logged = self.store.release().and_then(|()| self.log(&Entry::Back(error.failure())));
        logged.map_err(|error| InstallError::Unfinished(Some(Box::new(error))))
    }

    fn log(&mut self, entry: &Entry) -> Result<(), InstallError> {
        self.store.append(entry)?;
        self.journal.apply(entry);
        Ok(())
    }

    /// Removes the leftovers of an interruption beside a step's resource, and puts aside what scripts of
    /// packages made in its place.
    fn clear(&self, step: &Step) -> Result<(), InstallError> {
        let Step::Change(change) = step else { return Ok(()) };
        let Change { resource, after, .. } = change;
        let cleared = match resource {
            Resource::Path(path) if self.is_of_package(path) => {
                paths::make_way(self.system.root(), path, after)
            }
            _ => Ok(()),
        };
        let cleared = cleared.and_then(|()| paths::clear(self.system.root(), resource));
        cleared.map_err(|source| step_error(resource, source.into()))
    }

    /// Returns true if a step has nothing to do.
    fn is_done(&self, step: &Step) -> Result<bool, InstallError> {
        match step {
            Step::Reload(what) => Ok(!self.system.covers_reload(*what)),
            // systemd does not know whether the unit was started from the current files.
            Step::Change(Change { before, after: after @ State::Active { of: Some(_) }, .. })
                if before != after =>
            {
                Ok(false)
            }
            Step::Change(Change { resource, after, .. }) => {
                Ok(after.matches(&survey::look(self.system, resource)?))
            }
        }
    }

    fn execute(&mut self, step: &Step) -> Result<(), InstallError> {
        match step {
            Step::Reload(what) => self
                .system
                .reload(*what)
                .map_err(|source| InstallError::Step { step: what.name().to_owned(), source }),
            Step::Change(change) => {
                self.change_when_unlocked(change).map_err(|source| step_error(&change.resource, source))?;
                self.check(change)
            }
        }
    }

    /// Makes a change, and waits while another program is working on the packages.
    fn change_when_unlocked(&mut self, change: &Change) -> Result<(), SystemError> {
        let mut turn = Turn::new(self.clock);
        loop {
            match self.change(change) {
                Err(SystemError::PackagesBusy(holder)) => {
                    if !turn.wait(self.clock, self.hears, &holder) {
                        return Err(SystemError::PackagesBusy(holder));
                    }
                }
                changed => return changed,
            }
        }
    }

    fn change(&mut self, change: &Change) -> Result<(), SystemError> {
        let Change { resource, after, .. } = change;
        match resource {
            Resource::Path(path) => paths::change(self.system.root(), path, after, &self.contents),
            Resource::Tree { dpc, digest } => {
                paths::change_tree(self.system.root(), dpc, *digest, after, &self.contents)
            }
            Resource::Package(_) if matches!(after, State::Installed { .. }) => self.install_package(change),
            Resource::Package(_) => self.system.change(change, &self.deb_of(&change.before)),
            _ => self.system.change(change, &[]),
        }
    }

    /// Installs a package. No rehearsal finds every way in which one can take another away, so this is also
    /// checked afterwards.
    fn install_package(&mut self, change: &Change) -> Result<(), SystemError> {
        let debs = self.debs_for(change);
        if self.journal.direction != Direction::Forward || self.journal.head.one_way {
            return self.system.change(change, &debs);
        }
        let plan = &self.journal.head.plan;
        let is_planned = |package: &String| {
            plan.changes().chain(&plan.cleanup).any(|change| match &change.resource {
                Resource::Package(name) => package.split(':').next() == Some(name.as_str()),
                _ => false,
            })
        };
        let mut others = self.system.packages().installed()?;
        others.retain(|package| !is_planned(package));
        let changed = self.system.change(change, &debs);
        if matches!(changed, Err(SystemError::PackagesBusy(_))) {
            return changed;
        }
        let left = self.system.packages().installed()?;
        match others.difference(&left).next() {
            Some(gone) => Err(SystemError::Unsupported {
                what: change.resource.to_string(),
                why: format!("it removed package {gone}; {NOT_TAKEN_BACK}package {gone}"),
            }),
            None => changed,
        }
    }

    /// Returns the file that a package was installed from, if it is known and still here.
    fn deb_of(&self, state: &State) -> Vec<PathBuf> {
        let State::Installed { deb: Some(deb), .. } = state else { return Vec::new() };
        let is_here = self.contents.has(*deb).unwrap_or_default();
        is_here.then(|| self.contents.blob_path(*deb)).into_iter().collect()
    }

    /// Returns the files of a package to install, and of those that can be installed only with it.
    fn debs_for(&self, change: &Change) -> Vec<PathBuf> {
        let (Resource::Package(name), State::Installed { deb: Some(deb), .. }) =
            (&change.resource, &change.after)
        else {
            return Vec::new();
        };
        let is_back = matches!(self.journal.direction, Direction::Back(_));
        let others = self.journal.head.plan.mutual_dependencies(name);
        let others = others.filter_map(|other| match if is_back { &other.before } else { &other.after } {
            State::Installed { deb, .. } => *deb,
            _ => None,
        });
        std::iter::once(*deb).chain(others).map(|deb| self.contents.blob_path(deb)).collect()
    }

    /// Verifies a change, because programs may report success without effect.
    fn check(&self, change: &Change) -> Result<(), InstallError> {
        let Change { resource, after, .. } = change;
        if !matches!(resource, Resource::Package(_) | Resource::UnitSetting(_)) {
            return Ok(());
        }
        let found = survey::look(self.system, resource)?;
        if after.matches(&found) {
            return Ok(());
        }
        let hint = match after {
            State::Setting { enabled: true, .. } => {
                ": the [Install] section of its file has to say what wants it"
            }
            _ => "",
        };
        let found = format!("{found}{hint}");
        Err(step_error(resource, SystemError::NoEffect { wanted: after.to_string(), found }))
    }
}

/// Returns true if a failed step of a removal or rollback must not stop the device: a unit that no longer
/// starts, or a user's link in the right place.
fn is_ignorable(step: &Step, error: &InstallError) -> bool {
    error.is_obstruction() || matches!(step, Step::Change(change) if change.resource.is_volatile())
}

fn step_error(resource: &Resource, source: SystemError) -> InstallError {
    InstallError::Step { step: resource.to_string(), source }
}
