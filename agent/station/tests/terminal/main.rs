//! `station` on a terminal, as a worker with a scanner uses it: driven by keys, read from its screen.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

mod picture;
mod pty;

use nix::sys::signal::Signal;
use pty::Terminal;
use std::{env, fs, io::Write as _, path::Path};
use unbox_station::screen::{
    draw::Look,
    io::{Screen, covers_errors},
};

const STATION: &str = env!("CARGO_BIN_EXE_unbox-station");
const USUAL: (u16, u16) = (80, 24);
const SMALL: (u16, u16) = (40, 12);

/// A folder with captured units, an order, and the log of a shift.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let bench = Self(tempfile::tempdir().unwrap());
        let rows = ["PF0ABCDE", "PF0ABCDF", "PF0ABCD8", "PF0ABCDG", "PF0ABCDG"];
        let rows = rows.map(|serial| format!("{serial},LENOVO,20QES0XX00\n"));
        bench.put("orders.csv", &format!("serial_number,manufacturer,model\n{}", rows.concat()));
        for (name, serial) in [
            ("PF0ABCDE", "PF0ABCDE"),
            ("PF0ABCDF", "PF0ABCDF"),
            ("PF0ABCDB", "PF0ABCD8"),
            ("PF0ABCDG", "PF0ABCDG"),
        ] {
            bench.unit(name, serial);
        }
        bench
    }

    fn put(&self, name: &str, text: &str) {
        fs::File::create_new(self.0.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn unit(&self, name: &str, serial: &str) {
        let id = format!("units/{name}/sys/class/dmi/id");
        fs::create_dir_all(self.0.path().join(&id)).unwrap();
        for (field, value) in
            [("product_serial", serial), ("sys_vendor", "LENOVO"), ("product_name", "20QES0XX00")]
        {
            self.put(&format!("{id}/{field}"), value);
        }
    }

    /// A unit with the serial number of another, and a board of its own; how it is scanned.
    fn twin(&self, serial: &str) -> String {
        let name = format!("1S20QES0XX00{serial}");
        self.unit(&name, serial);
        self.put(&format!("units/{name}/sys/class/dmi/id/board_serial"), "L1HF9990001");
        name
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("monday.jsonl")).unwrap()
    }

    /// A station of these units.
    fn station(&self, size: (u16, u16), more: &[&str]) -> Terminal {
        let (units, order, log) = (self.path("units"), self.path("orders.csv"), self.path("monday.jsonl"));
        let arguments = ["station", "--units", &units, "--expect", &order, "--log", &log];
        let no_color = more.contains(&"NO_COLOR");
        let more: Vec<&str> = more.iter().copied().filter(|one| *one != "NO_COLOR").collect();
        Terminal::start(STATION, &[&arguments, more.as_slice()].concat(), size, no_color)
    }
}

#[test]
fn a_shift_is_worked_by_scans_and_each_verdict_says_what_to_do() {
    let bench = Bench::new();
    let mut station = bench.station(USUAL, &[]);
    station.shows(&["READY  Scan a unit.", "Shift 0:00:00", "Ctrl-C: end"]);
    assert!(station.screen().alternate_screen() && !station.is_cooked());
    station.types("PF0ABCDE\r\n");
    station.shows(&["PASS  PF0ABCDE", "██████", "1 pass, 0 needs attention"]);
    station.types("PF0ABCDB\r");
    station.shows(&[
        "FAIL  PF0ABCDB  PF0ABCD8",
        "which only looks alike.",
        "> Look whether the label",
        "1 fail",
    ]);
    station.types("PF0ABCDG\r");
    station.shows(&["NEEDS ATTENTION  PF0ABCDG", "lines 5, 6.", "> Ask the office", "1 needs attention"]);
    station.types("nothing-here\r");
    station.shows(&["COULD NOT CHECK  nothing-here", "This scan names no unit", "1 could not check"]);
    let twin = bench.twin("PF0ABCDE");
    station.types(format!("{twin}\r"));
    station.shows(&[&format!("FAIL  {twin}"), "was shown by PF0ABCDE already.", "1 duplicate"]);
    assert!(station.text().contains("COULD NOT CHECK  nothing-here"), "the last units are listed");
    station.types("\x03");
    station.shows(&["End the shift? Ctrl-C ends it, a scan goes on."]);
    station.types("PF0ABCDF\r");
    station.shows(&["PASS  PF0ABCDF", "2 pass"]);
    station.types("quit\r");
    station.shows(&["End the shift?"]);
    station.types("\x03");
    station.ends_restored(0);
    station.shows(&["-- 2 pass, 1 needs attention, 1 could not check, 2 fail."]);
    assert_eq!(bench.log().lines().count(), 6);
}

#[test]
fn the_same_on_a_small_terminal_without_colours_and_after_the_window_changed() {
    let bench = Bench::new();
    let mut station = bench.station(SMALL, &["NO_COLOR"]);
    station.shows(&["READY  Scan a unit."]);
    station.types("PF0ABCDB\r");
    station.shows(&["FAIL  PF0ABCDB", "> Look whether", "1 fail", "Ctrl-C: end"]);
    let screen = station.screen();
    let (rows, columns) = screen.size();
    let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| screen.cell(row, column).unwrap()));
    assert!(cells.clone().all(|cell| cell.bgcolor() == vt100::Color::Default));
    assert!(cells.filter(|cell| cell.inverse()).count() > 100, "it stands out all the same");
    station.resize(100, 30);
    station.shows(&["FAIL  PF0ABCDB", "Unbox test station  monday.jsonl", "██████"]);
    for (columns, rows) in [(10, 3), (1, 1), (2, 1), (1, 40), (300, 2)] {
        station.resize(columns, rows);
        station.types("PF0ABCDE\r");
    }
    station.resize(80, 24);
    station.shows(&["PASS  PF0ABCDE", "1 pass"]);
    station.signal(Signal::SIGTERM);
    station.ends_restored(0);
}

#[test]
fn a_shift_that_is_begun_again_goes_on_with_its_counts_and_its_duplicates() {
    let bench = Bench::new();
    let mut station = bench.station(USUAL, &[]);
    station.types("PF0ABCDE\rPF0ABCDB\r");
    station.shows(&["FAIL  PF0ABCDB", "1 pass", "1 fail"]);
    station.types("\x03\x03");
    station.ends_restored(0);
    fs::OpenOptions::new()
        .append(true)
        .open(bench.path("monday.jsonl"))
        .unwrap()
        .write_all(b"{\"line\":\"tes")
        .unwrap();
    let twin = bench.twin("PF0ABCDE");
    let mut station = bench.station(USUAL, &[]);
    station.shows(&["1 pass", "1 fail", "was not finished: test that unit again."]);
    station.types(format!("{twin}\r"));
    station.shows(&[&format!("FAIL  {twin}"), "was shown by PF0ABCDE already", "2 fail, 1 duplicate"]);
    station.types("PF0ABCDE\r");
    station.shows(&["PASS  PF0ABCDE", "1 pass", "2 fail, 1 duplicate"]);
}

#[test]
fn no_verdict_that_was_shown_is_lost_to_a_power_cut() {
    let bench = Bench::new();
    for number in 0..40 {
        bench.unit(&format!("PF1{number:05}"), &format!("PF1{number:05}"));
    }
    let mut tested = 0;
    for round in 0..5 {
        let mut station = bench.station(USUAL, &[]);
        station.shows(&["Next unit:"]);
        let units: Vec<String> =
            (tested..tested + 3 + round).map(|number| format!("PF1{number:05}")).collect();
        station.types(units.join("\r") + "\r");
        station.shows(&[&units[round]]);
        station.signal(Signal::SIGKILL);
        let _ = station.ended();
        let (log, screen) = (bench.log(), station.text());
        let logged = |unit: &str| log.lines().any(|line| line.contains(&format!("\"unit\":\"{unit}\"")));
        for unit in &units {
            let shown = screen.lines().any(|line| line.contains("FAIL ") && line.contains(unit.as_str()));
            assert!(!shown || logged(unit), "{unit} was shown and is lost; {screen}");
        }
        tested += 3 + round;
    }
    let mut station = bench.station(USUAL, &[]);
    let whole = bench.log().lines().filter(|line| line.ends_with('}')).count();
    station.shows(&[&format!("{whole} fail"), "READY"]);
}

#[test]
fn what_does_not_fit_is_gone_through_and_the_units_before_are_shown_again() {
    let bench = Bench::new();
    bench.unit("PF0ABCDX", "PF0ABCDX");
    let mut station = bench.station((30, 10), &[]);
    station.types("PF0ABCDE\r");
    station.shows(&["PASS  PF0ABCDE"]);
    station.types("PF0ABCDX\r");
    station.shows(&["FAIL  PF0ABCDX", "Lines 1 to 2 of"]);
    for _ in 0..4 {
        station.types("\x1b[6~");
    }
    station.shows(&["PF0ABCDX,LENOVO,20QES0XX00"]);
    station.types("\x1b[B");
    station.resize(80, 24);
    station.shows(&["PASS  PF0ABCDE  (an earlier unit)", "Esc: back"]);
    station.types("\x1b[A");
    station.shows(&["FAIL  PF0ABCDX", "Esc: clear"]);
}

#[test]
fn the_label_of_the_unit_that_is_shown_is_printed_again() {
    let bench = Bench::new();
    fs::create_dir(bench.path("labels")).unwrap();
    let printer = bench.path("labels");
    let mut station = bench.station(USUAL, &["--printer", &printer]);
    for unit in ["PF0ABCDE", "PF0ABCDF"] {
        station.types(format!("{unit}\r"));
        station.shows(&[&format!("PASS  {unit}")]);
    }
    station.types("\x1b[B\x1bOQ");
    station.shows(&["The label of PF0ABCDE is printed."]);
    station.types("\x1bprint\r");
    station.shows(&["The label of PF0ABCDF is printed."]);
    let mut labels: Vec<String> = fs::read_dir(&printer)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    labels.sort();
    assert!(labels.len() == 4 && labels[0].starts_with("PF0ABCDE-") && labels[3].contains(".zpl"));
    fs::remove_dir_all(&printer).unwrap();
    station.types("\x1bOQ");
    station.shows(&["No label of PF0ABCDF: the printer"]);
}

#[test]
fn two_stations_do_not_work_with_one_log() {
    let bench = Bench::new();
    let mut station = bench.station(USUAL, &[]);
    station.shows(&["READY"]);
    let mut second = bench.station(USUAL, &[]);
    second.ends_restored(3);
    assert!(second.text().contains("another station works with"), "{}", second.text());
    station.types("PF0ABCDE\r");
    station.shows(&["PASS  PF0ABCDE"]);
}

#[test]
fn scans_that_come_during_a_test_wait_and_too_many_are_refused_in_words() {
    let bench = Bench::new();
    let mut station = bench.station(USUAL, &[]);
    station.shows(&["READY"]);
    // One write: the thread that draws takes them in before the first test can end.
    let units: Vec<String> = (0..12).map(|number| format!("unit-{number:02}")).collect();
    station.types(units.join("\r") + "\r");
    station.shows(&["Refused: 8 scans wait. Scan unit-", "9 could not check"]);
    let log = bench.log();
    let tested: Vec<&String> = units.iter().filter(|unit| log.contains(unit.as_str())).collect();
    assert_eq!(log.lines().count(), tested.len(), "each scan is a unit of its own: {log}");
}

#[test]
fn hostile_scans_are_shown_harmlessly_and_become_no_part_of_another() {
    let bench = Bench::new();
    let mut station = bench.station(USUAL, &[]);
    station.shows(&["READY"]);
    station.types(b"\x1b]0;owned\x07\x9b2J\x1d\xff<&\r");
    station.shows(&["COULD NOT CHECK  ]0;owned"]);
    station.types([b'A'; 9000]);
    station.types("\r");
    station.shows(&["Refused: longer than any label."]);
    station.types("\x1b[200~PF0ABCDE\x1b[201~\r");
    station.shows(&["PASS  PF0ABCDE"]);
    station.types("\x1b[A\x1b[B\x1bOPPF0ABCDFx\x7f\r");
    station.shows(&["PASS  PF0ABCDF"]);
    station.types("half\x1b");
    station.types("\x1b");
    station.types("../PF0ABCDE\r");
    station.shows(&["COULD NOT CHECK  ../PF0ABCDE"]);
    let raw = String::from_utf8_lossy(station.raw());
    assert!(
        !raw.contains("\x1b]") && !raw.contains(['\x07', '\x1d', '\u{9b}']),
        "nothing of it reaches the terminal"
    );
    assert_eq!(bench.log().lines().count(), 4);
}

#[test]
fn the_terminal_is_given_back_on_every_way_out() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let bench = Bench::new();
        let mut station = bench.station(USUAL, &[]);
        station.shows(&["READY"]);
        station.signal(signal);
        station.ends_restored(0);
    }
    // The log becomes unusable in the middle of the shift.
    let bench = Bench::new();
    let mut station = bench.station(USUAL, &[]);
    station.shows(&["READY"]);
    fs::remove_file(bench.path("monday.jsonl")).unwrap();
    fs::create_dir(bench.path("monday.jsonl")).unwrap();
    station.types("PF0ABCDE\r");
    station.ends_restored(3);
    assert!(station.text().contains("The station cannot go on"), "{}", station.text());
}

#[test]
fn the_terminal_is_given_back_when_a_thread_panics() {
    const THIS: &str = "the_terminal_is_given_back_when_a_thread_panics";
    /// Says that this is the process in the terminal.
    const WITHIN: &str = "UNBOX_TEST_WITHIN_THE_SCREEN";
    if env::var_os(WITHIN).is_some() {
        let _screen = Screen::open(Look { colour: true }).unwrap();
        assert!(covers_errors());
        panic!("in the middle of a shift");
    }
    let this = env::current_exe().unwrap();
    let within = format!("{WITHIN}=1");
    let arguments = [&within, this.to_str().unwrap(), "--exact", THIS, "--nocapture"];
    let mut terminal = Terminal::start("/usr/bin/env", &arguments, USUAL, false);
    terminal.ends_restored(101);
    assert!(terminal.text().contains("in the middle of a shift"), "{}", terminal.text());
}

#[test]
fn the_line_form_stays_for_whoever_asks_for_it() {
    let bench = Bench::new();
    let mut station = bench.station(USUAL, &["--lines"]);
    station.shows(&["-- 0 pass, 0 needs attention, 0 could not check, 0 fail. Next unit:"]);
    assert!(!station.screen().alternate_screen() && station.is_cooked());
    station.types("PF0ABCDE\n");
    station.shows(&["PASS             PF0ABCDE", "-- 1 pass"]);
    station.types("quit\n");
    assert_eq!(station.ended().code(), Some(0));
}

/// With `UNBOX_DRAW=1`, the picture is made anew.
#[test]
fn the_picture_in_the_documentation_is_what_the_program_shows() {
    let bench = Bench::new();
    let mut station = bench.station(USUAL, &[]);
    for (unit, shows) in [
        ("PF0ABCDE", "PASS  PF0ABCDE"),
        ("PF0ABCDG", "NEEDS ATTENTION  PF0ABCDG"),
        ("PF0ABCDF", "PASS  PF0ABCDF"),
        ("PF0ABCDB", "FAIL  PF0ABCDB"),
    ] {
        station.types(format!("{unit}\r"));
        station.shows(&[shows, "Next unit: _"]);
    }
    station.shows(&["2 pass, 1 needs attention, 0 could not check, 1 fail"]);
    // The one thing that no two runs have in common.
    station.parser().process(b"\x1b[1;67H\x1b[7mShift 3:12:45\x1b[0m");
    let drawn = picture::svg(station.screen(), "The station has tested four units; the last one failed");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/station.svg");
    if env::var_os("UNBOX_DRAW").is_some() {
        fs::remove_file(&path).ok();
        fs::File::create_new(&path).unwrap().write_all(drawn.as_bytes()).unwrap();
    }
    assert!(fs::read_to_string(&path).unwrap() == drawn, "docs/station.svg is not what the program shows");
}
