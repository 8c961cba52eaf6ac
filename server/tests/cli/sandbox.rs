//! `sandbox`: what it leaves in the directory of its keys, and that it leaves nothing else behind.

use super::{Admin, Serving, code, error, mode};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::Duration,
};

impl Admin {
    /// A sandbox to start, with its data below this directory.
    fn sandbox(&self, arguments: &[&str]) -> Command {
        fs::create_dir_all(self.data()).unwrap();
        let mut command = self.command(&["sandbox", "--out", self.keys().to_str().unwrap()]);
        command.args(arguments).env("TMPDIR", self.data()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn started_sandbox(&self, arguments: &[&str]) -> Serving {
        let child = self.sandbox(arguments).spawn().unwrap();
        Serving { child, ready: Value::Null }
    }

    fn keys(&self) -> std::path::PathBuf {
        self.dir.path().join("keys")
    }

    fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn no_data_is_left(&self) -> bool {
        fs::read_dir(self.data()).unwrap().next().is_none()
    }
}

/// Waits for a file, and reads it.
fn awaited(serving: &mut Serving, path: &Path) -> Value {
    for _ in 0..600 {
        if let Ok(json) = fs::read(path) {
            return serde_json::from_slice(&json).unwrap();
        }
        assert!(serving.child.try_wait().unwrap().is_none(), "the sandbox ended");
        sleep(Duration::from_millis(50));
    }
    panic!("the sandbox is not ready");
}

#[test]
fn a_sandbox_gives_keys_to_its_owner_alone_and_takes_its_data_with_it() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let admin = Admin::empty();
        let mut first = admin.started_sandbox(&["--listen", "127.0.0.1:0"]);
        let environment = awaited(&mut first, &admin.keys().join("env.json"));
        assert!(environment["base_url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
        assert_ne!(environment["base_url"], "http://127.0.0.1:0");
        for file in ["env.json", "reseller.json", "customer.json", "emm.json"] {
            assert_eq!(mode(&admin.keys().join(file)), 0o600, "{file}");
        }
        assert!(!admin.no_data_is_left());
        first.signal(signal);
        assert_eq!(first.child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(admin.no_data_is_left(), "{signal}");

        // What it has left there does not stand in the way of the next one.
        let mut second = admin.started_sandbox(&["--listen", "127.0.0.1:0"]);
        while awaited(&mut second, &admin.keys().join("env.json")) == environment {
            sleep(Duration::from_millis(50));
        }
        assert_eq!(second.stop(), Some(0));
    }
}

#[test]
fn a_sandbox_that_is_stopped_while_it_is_filled_leaves_nothing_behind() {
    let admin = Admin::empty();
    let mut filling = admin.started_sandbox(&["--listen", "127.0.0.1:0", "--claims", "100000000"]);
    awaited(&mut filling, &admin.keys().join("emm.json"));
    filling.signal(Signal::SIGINT);
    assert_eq!(filling.child.wait().unwrap().code(), Some(0));
    assert!(admin.no_data_is_left());
    assert!(!admin.keys().join("env.json").exists());
}

#[test]
fn a_directory_with_other_files_is_refused_and_stays_as_it_is() {
    for files in [&["notes.txt"][..], &["reseller.json"], &["env.json", "notes.txt"]] {
        let admin = Admin::empty();
        fs::create_dir(admin.keys()).unwrap();
        for file in files {
            #[expect(clippy::disallowed_methods, reason = "a file of somebody else's")]
            fs::write(admin.keys().join(file), "mine").unwrap();
        }
        let output = admin.sandbox(&["--listen", "127.0.0.1:0"]).output().unwrap();
        assert_eq!(code(&output), 1, "{files:?}");
        assert!(error(&output).contains("choose an empty directory"), "{}", error(&output));
        assert_eq!(fs::read_dir(admin.keys()).unwrap().count(), files.len());
        for file in files {
            assert_eq!(fs::read_to_string(admin.keys().join(file)).unwrap(), "mine");
        }
        assert!(admin.no_data_is_left());
    }
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (listen, expected) in [(taken.as_str(), taken.as_str()), ("0.0.0.0:0", "this machine only")] {
        let admin = Admin::empty();
        let output = admin.sandbox(&["--listen", listen]).output().unwrap();
        assert_eq!(code(&output), 1, "{listen}");
        assert!(error(&output).contains(expected), "{}", error(&output));
        assert!(output.stdout.is_empty());
        assert!(admin.no_data_is_left());
    }
}
