//! `verify`, `station` and `label` as scripts and scanners call them: exit codes, words, reports and logs.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const ORDER: &str = "serial_number,manufacturer,model,customer\n\
    PF0ABCDE,LENOVO,20QES0XX00,Acme\n\
    PF0ABCDF,LENOVO,20QES0XX00,Acme\n";

fn machine(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/machines").join(name)
}

fn capture(folder: &Path, name: &str, serial: &str) {
    let id = folder.join(name).join("sys/class/dmi/id");
    fs::create_dir_all(&id).unwrap();
    for (field, value) in
        [("product_serial", serial), ("sys_vendor", "LENOVO"), ("product_name", "20QES0XX00")]
    {
        put(&id.join(field), value);
    }
}

fn put(path: &Path, text: &str) {
    fs::File::create_new(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn verify(arguments: &[&str], typed: &str) -> Output {
    run_station(&[&["verify"], arguments].concat(), typed)
}

fn run_station(arguments: &[&str], typed: &str) -> Output {
    #[expect(clippy::disallowed_methods, reason = "the test is about the process itself")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_unbox-station"));
    let command = command.args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that reads no labels may have ended.
    let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn ends(output: &Output, code: i32, says: &str) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(says), "{text}");
}

#[test]
fn the_exit_code_is_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let order = folder.path().join("orders.csv");
    put(&order, ORDER);
    let bad_order = folder.path().join("bad.csv");
    put(&bad_order, "maker\nx\n");
    let half_bad = folder.path().join("half.csv");
    put(&half_bad, &format!("{ORDER}None,LENOVO,20QES0XX00,Acme\n"));
    capture(folder.path(), "unit", "PF0ABCDE");
    fs::create_dir(folder.path().join("empty")).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (unit, empty) = (at("unit"), at("empty"));
    let (order, bad_order, half_bad) = (at("orders.csv"), at("bad.csv"), at("half.csv"));
    for (arguments, typed, code, says) in [
        (vec!["--root", &unit], "", 0, "PASS"),
        (vec!["--root", &unit, "--label", "PF0ABCDE", "--expect", &order], "", 0, "PASS"),
        (vec!["--root", &unit, "--scan"], "pf0abcde\r\n\nignored\n", 0, "PASS"),
        (vec!["--root", &unit, "--label", "PF0ABCD"], "", 1, "where characters are missing"),
        (vec!["--root", &unit, "--scan"], "PF0ABCDF\n", 1, "PF0ABCDE in the machine"),
        (vec!["--root", &unit, "--label", "\u{fc}"], "", 2, "Scan the code of the serial number"),
        (
            vec!["--root", &unit, "--expect", &half_bad],
            "",
            2,
            "line 4, column 1: serial_number is a placeholder",
        ),
        (vec!["--root", &empty], "", 3, "holds no machine"),
        (vec!["--root", &unit, "--expect", &bad_order], "", 3, "the column \"maker\" is not known"),
        (vec!["--root", &unit, "--expect", "/nowhere"], "", 3, "could not be opened"),
        (vec!["--root", &unit, "--root", &empty, "--label", "A"], "", 3, "labels are those of one unit"),
        (vec!["--units", "/nowhere"], "", 3, "could not be listed"),
        (vec!["--colour"], "", 3, "unexpected argument"),
    ] {
        let output = verify(&arguments, typed);
        ends(&output, code, says);
    }
}

#[test]
fn wrong_usage_is_no_verdict() {
    ends(&run_station(&["--root", "/nowhere", "station", "--colour"], ""), 3, "unexpected argument");
    ends(&run_station(&["--colour", "verify"], ""), 3, "unexpected argument");
    ends(&run_station(&["--help"], ""), 0, "For every command");
}

#[test]
fn a_placeholder_is_seen_before_the_unit_is_shipped() {
    let root = machine("placeholders-only").display().to_string();
    let output = verify(&["--root", &root], "");
    ends(&output, 1, "FAIL");
}

#[test]
fn many_units_in_one_run_are_told_to_people_and_programs() {
    let folder = tempfile::tempdir().unwrap();
    for (name, serial) in [("a", "PF0ABCDE"), ("b", "PF0ABCDF"), ("c", "PF0ABCDE"), ("d", "PF0ABCDG")] {
        capture(&folder.path().join("units"), name, serial);
    }
    put(&folder.path().join("units/b/labels.txt"), "PF0ABCDE\n");
    let order = folder.path().join("orders.csv");
    put(&order, ORDER);
    let (units, order) = (folder.path().join("units").display().to_string(), order.display().to_string());
    let report = folder.path().join("report.xml").display().to_string();
    let output = verify(&["--units", &units, "--expect", &order, "--json", "--junit", &report], "");
    assert_eq!(output.status.code(), Some(1));
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<(&str, &str, Vec<&str>)> = lines[..4]
        .iter()
        .map(|unit| {
            let findings = unit["findings"].as_array().unwrap();
            let reasons = findings.iter().map(|finding| finding["reason"].as_str().unwrap()).collect();
            (unit["unit"].as_str().unwrap(), unit["verdict"].as_str().unwrap(), reasons)
        })
        .collect();
    assert_eq!(
        found,
        [
            ("a", "pass", vec![]),
            ("b", "fail", vec!["different"]),
            ("c", "fail", vec!["duplicate"]),
            ("d", "fail", vec!["not_in_order"]),
        ]
    );
    assert_eq!(lines[4]["summary"]["verdicts"], serde_json::json!({"pass": 1, "fail": 3}));
    let junit = fs::read_to_string(&report).unwrap();
    assert!(junit.contains("tests=\"4\" skipped=\"0\" failures=\"3\" errors=\"0\""), "{junit}");
    let text = verify(&["--units", &units, "--expect", &order], "");
    ends(&text, 1, "4 units: 1 pass, 3 fail.");
}

#[test]
fn nothing_hostile_of_a_unit_reaches_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let name = "a\u{1b}[2J\u{9b}31m\u{202e}";
    let id = folder.path().join("units").join(name).join("sys/class/dmi/id");
    fs::create_dir_all(&id).unwrap();
    put(&id.join("product_serial"), "PF0\u{1b}]0;owned\u{7}\u{9b}");
    put(&id.join("product_name"), "20QES0\u{1b}[31mXX00");
    put(&id.join("board_serial"), "L1HF9990001");
    put(&folder.path().join("units").join(name).join("labels.txt"), "PF0\u{1b}[2J\u{9b}ABC\n\u{202e}\n");
    fs::create_dir_all(folder.path().join("units/empty\u{9b}2J")).unwrap();
    let order = folder.path().join("orders.csv");
    put(&order, "serial_number,manufacturer,model\n\u{1b}[2J,\u{9b},\u{202e}\n");
    let units = folder.path().join("units").display().to_string();
    let order = order.display().to_string();
    for form in [&["--json"][..], &[]] {
        let arguments = [&["--units", &units, "--expect", &order], form].concat();
        let output = verify(&arguments, "");
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let hostile = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
        assert!(!text.contains(hostile) && text.lines().count() >= 3, "{text:?}");
    }
}

#[test]
fn a_station_tests_by_scan_and_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for (name, serial) in [("PF0ABCDE", "PF0ABCDE"), ("PF0ABCDF", "PF0ABCDX")] {
        capture(&folder.path().join("units"), name, serial);
    }
    let (units, log) = (folder.path().join("units"), folder.path().join("shift.jsonl"));
    let (units, log) = (units.display().to_string(), log.display().to_string());
    let station = ["station", "--units", &units, "--log", &log];
    let first = run_station(&station, "PF0ABCDE\r\n\nPF0ABCDF\n../PF0ABCDE\nquit\nPF0ABCDE\n");
    ends(&first, 0, "-- 1 pass, 0 needs attention, 1 could not check, 1 fail. Next unit:");
    let again = run_station(&station, "");
    ends(&again, 0, "-- 1 pass, 0 needs attention, 1 could not check, 1 fail. Next unit:");
    let lines = fs::read_to_string(&log).unwrap();
    assert_eq!(lines.lines().count(), 3, "one line for each test: {lines}");
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"{\"line\":\"tes").unwrap();
    let torn = run_station(&station, "PF0ABCDE\n");
    ends(&torn, 0, "was not finished: test that unit again");
    ends(&torn, 0, "-- 1 pass, 0 needs attention, 1 could not check, 1 fail. Next unit:");
    fs::OpenOptions::new().append(true).open(&log).unwrap().write_all(b"{}\n").unwrap();
    ends(&run_station(&station, "PF0ABCDE\n"), 3, "is not a test");
}

#[test]
fn a_station_in_a_pipe_prints_labels_and_takes_any_bytes_for_scans() {
    let folder = tempfile::tempdir().unwrap();
    capture(&folder.path().join("units"), "PF0ABCDE", "PF0ABCDE");
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(folder.path().join("labels")).unwrap();
    let (units, log, labels) = (at("units"), at("shift.jsonl"), at("labels"));
    let station = ["station", "--units", &units, "--log", &log, "--printer", &labels];
    let endless = "A".repeat(100_000);
    let output = run_station(&station, &format!("print\nPF0ABCDE\nprint\n\u{1b}[2J\u{9b}\0\n{endless}\n"));
    ends(&output, 0, "No label: there is no unit yet. Scan one.");
    ends(&output, 0, "The label of PF0ABCDE is printed.");
    ends(&output, 0, "-- 1 pass, 0 needs attention, 2 could not check, 0 fail. Next unit:");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(|char: char| char.is_control() && char != '\n'), "{text:?}");
    assert_eq!(fs::read_dir(&labels).unwrap().count(), 2);
}

#[test]
fn a_new_model_comes_in_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    capture(folder.path(), "unit", "NXABC");
    let at = |name: &str| folder.path().join(name).display().to_string();
    put(&folder.path().join("orders.csv"), "serial_number,model,certified_device_id\nNXABC,Slate 9,NXABC\n");
    put(
        &folder.path().join("models.csv"),
        "model,brand,manufactured_from,certified_id,footnote\nSlate 9,Acme,,serial,\n",
    );
    put(&folder.path().join("bad.csv"), "model\n");
    let (unit, order, models, bad) = (at("unit"), at("orders.csv"), at("models.csv"), at("bad.csv"));
    let known =
        |models: &[&str]| verify(&[&["--root", &unit, "--expect", &order, "--json"], models].concat(), "");
    let says = |output: &Output| String::from_utf8_lossy(&output.stdout).contains("not_eligible");
    assert!(says(&known(&[])), "nobody knows the model");
    assert!(!says(&known(&["--models", &models])));
    ends(&known(&["--models", &bad]), 3, "cannot be used: line 1");
}

#[test]
fn a_label_is_written_for_people_and_for_a_printer() {
    let folder = tempfile::tempdir().unwrap();
    capture(folder.path(), "unit", "PF0ABCDE");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (root, svg, zpl) = (at("unit"), at("label.svg"), at("label.zpl"));
    ends(&run_station(&["--root", &root, "label", "--svg", &svg, "--zpl", &zpl], ""), 0, "");
    assert!(fs::read_to_string(&svg).unwrap().contains("PF0ABCDE"));
    assert!(fs::read_to_string(&zpl).unwrap().starts_with("^XA"));
    ends(
        &run_station(&["--root", &folder.path().display().to_string(), "label", "--svg", &svg], ""),
        3,
        "No label",
    );
    ends(&run_station(&["label"], ""), 3, "required");
}
