//! Packages that need each other, that an interruption left half done, or that leave something behind:
//! through the real dpkg.

use crate::{
    packages::{Deb, OVERWRITES, TOOL, assert_rolled_back, failing, furnished, install, reset, with_a_shell},
    payloads::{Entry, accept, file},
    sandbox::Sandbox,
};
use serde_json::{Value, json};
use std::{fs, io::Write as _, path::Path, process::Command};
use unbox_agent::install::{InstallOutcome, is_rolled_back};

const PROGRAM: &[Entry<'_>] = &[file("./usr/bin/tool", 0o755, b"tool\n")];
const MANAGED: InstallOutcome = InstallOutcome::Managed { version: 1 };

/// Runs dpkg as an administrator would.
pub(crate) fn dpkg(sandbox: &Sandbox, arguments: &[&str]) {
    let mut root = std::ffi::OsString::from("--root=");
    root.push(&sandbox.root);
    let done = Command::new("dpkg").arg(root).arg("--force-not-root").args(arguments).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

pub(crate) fn install_by_hand(sandbox: &Sandbox, deb: &Deb<'_>) {
    let path = sandbox.root.parent().unwrap().join("by-hand.deb");
    fs::write(&path, deb.build()).unwrap();
    dpkg(sandbox, &["--install", path.to_str().unwrap()]);
}

pub(crate) fn status(sandbox: &Sandbox) -> String {
    sandbox.read("var/lib/dpkg/status")
}

/// Changes what dpkg has noted about its packages.
fn set_status(sandbox: &Sandbox, from: &str, to: &str) {
    let status = status(sandbox);
    assert!(status.contains(from), "{status}");
    fs::write(sandbox.root.join("var/lib/dpkg/status"), status.replace(from, to)).unwrap();
}

pub(crate) fn package<'a>(name: &'a str, control: &'a str) -> Deb<'a> {
    Deb { name, control, ..TOOL }
}

/// Notes in which order packages are configured and removed.
const NOTES: &[(&str, &str)] = &[
    ("./postinst", "#!/bin/sh\necho in $DPKG_MAINTSCRIPT_PACKAGE >> /log\n"),
    ("./prerm", "#!/bin/sh\necho out $DPKG_MAINTSCRIPT_PACKAGE >> /log\n"),
];

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn packages_are_installed_after_those_that_they_need_and_removed_before_them() {
    let sandbox = furnished();
    with_a_shell(&sandbox);
    let factory = sandbox.picture();
    let policy: Vec<Value> = [
        ("aa", "Depends: bb (>= 1.0), mail\n"),
        ("bb", "Pre-Depends: cc\n"),
        ("cc", ""),
        ("dd", "Provides: mail\n"),
        ("ee", "Depends: ff\n"),
        ("ff", "Depends: ee\n"),
    ]
    .map(|(name, control)| Deb { scripts: NOTES, ..package(name, control) }.item(&sandbox))
    .into();
    assert_eq!(install(&sandbox, &json!(policy)).unwrap(), MANAGED);
    let log = sandbox.read("log");
    let at = |log: &str, words: &str| log.rfind(words).unwrap_or_else(|| panic!("no {words:?} in {log}"));
    assert!(at(&log, "in cc") < at(&log, "in bb") && at(&log, "in bb") < at(&log, "in aa"), "{log}");
    assert!(at(&log, "in dd") < at(&log, "in aa") && log.contains("in ee"), "{log}");
    // The failing payload has none of them, so they go and come back.
    assert_rolled_back(&failing(&sandbox, &package("gg", "").item(&sandbox)), "unhealthy");
    assert_eq!(status(&sandbox).matches("install ok installed").count(), 6);
    reset(&sandbox);
    let log = sandbox.read("log");
    assert!(at(&log, "out aa") < at(&log, "out bb") && at(&log, "out bb") < at(&log, "out cc"), "{log}");
    assert!(at(&log, "out aa") < at(&log, "out dd"), "{log}");
    fs::remove_file(sandbox.root.join("log")).unwrap();
    assert_eq!(sandbox.picture(), factory);
    assert_eq!(status(&sandbox), "");
}

#[test]
fn a_package_that_goes_does_not_hide_what_another_would_remove() {
    let sandbox = furnished();
    install_by_hand(&sandbox, &package("foreign", ""));
    assert_eq!(install(&sandbox, &json!([package("old", "").item(&sandbox)])).unwrap(), MANAGED);
    let (picture, database) = (sandbox.picture(), status(&sandbox));
    let next = package("next", "Conflicts: old\n").item(&sandbox);
    let taker = package("taker", "Conflicts: foreign\nReplaces: foreign\nProvides: foreign\n");
    for policy in [json!([next, taker.item(&sandbox)]), json!([taker.item(&sandbox), next])] {
        let refused = install(&sandbox, &policy).unwrap_err();
        assert_eq!(refused.kind(), "package_refused");
        let detail = refused.failure().detail;
        assert!(detail.contains("would remove package foreign"), "{detail}");
        assert_eq!((sandbox.picture(), status(&sandbox)), (picture.clone(), database.clone()));
    }
    assert_eq!(install(&sandbox, &json!([next])).unwrap(), MANAGED);
    assert!(status(&sandbox).contains("Package: foreign") && !status(&sandbox).contains("Package: old"));
}

#[test]
fn packages_that_would_make_another_disappear_are_refused() {
    let sandbox = furnished();
    let directory = |name| Entry { kind: tar::EntryType::Directory, ..file(name, 0o755, b"") };
    let entries = &[directory("./"), file("./usr/share/foreign", 0o644, b"")];
    install_by_hand(&sandbox, &Deb { entries, ..package("foreign", "") });
    install_by_hand(&sandbox, &Deb { entries: &[directory("./srv/hollow")], ..package("hollow", "") });
    // Nothing of it is in the way.
    fs::remove_file(sandbox.root.join("usr/share/foreign")).unwrap();
    let (picture, database) = (sandbox.picture(), status(&sandbox));
    let beside = &[file("./srv/hollow/file", 0o644, b"")];
    let taker = Deb { entries, ..package("taker", "Replaces: foreign\n") };
    let filler = Deb { entries: beside, ..package("filler", "") };
    // dpkg would remove one after the other.
    let of_payload = Deb { entries: &[directory("./srv/one")], ..package("aa", "") };
    let other = Deb { entries: &[file("./srv/one/file", 0o644, b"")], ..package("bb", "") };
    for (items, words) in [
        (vec![taker.item(&sandbox)], "it would replace /usr/share/foreign of package foreign"),
        (vec![filler.item(&sandbox)], "everything that package hollow has"),
        (vec![of_payload.item(&sandbox), other.item(&sandbox)], "everything that package aa has"),
    ] {
        let refused = install(&sandbox, &json!(items)).unwrap_err();
        assert_eq!(refused.kind(), "package_refused");
        let detail = refused.failure().detail;
        assert!(detail.contains(words), "{detail:?} does not say {words:?}");
        assert_eq!((sandbox.picture(), status(&sandbox)), (picture.clone(), database.clone()));
    }
}

/// Lines with which dpkg refuses every further run, or every further package.
const BREAKS: [(&str, &str); 9] = [
    ("diversions", "/etc/a\\n"),
    ("diversions", "/etc/a\\n/etc/a.real\\n:\\n/etc/b\\n"),
    ("diversions", "/etc/b\\n/etc/c\\n:\\n/etc/b\\n/etc/d\\n:\\n"),
    ("statoverride", "nonsense\\n"),
    ("statoverride", "root root 0644 /etc/motd"),
    ("statoverride", "somebody-else root 0644 /etc/motd\\n"),
    ("triggers/File", "nonsense\\n"),
    ("triggers/Unincorp", "!!\\n"),
    ("info/tool.list", "/usr"),
];

/// A device on which an administrator has diverted a file and overridden a mode.
fn administered() -> Sandbox {
    let sandbox = furnished();
    with_a_shell(&sandbox);
    for (name, text) in [
        ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        ("etc/group", "root:x:0:\n"),
        ("var/lib/dpkg/diversions", "/etc/a\n/etc/a.real\n:\n"),
        ("var/lib/dpkg/statoverride", "root root 0600 /srv/data/db\n"),
    ] {
        fs::write(sandbox.root.join(name), text).unwrap();
    }
    sandbox
}

fn administration(sandbox: &Sandbox) -> [String; 2] {
    ["diversions", "statoverride"].map(|name| sandbox.read(&format!("var/lib/dpkg/{name}")))
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn a_script_that_breaks_the_database_of_dpkg_is_rolled_back_and_the_database_is_put_back() {
    let sandbox = administered();
    let before = (sandbox.picture(), administration(&sandbox));
    for (name, text) in BREAKS {
        // What a package says of its own files is nowhere else.
        let to = if name.starts_with("info/") { ">>" } else { ">" };
        let script = format!("#!/bin/sh\nprintf '{text}' {to} /var/lib/dpkg/{name}\n");
        let breaks = Deb { scripts: &[("./postinst", &script)], ..OVERWRITES };
        let outcome = install(&sandbox, &json!([breaks.item(&sandbox)])).unwrap();
        assert_rolled_back(&outcome, "install_unsupported");
        assert!(is_rolled_back(&format!("{outcome:?}")), "{outcome:?}");
        assert_eq!((sandbox.picture(), administration(&sandbox)), before, "{name} {text}");
        assert!(!status(&sandbox).contains("install ok"), "{name} {text}: {}", status(&sandbox));
    }
    assert_eq!(install(&sandbox, &json!([OVERWRITES.item(&sandbox)])).unwrap(), MANAGED);
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn a_reset_takes_a_package_away_whatever_broke_the_database_of_dpkg() {
    for (name, text) in BREAKS {
        let sandbox = administered();
        let before = (sandbox.picture(), administration(&sandbox));
        assert_eq!(install(&sandbox, &json!([OVERWRITES.item(&sandbox)])).unwrap(), MANAGED);
        let path = sandbox.root.join("var/lib/dpkg").join(name);
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.replace("\\n", "\n").as_bytes()).unwrap();
        reset(&sandbox);
        assert_eq!(sandbox.picture(), before.0, "{name} {text}");
        assert!(!status(&sandbox).contains("install ok"), "{name} {text}: {}", status(&sandbox));
        for (now, before) in administration(&sandbox).iter().zip(&before.1) {
            assert!(now.starts_with(before), "{name} {text}: {now}");
        }
    }
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn an_alternative_that_no_program_can_read_goes_with_a_reset() {
    let sandbox = furnished();
    with_a_shell(&sandbox);
    let factory = sandbox.picture();
    let script = "#!/bin/sh\necho nonsense > /var/lib/dpkg/alternatives/editor\n";
    let breaks = Deb { scripts: &[("./postinst", script)], ..OVERWRITES };
    assert_eq!(install(&sandbox, &json!([breaks.item(&sandbox)])).unwrap(), MANAGED);
    assert!(sandbox.root.join("var/lib/dpkg/alternatives/editor").exists());
    reset(&sandbox);
    assert_eq!(sandbox.picture(), factory);
    assert!(!sandbox.root.join("var/lib/dpkg/alternatives/editor").exists());
}

#[test]
fn a_package_that_a_power_cut_left_unfinished_does_not_block_the_next() {
    for (left, own) in [
        ("half-configured", false),
        ("triggers-pending\nTriggers-Pending: /usr/share/x", false),
        ("unpacked", false),
        ("half-configured", true),
        ("triggers-pending\nTriggers-Pending: /usr/share/x", true),
    ] {
        let sandbox = furnished();
        let base = package("base", "");
        install_by_hand(&sandbox, &base);
        set_status(&sandbox, "ok installed", &format!("ok {left}"));
        let next = package("next", "Depends: base\n");
        let mut policy = vec![next.item(&sandbox)];
        if own {
            policy.push(base.item(&sandbox));
        }
        assert_eq!(install(&sandbox, &json!(policy)).unwrap(), MANAGED, "{left}");
        assert_eq!(status(&sandbox).matches("install ok installed").count(), 2, "{}", status(&sandbox));
        reset(&sandbox);
        assert_eq!(status(&sandbox).matches("install ok installed").count(), 1, "{left}");
    }
}

#[test]
fn a_package_on_hold_is_updated_and_stays_on_hold() {
    let sandbox = furnished();
    let version = |version| Deb { version, entries: PROGRAM, ..TOOL };
    assert_eq!(install(&sandbox, &json!([version("1.0").item(&sandbox)])).unwrap(), MANAGED);
    set_status(&sandbox, "install ok installed", "hold ok installed");
    assert_eq!(install(&sandbox, &json!([version("2.0").item(&sandbox)])).unwrap(), MANAGED);
    assert!(status(&sandbox).contains("hold ok installed"), "{}", status(&sandbox));
    assert_rolled_back(&failing(&sandbox, &version("3.0").item(&sandbox)), "unhealthy");
    let after = status(&sandbox);
    assert!(after.contains("hold ok installed") && after.contains("Version: 2.0"), "{after}");
    reset(&sandbox);
    assert_eq!(status(&sandbox), "");
}

#[test]
fn configuration_that_a_person_changed_survives_a_rollback_and_goes_with_its_package() {
    let sandbox = furnished();
    let item = |version: &str, text: &[u8]| {
        let entries = &[file("./etc/acme.conf", 0o644, text)];
        Deb { version, entries, scripts: &[("./conffiles", "/etc/acme.conf\n")], ..TOOL }.item(&sandbox)
    };
    let factory = sandbox.picture();
    assert_eq!(install(&sandbox, &json!([item("1.0", b"one\n")])).unwrap(), MANAGED);
    fs::write(sandbox.root.join("etc/acme.conf"), "mine\n").unwrap();
    let before = sandbox.picture();
    assert_rolled_back(&failing(&sandbox, &item("2.0", b"two\n")), "unhealthy");
    assert_eq!((sandbox.picture(), sandbox.read("etc/acme.conf")), (before, "mine\n".to_owned()));
    assert_eq!(install(&sandbox, &json!([item("2.0", b"two\n")])).unwrap(), MANAGED);
    assert_eq!(sandbox.read("etc/acme.conf"), "mine\n");
    reset(&sandbox);
    assert_eq!(sandbox.picture(), factory);
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn a_package_whose_first_script_fails_leaves_no_note_in_the_database() {
    let sandbox = furnished();
    with_a_shell(&sandbox);
    let factory = sandbox.picture();
    let fails = Deb { scripts: &[("./preinst", "#!/bin/sh\nexit 1\n")], ..OVERWRITES };
    assert_rolled_back(&install(&sandbox, &json!([fails.item(&sandbox)])).unwrap(), "program_failed");
    assert_eq!(sandbox.picture(), factory);
    assert!(!status(&sandbox).contains("install ok"), "{}", status(&sandbox));
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn a_script_that_changes_the_settings_of_dpkg_is_rolled_back_and_they_are_put_back() {
    let sandbox = furnished();
    with_a_shell(&sandbox);
    fs::create_dir_all(sandbox.root.join("etc/dpkg/dpkg.cfg.d")).unwrap();
    let factory = sandbox.picture();
    for line in ["path-exclude=/usr/*", "nonsense"] {
        let script = format!("#!/bin/sh\necho {line} > /etc/dpkg/dpkg.cfg.d/tool\n");
        let deb = Deb { scripts: &[("./postinst", &script)], ..OVERWRITES };
        let outcome = install(&sandbox, &json!([deb.item(&sandbox)])).unwrap();
        assert_rolled_back(&outcome, "install_unsupported");
        assert_eq!(sandbox.picture(), factory);
    }
}

/// Diverts a file, overrides a mode and makes an alternative, as an administrator would: in nobody's name.
const CHOOSES: &str = "#!/bin/sh\nset -e\n[ \"$1\" = configure ] || exit 0\n\
    dpkg-divert --local --rename --divert /etc/motd.mine --add /etc/motd\n\
    dpkg-statoverride --add root root 0600 /etc/tool.conf\n\
    update-alternatives --install /usr/bin/editor editor /usr/bin/tool 10\n";

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn choices_that_scripts_made_go_with_a_reset_and_those_of_others_stay() {
    let sandbox = furnished();
    with_a_shell(&sandbox);
    fs::write(sandbox.root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(sandbox.root.join("etc/group"), "root:x:0:\n").unwrap();
    let choices = || {
        let of = |name: &str| sandbox.read(&format!("var/lib/dpkg/{name}"));
        let alternatives = sandbox.root.join("var/lib/dpkg/alternatives").read_dir().unwrap().count();
        (of("diversions"), of("statoverride"), alternatives)
    };
    let factory = sandbox.picture();
    let first = Deb { entries: PROGRAM, scripts: &[("./postinst", CHOOSES)], ..TOOL };
    assert_eq!(install(&sandbox, &json!([first.item(&sandbox)])).unwrap(), MANAGED);
    assert!(sandbox.root.join("etc/motd.mine").exists() && choices().2 == 1, "{:?}", choices());
    let second = Deb { version: "2.0", scripts: &[], ..first };
    assert_eq!(install(&sandbox, &json!([second.item(&sandbox)])).unwrap(), MANAGED);
    let before = (sandbox.picture(), choices());
    let third = Deb { version: "3.0", scripts: &[("./preinst", "#!/bin/sh\nexit 1\n")], ..first };
    assert_rolled_back(&install(&sandbox, &json!([third.item(&sandbox)])).unwrap(), "program_failed");
    assert_eq!((sandbox.picture(), choices()), before);
    // An administrator overrides another mode.
    let mut overrides =
        fs::OpenOptions::new().append(true).open(sandbox.root.join("var/lib/dpkg/statoverride")).unwrap();
    overrides.write_all(b"root root 0640 /srv/data/db\n").unwrap();
    reset(&sandbox);
    assert_eq!(sandbox.picture(), factory);
    let expected = (String::new(), "root root 0640 /srv/data/db\n".to_owned(), 0);
    assert_eq!(choices(), expected);
}

/// A sandbox on a file system of its own.
struct Small(Sandbox);

impl Small {
    fn mount(bytes: &str) -> Self {
        let sandbox = Sandbox::mounted(|root| {
            let size = format!("size={bytes}");
            let mounted =
                Command::new("mount").args(["-t", "tmpfs", "-o", &size, "small"]).arg(root).status();
            assert!(mounted.unwrap().success());
        });
        Self(sandbox)
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut filler = fs::File::create(self.0.root.join("filler")).unwrap();
        for size in [64 * 1024, 4096, 1] {
            while filler.write_all(&vec![7; size]).is_ok() {}
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0.root).status();
    }
}

#[test]
#[ignore = "needs root: it mounts a small file system"]
fn a_reset_needs_no_room_on_the_disk() {
    let small = Small::mount("48m");
    let sandbox = &small.0;
    let below = |path: &Path| !path.ends_with("filler");
    let picture = || {
        let mut picture = sandbox.picture();
        picture.retain(|line| below(Path::new(line.split(' ').next().unwrap_or_default())));
        picture
    };
    fs::write(sandbox.root.join("etc/motd"), "factory\n").unwrap();
    let factory = picture();
    // Bytes that cannot be compressed, so that the package file is as large.
    let mut state = 1_u32;
    let large: Vec<u8> = (0..6 * 1024 * 1024)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    let deb = Deb { entries: &[file("./usr/bin/large", 0o755, &large)], ..TOOL };
    let policy = json!([
        deb.item(sandbox),
        { "type": "file", "path": "/etc/motd", "content": { "text": "managed\n" } },
    ]);
    let outcome = sandbox.install(sandbox.open().as_mut(), &accept(1, &Value::Null, &policy)).unwrap();
    assert_eq!(outcome, MANAGED);
    small.fill();
    reset(sandbox);
    assert_eq!((picture(), sandbox.read("etc/motd")), (factory, "factory\n".to_owned()));
    assert_eq!(status(sandbox), "");
}
