//! `account`: from nothing to a key file, and what is kept private on the way.

use super::{Admin, code, error, mode, text};
use serde_json::Value;
use std::fs;

const PUBLIC_KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/service-account.pub.pem");

/// A server with a customer, a reseller, and a service account of each.
fn world() -> Admin {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme AG"]);
    admin.json(&["reseller", "create", "Resale"]);
    for (company, role) in [("Acme AG", "owner"), ("Resale", "admin")] {
        let arguments =
            ["account", "create", "--company", company, "--service-account", "robot", "--role", role];
        admin.json(&arguments);
    }
    admin
}

fn robot(admin: &Admin, company: &str) -> String {
    let listed = admin.json(&["account", "list", "--company", company]);
    listed.pointer("/accounts/0/email").and_then(Value::as_str).unwrap().to_owned()
}

#[test]
fn an_account_is_created_listed_changed_and_deleted() {
    let admin = world();
    let created = admin.json(&[
        "account",
        "create",
        "--company",
        "Acme AG",
        "--email",
        "IT@acme.example",
        "--name",
        "Ada",
    ]);
    assert_eq!((&created["role"], &created["kind"]), (&"admin".into(), &"user".into()));
    let backup = admin.json(&["account", "create", "--operator", "--service-account", "backup"]);
    assert_eq!(backup["email"], "backup@operator.unbox.invalid");
    let ids = |arguments: &[&str]| admin.json(arguments)["accounts"].as_array().unwrap().len();
    assert_eq!(ids(&["account", "list"]), 4);
    assert_eq!(ids(&["account", "list", "--operator"]), 1);
    assert_eq!(ids(&["account", "list", "--company", "Acme AG"]), 2);
    admin.json(&["emm", "create", "Gone"]);
    admin.json(&["account", "create", "--company", "Gone", "--service-account", "robot", "--role", "owner"]);
    assert_eq!(admin.json(&["emm", "delete", "Gone", "--yes"])["name"], "Gone");
    assert_eq!(ids(&["account", "list"]), 4, "its account went along");
    let changed = admin.json(&["account", "set-role", "it@acme.example", "owner"]);
    assert_eq!(changed["role"], "owner");
    assert!(admin.json(&["account", "disable", "it@acme.example"])["disabled_at"].is_u64());
    assert!(admin.json(&["account", "enable", "it@acme.example"])["disabled_at"].is_null());
    let shown = text(&admin.run(&["account", "show", "it@acme.example"]));
    assert!(shown.contains("Ada") && shown.contains("owner"), "{shown}");
    let listed = text(&admin.run(&["account", "list"]));
    assert!(listed.starts_with("ID ") && listed.contains("it@acme.example"), "{listed}");
    admin.json(&["account", "delete", "it@acme.example", "--yes"]);
    assert_eq!(ids(&["account", "list"]), 3);
}

#[test]
fn what_cannot_be_done_with_accounts_says_what_to_do_next() {
    let admin = world();
    admin.json(&["emm", "create", "Resale"]);
    let (owner, out) = (robot(&admin, "Acme AG"), admin.dir.path().join("out"));
    let out = out.to_str().unwrap();
    for (arguments, exit, expected) in [
        (vec!["account", "create", "--email", "it@acme.example"], 2, "--company"),
        (vec!["account", "create", "--operator"], 2, "--email"),
        (
            vec!["account", "create", "--operator", "--company", "Acme AG", "--email", "it@acme.example"],
            2,
            "--company",
        ),
        (
            vec!["account", "create", "--operator", "--email", "a@b.example", "--service-account", "x"],
            2,
            "--email",
        ),
        (vec!["account", "create", "--operator", "--email", "nobody"], 1, "it@acme.example"),
        (vec!["account", "create", "--operator", "--service-account", "A B"], 1, "lower-case"),
        (
            vec!["account", "create", "--operator", "--email", "a@b.example", "--role", "king"],
            2,
            "viewer, admin, owner",
        ),
        (vec!["account", "create", "--company", "Nobody", "--email", "a@b.example"], 1, "List what there is"),
        (vec!["account", "create", "--company", "Resale", "--email", "a@b.example"], 1, "give the id"),
        (vec!["emm", "delete", "Nobody"], 1, "List what there is"),
        (vec!["account", "show", "nobody@acme.example"], 1, "List what there is"),
        (vec!["account", "set-role", owner.as_str(), "viewer"], 1, "Make somebody else an owner first"),
        (vec!["account", "delete", owner.as_str(), "--yes"], 1, "Make somebody else an owner first"),
        (vec!["account", "key", "create", owner.as_str()], 2, "--out"),
        (
            vec!["account", "key", "create", owner.as_str(), "--out", out, "--base-url", "http://x.example"],
            2,
            "https://",
        ),
        (
            vec!["account", "key", "create", owner.as_str(), "--public-key", "/no/such/file"],
            1,
            "could not be opened",
        ),
        (vec!["account", "key", "revoke", "17"], 2, "40 lower-case"),
        (vec!["account", "api-key", "revoke", "17", "--yes"], 1, "List what there is"),
    ] {
        let told = admin.refused(&arguments, exit);
        assert!(told.contains(expected), "{arguments:?}: {told}");
        assert!(!fs::exists(out).unwrap());
    }
}

#[test]
fn a_key_file_is_private_and_complete() {
    let admin = world();
    let (account, out) = (robot(&admin, "Resale"), admin.dir.path().join("key.json"));
    let create = ["account", "key", "create", &account, "--out", out.to_str().unwrap()];
    let output = admin.run(&create);
    assert_eq!(code(&output), 0, "{}", error(&output));
    assert!(text(&output).contains("https://localhost/token"), "{}", text(&output));
    assert_eq!(mode(&out), 0o600);
    let file: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(
        (&file["type"], &file["token_uri"]),
        (&"service_account".into(), &"https://localhost/token".into())
    );
    assert_eq!(file["client_email"], account.as_str());
    let told = admin.refused(&create, 1);
    assert!(told.contains("exists already"), "{told}");

    let taken = admin.json(&["account", "key", "create", &account, "--public-key", PUBLIC_KEY]);
    let listed = admin.json(&["account", "key", "list", &account]);
    assert_eq!(listed["keys"].as_array().map(Vec::len), Some(2));
    let id = taken["id"].as_str().unwrap();
    assert!(admin.json(&["account", "key", "revoke", id, "--yes"])["revoked_at"].is_u64());
    let (newer, rotated) = (admin.dir.path().join("newer.json"), file["private_key_id"].as_str().unwrap());
    let rotate = ["account", "key", "rotate", rotated, "--out", newer.to_str().unwrap()];
    let output = admin.run(&rotate);
    assert!(text(&output).contains(&format!("replaces {rotated}")), "{}{}", text(&output), error(&output));
    assert_eq!(mode(&newer), 0o600);
    let told = admin.refused(&rotate, 1);
    assert!(told.contains("exists already"), "{told}");
    let nowhere = ["account", "key", "create", &account, "--out", "/no/such/folder/key.json"];
    let told = admin.refused(&nowhere, 1);
    assert!(told.contains("could not be written"), "{told}");
    let private = file["private_key"].as_str().unwrap();
    let shown = text(&output) + &text(&admin.run(&["audit", "--json"]));
    assert!(!shown.contains("PRIVATE") && !shown.contains(&private[40..80]), "{shown}");
}

#[test]
fn a_key_file_leads_to_where_the_server_is_reached() {
    for (more, url) in [
        (["--listen", "127.0.0.1:8443"], "https://enroll.example.com:8443/token"),
        (["--url", "https://front.example.com"], "https://front.example.com/token"),
    ] {
        let admin = Admin::empty();
        admin.json(&[&["init", "--name", "enroll.example.com"], more.as_slice()].concat());
        admin.json(&["reseller", "create", "Resale"]);
        admin.json(&[
            "account",
            "create",
            "--company",
            "Resale",
            "--service-account",
            "robot",
            "--role",
            "admin",
        ]);
        let (account, out) = (robot(&admin, "Resale"), admin.dir.path().join("key.json"));
        admin.run(&["account", "key", "create", &account, "--out", out.to_str().unwrap()]);
        let file: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
        assert_eq!(file["token_uri"], url);
    }
}

#[test]
fn an_api_key_is_shown_once_or_kept_in_a_private_file() {
    let admin = world();
    let account = robot(&admin, "Acme AG");
    let created =
        admin.json(&["account", "api-key", "create", &account, "export", "--expires-in-days", "30"]);
    let secret = created["api_key"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("uak_") && secret.len() == 68, "{created}");
    let id = created["id"].as_str().unwrap();
    let out = admin.dir.path().join("api-key");
    let rotate =
        ["account", "api-key", "rotate", id, "--overlap-hours", "24", "--out", out.to_str().unwrap()];
    let output = admin.run(&rotate);
    assert_eq!(code(&output), 0, "{}", error(&output));
    let kept = fs::read_to_string(&out).unwrap();
    assert!(kept.starts_with("uak_") && !text(&output).contains("uak_"), "{}", text(&output));
    assert_eq!(mode(&out), 0o600);
    let told = admin.refused(&rotate, 1);
    assert!(told.contains("exists already"), "{told}");
    let listed = admin.json(&["account", "api-key", "list", &account]);
    let keys = listed["api_keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    let newer = keys[1]["id"].as_str().unwrap();
    assert!(admin.json(&["account", "api-key", "revoke", newer, "--yes"])["revoked_at"].is_u64());
    let shown = text(&admin.run(&["audit", "--json"])) + &listed.to_string();
    assert!(!shown.contains(&secret[12..]) && !shown.contains(&kept[12..60]), "{shown}");
}
