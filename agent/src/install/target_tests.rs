//! The target of each payload item, line by line, and items that make no sense.

use super::*;
use crate::install::accounts::Accounts;
use serde_json::{Value, json};

/// Digest and size of an empty file, to keep the rows readable.
const EMPTY: &str = "0 bytes e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(in crate::install) fn payload(dpc: &Value, policy: &Value) -> Payload {
    serde_json::from_value(json!({
        "device": "7", "generation": 1, "key_digest": Sha256::of(b"key"), "nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "version": 1, "issued_at": 1000, "expires_at": 9000,
        "configuration": { "id": "3", "name": "test" }, "dpc": dpc, "policy": policy,
    }))
    .unwrap()
}

pub(in crate::install) fn artifact(bytes: &[u8]) -> Value {
    json!({ "sha256": Sha256::of(bytes), "size": bytes.len() })
}

pub(in crate::install) fn asks(dpc: &Value, policy: &Value) -> Result<Target, TargetError> {
    let passwd =
        "root:x:0:0::/root:/bin/sh\nada:x:1000:1001::/home/ada:/bin/sh\nsystem:x:9:9::/proc:/bin/false\n";
    let accounts = Accounts::parse(passwd, "adm:x:4:\n", None);
    let means =
        Means { accounts: &accounts, unit_file: Some(b"[Service]\n"), blobs: "/var/lib/unbox/install/blobs" };
    target(&payload(dpc, policy), &means)
}

fn lines(target: &Target) -> Vec<String> {
    let states = target.states.iter().map(|(resource, state)| format!("{resource}: {state}"));
    let settings = target
        .settings
        .iter()
        .map(|(unit, setting)| format!("{unit}: {:?} {:?}", setting.enabled, setting.masked));
    states.chain(settings).collect()
}

#[test]
fn every_policy_item_asks_for_its_states() {
    for (item, expected) in [
        (
            json!({ "type": "file", "path": "/etc/x", "content": { "text": "" } }),
            vec![format!("/etc/x: file 0644 0:0 {EMPTY}")],
        ),
        (
            json!({
                "type": "file", "path": "/etc/x", "content": { "artifact": artifact(b"") },
                "mode": "0600", "owner": "ada", "group": "adm",
            }),
            vec![format!("/etc/x: file 0600 1000:4 {EMPTY}")],
        ),
        (
            json!({ "type": "unit", "name": "a.service", "enabled": false }),
            vec!["a.service: Some(false) None".to_owned()],
        ),
        (
            json!({ "type": "unit", "name": "a.service", "active": true }),
            vec!["activity of unit a.service: active".to_owned(), "a.service: None Some(false)".to_owned()],
        ),
        (
            json!({ "type": "unit", "name": "a.service", "masked": true, "active": false }),
            vec!["activity of unit a.service: inactive".to_owned(), "a.service: None Some(true)".to_owned()],
        ),
        (json!({ "type": "unit", "name": "a.service" }), vec![]),
        (
            json!({ "type": "time_zone", "zone": "Etc/UTC" }),
            vec![
                "/etc/localtime: link to /usr/share/zoneinfo/Etc/UTC".to_owned(),
                format!("/etc/timezone: file 0644 0:0 8 bytes {}", Sha256::of(b"Etc/UTC\n")),
            ],
        ),
        (
            json!({ "type": "hostname", "name": "kiosk" }),
            vec![
                format!("/etc/hostname: file 0644 0:0 6 bytes {}", Sha256::of(b"kiosk\n")),
                "running host name: \"kiosk\"".to_owned(),
            ],
        ),
        (
            json!({ "type": "authorized_keys", "user": "ada", "keys": [" ssh-a k ", "ssh-b l"] }),
            vec![
                "/home/ada/.ssh: directory 0700 1000:1001".to_owned(),
                format!(
                    "/home/ada/.ssh/authorized_keys: file 0600 1000:1001 16 bytes {}",
                    Sha256::of(b"ssh-a k\nssh-b l\n")
                ),
            ],
        ),
        (
            json!({ "type": "package", "name": "tool", "version": "1:2-3", "artifact": artifact(b"deb") }),
            vec!["package tool: version 1:2-3".to_owned()],
        ),
    ] {
        let target = asks(&Value::Null, &json!([item])).unwrap();
        assert_eq!(lines(&target), expected, "{item}");
    }
}

#[test]
fn kernel_parameters_share_one_sorted_file() {
    let target = asks(
        &Value::Null,
        &json!([
            { "type": "sysctl", "key": "vm.swappiness", "value": "10" },
            { "type": "sysctl", "key": "net.ipv4.ip_forward", "value": "1" },
        ]),
    )
    .unwrap();
    let text = String::from_utf8(target.texts.values().next().unwrap().clone()).unwrap();
    assert!(text.starts_with('#'));
    assert!(text.ends_with("\nnet.ipv4.ip_forward = 1\nvm.swappiness = 10\n"), "{text}");
    assert_eq!(lines(&target).len(), 3);
}

#[test]
fn a_certificate_lies_where_the_store_looks_for_it() {
    let pem = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let target =
        asks(&Value::Null, &json!([{ "type": "ca_certificate", "name": "acme", "pem": pem }])).unwrap();
    let line = lines(&target).remove(0);
    assert!(line.starts_with("/usr/local/share/ca-certificates/unbox-acme.crt: file 0644 0:0 "), "{line}");
}

fn tar_dpc() -> Value {
    json!({
        "name": "acme", "version": "1", "kind": "tar", "artifact": artifact(b"tar"),
        "unit": "acme.timer", "extras": { "token": "s3cret" },
    })
}

#[test]
fn a_tar_dpc_is_its_tree_its_unit_and_its_extras() {
    let target = asks(&tar_dpc(), &json!([])).unwrap();
    let tree = Sha256::of(b"tar");
    let starts: Vec<String> = lines(&target)
        .into_iter()
        .map(|line| line.split(" 0:0 ").next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        starts,
        [
            // Only the service started by the timer can read credentials.
            "/etc/systemd/system/acme.service.d/50-unbox.conf: file 0644".to_owned(),
            "/etc/systemd/system/acme.timer: file 0644".to_owned(),
            format!("/opt/unbox/dpc/acme/current: link to {tree}"),
            format!("/opt/unbox/dpc/acme/{tree}: unpacked"),
            "activity of unit acme.timer: active".to_owned(),
            "acme.timer: Some(true) Some(false)".to_owned(),
        ]
    );
    let extras = target.extras.unwrap();
    assert_eq!(target.texts[&extras], br#"{"token":"s3cret"}"#);
    let drop_in = format!("[Service]\nLoadCredential=unbox.extras:/var/lib/unbox/install/blobs/{extras}\n");
    assert!(target.texts.contains_key(&Sha256::of(drop_in.as_bytes())));
}

#[test]
fn whatever_a_dpc_is_started_from_starts_it_anew_when_it_changes() {
    let activity = |dpc: &Value| {
        let target = asks(dpc, &json!([])).unwrap();
        let unit = Resource::UnitActivity("acme.timer".parse().unwrap());
        target.states[&unit].clone()
    };
    let same = activity(&tar_dpc());
    assert_eq!(activity(&tar_dpc()), same);
    let changed = |key: &str, value: Value| {
        let mut dpc = tar_dpc();
        dpc[key] = value;
        activity(&dpc)
    };
    assert_ne!(changed("artifact", artifact(b"other")), same);
    assert_ne!(changed("extras", json!({ "token": "other" })), same);
    assert_eq!(changed("version", json!("2")), same);
}

#[test]
fn what_makes_no_sense_is_named() {
    let file = |path: &str| json!({ "type": "file", "path": path, "content": { "text": "x" } });
    let deb = |extra: &Value| {
        let mut dpc = json!({ "name": "acme", "version": "1", "kind": "deb", "artifact": artifact(b"deb") });
        dpc.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        dpc
    };
    let other = json!({ "type": "package", "name": "acme", "version": "2", "artifact": artifact(b"other") });
    for (dpc, policy, expected) in [
        (
            Value::Null,
            json!([file("/etc/hostname"), { "type": "hostname", "name": "a" }]),
            "two parts of the payload are about /etc/hostname",
        ),
        (deb(&json!({})), json!([other]), "two parts of the payload are about package acme"),
        (
            deb(&json!({ "unit": "acme.service" })),
            json!([{ "type": "unit", "name": "acme.service", "enabled": false }]),
            "about setting of unit acme.service",
        ),
        (
            Value::Null,
            json!([{ "type": "authorized_keys", "user": "system", "keys": [] }]),
            "user system has no home directory",
        ),
        (deb(&json!({ "extras": { "a": 1 } })), json!([]), "names no service that could read them"),
        (
            deb(&json!({ "extras": { "a": 1 }, "unit": "acme.target" })),
            json!([]),
            "names no service that could read them",
        ),
        (deb(&json!({ "health": { "type": "unit_active", "timeout_s": 1 } })), json!([]), "names no unit"),
        (Value::Null, json!([{ "type": "network_profile", "name": "wifi" }]), "network profile wifi"),
    ] {
        let error = asks(&dpc, &policy).unwrap_err().to_string();
        assert!(error.contains(expected), "{error:?} does not say {expected:?}");
    }
}

#[test]
fn a_file_cannot_be_a_directory_as_well() {
    let file = |path: &str| json!({ "type": "file", "path": path, "content": { "text": "x" } });
    let nested = |outer: &str, inner: &str| {
        let target = asks(&Value::Null, &json!([file(outer), file(inner)])).unwrap();
        check_nesting(&target.states)
    };
    assert!(matches!(nested("/etc/a", "/etc/a/b/c"), Err(TargetError::Nested { .. })));
    assert!(nested("/etc/a", "/etc/ab").is_ok());
}
