//! The command line: the stages of each command, and the exit status of the process.

mod factory;
mod label;
mod show;
mod sources;
mod station;
mod verify;

use crate::{
    boot::{Layout, StartingPoint},
    clock::Stopwatch,
    console::Console,
    driver::{Reset, Session, When, reset, run_all, stages},
    exit::{self, Exit},
    models,
    station::Verdict,
};
use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};
use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Enrolls this device with its owner's server: from power-on to managed.
#[derive(Debug, Parser)]
#[command(name = "unbox-agent", version, after_help = exit::HELP)]
#[command(next_help_heading = "For every command")]
pub struct Args {
    /// The root directory of the device; anything but / is a sandbox. `verify` takes several.
    #[arg(long = "root", global = true, default_value = "/", value_name = "DIR", value_parser = parse_root)]
    roots: Vec<PathBuf>,
    /// A file to read instead of /etc/unbox/agent.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Device(DeviceCommand),
    #[command(flatten)]
    Station(StationCommand),
}

/// The commands of a factory's test station.
#[derive(Debug, Subcommand)]
enum StationCommand {
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

/// The commands for a single device.
#[derive(Debug, Subcommand)]
enum DeviceCommand {
    /// Do all stages in one process, then stay and check in.
    Run {
        /// End when the device is managed and the server knows it.
        #[arg(long)]
        once: bool,
        /// End after this many failed tries.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        attempts: Option<u32>,
    },
    /// Do one stage, as its unit runs it.
    Stage {
        /// The stage to run.
        name: Stage,
        /// End after this many failed tries.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        attempts: Option<u32>,
    },
    /// Read the token off the removable medium on standard input, as its unit does.
    #[command(hide = true)]
    Medium {
        /// The folder to write the result to.
        folder: PathBuf,
    },
    /// Report, and ask the server for news now, whether or not it is due (as the user `unbox`).
    CheckIn,
    /// Show the identifiers of this device, the refused values with reasons, and the row to register.
    Identity {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Save the content of the sources in this new folder, without secrets: `--root` reads it back.
        #[arg(long, value_name = "DIR")]
        capture: Option<PathBuf>,
        /// A table of further ChromeOS models, in the columns of the built-in one; its rows take precedence.
        #[arg(long, value_name = "CSV")]
        models: Option<PathBuf>,
    },
    /// Show how far this device has come.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Remove everything installed, forget the enrollment, and enroll again at the next start.
    Reset {
        /// A file with the administrator's one-time ticket: the device gets a new key.
        #[arg(long, value_name = "FILE")]
        ticket_file: Option<PathBuf>,
        /// Discard the records of a newer version of the agent, which this one cannot read.
        #[arg(long)]
        forget_newer: bool,
        /// Do not ask before records are discarded.
        #[arg(long, requires = "forget_newer")]
        yes: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// Read the hardware (root, no network).
    Identity,
    /// Enroll until there is a grant (network, no root).
    Handshake,
    /// Install the grant (root, no network).
    Install,
    /// Report, check in, fetch a newer payload (network, no root).
    Report,
}

/// Makes a root directory absolute: it is passed to other programs and to links, which resolve it
/// elsewhere.
fn parse_root(text: &str) -> io::Result<PathBuf> {
    std::path::absolute(text)
}

impl Args {
    /// Parses the command line.
    ///
    /// # Errors
    /// The message to print, and the exit status: the parser's own code 2 means something else for a
    /// verdict.
    pub fn read(arguments: Vec<OsString>) -> Result<Self, (clap::Error, Exit)> {
        Self::try_parse_from(&arguments).map_err(|error| {
            let lenient = Self::command().ignore_errors(true).try_get_matches_from(arguments);
            let command = lenient.ok().and_then(|read| read.subcommand_name().map(str::to_owned));
            let exit = match error.exit_code() {
                0 => Exit::Done,
                _ if command.is_some_and(|name| StationCommand::has_subcommand(&name)) => {
                    Exit::Verdict(Verdict::CouldNotCheck)
                }
                _ => Exit::Usage,
            };
            (error, exit)
        })
    }
}

/// Runs the command.
///
/// # Errors
/// If the process itself cannot work: no runtime, no standard output.
pub fn run(args: Args, stopwatch: Stopwatch) -> anyhow::Result<Exit> {
    let asked = match args.command {
        Command::Device(asked) => asked,
        Command::Station(StationCommand::Verify(verify)) => return Ok(verify::run(&verify, &args.roots)),
        Command::Station(StationCommand::Factory(factory)) => {
            return Ok(factory::run(&factory, &args.roots));
        }
        Command::Station(StationCommand::Station(station)) => {
            return Ok(station::run(&station, &args.roots));
        }
        Command::Station(StationCommand::Label(label)) => return Ok(label::run(&label, &args.roots)),
    };
    let root = single_root(&args.roots)?.to_owned();
    let from = StartingPoint {
        root,
        config: args.config,
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        is_unit: std::env::var_os("INVOCATION_ID").is_some(),
    };
    let layout = Layout::new(&from.root);
    let (attempts, stage) = match &asked {
        DeviceCommand::Run { attempts, .. } => (*attempts, None),
        DeviceCommand::Stage { name, attempts } => (*attempts, Some(*name)),
        _ => (None, None),
    };
    let status_file = match stage {
        Some(Stage::Handshake | Stage::Report) => layout.network_status(),
        None if matches!(asked, DeviceCommand::CheckIn) => layout.network_status(),
        _ => layout.status(),
    };
    let console = Console::new(Box::new(io::stdout()), status_file, stopwatch);
    let mut session = Session::new(from, console, attempts, Arc::new(stopwatch));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(run_command(&mut session, asked))
}

/// Asks on the terminal; without one, the answer is no.
fn is_confirmed(what: &str) -> bool {
    if !io::stdin().is_terminal() {
        return false;
    }
    let mut answer = String::new();
    let asked =
        write!(io::stderr(), "{what}\nGo on? [y/N] ").and_then(|()| io::stdin().read_line(&mut answer));
    asked.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}

/// Returns the single device that most commands need.
fn single_root(roots: &[PathBuf]) -> anyhow::Result<&Path> {
    match roots {
        [root] => Ok(root),
        _ => anyhow::bail!("this command is about one device: name one --root"),
    }
}

async fn run_command(session: &mut Session, command: DeviceCommand) -> anyhow::Result<Exit> {
    let ended = match command {
        DeviceCommand::Run { once, .. } => run_all(session, once).await,
        DeviceCommand::Stage { name: Stage::Identity, .. } => stages::identity(session).await,
        DeviceCommand::Stage { name: Stage::Handshake, .. } => stages::handshake(session).await,
        DeviceCommand::Stage { name: Stage::Install, .. } => stages::install(session).await,
        DeviceCommand::Stage { name: Stage::Report, .. } => stages::report(session, When::Due).await,
        DeviceCommand::Medium { folder } => stages::medium(&folder),
        DeviceCommand::CheckIn => stages::report(session, When::AtOnce).await,
        DeviceCommand::Reset { ticket_file, forget_newer, yes } => {
            let mut confirm = |what: &str| yes || is_confirmed(what);
            let forget_newer: Option<&mut dyn FnMut(&str) -> bool> =
                if forget_newer { Some(&mut confirm) } else { None };
            let ticket_file = ticket_file.as_deref();
            reset(session, Reset { ticket_file, forget_newer }).await
        }
        DeviceCommand::Identity { json, capture, models } => {
            let models = models::read(models.as_deref())?;
            return show::print_identity(session, json, capture.as_deref(), &models).await;
        }
        DeviceCommand::Status { json } => {
            return show::print_status(&session.from, json).context("could not print the status");
        }
    };
    Ok(ended.unwrap_or_else(|exit| exit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_taken_in_full() {
        let args = Args::try_parse_from(["unbox-agent", "--root", "some/where", "status"]).unwrap();
        assert_eq!(args.roots[0], std::env::current_dir().unwrap().join("some/where"));
        let args = Args::try_parse_from(["unbox-agent", "status"]).unwrap();
        assert!(Layout::new(&args.roots[0]).is_running_system());
    }
}
