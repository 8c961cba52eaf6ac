//! The command line: the stages of each command, and the exit status of the process.

mod show;
pub mod station;

use crate::{
    boot::{Layout, StartingPoint},
    clock::Stopwatch,
    console::Console,
    driver::{Reset, Session, When, reset, run_all, stages},
    exit::{self, Exit},
    models,
};
use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use std::{
    ffi::OsString,
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    sync::Arc,
};

/// Enrolls this device with its owner's server: from power-on to managed.
#[derive(Debug, Parser)]
#[command(name = "unbox-agent", version, after_help = exit::HELP)]
#[command(next_help_heading = "For every command")]
pub struct Args {
    /// The root directory of the device; anything but / is a sandbox.
    #[arg(long, global = true, default_value = "/", value_name = "DIR", value_parser = parse_root)]
    root: PathBuf,
    /// A file to read instead of /etc/unbox/agent.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
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
    /// The message to print, and the exit status.
    pub fn read(arguments: Vec<OsString>) -> Result<Self, (clap::Error, Exit)> {
        Self::try_parse_from(arguments).map_err(|error| {
            let exit = if error.exit_code() == 0 { Exit::Done } else { Exit::Usage };
            (error, exit)
        })
    }
}

/// Runs the command.
///
/// # Errors
/// If the process itself cannot work: no runtime, no standard output.
pub fn run(args: Args, stopwatch: Stopwatch) -> anyhow::Result<Exit> {
    let Args { root, config, command: asked } = args;
    let from = StartingPoint {
        root,
        config,
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        is_unit: std::env::var_os("INVOCATION_ID").is_some(),
    };
    let layout = Layout::new(&from.root);
    let (attempts, stage) = match &asked {
        Command::Run { attempts, .. } => (*attempts, None),
        Command::Stage { name, attempts } => (*attempts, Some(*name)),
        _ => (None, None),
    };
    let status_file = match stage {
        Some(Stage::Handshake | Stage::Report) => layout.network_status(),
        None if matches!(asked, Command::CheckIn) => layout.network_status(),
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

async fn run_command(session: &mut Session, command: Command) -> anyhow::Result<Exit> {
    let ended = match command {
        Command::Run { once, .. } => run_all(session, once).await,
        Command::Stage { name: Stage::Identity, .. } => stages::identity(session).await,
        Command::Stage { name: Stage::Handshake, .. } => stages::handshake(session).await,
        Command::Stage { name: Stage::Install, .. } => stages::install(session).await,
        Command::Stage { name: Stage::Report, .. } => stages::report(session, When::Due).await,
        Command::Medium { folder } => stages::medium(&folder),
        Command::CheckIn => stages::report(session, When::AtOnce).await,
        Command::Reset { ticket_file, forget_newer, yes } => {
            let mut confirm = |what: &str| yes || is_confirmed(what);
            let forget_newer: Option<&mut dyn FnMut(&str) -> bool> =
                if forget_newer { Some(&mut confirm) } else { None };
            let ticket_file = ticket_file.as_deref();
            reset(session, Reset { ticket_file, forget_newer }).await
        }
        Command::Identity { json, capture, models } => {
            let models = models::read(models.as_deref())?;
            return show::print_identity(session, json, capture.as_deref(), &models).await;
        }
        Command::Status { json } => {
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
        assert_eq!(args.root, std::env::current_dir().unwrap().join("some/where"));
        let args = Args::try_parse_from(["unbox-agent", "status"]).unwrap();
        assert!(Layout::new(&args.root).is_running_system());
    }
}
