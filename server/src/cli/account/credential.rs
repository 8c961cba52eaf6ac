//! `account key` and `account api-key`: the keys that accounts sign in with. Secrets are shown once, or
//! written to a file that nobody else can read.

use crate::{
    cli::{
        confirm::Consent,
        context::{Opened, list, read_document},
        output::{self, Output},
    },
    clock::{Clock as _, SystemClock},
    domain::tenancy::credential::KeyId,
    files::{PRIVATE_FILE, Staged},
    service::{KeysOf, NewApiKey, ServiceAccountKeyFile, base_url},
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::{io::Write as _, path::PathBuf, time::Duration};
use unbox_common::{ids::ApiKeyId, timestamp::Timestamp};
use url::Url;

/// The commands for keys of service accounts.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Key {
    /// Make one, and the file with which client libraries sign in; or take one that its owner made.
    #[command(after_help = "\
Google's client libraries read the file as they read one of Google's, for example in Python:
  google.oauth2.service_account.Credentials.from_service_account_file(\"key.json\")

Example:
  unbox-server account key create order-system@1882439470453409023.unbox.invalid --out key.json")]
    Create {
        /// The service account: its id or e-mail address.
        account: String,
        /// Write the key file to this new file, which only you can read.
        #[arg(
            long,
            value_name = "FILE",
            visible_alias = "output",
            required_unless_present = "public_key",
            conflicts_with = "public_key"
        )]
        out: Option<PathBuf>,
        /// The address at which clients reach this server; https:// and its first name if absent.
        #[arg(long, value_name = "URL", value_parser = base_url, conflicts_with = "public_key")]
        base_url: Option<Url>,
        /// Take this RSA public key, PEM, whose private half stays with its owner; - for standard
        /// input.
        #[arg(long, value_name = "FILE")]
        public_key: Option<PathBuf>,
        #[command(flatten)]
        lifetime: Lifetime,
    },
    /// List those of a service account; the server does not keep private halves.
    List {
        /// The service account: its id or e-mail address.
        account: String,
    },
    /// Replace one by a new one with the same lifetime, and write its file.
    Rotate {
        /// Its id.
        key: KeyId,
        /// The hours for which the old one stays good, so that programs can change over.
        #[arg(long, value_name = "HOURS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=720))]
        overlap_hours: u64,
        /// Write the key file to this new file, which only you can read.
        #[arg(long, value_name = "FILE", visible_alias = "output")]
        out: PathBuf,
        /// The address at which clients reach this server; https:// and its first name if absent.
        #[arg(long, value_name = "URL", value_parser = base_url)]
        base_url: Option<Url>,
    },
    /// Revoke one, and every access token that it was exchanged for.
    Revoke {
        /// Its id.
        key: KeyId,
        #[command(flatten)]
        consent: Consent,
    },
}

/// The commands for API keys.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ApiKey {
    /// Create one; prints it, this once.
    #[command(after_help = "\
Example:
  unbox-server account api-key create it@acme.example export --expires-in-days 365 --out api-key")]
    Create {
        /// The account that signs in with it: its id or e-mail address.
        account: String,
        /// Its name.
        #[arg(default_value = "api")]
        name: String,
        #[command(flatten)]
        lifetime: Lifetime,
        #[command(flatten)]
        to: To,
    },
    /// List those of an account; the keys themselves are not shown.
    List {
        /// The account: its id or e-mail address.
        account: String,
    },
    /// Replace one by a new one of the same name and lifetime; prints it, this once.
    Rotate {
        /// Its id.
        key: ApiKeyId,
        /// The hours for which the old one stays good, so that programs can change over.
        #[arg(long, value_name = "HOURS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=720))]
        overlap_hours: u64,
        #[command(flatten)]
        to: To,
    },
    /// Revoke one: it opens nothing from now on.
    Revoke {
        /// Its id.
        key: ApiKeyId,
        #[command(flatten)]
        consent: Consent,
    },
}

/// The lifetime of a key.
#[derive(Debug, Args)]
pub(in crate::cli) struct Lifetime {
    /// The days for which it is good; without end if absent.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
    expires_in_days: Option<u64>,
}

/// The destination of a secret.
#[derive(Debug, Args)]
pub(in crate::cli) struct To {
    /// Write it to a new file that only you can read, and not to the screen.
    #[arg(long, value_name = "FILE", visible_alias = "output")]
    out: Option<PathBuf>,
}

impl Key {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<()> {
        let Opened { services, by } = opened;
        match self {
            Self::Create { account, public_key: Some(file), lifetime, .. } => {
                let account = services.tenancy.find_account(by, &account).await?;
                let pem = read_document(&file)?;
                let expires_at = lifetime.end();
                let key = services.tenancy.add_service_account_key(by, account.id, &pem, expires_at).await?;
                output.show(
                    &key,
                    &format!("Took key {0} for {1}. Sign with kid {0} and iss {1}.", key.id, account.email),
                )
            }
            Self::Create { account, out, base_url, public_key: None, lifetime } => {
                output::check_is_new(out.as_deref())?;
                // Clap requires it here. Staged first: a key whose file cannot be written is lost.
                let path = out.unwrap_or_default();
                let mut file = Staged::new(&path, PRIVATE_FILE)?;
                let account = services.tenancy.find_account(by, &account).await?;
                let base_url = base_url.map_or_else(|| opened.base_url(), Ok)?;
                let expires_at = lifetime.end();
                let (key, contents) = services
                    .tenancy
                    .create_service_account_key(by, account.id, &base_url, expires_at)
                    .await?;
                write_key_file(&mut file, &contents)?;
                file.create()?;
                let text = format!(
                    "Key {} of {} was written to {}. It signs in at {}, and cannot be had again.",
                    key.id,
                    account.email,
                    path.display(),
                    contents.token_uri(),
                );
                output.show(&key, &text)
            }
            Self::Rotate { key, overlap_hours, out, base_url } => {
                output::check_is_new(Some(&out))?;
                let mut file = Staged::new(&out, PRIVATE_FILE)?;
                let base_url = base_url.map_or_else(|| opened.base_url(), Ok)?;
                let overlap = Duration::from_hours(overlap_hours);
                let (new, contents) =
                    services.tenancy.rotate_service_account_key(by, &key, &base_url, overlap).await?;
                write_key_file(&mut file, &contents)?;
                file.create()?;
                let text = format!(
                    "Key {} replaces {key} and was written to {}. It signs in at {}, and cannot be had again.",
                    new.id,
                    out.display(),
                    contents.token_uri(),
                );
                output.show(&new, &text)
            }
            Self::List { account } => {
                let account = services.tenancy.find_account(by, &account).await?;
                let page = |request| services.tenancy.list_service_account_keys(by, account.id, request);
                list(output, None, |key| key, page).await
            }
            Self::Revoke { key, consent } => {
                consent.ask(&format!(
                    "This revokes key {key} for good, and every access token that it was exchanged for"
                ))?;
                let revoked = services.tenancy.revoke_service_account_key(by, &key).await?;
                output.show(&revoked, &format!("Revoked key {}.", revoked.id))
            }
        }
    }
}

impl ApiKey {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<()> {
        let Opened { services, by } = opened;
        match self {
            Self::Create { account, name, lifetime, to: To { out } } => {
                output::check_is_new(out.as_deref())?;
                let account = services.tenancy.find_account(by, &account).await?;
                let new = NewApiKey { account: account.id, name, expires_at: lifetime.end() };
                let (key, secret) = services.tenancy.create_api_key(by, new).await?;
                output.secret(&key, ("API key", &secret), out.as_deref())
            }
            Self::List { account } => {
                let account = services.tenancy.find_account(by, &account).await?;
                let page = |request| services.tenancy.list_api_keys(by, KeysOf::Account(account.id), request);
                list(output, None, |key| key, page).await
            }
            Self::Rotate { key, overlap_hours, to: To { out } } => {
                output::check_is_new(out.as_deref())?;
                let overlap = Duration::from_hours(overlap_hours);
                let (key, secret) = services.tenancy.rotate_api_key(by, key, overlap).await?;
                output.secret(&key, ("API key", &secret), out.as_deref())
            }
            Self::Revoke { key, consent } => {
                consent.ask(&format!("This revokes API key {key} for good: it opens nothing any more"))?;
                let revoked = services.tenancy.revoke_api_key(by, key).await?;
                output.show(&revoked, &format!("Revoked API key {} ({}).", revoked.id, revoked.name))
            }
        }
    }
}

impl Lifetime {
    fn end(&self) -> Option<Timestamp> {
        self.expires_in_days.map(|days| SystemClock.now().plus(Duration::from_hours(24 * days)))
    }
}

fn write_key_file(file: &mut Staged, contents: &ServiceAccountKeyFile) -> anyhow::Result<()> {
    serde_json::to_writer_pretty(&mut *file, contents).context("the key file could not be made")?;
    writeln!(file)?;
    Ok(())
}
