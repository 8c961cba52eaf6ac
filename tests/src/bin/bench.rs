//! `cargo bench-unbox`: the table of the README, measured on this machine, in this run.

use anyhow::{Context as _, Result};
use clap::Parser;
use std::{io::Write as _, path::PathBuf};
use unbox_tests::bench::{self, Part, Size};

/// Measures Unbox beside the floor of the same machine and run; prints Markdown.
///
/// Succeeds even if a target was missed: a busy machine proves nothing.
#[derive(Debug, Parser)]
struct Arguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Only check that everything works, in a few seconds.
    #[arg(long)]
    quick: bool,
    /// Only this part; may be given again.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Devices that power on in each round.
    #[arg(long)]
    devices: Option<usize>,
    /// Devices that are busy at the same time.
    #[arg(long)]
    at_once: Option<usize>,
    /// Rounds, of which the median is shown.
    #[arg(long)]
    rounds: Option<usize>,
    /// Claims of the import.
    #[arg(long)]
    claims: Option<usize>,
    /// The working directory, on the disk to measure. A temporary directory if absent.
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut size = if arguments.quick { Size::quick()? } else { Size::full()? };
    for (given, place) in [
        (arguments.devices, &mut size.devices),
        (arguments.at_once, &mut size.at_once),
        (arguments.rounds, &mut size.rounds),
        (arguments.claims, &mut size.claims),
    ] {
        *place = given.unwrap_or(*place).max(1);
    }
    if !arguments.only.is_empty() {
        size.parts = arguments.only;
    }
    let folder = arguments.directory.unwrap_or_else(std::env::temp_dir);
    let folder = tempfile::tempdir_in(folder).context("make a directory")?;
    let report = bench::run(&size, folder.path(), &mut |what| {
        // The terminal may be gone.
        let _ = writeln!(std::io::stderr(), "measuring: {what}");
    })?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).context("write JSON")? + "\n"
    } else {
        report.to_string()
    };
    std::io::stdout().write_all(text.as_bytes()).context("print the report")
}
