//! `station`: tests units all shift, the next one by its scan.

use super::{exit::Exit, factory::Office};
use crate::{
    clock,
    console::chain,
    station::{
        Verdict,
        bench::{Bench, Place, Upload},
        io::{OrderFile, next_scan},
        report::{tally_text, unit_text},
        screen::{self, desk::Desk},
        shift::Shift,
    },
};
use anyhow::Context as _;
use clap::Args;
use std::{
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
};

/// The text of `--help` about how it works and ends.
const HELP: &str =
    "Each line that the scanner types is the next unit; an empty line is passed over, and `quit` or
the end of the input ends. On a terminal, Ctrl-C ends, too, and either is asked for twice. Every
verdict is on the disk before it is shown, and a shift that is begun again goes on with its counts
and with what is still to be uploaded.

Exit codes:
  0  ended
  3  could not go on, with the reason on standard error; wrong usage, too";

/// Tests units one after the other, all shift.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Station {
    /// The log of this shift: a new file, or the one to go on with.
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// Where captured machines are: each label holds the name of its unit's directory. Otherwise every scan is
    /// the label of the machine at --root.
    #[arg(long, value_name = "DIR")]
    units: Option<PathBuf>,
    /// The order: a file with the columns of a claims file.
    #[arg(long, value_name = "CSV")]
    expect: Option<PathBuf>,
    /// Ask the server whose each unit is, and register what passed; without a network, later.
    #[arg(long, requires = "server")]
    online: bool,
    /// Line by line also on a terminal, as where input or output is none.
    #[arg(long)]
    lines: bool,
    #[command(flatten)]
    office: Office,
}

/// Runs it to its end; what keeps it from going on is told, and is an exit code of its own.
pub(super) fn run(station: &Station, roots: &[PathBuf]) -> Exit {
    match worked(station, roots) {
        Ok(()) => Exit::Done,
        Err(error) => {
            // Nobody may be listening, and the exit code says it, too.
            let _ = writeln!(io::stderr(), "The station cannot go on: {}.", chain(error.as_ref()));
            Exit::Verdict(Verdict::CouldNotCheck)
        }
    }
}

fn worked(station: &Station, roots: &[PathBuf]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let root = super::only(roots)?.to_owned();
    let bench = Bench {
        place: station.units.clone().map_or(Place::Root(root), Place::Units),
        order: station.expect.as_deref().map(OrderFile::open).transpose()?,
        office: station.online.then(|| station.office.open()).transpose()?,
        shift: Shift::open(&station.log)?,
        runtime,
    };
    if !station.lines && screen::io::is_possible() {
        return on_screen(bench, &station.log);
    }
    in_lines(bench, io::stdin().lock(), io::stdout().lock())
}

/// What a power cut left unfinished was never shown.
const TORN: &str = "The last test before the power was cut was not finished: test that unit again.";

fn on_screen(bench: Bench, log: &Path) -> anyhow::Result<()> {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    let mut desk = Desk::new(&name, bench.tally(), bench.office.is_some(), clock::system());
    desk.notice = bench.shift.was_torn().then(|| TORN.to_owned());
    let tally = screen::io::run(bench, desk)?;
    // Where the terminal is gone, nobody reads it.
    let _ = writeln!(io::stdout(), "-- {}.", tally_text(&tally));
    Ok(())
}

fn in_lines(mut bench: Bench, mut scanner: impl BufRead, mut out: impl Write) -> anyhow::Result<()> {
    if bench.shift.was_torn() {
        writeln!(out, "{TORN}")?;
    }
    writeln!(out, "{}", standing(&bench))?;
    while let Some(scan) = next_scan(&mut scanner)? {
        match scan.trim_ascii() {
            b"" => {}
            b"quit" => break,
            scan => {
                write!(out, "{}", unit_text(&bench.test(scan)?))?;
                upload(&mut bench, &mut out)?;
                writeln!(out, "{}", standing(&bench))?;
                out.flush()?;
            }
        }
    }
    upload(&mut bench, &mut out)
}

fn upload(bench: &mut Bench, out: &mut impl Write) -> anyhow::Result<()> {
    match bench.upload()? {
        Upload::Nothing => {}
        Upload::Sent { refused } => {
            for problem in refused {
                writeln!(out, "  The server refused a unit. {problem}")?;
            }
        }
        Upload::Waits { reason } => tracing::warn!("{reason}"),
    }
    Ok(())
}

/// The shift so far, on one line.
fn standing(bench: &Bench) -> String {
    let tally = bench.tally();
    let waiting = bench.office.as_ref().map(|_| format!(", {} to be uploaded", tally.pending));
    format!("-- {}{}. Next unit:", tally_text(&tally), waiting.unwrap_or_default())
}
