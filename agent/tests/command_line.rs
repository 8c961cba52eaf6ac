//! The command line as scripts call it: exit codes of wrong usage, and the commands of the test station.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

const AGENT: &str = env!("CARGO_BIN_EXE_unbox-agent");

fn run(program: &Path, arguments: &[&str]) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the test is about the process itself")]
    let mut command = Command::new(program);
    command.args(arguments).output().unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32, says: &str) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(says), "{text}");
}

#[test]
fn wrong_usage_has_an_exit_code_of_its_own() {
    let agent = Path::new(AGENT);
    ends(&run(agent, &["--root", "verify", "status", "--colour"]), 2, "unexpected argument");
    ends(&run(agent, &["--colour", "status"]), 2, "unexpected argument");
    ends(&run(agent, &["--help"]), 0, "For every command");
    ends(&run(agent, &["identity", "--models", "/nowhere"]), 1, "");
}

#[test]
fn a_command_of_the_station_is_passed_on_whole_or_names_the_package_to_install() {
    let folder = tempfile::tempdir().unwrap();
    let agent = folder.path().join("unbox-agent");
    fs::copy(AGENT, &agent).unwrap();
    let asked = ["--root", "a unit", "verify", "--label", ""];
    ends(&run(&agent, &asked), 3, "Install the package unbox-station.");
    let mut station = fs::File::create_new(folder.path().join("unbox-station")).unwrap();
    station.write_all(b"#!/bin/sh\nprintf '[%s]' \"$@\"\nexit 7\n").unwrap();
    station.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    drop(station);
    ends(&run(&agent, &asked), 7, "[--root][a unit][verify][--label][]");
}
