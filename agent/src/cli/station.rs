//! `station`: tests units all shift, the next one by its scan.

use super::{exit::Exit, factory::Office};
use crate::{
    clock,
    console::chain,
    station::{
        Verdict,
        check::Looked,
        io::{OrderFile, Unit, look, next_scan},
        office,
        report::unit_text,
        shift::{Shift, ShiftError},
        units::Registry,
    },
};
use anyhow::Context as _;
use clap::Args;
use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
    path::{Path, PathBuf},
};

/// The text of `--help` about how it works and ends.
const HELP: &str =
    "Each line that the scanner types is the next unit; an empty line is passed over, and `quit` or
the end of the input ends. Every verdict is on the disk before it is shown, and a shift that is begun
again goes on with its counts and with what is still to be uploaded.

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
    /// Where captured machines are: each scan names the directory of its unit. Otherwise every scan is
    /// the label of the machine at --root.
    #[arg(long, value_name = "DIR")]
    units: Option<PathBuf>,
    /// The order: a file with the columns of a claims file.
    #[arg(long, value_name = "CSV")]
    expect: Option<PathBuf>,
    /// Ask the server whose each unit is, and register what passed; without a network, later.
    #[arg(long, requires = "server")]
    online: bool,
    #[command(flatten)]
    office: Office,
}

/// One station at work.
struct Bench<'s> {
    asked: &'s Station,
    root: &'s Path,
    order: Option<OrderFile>,
    office: Option<office::Office>,
    shift: Shift,
    runtime: tokio::runtime::Runtime,
}

/// Runs it to its end; what keeps it from going on is told, and is an exit code of its own.
pub(super) fn run(station: &Station, roots: &[PathBuf]) -> Exit {
    match worked(station, roots, io::stdin().lock(), io::stdout().lock()) {
        Ok(()) => Exit::Done,
        Err(error) => {
            // Nobody may be listening, and the exit code says it, too.
            let _ = writeln!(io::stderr(), "The station cannot go on: {}.", chain(error.as_ref()));
            Exit::Verdict(Verdict::CouldNotCheck)
        }
    }
}

fn worked(
    station: &Station,
    roots: &[PathBuf],
    mut scanner: impl BufRead,
    mut out: impl Write,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let mut bench = Bench {
        asked: station,
        root: super::only(roots)?,
        order: station.expect.as_deref().map(OrderFile::open).transpose()?,
        office: station.online.then(|| station.office.open()).transpose()?,
        shift: Shift::open(&station.log)?,
        runtime,
    };
    if bench.shift.was_torn() {
        writeln!(out, "The last test before the power was cut was not finished: test that unit again.")?;
    }
    writeln!(out, "{}", bench.standing())?;
    while let Some(scan) = next_scan(&mut scanner)? {
        match scan.trim_ascii() {
            b"" => {}
            b"quit" => break,
            scan => {
                let tested = bench.test(scan)?;
                write!(out, "{tested}")?;
                bench.upload(&mut out)?;
                writeln!(out, "{}", bench.standing())?;
                out.flush()?;
            }
        }
    }
    bench.upload(&mut out)
}

impl Bench<'_> {
    /// Tests the unit of a scan; what was found, in words. It is on the disk then.
    fn test(&mut self, scan: &[u8]) -> Result<String, ShiftError> {
        let name: String = String::from_utf8_lossy(scan).chars().take(80).collect();
        let mut looked = match self.place(scan) {
            Some(root) => {
                let unit = Unit { name: name.clone(), root, labels: vec![scan.to_vec()] };
                self.runtime.block_on(look(&unit, self.order.as_ref()))
            }
            None => Looked::unusable(
                "This scan names no unit of the bench.".to_owned(),
                "Scan the code that the unit was captured under.",
            ),
        };
        if let Some(office) = &mut self.office {
            office.ask(std::slice::from_mut(&mut looked));
        }
        Ok(unit_text(&self.shift.test(name, looked, clock::system())?))
    }

    /// Where the unit of a scan is. A scan is a name in the folder and never a way out of it.
    fn place(&self, scan: &[u8]) -> Option<PathBuf> {
        let Some(folder) = &self.asked.units else { return Some(self.root.to_owned()) };
        let name = std::str::from_utf8(scan).ok()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let good = name.bytes().all(plain) && !name.starts_with('.');
        Some(folder.join(name)).filter(|root| good && root.is_dir())
    }

    /// Registers what the server does not know yet. If it cannot be asked, that waits.
    fn upload(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        let Some(office) = &self.office else { return Ok(()) };
        let (numbers, units): (Vec<_>, Vec<_>) = self.shift.pending(office::MAX_DEVICES).into_iter().unzip();
        if numbers.is_empty() {
            return Ok(());
        }
        match office.register(&units) {
            Ok(results) => {
                for refused in results.iter().filter(|one| !one.is_on_record()) {
                    writeln!(out, "  The server refused a unit. {}", refused.problem)?;
                }
                self.shift.uploaded(numbers, clock::system())?;
            }
            Err(error) => tracing::warn!("{}", chain(&error)),
        }
        Ok(())
    }

    /// The shift so far, on one line.
    fn standing(&self) -> String {
        let counts: BTreeMap<Verdict, usize> = self.shift.counts();
        let of = |verdict: &Verdict| counts.get(verdict).copied().unwrap_or_default();
        let mut line: Vec<String> = Verdict::ALL
            .iter()
            .map(|verdict| format!("{} {}", of(verdict), verdict.words().to_lowercase()))
            .collect();
        if self.office.is_some() {
            line.push(format!("{} to be uploaded", self.shift.pending(usize::MAX).len()));
        }
        format!("-- {}. Next unit:", line.join(", "))
    }
}
