//! `backup` and `restore`, as an operator types them.

use super::{Admin, changed::change, code, error, mode, text};
use serde_json::{Value, json};
use std::{fs, io::Write as _, path::Path};
use unbox_common::bytes::{from_base64, to_base64};

/// Has the settings in a backup name this database.
fn name_database(backup: &Path, url: &str) {
    change(backup, |lines| {
        let settings = lines.iter_mut().find(|line| line.contains("\"server.toml\"")).unwrap();
        let mut file: Value = serde_json::from_str(settings).unwrap();
        let contents = from_base64(file["contents"].as_str().unwrap()).unwrap();
        let named = [format!("database = {url:?}\n").as_bytes(), &contents].concat();
        file["contents"] = json!(to_base64(&named));
        *settings = file.to_string();
    });
}

/// Loses a server's directory.
fn lose(admin: &Admin) {
    #[expect(clippy::disallowed_methods, reason = "an accident, and not ours")]
    fs::rename(admin.path(""), admin.dir.path().join("lost")).unwrap();
}

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

    lose(&admin);
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
    let replaced = fs::read(admin.path("unbox.db.replaced")).unwrap();
    admin.json(&["customer", "create", "Later still"]);
    admin.json(&["restore", "--overwrite", path]);
    assert_eq!(fs::read(admin.path("unbox.db.replaced")).unwrap(), replaced, "the old one is kept");
    assert!(admin.path("unbox.db.replaced-2").exists());
    // As a kill between the two renames leaves it.
    fs::remove_file(admin.path("unbox.db")).unwrap();
    admin.json(&["restore", path]);
    assert_eq!(admin.json(&["customer", "list"])["companies"].as_array().map(Vec::len), Some(1));
    let other = admin.dir.path().join("other");
    fs::copy("/etc/hostname", &other).unwrap();
    let told = admin.refused(&["restore", "--overwrite", other.to_str().unwrap()], 1);
    assert!(told.contains("Take another one"), "{told}");
    assert_eq!(error(&admin.run(&["customer", "list"])), "");
}

#[test]
fn the_settings_in_a_backup_do_not_say_where_its_rows_go() {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme AG"]);
    let file = admin.dir.path().join("backup");
    let path = file.to_str().unwrap();
    admin.json(&["backup", "--with-keys", path]);
    let victim = admin.dir.path().join("victim");
    fs::File::create_new(&victim).unwrap().write_all(b"somebody's file").unwrap();
    let elsewhere = format!("sqlite://{}", victim.display());
    name_database(&file, &elsewhere);
    let is_untouched = || fs::read(&victim).unwrap() == b"somebody's file";

    // In place of a server that keeps its rows in its directory, and on a fresh machine.
    for fresh in [false, true] {
        if fresh {
            lose(&admin);
        }
        for options in [&["--dry-run"][..], &["--overwrite"], &[]] {
            let told = admin.refused(&[&["restore", path], options].concat(), 1);
            assert!(told.contains("--database") && told.contains(victim.to_str().unwrap()), "{told}");
            assert!(is_untouched() && admin.path("").exists() != fresh);
        }
    }
    let named = ["restore", path, "--database", &elsewhere];
    let told = admin.refused(&named, 1);
    assert!(told.contains("replaces the database"), "{told}");
    assert!(is_untouched() && !admin.path("").exists());
    admin.json(&[&named[..], &["--overwrite"]].concat());
    let kept = admin.dir.path().join("victim.replaced");
    assert_eq!(fs::read(kept).unwrap(), b"somebody's file");
    assert_eq!(admin.json(&["customer", "list"])["companies"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_server_whose_rows_are_elsewhere_already_is_restored_there() {
    let admin = Admin::empty();
    let database = format!("sqlite://{}", admin.dir.path().join("elsewhere.db").display());
    admin.json(&["init", "--name", "localhost", "--database", &database]);
    let file = admin.dir.path().join("backup");
    let path = file.to_str().unwrap();
    admin.json(&["backup", "--with-keys", path]);
    admin.json(&["customer", "create", "Later"]);
    admin.json(&["restore", "--overwrite", path]);
    assert_eq!(admin.json(&["customer", "list"])["companies"], json!([]));
    name_database(&file, "postgres://unbox:hunter2@db.example/unbox?password=hunter2");
    let told = admin.refused(&["restore", "--overwrite", path], 1);
    assert!(!told.contains("hunter2"), "{told}");
}

#[test]
fn a_backup_whose_rows_cannot_be_restored_changes_no_key_either() {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme AG"]);
    let file = admin.dir.path().join("backup");
    let path = file.to_str().unwrap();
    admin.json(&["backup", "--with-keys", path]);
    change(&file, |lines| lines.push(r#"{"table":"nobody_knows","columns":["id"]}"#.to_owned()));
    admin.json(&["key", "rotate"]);
    admin.json(&["customer", "create", "Later"]);
    let told = admin.refused(&["restore", "--overwrite", path], 1);
    assert!(told.contains("nothing was restored") && told.contains("nobody_knows"), "{told}");

    lose(&admin);
    let told = admin.refused(&["restore", path], 1);
    assert!(told.contains("nothing was restored"), "{told}");
    assert!(!admin.path("unbox.db").exists() && !admin.path("server.toml").exists());
}
