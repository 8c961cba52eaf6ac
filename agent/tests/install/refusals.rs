//! What is refused: every attack and every mistake by its own name, and nothing has changed.

use crate::{
    device::Device,
    faults::FailAt,
    payloads::{Entry, accept, file, gzip, link, tar},
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink};
use tar::EntryType;
use unbox_agent::install::{Fault, InstallOutcome};

const UNIT: Entry<'_> =
    file("acme.service", 0o644, b"[Service]\nExecStart=/opt/unbox/dpc/acme/current/dpc\n");

pub(crate) fn dpc_of(device: &Device, archive: &[u8]) -> Value {
    json!({
        "name": "acme", "version": "1", "kind": "tar", "unit": "acme.service",
        "artifact": device.artifacts.add(archive),
    })
}

/// Installs this, and gives the kind and the words of the refusal. Nothing may have changed.
pub(crate) fn refused(device: &mut Device, dpc: &Value, policy: &Value) -> (&'static str, String, Fault) {
    let before = device.picture();
    let kept = device.state_dir().join("install").exists().then(|| device.list_records());
    let payload = accept(1, dpc, policy);
    let error = device.install(&payload, &FailAt::never()).unwrap_err();
    assert_eq!(device.picture(), before, "{error}");
    assert_eq!(device.list_records(), kept.unwrap_or_else(|| vec!["blobs".to_owned(), "lock".to_owned()]));
    assert_eq!(device.resume(&FailAt::never()).unwrap(), None);
    (error.kind(), error.failure().detail, error.fault())
}

fn refused_archive(archive: &[u8]) -> String {
    let mut device = Device::new();
    let dpc = dpc_of(&device, archive);
    let (kind, detail, fault) = refused(&mut device, &dpc, &json!([]));
    assert_eq!((kind, fault), ("archive_refused", Fault::Payload), "{detail}");
    detail
}

/// An archive with a good unit and one more entry.
fn with(entry: Entry<'_>) -> Vec<u8> {
    tar(&[UNIT, entry])
}

pub(crate) fn assert_says(detail: &str, words: &str) {
    assert!(detail.contains(words), "{detail:?} does not say {words:?}");
}

#[test]
fn a_name_with_parent_directories_is_refused() {
    for name in ["../escape", "bin/../../escape", "./../escape", "bin/.."] {
        let detail = refused_archive(&with(file(name, 0o644, b"")));
        assert_says(&detail, "a name that leads elsewhere");
    }
}

#[test]
fn an_absolute_name_is_refused() {
    assert_says(&refused_archive(&with(file("/etc/passwd", 0o644, b""))), "a name that leads elsewhere");
}

#[test]
fn a_link_that_leads_out_is_refused() {
    for (name, target) in [
        ("evil", "/etc"),
        ("evil", ".."),
        ("bin/evil", "../.."),
        ("bin/evil", "x/../../.."),
        ("evil", "a/../b"),
        ("evil", ""),
    ] {
        let detail = refused_archive(&with(link(EntryType::Symlink, name, target)));
        assert_says(&detail, "points out of the tree");
    }
}

#[test]
fn a_file_below_a_link_of_the_archive_is_refused() {
    let archive = tar(&[
        UNIT,
        file("real/file", 0o644, b""),
        link(EntryType::Symlink, "way", "real"),
        file("way/file2", 0o644, b"x"),
    ]);
    assert_says(&refused_archive(&archive), "way/file2 is in the archive twice, or below something");
}

#[test]
fn one_name_twice_is_refused() {
    for archive in [
        tar(&[UNIT, file("a", 0o644, b"1"), file("a", 0o644, b"2")]),
        tar(&[UNIT, file("a/b", 0o644, b"1"), file("a", 0o644, b"2")]),
        tar(&[UNIT, link(EntryType::Symlink, "a", "b"), link(EntryType::Directory, "a", "")]),
    ] {
        assert_says(&refused_archive(&archive), "a is in the archive twice");
    }
}

#[test]
fn a_hard_link_is_refused() {
    let detail = refused_archive(&with(link(EntryType::Link, "passwd", "/etc/passwd")));
    assert_says(&detail, "passwd in the archive is a hard link");
}

#[test]
fn devices_and_fifos_are_refused() {
    for (kind, what) in
        [(EntryType::Char, "a device"), (EntryType::Block, "a device"), (EntryType::Fifo, "a FIFO")]
    {
        assert_says(&refused_archive(&with(link(kind, "odd", ""))), what);
    }
}

#[test]
fn set_id_files_are_refused() {
    for mode in [0o4755, 0o2755, 0o1777] {
        assert_says(&refused_archive(&with(file("su", mode, b"x"))), "set-id or sticky");
    }
}

#[test]
fn an_archive_that_is_cut_off_is_refused() {
    let whole = gzip(&tar(&[UNIT, file("bin/dpc", 0o755, &[7; 4000])]));
    refused_archive(&whole[..whole.len() / 2]);
    let plain = tar(&[UNIT, file("bin/dpc", 0o755, &[7; 4000])]);
    refused_archive(&plain[..plain.len() - 3000]);
}

#[test]
fn what_is_no_archive_is_refused() {
    refused_archive(b"#!/bin/sh\necho hello\n");
    refused_archive(&[0x1f, 0x8b, 8, 0, 1, 2, 3]);
    refused_archive(&[0xff; 2048]);
}

#[test]
fn an_archive_without_its_unit_is_refused() {
    let detail = refused_archive(&tar(&[file("bin/acme.service", 0o644, b"")]));
    assert_says(&detail, "the DPC's archive holds no acme.service");
    refused_archive(b"");
}

#[test]
fn an_artifact_that_was_changed_or_is_gone_is_not_used() {
    let mut device = Device::new();
    let dpc = dpc_of(&device, &tar(&[UNIT]));
    device.artifacts.corrupt(&dpc["artifact"]);
    let (kind, _, fault) = refused(&mut device, &dpc, &json!([]));
    assert_eq!((kind, fault), ("artifact_changed", Fault::Device));
    let path = device.artifacts.directory.join(dpc["artifact"]["sha256"].as_str().unwrap());
    fs::write(&path, "shorter").unwrap();
    assert_eq!(refused(&mut device, &dpc, &json!([])).0, "artifact_changed");
    fs::remove_file(&path).unwrap();
    assert_eq!(refused(&mut device, &dpc, &json!([])).0, "artifact_missing");
    symlink("/etc/passwd", &path).unwrap();
    assert_eq!(refused(&mut device, &dpc, &json!([])).0, "artifact_changed");
}

#[test]
fn a_package_that_is_another_one_is_refused() {
    for held in ["tool 9.9", "other 1.0", "nonsense"] {
        let mut device = Device::new();
        let artifact = device.artifacts.add(held.as_bytes());
        let policy = json!([{ "type": "package", "name": "tool", "version": "1.0", "artifact": artifact }]);
        assert_eq!(refused(&mut device, &Value::Null, &policy).0, "package_refused");
    }
}

#[test]
fn a_package_that_could_not_be_put_back_is_left_alone() {
    let mut device = Device::new();
    let artifact = device.artifacts.add(b"tool 1.0");
    let policy = json!([{ "type": "package", "name": "tool", "version": "1.0", "artifact": artifact }]);
    for version in ["0.9", "half"] {
        device.has_package("tool", version);
        assert_eq!(refused(&mut device, &Value::Null, &policy).0, "no_way_back");
    }
    // The same version is what is wanted, and its file is here now.
    device.has_package("tool", "1.0");
    let outcome = device.install(&accept(1, &Value::Null, &policy), &FailAt::never()).unwrap();
    assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
}

#[test]
fn what_the_device_does_not_have_is_named() {
    let mut device = Device::new();
    for (item, words) in [
        (
            json!({ "type": "file", "path": "/etc/x", "content": { "text": "" }, "owner": "bob" }),
            "no user bob",
        ),
        (
            json!({ "type": "file", "path": "/etc/x", "content": { "text": "" }, "group": "bob" }),
            "no group bob",
        ),
        (json!({ "type": "authorized_keys", "user": "bob", "keys": [] }), "no user bob"),
        (json!({ "type": "time_zone", "zone": "Europe/Atlantis" }), "time zone Europe/Atlantis"),
        (json!({ "type": "sysctl", "key": "net.warp", "value": "9" }), "no parameter net.warp"),
    ] {
        let (kind, detail, _) = refused(&mut device, &Value::Null, &json!([item]));
        assert_eq!(kind, "device_lacks");
        assert_says(&detail, words);
    }
    fs::remove_dir(device.root().join("home/ada")).unwrap();
    let keys = json!([{ "type": "authorized_keys", "user": "ada", "keys": [] }]);
    let (kind, detail, _) = refused(&mut device, &Value::Null, &keys);
    assert_eq!(kind, "device_lacks");
    assert_says(&detail, "user ada has no home directory");
}

#[test]
fn paths_that_lead_where_nothing_may_be_are_refused() {
    let mut device = Device::new();
    symlink("/var/lib/unbox", device.root().join("etc/innocent")).unwrap();
    symlink("loop", device.root().join("etc/loop")).unwrap();
    fs::create_dir(device.root().join("etc/directory")).unwrap();
    nix::unistd::mkfifo(&device.root().join("etc/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in ["/etc/innocent/ledger.json", "/etc/loop/x", "/etc/hostname/x", "/etc/directory", "/etc/fifo"]
    {
        let policy = json!([{ "type": "file", "path": path, "content": { "text": "" } }]);
        let (kind, detail, _) = refused(&mut device, &Value::Null, &policy);
        assert_eq!(kind, "path_refused", "{path}: {detail}");
    }
    fs::remove_file(device.root().join("etc/fifo")).unwrap();
}

#[test]
fn what_gives_power_over_the_device_needs_its_word_where_links_lead_as_well() {
    let mut device = Device::new();
    fs::create_dir_all(device.root().join("etc/sudoers.d")).unwrap();
    symlink("/etc/sudoers.d", device.root().join("etc/innocent")).unwrap();
    fs::rename(device.root().join("var/lib/unbox"), device.root().join("srv-unbox")).unwrap();
    symlink("../../srv-unbox", device.root().join("var/lib/unbox")).unwrap();
    let _ = device.install(&accept(1, &Value::Null, &json!([])), &FailAt::never()).unwrap();
    let file = |path: &str| json!({ "type": "file", "path": path, "content": { "text": "" } });
    for (path, words) in [
        ("/etc/innocent/acme", "who may log in and who becomes root: add `\"privileged\": true`"),
        ("/srv-unbox/ledger.json", "/srv-unbox/ledger.json belongs to Unbox"),
    ] {
        let (kind, detail, fault) = refused(&mut device, &Value::Null, &json!([file(path)]));
        assert_eq!((kind, fault), ("path_refused", Fault::Payload), "{path}: {detail}");
        assert_says(&detail, words);
    }
    let mut allowed = file("/etc/innocent/acme");
    allowed["privileged"] = json!(true);
    let outcome = device.install(&accept(1, &Value::Null, &json!([allowed])), &FailAt::never()).unwrap();
    assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
}

#[test]
fn every_file_of_the_agents_package_is_out_of_reach() {
    let sources = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/agent")).unwrap();
    let mut places = vec!["/usr/bin/unbox-agent".to_owned()];
    for source in sources {
        let name = source.unwrap().file_name().into_string().unwrap();
        let (stem, kind) = name.rsplit_once('.').unwrap();
        places.push(match kind {
            "service" | "target" | "path" | "timer" => format!("/lib/systemd/system/{name}"),
            "preset" => format!("/lib/systemd/system-preset/{name}"),
            "rules" => format!("/lib/udev/rules.d/{name}"),
            "conf" => format!("/usr/lib/{stem}.d/unbox.conf"),
            "8" => format!("/usr/share/man/man8/{name}.gz"),
            other => panic!("a new kind of file: {other}"),
        });
    }
    assert!(places.len() > 10);
    for place in places {
        let reach = unbox_common::protected::reach_of_path(&place);
        assert!(matches!(reach, unbox_common::protected::Reach::Never(_)), "{place}");
    }
}

#[test]
fn an_artifact_that_becomes_a_file_is_checked_before_anything_changes() {
    let mut device = Device::new();
    let artifact = device.artifacts.add(b"contents");
    let policy = json!([
        { "type": "hostname", "name": "kiosk" },
        { "type": "file", "path": "/etc/x", "content": { "artifact": artifact } },
    ]);
    device.artifacts.corrupt(&artifact);
    assert_eq!(refused(&mut device, &Value::Null, &policy).0, "artifact_changed");
    fs::remove_file(device.artifacts.directory.join(artifact["sha256"].as_str().unwrap())).unwrap();
    assert_eq!(refused(&mut device, &Value::Null, &policy).0, "artifact_missing");
}

pub(crate) fn package(device: &Device, deb: &str) -> Value {
    let artifact = device.artifacts.add(deb.as_bytes());
    json!([{ "type": "package", "name": "tool", "version": "1.0", "artifact": artifact }])
}

#[test]
fn a_package_reaches_neither_unbox_nor_what_others_have() {
    let mut device = Device::new();
    device.has_package("other", "1.0");
    device.write("usr/bin/other", "1.0");
    symlink("/etc/unbox", device.root().join("etc/way")).unwrap();
    fs::create_dir_all(device.root().join("etc/unbox")).unwrap();
    for (path, kind, words) in [
        ("usr/bin/other", "package_refused", "it would replace /usr/bin/other of package other"),
        ("etc/unbox/trust/root.json", "path_refused", "belongs to Unbox"),
        ("etc/way/trust/root.json", "path_refused", "belongs to Unbox"),
        ("lib/systemd/system/unbox-install.service", "path_refused", "belongs to Unbox"),
        ("var/lib/dpkg/status", "path_refused", "belongs to the package system"),
    ] {
        let policy = package(&device, &format!("tool 1.0\n{path} x"));
        let (found, detail, fault) = refused(&mut device, &Value::Null, &policy);
        assert_eq!((found, fault), (kind, Fault::Payload), "{path}: {detail}");
        assert!(detail.contains(words), "{detail:?} does not say {words:?}");
    }
}

#[test]
fn another_program_that_installs_packages_is_waited_for_and_costs_nothing() {
    let mut device = Device::new();
    let policy = package(&device, "tool 1.0");
    device.busy.set(usize::MAX);
    let (kind, detail, fault) = refused(&mut device, &Value::Null, &policy);
    assert_eq!((kind, fault), ("packages_busy", Fault::Device));
    assert_says(&detail, "apt-get (process 7) is installing packages at the moment");
    device.busy.set(5);
    let outcome = device.install(&accept(1, &Value::Null, &policy), &FailAt::never()).unwrap();
    assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
}

#[test]
fn what_a_user_puts_in_the_way_does_not_hold_up_a_reset() {
    let mut device = Device::new();
    let factory = device.picture();
    let policy = json!([
        { "type": "authorized_keys", "user": "ada", "keys": ["ssh-a"] },
        { "type": "hostname", "name": "kiosk" },
    ]);
    let payload = accept(1, &Value::Null, &policy);
    let _ = device.install(&payload, &FailAt::never()).unwrap();
    let ssh = device.root().join("home/ada/.ssh");
    fs::remove_dir_all(&ssh).unwrap();
    symlink("/root", &ssh).unwrap();
    let again = device.install(&payload, &FailAt::never()).unwrap_err();
    assert_eq!(again.kind(), "path_refused");
    assert_eq!(device.uninstall(&FailAt::never()).unwrap(), InstallOutcome::Removed);
    assert_eq!(device.picture(), factory);
    assert_eq!(fs::read_dir(device.root().join("root")).unwrap().count(), 0);
}

#[test]
fn a_payload_that_contradicts_itself_is_refused() {
    let mut device = Device::new();
    symlink("usr/local", device.root().join("local")).unwrap();
    let file = |path: &str, text: &str| json!({ "type": "file", "path": path, "content": { "text": text } });
    for (policy, words) in [
        (json!([file("/etc/hostname", "a"), { "type": "hostname", "name": "b" }]), "/etc/hostname"),
        (json!([file("/local/x", "a"), file("/usr/local/x", "b")]), "/usr/local/x"),
        (json!([file("/etc/x", "a"), file("/etc/x/y", "b")]), "has /etc/x as a file"),
    ] {
        let (kind, detail, fault) = refused(&mut device, &Value::Null, &policy);
        assert_eq!((kind, fault), ("payload_contradictory", Fault::Payload), "{detail}");
        assert_says(&detail, words);
    }
    let artifact = device.artifacts.add(&tar(&[]));
    let dpc = json!({ "name": "acme", "version": "1", "kind": "tar", "artifact": artifact });
    for (key, value) in
        [("extras", json!({ "a": 1 })), ("health", json!({ "type": "unit_active", "timeout_s": 1 }))]
    {
        let mut dpc = dpc.clone();
        dpc[key] = value;
        assert_eq!(refused(&mut device, &dpc, &json!([])).0, "payload_contradictory");
    }
}

#[test]
fn a_journal_or_record_that_is_broken_is_said_and_stays_as_it_is() {
    let good = {
        let mut device = Device::new();
        let policy = json!([{ "type": "hostname", "name": "kiosk" }]);
        let _ = device.install(&accept(1, &Value::Null, &policy), &FailAt::never()).unwrap();
        fs::read(device.state_dir().join("install/installed.json")).unwrap()
    };
    for (name, broken) in [
        ("journal.jsonl", &b""[..]),
        ("journal.jsonl", b"{\"format\":1,\"plan\":{\"steps\":["),
        ("journal.jsonl", b"\0\0\0\0\0\0\0\0\0\0\0\0"),
        ("journal.jsonl", b"{\"format\":9}\n"),
        ("journal.jsonl", b"[]\n"),
        ("installed.json", b""),
        ("installed.json", &good[..good.len() / 2]),
        ("installed.json", b"{\"format\":9}"),
    ] {
        let mut device = Device::new();
        fs::create_dir_all(device.state_dir().join("install")).unwrap();
        let path = device.state_dir().join("install").join(name);
        fs::write(&path, broken).unwrap();
        let before = device.picture();
        let payload = accept(1, &Value::Null, &json!([{ "type": "hostname", "name": "kiosk" }]));
        for _ in 0..2 {
            let install = device.install(&payload, &FailAt::never()).unwrap_err();
            let resume = device.resume(&FailAt::never()).unwrap_err();
            let uninstall = device.uninstall(&FailAt::never()).unwrap_err();
            for error in [install, resume, uninstall] {
                let kind = error.kind();
                assert_eq!(kind, "install_state_unusable", "{name} {broken:?}: {error}");
            }
        }
        assert_eq!(device.picture(), before);
        assert_eq!(fs::read(&path).unwrap(), broken);
    }
}

#[test]
fn two_installations_do_not_run_at_once() {
    let mut device = Device::new();
    let install = device.state_dir().join("install");
    fs::create_dir_all(&install).unwrap();
    let lock = fs::File::create(install.join("lock")).unwrap();
    lock.lock().unwrap();
    let payload = accept(1, &Value::Null, &json!([]));
    let busy = device.install(&payload, &FailAt::never()).unwrap_err();
    assert_eq!(busy.kind(), "install_busy");
    drop(lock);
    let _ = device.install(&payload, &FailAt::never()).unwrap();
}

#[test]
fn an_unfinished_installation_comes_first() {
    let mut device = Device::new();
    let payload = accept(1, &Value::Null, &json!([{ "type": "hostname", "name": "kiosk" }]));
    let operations = {
        let faults = FailAt::never();
        let _ = Device::new().install(&payload, &faults).unwrap();
        faults.count()
    };
    let cut = FailAt::new(crate::faults::Failure::PowerCut, operations / 2);
    let _ = device.install(&payload, &cut);
    assert_eq!(device.install(&payload, &FailAt::never()).unwrap_err().kind(), "install_unfinished");
    assert_eq!(device.uninstall(&FailAt::never()).unwrap_err().kind(), "install_unfinished");
    assert!(device.resume(&FailAt::never()).unwrap().is_some());
}
