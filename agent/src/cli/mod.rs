//! The command line: which command runs which stages, and how the process ends.

mod enroll;
mod exit;
mod keep;
mod ready;
mod reset;
mod run;
mod session;
mod settle;
mod show;
mod stage;
mod take_in;
#[cfg(test)]
mod tests;

pub use exit::Exit;

use crate::{
    boot::{Layout, StartingPoint},
    clock::Stopwatch,
    console::Console,
};
use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use keep::When;
use session::Session;
use std::{io, path::PathBuf};

/// Enrolls this device with its owner's server: from power-on to managed.
#[derive(Debug, Parser)]
#[command(name = "unbox-agent", version, after_help = exit::HELP)]
pub struct Args {
    /// The root directory of the device; anything but / is a sandbox.
    #[arg(long, global = true, default_value = "/", value_name = "DIR", value_parser = root)]
    root: PathBuf,
    /// A file to read in place of /etc/unbox/agent.toml.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

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
        /// Which stage.
        name: Stage,
        /// End after this many failed tries.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        attempts: Option<u32>,
    },
    /// Report, and ask the server for news now, whether or not it is time (as the user `unbox`).
    CheckIn,
    /// Show what this device is, what was refused and why, and what to register.
    Identity {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show how far this device has come.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take away what was installed, forget the enrollment, and enroll again at the next start.
    Reset {
        /// A file with the administrator's one-time ticket: the device gets a new key.
        #[arg(long, value_name = "FILE")]
        ticket_file: Option<PathBuf>,
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
    /// Report, check in, fetch what is newer (network, no root).
    Report,
}

/// A root directory in full: other programs and links are given it, and stand elsewhere.
fn root(text: &str) -> io::Result<PathBuf> {
    std::path::absolute(text)
}

/// Runs the command to its end.
///
/// # Errors
/// If the process itself cannot work: no runtime, no standard output.
pub fn run(args: Args, stopwatch: Stopwatch) -> anyhow::Result<Exit> {
    let from = StartingPoint {
        root: args.root,
        config: args.config,
        credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
    };
    let layout = Layout::new(&from.root);
    let (attempts, stage) = match &args.command {
        Command::Run { attempts, .. } => (*attempts, None),
        Command::Stage { name, attempts } => (*attempts, Some(*name)),
        _ => (None, None),
    };
    let status_file = match stage {
        Some(Stage::Handshake | Stage::Report) => layout.network_status(),
        None if matches!(args.command, Command::CheckIn) => layout.network_status(),
        _ => layout.status(),
    };
    let console = Console::new(Box::new(io::stdout()), status_file, stopwatch);
    let mut session = Session::new(from, console, attempts);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    runtime.block_on(command(&mut session, args.command))
}

async fn command(session: &mut Session, command: Command) -> anyhow::Result<Exit> {
    let ended = match command {
        Command::Run { once, .. } => run::run(session, once).await,
        Command::Stage { name: Stage::Identity, .. } => stage::identity(session).await,
        Command::Stage { name: Stage::Handshake, .. } => stage::handshake(session).await,
        Command::Stage { name: Stage::Install, .. } => stage::install(session).await,
        Command::Stage { name: Stage::Report, .. } => stage::report(session, When::Due).await,
        Command::CheckIn => stage::report(session, When::AtOnce).await,
        Command::Reset { ticket_file } => reset::reset(session, ticket_file.as_deref()),
        Command::Identity { json } => {
            return show::identity(session, json).await.context("could not print the identity");
        }
        Command::Status { json } => {
            return show::status(&session.layout, json).context("could not print the status");
        }
    };
    Ok(ended.unwrap_or_else(|exit| exit))
}
