//! `init`: a new server.

use super::{Exit, Global, context::Opened, output::Output};
use crate::{
    clock::{Clock as _, SystemClock},
    config::{DEFAULT_LISTEN, Fragment, default_file},
    entropy::SystemEntropy,
    files::{self, PRIVATE_DIRECTORY, PRIVATE_FILE},
    keys::{self, Founding, Layout},
};
use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use std::net::SocketAddr;
use url::{Host, Url};

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
    #[arg(long)]
    url: Option<Url>,
}

impl Init {
    pub(super) async fn run(self, global: &Global, output: &mut Output) -> anyhow::Result<Exit> {
        let layout = global.layout();
        let url = match &self.url {
            Some(url) => checked(url)?,
            None => self.address()?,
        };
        // The one check that `initialise` does not make: the rest of the directory.
        for path in [layout.settings(), layout.database()] {
            if path.symlink_metadata().is_ok() {
                return Err(keys::KeyError::Occupied(path).into());
            }
        }
        let founding = Founding { names: self.names.clone(), url: url.clone() };
        keys::initialise(&layout, &founding, SystemClock.now(), &SystemEntropy::new())?;
        let settings = default_file(&self.names, &self.listen, global.database.as_ref());
        files::write_new(&layout.settings(), settings.as_bytes(), PRIVATE_FILE)?;
        files::make_directory(&layout.artifacts(), PRIVATE_DIRECTORY)?;
        let opened = Opened::open_with(&global.settings(Fragment::default())?)
            .await
            .context("keys and settings are made; when the database answers, run `unbox-server migrate`")?;
        opened.services.close().await;
        let made = json!({ "dir": layout.dir(), "url": url, "names": self.names, "trust": layout.trust() });
        output.show(&made, &advice(&layout, &url))?;
        Ok(Exit::Done)
    }

    /// The address that the main name and the first port make.
    fn address(&self) -> anyhow::Result<String> {
        let (Some(name), Some(listen)) = (self.names.first(), self.listen.first()) else {
            bail!("a server needs a --name and an address to --listen on");
        };
        let host = match name.parse::<std::net::Ipv6Addr>() {
            Ok(address) => Host::Ipv6(address),
            Err(_) => Host::parse(name).with_context(|| format!("{name:?} is no name of a host"))?,
        };
        let port = match listen.port() {
            443 => String::new(),
            // A port that the system chooses is not known before the server runs.
            0 => bail!("--listen with port 0 makes no address for devices: say it with --url"),
            port => format!(":{port}"),
        };
        Ok(format!("https://{host}{port}"))
    }
}

fn checked(url: &Url) -> anyhow::Result<String> {
    let plain = url.scheme() == "https" && url.path() == "/" && url.query().is_none() && url.has_host();
    if !plain || !url.username().is_empty() || url.fragment().is_some() {
        bail!("expected --url in the form https://enroll.example.com:8443");
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_made_of_the_first_name_and_port() {
        for (name, listen, expected) in [
            ("enroll.example.com", "[::]:8443", Some("https://enroll.example.com:8443")),
            ("192.0.2.7", "0.0.0.0:443", Some("https://192.0.2.7")),
            ("2001:db8::7", "[::]:8443", Some("https://[2001:db8::7]:8443")),
            ("localhost", "127.0.0.1:0", None),
            ("a b", "127.0.0.1:1", None),
        ] {
            let init =
                Init { names: vec![name.to_owned()], listen: vec![listen.parse().unwrap()], url: None };
            assert_eq!(init.address().ok().as_deref(), expected, "{name}");
        }
        for bad in ["http://x.example", "https://x.example/y", "https://u@x.example", "https://x.example/?q"]
        {
            assert!(checked(&bad.parse().unwrap()).is_err(), "{bad}");
        }
    }
}
