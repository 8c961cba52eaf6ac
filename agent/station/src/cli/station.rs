//! `station`: tests units throughout a shift, one per scan.

use super::sources::Sources;
use crate::{
    Verdict,
    check::TestedUnit,
    io::{StationError, read_scan},
    printer::Printer,
    report::{late_answers_text, tally_text, unit_text},
    screen::{self, state::ScreenState},
    shift::Shift,
    test_station::{Equipment, Place, Server, StationStatus, TestStation},
};
use anyhow::Context as _;
use clap::Args;
use std::{
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{self, RecvTimeoutError, SyncSender},
    thread,
    time::Duration,
};
use unbox_agent::{clock, text::chain};

/// The section of `--help` about operation and exit codes.
const HELP: &str =
    "Each line that the scanner types is the next unit; an empty line is passed over, `print` prints the
label of the last unit once more, and `quit` or the end of the input ends. On a terminal, Ctrl-C ends,
too, and either is asked for twice; arrow up and down show the units before, page up and down go
through what does not fit, and F2 prints the label of the unit that is shown.

Every verdict is on the disk before it is shown, and a shift that is begun again goes on with its
counts and with its queue. While the server is away, units wait: it is asked again every 15 s, says
whose they are, which may change their verdicts, and registers what passed.

Exit codes:
  0  ended
  3  could not go on, with the reason on standard error; wrong usage, too";

/// Tests units one after the other, throughout a shift.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Station {
    /// The log of this shift: a new file, or an existing one to continue.
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// The directory of captured machines: each label holds the name of its unit's directory. Without it,
    /// every scan is the label of the machine at --root.
    #[arg(long, value_name = "DIR")]
    units: Option<PathBuf>,
    /// The printer for labels: a device that takes ZPL, or a folder that gets an SVG and a ZPL file for each,
    /// for a spooler.
    #[arg(long, value_name = "PATH")]
    printer: Option<PathBuf>,
    /// Work line by line even on a terminal, as if input or output were a pipe.
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    sources: Sources,
}

/// Runs the command; a failure is printed, and has an exit code of its own.
pub(super) fn run(station: &Station, roots: &[PathBuf]) -> ExitCode {
    match run_shift(station, roots) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed, and the exit code carries the result anyway.
            let _ = writeln!(io::stderr(), "The station cannot go on: {}.", chain(error.as_ref()));
            Verdict::CouldNotCheck.into()
        }
    }
}

fn run_shift(station: &Station, roots: &[PathBuf]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let root = super::single_root(roots)?.to_owned();
    let equipment = Equipment {
        place: station.units.clone().map_or(Place::Root(root), Place::Units),
        reference: station.sources.reference()?,
        server: station.sources.server_client()?,
        printer: station.printer.clone().map(Printer::new),
    };
    let test_station = TestStation::new(equipment, Shift::open(&station.log)?, runtime);
    if !station.lines && screen::io::is_possible() {
        return run_on_screen(test_station, &station.log);
    }
    run_line_by_line(test_station, BufReader::new(io::stdin()), io::stdout().lock())
}

/// A test that a power cut interrupted was never shown.
const TORN: &str = "The last test before the power was cut was not finished: test that unit again.";

fn run_on_screen(test_station: TestStation, log: &Path) -> anyhow::Result<()> {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    let mut state = ScreenState::new(&name, test_station.status(), clock::system());
    state.notice = test_station.was_interrupted().then(|| TORN.to_owned());
    let tally = screen::io::run(test_station, state)?;
    // If the terminal is gone, nobody reads it.
    let _ = writeln!(io::stdout(), "-- {}.", tally_text(&tally));
    Ok(())
}

fn run_line_by_line(
    mut test_station: TestStation,
    scanner: impl BufRead + Send + 'static,
    mut out: impl Write,
) -> anyhow::Result<()> {
    if test_station.was_interrupted() {
        writeln!(out, "{TORN}")?;
    }
    process_queue(&mut test_station, &mut out)?;
    writeln!(out, "{}", status_text(&test_station))?;
    // The scanner has a thread of its own, so that a silent scanner does not keep the server from being
    // asked.
    let (sender, scans) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("scanner".to_owned())
        .spawn(move || read_scans(scanner, &sender))
        .context("a thread could not be started")?;
    let mut last = None;
    loop {
        let scan = match scans.recv_timeout(test_station.time_until_due().unwrap_or(Duration::MAX)) {
            Ok(scan) => scan?,
            Err(RecvTimeoutError::Timeout) => {
                if process_queue(&mut test_station, &mut out)? {
                    writeln!(out, "{}", status_text(&test_station))?;
                    out.flush()?;
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        match scan.trim_ascii() {
            b"" => continue,
            b"quit" => return Ok(()),
            b"print" => print_label(&test_station, last.as_ref(), &mut out)?,
            scan => {
                let tested = test_station.test(scan)?;
                write!(out, "{}", unit_text(&tested))?;
                last = Some(tested);
                process_queue(&mut test_station, &mut out)?;
            }
        }
        writeln!(out, "{}", status_text(&test_station))?;
        out.flush()?;
    }
}

/// Reads scans until there are no more, or until the receiver is gone.
fn read_scans(mut scanner: impl BufRead, sender: &SyncSender<Result<Vec<u8>, StationError>>) {
    while let Some(scan) = read_scan(&mut scanner).transpose() {
        let failed = scan.is_err();
        if sender.send(scan).is_err() || failed {
            return;
        }
    }
}

/// Processes the units that wait for the server, as far as it can be reached. Returns whether anything
/// changed.
fn process_queue(test_station: &mut TestStation, out: &mut impl Write) -> anyhow::Result<bool> {
    let mut changed = false;
    while test_station.time_until_due() == Some(Duration::ZERO) {
        let caught = test_station.process_queue()?;
        if let Some(text) = late_answers_text(&caught.judged) {
            writeln!(out, "{text}")?;
        }
        for unit in &caught.judged {
            write!(out, "{}", unit_text(unit))?;
        }
        for problem in &caught.refused {
            writeln!(out, "  The server refused a unit. {problem}")?;
        }
        match test_station.status().server {
            Server::Away { reason, .. } => tracing::warn!("{reason}"),
            _ => changed = true,
        }
    }
    Ok(changed)
}

fn print_label(
    test_station: &TestStation,
    unit: Option<&TestedUnit>,
    out: &mut impl Write,
) -> io::Result<()> {
    let Some(unit) = unit else {
        return writeln!(out, "No label: there is no unit yet. Scan one.");
    };
    match test_station.print(unit.identity.as_ref()) {
        Ok(()) => writeln!(out, "The label of {} is printed.", unit.name),
        Err(error) => writeln!(out, "No label of {}: {}.", unit.name, chain(&error)),
    }
}

/// Formats the shift's counts on one line.
fn status_text(test_station: &TestStation) -> String {
    let StationStatus { tally, server } = test_station.status();
    let waiting = match server {
        Server::Unasked => String::new(),
        _ => format!(", {} to be uploaded", tally.pending),
    };
    format!("-- {}{waiting}. Next unit:", tally_text(&tally))
}
