//! Real sandbox roots: a DPC that really runs, packages through the real `dpkg`, units through
//! the real `systemctl`, and a disk that is really full.

use crate::payloads::{Artifacts, accept, file, gzip, link, snapshot, tar};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};
use tar::EntryType;
use tempfile::TempDir;
use unbox_agent::install::{Clock, Health, InstallError, InstallOutcome, Installer, System, open_system};
use unbox_common::payload::AcceptedPayload;

/// The DPC of these tests: writes down what it was given, then stays.
const DPC: &str = "#!/bin/sh\ncp \"$CREDENTIALS_DIRECTORY/unbox.extras\" \"$STATE_DIRECTORY/extras\"\n\
                   echo RELEASE > \"$STATE_DIRECTORY/release\"\nexec sleep 600\n";
/// Its health check.
const CHECK: &str = "#!/bin/sh\ngrep -q RELEASE \"$1\"\n";
const INSTALL: &str = "[Install]\nWantedBy=multi-user.target\n";
const UNIT: &str = "[Unit]\nDescription=test DPC\n[Service]\nExecStart=/opt/unbox/dpc/acme/current/bin/dpc\n\
                    StateDirectory=acme\n[Install]\nWantedBy=multi-user.target\n";

pub(crate) struct Sandbox {
    pub(crate) root: PathBuf,
    pub(crate) artifacts: Artifacts,
    home: PathBuf,
    _temporary: Option<TempDir>,
}

impl Sandbox {
    fn new() -> Self {
        Self::prepared(|_| ())
    }

    /// Makes one whose root is a file system of its own.
    pub(crate) fn mounted(mount: impl FnOnce(&Path)) -> Self {
        let sandbox = Self::prepared(mount);
        sandbox.make_package_database();
        sandbox
    }

    fn prepared(prepare: impl FnOnce(&Path)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_owned();
        let root = path.join("root");
        fs::create_dir(&root).unwrap();
        prepare(&root);
        for directory in ["etc/systemd/system", "var/lib/unbox", "usr/bin", "opt"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("etc/hostname"), "factory\n").unwrap();
        Self { _temporary: Some(home), ..Self::at(&path) }
    }

    /// Another process's view of a sandbox.
    pub(crate) fn at(home: &Path) -> Self {
        let artifacts = Artifacts::new(home.join("artifacts"));
        Self { root: home.join("root"), artifacts, home: home.to_owned(), _temporary: None }
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    fn make_package_database(&self) {
        for directory in ["info", "updates", "triggers", "alternatives"] {
            fs::create_dir_all(self.root.join("var/lib/dpkg").join(directory)).unwrap();
        }
        fs::write(self.root.join("var/lib/dpkg/status"), "").unwrap();
        // dpkg removes directories that are empty after a purge.
        fs::create_dir_all(self.root.join("usr/share/other")).unwrap();
    }

    fn with<T>(&self, system: &mut dyn System, act: impl FnOnce(&mut Installer<'_>) -> T) -> T {
        act(&mut Installer {
            system,
            state_dir: &self.root.join("var/lib/unbox"),
            clock: &mut RealClock(Instant::now()),
            progress: &mut |_, _| (),
        })
    }

    pub(crate) fn install(
        &self,
        system: &mut dyn System,
        payload: &AcceptedPayload,
    ) -> Result<InstallOutcome, InstallError> {
        let artifacts = self.artifacts.dir();
        self.with(system, |installer| installer.install(payload, &artifacts))
    }

    /// Power on: brings to its end what was cut off.
    pub(crate) fn resume(&self) -> Option<InstallOutcome> {
        let artifacts = self.artifacts.dir();
        self.with(self.open().as_mut(), |installer| installer.resume(&artifacts)).unwrap()
    }

    pub(crate) fn uninstall(&self, system: &mut dyn System) -> InstallOutcome {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's own lifetime is not general enough"
        )]
        self.with(system, |installer| installer.uninstall()).unwrap()
    }

    fn health(&self, system: &mut dyn System) -> Health {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's own lifetime is not general enough"
        )]
        self.with(system, |installer| installer.check_health()).unwrap()
    }

    pub(crate) fn open(&self) -> Box<dyn System> {
        open_system(&self.root).unwrap()
    }

    /// Leaves out the package system's own records.
    pub(crate) fn picture(&self) -> Vec<String> {
        let mut picture = snapshot(&self.root);
        let own = ["var/lib/dpkg", "var/lib/acme", "var/log", "var directory", "var/lib directory"];
        picture.retain(|line| !own.iter().any(|own| line.starts_with(own)));
        picture
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_default()
    }

    fn payload(&self, release: &str, check: &str) -> AcceptedPayload {
        let archive = tar(&[
            file("bin/dpc", 0o755, DPC.replace("RELEASE", release).as_bytes()),
            file("bin/check", 0o777, CHECK.replace("RELEASE", check).as_bytes()),
            link(EntryType::Symlink, "check", "bin/check"),
            file("acme.service", 0o644, UNIT.as_bytes()),
        ]);
        let seen = self.root.join("var/lib/acme/release");
        let dpc = json!({
            "name": "acme", "version": release, "kind": "tar", "unit": "acme.service",
            "extras": { "for": release },
            "artifact": self.artifacts.add(&gzip(&archive)),
            "health": {
                "type": "command", "program": "/opt/unbox/dpc/acme/current/check",
                "arguments": [seen], "timeout_s": 3,
            },
        });
        let policy = json!([
            { "type": "hostname", "name": format!("kiosk-{release}") },
            { "type": "file", "path": "/etc/motd", "content": { "text": release } },
            { "type": "file", "path": "/etc/systemd/system/extra.service", "content": { "text": UNIT } },
            { "type": "unit", "name": "extra.service", "enabled": true },
            { "type": "unit", "name": "rare.service", "masked": true },
        ]);
        accept(release.len() as u64, &dpc, &policy)
    }
}

#[test]
fn a_dpc_runs_with_its_extras_is_updated_and_goes_without_a_trace() {
    let sandbox = Sandbox::new();
    let factory = sandbox.picture();
    let mut system = sandbox.open();
    let managed = InstallOutcome::Managed { version: 3 };
    assert_eq!(sandbox.install(system.as_mut(), &sandbox.payload("one", "one")).unwrap(), managed);
    assert_eq!(sandbox.read("var/lib/acme/extras"), r#"{"for":"one"}"#);
    assert_eq!(sandbox.read("etc/hostname"), "kiosk-one\n");
    let wants = sandbox.root.join("etc/systemd/system/multi-user.target.wants");
    assert!(wants.join("acme.service").symlink_metadata().is_ok());
    assert!(wants.join("extra.service").symlink_metadata().is_ok());
    let mask = fs::read_link(sandbox.root.join("etc/systemd/system/rare.service")).unwrap();
    assert_eq!(mask, Path::new("/dev/null"));
    assert_eq!(sandbox.with(system.as_mut(), |installer| installer.drift()).unwrap(), []);

    assert_eq!(sandbox.install(system.as_mut(), &sandbox.payload("two", "two")).unwrap(), managed);
    assert_eq!(sandbox.read("var/lib/acme/extras"), r#"{"for":"two"}"#);
    assert_eq!(sandbox.health(system.as_mut()), Health::Healthy);

    assert_eq!(sandbox.uninstall(system.as_mut()), InstallOutcome::Removed);
    let _ = fs::remove_dir(&wants);
    assert_eq!(sandbox.picture(), factory);
}

#[test]
fn an_unhealthy_update_brings_back_the_dpc_that_ran_before() {
    let sandbox = Sandbox::new();
    let mut system = sandbox.open();
    let _ = sandbox.install(system.as_mut(), &sandbox.payload("one", "one")).unwrap();
    let before = sandbox.picture();
    let outcome = sandbox.install(system.as_mut(), &sandbox.payload("two", "never")).unwrap();
    let InstallOutcome::RolledBack { failure, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, "unhealthy");
    assert_eq!(sandbox.picture(), before);
    // The old one was started again, and says so.
    let end = Instant::now() + Duration::from_secs(10);
    while sandbox.read("var/lib/acme/release") != "one\n" {
        assert!(Instant::now() < end, "the old DPC does not run");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_a_sandbox_cannot_run_is_refused_and_taken_back() {
    let unit = format!("[Service]\nExecStart=/bin/sh -c \"echo %n\"\n{INSTALL}");
    assert_taken_back(&unit, "install_unsupported", "starting acme.service in a sandbox");
}

#[test]
fn a_dpc_that_no_boot_would_start_is_taken_back_and_the_reason_said() {
    let unit = "[Service]\nExecStart=/opt/unbox/dpc/acme/current/bin/dpc\n";
    assert_taken_back(unit, "no_effect", "[Install]");
}

#[track_caller]
fn assert_taken_back(unit: &str, kind: &str, detail: &str) {
    let sandbox = Sandbox::new();
    let factory = sandbox.picture();
    let mut system = sandbox.open();
    let archive = tar(&[file("acme.service", 0o644, unit.as_bytes())]);
    let dpc = json!({
        "name": "acme", "version": "1", "kind": "tar", "unit": "acme.service",
        "artifact": sandbox.artifacts.add(&archive),
    });
    let outcome = sandbox.install(system.as_mut(), &accept(1, &dpc, &json!([]))).unwrap();
    let InstallOutcome::RolledBack { failure, .. } = outcome else { panic!("{outcome:?}") };
    assert!(failure.kind == kind && failure.detail.contains(detail), "{failure:?}");
    let _ = fs::remove_dir(sandbox.root.join("etc/systemd/system/multi-user.target.wants"));
    assert_eq!(sandbox.picture(), factory);
}

/// Builds a package, and describes it as an artifact.
fn package(sandbox: &Sandbox, name: &str, version: &str, fails: bool) -> Value {
    let build = tempfile::tempdir().unwrap();
    let tree = build.path().join("tree");
    fs::create_dir_all(tree.join("DEBIAN")).unwrap();
    fs::create_dir_all(tree.join("usr/share").join(name)).unwrap();
    // A dependency that is not there lets the package be unpacked, but not be configured.
    let depends = if fails { "Depends: not-there\n" } else { "" };
    let control = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody <n@example.org>\n\
         Installed-Size: 4\n{depends}Description: test\n"
    );
    fs::write(tree.join("DEBIAN/control"), control).unwrap();
    fs::write(tree.join("usr/share").join(name).join("release"), version).unwrap();
    let deb = build.path().join("package.deb");
    let output = Command::new("dpkg-deb")
        .args(["--root-owner-group", "--build"])
        .args([&tree, &deb])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    sandbox.artifacts.add(&fs::read(deb).unwrap())
}

pub(crate) fn with_package_database() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.make_package_database();
    sandbox
}

fn tool(version: &str, artifact: &Value) -> AcceptedPayload {
    let item = json!({ "type": "package", "name": "tool", "version": version, "artifact": artifact });
    accept(1, &Value::Null, &json!([item]))
}

#[test]
fn a_package_is_installed_updated_and_purged() {
    let sandbox = with_package_database();
    let factory = sandbox.picture();
    let mut system = sandbox.open();
    for version in ["1.0", "2.0-1", "1.5"] {
        let artifact = package(&sandbox, "tool", version, false);
        let outcome = sandbox.install(system.as_mut(), &tool(version, &artifact)).unwrap();
        assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
        assert_eq!(sandbox.read("usr/share/tool/release"), version);
    }
    assert_eq!(sandbox.uninstall(system.as_mut()), InstallOutcome::Removed);
    assert_eq!(sandbox.picture(), factory);
}

#[test]
fn a_package_that_cannot_be_configured_is_taken_back() {
    let sandbox = with_package_database();
    let factory = sandbox.picture();
    let mut system = sandbox.open();
    let broken = package(&sandbox, "tool", "2.0", true);
    let outcome = sandbox.install(system.as_mut(), &tool("2.0", &broken)).unwrap();
    let InstallOutcome::RolledBack { failure, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, "program_failed");
    assert!(failure.detail.contains("not-there"), "{}", failure.detail);
    assert_eq!(sandbox.picture(), factory);

    let good = package(&sandbox, "tool", "1.0", false);
    let _ = sandbox.install(system.as_mut(), &tool("1.0", &good)).unwrap();
    let before = sandbox.picture();
    let outcome = sandbox.install(system.as_mut(), &tool("2.0", &broken)).unwrap();
    assert!(matches!(outcome, InstallOutcome::RolledBack { .. }), "{outcome:?}");
    assert_eq!(sandbox.picture(), before);
    assert_eq!(sandbox.read("usr/share/tool/release"), "1.0");
}

#[test]
fn a_package_file_that_says_something_else_is_refused() {
    let sandbox = with_package_database();
    let mut system = sandbox.open();
    let factory = sandbox.picture();
    let artifact = package(&sandbox, "tool", "1.0", false);
    let error = sandbox.install(system.as_mut(), &tool("1.1", &artifact)).unwrap_err();
    assert_eq!(error.kind(), "package_refused");
    let nonsense = sandbox.artifacts.add(b"!<arch>\nnot a package");
    let error = sandbox.install(system.as_mut(), &tool("1.1", &nonsense)).unwrap_err();
    assert_eq!(error.kind(), "package_refused");
    assert_eq!(sandbox.picture(), factory);
}

#[test]
fn a_sandbox_without_a_package_database_takes_no_packages() {
    let sandbox = Sandbox::new();
    let mut system = sandbox.open();
    let artifact = package(&sandbox, "tool", "1.0", false);
    let error = sandbox.install(system.as_mut(), &tool("1.0", &artifact)).unwrap_err();
    assert_eq!(error.kind(), "install_unsupported");
}

#[test]
#[ignore = "needs root: it mounts a small file system"]
fn a_disk_without_room_is_refused_before_anything_changes() {
    let sandbox = Sandbox::new();
    let small = sandbox.root.join("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=6m", "small"]).arg(&small).status();
    assert!(mounted.unwrap().success());
    let before = sandbox.picture();
    let artifact = sandbox.artifacts.add(&vec![1; 5 * 1024 * 1024]);
    let policy = json!([
        { "type": "file", "path": "/small/file", "content": { "artifact": artifact } },
        { "type": "hostname", "name": "kiosk" },
    ]);
    let refused = sandbox.install(sandbox.open().as_mut(), &accept(1, &Value::Null, &policy));
    let after = sandbox.picture();
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    assert_eq!(refused.unwrap_err().kind(), "no_space");
    assert_eq!(after, before);
}

#[test]
#[ignore = "needs root: it mounts a file system read-only"]
fn a_read_only_place_is_said_and_everything_else_is_taken_back() {
    let sandbox = Sandbox::new();
    let fixed = sandbox.root.join("fixed");
    fs::create_dir(&fixed).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "ro", "fixed"]).arg(&fixed).status();
    assert!(mounted.unwrap().success());
    let before = sandbox.picture();
    let policy = json!([
        { "type": "file", "path": "/etc/motd", "content": { "text": "hello" } },
        { "type": "file", "path": "/fixed/file", "content": { "text": "hello" } },
    ]);
    let outcome = sandbox.install(sandbox.open().as_mut(), &accept(1, &Value::Null, &policy));
    let after = sandbox.picture();
    assert!(Command::new("umount").arg(&fixed).status().unwrap().success());
    let Ok(InstallOutcome::RolledBack { failure, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, "read_only");
    assert_eq!(after, before);
}

struct RealClock(Instant);

impl Clock for RealClock {
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&mut self, span: Duration) {
        thread::sleep(span);
    }
}
