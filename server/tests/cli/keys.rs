//! Keys and certificates that are not as they should be, and what `doctor` and the commands say of that.

use super::{Admin, code, error, mode, text};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};
use unbox_server::files::{PRIVATE_FILE, replace};

/// Adds lines to the settings.
fn set(admin: &Admin, lines: &str) {
    let path = admin.path("server.toml");
    let settings = fs::read_to_string(&path).unwrap();
    replace(&path, format!("{lines}\n{settings}").as_bytes(), PRIVATE_FILE).unwrap();
}

/// Has the settings name a certificate and a key of their own.
fn set_certificate(admin: &Admin, certificate: &Path, key: &Path) {
    let path = admin.path("server.toml");
    let settings = fs::read_to_string(&path).unwrap();
    let tls = format!("[tls]\ncertificate = \"{}\"\nkey = \"{}\"", certificate.display(), key.display());
    replace(&path, settings.replace("[tls]", &tls).as_bytes(), PRIVATE_FILE).unwrap();
}

fn doctor(admin: &Admin) -> String {
    text(&admin.run(&["doctor"]))
}

#[test]
fn a_missing_root_is_named_by_serve_doctor_and_every_key_command() {
    let admin = Admin::founded();
    admin.json(&["key", "rotate"]);
    admin.json(&["key", "rotate"]);
    fs::remove_file(admin.path("roots/2.json")).unwrap();
    for command in [
        &["serve", "--listen", "127.0.0.1:0"][..],
        &["key", "list"],
        &["key", "rotate"],
        &["key", "rotate", "--root"],
        &["key", "retire", "--yes"],
        &["key", "rotate-device-ca"],
        &["key", "retire-device-ca", "--yes"],
        &["key", "rotate-anchors"],
        &["key", "retire-anchors", "--yes"],
        &["key", "renew-server"],
    ] {
        let told = admin.refused(command, 1);
        assert!(told.contains("roots/2.json is missing") && told.contains("from a backup"), "{told}");
    }
    let told = doctor(&admin);
    assert!(told.contains("roots/2.json is missing") && !told.contains("over it"), "{told}");
}

#[test]
fn secrets_that_others_can_read_are_told_with_the_command_that_closes_them() {
    let admin = Admin::founded();
    let open = |name: &str| {
        fs::set_permissions(admin.path(name), fs::Permissions::from_mode(0o644)).unwrap();
        doctor(&admin)
    };
    let told = open("server.toml");
    assert!(!told.contains("server.toml"), "it holds no password: {told}");
    for name in ["unbox.db", "keys/tls-ca.pem", "keys/root-1.pem", "keys/server.pem"] {
        let told = open(name);
        let path = admin.path(name);
        assert_eq!(told.matches(&format!("chmod 0600 {}", path.display())).count(), 1, "{name}: {told}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    open("keys/tls-ca.pem");
    let told = admin.refused(&["serve", "--listen", "127.0.0.1:0"], 1);
    assert!(told.contains("chmod 0600") && told.contains("keys/tls-ca.pem"), "{told}");
    set(&admin, "database = \"postgres://unbox:hunter2@localhost:1/unbox\"");
    assert_eq!(mode(&admin.path("server.toml")), 0o600);
    let told = open("server.toml");
    assert!(
        told.contains("chmod 0600") && told.contains("server.toml") && !told.contains("hunter2"),
        "{told}"
    );
}

#[test]
fn a_certificate_from_files_is_judged_by_doctor_as_by_serve() {
    let admin = Admin::founded();
    let [certificate, key] = ["own.pem", "own.key"].map(|name| admin.dir.path().join(name));
    let keys = [KeyPair::generate().unwrap(), KeyPair::generate().unwrap()];
    let issued =
        CertificateParams::new(vec!["other.example".to_owned()]).unwrap().self_signed(&keys[0]).unwrap();
    replace(&certificate, issued.pem().as_bytes(), PRIVATE_FILE).unwrap();
    replace(&key, keys[1].serialize_pem().as_bytes(), PRIVATE_FILE).unwrap();
    set_certificate(&admin, &certificate, &key);

    let told = doctor(&admin);
    assert!(told.contains("cannot be used with its key") && told.contains("[tls]"), "{told}");
    assert!(!told.contains("renew-server"), "{told}");
    let refused = admin.refused(&["serve", "--listen", "127.0.0.1:0"], 1);
    assert!(refused.contains("cannot be used with its key"), "{refused}");

    replace(&key, keys[0].serialize_pem().as_bytes(), PRIVATE_FILE).unwrap();
    let told = doctor(&admin);
    assert!(told.contains("does not carry this name: have its authority issue"), "{told}");
    assert!(told.contains("devices refuse this certificate") && !told.contains("renew-server"), "{told}");
    let listed = admin.json(&["key", "list"]);
    assert_eq!(listed["certificate_in_use"], Value::from(certificate.to_str().unwrap()));
    assert_eq!(listed["certificates"][0]["names"], serde_json::json!(["other.example"]));
    let shown = text(&admin.run(&["key", "list"]));
    let line = shown.lines().find(|line| line.contains("certificate in use")).unwrap();
    assert!(line.contains("own.pem"), "{shown}");

    fs::remove_file(&certificate).unwrap();
    let refused = admin.refused(&["serve", "--listen", "127.0.0.1:0"], 1);
    assert!(refused.contains("own.pem: correct the path") && !refused.contains("init"), "{refused}");
}

/// A certificate for `localhost` with an RSA key of 1024 bits, made with OpenSSL 3.0:
/// `openssl req -x509 -newkey rsa:1024 -nodes -subj /CN=localhost -days 7300`.
const WEAK: &str = include_str!("../fixtures/rsa-1024.pem");

#[test]
fn a_certificate_with_a_weak_key_is_found_before_the_server_is_restarted() {
    let admin = Admin::founded();
    let path = admin.dir.path().join("weak.pem");
    replace(&path, WEAK.as_bytes(), PRIVATE_FILE).unwrap();
    set_certificate(&admin, &path, &path);
    let told = doctor(&admin);
    assert!(told.contains("weak.pem cannot be used with its key"), "{told}");
    let refused = admin.refused(&["serve", "--listen", "127.0.0.1:0"], 1);
    assert!(refused.contains("weak.pem cannot be used with its key"), "{refused}");
}

#[test]
fn what_is_missing_from_a_server_is_put_back_and_not_made_anew() {
    let admin = Admin::founded();
    let settings = fs::read(admin.path("server.toml")).unwrap();
    fs::remove_file(admin.path("server.toml")).unwrap();
    let told = admin.run(&["customer", "list"]);
    assert!(code(&told) == 1 && error(&told).contains("put it back from a backup"), "{}", error(&told));
    assert!(!error(&told).contains("init"), "{}", error(&told));
    fs::File::create_new(admin.path("server.toml")).unwrap().write_all(&settings).unwrap();
    fs::remove_file(admin.path("keys/device-ca.pem")).unwrap();
    let told = admin.run(&["customer", "list"]);
    assert!(error(&told).contains("device-ca.pem is missing, but there are other files"), "{}", error(&told));
    assert!(!error(&told).contains("init"), "{}", error(&told));
}

#[test]
fn a_change_of_keys_is_in_the_audit_trail_or_says_that_it_is_not() {
    let admin = Admin::founded();
    let commands: [&[&str]; 8] = [
        &["key", "rotate"],
        &["key", "retire", "--yes"],
        &["key", "rotate", "--root"],
        &["key", "rotate-device-ca"],
        &["key", "retire-device-ca", "--yes"],
        &["key", "rotate-anchors"],
        &["key", "retire-anchors", "--yes"],
        &["key", "renew-server"],
    ];
    let recorded = || {
        let trail = admin.json(&["audit", "--limit", "1000"]);
        let entries = trail["entries"].as_array().unwrap().iter();
        entries.filter(|entry| entry["action"] == "keys_changed").cloned().collect::<Vec<_>>()
    };
    for (before, command) in commands.into_iter().enumerate() {
        let result = admin.json(command);
        let entries = recorded();
        assert_eq!(entries.len(), before + 1, "{command:?}");
        let said: Vec<&str> = command.iter().copied().filter(|word| *word != "--yes").collect();
        let expected = serde_json::json!({"command": said.join(" "), "result": result});
        assert_eq!(entries[0]["detail"], expected, "{command:?}");
        assert!(!entries[0].to_string().contains("PRIVATE"));
    }
    admin.json(&["key", "rotate"]);
    admin.run(&["key", "retire", "--dry-run"]);
    assert_eq!(recorded().len(), commands.len() + 1, "nothing was retired");

    let database = admin.path("unbox.db");
    fs::hard_link(&database, admin.path("elsewhere.db")).unwrap();
    fs::remove_file(&database).unwrap();
    let rotated = admin.run(&["key", "rotate"]);
    assert_eq!(code(&rotated), 0);
    assert!(error(&rotated).contains("the audit trail has no entry about it"), "{}", error(&rotated));
    assert!(text(&rotated).contains("is new, in root version"));
}
