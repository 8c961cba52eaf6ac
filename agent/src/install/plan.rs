//! The changes to make: `observed x installed x target -> Plan`. Pure.
//!
//! A resource named in the new payload changes to the payload's state. One named only in the old payload
//! goes back to its baseline, its state before any payload. A resource that is already in its intended
//! state is not touched.

use super::{
    Change, Resource, State, States,
    io::Reload,
    order::Ranks,
    record::Record,
    resource::{Phase, is_within, states_as_list},
    target::{Setting, Target, put},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use unbox_common::{
    digest::Sha256,
    path::SafePath,
    payload::{PackageName, UnitName},
};

/// All changes of an installation, in order, with everything needed to roll them back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The steps, rolled back if one fails.
    pub(crate) steps: Vec<Step>,
    /// Changes made once everything else is final: the removal of unneeded things.
    pub(crate) cleanup: Vec<Change>,
    /// Units that can no longer be started, but have to run again after a rollback.
    pub(crate) guards: Vec<Change>,
    /// The previous content of the places of changing packages: restored after the packages' own
    /// rollback, because they may have overwritten it, moved it away or left something there.
    #[serde(default, with = "states_as_list", skip_serializing_if = "States::is_empty")]
    pub(crate) put_back: States,
    /// The places of files that packages replaced, and that come back: whatever is there is out of place.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) claimed: BTreeSet<SafePath>,
    /// The order of its packages.
    #[serde(default, skip_serializing_if = "Ranks::is_empty")]
    pub(crate) ranks: Ranks,
}

/// One step, which can be repeated safely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Changes a resource.
    Change(Change),
    /// Makes something read its files again.
    Reload(Reload),
}

/// The reason why a plan cannot be rolled back, and is therefore not begun.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The current version of a package could not be reinstalled.
    #[error("{} ({}) could not be put back, because this device does not have the package file", .0.resource, .0.before)]
    NoWayBack(Box<Change>),
    /// A directory exists where a file should be, or the other way round.
    #[error("{} is a {} on this device, and is to be a {}", .0.resource, .0.before, .0.after)]
    InTheWay(Box<Change>),
}

/// Plans the way from the observed states to the target. Returns the new baseline as well.
pub(crate) fn plan(
    observed: &States,
    installed: Option<&Record>,
    target: &States,
) -> Result<(Plan, States), PlanError> {
    let none = States::new();
    let (known, old_baseline) = installed.map_or((&none, &none), |record| (&record.target, &record.baseline));
    let mut baseline = States::new();
    let mut changes = Vec::new();
    for (resource, after) in target {
        let before = current_state(resource, observed, known, old_baseline);
        let pristine = old_baseline.get(resource).unwrap_or(&before).clone();
        baseline.insert(resource.clone(), pristine);
        changes.extend(change(resource, before, after)?);
    }
    for unit in target.keys().filter_map(unit_of_setting) {
        // A unit's setting decides whether it runs after a boot, so the baseline includes its activity.
        let activity = Resource::UnitActivity(unit.clone());
        if !target.contains_key(&activity) {
            let pristine = old_baseline.get(&activity).or_else(|| observed.get(&activity));
            baseline.extend(pristine.map(|pristine| (activity.clone(), pristine.clone())));
        }
    }
    let mut cleanup: Vec<Change> = Vec::new();
    for (resource, pristine) in old_baseline {
        if baseline.contains_key(resource) || !observed.contains_key(resource) {
            continue;
        }
        let before = current_state(resource, observed, known, old_baseline);
        match change(resource, before, pristine) {
            // A unit that no longer starts must not block the removal of a payload.
            Ok(Some(change)) if change.phase() == Phase::Start => cleanup.push(change),
            Ok(change) => changes.extend(change),
            // The new payload does not name it, so it needs no rollback: it is removed when everything is
            // final, or stays as somebody else left it.
            Err(PlanError::NoWayBack(change)) => {
                cleanup.extend(is_reachable(&change.after).then_some(*change));
            }
            Err(error) => return Err(error),
        }
    }
    let mut claimed = BTreeSet::new();
    for (package, replaced) in installed.iter().flat_map(|record| &record.replaced) {
        let resource = Resource::Package(package.clone());
        if target.contains_key(&resource) {
            continue;
        }
        // Even if its state is right now: the package also removes directories that become empty.
        let restored = replaced.0.iter().filter(|(resource, _)| !baseline.contains_key(*resource));
        let restored = restored.filter_map(|(resource, after)| {
            let before = observed.get(resource)?.clone();
            Some(Change { resource: resource.clone(), before, after: after.clone() })
        });
        let restored: Vec<Change> = restored.collect();
        claimed.extend(restored.iter().filter_map(claimed_path));
        let goes_last = cleanup.iter().any(|change| change.resource == resource);
        if goes_last { cleanup.extend(restored) } else { changes.extend(restored) }
    }
    let is_removal = |change: &mut Change| change.phase() >= Phase::RemoveTree;
    cleanup.extend(changes.extract_if(.., is_removal));
    sort_changes(&mut cleanup, &Ranks::new());
    let (guards, held): (Vec<_>, Vec<_>) = unchanged_activities(&changes, observed)
        .into_iter()
        .partition(|change| is_masked_by(&changes, &change.resource));
    changes.extend(held);
    let steps = steps(changes, &Ranks::new());
    Ok((Plan { steps, cleanup, guards, claimed, ..Plan::default() }, baseline))
}

/// Completes unit settings: values that the payload leaves open stay as they were before any payload.
pub(crate) fn complete_settings(
    target: &Target,
    observed: &States,
    installed: Option<&Record>,
) -> Result<States, super::TargetError> {
    let mut states = target.states.clone();
    for (unit, Setting { enabled, masked }) in &target.settings {
        let resource = Resource::UnitSetting(unit.clone());
        let pristine = installed.and_then(|record| record.baseline.get(&resource));
        let before = match pristine.or_else(|| observed.get(&resource)) {
            Some(State::Setting { enabled, masked }) => (*enabled, *masked),
            _ => (false, false),
        };
        let state =
            State::Setting { enabled: enabled.unwrap_or(before.0), masked: masked.unwrap_or(before.1) };
        put(&mut states, resource, state)?;
    }
    Ok(states)
}

impl Step {
    /// Returns true if the step changes a package.
    pub(crate) const fn is_package_change(&self) -> bool {
        matches!(self, Self::Change(Change { resource: Resource::Package(_), .. }))
    }
}

impl Plan {
    /// Returns every change made before the result is final.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.steps.iter().filter_map(|step| match step {
            Step::Change(change) => Some(change),
            Step::Reload(_) => None,
        })
    }

    /// Adds changes, and puts the packages into an order.
    pub(crate) fn arrange(&mut self, more: impl IntoIterator<Item = Change>, ranks: Ranks) {
        let changes = self.changes().cloned().chain(more).collect();
        self.steps = steps(changes, &ranks);
        sort_changes(&mut self.cleanup, &ranks);
        self.ranks = ranks;
    }

    /// Drops the restoration of a place that another package takes over: that one remembers what was there.
    pub(crate) fn hand_over(&mut self, path: &SafePath) {
        if self.claimed.remove(path) {
            let resource = Resource::Path(path.clone());
            self.steps.retain(|step| !matches!(step, Step::Change(change) if change.resource == resource));
            self.cleanup.retain(|change| change.resource != resource);
        }
    }

    /// Adds changes that restore what a package takes with it when it goes, in place of others of the same
    /// path.
    pub(crate) fn restore_beside(&mut self, restored: Vec<(PackageName, Change)>) -> Vec<Change> {
        let is_of = |resource: &Resource| restored.iter().any(|(_, change)| change.resource == *resource);
        self.steps.retain(|step| !matches!(step, Step::Change(change) if is_of(&change.resource)));
        self.cleanup.retain(|change| !is_of(&change.resource));
        self.claimed.extend(restored.iter().filter_map(|(_, change)| claimed_path(change)));
        let goes_last = |name: &PackageName| {
            let package = Resource::Package(name.clone());
            self.cleanup.iter().any(|change| change.resource == package)
        };
        let (last, early): (Vec<_>, Vec<_>) = restored.into_iter().partition(|(name, _)| goes_last(name));
        self.cleanup.extend(last.into_iter().map(|(_, change)| change));
        early.into_iter().map(|(_, change)| change).collect()
    }

    /// Drops changes that only restore a file of which there can be no copy.
    pub(crate) fn keep_restorable(&mut self, keep: impl Fn(&SafePath, &State) -> bool) {
        let can_be_made = |change: &Change| match &change.resource {
            Resource::Path(path) if change.before == change.after => keep(path, &change.after),
            _ => true,
        };
        self.steps.retain(|step| !matches!(step, Step::Change(change) if !can_be_made(change)));
        self.cleanup.retain(can_be_made);
    }

    /// Returns the digests of the files that it restores or makes.
    pub(crate) fn digests(&self) -> impl Iterator<Item = Sha256> {
        self.changes().chain(&self.cleanup).filter_map(|change| match change.after {
            State::File { digest, .. } => Some(digest),
            _ => None,
        })
    }

    /// Returns the changes of packages that need this one and are needed by it: none of them can be
    /// installed before the others.
    pub(crate) fn mutual_dependencies(&self, name: &PackageName) -> impl Iterator<Item = &Change> {
        let rank = self.ranks.get(name);
        self.changes().filter(move |change| match &change.resource {
            Resource::Package(other) => other != name && rank.is_some() && self.ranks.get(other) == rank,
            _ => false,
        })
    }

    /// Returns the number of steps that are begun together with the step at a position.
    pub(crate) fn reach_of(&self, position: usize) -> usize {
        let Some(Step::Change(Change { resource: Resource::Package(name), .. })) = self.steps.get(position)
        else {
            return position + 1;
        };
        let others: Vec<&Change> = self.mutual_dependencies(name).collect();
        let is_of_them = |step: &Step| matches!(step, Step::Change(change) if others.contains(&change));
        self.steps.iter().rposition(is_of_them).map_or(position, |last| last.max(position)) + 1
    }

    /// Returns the steps of the rollback, after the first `reached` steps were begun.
    ///
    /// Changes on disk are rolled back as far as they were begun. Volatile resources are restored in any
    /// case: a boot may have applied steps that had not begun.
    pub(crate) fn rollback_steps(&self, reached: usize) -> Vec<Step> {
        let mut changes: Vec<Change> = Vec::new();
        for (position, step) in self.steps.iter().enumerate() {
            if let Step::Change(change) = step
                && (position < reached || change.resource.is_volatile())
            {
                changes.push(change.inverse());
            }
        }
        let only_seen =
            self.guards.iter().chain(&self.cleanup).filter(|change| change.resource.is_volatile());
        changes.extend(only_seen.map(Change::inverse));
        let mut back = steps(changes, &self.ranks);
        if let Some(last) = back.iter().rposition(Step::is_package_change) {
            back.splice(last + 1..=last, self.restore_steps());
        }
        back
    }

    /// Returns the steps that restore the places of packages: diversions first, because they move files,
    /// then directories, then what was not there, innermost first, then files.
    fn restore_steps(&self) -> Vec<Step> {
        let change = |(resource, state): (&Resource, &State)| Change {
            resource: resource.clone(),
            before: state.clone(),
            after: state.clone(),
        };
        let (choices, paths): (Vec<_>, Vec<_>) =
            self.put_back.iter().map(change).partition(|change| change.resource == Resource::Choices);
        let (absent, mut paths): (Vec<_>, Vec<_>) =
            paths.into_iter().partition(|change| change.after == State::Absent);
        sort_changes(&mut paths, &self.ranks);
        let files = paths.split_off(paths.partition_point(|change| change.phase() < Phase::Write));
        let absent = absent.into_iter().rev();
        choices.into_iter().chain(paths).chain(absent).chain(files).map(Step::Change).collect()
    }
}

/// Returns the state of a resource, completed with facts that the device itself does not record.
fn current_state(resource: &Resource, observed: &States, known: &States, baseline: &States) -> State {
    let found = observed.get(resource).unwrap_or(&State::Absent);
    let told = match found {
        // The payload's file is the way back only to what was installed from it.
        State::Installed { .. } if is_foreign(resource, baseline) => None,
        // The agent knows the inputs of a unit only if it started the unit itself.
        State::Installed { .. } | State::Active { .. } => known.get(resource),
        _ => None,
    };
    told.filter(|state| state.matches(found)).unwrap_or(found).clone()
}

/// Returns true if somebody else installed this package before the first payload that names it. It is not
/// replaced, so it stays theirs.
pub(crate) fn is_foreign(package: &Resource, baseline: &States) -> bool {
    matches!(baseline.get(package), Some(State::Installed { .. }))
}

/// Returns the change that a resource needs; `None` if its state is right.
fn change(resource: &Resource, before: State, after: &State) -> Result<Option<Change>, PlanError> {
    let is_same = match after {
        State::Active { .. } => before == *after,
        State::Installed { .. } => is_same_package(&before, after),
        _ => after.matches(&before),
    };
    let change = Change { resource: resource.clone(), before, after: after.clone() };
    if is_same {
        // A reboot may change a volatile resource, so it gets its step even if its state is right now.
        return Ok(resource.is_volatile().then_some(change));
    }
    match (&change.before, after) {
        (before, after) if !is_reachable(before) || !is_reachable(after) => {
            Err(PlanError::NoWayBack(Box::new(change)))
        }
        (State::Directory { .. }, State::File { .. } | State::Symlink { .. })
        | (State::File { .. } | State::Symlink { .. }, State::Directory { .. }) => {
            Err(PlanError::InTheWay(Box::new(change)))
        }
        _ => Ok(Some(change)),
    }
}

/// Returns true if the agent could restore this state; a package needs its file.
const fn is_reachable(state: &State) -> bool {
    !matches!(state, State::Installed { deb: None, .. } | State::Partial(_))
}

/// Returns true if two packages have the same version, and are not known to come from different files.
fn is_same_package(one: &State, other: &State) -> bool {
    match (one, other) {
        (State::Installed { deb: Some(one), .. }, State::Installed { deb: Some(other), .. })
            if one != other =>
        {
            false
        }
        (State::Installed { .. }, State::Installed { .. }) => one.matches(other),
        _ => false,
    }
}

/// Returns the path of a change that restores a file or a link.
fn claimed_path(change: &Change) -> Option<SafePath> {
    match (&change.resource, &change.after) {
        (Resource::Path(path), State::File { .. } | State::Symlink { .. }) => Some(path.clone()),
        _ => None,
    }
}

const fn unit_of_setting(resource: &Resource) -> Option<&UnitName> {
    match resource {
        Resource::UnitSetting(unit) => Some(unit),
        _ => None,
    }
}

/// Returns the activities of units whose setting changes but whose activity does not: they keep their
/// current state, whatever a boot in between does.
fn unchanged_activities(changes: &[Change], observed: &States) -> Vec<Change> {
    let settings = changes.iter().filter_map(|change| unit_of_setting(&change.resource));
    let activities = settings.cloned().map(Resource::UnitActivity);
    let left_open = activities.filter(|activity| !changes.iter().any(|change| change.resource == *activity));
    left_open
        .filter_map(|resource| {
            let state = observed.get(&resource)?.clone();
            Some(Change { resource, before: state.clone(), after: state })
        })
        .collect()
}

/// Returns true if these changes mask the unit, so that it can be stopped but not started afterwards.
fn is_masked_by(changes: &[Change], activity: &Resource) -> bool {
    changes.iter().any(|change| {
        let (Resource::UnitSetting(unit), Resource::UnitActivity(other)) = (&change.resource, activity)
        else {
            return false;
        };
        unit == other && matches!(change.after, State::Setting { masked: true, .. })
    })
}

fn steps(mut changes: Vec<Change>, ranks: &Ranks) -> Vec<Step> {
    sort_changes(&mut changes, ranks);
    let mut reloads: Vec<Reload> = changes.iter().filter_map(reader_of).collect();
    reloads.sort_unstable();
    reloads.dedup();
    let read_at = changes.partition_point(|change| change.phase() < Phase::Reload);
    let later = changes.split_off(read_at);
    let first = changes.into_iter().map(Step::Change);
    first.chain(reloads.into_iter().map(Step::Reload)).chain(later.into_iter().map(Step::Change)).collect()
}

fn sort_changes(changes: &mut [Change], ranks: &Ranks) {
    let place = |change: &Change| match &change.resource {
        Resource::Package(name) => ranks.get(name).copied().unwrap_or_default(),
        // After every package.
        _ => usize::MAX,
    };
    changes.sort_by(|one, other| {
        let phase = one.phase();
        let by_place = place(one).cmp(&place(other)).then_with(|| one.resource.cmp(&other.resource));
        phase.cmp(&other.phase()).then(match phase {
            // Paths sort outermost first, and packages after those that they need.
            Phase::RemoveDirectory | Phase::RemovePackage => by_place.reverse(),
            _ => by_place,
        })
    });
}

/// Returns the reader to notify of a change.
fn reader_of(change: &Change) -> Option<Reload> {
    const UNITS: [&str; 4] = [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
        "/usr/local/lib/systemd/system",
    ];
    match &change.resource {
        Resource::Package(_) => Some(Reload::Units),
        Resource::Path(path) if UNITS.iter().any(|tree| is_within(path, tree)) => Some(Reload::Units),
        Resource::Path(path) if is_within(path, "/usr/local/share/ca-certificates") => {
            Some(Reload::CaCertificates)
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
