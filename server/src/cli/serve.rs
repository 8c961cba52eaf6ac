//! `serve`: the server itself.

use super::{Exit, Global, output::Output};
use crate::{
    clock::SystemClock,
    config::{Fragment, LogFormat, LogFragment},
    entropy::SystemEntropy,
    log,
    serve::{Addresses, HangUp, Server, Signals, run},
};
use anyhow::Context as _;
use clap::Args;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

/// Serves devices until SIGTERM or SIGINT; SIGHUP reads keys and certificates again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unbox-server serve
  unbox-server serve --listen 127.0.0.1:0 --ready-file /run/unbox/ready.json")]
pub(super) struct Serve {
    /// An address to listen on, in place of the settings; port 0 takes any that is free.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// An address for health, metrics and artifacts without TLS.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_plain: Vec<SocketAddr>,
    /// An address for the management API without TLS, on this machine.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen_api: Vec<SocketAddr>,
    /// The form of log lines.
    #[arg(long, value_enum)]
    log_format: Option<LogFormat>,
    /// The filter of the log, such as `info` or `warn,request=info`.
    #[arg(long, env = "UNBOX_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Start even with a certificate that has ended, although devices refuse it.
    #[arg(long)]
    allow_expired_certificate: bool,
    /// Write process id and addresses here, as JSON, once devices can connect.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Serve {
    pub(super) async fn run(self, global: &Global, mut output: Output) -> anyhow::Result<Exit> {
        let given = |list: Vec<SocketAddr>| Some(list).filter(|list| !list.is_empty());
        let mut settings = global.settings(Fragment {
            listen: given(self.listen),
            listen_plain: given(self.listen_plain),
            listen_api: given(self.listen_api),
            log: LogFragment { format: self.log_format, filter: self.log },
            ..Fragment::default()
        })?;
        settings.allow_expired_certificate = self.allow_expired_certificate;
        log::start(settings.log_format, &settings.log_filter)
            .context("the log filter cannot be read: expected a form like `warn,request=info`")?;
        let server = Server::start(settings, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).await?;
        let announce = |addresses: &Addresses| {
            let urls = addresses.addresses.iter().map(|address| format!("https://{address}"));
            let urls: Vec<_> = urls
                .chain(
                    addresses
                        .plain_addresses
                        .iter()
                        .chain(&addresses.api_addresses)
                        .map(|address| format!("http://{address}")),
                )
                .collect();
            // Without a standard output there is nobody to read this.
            let _ = output.show(addresses, &format!("Listening on {}", urls.join(", ")));
        };
        run(server, Signals::install(HangUp::Reload)?, self.ready_file.as_deref(), announce).await?;
        Ok(Exit::Done)
    }
}
