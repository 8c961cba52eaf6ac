//! Packages that are refused before anything changes: each would reach what is not its own.

use crate::{
    packages::{Deb, TOOL, furnished, install, reset},
    payloads::{Entry, file, link},
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink};
use tar::EntryType;
use unbox_agent::install::InstallOutcome;

#[test]
fn a_package_that_must_not_be_installed_is_refused_before_anything_changes() {
    let sandbox = furnished();
    let agent = Deb { name: "unbox-agent", entries: &[file("./usr/share/agent/x", 0o644, b"")], ..TOOL };
    let other = Deb {
        name: "other",
        control: "Provides: mail\n",
        entries: &[file("./usr/bin/other", 0o755, b"")],
        ..TOOL
    };
    let gone = Deb { name: "gone", entries: &[file("./usr/share/gone/file", 0o644, b"")], ..TOOL };
    let hollow = Deb {
        name: "hollow",
        entries: &[Entry { kind: EntryType::Directory, ..file("./srv/hollow", 0o755, b"") }],
        ..TOOL
    };
    for installed in [&agent, &other, &gone, &hollow] {
        let deb = sandbox.root.parent().unwrap().join("installed.deb");
        fs::write(&deb, installed.build()).unwrap();
        let mut root = std::ffi::OsString::from("--root=");
        root.push(&sandbox.root);
        let done = std::process::Command::new("dpkg")
            .arg(root)
            .args(["--force-not-root", "--install"])
            .arg(deb)
            .output();
        assert!(done.as_ref().unwrap().status.success(), "{done:?}");
    }
    fs::remove_file(sandbox.root.join("usr/share/gone/file")).unwrap();
    symlink("etc", sandbox.root.join("alias")).unwrap();
    symlink("/etc/unbox/trust/new", sandbox.root.join("etc/linked.conf")).unwrap();
    let before = sandbox.picture();
    let entry = |kind, mode| [Entry { kind, mode, ..file("./usr/bin/tool", 0, b"") }];
    let set_id = entry(EntryType::Regular, 0o4755);
    let (device, fifo) = (entry(EntryType::Block, 0o644), entry(EntryType::Fifo, 0o644));
    let takes = [file("./usr/bin/other", 0o755, b"mine")];
    let trust = [file("./etc/unbox/trust/root.json", 0o644, b"")];
    let unit = [file("./lib/systemd/system/unbox-install.service", 0o644, b"")];
    let through = [link(EntryType::Symlink, "./srv/way", "/etc"), file("./srv/way/unbox/x", 0o644, b"")];
    let plain_tool = || file("./usr/bin/tool", 0o755, b"");
    let plain = [plain_tool()];
    let settings = [file("./etc/dpkg/dpkg.cfg.d/tool", 0o644, b"path-exclude=/usr/*\n")];
    let twice = [file("./usr/bin/tool", 0o755, b"one"), file("./usr/bin/tool", 0o755, b"two")];
    let outward = [plain_tool(), link(EntryType::Link, "./usr/bin/b", "./etc/motd")];
    let forward = [link(EntryType::Link, "./usr/bin/b", "./usr/bin/tool"), plain_tool()];
    let to_link = [
        link(EntryType::Symlink, "./usr/bin/a", "/etc/unbox"),
        link(EntryType::Link, "./usr/bin/b", "./usr/bin/a"),
    ];
    // A header before it has another target.
    let long = Entry { kind: EntryType::GNULongLink, ..file("@LongLink", 0o644, b"./etc/motd\0") };
    let by_header = [plain_tool(), long, link(EntryType::Link, "./usr/bin/b", "./usr/bin/tool")];
    let linked = [file("./etc/linked.conf", 0o644, b"")];
    let slash = [plain_tool(), link(EntryType::Link, "./usr/bin/b", "./usr/bin/tool/")];
    let links_linked =
        [file("./etc/linked.conf", 0o644, b""), link(EntryType::Link, "./etc/b", "./etc/linked.conf")];
    let working = [plain_tool(), file("./usr/bin/tool.dpkg-new", 0o755, b"another")];
    let two_names = [file("./etc/new", 0o644, b""), link(EntryType::Symlink, "./alias/new", "motd")];
    let through_alias = [link(EntryType::Symlink, "./alias/way", "."), file("./etc/way/motd", 0o644, b"")];
    let full = [file("./srv/data", 0o644, b"")];
    let missing = [file("./usr/share/gone/file", 0o644, b"")];
    let in_hollow = [file("./srv/hollow/file", 0o644, b"")];
    let posix = [Entry { kind: EntryType::XHeader, ..file("pax", 0o644, b"11 mtime=1\n") }, plain_tool()];
    let with = |control, entries| Deb { control, entries, ..TOOL };
    let of_conffiles = |scripts, entries| Deb { scripts, entries, ..TOOL };
    for (deb, kind, words) in [
        (
            with("Conflicts: unbox-agent\nReplaces: unbox-agent\n", &plain[..]),
            "package_refused",
            "remove package unbox-agent",
        ),
        (with("Conflicts: mail\nReplaces: mail\n", &plain), "package_refused", "conflicting packages"),
        (with("Breaks: unbox-agent\n", &plain), "package_refused", "would break unbox-agent"),
        (with("Conflicts: other\n", &plain), "package_refused", "conflict"),
        (with("Depends: not-there\n", &takes), "package_refused", "usr/bin/other of package other"),
        (with("Replaces: other\n", &takes), "package_refused", "/usr/bin/other of package other"),
        (with("Essential: yes\n", &plain), "package_refused", "essential or protected"),
        (with("Protected: yes\n", &plain), "package_refused", "essential or protected"),
        (with("", &set_id), "package_refused", "set-id"),
        (with("", &device), "package_refused", "a device"),
        (with("", &fifo), "package_refused", "a FIFO"),
        (with("", &trust), "path_refused", "belongs to Unbox"),
        (with("", &unit), "path_refused", "belongs to Unbox"),
        (with("", &settings), "path_refused", "belongs to the package system"),
        (with("", &twice), "package_refused", "usr/bin/tool is in the archive twice"),
        (with("", &through), "package_refused", "srv/way is in the archive twice"),
        (with("", &outward), "package_refused", "usr/bin/b in the archive is a hard link"),
        (with("", &forward), "package_refused", "usr/bin/b in the archive is a hard link"),
        (with("", &to_link), "package_refused", "usr/bin/b in the archive is a hard link"),
        (with("", &by_header), "package_refused", "usr/bin/b in the archive is a hard link"),
        (of_conffiles(&[TAKES_TRUST], &plain[..]), "package_refused", "takes a file away"),
        (
            of_conffiles(&[("./conffiles", "/etc/motd\n")], &plain),
            "package_refused",
            "the package does not bring this file",
        ),
        (
            of_conffiles(&[("./conffiles", "/etc/linked.conf\n")], &linked),
            "package_refused",
            "is a link here",
        ),
        (with("", &slash), "package_refused", "usr/bin/b in the archive is a hard link"),
        (with("", &links_linked), "package_refused", "is a link here"),
        (with("", &working), "package_refused", "named like a working copy of dpkg"),
        (with("", &two_names), "package_refused", "are one place on this device"),
        (with("", &through_alias), "payload_contradictory", "inside it"),
        (with("Replaces: gone\n", &missing), "package_refused", "/usr/share/gone/file of package gone"),
        (with("", &in_hollow), "package_refused", "everything that package hollow has"),
        (with("", &full), "package_refused", "/srv/data is a directory here"),
        (with("", &posix), "package_refused", "extended header"),
        (
            Deb { name: "unbox-agent", version: "9", ..with("", &plain) },
            "package_refused",
            "the agent itself",
        ),
    ] {
        let refused = install(&sandbox, &json!([deb.item(&sandbox)])).unwrap_err();
        let detail = refused.failure().detail;
        assert_eq!(refused.kind(), kind, "{detail}");
        assert!(detail.contains(words), "{detail:?} does not say {words:?}");
        assert_eq!(sandbox.picture(), before, "{detail}");
    }
}

/// Follows links of dpkg: each is a way to another file's owner and mode, or to its bytes.
#[test]
fn packages_that_would_change_files_through_links_of_each_other_are_refused() {
    let sandbox = furnished();
    symlink("etc", sandbox.root.join("alias")).unwrap();
    let before = sandbox.picture();
    let to_data = |name| [link(EntryType::Symlink, name, "/srv/data/db")];
    let [as_new, as_alias] = ["./etc/new", "./alias/new"].map(to_data);
    let hard = [file("./etc/new", 0o644, b""), link(EntryType::Link, "./etc/b", "./etc/new")];
    let conffile = [file("./etc/new", 0o644, b"")];
    let way = [link(EntryType::Symlink, "./alias/way", "/srv/data")];
    let through = [file("./etc/way/db", 0o644, b"")];
    let one = |entries| Deb { control: "Replaces: other\n", entries, ..TOOL };
    let other = |entries| Deb { name: "other", control: "Replaces: tool\n", entries, ..TOOL };
    let with_list = |deb| Deb { scripts: &[("./conffiles", "/etc/new\n")], ..deb };
    for (debs, words) in [
        ([one(&as_new[..]), other(&hard[..])], "/etc/new is also in package tool"),
        ([one(&as_alias), other(&hard)], "/etc/new is also in package tool"),
        ([one(&hard), other(&as_alias)], "/etc/new is also in package other"),
        ([one(&as_new), with_list(other(&conffile))], "/etc/new is also in package tool"),
        ([one(&way), other(&through)], "inside it"),
    ] {
        let items: Vec<Value> = debs.iter().map(|deb| deb.item(&sandbox)).collect();
        let refused = install(&sandbox, &json!(items)).unwrap_err();
        let detail = refused.failure().detail;
        assert!(detail.contains(words), "{detail:?} does not say {words:?}");
        assert_eq!(sandbox.picture(), before, "{detail}");
    }
    // Each alone is as good as any.
    for deb in [one(&as_new[..]), one(&hard), with_list(one(&conffile)), one(&way), one(&through)] {
        let outcome = install(&sandbox, &json!([deb.item(&sandbox)])).unwrap();
        assert_eq!(outcome, InstallOutcome::Managed { version: 1 });
        reset(&sandbox);
        assert_eq!(sandbox.picture(), before);
    }
}

/// The control member by which dpkg renames files of others.
const TAKES_TRUST: (&str, &str) = ("./conffiles", "remove-on-upgrade /etc/unbox/trust/root.json\n");
