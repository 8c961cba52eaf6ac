//! The program itself: exit codes, what it prints, and what it leaves behind.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "what a helper cannot do fails the test, and nobody imports a test program"
)]

mod account;
mod backup;
#[path = "../support/beside.rs"]
mod beside;
#[path = "../support/changed.rs"]
mod changed;
#[path = "../support/postgres.rs"]
mod cluster;
mod consent;
mod doctor;
mod faults;
mod keys;
mod load;
mod sandbox;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};
use tempfile::TempDir;

const DOCUMENT: &str =
    r#"{"contact": {"contact_email": "it@acme.example", "contact_phone": "+41 44 000 00 00"}}"#;

/// A server's directory, and the program that looks after it.
struct Admin {
    dir: TempDir,
    /// The database, if it is not in the directory.
    database: Option<String>,
}

impl Admin {
    fn empty() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), database: None }
    }

    fn founded() -> Self {
        let admin = Self::empty();
        admin.json(&["init", "--name", "localhost"]);
        admin
    }

    /// A server whose database is elsewhere.
    fn founded_on(database: &str) -> Self {
        let admin = Self { database: Some(database.to_owned()), ..Self::empty() };
        admin.json(&["init", "--name", "localhost"]);
        admin
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("server").join(name)
    }

    /// Uncomments a line of the settings, with another value.
    fn set(&self, name: &str, value: &str) {
        let path = self.path("server.toml");
        let settings = fs::read_to_string(&path).unwrap();
        let start = format!("#{name} = ");
        let line = settings.lines().find(|line| line.starts_with(&start)).unwrap();
        let changed = settings.replace(line, &format!("{name} = {value}"));
        unbox_server::files::replace(&path, changed.as_bytes(), 0o600).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the one place of these tests that runs the program")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_unbox-server"));
        command.env_clear().arg("--dir").arg(self.path("")).args(arguments).stdin(Stdio::null());
        command.envs(self.database.iter().map(|url| ("UNBOX_DATABASE", url)));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The one JSON document that a command prints.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(code(&output), 0, "{arguments:?}: {}", error(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", text(&output)))
    }

    /// What a command complains about that is not to change anything.
    fn refused(&self, arguments: &[&str], exit: i32) -> String {
        let before = self.everything();
        let output = self.run(arguments);
        assert_eq!(code(&output), exit, "{arguments:?}: {}{}", text(&output), error(&output));
        assert_eq!(self.everything(), before, "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output));
        error(&output)
    }

    /// Everything that a refused command must leave as it is, and that no server writes by itself.
    fn everything(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![self.path("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if path.is_dir() {
                    folders.push(path);
                } else if !(name.starts_with("unbox.db") || name == "disk.json") {
                    files.push((path.clone(), fs::read(path).unwrap()));
                }
            }
        }
        files.sort();
        if self.path("unbox.db").exists() {
            files.push((PathBuf::from("audit"), self.run(&["audit", "--json"]).stdout));
        }
        files
    }

    /// Runs `serve` on a free port until it is told to stop.
    fn serve(&self) -> Serving {
        self.serve_with(&[])
    }

    fn serve_with(&self, options: &[&str]) -> Serving {
        let ready = self.path("ready.json");
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let child = self
            .command(&["serve", "--listen", "127.0.0.1:0", "--ready-file", ready.to_str().unwrap()])
            .args(options)
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut serving = Serving { child, ready: Value::Null };
        for _ in 0..600 {
            if let Ok(json) = fs::read(&ready) {
                serving.ready = serde_json::from_slice(&json).unwrap();
                return serving;
            }
            assert!(serving.child.try_wait().unwrap().is_none(), "the server ended");
            sleep(Duration::from_millis(50));
        }
        panic!("the server is not ready");
    }
}

struct Serving {
    child: Child,
    ready: Value,
}

impl Serving {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn init_makes_a_server_once() {
    let admin = Admin::empty();
    let made = admin.json(&["init", "--name", "enroll.example.com", "--name", "192.0.2.7"]);
    assert_eq!(made["url"], "https://enroll.example.com");
    assert_eq!(mode(&admin.path("")), 0o700);
    assert_eq!(mode(&admin.path("server.toml")), 0o600);
    let agent = fs::read_to_string(admin.path("trust/agent.toml")).unwrap();
    assert!(agent.contains("server = \"https://enroll.example.com\""), "{agent}");
    let again = admin.refused(&["init", "--name", "other.example.com"], 1);
    assert!(again.contains("exists already"), "{again}");
}

#[test]
fn a_bad_name_leaves_nothing_behind() {
    let admin = Admin::empty();
    for name in ["*.example.com", "a b", "https://x.example"] {
        admin.refused(&["init", "--name", name], 1);
        assert!(!admin.path("").exists(), "{name}");
    }
}

#[test]
fn an_artifact_is_a_customer_s_own_or_everybody_s() {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme"]);
    let file = admin.path("app.tar");
    unbox_server::files::write_new(&file, b"the app", 0o600).unwrap();
    let path = file.to_str().unwrap();
    let own = admin.json(&["artifact", "add", path, "--customer", "Acme"]);
    let digest = own["sha256"].as_str().unwrap();
    assert_eq!((&own["name"], &own["size"]), (&"app.tar".into(), &7.into()));
    assert!(own["customer"].is_string());
    assert_eq!(admin.json(&["artifact", "show", digest, "--customer", "Acme"]), own);
    let told = admin.refused(&["artifact", "show", digest], 1);
    assert!(told.contains("There is no artifact"), "{told}");
    let told = admin.refused(&["artifact", "add", path, "--sha256", NO_ARTIFACT], 1);
    assert!(told.contains("expected the digest"), "{told}");
    let shared = admin.json(&["artifact", "add", path, "--sha256", digest]);
    assert!(shared["customer"].is_null());
    for customer in [&["--customer", "Acme"][..], &[]] {
        assert!(admin.path("artifacts").join(digest).exists());
        let removed = admin.run(&[&["artifact", "remove", digest], customer].concat());
        assert!(removed.status.success(), "{removed:?}");
    }
    assert!(!admin.path("artifacts").join(digest).exists());
}

const NO_ARTIFACT: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn every_error_says_what_to_do_next() {
    let admin = Admin::founded();
    for (arguments, exit, expected) in [
        (vec!["customer", "show", "Nobody"], 1, "List what there is"),
        (vec!["claim", "add", "--customer", "Nobody", "--service-tag", "7XK9Q13"], 1, "List what there is"),
        (vec!["configuration", "show", "kiosk"], 1, "--customer"),
        (vec!["key", "retire"], 1, "key rotate"),
        (vec!["import", "/no/such/file.csv"], 1, "could not be opened"),
        (vec!["artifact", "add", "/no/such/file"], 1, "could not be opened"),
        (vec!["artifact", "add", "/etc/hostname", "--customer", "Nobody"], 1, "List what there is"),
        (vec!["artifact", "show", NO_ARTIFACT], 1, "There is no artifact"),
        (vec!["artifact", "remove", NO_ARTIFACT], 1, "There is no artifact"),
        (vec!["artifact", "show", "x"], 2, "64 lower-case hexadecimal"),
        (vec!["claim", "list", "--proof", "hope"], 2, "identifiers, token, registered_key or tpm"),
        (vec!["device", "disable"], 2, "--claim"),
        (vec!["audit", "--since", "yesterday"], 2, "2026-11-21T00:00:00Z"),
        (vec!["nonsense"], 2, "Usage"),
    ] {
        let told = admin.refused(&arguments, exit);
        assert!(told.contains(expected), "{arguments:?}: {told}");
    }
    let elsewhere = Admin::empty();
    let told = elsewhere.refused(&["customer", "list"], 1);
    assert!(told.contains("unbox-server init"), "{told}");
}

#[test]
fn a_mistake_in_the_settings_is_told_with_its_line() {
    let admin = Admin::founded();
    let path = admin.path("server.toml");
    let settings = fs::read_to_string(&path).unwrap();
    let changed = settings.replace("[limits]", "[limits]\nconections = 5");
    fs::File::options()
        .write(true)
        .truncate(true)
        .open(&path)
        .unwrap()
        .write_all(changed.as_bytes())
        .unwrap();
    let told = admin.refused(&["customer", "list"], 1);
    let line = changed.lines().position(|line| line.starts_with("conections")).unwrap() + 1;
    assert!(told.contains(&format!("line {line}")) && told.contains("connections_per_address"), "{told}");
}

#[test]
fn from_nothing_to_a_claimed_device() {
    let admin = Admin::founded();
    let document = admin.dir.path().join("kiosk.json");
    fs::File::create_new(&document).unwrap().write_all(DOCUMENT.as_bytes()).unwrap();
    let document = document.to_str().unwrap();
    let customer = admin.json(&["customer", "create", "Acme AG"]);
    let configuration = admin.json(&[
        "configuration",
        "create",
        "kiosk",
        "--customer",
        "Acme AG",
        "--file",
        document,
        "--default",
    ]);
    let claim = admin.json(&[
        "claim",
        "add",
        "--customer",
        "Acme AG",
        "--serial",
        "PF0ABCDE",
        "--manufacturer",
        "LENOVO",
        "--model",
        "20QES0XX00",
    ]);
    assert_eq!(claim["customer"], customer["id"]);
    assert_eq!(claim["proof"], "identifiers");
    let customers = admin.json(&["customer", "list"]);
    assert_eq!(customers["companies"][0]["default_configuration"], configuration["id"]);
    let claims = admin.json(&["claim", "list", "--identifier", "serial_number PF0ABCDE"]);
    assert_eq!(claims["claims"].as_array().map(Vec::len), Some(1));
    assert_eq!(admin.json(&["device", "list"])["devices"], serde_json::json!([]));
}

#[test]
fn a_customer_says_whether_factories_register_keys_for_its_claims() {
    let admin = Admin::founded();
    let customer = admin.json(&["customer", "create", "Acme AG"]);
    assert_eq!(customer["factory_keys"], false);
    admin.json(&["reseller", "create", "Boxes"]);
    let changed = admin.json(&["customer", "factory-keys", "Acme AG", "on"]);
    assert_eq!(changed["factory_keys"], true);
    assert!(text(&admin.run(&["customer", "show", "Acme AG"])).contains("keys from factories: "));
    let noted = admin.json(&["audit", "--action", "company_updated"]);
    assert_eq!(noted["entries"][0]["detail"]["factory_keys"], serde_json::json!({"was": false, "now": true}));
    let told = admin.refused(&["reseller", "factory-keys", "Boxes", "on"], 1);
    assert!(told.contains("only customers have claims"), "{told}");
    let told = admin.refused(&["customer", "factory-keys", "Acme AG", "maybe"], 2);
    assert!(told.contains("expected on or off"), "{told}");
    assert_eq!(admin.json(&["customer", "factory-keys", "Acme AG", "off"])["factory_keys"], false);
}

#[test]
fn a_company_that_is_named_like_another_is_warned_of() {
    let admin = Admin::founded();
    assert_eq!(error(&admin.run(&["customer", "create", "Acme AG"])), "");
    let made = admin.run(&["reseller", "create", "\u{410}cme AG", "--json"]);
    assert_eq!(code(&made), 0);
    let made_json: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(made_json["name"], "\u{410}cme AG");
    assert!(error(&made).starts_with("Warning: The name "), "{}", error(&made));
    assert!(error(&made).contains("looks like that of customer \"Acme AG\""), "{}", error(&made));
    let renamed = admin.run(&["reseller", "rename", "\u{410}cme AG", "Boxes"]);
    assert_eq!((code(&renamed), error(&renamed).as_str()), (0, ""));
    let told = admin.refused(&["reseller", "rename", "Boxes", "Boxes\u{202e}"], 1);
    assert!(told.contains("without invisible ones"), "{told}");
}

#[test]
fn an_import_tells_what_became_of_each_row() {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme AG"]);
    let (csv, results) = (admin.dir.path().join("claims.csv"), admin.dir.path().join("results.csv"));
    let rows = "serial_number,manufacturer,model\nPF0AAAA1,LENOVO,20QES0XX00\nN/A,LENOVO,20QES0XX00\n";
    fs::File::create_new(&csv).unwrap().write_all(rows.as_bytes()).unwrap();
    let arguments = [
        "import",
        csv.to_str().unwrap(),
        "--customer",
        "Acme AG",
        "--results",
        results.to_str().unwrap(),
        "--json",
    ];
    let output = admin.run(&arguments);
    assert_eq!(code(&output), 3, "{}", error(&output));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&summary["rows"], &summary["imported"], &summary["invalid"]),
        (&2.into(), &1.into(), &1.into())
    );
    let told = fs::read_to_string(&results).unwrap();
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[1].starts_with("2,imported,"), "{told}");
    assert!(lines[2].starts_with("3,invalid,,1,serial_number,"), "{told}");
    assert_eq!(mode(&results), 0o600);
    // The same file again changes nothing, and says so.
    let output = admin.run(&arguments);
    let again: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&again["imported"], &again["already_claimed"]), (&0.into(), &1.into()));
}

#[test]
fn an_export_is_a_private_file_that_can_be_imported_again() {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme AG"]);
    admin.json(&["reseller", "create", "Boxes"]);
    let (csv, copy) = (admin.dir.path().join("portal.csv"), admin.dir.path().join("copy.csv"));
    let rows = "serial,model,manufacturer,profiletype,owner\n=PF1,20QES0XX00,LENOVO,ZERO_TOUCH,Acme AG\n";
    fs::File::create_new(&csv).unwrap().write_all(rows.as_bytes()).unwrap();
    let (csv, path) = (csv.to_str().unwrap(), copy.to_str().unwrap());
    assert_eq!(admin.json(&["claim", "import", csv, "--reseller", "Boxes"])["imported"], 1);
    let said = text(&admin.run(&["claim", "export", "--reseller", "Boxes", "--output", path]));
    assert!(said.starts_with("Wrote 1 claims to "), "{said}");
    assert_eq!(mode(&copy), 0o600);
    assert!(fs::read_to_string(&copy).unwrap().contains(",'=PF1,"));
    assert_eq!(admin.json(&["claim", "import", path, "--reseller", "Boxes"])["already_claimed"], 1);
    let warned = error(&admin.run(&["claim", "import", path, "--reseller", "Boxes"]));
    assert!(warned.contains("does not see these devices") && warned.contains("reseller link"), "{warned}");
    admin.json(&["reseller", "link", "Boxes", "Acme AG"]);
    assert_eq!(error(&admin.run(&["claim", "import", path, "--reseller", "Boxes"])), "");
    assert_eq!(admin.json(&["claim", "export"])["claims"][0]["serial"], "=PF1");
    assert_eq!(code(&admin.run(&["claim", "export", "--customer", "Acme AG", "--output", path])), 0);
    assert!(admin.refused(&["claim", "import", path], 1).contains("Say whose"));
    assert_eq!(admin.json(&["claim", "import", path, "--customer", "Acme AG"])["already_applied"], 1);
}

#[test]
fn a_token_is_shown_once_or_kept_in_a_private_file() {
    let admin = Admin::founded();
    admin.json(&["customer", "create", "Acme AG"]);
    let created = admin.json(&["token", "create", "--customer", "Acme AG"]);
    let secret = created["token"].as_str().unwrap();
    assert!(secret.starts_with("ppt_"), "{created}");
    let file = admin.dir.path().join("token");
    let create = ["token", "create", "second", "--customer", "Acme AG", "--output", file.to_str().unwrap()];
    let output = admin.run(&create);
    assert_eq!(code(&output), 0, "{}", error(&output));
    let kept = fs::read_to_string(&file).unwrap();
    assert!(kept.starts_with("ppt_") && !text(&output).contains("ppt_"), "{}", text(&output));
    assert_eq!(mode(&file), 0o600);
    let told = admin.refused(&create, 1);
    assert!(told.contains("exists already"), "{told}");
    let shown =
        [admin.run(&["token", "list", "--json"]), admin.run(&["audit", "--json"])].map(|one| text(&one));
    assert!(!shown.concat().contains("ppt_"), "{shown:?}");
}

#[test]
fn doctor_finds_what_will_go_wrong() {
    let admin = Admin::founded();
    let doctor = || admin.json(&["doctor"])["findings"].clone();
    let about_root_key =
        |findings: &Value| findings.as_array().unwrap().iter().any(|finding| finding["check"] == "root key");
    assert!(about_root_key(&doctor()), "the root key is on this machine");
    let root_key = admin.path("keys/root-1.pem");
    fs::hard_link(&root_key, admin.dir.path().join("root-1.pem")).unwrap();
    fs::remove_file(&root_key).unwrap();
    assert!(!about_root_key(&doctor()), "it was moved");
    fs::set_permissions(admin.path("keys/device-ca.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::File::options().append(true).open(admin.path("roots/1.json")).unwrap().write_all(b"}").unwrap();
    let output = admin.run(&["doctor"]);
    assert_eq!(code(&output), 3);
    let told = text(&output);
    assert!(told.contains("chmod 0600") && told.contains("roots/1.json"), "{told}");
}

#[test]
fn keys_are_rotated_and_never_printed() {
    let admin = Admin::founded();
    let rotated = admin.json(&["key", "rotate"]);
    let keys = admin.json(&["key", "list"]);
    assert_eq!((&keys["root_version"], keys["payload_keys"].as_array().map(Vec::len)), (&2.into(), Some(2)));
    assert_eq!(admin.json(&["key", "retire", "--yes"])["key"], rotated["key"]);
    let offline = admin.dir.path().join("root-1.pem");
    fs::hard_link(admin.path("keys/root-1.pem"), &offline).unwrap();
    fs::remove_file(admin.path("keys/root-1.pem")).unwrap();
    let told = admin.refused(&["key", "rotate"], 1);
    assert!(told.contains("--root-key"), "{told}");
    let rotated = admin.run(&["key", "rotate", "--root-key", offline.to_str().unwrap()]);
    assert_eq!(code(&rotated), 0, "{}", error(&rotated));
    let shown = text(&admin.run(&["key", "list"])) + &text(&rotated);
    assert!(!shown.contains("PRIVATE"), "{shown}");
    admin.json(&["key", "renew-server", "--name", "new.example.com"]);
    assert_eq!(
        admin.json(&["key", "list"])["certificates"][0]["names"],
        serde_json::json!(["new.example.com"])
    );
}

#[test]
fn the_program_serves_until_it_is_told_to_stop() {
    let admin = Admin::founded();
    let serving = admin.serve();
    assert_eq!(serving.ready["pid"], serving.child.id());
    assert!(serving.ready["addresses"][0].as_str().unwrap().starts_with("127.0.0.1:"));
    // Administration goes on while it serves.
    admin.json(&["customer", "create", "Acme AG"]);
    admin.json(&["key", "rotate"]);
    serving.signal(Signal::SIGHUP);
    let address = serving.ready["addresses"][0].as_str().unwrap().to_owned();
    let second = Admin::founded().run(&["serve", "--listen", &address]);
    assert_eq!(code(&second), 1);
    assert!(error(&second).contains("cannot be listened on"), "{}", error(&second));
    assert_eq!(serving.stop(), Some(0));
    assert!(!admin.path("ready.json").exists());
    let log = fs::read_to_string(admin.dir.path().join("log")).unwrap();
    assert!(log.contains("devices can connect") && log.contains("were read again"), "{log}");
}

#[test]
fn completions_are_printed_without_a_server() {
    let output = Admin::empty().run(&["completion", "bash"]);
    assert_eq!(code(&output), 0);
    assert!(text(&output).contains("renew-server"));
}
