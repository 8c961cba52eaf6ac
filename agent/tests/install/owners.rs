//! Packages that somebody else installed, and what two packages or a package and a policy have side by side:
//! through the real dpkg.

use crate::{
    aftermath::{dpkg, install_by_hand, package, status},
    packages::{Deb, OVERWRITES, TOOL, assert_rolled_back, furnished, install, reset, with_a_shell},
    payloads::{Entry, file},
    sandbox::Sandbox,
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink};
use unbox_agent::install::InstallOutcome;

const MANAGED: InstallOutcome = InstallOutcome::Managed { version: 1 };

const fn directory(name: &str) -> Entry<'_> {
    Entry { kind: tar::EntryType::Directory, ..file(name, 0o755, b"") }
}

/// Expects that a payload is refused with these words, and that nothing changes.
#[track_caller]
fn assert_refused(sandbox: &Sandbox, items: &[Value], words: &str) {
    let (picture, database) = (sandbox.picture(), status(sandbox));
    let refused = install(sandbox, &json!(items)).unwrap_err();
    let detail = refused.failure().detail;
    assert!(detail.contains(words), "{detail:?} does not say {words:?}");
    assert_eq!((sandbox.picture(), status(sandbox)), (picture, database));
}

fn text(path: &str, text: &str) -> Value {
    json!({ "type": "file", "path": path, "content": { "text": text } })
}

const FORE: Deb<'_> = Deb { name: "fore", entries: &[file("./usr/bin/fore", 0o755, b"fore\n")], ..TOOL };

#[test]
fn a_package_that_somebody_else_installed_stays_theirs_whatever_file_a_payload_has_of_it() {
    let sandbox = furnished();
    install_by_hand(&sandbox, &FORE);
    let before = (sandbox.picture(), status(&sandbox));
    let impostor = Deb { entries: &[file("./srv/fake", 0o644, b"")], ..FORE }.item(&sandbox);
    let taker = Deb { control: "Replaces: fore\n", ..Deb { name: "taker", ..FORE } }.item(&sandbox);
    let newer = Deb { version: "2.0", ..FORE }.item(&sandbox);
    assert_refused(&sandbox, &[impostor.clone(), taker.clone()], "/usr/bin/fore of package fore");
    assert_eq!(install(&sandbox, &json!([impostor])).unwrap(), MANAGED);
    assert_eq!((sandbox.picture(), status(&sandbox)), before);
    assert_refused(&sandbox, &[impostor, taker], "/usr/bin/fore of package fore");
    assert_refused(&sandbox, &[newer], "could not be put back");
    assert_eq!(install(&sandbox, &json!([text("/etc/next", "")])).unwrap(), MANAGED);
    assert!(status(&sandbox).contains("Package: fore"));
    reset(&sandbox);
    assert_eq!((sandbox.picture(), status(&sandbox)), before);
}

fn replacing<'a>(sandbox: &Sandbox, entries: &'a [Entry<'a>]) -> Value {
    Deb { control: "Replaces: fore\n", entries, ..TOOL }.item(sandbox)
}

#[test]
fn what_a_foreign_package_has_is_replaced_by_no_directory_and_by_no_other_name() {
    let sandbox = furnished();
    symlink("usr/bin", sandbox.root.join("bin")).unwrap();
    symlink("srv", sandbox.root.join("alias")).unwrap();
    let entries = &[
        file("./usr/bin/ftool", 0o755, b"fore\n"),
        file("./usr/bin/gone", 0o755, b""),
        file("./alias/t/x", 0o644, b"fore\n"),
        directory("./srv/kept"),
    ];
    install_by_hand(&sandbox, &Deb { entries, ..FORE });
    fs::remove_file(sandbox.root.join("usr/bin/gone")).unwrap();
    let one = |entries: &[Entry<'_>]| replacing(&sandbox, entries);
    let taken = "/usr/bin/ftool of package fore";
    assert_refused(&sandbox, &[one(&[directory("./usr/bin/ftool")])], taken);
    assert_refused(&sandbox, &[one(&[directory("./bin/ftool")])], taken);
    assert_refused(&sandbox, &[one(&[directory("./usr/bin/gone")])], "/usr/bin/gone of package fore");
    assert_refused(
        &sandbox,
        &[one(&[directory("./etc/motd")])],
        "directory /etc/motd is something else here",
    );
    assert_refused(&sandbox, &[one(&[file("./srv/t/x", 0o644, b"")])], "/alias/t/x of package fore");
    // Directories are shared, by any name.
    let shared = one(&[file("./srv/kept/own", 0o644, b""), file("./alias/t/y", 0o644, b"")]);
    let before = sandbox.picture();
    assert_eq!(install(&sandbox, &json!([shared])).unwrap(), MANAGED);
    reset(&sandbox);
    assert_eq!(sandbox.picture(), before);
}

#[test]
fn two_packages_have_no_place_in_common_by_two_names() {
    let sandbox = furnished();
    fs::create_dir_all(sandbox.root.join("usr/lib")).unwrap();
    symlink("usr/lib", sandbox.root.join("lib")).unwrap();
    let [one, two, three] = [
        Deb { entries: &[file("./lib/sh", 0o644, b"one")], ..package("one", "") },
        Deb { entries: &[file("./usr/lib/sh", 0o644, b"two")], ..package("two", "") },
        Deb { entries: &[directory("./usr/lib/sh")], ..package("three", "") },
    ]
    .map(|deb| deb.item(&sandbox));
    assert_refused(&sandbox, &[one.clone(), two], "are one place on this device, /usr/lib/sh");
    assert_refused(&sandbox, &[one.clone(), three], "are one place on this device, /usr/lib/sh");
    assert_eq!(install(&sandbox, &json!([one])).unwrap(), MANAGED);
}

#[test]
fn a_package_that_shares_all_but_what_a_payload_brings_does_not_disappear() {
    let sandbox = furnished();
    install_by_hand(&sandbox, &Deb { entries: &[directory("./usr/share/fore")], ..FORE });
    let shares = &[directory("./usr/share/third"), file("./usr/share/third/x", 0o644, b"")];
    install_by_hand(&sandbox, &Deb { entries: shares, ..package("third", "") });
    // It brings no /usr and no /usr/share.
    let entries = &[directory("./usr/share/fore"), file("./usr/share/fore/x", 0o644, b"")];
    let artifact = sandbox.artifacts.add(&Deb { entries, ..TOOL }.build_without_parents());
    let item = json!({ "type": "package", "name": "tool", "version": "1.0", "artifact": artifact });
    assert_refused(&sandbox, &[item], "everything that package fore has");
}

const BESIDE: [&str; 6] = ["a.conf.bak", "a.conf~", "a.conf~12~", "a.conf%", "#a.conf#", "a.conf.dpkg-old"];

#[test]
fn what_others_have_beside_configuration_files_stays_when_their_package_goes() {
    for folder in ["etc/appd", "srv/appd"] {
        let sandbox = furnished();
        fs::create_dir_all(sandbox.root.join("srv/real")).unwrap();
        symlink("real", sandbox.root.join("srv/appd")).unwrap();
        fs::create_dir_all(sandbox.root.join("etc/appd")).unwrap();
        let conffile = format!("./{folder}/a.conf");
        let foreign = format!("./{folder}/a.conf.bak");
        let other = format!("./{folder}/a.conf~12~");
        install_by_hand(&sandbox, &Deb { entries: &[file(&foreign, 0o644, b"fore\n")], ..FORE });
        for name in BESIDE {
            fs::write(sandbox.root.join(folder).join(name), "by hand\n").unwrap();
        }
        for name in ["a.conf~12~", "a.conf~"] {
            fs::remove_file(sandbox.root.join(folder).join(name)).unwrap();
        }
        let factory = sandbox.picture();
        let list = format!("/{folder}/a.conf\n");
        let tool =
            Deb { scripts: &[("./conffiles", &list)], entries: &[file(&conffile, 0o644, b"")], ..TOOL };
        let neighbour = Deb { entries: &[file(&other, 0o644, b"own\n")], ..package("next", "") };
        let neighbour = neighbour.item(&sandbox);
        let policy = text(&format!("/{folder}/a.conf~"), "policy\n");
        let all = json!([tool.item(&sandbox), neighbour, policy]);
        assert_eq!(install(&sandbox, &all).unwrap(), MANAGED);
        assert_eq!(install(&sandbox, &json!([neighbour, policy])).unwrap(), MANAGED);
        let now = |name: &str| sandbox.read(&format!("{folder}/{name}"));
        let expected = ["by hand\n", "policy\n", "own\n", "by hand\n", "by hand\n", "by hand\n"];
        assert_eq!(BESIDE.map(now), expected, "{folder}");
        assert_eq!(install(&sandbox, &all).unwrap(), MANAGED);
        reset(&sandbox);
        assert_eq!(sandbox.picture(), factory, "{folder}");
    }
}

#[test]
fn what_a_package_replaced_comes_back_when_the_file_has_moved_to_another_package() {
    let sandbox = furnished();
    let factory = sandbox.picture();
    let one = &[file("./etc/motd", 0o644, b"one\n"), file("./srv/moves", 0o644, b"one\n")];
    let two = &[file("./etc/motd", 0o644, b"two\n"), file("./srv/moves", 0o644, b"two\n")];
    let first = Deb { entries: one, ..package("first", "") }.item(&sandbox);
    let left = Deb { version: "2.0", ..package("first", "") }.item(&sandbox);
    let second = Deb { entries: two, ..package("second", "Replaces: first\n") }.item(&sandbox);
    for next in [json!([left, second]), json!([second])] {
        assert_eq!(install(&sandbox, &json!([first])).unwrap(), MANAGED);
        assert_eq!(install(&sandbox, &next).unwrap(), MANAGED);
        assert_eq!((sandbox.read("etc/motd"), sandbox.read("srv/moves")), ("two\n".into(), "two\n".into()));
        assert_eq!(install(&sandbox, &json!([second])).unwrap(), MANAGED);
        assert_eq!(sandbox.read("etc/motd"), "two\n");
        reset(&sandbox);
        assert_eq!(sandbox.picture(), factory);
        assert_eq!(sandbox.read("etc/motd"), "factory\n");
    }
}

#[test]
fn a_list_that_names_files_of_others_takes_none_of_them_away() {
    let sandbox = furnished();
    install_by_hand(&sandbox, &FORE);
    let factory = sandbox.picture();
    assert_eq!(install(&sandbox, &json!([OVERWRITES.item(&sandbox)])).unwrap(), MANAGED);
    let path = sandbox.root.join("var/lib/dpkg/info/tool.list");
    let list = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{list}/usr/bin/fore\n/etc/hostname\n")).unwrap();
    reset(&sandbox);
    assert_eq!(sandbox.picture(), factory);
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn what_scripts_put_in_the_place_of_a_file_is_put_aside_and_the_file_comes_back() {
    let entries = &[file("./srv/base", 0o644, b"tool\n")];
    for (makes, code) in [
        ("mkdir /srv/base; echo y > /srv/base/y", 1),
        ("mkdir /srv/base; echo y > /srv/base/y", 0),
        ("mkfifo /srv/base", 1),
        ("mkfifo /srv/base", 0),
    ] {
        let sandbox = furnished();
        with_a_shell(&sandbox);
        for program in ["mkdir", "mkfifo"] {
            fs::copy(format!("/usr/bin/{program}"), sandbox.root.join("bin").join(program)).unwrap();
        }
        fs::write(sandbox.root.join("srv/base"), "keep\n").unwrap();
        let factory = sandbox.picture();
        let script = format!("#!/bin/sh\nrm -f /srv/base; {makes}; exit {code}\n");
        let tool = Deb { scripts: &[("./postinst", &script)], entries, ..TOOL };
        let outcome = install(&sandbox, &json!([tool.item(&sandbox)])).unwrap();
        if code == 0 {
            assert_eq!(outcome, MANAGED);
            reset(&sandbox);
        } else {
            assert_rolled_back(&outcome, "program_failed");
        }
        let mut now = sandbox.picture();
        now.retain(|line| !line.contains(".unbox-discarded-"));
        assert_eq!(now, factory, "{makes} {code}");
        assert_eq!(sandbox.read("srv/base"), "keep\n");
        let aside = fs::read_dir(sandbox.root.join("srv")).unwrap().flatten();
        let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains("discarded")).count();
        assert!(aside > 0 || !makes.contains("mkdir"), "{makes} {code}");
    }
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn a_package_with_its_architecture_in_the_names_of_its_scripts_does_not_resist() {
    let sandbox = furnished();
    with_a_shell(&sandbox);
    let factory = sandbox.picture();
    let control = "Multi-Arch: same\n";
    let fails = "#!/bin/sh\nexit 1\n";
    let deb = Deb { control, scripts: &[("./prerm", fails), ("./postrm", fails)], ..FORE };
    let built = deb.build_for(&architecture());
    let item = json!({ "type": "package", "name": "fore", "version": "1.0", "artifact": sandbox.artifacts.add(&built) });
    assert_eq!(install(&sandbox, &json!([item])).unwrap(), MANAGED);
    reset(&sandbox);
    assert_eq!(sandbox.picture(), factory);
    dpkg(&sandbox, &["--audit"]);
}

#[test]
#[ignore = "needs root: it makes files immutable"]
fn files_that_nobody_may_change_hold_up_no_reset() {
    let sandbox = furnished();
    with_a_shell(&sandbox);
    let factory = sandbox.picture();
    let resists = Deb { scripts: &[("./prerm", "#!/bin/sh\nexit 1\n")], ..OVERWRITES };
    for (deb, path) in [
        (&OVERWRITES, "etc/motd"),
        (&OVERWRITES, "srv/made"),
        (&resists, "var/lib/dpkg/info/tool.prerm"),
        (&resists, "srv/data/db"),
    ] {
        assert_eq!(install(&sandbox, &json!([deb.item(&sandbox)])).unwrap(), MANAGED);
        let path = sandbox.root.join(path);
        let locked = std::process::Command::new("chattr").arg("+i").arg(&path).status().unwrap();
        assert!(locked.success());
        reset(&sandbox);
        assert_eq!(sandbox.picture(), factory, "{}", path.display());
    }
}

fn architecture() -> String {
    let asked = std::process::Command::new("dpkg").arg("--print-architecture").output().unwrap();
    String::from_utf8(asked.stdout).unwrap().trim().to_owned()
}
