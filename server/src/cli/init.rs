//! `init`: a new server.

use super::{Exit, Global, context::Opened, output::Output};
use crate::{
    clock::{Clock as _, SystemClock},
    config::{DEFAULT_LISTEN, Fragment, build_url, default_file, server_url},
    entropy::SystemEntropy,
    files::{self, PRIVATE_DIRECTORY, PRIVATE_FILE},
    keys::{self, Founding, Layout},
};
use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use std::net::SocketAddr;
use url::Url;

/// The problem if devices have no address to connect to.
const NO_ADDRESS: &str = "expected --name to be a DNS name or IP address, and --listen to have a port other than 0: \
     they make the address for devices, unless --url says it";

/// Makes a directory with keys, settings and an empty database.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unbox-server init --name enroll.example.com
  unbox-server init --dir /tmp/try --name localhost --name 127.0.0.1 --listen 127.0.0.1:8443")]
pub(super) struct Init {
    /// A DNS name or IP address under which devices reach the server; the first is the main one.
    #[arg(long = "name", required = true, value_name = "HOST")]
    names: Vec<String>,
    /// An address to listen on.
    #[arg(long, default_value = DEFAULT_LISTEN, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// The server's address in devices' settings, if not https://NAME:PORT.
    #[arg(long, value_parser = server_url)]
    url: Option<Url>,
}

impl Init {
    pub(super) async fn run(self, global: &Global, output: &mut Output) -> anyhow::Result<Exit> {
        let layout = global.layout();
        let url = match &self.url {
            Some(url) => url.clone(),
            None => build_url(&self.names, &self.listen).context(NO_ADDRESS)?,
        };
        // The one check that `initialise` does not make: the rest of the directory.
        for path in [layout.settings(), layout.database()] {
            if path.symlink_metadata().is_ok() {
                return Err(keys::KeyError::Occupied(path).into());
            }
        }
        let founding =
            Founding { names: self.names.clone(), url: url.as_str().trim_end_matches('/').to_owned() };
        keys::initialise(&layout, &founding, SystemClock.now(), &SystemEntropy::new())?;
        let settings = default_file(&self.names, Some(&url), &self.listen, global.database.as_ref());
        files::write_new(&layout.settings(), settings.as_bytes(), PRIVATE_FILE)?;
        files::make_directory(&layout.artifacts(), PRIVATE_DIRECTORY)?;
        let opened = Opened::create_with(&global.settings(Fragment::default())?).await.context(
            "keys and settings are made; when the database answers, run `unbox-server migrate --create`",
        )?;
        opened.services.close().await;
        let made =
            json!({ "dir": layout.dir(), "url": founding.url, "names": self.names, "trust": layout.trust() });
        output.show(&made, &advice(&layout, &founding.url))?;
        Ok(Exit::Done)
    }
}

fn advice(layout: &Layout, url: &str) -> String {
    format!(
        "This server is {url}.\n\
         \n\
         Settings and keys are in {dir}. Copy {dir}/keys to a safe place now: without it,\n\
         devices have to be imaged anew. keys/root-1.pem signs changes of keys; keep it offline\n\
         and hand it in with --root-key when you rotate.\n\
         \n\
         Images of devices need what is in {trust}:\n\
         anchors.pem and root.json in /etc/unbox/trust/, agent.toml in /etc/unbox/.\n\
         \n\
         Next: unbox-server customer create NAME, then unbox-server serve.",
        dir = layout.dir().display(),
        trust = layout.trust().display(),
    )
}
