//! Any device, any order of payloads, any failure in between: after the next start, everything
//! is as it was or as it should be, and a reset brings back the device as it left the factory.

use crate::{
    device::Device,
    faults::{FailAt, Failure},
    payloads::{accept, file, link, tar},
};
use proptest::{collection::vec, option, prelude::*, sample::select, test_runner::RngSeed};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    sync::Arc,
};
use tar::EntryType;
use unbox_agent::install::InstallError;
use unbox_common::payload::AcceptedPayload;

/// `/link` leads to `/etc/d`.
const PATHS: [&str; 6] = ["/etc/a", "/etc/d/b", "/etc/d/e/f", "/srv/x/y/z", "/link/g", "/usr/local/h"];
const UNITS: [&str; 3] = ["old.service", "held.service", "new.service"];
const CA: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";

/// The object at a path before anything is installed.
#[derive(Debug, Clone)]
enum Object {
    Nothing,
    File(String, u32),
    Link(String),
    Directory,
}

/// A resource that a payload asks for.
#[derive(Debug, Clone)]
struct Request {
    files: Vec<(&'static str, String, u32)>,
    units: Vec<(&'static str, Option<bool>, Option<bool>, bool)>,
    swappiness: Option<u8>,
    hostname: Option<String>,
    zone: bool,
    ca: bool,
    keys: Option<String>,
    tool: Option<u8>,
    dpc: Option<(u8, Option<u8>)>,
}

/// An event in a device's life.
#[derive(Debug, Clone)]
enum Event {
    Install(Request),
    Remove,
}

#[derive(Debug, Clone)]
struct Step {
    event: Event,
    healthy: bool,
    failure: Failure,
    at: usize,
    /// A second power cut, while it goes on from the first.
    again: Option<usize>,
}

fn any_object() -> impl Strategy<Value = Object> {
    prop_oneof![
        3 => Just(Object::Nothing),
        3 => ("[a-c]{0,3}", select(vec![0o644, 0o600, 0o4755])).prop_map(|(text, mode)| Object::File(text, mode)),
        1 => select(vec!["target", "/etc/passwd", "gone/../x"]).prop_map(|target| Object::Link(target.to_owned())),
        1 => Just(Object::Directory),
    ]
}

fn any_request() -> impl Strategy<Value = Request> {
    let files = proptest::sample::subsequence(PATHS.to_vec(), 0..=PATHS.len()).prop_flat_map(|paths| {
        let contents = vec(("[a-c]{0,3}", select(vec![0o644, 0o600, 0o755])), paths.len());
        contents.prop_map(move |contents| {
            let both = paths.iter().zip(contents);
            both.map(|(path, (text, mode))| (*path, text, mode)).collect::<Vec<_>>()
        })
    });
    let units = proptest::sample::subsequence(UNITS.to_vec(), 0..=UNITS.len()).prop_flat_map(|units| {
        let settings = vec((any::<Option<bool>>(), any::<Option<bool>>(), any::<bool>()), units.len());
        settings.prop_map(move |settings| {
            let both = units.iter().zip(settings);
            both.map(|(unit, (enabled, active, masked))| {
                let starts = enabled == Some(true) || active == Some(true);
                (*unit, enabled, active, masked && !starts)
            })
            .collect::<Vec<_>>()
        })
    });
    let rest = (
        option::of(0..3u8),
        option::of("[a-c]{1,2}"),
        any::<bool>(),
        any::<bool>(),
        option::of("ssh-[ab]"),
        option::of(1..3u8),
        option::of((1..4u8, option::of(0..2u8))),
    );
    (files, units, rest).prop_map(|(files, units, (swappiness, hostname, zone, ca, keys, tool, dpc))| {
        Request { files, units, swappiness, hostname, zone, ca, keys, tool, dpc }
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    let event = prop_oneof![5 => any_request().prop_map(Event::Install), 1 => Just(Event::Remove)];
    let failure = prop_oneof![
        2 => Just(Failure::None),
        4 => Just(Failure::PowerCut),
        2 => Just(Failure::FullDisk),
        1 => Just(Failure::ReadOnly),
    ];
    (event, prop::bool::weighted(0.8), failure, 0..250usize, option::of(0..120usize))
        .prop_map(|(event, healthy, failure, at, again)| Step { event, healthy, failure, at, again })
}

fn furnish(device: &Device, found: &[Object]) {
    let root = device.root();
    for directory in ["etc/d", "srv", "usr/local"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    symlink("etc/d", root.join("link")).unwrap();
    for (path, found) in PATHS.iter().zip(found) {
        let path = root.join(&path[1..]);
        if !matches!(found, Object::Nothing) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        match found {
            Object::Nothing => (),
            Object::File(text, mode) => {
                fs::write(&path, text).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            }
            Object::Link(target) => symlink(target, &path).unwrap(),
            Object::Directory => fs::create_dir_all(&path).unwrap(),
        }
    }
}

fn dpc(device: &Device, release: u8, extras: Option<u8>) -> Value {
    let program = format!("dpc {release}");
    let archive = tar(&[
        file("bin/dpc", 0o755, program.as_bytes()),
        link(EntryType::Symlink, "dpc", "bin/dpc"),
        file("acme.service", 0o644, b"[Service]\nExecStart=/opt/unbox/dpc/acme/current/dpc\n"),
    ]);
    let extras = extras.map_or(json!({}), |extras| json!({ "n": extras }));
    json!({
        "name": "acme", "version": format!("{release}"), "kind": "tar", "unit": "acme.service",
        "artifact": device.artifacts.add(&archive), "extras": extras,
        "health": { "type": "unit_active", "timeout_s": 1 },
    })
}

fn payload(device: &Device, wanted: &Request) -> AcceptedPayload {
    let mut policy = Vec::new();
    for (path, text, mode) in &wanted.files {
        policy.push(json!({
            "type": "file", "path": path, "content": { "text": text }, "mode": format!("{mode:04o}"),
        }));
    }
    for (unit, enabled, active, masked) in &wanted.units {
        policy.push(json!({
            "type": "unit", "name": unit, "enabled": enabled, "active": active, "masked": masked,
        }));
    }
    if let Some(value) = wanted.swappiness {
        policy.push(json!({ "type": "sysctl", "key": "vm.swappiness", "value": value.to_string() }));
    }
    if let Some(name) = &wanted.hostname {
        policy.push(json!({ "type": "hostname", "name": name }));
    }
    if wanted.zone {
        policy.push(json!({ "type": "time_zone", "zone": "Europe/Zurich" }));
    }
    if wanted.ca {
        policy.push(json!({ "type": "ca_certificate", "name": "acme", "pem": CA }));
    }
    if let Some(key) = &wanted.keys {
        policy.push(json!({ "type": "authorized_keys", "user": "ada", "keys": [key] }));
    }
    if let Some(release) = wanted.tool {
        let artifact = device.artifacts.add(format!("tool {release}.0").as_bytes());
        policy.push(json!({
            "type": "package", "name": "tool", "version": format!("{release}.0"), "artifact": artifact,
        }));
    }
    let dpc = wanted.dpc.map_or(Value::Null, |(release, extras)| dpc(device, release, extras));
    accept(1, &dpc, &Value::Array(policy))
}

/// Does something to a device; `true` if it came to an end, whichever that is.
fn act(device: &mut Device, event: &Event, faults: &Arc<FailAt>) -> bool {
    let ended = match event {
        Event::Install(wanted) => {
            let payload = payload(device, wanted);
            device.install(&payload, faults)
        }
        Event::Remove => device.uninstall(faults),
    };
    !matches!(ended, Err(InstallError::Unfinished(_)))
}

fn live_through(device: &mut Device, step: &Step) -> Result<(), TestCaseError> {
    let Step { event, healthy, failure, at, again } = step;
    device.healthy = *healthy;
    let old = device.picture();
    let new = {
        let mut undisturbed = device.fork();
        act(&mut undisturbed, event, &FailAt::never());
        undisturbed.picture()
    };
    let faults = FailAt::new(*failure, *at);
    let ended = act(device, event, &faults);
    if !ended || (faults.struck() && *failure != Failure::FullDisk) {
        if let Some(again) = again {
            device.reboot();
            let _ = device.resume(&FailAt::new(Failure::PowerCut, *again));
        }
        device.reboot();
        let resumed = device.resume(&FailAt::never());
        prop_assert!(resumed.is_ok(), "{resumed:?}");
    }
    let is_either = device.looks_like(&old) || device.looks_like(&new);
    prop_assert!(is_either, "{:#?}\nwas\n{old:#?}\nshould be\n{new:#?}", device.picture());
    prop_assert_eq!(device.resume(&FailAt::never()).unwrap(), None);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        rng_seed: RngSeed::Fixed(2),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_life_ends_as_it_should(
        before in vec(any_object(), PATHS.len()),
        life in vec(any_step(), 1..5),
    ) {
        let mut device = Device::new();
        furnish(&device, &before);
        device.reboot();
        let factory = device.picture();
        for step in &life {
            live_through(&mut device, step)?;
        }
        device.healthy = true;
        let removed = device.uninstall(&FailAt::never());
        prop_assert!(removed.is_ok(), "{removed:?}");
        prop_assert!(device.looks_like(&factory), "{:#?}\nwas\n{factory:#?}", device.picture());
        prop_assert_eq!(device.list_records(), ["blobs", "lock"]);
    }
}
