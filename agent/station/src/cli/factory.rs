//! `factory register`: the last step in a factory, and the options for a station's access to its server.

use crate::{
    Verdict,
    factory::{Bundle, FactoryError, Outcome, prepare, register},
    report::json_line,
    server_client::{self, KEY_CREDENTIAL, ServerClientSettings},
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::{
    env,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};
use unbox_agent::{entropy::Entropy, identity, layout::Layout, text::chain};
use url::Url;

/// The section of `--help` about exit codes.
const HELP: &str = "Exit codes:
  0  registered, now or before
  1  refused: what to do is in the answer
  3  could not be registered, with the reason on standard error; wrong usage, too

Started again after a power cut, it goes on where it was: the key that is there is used.";

/// The server's address, and the station's account on it.
#[derive(Debug, Clone, Args)]
pub(super) struct ServerOptions {
    /// The server's address, such as <https://enroll.example.com>.
    #[arg(long, value_name = "URL", requires = "organisation")]
    server: Option<Url>,
    /// The organisation of the station's account: partners/NUMBER or customers/NUMBER.
    #[arg(long, value_name = "NAME")]
    organisation: Option<String>,
    /// A file with the API key of the station's account, which only its owner can read; the credential
    /// unbox.station-key if absent.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The folder with the server's anchors.pem and root.json.
    #[arg(long, value_name = "DIR", default_value = "/etc/unbox/trust")]
    trust: PathBuf,
}

impl ServerOptions {
    /// Connects to the server named by the options.
    ///
    /// # Errors
    /// If no server is named, or if it cannot be used.
    pub(super) fn open(&self) -> anyhow::Result<server_client::ServerClient> {
        let settings = ServerClientSettings {
            server: self.server.clone().context("which server? name it with --server")?,
            organisation: self.organisation.clone().context("whose station? name it with --organisation")?,
            key_file: self.key_file.clone(),
            trust: self.trust.clone(),
        };
        let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        server_client::ServerClient::open(&settings, credentials.as_deref())
            .with_context(|| format!("the server cannot be asked (key file or credential {KEY_CREDENTIAL})"))
    }
}

/// The commands of a factory.
#[derive(Debug, Subcommand)]
pub(super) enum Factory {
    /// Make the device's key, write the trust bundle, and register key and identifiers.
    #[command(after_help = HELP)]
    Register {
        #[command(flatten)]
        server: ServerOptions,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command; a failure is printed, and has an exit code of its own.
pub(super) fn run(factory: &Factory, roots: &[PathBuf]) -> ExitCode {
    let Factory::Register { server, json } = factory;
    match register_device(server, roots, *json) {
        Ok(verdict) => verdict.into(),
        Err(error) => {
            // Standard error may be closed, and the exit code carries the result anyway.
            let _ = writeln!(io::stderr(), "Not registered: {}.", chain(error.as_ref()));
            Verdict::CouldNotCheck.into()
        }
    }
}

fn register_device(asked: &ServerOptions, roots: &[PathBuf], json: bool) -> anyhow::Result<Verdict> {
    let root = super::single_root(roots)?;
    let server = asked.open()?;
    let layout = Layout::new(root);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the runtime")?;
    let survey = runtime.block_on(identity::io::survey(&layout));
    let bundle = Bundle::read(&asked.trust)?;
    let newer = server.roots_after(bundle.root_version()).map_err(FactoryError::from)?;
    let device = prepare(&layout, &survey, &bundle.with_newer_roots(&newer)?, &Entropy::system())?;
    let outcome = register(&server, device)?;
    let mut out = io::stdout().lock();
    if json {
        let line = json_line(&outcome).context("could not print what became of it")?;
        out.write_all(line.as_bytes())?;
    } else {
        out.write_all(outcome_text(&outcome).as_bytes())?;
    }
    Ok(if outcome.registration.is_on_record() { Verdict::Pass } else { Verdict::Fail })
}

fn outcome_text(outcome: &Outcome) -> String {
    let Outcome { device_key, registration } = outcome;
    let claim = registration.device_id.as_ref().map(|id| format!(" Claim {id} has its key."));
    match registration.state.as_str() {
        "REGISTERED" => format!("Registered, device key {device_key}.{}\n", claim.unwrap_or_default()),
        "UPDATED" => format!("Registered anew, device key {device_key}.{}\n", claim.unwrap_or_default()),
        "ALREADY_REGISTERED" => {
            format!("Registered before, device key {device_key}.{}\n", claim.unwrap_or_default())
        }
        _ => format!("Refused. {}\n", registration.problem),
    }
}
