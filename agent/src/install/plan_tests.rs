//! Plans for every policy item, added, changed and dropped, on a device that is a map.

use super::*;
use crate::{
    files::Owner,
    install::target::tests::{artifact, asks, payload},
};
use serde_json::{Value, json};
use unbox_common::digest::Sha256;

const ROOT: Owner = Owner { uid: 0, gid: 0 };

fn file(text: &str, mode: u32) -> State {
    State::File { digest: Sha256::of(text.as_bytes()), size: text.len() as u64, mode, owner: ROOT }
}

fn path(path: &str) -> Resource {
    Resource::Path(SafePath::parse(path).unwrap())
}

fn setting(unit: &str) -> Resource {
    Resource::UnitSetting(unit.parse().unwrap())
}

fn activity(unit: &str) -> Resource {
    Resource::UnitActivity(unit.parse().unwrap())
}

fn package(name: &str) -> Resource {
    Resource::Package(name.parse().unwrap())
}

fn version(version: &str, deb: Option<&[u8]>) -> State {
    State::Installed { version: version.parse().unwrap(), deb: deb.map(Sha256::of) }
}

/// A device that applies every change, and remembers the installed record.
#[derive(Debug, Clone, PartialEq, Default)]
struct Device {
    states: States,
    installed: Option<Record>,
}

impl Device {
    fn with(states: impl IntoIterator<Item = (Resource, State)>) -> Self {
        Self { states: states.into_iter().collect(), installed: None }
    }

    /// Observes all resources, with a default for missing ones.
    fn observe(&self, target: &Target) -> States {
        let settings = target
            .settings
            .keys()
            .flat_map(|unit| [Resource::UnitSetting(unit.clone()), Resource::UnitActivity(unit.clone())]);
        let baseline = self.installed.iter().flat_map(|record| record.baseline.keys().cloned());
        let all = target.states.keys().cloned().chain(settings).chain(baseline);
        all.map(|resource| {
            let found = match self.states.get(&resource).cloned() {
                Some(State::Installed { version, .. }) => State::Installed { version, deb: None },
                Some(State::Active { .. }) => State::Active { of: None },
                Some(state) => state,
                None => default_of(&resource),
            };
            (resource, found)
        })
        .collect()
    }

    fn plan(&self, dpc: &Value, policy: &Value) -> Result<(Plan, Record), PlanError> {
        let target = asks(dpc, policy).unwrap();
        let observed = self.observe(&target);
        let states = complete_settings(&target, &observed, self.installed.as_ref()).unwrap();
        let (plan, baseline) = plan(&observed, self.installed.as_ref(), &states)?;
        let record = Record::new(&payload(dpc, policy), target.extras, states, baseline);
        Ok((plan, record))
    }

    fn take(&mut self, steps: &[Step]) {
        for step in steps {
            if let Step::Change(Change { resource, after, .. }) = step {
                self.states.insert(resource.clone(), after.clone());
            }
        }
    }

    fn install(&mut self, policy: &Value) -> Plan {
        let (plan, record) = self.plan(&Value::Null, policy).unwrap();
        self.take(&plan.steps);
        self.take(&plan.cleanup.iter().cloned().map(Step::Change).collect::<Vec<_>>());
        self.installed = Some(record);
        plan
    }

    /// Returns every state except the defaults, as if never touched.
    fn picture(&self) -> States {
        let mut picture = self.states.clone();
        picture.retain(|resource, state| *state != default_of(resource));
        picture
    }
}

fn default_of(resource: &Resource) -> State {
    match resource {
        Resource::UnitSetting(_) => State::Setting { enabled: false, masked: false },
        Resource::UnitActivity(_) => State::Inactive,
        _ => State::Absent,
    }
}

fn describe(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| match step {
            Step::Change(change) => format!("{} -> {}", change.resource, name_of(&change.after)),
            Step::Reload(reload) => format!("{reload:?}"),
        })
        .collect()
}

fn name_of(state: &State) -> String {
    match state {
        State::File { size, .. } => format!("file of {size}"),
        other => other.to_string(),
    }
}

#[test]
fn every_item_comes_changes_and_goes_as_if_it_had_never_been() {
    let text = |text: &str| json!({ "type": "file", "path": "/etc/motd", "content": { "text": text } });
    let pem = |name: &str| {
        let pem = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
        json!({ "type": "ca_certificate", "name": name, "pem": pem })
    };
    let unit =
        |enabled: bool| json!({ "type": "unit", "name": "a.service", "enabled": enabled, "active": enabled });
    let tool = |version: &str| {
        let deb = artifact(version.as_bytes());
        json!({ "type": "package", "name": "tool", "version": version, "artifact": deb })
    };
    let keys = |key: &str| json!({ "type": "authorized_keys", "user": "ada", "keys": [key] });
    for (first, second, before, steps) in [
        (text("hello"), text("again"), vec![], vec!["/etc/motd -> file of 5"]),
        (
            text("hello"),
            text(""),
            vec![(path("/etc/motd"), file("factory", 0o600))],
            vec!["/etc/motd -> file of 5"],
        ),
        (
            text("hello"),
            text("more"),
            vec![(path("/etc/motd"), State::Symlink { target: "/run/motd".to_owned() })],
            vec!["/etc/motd -> file of 5"],
        ),
        (
            unit(true),
            unit(false),
            vec![],
            vec!["setting of unit a.service -> enabled", "activity of unit a.service -> active"],
        ),
        (
            unit(false),
            unit(true),
            vec![
                (setting("a.service"), State::Setting { enabled: true, masked: false }),
                (activity("a.service"), State::Active { of: None }),
            ],
            vec!["activity of unit a.service -> inactive", "setting of unit a.service -> disabled"],
        ),
        (
            json!({ "type": "unit", "name": "a.service", "masked": true }),
            unit(true),
            vec![(setting("a.service"), State::Setting { enabled: true, masked: false })],
            vec!["setting of unit a.service -> enabled, masked"],
        ),
        (
            json!({ "type": "sysctl", "key": "vm.swappiness", "value": "10" }),
            json!({ "type": "sysctl", "key": "vm.swappiness", "value": "20" }),
            vec![(Resource::Sysctl("vm.swappiness".parse().unwrap()), State::Value("60".to_owned()))],
            vec!["/etc/sysctl.d/60-unbox.conf -> file of 91", "kernel parameter vm.swappiness -> \"10\""],
        ),
        (
            json!({ "type": "hostname", "name": "a" }),
            json!({ "type": "hostname", "name": "b" }),
            vec![
                (path("/etc/hostname"), file("factory\n", 0o644)),
                (Resource::RunningHostname, State::Value("factory".to_owned())),
            ],
            vec!["/etc/hostname -> file of 2", "running host name -> \"a\""],
        ),
        (
            json!({ "type": "time_zone", "zone": "Etc/UTC" }),
            json!({ "type": "time_zone", "zone": "Etc/GMT" }),
            vec![(path("/etc/timezone"), file("Etc/GMT\n", 0o644))],
            vec!["/etc/localtime -> link to /usr/share/zoneinfo/Etc/UTC", "/etc/timezone -> file of 8"],
        ),
        (
            pem("one"),
            pem("two"),
            vec![],
            vec!["/usr/local/share/ca-certificates/unbox-one.crt -> file of 54", "CaCertificates"],
        ),
        (
            keys("ssh-a"),
            keys("ssh-b"),
            vec![(
                path("/home/ada/.ssh"),
                State::Directory { mode: 0o755, owner: Owner { uid: 1000, gid: 1001 } },
            )],
            vec!["/home/ada/.ssh -> directory 0700 1000:1001", "/home/ada/.ssh/authorized_keys -> file of 6"],
        ),
        (tool("1"), tool("2"), vec![], vec!["package tool -> version 1", "Units"]),
    ] {
        let mut device = Device::with(before);
        let factory = device.picture();
        assert_eq!(describe(&device.install(&json!([first]))), steps, "{first}");
        assert!(describe(&device.install(&json!([first]))).len() <= 1, "{first} again");
        let _ = device.install(&json!([second]));
        let record = device.installed.clone().unwrap();
        assert!(record.target.iter().all(|(resource, state)| {
            let found = device.states.get(resource).cloned().unwrap_or_else(|| default_of(resource));
            state.matches(&found)
        }));
        let _ = device.install(&json!([]));
        assert_eq!(device.picture(), factory, "{first} then {second}");
    }
}

#[test]
fn the_way_back_is_the_way_there_swapped() {
    let policy = json!([
        { "type": "file", "path": "/etc/systemd/system/x.service", "content": { "text": "" } },
        { "type": "unit", "name": "x.service", "enabled": true, "active": true },
        { "type": "hostname", "name": "kiosk" },
    ]);
    let mut device = Device::with([(Resource::RunningHostname, State::Value("factory".to_owned()))]);
    let factory = device.picture();
    let (plan, _) = device.plan(&Value::Null, &policy).unwrap();
    assert_eq!(
        describe(&plan),
        [
            "/etc/hostname -> file of 6",
            "/etc/systemd/system/x.service -> file of 0",
            "Units",
            "running host name -> \"kiosk\"",
            "setting of unit x.service -> enabled",
            "activity of unit x.service -> active",
        ]
    );
    device.take(&plan.steps);
    let back = plan.rollback_steps(plan.steps.len());
    let order = describe(&Plan { steps: back.clone(), ..Plan::default() });
    assert_eq!(
        order,
        [
            "activity of unit x.service -> inactive",
            "setting of unit x.service -> disabled",
            "/etc/hostname -> absent",
            "/etc/systemd/system/x.service -> absent",
            "Units",
            "running host name -> \"factory\"",
        ]
    );
    device.take(&back);
    assert_eq!(device.picture(), factory);
}

#[test]
fn what_was_not_begun_is_not_taken_back_but_what_a_boot_may_have_done_is() {
    let policy = json!([
        { "type": "file", "path": "/etc/a", "content": { "text": "" } },
        { "type": "hostname", "name": "kiosk" },
        { "type": "unit", "name": "x.service", "enabled": true },
    ]);
    let device = Device::with([(Resource::RunningHostname, State::Value("factory".to_owned()))]);
    let (plan, _) = device.plan(&Value::Null, &policy).unwrap();
    assert_eq!(describe(&plan).iter().position(|step| step.starts_with("/etc/a")), Some(1));
    let back = Plan { steps: plan.rollback_steps(2), ..Plan::default() };
    assert_eq!(
        describe(&back),
        ["activity of unit x.service -> inactive", "/etc/a -> absent", "running host name -> \"factory\"",]
    );
}

#[test]
fn a_unit_that_is_masked_runs_again_after_the_way_back() {
    let policy = json!([{ "type": "unit", "name": "x.service", "masked": true }]);
    let device = Device::with([
        (setting("x.service"), State::Setting { enabled: true, masked: false }),
        (activity("x.service"), State::Active { of: None }),
    ]);
    let (plan, _) = device.plan(&Value::Null, &policy).unwrap();
    assert_eq!(describe(&plan), ["setting of unit x.service -> enabled, masked"]);
    let back = Plan { steps: plan.rollback_steps(1), ..Plan::default() };
    assert_eq!(
        describe(&back),
        ["setting of unit x.service -> enabled", "activity of unit x.service -> active"]
    );
}

#[test]
fn trees_and_directories_go_only_when_all_is_final() {
    let dpc =
        |bytes: &[u8]| json!({ "name": "acme", "version": "1", "kind": "tar", "artifact": artifact(bytes) });
    let mut device = Device::default();
    let (plan, record) = device.plan(&dpc(b"one"), &json!([])).unwrap();
    device.take(&plan.steps);
    device.installed = Some(record);
    let (plan, _) = device.plan(&dpc(b"two"), &json!([])).unwrap();
    let (one, two) = (Sha256::of(b"one"), Sha256::of(b"two"));
    assert_eq!(
        describe(&plan),
        [
            format!("/opt/unbox/dpc/acme/{two} -> unpacked"),
            format!("/opt/unbox/dpc/acme/current -> link to {two}"),
        ]
    );
    let cleanup: Vec<String> = plan.cleanup.iter().map(|change| change.resource.to_string()).collect();
    assert_eq!(cleanup, [format!("/opt/unbox/dpc/acme/{one}")]);
}

#[test]
fn packages_without_a_way_back_are_refused_before_anything_changes() {
    let tool = json!([{ "type": "package", "name": "tool", "version": "2", "artifact": artifact(b"2") }]);
    for (found, refused) in [
        (State::Absent, false),
        (version("2", None), false),
        (version("1", None), true),
        (State::Partial("half installed".to_owned()), true),
    ] {
        let device = Device::with([(package("tool"), found.clone())]);
        let planned = device.plan(&Value::Null, &tool);
        assert_eq!(matches!(planned, Err(PlanError::NoWayBack(_))), refused, "{found:?}");
    }
}

#[test]
fn a_package_that_somebody_else_changed_goes_when_all_is_final() {
    let tool = json!([{ "type": "package", "name": "tool", "version": "1", "artifact": artifact(b"1") }]);
    let mut device = Device::default();
    let _ = device.install(&tool);
    device.states.insert(package("tool"), version("9", None));
    let (plan, _) = device.plan(&Value::Null, &json!([])).unwrap();
    assert_eq!(describe(&plan), Vec::<String>::new());
    assert_eq!(plan.cleanup[0].after, State::Absent);
}

#[test]
fn the_payloads_file_is_no_way_back_to_a_package_that_somebody_else_installed() {
    let tool = |version: &str| json!([{ "type": "package", "name": "tool", "version": version, "artifact": artifact(version.as_bytes()) }]);
    let mut device = Device::with([(package("tool"), version("1", None))]);
    let _ = device.install(&tool("1"));
    assert!(matches!(device.plan(&Value::Null, &tool("2")), Err(PlanError::NoWayBack(_))));
    let (plan, _) = device.plan(&Value::Null, &json!([])).unwrap();
    assert_eq!((describe(&plan), plan.cleanup), (Vec::new(), Vec::new()));
}

#[test]
fn a_rebuilt_package_of_the_same_version_is_installed_again() {
    let tool = |deb: &[u8]| json!([{ "type": "package", "name": "tool", "version": "1", "artifact": artifact(deb) }]);
    let mut device = Device::default();
    let _ = device.install(&tool(b"one"));
    let (plan, _) = device.plan(&Value::Null, &tool(b"two")).unwrap();
    assert_eq!(describe(&plan), ["package tool -> version 1", "Units"]);
}

#[test]
fn a_directory_is_never_replaced_by_a_file() {
    let motd = json!([{ "type": "file", "path": "/etc/motd", "content": { "text": "" } }]);
    let device = Device::with([(path("/etc/motd"), State::Directory { mode: 0o755, owner: ROOT })]);
    assert!(matches!(device.plan(&Value::Null, &motd), Err(PlanError::InTheWay(_))));
}
