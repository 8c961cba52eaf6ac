//! `label`: a picture of a unit's label, or printer commands for it.

use crate::{Verdict, print::UnitLabel};
use anyhow::Context as _;
use clap::Args;
use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};
use unbox_agent::{files, identity, layout::Layout, text::chain};

/// The section of `--help` about exit codes.
const HELP: &str = "Exit codes:
  0  written
  3  could not be written, with the reason on standard error; wrong usage, too";

/// Makes the label of a unit: its identifiers as Code 128, and all of them as one QR code.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
#[group(required = true, multiple = true)]
pub(super) struct Label {
    /// Write a picture.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write commands for a Zebra printer, 203 dots per inch.
    #[arg(long, value_name = "FILE")]
    zpl: Option<PathBuf>,
}

/// Runs the command; a failure is printed, and has an exit code of its own.
pub(super) fn run(label: &Label, roots: &[PathBuf]) -> ExitCode {
    match write_label(label, roots) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be closed, and the exit code carries the result anyway.
            let _ = writeln!(io::stderr(), "No label: {}.", chain(error.as_ref()));
            Verdict::CouldNotCheck.into()
        }
    }
}

fn write_label(label: &Label, roots: &[PathBuf]) -> anyhow::Result<()> {
    let layout = Layout::new(super::single_root(roots)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let identity = runtime.block_on(identity::io::survey(&layout)).identity()?;
    let unit = UnitLabel::new(&identity)?;
    for path in label.svg.iter().chain(&label.zpl) {
        files::check_place(path)?;
    }
    if let Some(path) = &label.svg {
        files::replace(path, unit.svg()?.as_bytes(), files::PUBLIC_FILE)?;
    }
    if let Some(path) = &label.zpl {
        files::replace(path, unit.zpl().as_bytes(), files::PUBLIC_FILE)?;
    }
    Ok(())
}
