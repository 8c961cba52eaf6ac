//! The command line: the commands for a server, on its own machine.
//!
//! Each file below `cli/` is one kind of thing with its commands; `context.rs` opens the settings,
//! keys and database that they need, `output.rs` writes their answers: a table for people, one JSON
//! document with `--json`. To add a command: a variant in the enum of its thing, and its service
//! method; a test below checks that it has a help text.

mod account;
mod artifact;
mod audit;
mod backup;
mod claim;
mod company;
mod configuration;
mod confirm;
mod context;
mod device;
mod doctor;
mod dpc;
mod export;
mod factory;
mod import;
mod init;
mod key;
mod openapi;
mod output;
mod sandbox;
mod serve;
mod token;
mod view;

use crate::{config::Fragment, domain::tenancy::company::CompanyKind};
use anyhow::Context as _;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use context::Opened;
use output::Output;
use std::{path::PathBuf, process::ExitCode, time::Duration};
use tokio::runtime::{Builder, Runtime};
use unbox_common::secret::Secret;

/// The Unbox enrollment server, and the tools to look after it.
#[derive(Debug, Parser)]
#[command(name = "unbox-server", version, disable_help_subcommand = true)]
#[command(after_help = "\
Exit codes: 0 done; 1 failed; 2 the command line is wrong; 3 done, but some rows failed or \
something was found.

From nothing to a claimed device:
  unbox-server init --name enroll.example.com
  unbox-server customer create \"Acme AG\"
  unbox-server configuration create kiosk --customer \"Acme AG\" --file kiosk.json --default
  unbox-server claim add --customer \"Acme AG\" --serial PF0ABCDE --manufacturer LENOVO --model 20QES0XX00
  unbox-server serve")]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// The options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "For every command")]
struct Global {
    /// The server's directory: settings, keys, database, artifacts.
    #[arg(long, global = true, env = "UNBOX_DIR", default_value = "/var/lib/unbox-server")]
    dir: PathBuf,
    /// Answer with one JSON document.
    #[arg(long, global = true)]
    json: bool,
    /// The database, in place of the one in the settings. It may hold a password, so rather set
    /// the variable than type it.
    #[arg(long, global = true, env = "UNBOX_DATABASE", hide_env_values = true, value_parser = parse_secret)]
    database: Option<Secret>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new server: keys, settings, database, and the files that images need to trust it.
    Init(init::Init),
    /// Serve devices until SIGTERM.
    Serve(serve::Serve),
    #[command(flatten)]
    Administration(Administration),
    /// The server's keys and certificates.
    #[command(subcommand)]
    Key(key::Key),
    /// Try the management API: a server that forgets everything when it stops.
    Sandbox(sandbox::Sandbox),
    /// Print the description of the management API (OpenAPI 3.1).
    Openapi(openapi::Openapi),
    /// Look for things that will go wrong.
    Doctor,
    /// Write the database into one file, also while it is served.
    Backup(backup::BackupCommand),
    /// Put the database back to its state in a backup.
    Restore(backup::RestoreCommand),
    /// Print completions for a shell.
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The commands that need the database.
#[derive(Debug, Subcommand)]
enum Administration {
    /// Bring the database's schema up to date.
    Migrate {
        /// Also make the tables of an empty database, which `init` does; for when it could not.
        #[arg(long)]
        create: bool,
    },
    /// The same as `claim import`: claim devices from a CSV file.
    Import(Box<import::Import>),
    /// Customers, who own devices.
    #[command(subcommand)]
    Customer(company::Company),
    /// Resellers, who register devices for customers.
    #[command(subcommand)]
    Reseller(company::Company),
    /// Vendors, who do the same under a reseller.
    #[command(subcommand)]
    Vendor(company::Company),
    /// EMMs, who keep configurations and devices of customers.
    #[command(subcommand)]
    Emm(company::Company),
    /// Accounts: the people and programs that may use the API for a company, and their keys.
    #[command(subcommand)]
    Account(account::Account),
    /// Configurations: the setup of a customer's devices.
    #[command(subcommand)]
    Configuration(configuration::Configuration),
    /// Artifacts: files that devices download.
    #[command(subcommand)]
    Artifact(artifact::Artifact),
    /// The catalogue of DPCs that customers choose from over the network.
    #[command(subcommand)]
    Dpc(dpc::Dpc),
    /// Pre-provisioning tokens.
    #[command(subcommand)]
    Token(token::Token),
    /// Claims: devices and their owners.
    #[command(subcommand)]
    Claim(claim::Claim),
    /// Records of factories' test stations: devices and their keys.
    #[command(subcommand)]
    Factory(factory::Factory),
    /// Devices that were seen.
    #[command(subcommand)]
    Device(device::Device),
    /// Show the audit trail: all actions, with their actors and times.
    Audit(audit::Audit),
}

/// The end of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It is done.
    Done,
    /// It failed; the error was printed.
    Failed,
    /// It is done, but some rows failed, or there are findings.
    Findings,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Failed => Self::FAILURE,
            Exit::Findings => Self::from(3),
        }
    }
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// The first thing that failed, with its causes.
    pub fn run(self) -> anyhow::Result<Exit> {
        let Self { global, command } = self;
        let mut output = Output::new(global.json);
        match command {
            Command::Completion { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "unbox-server", &mut script);
                output.script(&script)?;
                Ok(Exit::Done)
            }
            Command::Openapi(command) => command.run(&mut output),
            Command::Serve(command) => {
                run_to_end(runtime(&mut Builder::new_multi_thread())?, command.run(&global, output))
            }
            Command::Sandbox(command) => {
                runtime(&mut Builder::new_multi_thread())?.block_on(command.run(output))
            }
            // A command does one thing: a second thread would only cost time to start.
            Command::Init(command) => single_threaded_runtime()?.block_on(command.run(&global, &mut output)),
            Command::Doctor => single_threaded_runtime()?.block_on(doctor::run(&global, &mut output)),
            Command::Key(command) => single_threaded_runtime()?.block_on(command.run(&global, &mut output)),
            Command::Backup(command) => {
                single_threaded_runtime()?.block_on(command.run(&global, &mut output))
            }
            Command::Restore(command) => {
                single_threaded_runtime()?.block_on(command.run(&global, &mut output))
            }
            Command::Administration(command) => single_threaded_runtime()?.block_on(async {
                let opened = command.open(&global).await?;
                let exit = command.run(&opened, &mut output).await;
                opened.services.close().await;
                exit
            }),
        }
    }
}

impl Administration {
    async fn open(&self, global: &Global) -> anyhow::Result<Opened> {
        match self {
            Self::Migrate { create: true } => {
                Opened::create_with(&global.settings(Fragment::default())?).await
            }
            _ => Opened::open(global).await,
        }
    }

    async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        match self {
            // Opening the database was all that had to be done.
            Self::Migrate { .. } => {
                output.say("The database's schema is up to date.")?;
                Ok(Exit::Done)
            }
            Self::Import(command) => command.run(opened, output).await,
            Self::Customer(command) => command.run(CompanyKind::Customer, opened, output).await,
            Self::Reseller(command) => command.run(CompanyKind::Reseller, opened, output).await,
            Self::Vendor(command) => command.run(CompanyKind::Vendor, opened, output).await,
            Self::Emm(command) => command.run(CompanyKind::Emm, opened, output).await,
            Self::Account(command) => command.run(opened, output).await,
            Self::Configuration(command) => command.run(opened, output).await,
            Self::Artifact(command) => command.run(opened, output).await,
            Self::Dpc(command) => command.run(opened, output).await,
            Self::Token(command) => command.run(opened, output).await,
            Self::Claim(command) => command.run(opened, output).await,
            Self::Factory(command) => command.run(opened, output).await,
            Self::Device(command) => command.run(opened, output).await,
            Self::Audit(command) => command.run(opened, output).await,
        }
    }
}

/// Runs a server until it ends. A thread that still waits for a silent database does not hold it up.
fn run_to_end<T>(runtime: Runtime, server: impl Future<Output = T>) -> T {
    let ended = runtime.block_on(server);
    runtime.shutdown_timeout(Duration::from_secs(5));
    ended
}

fn single_threaded_runtime() -> anyhow::Result<Runtime> {
    runtime(&mut Builder::new_current_thread())
}

fn runtime(builder: &mut Builder) -> anyhow::Result<Runtime> {
    builder.enable_all().build().context("the program could not start its threads")
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that may fail")]
fn parse_secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_list_of_no_rows_is_refused() {
        fn collect_find_limited_commands(
            command: &clap::Command,
            path: &[&str],
            found: &mut Vec<Vec<String>>,
        ) {
            let path = [path, &[command.get_name()]].concat();
            if command.get_arguments().any(|argument| argument.get_id() == "limit") {
                found.push(path.iter().map(|name| (*name).to_owned()).collect());
            }
            command.get_subcommands().for_each(|below| collect_find_limited_commands(below, &path, found));
        }
        let mut found = Vec::new();
        collect_find_limited_commands(&Cli::command(), &[], &mut found);
        assert!(found.len() >= 5, "{found:?}");
        for command in found {
            let with = |limit: &str| {
                let own = ["--limit".to_owned(), limit.to_owned()];
                Cli::try_parse_from([command.clone(), own.to_vec()].concat())
            };
            let refused = with("0").err().unwrap().to_string();
            assert!(refused.contains("--limit") && refused.contains("1.."), "{command:?}: {refused}");
            let taken = with("1").err().map(|error| error.to_string()).unwrap_or_default();
            assert!(!taken.contains("invalid value"), "{command:?}: {taken}");
        }
    }

    #[test]
    fn every_command_and_option_has_a_help_text() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
