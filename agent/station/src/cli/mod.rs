//! The command line: what a factory does with a unit, and the exit status of the process.

mod factory;
mod label;
mod sources;
mod station;
mod verify;

use crate::Verdict;
use clap::{Parser, Subcommand};
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Tests, registers and labels devices before they are shipped.
#[derive(Debug, Parser)]
#[command(name = "unbox-station", version)]
#[command(next_help_heading = "For every command")]
pub struct Args {
    /// The root directory of the unit; anything but / is a captured one. `verify` takes several.
    #[arg(long = "root", global = true, default_value = "/", value_name = "DIR", value_parser = parse_root)]
    roots: Vec<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compare this machine, or captured ones, with label, order and claim: pass, fail or needs
    /// attention.
    Verify(Box<verify::Verify>),
    /// Prepare and register a device.
    #[command(subcommand)]
    Factory(factory::Factory),
    /// Make the label of a unit, as a picture or for a printer.
    Label(label::Label),
    /// Test units throughout a shift, one per scan.
    Station(Box<station::Station>),
}

/// Makes a root directory absolute: it is passed to links, which resolve it elsewhere.
fn parse_root(text: &str) -> io::Result<PathBuf> {
    std::path::absolute(text)
}

impl Args {
    /// Parses the command line.
    ///
    /// # Errors
    /// The message to print, and the exit status: the parser's own code 2 means something else for a
    /// verdict.
    pub fn read(arguments: Vec<OsString>) -> Result<Self, (clap::Error, ExitCode)> {
        Self::try_parse_from(arguments).map_err(|error| {
            let exit = if error.exit_code() == 0 { ExitCode::SUCCESS } else { Verdict::CouldNotCheck.into() };
            (error, exit)
        })
    }
}

/// Runs the command. A failure is printed, and has an exit code of its own.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match &args.command {
        Command::Verify(verify) => verify::run(verify, &args.roots),
        Command::Factory(factory) => factory::run(factory, &args.roots),
        Command::Label(label) => label::run(label, &args.roots),
        Command::Station(station) => station::run(station, &args.roots),
    }
}

/// Returns the single unit that most commands need.
fn single_root(roots: &[PathBuf]) -> anyhow::Result<&Path> {
    match roots {
        [root] => Ok(root),
        _ => anyhow::bail!("this command is about one device: name one --root"),
    }
}
