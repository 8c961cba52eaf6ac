//! `backup` and `restore`, as an operator types them.

use super::{Admin, code, error, mode, text};
use std::fs;

#[test]
fn a_server_that_was_lost_comes_back_from_a_backup_made_while_it_served() {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme AG"]);
    let serving = admin.serve();
    let file = admin.dir.path().join("backup");
    let path = file.to_str().unwrap();
    let made = admin.json(&["backup", "--with-keys", path]);
    assert!(made["backup"]["rows"].as_u64().unwrap() > 0 && made["backup"]["keys"] == true, "{made}");
    assert_eq!(mode(&file), 0o600);
    let told = admin.refused(&["restore", "--overwrite", path], 1);
    assert!(told.contains("stop it first"), "{told}");
    assert_eq!(serving.stop(), Some(0));
    admin.json(&["customer", "create", "Later"]);
    let keys = fs::read(admin.path("keys/device-ca.pem")).unwrap();

    #[expect(clippy::disallowed_methods, reason = "an accident, and not ours")]
    fs::rename(admin.path(""), admin.dir.path().join("lost")).unwrap();
    let planned = admin.json(&["restore", "--dry-run", path]);
    assert_eq!((&planned["dry_run"], &planned["replaced"]), (&true.into(), &serde_json::json!([])));
    assert!(!admin.path("").exists(), "a dry run changes nothing");
    admin.json(&["restore", path]);
    assert_eq!(fs::read(admin.path("keys/device-ca.pem")).unwrap(), keys);
    assert_eq!(mode(&admin.path("keys/device-ca.pem")), 0o600);
    assert_eq!(mode(&admin.path("unbox.db")), 0o600);
    let customers = admin.json(&["customer", "list"]);
    assert_eq!(customers["companies"].as_array().map(Vec::len), Some(1), "{customers}");
    fs::create_dir(admin.path("artifacts")).unwrap();
    let found = admin.run(&["doctor"]);
    assert_eq!(code(&found), 0, "{}", text(&found));
    assert_eq!(admin.serve().stop(), Some(0));
}

#[test]
fn nothing_is_overwritten_without_a_word() {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme AG"]);
    let file = admin.dir.path().join("backup");
    let path = file.to_str().unwrap();
    let made = admin.json(&["backup", path]);
    assert_eq!(made["backup"]["keys"], false);
    assert!(
        !fs::read_to_string(&file).unwrap().contains("keys/"),
        "keys are in it only if they are asked for"
    );
    let before = fs::read(&file).unwrap();
    let told = admin.refused(&["backup", path], 1);
    assert!(told.contains("--overwrite"), "{told}");
    assert_eq!(fs::read(&file).unwrap(), before);
    admin.json(&["customer", "create", "Later"]);
    let told = admin.refused(&["restore", path], 1);
    assert!(told.contains("replaces the database") && told.contains("--overwrite"), "{told}");
    assert_eq!(admin.json(&["restore", "--dry-run", path])["replaced"], serde_json::json!(["the database"]));
    assert_eq!(admin.json(&["customer", "list"])["companies"].as_array().map(Vec::len), Some(2));
    admin.json(&["restore", "--overwrite", path]);
    assert_eq!(admin.json(&["customer", "list"])["companies"].as_array().map(Vec::len), Some(1));
    assert!(admin.path("unbox.db.replaced").exists(), "the old one is kept");
    let other = admin.dir.path().join("other");
    fs::copy("/etc/hostname", &other).unwrap();
    let told = admin.refused(&["restore", "--overwrite", other.to_str().unwrap()], 1);
    assert!(told.contains("Take another one"), "{told}");
    assert_eq!(error(&admin.run(&["customer", "list"])), "");
}
