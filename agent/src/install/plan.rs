//! What has to change: `observed x installed x target -> Plan`. Pure.
//!
//! A resource that the new payload names goes to the state that the payload says. One that only
//! the old payload named goes back to its baseline: what it was before any payload. Whatever is
//! as it should be already is not touched.

use super::{
    Change, Resource, State, States,
    io::Reload,
    record::Record,
    resource::{Phase, states_as_list, within},
    target::{Setting, Target, put},
};
use serde::{Deserialize, Serialize};
use unbox_common::payload::UnitName;

/// Everything that an installation does, in order, and all that is needed to take it back.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// What is done, and taken back if it fails.
    pub(crate) steps: Vec<Step>,
    /// What is done after everything else is final: removing what nothing needs any more.
    pub(crate) cleanup: Vec<Change>,
    /// Units that cannot be started any more, but have to run again if it is taken back.
    pub(crate) guards: Vec<Change>,
    /// What was at the places of packages that change: put back once those have been taken back, because they may
    /// have overwritten it, moved it away or left something there.
    #[serde(default, with = "states_as_list", skip_serializing_if = "States::is_empty")]
    pub(crate) put_back: States,
}

/// One step. Every step can be repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// A resource changes.
    Change(Change),
    /// Something reads its files again.
    Reload(Reload),
}

/// A plan that could not be taken back, and is therefore not begun.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A package whose present version could not be put back.
    #[error("{} ({}) could not be put back, because this device does not have the package file", .0.resource, .0.before)]
    NoWayBack(Box<Change>),
    /// A directory is where a file should be, or the other way round.
    #[error("{} is a {} on this device, and is to be a {}", .0.resource, .0.before, .0.after)]
    InTheWay(Box<Change>),
}

/// Plans the way from what is there to what the target says. Gives the new baseline with it.
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
        let before = present(resource, observed, [known, target]);
        let pristine = old_baseline.get(resource).unwrap_or(&before).clone();
        baseline.insert(resource.clone(), pristine);
        changes.extend(change(resource, before, after)?);
    }
    for unit in target.keys().filter_map(set_unit) {
        // How a unit is set decides whether it runs after a boot, so that is kept as well.
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
        let before = present(resource, observed, [known, old_baseline]);
        match change(resource, before, pristine) {
            // A unit that does not start any more must not keep a payload from going.
            Ok(Some(change)) if change.phase() == Phase::Start => cleanup.push(change),
            Ok(change) => changes.extend(change),
            // Nobody wants it any more, so there is no need for a way back: it goes when all is
            // final, or stays as somebody else left it.
            Err(PlanError::NoWayBack(change)) => {
                cleanup.extend(is_reachable(&change.after).then_some(*change));
            }
            Err(error) => return Err(error),
        }
    }
    for (package, replaced) in installed.iter().flat_map(|record| &record.replaced) {
        let resource = Resource::Package(package.clone());
        if target.contains_key(&resource) {
            continue;
        }
        // Even if it is right now: the package takes directories with it that are empty then.
        let restored = replaced.0.iter().filter(|(resource, _)| !baseline.contains_key(*resource));
        let restored = restored.filter_map(|(resource, after)| {
            let before = observed.get(resource)?.clone();
            Some(Change { resource: resource.clone(), before, after: after.clone() })
        });
        let goes_last = cleanup.iter().any(|change| change.resource == resource);
        if goes_last { cleanup.extend(restored) } else { changes.extend(restored) }
    }
    let is_removal = |change: &mut Change| change.phase() >= Phase::RemoveTree;
    cleanup.extend(changes.extract_if(.., is_removal));
    in_order(&mut cleanup);
    let (guards, held): (Vec<_>, Vec<_>) = left_open(&changes, observed)
        .into_iter()
        .partition(|change| is_masked_by(&changes, &change.resource));
    changes.extend(held);
    Ok((Plan { steps: steps(changes), cleanup, guards, put_back: States::new() }, baseline))
}

/// Unit settings with what the payload leaves open: that stays as it was before any payload.
pub(crate) fn settle(
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
    /// Whether a package changes.
    pub(crate) const fn is_of_package(&self) -> bool {
        matches!(self, Self::Change(Change { resource: Resource::Package(_), .. }))
    }
}

impl Plan {
    /// Every change that is made before all is final.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.steps.iter().filter_map(|step| match step {
            Step::Change(change) => Some(change),
            Step::Reload(_) => None,
        })
    }

    /// The way back, after the first `reached` steps were begun.
    ///
    /// What is on disk is taken back as far as it was touched. What a reboot changes is put back
    /// in any case: the boot may have done what the steps had not come to yet.
    pub(crate) fn way_back(&self, reached: usize) -> Vec<Step> {
        let mut changes: Vec<Change> = Vec::new();
        for (position, step) in self.steps.iter().enumerate() {
            if let Step::Change(change) = step
                && (position < reached || change.resource.is_volatile())
            {
                changes.push(change.undone());
            }
        }
        let only_seen =
            self.guards.iter().chain(&self.cleanup).filter(|change| change.resource.is_volatile());
        changes.extend(only_seen.map(Change::undone));
        let mut back = steps(changes);
        if let Some(last) = back.iter().rposition(Step::is_of_package) {
            back.splice(last + 1..=last, self.put_back());
        }
        back
    }

    /// The steps that put everything back at the places of packages: diversions first, which move files, then
    /// directories, then what is in them.
    fn put_back(&self) -> Vec<Step> {
        let change = |(resource, state): (&Resource, &State)| Change {
            resource: resource.clone(),
            before: state.clone(),
            after: state.clone(),
        };
        let (choices, mut paths): (Vec<_>, Vec<_>) =
            self.put_back.iter().map(change).partition(|change| change.resource == Resource::Choices);
        in_order(&mut paths);
        choices.into_iter().chain(paths).map(Step::Change).collect()
    }
}

/// The state of a resource, with what the device itself cannot tell.
fn present(resource: &Resource, observed: &States, known: [&States; 2]) -> State {
    let found = observed.get(resource).unwrap_or(&State::Absent);
    let mut known = known.into_iter().map(|states| states.get(resource).filter(|state| state.matches(found)));
    let told = match found {
        // The same version from elsewhere is the same package.
        State::Installed { .. } => known.find_map(|state| state),
        // Only what the agent started itself was started from what it says.
        State::Active { .. } => known.next().flatten(),
        _ => None,
    };
    told.unwrap_or(found).clone()
}

/// The change that a resource needs; `None` if it is as it should be.
fn change(resource: &Resource, before: State, after: &State) -> Result<Option<Change>, PlanError> {
    let is_same = match after {
        State::Active { .. } => before == *after,
        State::Installed { .. } => is_same_package(&before, after),
        _ => after.matches(&before),
    };
    let change = Change { resource: resource.clone(), before, after: after.clone() };
    if is_same {
        // What a reboot in the middle may change takes its turn even if it is right now.
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

/// Whether the agent could bring something into this state: not without the package's file.
const fn is_reachable(state: &State) -> bool {
    !matches!(state, State::Installed { deb: None, .. } | State::Partial(_))
}

/// Whether two packages are the same version, and not known to come from different files.
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

const fn set_unit(resource: &Resource) -> Option<&UnitName> {
    match resource {
        Resource::UnitSetting(unit) => Some(unit),
        _ => None,
    }
}

/// Units whose setting changes, though not by themselves whether they run: that stays as it is,
/// whatever a boot in the middle makes of it.
fn left_open(changes: &[Change], observed: &States) -> Vec<Change> {
    let settings = changes.iter().filter_map(|change| set_unit(&change.resource));
    let activities = settings.cloned().map(Resource::UnitActivity);
    let left_open = activities.filter(|activity| !changes.iter().any(|change| change.resource == *activity));
    left_open
        .filter_map(|resource| {
            let state = observed.get(&resource)?.clone();
            Some(Change { resource, before: state.clone(), after: state })
        })
        .collect()
}

/// Whether a unit can only be stopped once these changes are made.
fn is_masked_by(changes: &[Change], activity: &Resource) -> bool {
    changes.iter().any(|change| {
        let (Resource::UnitSetting(unit), Resource::UnitActivity(other)) = (&change.resource, activity)
        else {
            return false;
        };
        unit == other && matches!(change.after, State::Setting { masked: true, .. })
    })
}

fn steps(mut changes: Vec<Change>) -> Vec<Step> {
    in_order(&mut changes);
    let mut reloads: Vec<Reload> = changes.iter().filter_map(read_by).collect();
    reloads.sort_unstable();
    reloads.dedup();
    let read_at = changes.partition_point(|change| change.phase() < Phase::Reload);
    let later = changes.split_off(read_at);
    let first = changes.into_iter().map(Step::Change);
    first.chain(reloads.into_iter().map(Step::Reload)).chain(later.into_iter().map(Step::Change)).collect()
}

fn in_order(changes: &mut [Change]) {
    changes.sort_by(|one, other| {
        let phase = one.phase();
        phase.cmp(&other.phase()).then_with(|| match phase {
            // Paths sort outermost first.
            Phase::RemoveDirectory => other.resource.cmp(&one.resource),
            _ => one.resource.cmp(&other.resource),
        })
    });
}

/// Who has to be told of a change.
fn read_by(change: &Change) -> Option<Reload> {
    const UNITS: [&str; 4] = [
        "/etc/systemd/system",
        "/usr/lib/systemd/system",
        "/lib/systemd/system",
        "/usr/local/lib/systemd/system",
    ];
    match &change.resource {
        Resource::Package(_) => Some(Reload::Units),
        Resource::Path(path) if UNITS.iter().any(|tree| within(path, tree)) => Some(Reload::Units),
        Resource::Path(path) if within(path, "/usr/local/share/ca-certificates") => {
            Some(Reload::CaCertificates)
        }
        _ => None,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
