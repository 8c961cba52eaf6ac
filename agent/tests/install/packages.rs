//! Real packages through the real dpkg: what they would overwrite, take away or leave behind.

use crate::{
    faults::{FailAt, Failure},
    payloads::{Entry, accept, file, gzip, link, tar},
    sandbox::{Sandbox, with_package_database},
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tar::EntryType;
use unbox_agent::{
    files::{Operation, Root},
    install::{
        Change, InstallError, InstallOutcome, Packages, Reload, Resource, State, System, SystemError,
        UnitReport,
    },
};
use unbox_common::{path::SafePath, payload::UnitName};

/// A package as no tool would build it, if need be.
pub(crate) struct Deb<'a> {
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    pub(crate) control: &'a str,
    pub(crate) scripts: &'a [(&'a str, &'a str)],
    pub(crate) entries: &'a [Entry<'a>],
}

pub(crate) const TOOL: Deb<'_> =
    Deb { name: "tool", version: "1.0", control: "", scripts: &[], entries: &[] };

impl Deb<'_> {
    /// Writes a package for every architecture, with the directories that its files are in.
    pub(crate) fn build(&self) -> Vec<u8> {
        self.write("all", true)
    }

    pub(crate) fn build_for(&self, architecture: &str) -> Vec<u8> {
        self.write(architecture, true)
    }

    pub(crate) fn build_without_parents(&self) -> Vec<u8> {
        self.write("all", false)
    }

    /// Writes deb(5): an archive of ar(1) with three members.
    fn write(&self, architecture: &str, with_parents: bool) -> Vec<u8> {
        let Self { name, version, control, scripts, entries } = self;
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: nobody <n@example.org>\n\
             {control}Description: test\n"
        );
        let mut members = vec![file("./control", 0o644, control.as_bytes())];
        members.extend(scripts.iter().map(|(name, text)| file(name, 0o755, text.as_bytes())));
        let mut data: Vec<Entry<'_>> = Vec::new();
        let mut made: Vec<&str> = Vec::new();
        for entry in *entries {
            for (at, _) in entry.name.match_indices('/').filter(|(at, _)| with_parents && *at > 1) {
                let parent = &entry.name[..at];
                if !made.contains(&parent) {
                    made.push(parent);
                    data.push(Entry {
                        kind: EntryType::Directory,
                        name: parent,
                        link: "",
                        mode: 0o755,
                        bytes: b"",
                    });
                }
            }
            data.push(Entry { ..*entry });
        }
        let members = [
            ("debian-binary", b"2.0\n".to_vec()),
            ("control.tar.gz", gzip(&tar(&members))),
            ("data.tar.gz", gzip(&tar(&data))),
        ];
        let mut deb = b"!<arch>\n".to_vec();
        for (name, bytes) in members {
            deb.extend(
                format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", bytes.len()).bytes(),
            );
            deb.extend(&bytes);
            deb.extend(vec![b'\n'; bytes.len() % 2]);
        }
        deb
    }

    pub(crate) fn item(&self, sandbox: &Sandbox) -> Value {
        let artifact = sandbox.artifacts.add(&self.build());
        json!({ "type": "package", "name": self.name, "version": self.version, "artifact": artifact })
    }
}

pub(crate) fn install(sandbox: &Sandbox, policy: &Value) -> Result<InstallOutcome, InstallError> {
    sandbox.install(sandbox.open().as_mut(), &accept(1, &Value::Null, policy))
}

/// A policy that makes it through every step and then fails.
pub(crate) fn failing(sandbox: &Sandbox, item: &Value) -> InstallOutcome {
    let unit =
        "[Service]\nExecStart=/opt/unbox/dpc/acme/current/bin/dpc\n[Install]\nWantedBy=multi-user.target\n";
    let archive =
        tar(&[file("acme.service", 0o644, unit.as_bytes()), file("bin/dpc", 0o755, b"#!/bin/sh\nexit 1\n")]);
    let dpc = json!({
        "name": "acme", "version": "1", "kind": "tar", "unit": "acme.service",
        "artifact": sandbox.artifacts.add(&archive),
        "health": { "type": "unit_active", "stable_for_s": 1, "timeout_s": 2 },
    });
    let outcome = sandbox.install(sandbox.open().as_mut(), &accept(2, &dpc, &json!([item]))).unwrap();
    let _ = fs::remove_dir(sandbox.root.join("etc/systemd/system/multi-user.target.wants"));
    outcome
}

pub(crate) fn reset(sandbox: &Sandbox) {
    assert_eq!(sandbox.uninstall(sandbox.open().as_mut()), InstallOutcome::Removed);
}

#[track_caller]
pub(crate) fn assert_rolled_back(outcome: &InstallOutcome, kind: &str) {
    assert!(
        matches!(outcome, InstallOutcome::RolledBack { failure, .. } if failure.kind == kind),
        "{outcome:?}"
    );
}

/// A device with a few things that no package owns.
pub(crate) fn furnished() -> Sandbox {
    let sandbox = with_package_database();
    for (path, text) in
        [("etc/motd", "factory\n"), ("srv/data/db", "years of work\n"), ("etc/tool.conf", "mine\n")]
    {
        let path = sandbox.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::set_permissions(sandbox.root.join("srv/data/db"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::create_dir_all(sandbox.root.join("srv/empty")).unwrap();
    symlink("db", sandbox.root.join("srv/data/link")).unwrap();
    sandbox
}

pub(crate) const OVERWRITES: Deb<'_> = Deb {
    entries: &[
        file("./etc/motd", 0o644, b"tool\n"),
        file("./srv/data/db", 0o644, b"\n"),
        file("./srv/data/link", 0o644, b"\n"),
        file("./srv/empty/new", 0o644, b""),
        file("./srv/made/new", 0o644, b""),
        link(EntryType::Symlink, "./etc/tool.conf", "motd"),
    ],
    ..TOOL
};

#[test]
fn what_a_package_overwrites_comes_back_with_the_way_back_and_with_a_reset() {
    let sandbox = furnished();
    let factory = sandbox.picture();
    assert_rolled_back(&failing(&sandbox, &OVERWRITES.item(&sandbox)), "unhealthy");
    assert_eq!(sandbox.picture(), factory);

    let managed = InstallOutcome::Managed { version: 1 };
    assert_eq!(install(&sandbox, &json!([OVERWRITES.item(&sandbox)])).unwrap(), managed);
    assert_eq!(sandbox.read("etc/motd"), "tool\n");
    let before = sandbox.picture();
    let second = Deb { version: "2.0", entries: &[file("./etc/motd", 0o600, b"tool 2\n")], ..OVERWRITES };
    assert_rolled_back(&failing(&sandbox, &second.item(&sandbox)), "unhealthy");
    assert_eq!(sandbox.picture(), before);

    assert_eq!(install(&sandbox, &json!([second.item(&sandbox)])).unwrap(), managed);
    reset(&sandbox);
    assert_eq!(sandbox.picture(), factory);
}

#[test]
fn what_dpkg_removes_beside_a_configuration_file_comes_back_with_the_way_back_and_with_a_reset() {
    let sandbox = furnished();
    for name in ["new~", "new%", "new.bak", "#new#", "new.dpkg-old", "new.dpkg-dist", "new.orig"] {
        fs::write(sandbox.root.join("etc").join(name), "by hand\n").unwrap();
    }
    let factory = sandbox.picture();
    let entries = &[file("./etc/new", 0o644, b"tool\n")];
    let tool = Deb { scripts: &[("./conffiles", "/etc/new\n")], entries, ..TOOL };
    assert_rolled_back(&failing(&sandbox, &tool.item(&sandbox)), "unhealthy");
    assert_eq!(sandbox.picture(), factory);
    let outcome = install(&sandbox, &json!([tool.item(&sandbox)])).unwrap();
    assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
    reset(&sandbox);
    assert_eq!(sandbox.picture(), factory);
}

#[test]
fn a_hard_link_to_a_file_of_its_package_is_installed() {
    let sandbox = furnished();
    let factory = sandbox.picture();
    let entries = &[
        file("./usr/bin/tool", 0o755, b"tool\n"),
        link(EntryType::Link, "./usr/bin/other", "./usr/bin/tool"),
    ];
    let outcome = install(&sandbox, &json!([Deb { entries, ..TOOL }.item(&sandbox)])).unwrap();
    assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
    assert_eq!(sandbox.read("usr/bin/other"), "tool\n");
    reset(&sandbox);
    assert_eq!(sandbox.picture(), factory);
}

/// A sandbox that can lose power: before and after anything that lasts, dpkg included.
struct Mains {
    sandbox: Box<dyn System>,
    root: Root,
}

impl Mains {
    fn cut(&self) -> Result<(), SystemError> {
        let what = || "anything".to_owned();
        self.root.check(Operation::Attributes).map_err(|source| SystemError::Kernel { what: what(), source })
    }
}

impl System for Mains {
    fn root(&self) -> &Root {
        &self.root
    }

    fn covers(&self, resource: &Resource) -> bool {
        self.sandbox.covers(resource)
    }

    fn look(&self, resource: &Resource) -> Result<State, SystemError> {
        self.sandbox.look(resource)
    }

    fn change(&mut self, change: &Change, debs: &[PathBuf]) -> Result<(), SystemError> {
        self.cut()?;
        self.sandbox.change(change, debs)?;
        self.cut()
    }

    fn packages(&self) -> &dyn Packages {
        self.sandbox.packages()
    }

    fn covers_reload(&self, what: Reload) -> bool {
        self.sandbox.covers_reload(what)
    }

    fn reload(&mut self, what: Reload) -> Result<(), SystemError> {
        self.sandbox.reload(what)
    }

    fn unit(&mut self, unit: &UnitName) -> Result<UnitReport, SystemError> {
        self.sandbox.unit(unit)
    }

    fn check(&mut self, program: &SafePath, arguments: &[String], limit: Duration) -> Option<String> {
        self.sandbox.check(program, arguments, limit)
    }
}

#[test]
fn a_power_cut_around_dpkg_ends_in_the_old_state_or_the_new_one() {
    let first =
        Deb { entries: &[file("./etc/motd", 0o644, b"one\n"), file("./srv/empty/x", 0o644, b"")], ..TOOL };
    let second = Deb { version: "2.0", ..OVERWRITES };
    let device = || {
        let sandbox = furnished();
        let _ = install(&sandbox, &json!([first.item(&sandbox)])).unwrap();
        sandbox
    };
    let update = |sandbox: &Sandbox, faults: &Arc<FailAt>| {
        let root = Root::open(&sandbox.root).unwrap().with_faults(Arc::<FailAt>::clone(faults));
        let mut mains = Mains { sandbox: sandbox.open(), root };
        sandbox.install(&mut mains, &accept(2, &Value::Null, &json!([second.item(sandbox)])))
    };
    let undisturbed = device();
    let (old, faults) = (undisturbed.picture(), FailAt::never());
    assert_eq!(update(&undisturbed, &faults).unwrap(), InstallOutcome::Managed { version: 2 });
    let (new, operations) = (undisturbed.picture(), faults.count());
    let (mut ends_old, mut ends_new) = (0, 0);
    for at in (0..operations).step_by(3) {
        let sandbox = device();
        let faults = FailAt::new(Failure::PowerCut, at);
        let _ = update(&sandbox, &faults);
        assert!(faults.struck());
        sandbox.resume();
        let now = sandbox.picture();
        assert!(now == old || now == new, "cut at {at} of {operations}: {now:#?}");
        ends_old += usize::from(now == old);
        ends_new += usize::from(now == new);
    }
    assert!(ends_old > 0 && ends_new > 0, "{ends_old} old, {ends_new} new");
}

#[test]
fn a_lock_of_dpkg_is_waited_for() {
    let sandbox = furnished();
    let script = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); \
                  print('held', flush=True); time.sleep(3)";
    let mut holder = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(sandbox.root.join("var/lib/dpkg/lock-frontend"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 4]).unwrap();
    let began = std::time::Instant::now();
    let outcome = install(&sandbox, &json!([OVERWRITES.item(&sandbox)])).unwrap();
    assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
    assert!(began.elapsed() > Duration::from_secs(2));
    holder.wait().unwrap();
}

/// Gives a root what a maintainer script needs: a shell, and the libraries that it is linked with.
pub(crate) fn with_a_shell(sandbox: &Sandbox) {
    let listed = std::process::Command::new("ldd").arg("/bin/dash").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
    let programs = ["/bin/sh", "/bin/rm", "/bin/kill"].map(str::to_owned);
    let tools = ["/usr/bin/dpkg-divert", "/usr/bin/dpkg-statoverride", "/usr/bin/update-alternatives"]
        .map(str::to_owned);
    let more = std::process::Command::new("ldd").args(&tools).arg("/bin/rm").output().unwrap();
    let more = String::from_utf8(more.stdout).unwrap();
    let more: Vec<String> = more
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(str::to_owned)
        .collect();
    for path in libraries.chain(programs).chain(tools).chain(more) {
        let to = sandbox.root.join(&path[1..]);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        if Path::new(&path).exists() && !to.exists() {
            fs::copy(path, to).unwrap();
        }
    }
    fs::create_dir_all(sandbox.root.join("etc/alternatives")).unwrap();
    fs::create_dir_all(sandbox.root.join("var/log")).unwrap();
    fs::create_dir_all(sandbox.root.join("dev")).unwrap();
}

/// Diverts a file, makes an alternative and a file, and says nothing about it when it goes.
const MESS: &str = "#!/bin/sh\nset -e\ndpkg-divert --package tool --rename --divert /etc/motd.real --add /etc/motd\n\
                    update-alternatives --install /usr/bin/editor editor /usr/bin/tool 10\n";

const MESSY: Deb<'_> = Deb {
    entries: &[file("./etc/motd", 0o644, b"tool\n"), file("./usr/bin/tool", 0o755, b"tool\n")],
    ..TOOL
};

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn what_scripts_leave_behind_is_taken_back_with_the_package() {
    let sandbox = furnished();
    with_a_shell(&sandbox);
    let factory = sandbox.picture();
    let fails = ("./postinst", "#!/bin/sh\nexit 1\n");
    let first = Deb { scripts: &[("./preinst", MESS), fails], ..MESSY };
    assert_rolled_back(&install(&sandbox, &json!([first.item(&sandbox)])).unwrap(), "program_failed");
    assert_eq!(sandbox.picture(), factory);

    let good = Deb {
        entries: &[file("./usr/bin/tool", 0o755, b"one\n"), file("./etc/tool.conf", 0o644, b"1")],
        ..TOOL
    };
    let _ = install(&sandbox, &json!([good.item(&sandbox)])).unwrap();
    let before = sandbox.picture();
    let second = Deb { version: "2.0", ..first };
    assert_rolled_back(&install(&sandbox, &json!([second.item(&sandbox)])).unwrap(), "program_failed");
    assert_eq!(sandbox.picture(), before);
    reset(&sandbox);
    assert_eq!(sandbox.picture(), factory);
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn a_dpkg_that_is_killed_in_any_script_leaves_the_old_state() {
    for script in ["./preinst", "./postinst"] {
        let sandbox = furnished();
        with_a_shell(&sandbox);
        let good = Deb { entries: &[file("./usr/bin/tool", 0o755, b"one\n")], ..TOOL };
        let _ = install(&sandbox, &json!([good.item(&sandbox)])).unwrap();
        let before = sandbox.picture();
        let kills = "#!/bin/sh\nkill -9 $PPID\n";
        let second = Deb { version: "2.0", scripts: &[(script, kills)], ..OVERWRITES };
        let outcome = install(&sandbox, &json!([second.item(&sandbox)])).unwrap();
        assert_rolled_back(&outcome, "program_failed");
        assert_eq!(sandbox.picture(), before, "{script}");
    }
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn a_package_whose_scripts_resist_holds_up_neither_the_next_configuration_nor_a_reset() {
    let resists = ("./prerm", "#!/bin/sh\nexit 1\n");
    for scripts in [
        &[resists][..],
        &[("./postrm", "#!/bin/sh\nexit 1\n")],
        &[resists, ("./postinst", "#!/bin/sh\nexit 1\n")],
    ] {
        let sandbox = furnished();
        with_a_shell(&sandbox);
        let factory = sandbox.picture();
        let stubborn = Deb { scripts, ..OVERWRITES };
        let _ = install(&sandbox, &json!([stubborn.item(&sandbox)])).unwrap();
        let next = json!([{ "type": "file", "path": "/etc/next", "content": { "text": "" } }]);
        assert_eq!(install(&sandbox, &next).unwrap(), InstallOutcome::Managed { version: 1 });
        assert!(!sandbox.root.join("srv/made/new").exists());
        let _ = install(&sandbox, &json!([stubborn.item(&sandbox)])).unwrap();
        reset(&sandbox);
        assert_eq!(sandbox.picture(), factory);
    }
}
