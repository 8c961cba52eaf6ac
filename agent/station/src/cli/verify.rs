//! `verify`: compares units with label, order and claim, for scripts and test stations.

use super::sources::Sources;
use crate::{
    Verdict,
    check::TestedUnit,
    io::{OrderFile, Reference, Unit, list_units, read_labels},
    junit::Junit,
    order::OrderIndex,
    report::{RunReport, UnitReport, json_line, run_text, unit_text},
    units::{Registry, Summary, test_all},
};
use anyhow::Context as _;
use clap::Args;
use serde::Serialize;
use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};
use unbox_agent::{
    files::{self, Attributes, Entry},
    text::chain,
};

/// The section of `--help` about exit codes.
const HELP: &str = "Exit codes:
  0  pass: every unit will enroll, as far as can be seen here
  1  fail: a unit will not enroll as it is
  2  needs attention: somebody has to look at a unit, or at the order, before it is shipped
  3  could not check, with the reason on standard error or beside the unit; wrong usage, too

Of several units, the worst counts: fail, then could not check, then needs attention.

Examples:
  unbox-station verify --label SPF0ABCDE --expect orders.csv
  unbox-station verify --scan < /dev/ttyACM0
  unbox-station verify --units /var/captures --expect orders.csv --junit report.xml";

/// Compares this machine, or captured ones, with their labels, an order and the server's claims.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Verify {
    /// A directory with one captured machine per subdirectory, instead of --root; each may have its labels
    /// in a file labels.txt.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["labels", "scan"])]
    units: Option<PathBuf>,
    /// The text of a label as a scanner types it; once for each label of the unit.
    #[arg(long = "label", value_name = "TEXT")]
    labels: Vec<String>,
    /// Read labels from standard input, one per line, up to an empty line or the end.
    #[arg(long)]
    scan: bool,
    #[command(flatten)]
    sources: Sources,
    /// Print one JSON document per line: each unit, then the run.
    #[arg(long)]
    json: bool,
    /// Write a JUnit report.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Runs the command; a failure to check is printed, and has an exit code of its own.
pub(super) fn run(verify: &Verify, roots: &[PathBuf]) -> ExitCode {
    match verify_units(verify, roots) {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            // Standard error may be closed, and the exit code carries the result anyway.
            let _ = writeln!(io::stderr(), "Could not check: {}.", chain(error.as_ref()));
            Verdict::CouldNotCheck.into()
        }
    }
}

fn verify_units(verify: &Verify, roots: &[PathBuf]) -> anyhow::Result<Verdict> {
    let units = units(verify, roots)?;
    let reference = verify.sources.reference()?;
    let mut server = verify.sources.server_client()?;
    let registry = server.as_mut().map(|server| server as &mut dyn Registry);
    let output = Output { json: verify.json };
    let summary = match &verify.junit {
        None => test_units(&units, &reference, registry, &output, None)?,
        Some(path) => {
            with_junit(path, |junit| test_units(&units, &reference, registry, &output, Some(junit)))?
        }
    };
    let index = reference.order.as_ref().map(OrderFile::index);
    output.write_run(&summary, index)?;
    let bad_rows = index.is_some_and(|index| index.problems().1 > 0);
    Ok(summary.worst().max(if bad_rows { Verdict::NeedsAttention } else { Verdict::Pass }))
}

fn units(verify: &Verify, roots: &[PathBuf]) -> Result<Vec<Unit>, anyhow::Error> {
    if let Some(folder) = &verify.units {
        return Ok(list_units(folder)?);
    }
    let mut labels: Vec<Vec<u8>> = verify.labels.iter().map(|label| label.clone().into_bytes()).collect();
    if verify.scan {
        labels.extend(read_labels(io::stdin().lock())?);
    }
    if roots.len() > 1 && !labels.is_empty() {
        anyhow::bail!("labels are those of one unit: name one --root with them");
    }
    let unit = |root: &PathBuf| Unit { name: unit_name(root), root: root.clone(), labels: labels.clone() };
    Ok(roots.iter().map(unit).collect())
}

fn unit_name(root: &Path) -> String {
    if root == Path::new("/") { "this machine".to_owned() } else { root.display().to_string() }
}

fn test_units(
    units: &[Unit],
    reference: &Reference,
    registry: Option<&mut dyn Registry>,
    output: &Output,
    mut junit: Option<&mut Junit>,
) -> io::Result<Summary> {
    let mut out = BufWriter::new(io::stdout().lock());
    let summary = test_all(units, reference, registry, |unit| {
        if let Some(junit) = junit.as_deref_mut() {
            junit.add_unit(unit);
        }
        output.write_unit(&mut out, unit)
    })?;
    out.flush()?;
    Ok(summary)
}

/// Writes a report in one step, so that nobody reads half of one.
fn with_junit(path: &Path, test: impl FnOnce(&mut Junit) -> io::Result<Summary>) -> anyhow::Result<Summary> {
    let mut summary = Summary::default();
    Entry::from_path(path)?
        .write(Attributes::with_mode(files::PUBLIC_FILE), |file| {
            let mut junit = Junit::default();
            summary = test(&mut junit)?;
            junit.write(file, &summary)
        })
        .context("the JUnit report could not be written")?;
    Ok(summary)
}

/// The form of the output: text or JSON.
struct Output {
    json: bool,
}

impl Output {
    fn write_unit(&self, out: &mut impl Write, unit: &TestedUnit) -> io::Result<()> {
        if self.json {
            write_json(out, &UnitReport::from(unit))
        } else {
            out.write_all(unit_text(unit).as_bytes())
        }
    }

    fn write_run(&self, summary: &Summary, order: Option<&OrderIndex>) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            write_json(&mut out, &RunReport::new(summary, order))
        } else if summary.units > 1 || order.is_some_and(|order| order.problems().1 > 0) {
            out.write_all(run_text(summary, order).as_bytes())
        } else {
            Ok(())
        }
    }
}

fn write_json(out: &mut impl Write, document: &impl Serialize) -> io::Result<()> {
    out.write_all(json_line(document)?.as_bytes())
}
