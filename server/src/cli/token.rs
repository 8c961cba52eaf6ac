//! `token`: pre-provisioning tokens.

use super::{
    Exit,
    confirm::Consent,
    context::{Opened, list},
    output::{self, Output},
};
use crate::{
    clock::{Clock as _, SystemClock},
    service::NewToken,
};
use clap::Subcommand;
use std::{path::PathBuf, time::Duration};
use unbox_common::ids::TokenId;

/// The commands for tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Create one; prints it, this once.
    #[command(
        after_help = "Example:\n  unbox-server token create image-2026 --customer Acme --expires-in-days 365 --output token"
    )]
    Create {
        /// Its name.
        #[arg(default_value = "pre-provisioning")]
        name: String,
        /// The customer whose devices it enrolls: an id or exact name.
        #[arg(long)]
        customer: String,
        /// The configuration for devices whose claim names none: an id or exact name.
        #[arg(long)]
        configuration: Option<String>,
        /// The days for which it is good; without end if absent.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u64).range(1..=3650))]
        expires_in_days: Option<u64>,
        /// Write it to a new file that only you can read, and not to the screen.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// List them; the tokens themselves are not shown.
    List {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Revoke one: it enrolls nothing from now on.
    Revoke {
        /// Its id.
        token: TokenId,
        #[command(flatten)]
        consent: Consent,
    },
}

impl Token {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::Create { customer, name, configuration, expires_in_days, output: file } => {
                output::check_is_new(file.as_deref())?;
                let customer = opened.customer(&customer).await?.id;
                let configuration = opened.configuration_id(configuration.as_deref(), Some(customer)).await?;
                let expires_at =
                    expires_in_days.map(|days| SystemClock.now().plus(Duration::from_hours(24 * days)));
                let new = NewToken { customer, name, configuration, expires_at };
                let (token, secret) = services.devices.create_token(by, new).await?;
                output.secret(&token, ("token", &secret), file.as_deref())?;
            }
            Self::List { customer } => {
                let customer = opened.customer_id(customer.as_deref()).await?;
                list(
                    output,
                    None,
                    |token| token,
                    |request| services.devices.list_tokens(by, customer, request),
                )
                .await?;
            }
            Self::Revoke { token, consent } => {
                consent
                    .ask(&format!("This revokes token {token} for good: it enrolls no device any more"))?;
                let revoked = services.devices.revoke_token(by, token).await?;
                output.show(&revoked, &format!("Revoked token {} ({}).", revoked.id, revoked.name))?;
            }
        }
        Ok(Exit::Done)
    }
}
