//! Unit files that would take the device away from Unbox, by every way in which a payload brings one.

use crate::{
    device::Device,
    faults::FailAt,
    payloads::{accept, file, tar},
    refusals::{assert_says, dpc_of, package, refused},
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink};
use unbox_agent::install::{Fault, InstallOutcome};
use unbox_common::protected::{Reach, is_unit_file, reach_of_path};

/// Stops a unit of Unbox when it starts. The name stands in a line of its own.
const HOSTILE: &str = "[Unit]\nConflicts=\\\n  unbox-report.timer\n[Service]\nExecStart=/bin/true\n";
const UNIT: &str = "/etc/systemd/system/kiosk.service";

fn assert_refused(device: &mut Device, dpc: &Value, policy: &Value, words: &str) {
    let (kind, detail, fault) = refused(device, dpc, policy);
    assert_eq!((kind, fault), ("path_refused", Fault::Payload), "{detail}");
    assert_says(&detail, words);
}

#[test]
fn a_unit_file_that_comes_as_an_artifact_is_searched_before_anything_changes() {
    let mut device = Device::new();
    let item = |path: &str, content: Value| json!([{ "type": "file", "path": path, "content": content }]);
    let artifact = device.artifacts.add(HOSTILE.as_bytes());
    let hold_up = "would replace, stop or hold up a unit of Unbox";
    for path in [UNIT, "/usr/local/lib/systemd/system/kiosk.service.d/x.conf"] {
        assert_refused(&mut device, &Value::Null, &item(path, json!({ "artifact": artifact })), hold_up);
    }
    let long = device.artifacts.add(&vec![b'#'; 64 * 1024 + 1]);
    let policy = item(UNIT, json!({ "artifact": long }));
    assert_refused(&mut device, &Value::Null, &policy, "a unit file of more than 64 KiB");

    let good = device.artifacts.add(b"[Service]\nExecStart=/bin/true\n");
    for (path, artifact) in [("/etc/kiosk/notes", &artifact), (UNIT, &good)] {
        let payload = accept(1, &Value::Null, &item(path, json!({ "artifact": artifact })));
        let outcome = device.install(&payload, &FailAt::never()).unwrap();
        assert_eq!(outcome, InstallOutcome::Managed { version: 1 }, "{path}");
    }
}

#[test]
fn a_unit_file_is_searched_where_links_lead_as_well() {
    let mut device = Device::new();
    symlink("/etc/systemd/system", device.root().join("etc/innocent")).unwrap();
    let policy =
        json!([{ "type": "file", "path": "/etc/innocent/a.service", "content": { "text": HOSTILE } }]);
    assert_refused(&mut device, &Value::Null, &policy, "would replace, stop or hold up a unit of Unbox");
}

#[test]
fn the_unit_file_of_a_dpc_is_searched_before_anything_changes() {
    for (text, unit) in
        [(HOSTILE, "unbox-report.timer"), ("[Install]\nAlias=default.target\n", "default.target")]
    {
        let mut device = Device::new();
        let dpc = dpc_of(&device, &tar(&[file("acme.service", 0o644, text.as_bytes())]));
        let words = format!("unit file acme.service would replace, stop or hold up {unit}");
        assert_refused(&mut device, &dpc, &json!([]), &words);
    }
}

#[test]
fn the_unit_files_of_a_package_are_searched_before_anything_changes() {
    let mut device = Device::new();
    let deb = "tool 1.0\nlib/systemd/system/tool.service Conflicts=unbox.target";
    let policy = package(&device, deb);
    let words = "unit file /lib/systemd/system/tool.service would replace, stop or hold up unbox.target";
    assert_refused(&mut device, &Value::Null, &policy, words);
}

#[test]
fn a_package_whose_file_becomes_a_unit_file_by_a_link_is_refused() {
    let mut device = Device::new();
    symlink("/etc/systemd/system", device.root().join("etc/innocent")).unwrap();
    let policy = package(&device, "tool 1.0\netc/innocent/tool.service Conflicts=unbox.target");
    assert_refused(&mut device, &Value::Null, &policy, "it was not searched as one");
}

#[test]
fn a_program_in_place_of_one_of_the_systems_needs_the_word() {
    let mut device = Device::new();
    device.write("usr/sbin/ip", "");
    symlink("/usr/local/sbin", device.root().join("etc/innocent")).unwrap();
    let file = |path: &str| json!([{ "type": "file", "path": path, "content": { "text": "" } }]);
    for path in ["/usr/local/bin/ip", "/etc/innocent/ip"] {
        let words = "which of two programs of one name runs: add `\"privileged\": true`";
        assert_refused(&mut device, &Value::Null, &file(path), words);
    }
    let payload = accept(1, &Value::Null, &file("/usr/local/bin/acme"));
    let outcome = device.install(&payload, &FailAt::never()).unwrap();
    assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
}

#[test]
fn keys_in_a_home_that_is_a_link_need_the_word_where_it_leads() {
    for (link, to) in [
        ("home/ada", "/root"),
        ("home/ada", "../srv/toor"),
        ("home/ada", "/usr/lib/acme"),
        ("home", "/root/homes"),
    ] {
        let mut device = Device::new();
        let accounts =
            "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/srv/toor:/bin/sh\nada:x:9:9::/home/ada:/bin/sh\n";
        device.write("etc/passwd", accounts);
        for directory in ["srv/toor", "usr/lib/acme", "root/homes/ada"] {
            fs::create_dir_all(device.root().join(directory)).unwrap();
        }
        fs::remove_dir_all(device.root().join(link)).unwrap();
        symlink(to, device.root().join(link)).unwrap();
        let item = json!({ "type": "authorized_keys", "user": "ada", "keys": ["ssh-a"] });
        assert_refused(&mut device, &Value::Null, &json!([item]), "add `\"privileged\": true`");
    }
    let mut device = Device::new();
    fs::rename(device.root().join("home"), device.root().join("srv")).unwrap();
    symlink("srv", device.root().join("home")).unwrap();
    let item = json!({ "type": "authorized_keys", "user": "ada", "keys": ["ssh-a"] });
    let outcome = device.install(&accept(1, &Value::Null, &json!([item])), &FailAt::never()).unwrap();
    assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
    assert!(fs::exists(device.root().join("srv/ada/.ssh/authorized_keys")).unwrap());
}

#[test]
fn keys_that_log_in_as_root_need_the_word_whatever_root_is_called() {
    let mut device = Device::new();
    let accounts = "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/home/ada:/bin/sh\nops:x:9:9::/root:/bin/sh\n";
    device.write("etc/passwd", accounts);
    for user in ["toor", "ops"] {
        let mut item = json!({ "type": "authorized_keys", "user": user, "keys": ["ssh-a"] });
        let words = "who may log in and who becomes root: add `\"privileged\": true`";
        assert_refused(&mut device, &Value::Null, &json!([item]), words);
        item["privileged"] = json!(true);
        let payload = accept(1, &Value::Null, &json!([item]));
        let outcome = device.install(&payload, &FailAt::never()).unwrap();
        assert_eq!(outcome, InstallOutcome::Managed { version: 1 }, "{user}");
    }
    assert!(fs::exists(device.root().join("root/.ssh/authorized_keys")).unwrap());
}

/// Returns the directories that systemd on this machine reads units from.
fn unit_paths(scope: &str) -> Vec<String> {
    let asked = std::process::Command::new("systemd-analyze")
        .args(["unit-paths", scope])
        .env_clear()
        .env("HOME", "/home/ada")
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap_or_else(|error| panic!("systemd-analyze is needed, install systemd: {error}"));
    let listed = String::from_utf8(asked.stdout).unwrap();
    let paths: Vec<String> = listed.lines().filter(|line| line.starts_with('/')).map(str::to_owned).collect();
    assert!(paths.len() > 5, "{listed}");
    paths
}

#[test]
fn every_place_that_systemd_reads_units_from_is_known() {
    for directory in unit_paths("--system") {
        let own = format!("{directory}/unbox-install.service");
        assert!(matches!(reach_of_path(&own), Reach::Never(_)), "{own}");
        // No payload can name a path below /run.
        let unit = format!("{directory}/acme.service");
        assert!(directory.starts_with("/run/") || is_unit_file(&unit), "{unit}");
    }
    for directory in unit_paths("--user") {
        let unit = format!("{directory}/acme.service");
        assert!(!matches!(reach_of_path(&unit), Reach::Open), "{unit}");
    }
}
