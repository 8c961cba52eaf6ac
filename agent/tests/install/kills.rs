//! Power that goes while dpkg works: the agent, dpkg and its scripts end at once, wherever they are.

use crate::{
    packages::{Deb, TOOL, furnished, with_a_shell},
    payloads::{accept, file},
    sandbox::Sandbox,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use unbox_agent::install::InstallOutcome;

/// The directory of the sandbox, for the agent in another process.
const HOME: &str = "UNBOX_TEST_HOME";
/// The work of that agent.
const CASE: &str = "UNBOX_TEST_CASE";
/// Enough to be in the middle of them.
const FILES: usize = 200;

/// Ways to cut the power, each with the instant: what is there then, or the script that waits for it.
const INSTANTS: [(&str, When); 13] = [
    ("update", When::Exists("var/lib/dpkg/tmp.ci/control")),
    ("update", When::Exists("usr/share/tool/0.dpkg-new")),
    ("update", When::Exists("usr/share/tool/100.dpkg-new")),
    ("update", When::Exists("usr/share/tool/199.dpkg-new")),
    ("update", When::IsNew("usr/share/tool/0")),
    ("update", When::IsNew("usr/share/tool/199")),
    ("update", When::Script("1.0", "./prerm")),
    ("update", When::Script("2.0", "./preinst")),
    ("update", When::Script("1.0", "./postrm")),
    ("update", When::Script("2.0", "./postinst")),
    ("failing update", When::Script("2.0", "./prerm")),
    ("reset", When::Script("1.0", "./prerm")),
    ("reset", When::Script("1.0", "./postrm")),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// A file exists.
    Exists(&'static str),
    /// A file has the bytes of the second version.
    IsNew(&'static str),
    /// A script of a version runs for the first time.
    Script(&'static str, &'static str),
}

impl When {
    fn is_now(self, root: &Path) -> bool {
        match self {
            Self::Exists(path) => root.join(path).exists(),
            Self::IsNew(path) => fs::read(root.join(path)).is_ok_and(|bytes| bytes == b"2.0"),
            Self::Script(..) => root.join("var/log/waits").exists(),
        }
    }
}

/// Diverts a file, makes an alternative, diverts another file.
const DIVERTS: &str = "dpkg-divert --package tool --rename --divert /etc/motd.real --add /etc/motd\n";
const CHOOSES: &str = "update-alternatives --install /usr/bin/editor editor /usr/bin/tool 10\n";
const MORE: &str = "dpkg-divert --package tool --rename --divert /etc/tool.conf.real --add /etc/tool.conf\n";
/// Waits once, for some seconds, and without another program.
const WAITS: &str = "if [ ! -e /var/log/waits ]; then\n: > /var/log/waits\nn=0\n\
                     while [ $n -lt 20000000 ]; do n=$((n + 1)); done\nfi\n";

/// The item of a version that waits at this instant.
fn item(sandbox: &Sandbox, version: &'static str, case: &str, instant: When) -> Value {
    let names: Vec<String> = (0..FILES).map(|n| format!("./usr/share/tool/{n}")).collect();
    let bytes = version.as_bytes();
    let mut entries = Vec::new();
    if version == "2.0" {
        entries.push(file("./srv/made/new", 0o644, bytes));
    }
    entries.extend(names.iter().map(|name| file(name, 0o644, bytes)));
    entries.extend(["./etc/motd", "./usr/bin/tool"].map(|name| file(name, 0o755, bytes)));
    if version == "2.0" {
        entries.extend(
            ["./etc/tool.conf", "./srv/data/db", "./srv/empty/new"].map(|name| file(name, 0o644, bytes)),
        );
    }
    let scripts = ["./preinst", "./postinst", "./prerm", "./postrm"].map(|name| {
        let mut script = "#!/bin/sh\nset -e\n".to_owned();
        if name == "./preinst" {
            script.push_str(DIVERTS);
            script.push_str(if version == "2.0" { MORE } else { "" });
        }
        if name == "./postinst" {
            script.push_str(CHOOSES);
        }
        if instant == When::Script(version, name) {
            script.push_str(WAITS);
        }
        if (version, case, name) == ("2.0", "failing update", "./postinst") {
            script.push_str("exit 1\n");
        }
        (name, script)
    });
    let scripts = scripts.each_ref().map(|(name, script)| (*name, script.as_str()));
    Deb { version, scripts: &scripts, entries: &entries, ..TOOL }.item(sandbox)
}

fn run(sandbox: &Sandbox, case: &str, instant: When) {
    let mut system = sandbox.open();
    if case == "reset" {
        let _ = sandbox.uninstall(system.as_mut());
    } else {
        let policy = json!([item(sandbox, "2.0", case, instant)]);
        let _ = sandbox.install(system.as_mut(), &accept(2, &Value::Null, &policy));
    }
}

#[test]
#[ignore = "the agent that other tests start and kill"]
fn an_agent_in_another_process() {
    let [home, at] = [HOME, CASE].map(std::env::var);
    let (Ok(home), Ok(at)) = (home, at) else { return };
    let (case, instant) = INSTANTS[at.parse::<usize>().unwrap()];
    run(&Sandbox::at(Path::new(&home)), case, instant);
}

/// Processes of dpkg and its scripts.
fn processes_in(root: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap());
    let own = std::process::id().to_string();
    let is_in = |process: &Path| {
        let arguments = fs::read(process.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(&*root.to_string_lossy())
            || fs::read_link(process.join("root")).is_ok_and(|top| top == root)
    };
    let found = processes.filter(|process| is_in(&process.path()));
    let ids = found.map(|process| process.file_name().into_string().unwrap());
    ids.filter(|id| *id != own && id.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

/// Ends the processes of dpkg, and before them the agent, if it goes with them. Returns whether it was in time.
fn kill_at(sandbox: &Sandbox, instant: When, agent: &mut Child, with_agent: bool) -> bool {
    let began = Instant::now();
    while !instant.is_now(&sandbox.root) {
        if agent.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{instant:?} does not come");
        thread::sleep(Duration::from_micros(100));
    }
    if with_agent {
        agent.kill().unwrap();
    }
    let processes = processes_in(&sandbox.root);
    let _ = Command::new("kill").arg("-9").args(&processes).stderr(Stdio::null()).status().unwrap();
    agent.wait().unwrap();
    while !processes_in(&sandbox.root).is_empty() {
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// Everything that a person would see, with the diversions, which dpkg lists in any order.
fn picture(sandbox: &Sandbox) -> BTreeSet<String> {
    let diversions = sandbox.read("var/lib/dpkg/diversions");
    let lines: Vec<&str> = diversions.lines().collect();
    sandbox.picture().into_iter().chain(lines.chunks(3).map(|diversion| diversion.join(" "))).collect()
}

#[test]
#[ignore = "needs root: dpkg runs the scripts of packages in the root"]
fn a_power_cut_inside_dpkg_ends_in_the_old_state_or_the_new_one() {
    let mut ends = Vec::new();
    for (at, (case, instant)) in INSTANTS.into_iter().enumerate() {
        let device = || {
            let sandbox = furnished();
            with_a_shell(&sandbox);
            let factory = picture(&sandbox);
            let policy = json!([item(&sandbox, "1.0", case, instant)]);
            let outcome = sandbox.install(sandbox.open().as_mut(), &accept(1, &Value::Null, &policy));
            assert_eq!(outcome.unwrap(), InstallOutcome::Managed { version: 1 });
            (sandbox, factory)
        };
        let (undisturbed, _) = device();
        let old = picture(&undisturbed);
        fs::write(undisturbed.root.join("var/log/waits"), "").unwrap();
        run(&undisturbed, case, instant);
        let new = picture(&undisturbed);
        for with_agent in [true, false] {
            let (sandbox, factory) = device();
            let mut agent = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "kills::an_agent_in_another_process", "--ignored"])
                .envs([(HOME, sandbox.home().as_os_str()), (CASE, at.to_string().as_ref())])
                .stdout(Stdio::null())
                .spawn()
                .unwrap();
            let in_time = kill_at(&sandbox, instant, &mut agent, with_agent);
            if with_agent {
                sandbox.resume();
            }
            let now = picture(&sandbox);
            let which = if now == old { "old" } else { "new" };
            let differs = now.symmetric_difference(if which == "old" { &old } else { &new });
            let differs: Vec<_> = differs.take(20).collect();
            assert!(differs.is_empty(), "{case} {instant:?}, with the agent: {with_agent}: {differs:#?}");
            assert_eq!(sandbox.resume(), None);
            ends.push((in_time, which));
            fs::write(sandbox.root.join("var/log/waits"), "").unwrap();
            let _ = sandbox.uninstall(sandbox.open().as_mut());
            assert_eq!(picture(&sandbox), factory, "{case} {instant:?}");
        }
    }
    println!("{ends:?}");
    assert!(ends.iter().filter(|(in_time, _)| *in_time).count() > 20, "{ends:?}");
}
