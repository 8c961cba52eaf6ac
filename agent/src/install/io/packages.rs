//! Checks of packages before anything changes: the effect of installing or removing them on the rest of
//! the device, and the current content of their places.

use super::{
    Packages, System,
    contents::Contents,
    owners::Owners,
    places::{Effect, Places},
    survey,
};
use crate::install::{
    Change, InstallError, Resource, State, States,
    order::{Ranks, ranks},
    package::{PackageFile, PackagePlaces, check_together},
    plan::{Plan, is_foreign},
    record::{Record, Replaced},
    target::TargetError,
};
use std::collections::{BTreeMap, BTreeSet};
use unbox_common::{
    digest::Sha256,
    path::SafePath,
    payload::{DpcKind, PackageName, Payload, PolicyItem},
};

/// The most paths that the packages of one payload may concern: the journal names each.
const MAX_PATHS: usize = 100_000;

/// The package files of a payload, by digest.
pub(crate) type PackageFiles = BTreeMap<Sha256, PackageFile>;

/// Copies every package out of reach of the user who fetched it, and checks that it is the one that the
/// payload names, and that it may be installed here.
pub(crate) fn inspect(
    system: &dyn System,
    contents: &Contents,
    payload: &Payload,
) -> Result<PackageFiles, InstallError> {
    let dpc = payload.dpc.iter().filter(|dpc| dpc.kind == DpcKind::Deb);
    let dpc = dpc.map(|dpc| (dpc.name.as_str(), &dpc.version, &dpc.artifact));
    let items = payload.policy.iter().filter_map(|item| match item {
        PolicyItem::Package { name, version, artifact } => Some((name.as_str(), version, artifact)),
        _ => None,
    });
    let mut files = PackageFiles::new();
    for (name, version, artifact) in dpc.chain(items) {
        contents.keep_artifact(artifact.sha256, artifact.size).map_err(InstallError::Keep)?;
        let file = system.packages().describe(&contents.blob_path(artifact.sha256));
        let file = file.map_err(InstallError::Package)?;
        file.check(name, version.as_str()).map_err(InstallError::Target)?;
        files.insert(artifact.sha256, file);
    }
    if !files.is_empty() {
        let places = Places::of(system)?;
        let resolved: Result<Vec<PackagePlaces>, InstallError> =
            files.values().map(|file| places.resolve_package(file)).collect();
        check_together(&resolved?).map_err(InstallError::Target)?;
    }
    Ok(files)
}

/// Determines the effect of the plan's packages on files that are not theirs, refuses forbidden effects,
/// and adds to the plan what must be restored if it is rolled back. `baseline` is the one that the plan
/// belongs to. Returns the files that the installed packages will have replaced.
pub(crate) fn predict_effects(
    system: &dyn System,
    contents: &Contents,
    plan: &mut Plan,
    (states, baseline): (&States, &States),
    installed: Option<&Record>,
    files: &PackageFiles,
) -> Result<Replaced, InstallError> {
    let is_kept = |name: &PackageName| {
        let resource = Resource::Package(name.clone());
        states.contains_key(&resource) && !is_foreign(&resource, baseline)
    };
    let mut replaced = installed.map(|record| record.replaced.clone()).unwrap_or_default();
    replaced.retain(|name, _| is_kept(name));
    let changes = package_changes(plan);
    let undone = choice_reversal(system, states, installed)?;
    if changes.is_empty() {
        plan.arrange(undone, Ranks::new());
        return Ok(replaced);
    }
    rehearse(system.packages(), contents, &changes)?;
    let places = Places::of(system)?;
    let effects: Result<Vec<Effect>, _> =
        changes.iter().map(|change| places.predict(contents, change, files)).collect();
    let effects = effects?;
    let concerned: BTreeSet<SafePath> = effects.iter().flat_map(Effect::places).collect();
    if concerned.len() > MAX_PATHS {
        let names: Vec<&str> = changes.iter().map(|(name, ..)| name.as_str()).collect();
        let why = format!("its files are more than {MAX_PATHS}");
        return Err(unfit_error(&names.join(", "), why));
    }
    let kept = states.keys().filter_map(package_of).filter(|name| is_kept(name));
    let own = kept.chain(effects.iter().map(|effect| &effect.name)).map(ToString::to_string).collect();
    let in_question = concerned.iter().map(SafePath::as_str).collect();
    let owners = Owners::find(system, own, &in_question, |name| places.other_name(name))?;
    refuse_effects(&effects, &owners, files)?;
    for path in effects.iter().flat_map(|effect| effect.new.files().keys()) {
        plan.hand_over(path);
    }
    let managed = managed_paths(plan);
    for effect in effects.iter().filter(|effect| is_kept(&effect.name)) {
        let states = replaced_states(system, effect, &owners, &managed, installed)?;
        add_replaced(&mut replaced, effect, states);
    }
    replaced.retain(|_, replaced| !replaced.0.is_empty());
    record_current_states(system, plan, &concerned, &managed)?;
    let restored = restore_beside(system, states, &managed, &effects, &owners)?;
    let restored = plan.restore_beside(restored);
    let relations = effects.into_iter().map(|effect| (effect.name, effect.relations)).collect();
    plan.arrange(undone.into_iter().chain(restored), ranks(&relations));
    Ok(replaced)
}

/// Refuses effects on what foreign packages have.
fn refuse_effects(effects: &[Effect], owners: &Owners<'_>, files: &PackageFiles) -> Result<(), InstallError> {
    let had: BTreeSet<SafePath> = effects.iter().flat_map(|effect| effect.had.iter().cloned()).collect();
    for effect in effects {
        if let Some(why) = owners.objection(&effect.new, &had) {
            return Err(unfit_error(effect.name.as_str(), why));
        }
    }
    let Some(owner) = owners.find_replaced(files) else { return Ok(()) };
    let names: Vec<&str> =
        files.values().map(|file| file.name.as_str()).filter(|name| *name != owner).collect();
    let why = format!("they have everything that package {owner} has, so dpkg would remove that one");
    Err(unfit_error(&names.join(", "), why))
}

/// Adds what a package will replace. What other packages replaced in the places of its files is now its own.
fn add_replaced(replaced: &mut Replaced, effect: &Effect, states: States) {
    let is_taken = |resource: &Resource| match resource {
        Resource::Path(path) => effect.new.files().contains_key(path) && !effect.had.contains(path),
        _ => false,
    };
    for (_, of_other) in replaced.iter_mut().filter(|(name, _)| **name != effect.name) {
        of_other.0.retain(|resource, _| !is_taken(resource));
    }
    let of_package = replaced.entry(effect.name.clone()).or_default();
    for (resource, state) in states {
        of_package.0.entry(resource).or_insert(state);
    }
}

/// Returns the states before any payload of what a package will replace. What another package of a payload
/// has there is not among them, but what that one replaced.
fn replaced_states(
    system: &dyn System,
    effect: &Effect,
    owners: &Owners<'_>,
    managed: &BTreeSet<SafePath>,
    installed: Option<&Record>,
) -> Result<States, InstallError> {
    let mut states = States::new();
    for path in effect.fresh().difference(managed) {
        let is_beside = effect.new_beside.contains(path);
        if is_beside && owners.foreign_owner(path).is_some() {
            continue;
        }
        let mut others = owners.owners(path).filter(|(owner, _)| *owner != effect.name.as_str()).peekable();
        if others.peek().is_some() && owners.foreign_owner(path).is_none() {
            let resource = Resource::Path(path.clone());
            let known = others.find_map(|(owner, _)| {
                let record = installed?;
                record.replaced.get(&owner.parse().ok()?)?.0.get(&resource)
            });
            states.extend(known.map(|state| (resource.clone(), state.clone())));
            continue;
        }
        let (resource, state) = pristine_state(system, path, installed)?;
        if state != State::Absent {
            states.insert(resource, state);
        }
    }
    Ok(states)
}

/// Returns the changes that restore what dpkg removes beside the configuration files of a package that goes:
/// what packages that stay have there, and what the payload does.
fn restore_beside(
    system: &dyn System,
    states: &States,
    managed: &BTreeSet<SafePath>,
    effects: &[Effect],
    owners: &Owners<'_>,
) -> Result<Vec<(PackageName, Change)>, InstallError> {
    let changing: Vec<&PackageName> = effects.iter().map(|effect| &effect.name).collect();
    let mut restored = Vec::new();
    for effect in effects.iter().filter(|effect| effect.goes) {
        for path in &effect.had_beside {
            let resource = Resource::Path(path.clone());
            let before = survey::look(system, &resource)?;
            let after = match states.get(&resource) {
                Some(_) if managed.contains(path) => continue,
                Some(state) => state.clone(),
                None if owners.stays(path, &changing) => before.clone(),
                None => continue,
            };
            if matches!(after, State::File { .. } | State::Symlink { .. }) {
                restored.push((effect.name.clone(), Change { resource, before, after }));
            }
        }
    }
    Ok(restored)
}

/// Returns the change that undoes the choices made by packages of earlier payloads, once there is no
/// package any more. As long as there is one, they may be its own.
fn choice_reversal(
    system: &dyn System,
    states: &States,
    installed: Option<&Record>,
) -> Result<Option<Change>, InstallError> {
    let made = installed.map(|record| record.made.clone()).unwrap_or_default();
    if made.is_empty() || states.keys().any(|resource| matches!(resource, Resource::Package(_))) {
        return Ok(None);
    }
    let before = survey::look(system, &Resource::Choices)?;
    let after = State::ChoicesWithout(Box::new(made));
    Ok(Some(Change { resource: Resource::Choices, before, after }))
}

/// Returns the content of a place before any payload, which is not the current one if an earlier payload
/// changed it.
fn pristine_state(
    system: &dyn System,
    path: &SafePath,
    installed: Option<&Record>,
) -> Result<(Resource, State), InstallError> {
    let resource = Resource::Path(path.clone());
    let known = installed.and_then(|record| record.baseline.get(&resource)).cloned();
    let state = known.map_or_else(|| survey::look(system, &resource), Ok)?;
    Ok((resource, state))
}

/// Records the state of every place that the packages concern, except those that the plan itself changes.
fn record_current_states(
    system: &dyn System,
    plan: &mut Plan,
    concerned: &BTreeSet<SafePath>,
    managed: &BTreeSet<SafePath>,
) -> Result<(), InstallError> {
    for path in concerned.difference(managed) {
        let resource = Resource::Path(path.clone());
        let state = survey::look(system, &resource)?;
        plan.put_back.insert(resource, state);
    }
    plan.put_back.insert(Resource::Choices, survey::look(system, &Resource::Choices)?);
    Ok(())
}

/// Has the package system simulate the change, to find packages it would remove and errors it would
/// report.
fn rehearse(
    packages: &dyn Packages,
    contents: &Contents,
    changes: &[(PackageName, State, State)],
) -> Result<(), InstallError> {
    let installs: Vec<(&PackageName, Sha256)> = changes
        .iter()
        .filter_map(|(name, _, after)| match after {
            State::Installed { deb: Some(deb), .. } => Some((name, *deb)),
            _ => None,
        })
        .collect();
    if installs.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = installs.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(", ");
    let goes = |name: &str| {
        changes.iter().any(|(other, _, after)| other.as_str() == name && *after == State::Absent)
    };
    let debs: Vec<_> = installs.iter().map(|(_, deb)| contents.blob_path(*deb)).collect();
    let after_removals = changes.iter().any(|(.., after)| *after == State::Absent);
    let removed = packages.rehearse(&debs, after_removals).map_err(InstallError::Package)?;
    match removed.into_iter().find(|name| !goes(name)) {
        Some(removed) => Err(unfit_error(&names, format!("it would remove package {removed}"))),
        None => Ok(()),
    }
}

fn package_changes(plan: &Plan) -> Vec<(PackageName, State, State)> {
    let planned = plan.changes().chain(&plan.cleanup);
    let of_package = |change: &Change| {
        let name = package_of(&change.resource)?;
        Some((name.clone(), change.before.clone(), change.after.clone()))
    };
    planned.filter_map(of_package).collect()
}

const fn package_of(resource: &Resource) -> Option<&PackageName> {
    match resource {
        Resource::Package(name) => Some(name),
        _ => None,
    }
}

/// Returns the paths that the plan itself changes and rolls back.
fn managed_paths(plan: &Plan) -> BTreeSet<SafePath> {
    let path = |change: &Change| match &change.resource {
        Resource::Path(path) => Some(path.clone()),
        _ => None,
    };
    plan.changes().filter_map(path).collect()
}

pub(super) fn unfit_error(package: &str, why: String) -> InstallError {
    InstallError::Target(TargetError::PackageUnfit { package: package.to_owned(), why })
}
